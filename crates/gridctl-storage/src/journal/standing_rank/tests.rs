//! A version with links answers as if each had been copied; and what does not fit is refused.

use gridctl_core::id::{CodeHash, TrialId};
use gridctl_core::record::{Class, TrialState};
use gridctl_core::sched::LinkSum;

use super::*;
use crate::journal::testing::{events, outcome};
use crate::journal::{EventRow, Group, Link, Options, SqliteStore, StandingRow, Store};

/// Numbers that look random, from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % count
    }
}

/// What a question gives: trial, version, place, generation, state, objective.
type Answer = (TrialId, u32, u64, u32, TrialState, Option<u64>);

fn answers(rows: Vec<OutcomeRow>) -> Vec<Answer> {
    let answer = |row: OutcomeRow| {
        let objective = row.objective.map(f64::to_bits);
        (row.trial, row.version, row.index, row.generation, row.state, objective)
    };
    rows.into_iter().map(answer).collect()
}

fn collected(walk: impl FnOnce(&mut dyn FnMut(OutcomeRow)) -> Result<(), StoreError>) -> Vec<Answer> {
    let mut rows = Vec::new();
    walk(&mut |row| rows.push(row)).unwrap();
    let mut answers = answers(rows);
    answers.sort_unstable();
    answers
}

/// A journal with these rows, and links of versions from the second on, made after outcome `since`.
fn journal(rows: &[OutcomeRow], since: u64, links: &[Vec<Link>]) -> (tempfile::TempDir, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(dir.path(), Options::default()).unwrap();
    let mut events = events(1..=1);
    let mut standings = Vec::new();
    for (links, version) in links.iter().zip(2..) {
        standings.extend(StandingRow::pack((1, version), since, links.clone()));
        let mut sum = LinkSum::default();
        links.iter().for_each(|link| sum.add(link.seq, link.index));
        let event = serde_json::json!({"known": {"sweep": 1, "version": version, "known": {}, "links": sum}});
        let seq = events.len() as u64 + 1;
        events.push(EventRow { seq, payload: event.to_string().into_bytes() });
    }
    store.append(&Group { events: &events, outcomes: rows, standings: &standings }).unwrap();
    drop(store);
    let reader = Reader::open(dir.path()).unwrap();
    (dir, reader)
}

/// A trial's attempt in version 1 or 2, of many kinds.
fn row(dice: &mut Dice, seq: u64, version: u32) -> OutcomeRow {
    let mut row = outcome(seq);
    (row.version, row.index) = (version, seq);
    // In text the second one comes first.
    row.code = CodeHash(if dice.below(2) == 0 { [0; 10] } else { [0xff; 10] });
    match dice.below(8) {
        0 => (row.class, row.state, row.objective) = (Class::Failed, TrialState::Failed, None),
        1 => (row.class, row.state, row.terminal) = (Class::Lost, TrialState::Pending, false),
        2 => row.objective = None,
        _ => row.objective = Some(f64::from(u32::try_from(dice.below(5)).unwrap())),
    }
    row
}

#[test]
fn a_version_with_links_answers_as_one_with_copies() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let count = 20 + dice.below(60);
        let mut rows: Vec<OutcomeRow> =
            (1..=count).map(|seq| row(&mut dice, seq, if seq * 2 < count { 1 } else { 2 })).collect();
        let (mut links, mut copies) = (Vec::new(), Vec::new());
        for linked in rows.iter().filter(|row| row.terminal) {
            if dice.below(4) > 0 {
                let index = (linked.index * 7 + 3) % 101;
                let code = (linked.class == Class::Succeeded).then_some(linked.code);
                links.push(Link { seq: linked.seq, index, source: linked.version, code });
                copies.push(linked.clone().counting_for(3, index));
            }
        }
        // The version's own: new trials, and failures that were tried again.
        let mut own = Vec::new();
        for seq in count + 1..count + 8 {
            own.push(OutcomeRow { index: 200 + seq, ..row(&mut dice, seq, 3) });
        }
        for (copy, seq) in copies.iter().filter(|copy| copy.state == TrialState::Failed).zip(count + 8..) {
            let again = OutcomeRow { seq, generation: 2, ..copy.clone() };
            let is_well = dice.below(2) > 0;
            own.push(if is_well {
                let state = TrialState::Succeeded;
                OutcomeRow { class: Class::Succeeded, state, objective: Some(2.0), ..again }
            } else {
                again
            });
        }
        let mut copied = rows.clone();
        copied.extend(copies.into_iter().chain(own.clone()));
        copied.iter_mut().zip(1..).for_each(|(row, seq)| row.seq = seq);
        rows.extend(own);
        let (_linked_dir, linked) = journal(&rows, count, &[vec![], links]);
        let (_copied_dir, copied) = journal(&copied, 0, &[]);
        assert_eq!(linked.check().unwrap(), Some(rows.len() as u64), "{seed}");
        same_answers(&linked, &copied, seed);
        for trial in rows.iter().map(|row| row.trial) {
            let attempts = |reader: &Reader| answers(reader.attempts_of(1, trial).unwrap());
            assert_eq!(attempts(&linked), attempts(&copied), "{seed}");
        }
    }
}

