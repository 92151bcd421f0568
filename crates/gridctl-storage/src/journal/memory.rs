//! A journal in memory, for the simulator: what is appended is held back until it is synced, and a
//! crash may tear it; the log or a snapshot may be damaged later.
//! Invariant: whatever is torn, what is read back is a prefix of the groups and holds every group
//! that was synced; what is damaged is refused by the checks that the journal on disk has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridctl_core::id::SweepId;

use super::error::StoreError;
use super::head::Head;
use super::load::{behind, damaged};
use super::row::{Chain, snapshot_crc, snapshot_is_whole};
use super::{EventRow, Group, Loaded, OutcomeRow, Snapshot, StandingRow, Store};
use crate::results::{RecordRanges, ShipSource};

/// The journal's own name.
const NAME: &str = "memory";

/// What the next write does instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// [`StoreError::NoSpace`], nothing written.
    NoSpace,
    /// [`StoreError::Fatal`], and the store refuses everything until the next [`MemoryStore::crash`].
    Fatal,
}

/// What happens to the log at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A digit of an event is another one.
    Changed,
    /// An event is gone, and those after it are there.
    Missing,
    /// An event and all after it are gone.
    Cut,
}

#[derive(Debug, Clone, PartialEq)]
enum Write {
    Group { events: Vec<EventRow>, outcomes: Vec<OutcomeRow>, standings: Vec<StandingRow> },
    Snapshot(u64, Vec<u8>),
}

/// A snapshot as the disk has it.
#[derive(Debug)]
struct Kept {
    seq: u64,
    crc: u32,
    bytes: Vec<u8>,
}

/// An event as the disk has it.
#[derive(Debug, Clone)]
struct KeptEvent {
    payload: Vec<u8>,
    crc: u32,
}

#[derive(Debug, Default)]
struct Inner {
    events: BTreeMap<u64, KeptEvent>,
    /// The rows that were damaged, as they were written.
    undamaged: BTreeMap<u64, KeptEvent>,
    /// The chain after the last event that is durable, as `journal.head` has it.
    head: Option<Chain>,
    outcomes: Vec<OutcomeRow>,
    standings: Vec<StandingRow>,
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

