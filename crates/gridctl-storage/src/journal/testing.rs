//! What the journal's tests share: rows to write, and the conformance tests that every store must pass.
//! Invariant: a row here depends on its number alone, so that what is read back can be compared with it.

use gridctl_core::id::{CodeHash, TrialId};
use gridctl_core::record::{Class, TrialState};

use super::memory::{Damage, Failure};
use super::{
    EventRow, Group, Loaded, MemoryStore, Options, OutcomeRow, Snapshot, SqliteStore, Store, StoreError,
};

pub(crate) fn events(range: std::ops::RangeInclusive<u64>) -> Vec<EventRow> {
    range
        .map(|seq| EventRow { seq, payload: format!(r#"{{"began":{{"epoch":{seq}}}}}"#).into_bytes() })
        .collect()
}

/// A success of sweep 1, version 1, whose objective is `seq` modulo 100.
pub(crate) fn outcome(seq: u64) -> OutcomeRow {
    let mut id = [0; 10];
    id[..8].copy_from_slice(&seq.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    OutcomeRow {
        seq,
        sweep: 1,
        version: 1,
        index: seq,
        trial: TrialId(id),
        point: TrialId(id),
        code: CodeHash([7; 10]),
        repeat: 0,
        generation: 1,
        terminal: true,
        state: TrialState::Succeeded,
        class: Class::Succeeded,
        objective: Some(f64::from(u32::try_from(seq % 100).unwrap())),
        read_by: "{}".to_owned(),
        record: format!(r#"{{"record":{seq}}}"#),
    }
}

/// Appends events (and as many outcomes) `from..=to` as one group.
pub(crate) fn append(store: &mut dyn Store, from: u64, to: u64) {
    let outcomes: Vec<_> = (from..=to).map(outcome).collect();
    store.append(&Group { events: &events(from..=to), outcomes: &outcomes, standings: &[] }).unwrap();
}

fn conforms(store: &mut dyn Store) {
    assert_eq!(store.load(u64::MAX).unwrap(), Loaded { next_seq: 1, ..Loaded::default() }, "empty");
    store.append(&Group::default()).unwrap();
    append(store, 1, 3);
    append(store, 4, 4);
    let loaded = store.load(u64::MAX).unwrap();
    assert_eq!((loaded.tail, loaded.next_seq), (events(1..=4), 5), "what was appended comes back");

    let again = store.append(&Group { events: &events(4..=5), outcomes: &[], standings: &[] });
    assert!(matches!(again, Err(StoreError::Duplicate { seq: 4 })), "{again:?}");
    let gap = store.append(&Group { events: &events(6..=6), outcomes: &[], standings: &[] });
    assert!(matches!(gap, Err(StoreError::Gap { expected: 5, got: 6 })), "{gap:?}");
    let outcome_again =
        store.append(&Group { events: &events(5..=5), outcomes: &[outcome(2)], standings: &[] });
    assert!(matches!(outcome_again, Err(StoreError::Duplicate { seq: 2 })), "{outcome_again:?}");
    assert_eq!(store.load(u64::MAX).unwrap().next_seq, 5, "what is refused leaves nothing");

    let early = store.snapshot(&Snapshot { seq: 9, bytes: b"future" });
    assert!(matches!(early, Err(StoreError::Gap { .. })), "{early:?}");
    for seq in 2..=4 {
        store.snapshot(&Snapshot { seq, bytes: &seq.to_le_bytes() }).unwrap();
    }
    append(store, 5, 6);
    let loaded = store.load(u64::MAX).unwrap();
    assert_eq!(loaded.snapshot, Some((4, 4_u64.to_le_bytes().to_vec())));
    assert_eq!((loaded.tail, loaded.next_seq), (events(5..=6), 7), "the tail begins after the snapshot");
    let earlier = store.load(4).unwrap();
    assert_eq!(earlier.snapshot, Some((3, 3_u64.to_le_bytes().to_vec())), "the one before");
    assert_eq!((earlier.tail, earlier.next_seq), (events(4..=6), 7));
    let none = store.load(3).unwrap();
    assert_eq!((none.snapshot, none.tail), (None, events(1..=6)), "two are kept");
    store.idle();
    append(store, 7, 7);
}

#[test]
fn both_stores_conform() {
    conforms(&mut MemoryStore::new());
    conforms(&mut MemoryStore::held_back().synced_each_time());
    let dir = tempfile::tempdir().unwrap();
    conforms(&mut SqliteStore::open(dir.path(), Options::default()).unwrap());
}

/// A store that syncs after each write.
struct Synced(MemoryStore);

impl MemoryStore {
    fn synced_each_time(self) -> Synced {
        Synced(self)
    }
}

impl Store for Synced {
    fn append(&mut self, group: &Group<'_>) -> Result<(), StoreError> {
        self.0.append(group).inspect(|()| self.0.sync())
    }
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Result<(), StoreError> {
        self.0.snapshot(snapshot).inspect(|()| self.0.sync())
    }
    fn load(&mut self, before: u64) -> Result<Loaded, StoreError> {
        self.0.load(before)
    }
}

#[test]
fn a_damaged_snapshot_in_memory_is_passed_over() {
    let mut store = MemoryStore::new();
    assert!(!store.damage_snapshot(0), "there is none");
    append(&mut store, 1, 4);
    for (seq, bytes) in [(2, b"12"), (4, b"34")] {
        store.snapshot(&Snapshot { seq, bytes }).unwrap();
    }
    assert!(store.damage_snapshot(1));
    let loaded = store.load(u64::MAX).unwrap();
    assert_eq!((loaded.snapshot, loaded.damaged_snapshots), (Some((2, b"12".to_vec())), 1));
    assert_eq!((loaded.tail, loaded.next_seq), (events(3..=4), 5));
}

#[test]
fn a_damaged_log_in_memory_is_refused_until_it_is_mended() {
    let damages = [
        (Damage::Changed, "an event's checksum does not fit (at 3)"),
        (Damage::Missing, "events are missing (at 3)"),
        (Damage::Cut, "is behind: it ends with event 2 and"),
    ];
    for (damage, said) in damages {
        let mut store = MemoryStore::new();
        assert!(!store.damage_log(damage, 0), "there is nothing");
        append(&mut store, 1, 5);
        assert!(store.damage_log(damage, 2) && store.is_damaged());
        let refused = store.load(u64::MAX).unwrap_err().to_string();
        assert!(refused.contains(said), "{damage:?}: {refused}");
        assert_eq!(store.events(), events(1..=5), "what was written is known");
        store.mend_log();
        assert_eq!(store.load(u64::MAX).unwrap().tail, events(1..=5));
        store.snapshot(&Snapshot { seq: 5, bytes: b"5" }).unwrap();
        assert!(store.damage_log(damage, 2));
        // What a snapshot stands for is not read; that the log ends before it is seen.
        assert_eq!(store.load(u64::MAX).is_err(), damage == Damage::Cut);
    }
}

#[test]
fn a_crash_keeps_what_was_synced_and_whole_groups_alone() {
    for (torn, expected) in [(0, 2), (1, 2), (3, 2), (4, 4), (5, 4), (6, 5), (100, 5)] {
        let mut store = MemoryStore::held_back();
        append(&mut store, 1, 2);
        store.sync();
        append(&mut store, 3, 4);
        append(&mut store, 5, 5);
        store.crash(torn);
        assert_eq!(store.events(), events(1..=expected), "{torn} rows had reached the disk");
        assert_eq!(store.outcomes().len() as u64, expected);
        append(&mut store, expected + 1, expected + 1);
    }
}

#[test]
fn failures_come_when_they_were_asked_for() {
    let mut store = MemoryStore::new();
    store.fail_next(Failure::NoSpace);
    store.fail_next(Failure::Fatal);
    let group = events(1..=1);
    let mut attempt = || store.append(&Group { events: &group, outcomes: &[], standings: &[] });
    assert!(matches!(attempt(), Err(StoreError::NoSpace { .. })));
    assert!(matches!(attempt(), Err(StoreError::Fatal { .. })));
    assert!(matches!(attempt(), Err(StoreError::Fatal { .. })), "it stays dead");
    store.crash(0);
    store.append(&Group { events: &group, outcomes: &[], standings: &[] }).unwrap();
}