fn same_answers(linked: &Reader, copied: &Reader, seed: u64) {
    let version = (1, 3);
    for goal in [Goal::Maximize, Goal::Minimize] {
        for (k, offset) in [(0, 0), (1, 0), (3, 2), (7, 5), (1_000, 0), (9, 40), (5, 1_000), (u64::MAX, 3)] {
            let page = |reader: &Reader| {
                let mut page = reader.top(version, goal, (k, offset)).unwrap();
                let above = page.len() as u64;
                page.extend(reader.unranked(version, (k, offset), above).unwrap());
                answers(page)
            };
            assert_eq!(page(linked), page(copied), "{seed}: {k} after {offset}, {goal}");
        }
    }
    assert_eq!(linked.is_mixed(version).unwrap(), copied.is_mixed(version).unwrap(), "{seed}");
    let [of_linked, of_copied] =
        [linked, copied].map(|reader| collected(|each| reader.successes(version, each)));
    assert_eq!(of_linked, of_copied, "{seed}");
    let [of_linked, of_copied] =
        [linked, copied].map(|reader| collected(|each| reader.failures(version, each)));
    assert_eq!(of_linked, of_copied, "{seed}");
}

#[test]
fn many_links_are_found_by_number_in_pieces_of_a_few_bytes_each() {
    let rows: Vec<OutcomeRow> = (1..=5_000).map(outcome).collect();
    let code = Some(rows[0].code);
    let links = rows.iter().map(|row| Link { seq: row.seq, index: row.index * 2, source: 1, code });
    let links: Vec<Link> = links.collect();
    let bytes: usize = StandingRow::pack((1, 2), 0, links.clone()).iter().map(|it| it.bytes.len()).sum();
    assert!(bytes < 2 * links.len() + 16, "{bytes}");
    let (_dir, reader) = journal(&rows, 9, &[links]);
    let best = reader.top((1, 2), Goal::Maximize, (3, 0)).unwrap();
    let expected: Vec<_> = [99, 199, 299].map(|seq| (seq, seq * 2, 2)).to_vec();
    assert_eq!(best.iter().map(|row| (row.seq, row.index, row.version)).collect::<Vec<_>>(), expected);
    let mut seen = 0;
    while let rows = reader.linked_after((1, 2), seen, 700).unwrap()
        && let Some(first) = rows.first()
    {
        assert_eq!(first.seq, seen + 1);
        seen = rows.last().unwrap().seq;
    }
    assert_eq!(seen, 5_000);
    assert_eq!(reader.linked_after((1, 3), 0, 9).unwrap(), []);
}

#[test]
fn standings_that_do_not_fit_are_refused() {
    let rows: Vec<OutcomeRow> = (1..=9).map(outcome).collect();
    let code = Some(rows[0].code);
    let links: Vec<Link> = (1..=9).map(|seq| Link { seq, index: seq + 1, source: 1, code }).collect();
    let statements = [
        "DELETE FROM standing",
        "UPDATE standing SET bytes = substr(bytes, 1, 4)",
        "UPDATE standing SET source = 3",
        "UPDATE standing SET version = 3",
        "UPDATE standing SET succeeded = 8",
        "UPDATE standing SET low = high, high = 'x'",
        "UPDATE outcome SET version = 2, crc = crc WHERE seq = 4",
    ];
    for statement in statements {
        let (dir, reader) = journal(&rows, 9, std::slice::from_ref(&links));
        assert_eq!(reader.check().unwrap(), Some(9));
        drop(reader);
        let conn = rusqlite::Connection::open(dir.path().join(crate::journal::JOURNAL_FILE)).unwrap();
        conn.execute(statement, []).unwrap();
        drop(conn);
        let reader = Reader::open(dir.path()).unwrap();
        let checked = reader.check();
        assert!(matches!(checked, Err(StoreError::Corrupt { .. })), "{statement}: {checked:?}");
    }
    // Of other outcomes than the event says, with checksums that fit.
    let moved = links.iter().map(|link| Link { index: link.index + 1, ..*link }).collect();
    let (dir, reader) = journal(&rows, 9, &[links]);
    drop(reader);
    let conn = rusqlite::Connection::open(dir.path().join(crate::journal::JOURNAL_FILE)).unwrap();
    conn.execute("DELETE FROM standing", []).unwrap();
    let mut insert = conn.prepare(crate::journal::standing::INSERT_STANDING).unwrap();
    for piece in StandingRow::pack((1, 2), 0, moved) {
        crate::journal::standing::insert_standing(&mut insert, &piece).unwrap();
    }
    drop(insert);
    drop(conn);
    let checked = Reader::open(dir.path()).unwrap().check();
    assert!(matches!(checked, Err(StoreError::Corrupt { .. })), "{checked:?}");
}
