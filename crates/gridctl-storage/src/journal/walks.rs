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
use super::row::{COLUMNS, damaged_value};

/// Rows that one query fetches.
const CHUNK: u64 = 512;

impl Reader {
    /// Calls `each` with every success that stands, oldest first: for filters, other sort keys, and
    /// statistics over repeats.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn successes(
        &self,
        (sweep, version): (u32, u32),
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        let newest = newest("o");
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o WHERE o.seq > ?3 AND o.sweep = ?1 AND o.version = ?2
             AND o.terminal = 1 AND o.class = 'succeeded' AND {newest} ORDER BY o.seq LIMIT ?4"
        );
        let fits = |row: &OutcomeRow| is_success_of((sweep, version), row);
        self.walk(
            |last| {
                let rows = self.outcomes_of(&sql, params![sweep, version, clamp(last), clamp(CHUNK)]);
                self.fitting(rows?, fits)
            },
            each,
        )
    }

    /// Calls `each` with every attempt that did not succeed, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn failures(
        &self,
        (sweep, version): (u32, u32),
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o INDEXED BY outcome_failure
             WHERE o.sweep = ?1 AND o.version = ?2 AND o.class <> 'succeeded' AND o.seq > ?3
             ORDER BY o.seq LIMIT ?4"
        );
        let fits =
            |row: &OutcomeRow| (row.sweep, row.version) == (sweep, version) && row.class != Class::Succeeded;
        self.walk(
            |last| {
                let rows = self.outcomes_of(&sql, params![sweep, version, clamp(last), clamp(CHUNK)]);
                self.fitting(rows?, fits)
            },
            each,
        )
    }

    /// Calls `each` with every success under `code`, of any sweep, oldest first: of two with one
    /// trial the later one counts.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn known(&self, code: CodeHash, each: &mut dyn FnMut(OutcomeRow)) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o INDEXED BY outcome_code
             WHERE o.code = ?1 AND o.terminal = 1 AND o.class = 'succeeded' AND o.seq > ?2
             ORDER BY o.seq LIMIT ?3"
        );
        let text = code.to_string();
        let fits = |row: &OutcomeRow| row.code == code && row.terminal && row.class == Class::Succeeded;
        self.walk(
            |last| self.fitting(self.outcomes_of(&sql, params![text, clamp(last), clamp(CHUNK)])?, fits),
            each,
        )
    }

    /// Calls `each` with every attempt of a version in the order of the grid. Keeps 16 bytes an
    /// attempt in memory.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn outcomes(
        &self,
        (sweep, version): (u32, u32),
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        let sql = "SELECT idx, seq FROM outcome WHERE sweep = ?1 AND version = ?2";
        let mut places: Vec<(u64, u64)> = self.timed(|conn, path| {
            let query = || -> rusqlite::Result<_> {
                let mut statement = conn.prepare_cached(sql)?;
                let pair = |row: &rusqlite::Row<'_>| {
                    Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
                };
                statement.query_map(params![sweep, version], pair)?.collect()
            };
            query().map_err(|error| damaged_value(path, error))
        })?;
        places.sort_unstable();
        for chunk in places.chunks(64) {
            let seqs: Vec<u64> = chunk.iter().map(|(_, seq)| *seq).collect();
            self.by_seq(&seqs)?.into_iter().for_each(&mut *each);
        }
        Ok(())
    }

    /// Calls `each` with what `fetch` finds after the last number, until it finds nothing.
    fn walk(
        &self,
        fetch: impl Fn(u64) -> Result<Vec<OutcomeRow>, StoreError>,
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        let mut last = 0;
        loop {
            let rows = fetch(last)?;
            let Some(row) = rows.last() else { return Ok(()) };
            last = row.seq;
            rows.into_iter().for_each(&mut *each);
        }
    }
}
