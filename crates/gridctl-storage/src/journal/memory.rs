//! A journal in memory, for the simulator: what is appended is held back until it is synced, and a
//! crash may tear it; a snapshot may be damaged later.
//! Invariant: whatever is torn, what is read back is a prefix of the groups and holds every group
//! that was synced.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::row::{Chain, snapshot_crc, snapshot_is_whole};
use super::{EventRow, Group, Loaded, OutcomeRow, Snapshot, Store};

/// What the next write does instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// [`StoreError::NoSpace`], nothing written.
    NoSpace,
    /// [`StoreError::Fatal`], and the store refuses everything until the next [`MemoryStore::crash`].
    Fatal,
}

#[derive(Debug, Clone, PartialEq)]
enum Write {
    Group { events: Vec<EventRow>, outcomes: Vec<OutcomeRow> },
    Snapshot(u64, Vec<u8>),
}

/// A snapshot as the disk has it.
#[derive(Debug)]
struct Kept {
    seq: u64,
    crc: u32,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<EventRow>,
    outcomes: Vec<OutcomeRow>,
    snapshots: Vec<Kept>,
    /// Written, but not yet durable.
    held: Vec<Write>,
    /// Writes stay in `held` until [`MemoryStore::sync`].
    hold: bool,
    failures: Vec<Failure>,
    dead: bool,
}

/// A journal in memory. Clones share it, so that a simulator can crash what a master writes.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

impl MemoryStore {
    /// An empty journal whose writes are durable at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal whose writes are durable only after [`MemoryStore::sync`].
    #[must_use]
    pub fn held_back() -> Self {
        let store = Self::default();
        store.lock().hold = true;
        store
    }

    /// Makes everything that was written durable.
    pub fn sync(&self) {
        let mut inner = self.lock();
        let held = std::mem::take(&mut inner.held);
        held.into_iter().for_each(|write| inner.keep(write));
    }

    /// Loses power: of what was not synced only the first `torn` rows had reached the disk. A group that is not whole is gone.
    pub fn crash(&self, torn: usize) {
        let mut inner = self.lock();
        let mut reached = torn;
        for write in std::mem::take(&mut inner.held) {
            let rows = match &write {
                Write::Group { events, outcomes } => events.len() + outcomes.len(),
                Write::Snapshot(..) => 1,
            };
            if rows > reached {
                break;
            }
            reached -= rows;
            inner.keep(write);
        }
        inner.dead = false;
        inner.failures.clear();
    }

    /// Lets a write fail; several calls let as many writes fail, in this order.
    pub fn fail_next(&self, failure: Failure) {
        self.lock().failures.push(failure);
    }

    /// Changes a digit of the newest durable snapshot, the first one from `place` on, counted round
    /// and round: what can still be read says something else. False if there is none.
    pub fn damage_snapshot(&self, place: usize) -> bool {
        let mut inner = self.lock();
        let Some(newest) = inner.snapshots.last_mut() else { return false };
        let place = place % newest.bytes.len().max(1);
        let (before, after) = newest.bytes.split_at_mut(place);
        let digit = after.iter_mut().chain(before).find(|byte| byte.is_ascii_digit());
        let Some(digit) = digit else { return false };
        *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
        true
    }

    /// Every durable event.
    #[must_use]
    pub fn events(&self) -> Vec<EventRow> {
        self.lock().events.clone()
    }

    /// Every durable outcome.
    #[must_use]
    pub fn outcomes(&self) -> Vec<OutcomeRow> {
        self.lock().outcomes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, write: Write) {
        match write {
            Write::Group { mut events, mut outcomes } => {
                self.events.append(&mut events);
                self.outcomes.append(&mut outcomes);
            }
            Write::Snapshot(seq, bytes) => {
                self.snapshots.retain(|old| old.seq != seq);
                let crc = snapshot_crc(Chain { seq, crc: 0 }, &bytes);
                self.snapshots.push(Kept { seq, crc, bytes });
                let surplus = self.snapshots.len().saturating_sub(2);
                self.snapshots.drain(..surplus);
            }
        }
    }

    fn write(&mut self, write: Write) {
        if self.hold { self.held.push(write) } else { self.keep(write) }
    }

    /// What has been written, durable or not.
    fn written(&self) -> (u64, u64) {
        let mut last = (
            self.events.last().map_or(0, |event| event.seq),
            self.outcomes.last().map_or(0, |outcome| outcome.seq),
        );
        for write in &self.held {
            if let Write::Group { events, outcomes } = write {
                last.0 = events.last().map_or(last.0, |event| event.seq);
                last.1 = outcomes.last().map_or(last.1, |outcome| outcome.seq);
            }
        }
        last
    }

    fn may_fail(&mut self) -> Result<(), StoreError> {
        let path = PathBuf::from("memory");
        let failure = if self.failures.is_empty() { None } else { Some(self.failures.remove(0)) };
        match failure {
            Some(Failure::NoSpace) if !self.dead => return Err(StoreError::NoSpace { path }),
            Some(Failure::Fatal) => self.dead = true,
            _ => {}
        }
        if self.dead {
            return Err(StoreError::Fatal {
                path,
                doing: "committing",
                source: "as the simulator asked".into(),
            });
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn append(&mut self, group: &Group<'_>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let (last_event, last_outcome) = inner.written();
        for (event, expected) in group.events.iter().zip(last_event + 1..) {
            if event.seq < expected {
                return Err(StoreError::Duplicate { seq: event.seq });
            }
            if event.seq > expected {
                return Err(StoreError::Gap { expected, got: event.seq });
            }
        }
        let mut last = last_outcome;
        for outcome in group.outcomes {
            if outcome.seq <= last {
                return Err(StoreError::Duplicate { seq: outcome.seq });
            }
            if outcome.seq > last + 1 {
                return Err(StoreError::Gap { expected: last + 1, got: outcome.seq });
            }
            last = outcome.seq;
        }
        inner.may_fail()?;
        inner.write(Write::Group { events: group.events.to_vec(), outcomes: group.outcomes.to_vec() });
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let (last, _) = inner.written();
        if snapshot.seq > last {
            return Err(StoreError::Gap { expected: last, got: snapshot.seq });
        }
        inner.may_fail()?;
        inner.write(Write::Snapshot(snapshot.seq, snapshot.bytes.to_vec()));
        Ok(())
    }

    fn load(&mut self, before: u64) -> Result<Loaded, StoreError> {
        let inner = self.lock();
        let is_whole =
            |kept: &Kept| snapshot_is_whole(Chain { seq: kept.seq, crc: 0 }, &kept.bytes, kept.crc);
        let asked = inner.snapshots.iter().rev().filter(|kept| kept.seq < before);
        let damaged = asked.clone().take_while(|kept| !is_whole(kept)).count();
        let snapshot = asked.skip(damaged).map(|kept| (kept.seq, kept.bytes.clone())).next();
        let after = snapshot.as_ref().map_or(0, |(seq, _)| *seq);
        let tail = inner.events.iter().filter(|event| event.seq > after).cloned().collect();
        let next_seq = inner.events.last().map_or(0, |event| event.seq) + 1;
        Ok(Loaded { snapshot, tail, next_seq, damaged_snapshots: u32::try_from(damaged).unwrap_or(u32::MAX) })
    }
}
