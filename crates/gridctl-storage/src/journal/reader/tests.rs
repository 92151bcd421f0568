//! Queries beside a writing master and without one, on hand-made outcomes and on a hundred thousand.

use gridctl_core::id::CodeHash;
use gridctl_core::record::{Class, TrialState};
use gridctl_core::spec::Goal;

use super::*;
use crate::journal::testing::{append, events, outcome};
use crate::journal::{Group, Options, Snapshot, SqliteStore, Store};

const V1: (u32, u32) = (1, 1);

fn journal(rows: &[OutcomeRow]) -> (tempfile::TempDir, SqliteStore, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(dir.path(), Options::default()).unwrap();
    store.append(&Group { events: &events(1..=1), outcomes: rows, standings: &[] }).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    (dir, store, reader)
}

fn seqs(rows: &[OutcomeRow]) -> Vec<u64> {
    rows.iter().map(|row| row.seq).collect()
}

fn collect(walk: impl FnOnce(&mut dyn FnMut(OutcomeRow)) -> Result<(), StoreError>) -> Vec<u64> {
    let mut found = Vec::new();
    walk(&mut |row| found.push(row.seq)).unwrap();
    found
}

fn with(seq: u64, change: impl FnOnce(&mut OutcomeRow)) -> OutcomeRow {
    let mut row = outcome(seq);
    change(&mut row);
    row
}

fn failed(seq: u64) -> OutcomeRow {
    with(seq, |row| {
        (row.class, row.state, row.objective) = (Class::Failed, TrialState::Failed, None);
    })
}

#[test]
fn the_best_come_first_ties_by_place_and_nan_never() {
    let score = |seq, index, value| with(seq, |row| (row.index, row.objective) = (index, Some(value)));
    let rows = [
        score(1, 50, 0.5),
        score(2, 40, 0.9),
        score(3, 30, 0.9),
        score(4, 20, f64::NAN),
        score(5, 10, f64::INFINITY),
        score(6, 5, 0.1),
        failed(7),
        with(8, |row| row.objective = None),
        with(9, |row| (row.version, row.objective) = (2, Some(7.0))),
        with(10, |row| (row.sweep, row.objective) = (2, Some(8.0))),
        with(11, |row| (row.terminal, row.state, row.class) = (false, TrialState::Pending, Class::Lost)),
        score(12, 60, -0.0),
    ];
    let (_dir, _store, reader) = journal(&rows);
    let best = [3, 2, 1, 6, 12];
    let worst: Vec<u64> = [12, 6, 1, 3, 2].to_vec();
    for k in 0..8 {
        for offset in 0..6 {
            let expected: Vec<u64> = best.into_iter().skip(offset).take(k).collect();
            let rows = reader.top(V1, Goal::Maximize, (k as u64, offset as u64)).unwrap();
            assert_eq!(seqs(&rows), expected, "{k} after {offset}");
        }
    }
    assert_eq!(seqs(&reader.top(V1, Goal::Maximize, (u64::MAX, 0)).unwrap()), best);
    assert_eq!(seqs(&reader.top(V1, Goal::Minimize, (10, 0)).unwrap()), worst);
    assert_eq!(seqs(&reader.top((2, 1), Goal::Minimize, (10, 0)).unwrap()), [10]);
    assert_eq!(collect(|each| reader.successes(V1, each)), [1, 2, 3, 4, 5, 6, 8, 12]);
    assert_eq!(collect(|each| reader.failures(V1, each)), [7, 11]);
    assert_eq!(
        reader.top(V1, Goal::Maximize, (1, 0)).unwrap()[0],
        rows[2],
        "a row comes back as it was written"
    );
}

#[test]
fn what_nothing_ranks_follows_what_is_ranked() {
    let rows = [
        with(1, |row| row.index = 9),
        with(2, |row| (row.index, row.objective) = (8, None)),
        with(3, |row| row.index = 7),
        with(4, |row| (row.index, row.objective) = (6, Some(f64::NAN))),
        with(5, |row| (row.index, row.objective) = (5, Some(f64::INFINITY))),
        failed(6),
        with(7, |row| (row.version, row.objective, row.code) = (2, None, CodeHash([9; 10]))),
        with(8, |row| (row.version, row.objective) = (2, None)),
    ];
    let (_dir, _store, reader) = journal(&rows);
    let all = [3, 1, 5, 4, 2];
    for k in 0..7 {
        for offset in 0..7 {
            let (limits, mut found) = ((k as u64, offset as u64), Vec::new());
            found.extend(reader.top(V1, Goal::Maximize, limits).unwrap());
            found.extend(reader.unranked(V1, limits, found.len() as u64).unwrap());
            let expected: Vec<u64> = all.into_iter().skip(offset).take(k).collect();
            assert_eq!(seqs(&found), expected, "{k} after {offset}");
        }
    }
    let mixed = [V1, (1, 2), (1, 3)].map(|version| reader.is_mixed(version).unwrap());
    assert_eq!(mixed, [false, true, false]);
}

#[test]
fn a_newer_generation_replaces_an_older_one_once_it_has_ended() {
    let again = |seq, of: u64, change: fn(&mut OutcomeRow)| {
        with(seq, |row| {
            (row.trial, row.point, row.index, row.generation) = (outcome(of).trial, outcome(of).point, of, 2);
            change(row);
        })
    };
    let rows = [
        outcome(1),
        outcome(2),
        outcome(3),
        again(4, 1, |row| row.objective = Some(0.5)),
        again(5, 2, |row| (row.terminal, row.state, row.class) = (false, TrialState::Pending, Class::Lost)),
        again(6, 3, |row| (row.state, row.class) = (TrialState::Failed, Class::Failed)),
    ];
    let (_dir, _store, reader) = journal(&rows);
    assert_eq!(seqs(&reader.top(V1, Goal::Maximize, (9, 0)).unwrap()), [2, 4]);
    assert_eq!(seqs(&reader.top(V1, Goal::Minimize, (9, 0)).unwrap()), [4, 2]);
    assert_eq!(collect(|each| reader.successes(V1, each)), [2, 4]);
    assert_eq!(seqs(&reader.attempts_of(1, outcome(1).trial).unwrap()), [1, 4]);
}

