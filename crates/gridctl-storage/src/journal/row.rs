//! Rows of the journal as SQLite has them: binding, reading back, and the checksums that tell whether they are what was written.
//! Invariant: no row leaves here whose checksum does not fit.

use std::path::Path;

use gridctl_core::record::{Class, TrialState};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement, params};

use super::error::StoreError;
use super::{EventRow, OutcomeRow};

/// The columns of an outcome, in the order that [`read_outcome`] expects.
pub(crate) const COLUMNS: &str = "o.seq, o.sweep, o.version, o.idx, o.trial, o.point, o.code, o.repeat, \
    o.generation, o.terminal, o.state, o.class, o.objective, o.crc, o.read_by, o.record";
pub(crate) const INSERT_EVENT: &str = "INSERT INTO event VALUES (?1, ?2, ?3)";
pub(crate) const INSERT_OUTCOME: &str =
    "INSERT INTO outcome VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// The last event's number and checksum; each event's checksum includes the one before it, and the first the journal's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) seq: u64,
    pub(crate) crc: u32,
}

impl Chain {
    /// Before the first event of the journal of this name.
    pub(crate) fn start(journal: &str) -> Self {
        Self { seq: 0, crc: crc32fast::hash(journal.as_bytes()) }
    }

    /// After one more event.
    pub(crate) fn next(self, payload: &[u8]) -> Self {
        let seq = self.seq + 1;
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc);
        hasher.update(&seq.to_le_bytes());
        hasher.update(payload);
        Self { seq, crc: hasher.finalize() }
    }

    /// After the event that is stored under this number with this checksum; what is wrong, and at
    /// which number, if it is not the one that was written next.
    pub(crate) fn follow(self, seq: u64, payload: &[u8], crc: u32) -> Result<Self, (&'static str, u64)> {
        if seq != self.seq + 1 {
            return Err(("events are missing", self.seq + 1));
        }
        let next = self.next(payload);
        if next.crc == crc { Ok(next) } else { Err(("an event's checksum does not fit", seq)) }
    }
}

/// A snapshot's checksum.
pub(crate) fn snapshot_crc(chain: Chain, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(chain.crc);
    hasher.update(&chain.seq.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Whether these are the bytes that the checksum was made of.
pub(crate) fn snapshot_is_whole(chain: Chain, bytes: &[u8], crc: u32) -> bool {
    snapshot_crc(chain, bytes) == crc
}

pub(crate) fn insert_event(
    statement: &mut Statement<'_>,
    event: &EventRow,
    crc: u32,
) -> rusqlite::Result<()> {
    let payload = ToSqlOutput::Borrowed(ValueRef::Text(&event.payload));
    statement.execute(params![event.seq.cast_signed(), crc, payload]).map(drop)
}

pub(crate) fn insert_outcome(statement: &mut Statement<'_>, row: &OutcomeRow) -> rusqlite::Result<()> {
    let objective = row.objective.filter(|value| value.is_finite());
    let (trial, point, code) = (row.trial.to_string(), row.point.to_string(), row.code.to_string());
    statement
        .execute(params![
            row.seq.cast_signed(),
            row.sweep,
            row.version,
            row.index.cast_signed(),
            trial,
            point,
            code,
            row.repeat,
            row.generation,
            row.terminal,
            row.state.as_str(),
            row.class.as_str(),
            objective,
            outcome_crc(row),
            row.read_by,
            row.record,
        ])
        .map(drop)
}

/// The checksum of everything in `row`.
fn outcome_crc(row: &OutcomeRow) -> u32 {
    let objective = row.objective.filter(|value| value.is_finite());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&row.seq.to_le_bytes());
    hasher.update(&row.index.to_le_bytes());
    for number in [row.sweep, row.version, row.repeat, row.generation, row.terminal.into()] {
        hasher.update(&number.to_le_bytes());
    }
    for id in [&row.trial.0, &row.point.0, &row.code.0] {
        hasher.update(id);
    }
    hasher.update(row.state.as_str().as_bytes());
    hasher.update(row.class.as_str().as_bytes());
    hasher.update(&[u8::from(objective.is_some())]);
    // -0.0 is stored as 0.0, so both have one checksum.
    hasher.update(&(objective.unwrap_or(0.0) + 0.0).to_bits().to_le_bytes());
    hasher.update(&(row.read_by.len() as u64).to_le_bytes());
    hasher.update(row.read_by.as_bytes());
    hasher.update(row.record.as_bytes());
    hasher.finalize()
}

/// Reads the columns of [`COLUMNS`] and checks them.
pub(crate) fn read_outcome(path: &Path, row: &Row<'_>) -> Result<OutcomeRow, StoreError> {
    let sqlite = |error| damaged_value(path, error);
    let seq = row.get::<_, i64>(0).map_err(sqlite)?.cast_unsigned();
    let damaged = |what: &str| StoreError::Corrupt { path: path.to_owned(), what: what.to_owned(), at: seq };
    let text =
        |column: usize| row.get_ref(column).map_err(sqlite)?.as_str().map_err(|_| damaged("an outcome"));
    let state = text(10)?;
    let class = text(11)?;
    let outcome = OutcomeRow {
        seq,
        sweep: row.get(1).map_err(sqlite)?,
        version: row.get(2).map_err(sqlite)?,
        index: row.get::<_, i64>(3).map_err(sqlite)?.cast_unsigned(),
        trial: text(4)?.parse().map_err(|_| damaged("an outcome's trial"))?,
        point: text(5)?.parse().map_err(|_| damaged("an outcome's point"))?,
        code: text(6)?.parse().map_err(|_| damaged("an outcome's code"))?,
        repeat: row.get(7).map_err(sqlite)?,
        generation: row.get(8).map_err(sqlite)?,
        terminal: row.get(9).map_err(sqlite)?,
        state: TrialState::named(state).ok_or_else(|| damaged("an outcome's state"))?,
        class: Class::ALL
            .into_iter()
            .find(|it| it.as_str() == class)
            .ok_or_else(|| damaged("an outcome's class"))?,
        objective: row.get(12).map_err(sqlite)?,
        read_by: text(14)?.to_owned(),
        record: text(15)?.to_owned(),
    };
    if row.get::<_, u32>(13).map_err(sqlite)? != outcome_crc(&outcome) {
        return Err(damaged("an outcome's checksum does not fit"));
    }
    Ok(outcome)
}

/// A value of another type than its column's is damage as well.
pub(crate) fn damaged_value(path: &Path, error: rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => {
            StoreError::Corrupt { path: path.to_owned(), what: error.to_string(), at: 0 }
        }
        error => StoreError::from_sqlite(path, "being read", error),
    }
}
