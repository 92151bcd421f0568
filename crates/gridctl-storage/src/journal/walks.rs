//! Long walks over outcomes, in pieces.
//! Invariant: between two pieces the master is free to empty its log, and each row is what was
//! asked for.

use gridctl_core::id::CodeHash;
use gridctl_core::record::Class;
use rusqlite::params;

use super::OutcomeRow;
use super::error::StoreError;
use super::points::{clamp, is_success_of, newest};
use super::reader::Reader;
use super::row::COLUMNS;

/// Rows that one query fetches.
const CHUNK: u64 = 512;

impl Reader {
    /// Calls `each` with every success that stands, those that are linked before the version's own,
    /// oldest first: for filters, other sort keys, and statistics over repeats.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn successes(
        &self,
        (sweep, version): (u32, u32),
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        self.linked_of((sweep, version), 0, &mut |row| {
            if row.class == Class::Succeeded {
                each(row);
            }
        })?;
        let newest = newest("o");
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o WHERE o.seq > ?3 AND o.sweep = ?1 AND o.version = ?2
             AND o.terminal = 1 AND o.class = 'succeeded' AND {newest} ORDER BY o.seq LIMIT ?4"
        );
        let fits = |row: &OutcomeRow| is_success_of((sweep, version), row);
        self.walk(
            0,
            |last| {
                let rows = self.outcomes_of(&sql, params![sweep, version, clamp(last), clamp(CHUNK)]);
                self.fitting(rows?, fits)
            },
            each,
        )
    }

    /// Calls `each` with every attempt that did not succeed, those that are linked before the
    /// version's own, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn failures(
        &self,
        (sweep, version): (u32, u32),
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        self.linked_failures((sweep, version), each)?;
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o INDEXED BY outcome_failure
             WHERE o.sweep = ?1 AND o.version = ?2 AND o.class <> 'succeeded' AND o.seq > ?3
             ORDER BY o.seq LIMIT ?4"
        );
        let fits =
            |row: &OutcomeRow| (row.sweep, row.version) == (sweep, version) && row.class != Class::Succeeded;
        self.walk(
            0,
            |last| {
                let rows = self.outcomes_of(&sql, params![sweep, version, clamp(last), clamp(CHUNK)]);
                self.fitting(rows?, fits)
            },
            each,
        )
    }

    /// Calls `each` with every success of a sweep under `code` after number `after`, oldest first: of two with one trial the
    /// later one counts.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn known(
        &self,
        (code, sweep): (CodeHash, u32),
        after: u64,
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o INDEXED BY outcome_code
             WHERE o.code = ?1 AND o.sweep = ?2 AND o.terminal = 1 AND o.class = 'succeeded' AND o.seq > ?3
             ORDER BY o.seq LIMIT ?4"
        );
        let text = code.to_string();
        let is_of = |row: &OutcomeRow| (row.code, row.sweep) == (code, sweep);
        let fits = |row: &OutcomeRow| is_of(row) && row.terminal && row.class == Class::Succeeded;
        self.walk(
            after,
            |last| {
                let rows = self.outcomes_of(&sql, params![text, sweep, clamp(last), clamp(CHUNK)])?;
                self.fitting(rows, fits)
            },
            each,
        )
    }

    /// Calls `each` with every outcome of a sweep after number `after`, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn all_of(&self, sweep: u32, after: u64, each: &mut dyn FnMut(OutcomeRow)) -> Result<(), StoreError> {
        self.walk(after, |last| self.after(last, Some(sweep), CHUNK), each)
    }

    /// Calls `each` with what `fetch` finds after the last number, until it finds nothing.
    fn walk(
        &self,
        mut last: u64,
        fetch: impl Fn(u64) -> Result<Vec<OutcomeRow>, StoreError>,
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        loop {
            let rows = fetch(last)?;
            let Some(row) = rows.last() else { return Ok(()) };
            last = row.seq;
            rows.into_iter().for_each(&mut *each);
        }
    }
}
