//! The journal: every decision of a master in order, and beside them the outcomes that leaderboards read.
//! Invariant: [`Store::append`] returns only when the whole group is durable; after a crash the journal holds a prefix of the
//! groups, with all that were acknowledged.

mod check;
mod error;
pub mod fs_check;
mod head;
mod home;
mod load;
mod lock;
pub mod memory;
mod open;
mod open_files;
mod points;
pub mod reader;
mod replacement;
mod row;
mod schema;
pub mod sqlite;
mod standing;
mod standing_rank;
#[cfg(test)]
mod testing;
mod walks;

use gridctl_core::id::{CodeHash, SweepId, TrialId};
use gridctl_core::leaderboard::Brief;
use gridctl_core::record::{Class, Record, TrialState};

pub use check::Stopper;
pub use error::StoreError;
pub use head::HEAD_FILE;
pub use home::Home;
pub use lock::living_master;
pub use memory::{Damage, MemoryStore};
pub use reader::Reader;
pub use replacement::Replacement;
pub use schema::{FORMAT, JOURNAL_FILE};
pub use sqlite::{Options, SqliteStore};
pub use standing::{Link, StandingRow};

/// One event: the JSON of a decision, opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// JSON text.
    pub payload: Vec<u8>,
}

/// The end of one attempt, as queries need it; `record` is everything that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeRow {
    /// Its number among outcomes, from 1, without gaps.
    pub seq: u64,
    /// The sweep's number.
    pub sweep: u32,
    /// The sweep's version.
    pub version: u32,
    /// The trial's place in this version.
    pub index: u64,
    /// The trial.
    pub trial: TrialId,
    /// The trial less its repeat.
    pub point: TrialId,
    /// The code's mark.
    pub code: CodeHash,
    /// The repeat.
    pub repeat: u32,
    /// The trial's generation; the highest one with an end counts.
    pub generation: u32,
    /// Whether the trial is settled by this.
    pub terminal: bool,
    /// The trial's state afterwards.
    pub state: TrialState,
    /// How the attempt ended.
    pub class: Class,
    /// The objective; `None` if it was not seen. One that is not finite is stored as `None`.
    pub objective: Option<f64>,
    /// JSON of what read the metrics, a [`gridctl_core::metrics::ReadBy`].
    pub read_by: String,
    /// JSON of a [`gridctl_core::record::Record`], as it was written: see [`OutcomeRow::record`].
    pub record: String,
}

impl OutcomeRow {
    /// The row of a record.
    #[must_use]
    pub fn of(record: &Record, sweep: SweepId, seq: u64) -> Self {
        Self {
            seq,
            sweep: sweep.0,
            version: record.version,
            index: record.index,
            trial: record.report.trial,
            point: record.point,
            code: record.code,
            repeat: record.repeat,
            generation: record.generation,
            terminal: record.state != TrialState::Pending,
            state: record.state,
            class: record.report.class,
            objective: record.report.objective.map(|value| value.0).filter(|value| value.is_finite()),
            read_by: serde_json::to_string(&record.read_by).expect("what reads metrics has text keys"),
            record: serde_json::to_string(record)
                .expect("a record has text keys, and its numbers are finite or named"),
        }
    }

    /// The record, as the outcome counts for the row's version.
    ///
    /// # Errors
    /// It is none.
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        let mut record: Record = serde_json::from_str(&self.record)?;
        if record.version != self.version {
            record.known_from.get_or_insert_with(|| (record.sweep.clone(), record.version));
        }
        (record.version, record.index, record.generation) = (self.version, self.index, self.generation);
        Ok(record)
    }

    /// What leaderboards need of the record, as the outcome counts for the row's version.
    ///
    /// # Errors
    /// It is none.
    pub fn brief(&self) -> Result<Brief, serde_json::Error> {
        let mut brief: Brief = serde_json::from_str(&self.record)?;
        (brief.index, brief.generation) = (self.index, self.generation);
        Ok(brief)
    }

    /// The same outcome, as it counts for another version of its sweep.
    pub(crate) fn counting_for(self, version: u32, index: u64) -> Self {
        Self { version, index, generation: 1, ..self }
    }
}

/// What is committed at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Group<'a> {
    /// Events that follow the last one without a gap.
    pub events: &'a [EventRow],
    /// Outcomes that they brought.
    pub outcomes: &'a [OutcomeRow],
    /// Outcomes that they linked.
    pub standings: &'a [StandingRow],
}

impl Group<'_> {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.outcomes.is_empty() && self.standings.is_empty()
    }
}

/// The state after `seq` events, serialised.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// The last event that is in it.
    pub seq: u64,
    /// Opaque here.
    pub bytes: &'a [u8],
}

/// What a master starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The newest snapshot that is whole: the last event in it, and its bytes.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// Every event after the snapshot.
    pub tail: Vec<EventRow>,
    /// The number of the next event.
    pub next_seq: u64,
    /// Snapshots that were damaged and passed over; the events make up for them.
    pub damaged_snapshots: u32,
}

/// A journal that one master writes.
pub trait Store: Send {
    /// Commits `group`, all of it or nothing; returns when it is durable.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] and [`StoreError::Busy`]: nothing was written, try again later. [`StoreError::Duplicate`] and
    /// [`StoreError::Gap`]: the group does not follow the last one. Anything else: the process must end without an answer to
    /// anybody, for what is on the disk is known only to the next start.
    fn append(&mut self, group: &Group<'_>) -> Result<(), StoreError>;

    /// Keeps `snapshot`, and the one before it.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Result<(), StoreError>;

    /// Reads what a master starts from: the newest whole snapshot of an event before number `before`
    /// (`u64::MAX`: of any event), and every event after it. Whoever does not understand that
    /// snapshot asks again for one before it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: the journal is damaged.
    fn load(&mut self, before: u64) -> Result<Loaded, StoreError>;

    /// Housekeeping while nothing waits for a commit.
    fn idle(&mut self) {}

    /// Looks whether what was written can still be found.
    ///
    /// # Errors
    /// [`StoreError::Gone`]: the journal was removed, moved or replaced; what this store can still
    /// read is all that is left.
    fn still_there(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nothing more will be written, and the journal is known to be sound: the next start need not
    /// check it.
    fn close(&mut self) {}
}