    /// Loses power: of what was not synced only the first `torn` rows had reached the disk. A group
    /// that is not whole is gone.
    pub fn crash(&self, torn: usize) {
        let mut inner = self.lock();
        let mut reached = torn;
        for write in std::mem::take(&mut inner.held) {
            let rows = match &write {
                Write::Group { events, outcomes, standings } => {
                    events.len() + outcomes.len() + standings.len()
                }
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
        inner.snapshots.last_mut().is_some_and(|newest| change_digit(&mut newest.bytes, place))
    }

    /// Damages the durable log at the event `place`, counted round and round; false if nothing was
    /// damaged, or something is.
    pub fn damage_log(&self, damage: Damage, place: usize) -> bool {
        let mut inner = self.lock();
        let count = inner.events.len().max(1);
        let Some(seq) = inner.events.keys().nth(place % count).copied() else { return false };
        if !inner.undamaged.is_empty() {
            return false;
        }
        match damage {
            Damage::Changed => {
                let Some(event) = inner.events.get_mut(&seq) else { return false };
                let whole = event.clone();
                if !change_digit(&mut event.payload, place) {
                    return false;
                }
                inner.undamaged.insert(seq, whole);
            }
            Damage::Missing => {
                let gone = inner.events.remove(&seq);
                inner.undamaged.extend(gone.map(|event| (seq, event)));
            }
            Damage::Cut => inner.undamaged = inner.events.split_off(&seq),
        }
        true
    }

    /// Puts back what was damaged, as from a backup.
    pub fn mend_log(&self) {
        let mut inner = self.lock();
        let mut undamaged = std::mem::take(&mut inner.undamaged);
        inner.events.append(&mut undamaged);
    }

    /// Whether something of the log is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.lock().undamaged.is_empty()
    }

    /// Every durable event, as it was written.
    #[must_use]
    pub fn events(&self) -> Vec<EventRow> {
        let inner = self.lock();
        let mut all = inner.events.clone();
        all.append(&mut inner.undamaged.clone());
        all.into_iter().map(|(seq, event)| EventRow { seq, payload: event.payload }).collect()
    }

    /// Every durable outcome.
    #[must_use]
    pub fn outcomes(&self) -> Vec<OutcomeRow> {
        self.lock().outcomes.clone()
    }

    /// Every durable piece of what stands for versions.
    #[must_use]
    pub fn standings(&self) -> Vec<StandingRow> {
        self.lock().standings.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes the first digit from `place` on, counted round and round; false if there is none.
fn change_digit(bytes: &mut [u8], place: usize) -> bool {
    let place = place % bytes.len().max(1);
    let (before, after) = bytes.split_at_mut(place);
    let digit = after.iter_mut().chain(before).find(|byte| byte.is_ascii_digit());
    let Some(digit) = digit else { return false };
    *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
    true
}

impl Inner {
    fn head(&self) -> Chain {
        self.head.unwrap_or_else(|| Chain::start(NAME))
    }

    fn keep(&mut self, write: Write) {
        match write {
            Write::Group { events, mut outcomes, mut standings } => {
                for EventRow { seq, payload } in events {
                    let chain = self.head().next(&payload);
                    self.head = Some(chain);
                    self.events.insert(seq, KeptEvent { payload, crc: chain.crc });
                }
                self.outcomes.append(&mut outcomes);
                self.standings.append(&mut standings);
            }
            Write::Snapshot(seq, bytes) => {
                self.snapshots.retain(|old| old.seq != seq);
                let chain = match self.events.get(&seq) {
                    Some(event) => Chain { seq, crc: event.crc },
                    None => Chain::start(NAME),
                };
                let crc = snapshot_crc(chain, &bytes);
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
        let mut last = (self.head().seq, self.outcomes.last().map_or(0, |outcome| outcome.seq));
        for write in &self.held {
            if let Write::Group { events, outcomes, .. } = write {
                last.0 = events.last().map_or(last.0, |event| event.seq);
                last.1 = outcomes.last().map_or(last.1, |outcome| outcome.seq);
            }
        }
        last
    }

    fn may_fail(&mut self) -> Result<(), StoreError> {
        let path = PathBuf::from(NAME);
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
        inner.write(Write::Group {
            events: group.events.to_vec(),
            outcomes: group.outcomes.to_vec(),
            standings: group.standings.to_vec(),
        });
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
        let path = PathBuf::from(NAME);
        let head = inner.head();
        let last = inner.events.last_key_value().map_or(0, |(seq, _)| *seq);
        if last < head.seq {
            let journal = NAME.to_owned();
            let outcome = inner.outcomes.last().map_or(0, |outcome| outcome.seq);
            let known = Head { journal, event: head, outcome, is_closed: false };
            return Err(behind(&path, Some(&known), Chain { seq: last, crc: 0 }, outcome));
        }
        let chain_at = |seq: u64| match seq {
            0 => Some(Chain::start(NAME)),
            _ => inner.events.get(&seq).map(|event| Chain { seq, crc: event.crc }),
        };
        let mut loaded = Loaded::default();
        let mut chain = Chain::start(NAME);
        for kept in inner.snapshots.iter().rev().filter(|kept| kept.seq < before) {
            let at = chain_at(kept.seq).filter(|at| snapshot_is_whole(*at, &kept.bytes, kept.crc));
            if let Some(at) = at {
                chain = at;
                loaded.snapshot = Some((kept.seq, kept.bytes.clone()));
                break;
            }
            loaded.damaged_snapshots += 1;
        }
        for (seq, KeptEvent { payload, crc }) in inner.events.range(chain.seq + 1..) {
            let next = chain.follow(*seq, payload, *crc);
            chain = next.map_err(|(what, at)| damaged(&path, what, at))?;
            loaded.tail.push(EventRow { seq: *seq, payload: payload.clone() });
        }
        loaded.next_seq = chain.seq + 1;
        Ok(loaded)
    }
}

impl ShipSource for MemoryStore {
    fn journal_id(&self) -> &str {
        NAME
    }

    fn last_outcome(&self) -> Result<u64, StoreError> {
        Ok(self.lock().outcomes.last().map_or(0, |outcome| outcome.seq))
    }

    fn outcomes_after(&self, seq: u64, sweep: SweepId, limit: u64) -> Result<Vec<OutcomeRow>, StoreError> {
        let inner = self.lock();
        let after = inner.outcomes.iter().skip_while(|row| row.seq <= seq);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(after.filter(|row| row.sweep == sweep.0).take(limit).cloned().collect())
    }

    fn events_beginning(&self, prefix: &str) -> Result<Vec<EventRow>, StoreError> {
        let fits = |row: &EventRow| row.payload.starts_with(prefix.as_bytes());
        Ok(self.events().into_iter().filter(fits).collect())
    }

    fn linked(&self, sweep: SweepId, version: u32) -> Result<RecordRanges, StoreError> {
        let mut records = RecordRanges::default();
        let inner = self.lock();
        let of_version = |piece: &&StandingRow| (piece.sweep, piece.version) == (sweep.0, version);
        let links = inner.standings.iter().filter(of_version).filter_map(StandingRow::links);
        links.flatten().for_each(|(seq, _)| records.push(seq));
        Ok(records)
    }
}
