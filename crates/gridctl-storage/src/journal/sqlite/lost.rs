//! What is lost between two starts, or under a master: logs, rows, indexes, whole directories, and
//! older copies in their place.

use std::cmp::Ordering;
use std::fs;

use gridctl_core::spec::Goal;

use super::tests::closed_journal;
use rusqlite::Connection;

use super::*;
use crate::journal::testing::{append, events, outcome};
use crate::journal::{HEAD_FILE, OutcomeRow, Reader};

const LOG: &str = "journal.sqlite-wal";
const ALL: [&str; 3] = [JOURNAL_FILE, LOG, HEAD_FILE];

fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(dir, Options::default())
}

/// A journal of 36 events and outcomes, of which the first three are in the file and the others in
/// its log; its master lives.
fn logged() -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, 1, 3);
    store.idle();
    for group in 1..12 {
        append(&mut store, group * 3 + 1, group * 3 + 3);
    }
    (dir, store)
}

fn identity(store: &SqliteStore) -> String {
    Reader::open(&store.dir).unwrap().identity().unwrap()
}

/// The directory as a kill would leave it at this moment.
fn killed(dir: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in ALL {
        fs::copy(dir.join(name), to.path().join(name)).unwrap();
    }
    to
}

/// What each file holds, as a checksum; an empty log is none.
fn content(dir: &Path) -> Vec<Option<(usize, u32)>> {
    let content = |name| fs::read(dir.join(name)).ok().map(|bytes| (bytes.len(), crc32fast::hash(&bytes)));
    ALL.iter().map(content).map(|found| found.filter(|(length, _)| *length > 0)).collect()
}

#[test]
fn f77_a_journal_that_lost_what_was_recorded_is_refused_and_left_as_it_is() {
    let (dir, _master) = logged();
    let (other, _other_master) = logged();
    let old = closed_journal(1);
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let log = |dir: &Path| fs::read(dir.join(LOG)).unwrap();
    let cases: Vec<(&str, Damage<'_>)> = vec![
        ("its log deleted", Box::new(|dir| fs::remove_file(dir.join(LOG)).unwrap())),
        ("its log emptied", Box::new(|dir| fs::write(dir.join(LOG), "").unwrap())),
        ("its log cut", Box::new(|dir| fs::write(dir.join(LOG), &log(dir)[..log(dir).len() / 2]).unwrap())),
        (
            "its log flipped in the middle",
            Box::new(|dir| {
                let mut bytes = log(dir);
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(dir.join(LOG), bytes).unwrap();
            }),
        ),
        (
            "another journal's log",
            Box::new(|dir| fs::copy(other.path().join(LOG), dir.join(LOG)).map(drop).unwrap()),
        ),
        (
            "another journal's file without a log",
            Box::new(|dir| {
                fs::copy(old.path().join(JOURNAL_FILE), dir.join(JOURNAL_FILE)).unwrap();
                fs::remove_file(dir.join(LOG)).unwrap();
            }),
        ),
        ("its file emptied", Box::new(|dir| fs::write(dir.join(JOURNAL_FILE), "").unwrap())),
        ("its file deleted", Box::new(|dir| fs::remove_file(dir.join(JOURNAL_FILE)).unwrap())),
        (
            "its files deleted",
            Box::new(|dir| {
                [JOURNAL_FILE, LOG].iter().for_each(|name| fs::remove_file(dir.join(name)).unwrap())
            }),
        ),
    ];
    for (what, damage) in cases {
        let crashed = killed(dir.path());
        damage(crashed.path());
        let before = content(crashed.path());
        for error in [open(crashed.path()).unwrap_err(), Reader::open(crashed.path()).unwrap_err()] {
            let lost = matches!(&error, StoreError::Behind { .. } | StoreError::Diverged { .. });
            assert!(lost && error.help().is_some_and(|help| help.contains(HEAD_FILE)), "{what}: {error}");
        }
        assert_eq!(content(crashed.path()), before, "{what}");
    }
    let whole = killed(dir.path());
    assert_eq!(open(whole.path()).unwrap().load(u64::MAX).unwrap().next_seq, 37);
}

#[test]
fn f77_after_a_kill_a_log_that_is_cut_anywhere_is_missed() {
    let (dir, _master) = logged();
    let log = fs::read(dir.path().join(LOG)).unwrap();
    for length in (0..log.len()).step_by(1_021) {
        let crashed = killed(dir.path());
        fs::write(crashed.path().join(LOG), &log[..length]).unwrap();
        let error = open(crashed.path()).unwrap_err();
        assert!(matches!(error, StoreError::Behind { outcomes: (_, 36), .. }), "cut to {length}: {error}");
    }
}

