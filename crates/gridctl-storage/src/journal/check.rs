//! The whole journal against itself: every index with its table, every outcome and every event with
//! its checksum.
//! Invariant: it only reads, and a master beside it goes on committing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::StoreError;
use super::load;
use super::reader::Reader;
use super::row::Chain;

/// Outcomes or events that are read at once: between two of these the master is free to empty its
/// log.
const CHUNK: u64 = 4_096;

/// Ends a [`Reader::check`] that nobody waits for any more.
#[derive(Debug, Clone, Default)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// The check ends soon, without a result.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody said stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Reader {
    /// Ends a check from elsewhere; afterwards this reader is of no use.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Compares everything: about ten seconds for a million outcomes. Returns how many outcomes
    /// there are; `None` if it was stopped.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] says what does not fit.
    pub fn check(&self) -> Result<Option<u64>, StoreError> {
        let result = self.check_outcomes().and_then(|outcomes| {
            self.check_events()?;
            self.check_structure()?;
            Ok(outcomes)
        });
        if self.stopper.is_stopped() { Ok(None) } else { result.map(Some) }
    }

    /// Whether every outcome is there; their content is not looked at.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if one is missing.
    pub fn check_numbers(&self) -> Result<(), StoreError> {
        let last = self.last_outcome()?;
        self.untimed(|conn, path| load::check_numbers(conn, path, last))
    }

    /// Every row with its checksum, and every number from 1 on.
    fn check_outcomes(&self) -> Result<u64, StoreError> {
        let mut last = 0;
        while !self.stopper.is_stopped() {
            let rows = self.after(last, None, CHUNK)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if row.seq != last + 1 {
                    return Err(load::damaged(self.path(), "outcomes are missing", last + 1));
                }
                last = row.seq;
            }
        }
        Ok(last)
    }

    /// Every event with the one before it.
    fn check_events(&self) -> Result<(), StoreError> {
        let mut chain = Chain::start(self.journal_id());
        while !self.stopper.is_stopped() {
            let before = chain.seq;
            chain = self.timed(|conn, path| load::events_after(conn, path, (chain, CHUNK), &mut drop))?;
            if chain.seq == before {
                break;
            }
        }
        Ok(())
    }

    /// Every page, and every entry of an index with its row.
    fn check_structure(&self) -> Result<(), StoreError> {
        let verdict = self.untimed(|conn, path| {
            conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0))
                .map_err(|error| StoreError::from_sqlite(path, "being checked", error))
        })?;
        if verdict == "ok" { Ok(()) } else { Err(load::damaged(self.path(), &verdict, 0)) }
    }
}
