//! The whole journal against itself: every index with its table, every outcome and every event with
//! its checksum.
//! Invariant: it only reads, and a master beside it goes on committing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gridctl_core::id::CodeHash;
use gridctl_core::sched::{Event, LinkSum};
use rusqlite::params;

use super::error::StoreError;
use super::points::clamp;
use super::reader::Reader;
use super::row::{Chain, damaged_value};
use super::standing::StandingRow;
use super::{EventRow, load};

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
            let linked = self.check_events()?;
            self.check_structure()?;
            self.check_standings(&linked)?;
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

    /// Every event with the one before it. Returns what they linked for each version of a sweep.
    fn check_events(&self) -> Result<BTreeMap<(u32, u32), LinkSum>, StoreError> {
        let mut linked: BTreeMap<(u32, u32), LinkSum> = BTreeMap::new();
        let mut note = |event: EventRow| {
            if event.payload.starts_with(b"{\"known\":")
                && let Ok(Event::Known { sweep, version, links, .. }) = serde_json::from_slice(&event.payload)
                && !links.is_empty()
            {
                let sum = linked.entry((sweep.0, version)).or_default();
                *sum = sum.and(links);
            }
        };
        let mut chain = Chain::start(self.journal_id());
        while !self.stopper.is_stopped() {
            let before = chain.seq;
            chain = self.timed(|conn, path| load::events_after(conn, path, (chain, CHUNK), &mut note))?;
            if chain.seq == before {
                break;
            }
        }
        Ok(linked)
    }

    /// What stands for versions with the events that linked it, and with the outcomes.
    fn check_standings(&self, events: &BTreeMap<(u32, u32), LinkSum>) -> Result<(), StoreError> {
        let damaged =
            |at| load::damaged(self.path(), "what stands for a version does not fit the events", at);
        let mut versions: BTreeSet<(u32, u32)> = events.keys().copied().collect();
        versions.extend(self.versions_with_standings()?);
        for version in versions {
            let mut found = LinkSum::default();
            for piece in self.standings(version)? {
                if self.stopper.is_stopped() {
                    return Ok(());
                }
                let links = self.check_piece(&piece)?;
                links.into_iter().for_each(|(seq, index)| found.add(seq, index));
            }
            if events.get(&version).copied().unwrap_or_default() != found {
                return Err(damaged(0));
            }
        }
        Ok(())
    }

    /// The links of a piece, each compared with its outcome, of which the checksum was looked at.
    fn check_piece(&self, piece: &StandingRow) -> Result<Vec<(u64, u64)>, StoreError> {
        let links = self.links_of(piece)?;
        let sql = "SELECT seq, CASE WHEN class = 'succeeded' THEN code END FROM outcome
            WHERE seq BETWEEN ?1 AND ?2 AND sweep = ?3 AND version = ?4 AND terminal = 1 ORDER BY seq";
        let (mut linked, mut found, mut succeeded) = (links.iter().peekable(), 0, 0);
        let mut codes: BTreeSet<String> = BTreeSet::new();
        self.timed(|conn, path| {
            let mut query = || -> rusqlite::Result<()> {
                let mut statement = conn.prepare_cached(sql)?;
                let ends = (clamp(piece.first), clamp(piece.last));
                let mut rows = statement.query(params![ends.0, ends.1, piece.sweep, piece.source])?;
                while let Some(row) = rows.next()? {
                    let seq = row.get::<_, i64>(0)?.cast_unsigned();
                    if linked.next_if(|(linked, _)| *linked == seq).is_none() {
                        continue;
                    }
                    found += 1;
                    if let Some(code) = row.get_ref(1)?.as_str_or_null()? {
                        succeeded += 1;
                        if !codes.contains(code) {
                            codes.insert(code.to_owned());
                        }
                    }
                }
                Ok(())
            };
            query().map_err(|error| damaged_value(path, error))
        })?;
        // As text they have another order.
        let codes: Vec<CodeHash> = codes.iter().filter_map(|code| code.parse().ok()).collect();
        let ends = codes.iter().min().copied().zip(codes.iter().max().copied());
        if (found, succeeded, ends) != (piece.count, piece.succeeded, piece.codes) {
            let what = "what stands for a version does not fit the outcomes";
            return Err(load::damaged(self.path(), what, piece.first));
        }
        Ok(links)
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