#[test]
fn an_older_copy_in_the_place_of_a_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, 1, 3);
    store.idle();
    let old = fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    append(&mut store, 4, 6);
    store.close();
    drop(store);
    fs::write(dir.path().join(JOURNAL_FILE), old).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Behind { events: (3, 6), outcomes: (3, 6), .. }), "{error}");
    assert!(matches!(Reader::open(dir.path()), Err(StoreError::Behind { .. })));
    fs::remove_file(dir.path().join(HEAD_FILE)).unwrap();
    let mut store = open(dir.path()).unwrap();
    assert!(store.doubt().unwrap().contains(HEAD_FILE), "{:?}", store.doubt());
    assert_eq!(store.load(u64::MAX).unwrap().next_seq, 4, "a person may accept it");
}

#[test]
fn f77_a_journal_that_went_another_way_is_refused() {
    let (dir, master) = logged();
    let head = fs::read(dir.path().join(HEAD_FILE)).unwrap();
    let crashed = killed(dir.path());
    drop(master);
    let conn = Connection::open(crashed.path().join(JOURNAL_FILE)).unwrap();
    conn.execute_batch("UPDATE event SET crc = crc + 1 WHERE seq = 36").unwrap();
    drop(conn);
    fs::write(crashed.path().join(HEAD_FILE), head).unwrap();
    let error = open(crashed.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Diverged { what, .. } if what.contains("36")), "{error}");
}

#[test]
fn a_head_that_power_loss_left_behind_refuses_nothing() {
    let (dir, mut master) = logged();
    let old = fs::read(dir.path().join(HEAD_FILE)).unwrap();
    append(&mut master, 37, 40);
    let crashed = killed(dir.path());
    fs::write(crashed.path().join(HEAD_FILE), old).unwrap();
    assert_eq!(open(crashed.path()).unwrap().load(u64::MAX).unwrap().next_seq, 41);
}

#[test]
fn f77_missing_rows_and_indexes_are_refused_with_where() {
    for (sql, word) in [
        ("DELETE FROM outcome WHERE seq = 17", "of 30 outcomes 29 are there"),
        ("DELETE FROM outcome WHERE seq < 20", "of 30 outcomes 11 are there"),
        ("DROP INDEX outcome_rank", "outcome_rank"),
        ("DROP INDEX outcome_again; CREATE INDEX outcome_again ON outcome (trial)", "outcome_again"),
        ("DROP TABLE snapshot", "snapshot"),
    ] {
        let dir = closed_journal(10);
        Connection::open(dir.path().join(JOURNAL_FILE)).unwrap().execute_batch(sql).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { .. }), "{sql}: {error}");
        assert!(error.to_string().contains(word), "{sql}: {error}");
    }
    let dir = closed_journal(10);
    let conn = Connection::open(dir.path().join(JOURNAL_FILE)).unwrap();
    conn.execute_batch("DELETE FROM outcome WHERE seq > 28").unwrap();
    drop(conn);
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Behind { outcomes: (28, 30), .. }), "{error}");
}

/// The best of a journal of 300, or an error; what is shown is always what was written.
fn shown(reader: &Reader, what: &str) -> Option<Vec<u64>> {
    let rows = reader.top((1, 1), Goal::Maximize, (20, 0)).ok()?;
    assert!(rows.iter().all(|row| *row == outcome(row.seq)), "{what}: a row is wrong");
    let in_order = |pair: &[OutcomeRow]| match pair[0].objective.partial_cmp(&pair[1].objective) {
        Some(Ordering::Equal) => pair[0].index < pair[1].index,
        order => order == Some(Ordering::Greater),
    };
    assert!(rows.windows(2).all(in_order), "{what}: the order");
    Some(rows.iter().map(|row| row.seq).collect())
}

#[test]
fn f77_what_a_flipped_bit_does_to_a_ranking_is_found_by_the_check() {
    let dir = closed_journal(100);
    let whole = fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    let best = shown(&Reader::open(dir.path()).unwrap(), "whole").unwrap();
    assert_eq!(Reader::open(dir.path()).unwrap().check().unwrap(), Some(300));
    let (mut found, mut changed) = (0, 0);
    for place in (0..whole.len()).step_by(197) {
        let what = format!("byte {place} flipped");
        let broken = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(broken.path().join(JOURNAL_FILE), bytes).unwrap();
        let Ok(reader) = Reader::open(broken.path()) else { continue };
        let is_best = shown(&reader, &what).is_none_or(|shown| shown == best);
        changed += u32::from(!is_best);
        match reader.check() {
            Ok(outcomes) => assert!(outcomes == Some(300) && is_best, "{what}: the check found nothing"),
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error}");
                found += 1;
            }
        }
    }
    assert!(found > 50, "{found} found, of which {changed} had changed the ranking");
}