#[test]
fn trials_are_found_by_prefix_and_codes_by_name() {
    let rows = [outcome(1), outcome(2), with(3, |row| row.code = CodeHash([9; 10])), failed(4)];
    let (_dir, _store, reader) = journal(&rows);
    let id = rows[1].trial.to_string();
    for length in [8, 12, 16] {
        assert_eq!(reader.find_trials(&id[..length], 5).unwrap(), [(1, rows[1].trial)]);
    }
    assert_eq!(reader.find_trials("", 2).unwrap().len(), 2);
    for odd in ["%", "_", "'", "{", "\u{202e}", "ZZ"] {
        assert_eq!(reader.find_trials(odd, 5).unwrap(), [], "{odd}");
    }
    assert_eq!(collect(|each| reader.known((CodeHash([7; 10]), 1), 0, each)), [1, 2]);
    assert_eq!(collect(|each| reader.known((CodeHash([9; 10]), 1), 0, each)), [3]);
    assert_eq!(seqs(&reader.after(1, Some(1), 2).unwrap()), [2, 3]);
    assert_eq!(seqs(&reader.after(1, Some(9), 2).unwrap()), [0; 0]);
}

#[test]
fn a_reader_sees_what_a_master_commits_and_makes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(dir.path()), Err(StoreError::NoJournal { .. })));
    assert!(matches!(Reader::open(&dir.path().join("nowhere")), Err(StoreError::NoJournal { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let mut store = SqliteStore::open(dir.path(), Options::default()).unwrap();
    append(&mut store, 1, 700);
    let reader = Reader::open(dir.path()).unwrap();
    append(&mut store, 701, 1_300);
    store.snapshot(&Snapshot { seq: 1_000, bytes: b"state" }).unwrap();
    store.idle();
    let check = |reader: &Reader| {
        assert_eq!(reader.last_outcome().unwrap(), 1_300);
        let loaded = reader.load(u64::MAX).unwrap();
        assert_eq!((loaded.snapshot, loaded.tail.len()), (Some((1_000, b"state".to_vec())), 300));
        assert_eq!(loaded.tail, events(1_001..=1_300));
        assert_eq!(collect(|each| reader.all_of(1, 0, each)).len(), 1_300);
    };
    check(&reader);
    drop((store, reader));
    let before: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    check(&Reader::open(dir.path()).unwrap());
    let after: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(before, after);
}

#[test]
fn a_query_that_takes_too_long_is_ended() {
    let (_dir, _store, reader) = journal(&[outcome(1)]);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let began = clock::now();
    let result = reader.timed(|conn, path| {
        reader.deadline.store(millis(reader.began.elapsed()) + 50, Ordering::Relaxed);
        conn.query_row(endless, [], |_| Ok(())).map_err(|error| damaged_value(path, error))
    });
    assert!(matches!(result, Err(StoreError::TooSlow { .. })), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(reader.last_outcome().unwrap(), 1, "the reader goes on");
}

#[test]
fn the_best_of_a_hundred_thousand_are_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(dir.path(), Options::default()).unwrap();
    for chunk in 0..20 {
        let rows: Vec<_> = (chunk * 5_000 + 1..=chunk * 5_000 + 5_000).map(outcome).collect();
        store.append(&Group { events: &[], outcomes: &rows, standings: &[] }).unwrap();
    }
    let reader = Reader::open(dir.path()).unwrap();
    for goal in [Goal::Maximize, Goal::Minimize] {
        let began = clock::now();
        let rows = reader.top(V1, goal, (10, 0)).unwrap();
        let took = began.elapsed();
        assert_eq!(rows.len(), 10);
        assert!(rows.windows(2).all(|pair| pair[0].index < pair[1].index), "ties go to the lower index");
        assert!(took < Duration::from_millis(50), "{goal}: {took:?}");
    }
    let began = clock::now();
    assert_eq!(reader.unranked(V1, (10, 0), 0).unwrap(), []);
    assert!(!reader.is_mixed(V1).unwrap());
    let took = began.elapsed();
    assert!(took < Duration::from_millis(50), "{took:?}");
    assert_eq!(reader.attempts_of(1, outcome(77_777).trial).unwrap(), [outcome(77_777)]);
}

#[test]
fn a_journal_that_nobody_has_open_is_read_without_making_a_file() {
    let (dir, store, reader) = journal(&[outcome(1), outcome(2)]);
    let last = reader.last_outcome().unwrap();
    drop((reader, store));
    let main = fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    for (what, left) in [("nothing", None), ("an empty log", Some("-wal")), ("its index", Some("-shm"))] {
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join(JOURNAL_FILE), &main).unwrap();
        if let Some(suffix) = left {
            fs::write(copy.path().join(format!("{JOURNAL_FILE}{suffix}")), "").unwrap();
        }
        let files = || fs::read_dir(copy.path()).unwrap().count();
        let before = files();
        assert_eq!(Reader::open(copy.path()).unwrap().last_outcome().unwrap(), last, "{what}");
        assert_eq!(files(), before, "{what}");
    }
}