#[test]
fn a_journal_that_was_not_closed_is_to_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    assert!(!store.needs_check(), "a new one");
    append(&mut store, 1, 3);
    let crashed = killed(dir.path());
    assert!(open(crashed.path()).unwrap().needs_check(), "its master was killed");
    drop(store);
    let mut store = open(dir.path()).unwrap();
    assert!(store.needs_check() && !Reader::was_closed(dir.path()), "its master said nothing");
    append(&mut store, 4, 4);
    store.close();
    drop(store);
    assert!(!open(dir.path()).unwrap().needs_check() && Reader::was_closed(dir.path()), "it was closed");
    append(&mut open(dir.path()).unwrap(), 5, 5);
    assert!(open(dir.path()).unwrap().needs_check(), "and opened again");
}

#[test]
fn a_check_can_be_stopped() {
    let dir = closed_journal(100);
    let reader = Reader::open(dir.path()).unwrap();
    reader.stopper().stop();
    assert_eq!(reader.check().unwrap(), None);
}

#[test]
fn nothing_is_acknowledged_once_the_data_directory_is_gone_and_all_of_it_can_still_be_read() {
    let base = tempfile::tempdir().unwrap();
    for (what, names) in
        [("the file", &[JOURNAL_FILE][..]), ("its log", &[LOG]), ("its lock", &["master.lock"])]
    {
        let dir = base.path().join(what);
        let mut store = open(&dir).unwrap();
        append(&mut store, 1, 3);
        store.still_there().unwrap();
        names.iter().for_each(|name| fs::remove_file(dir.join(name)).unwrap());
        let group = Group { events: &events(4..=4), outcomes: &[outcome(4)], standings: &[] };
        for _ in 0..2 {
            assert!(store.append(&group).is_err(), "{what}");
            assert!(matches!(store.still_there(), Err(StoreError::Gone { .. })), "{what}");
        }
    }
    let dir = base.path().join("all");
    let mut store = open(&dir).unwrap();
    append(&mut store, 1, 3);
    let reader = Reader::open(&dir).unwrap();
    append(&mut store, 4, 6);
    fs::remove_dir_all(&dir).unwrap();
    assert!(matches!(store.still_there(), Err(StoreError::Gone { .. })));
    let rows: Vec<OutcomeRow> = (1..=6).map(outcome).collect();
    assert_eq!(reader.after(0, None, 100).unwrap(), rows);
    // Somebody puts another one there: it is left alone when the old one is closed.
    let (other, _master) = logged();
    fs::create_dir(&dir).unwrap();
    ALL.iter().for_each(|name| fs::copy(other.path().join(name), dir.join(name)).map(drop).unwrap());
    let before = content(&dir);
    drop((store, reader));
    assert_eq!(content(&dir), before);
}

#[test]
fn a_copy_of_a_directory_is_told_from_one_that_was_moved() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let [first, copied, moved] = ["first", "copied", "moved"].map(|name| base.join(name));
    let mut store = open(&first).unwrap();
    assert_eq!(*store.home(), Home::Here);
    append(&mut store, 1, 3);
    let journal = identity(&store);
    drop(store);
    assert_eq!(*open(&first).unwrap().home(), Home::Here);

    fs::create_dir(&copied).unwrap();
    for name in [JOURNAL_FILE, HEAD_FILE] {
        fs::copy(first.join(name), copied.join(name)).unwrap();
    }
    let mut copy = open(&copied).unwrap();
    assert_eq!(*copy.home(), Home::CopyOf(first.clone()));
    append(&mut copy, 4, 4);
    assert!(identity(&copy).starts_with(&format!("{journal}-")));
    drop(copy);
    assert_eq!(*open(&copied).unwrap().home(), Home::Here, "it lives there from then on");

    fs::rename(&first, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, base.join("link")).unwrap();
    let mut store = open(&base.join("link")).unwrap();
    assert_eq!(*store.home(), Home::Moved);
    append(&mut store, 4, 4);
    drop(store);
    let store = open(&moved).unwrap();
    assert_eq!((store.home(), identity(&store)), (&Home::Here, journal));
}
