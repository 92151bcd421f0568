//! Reading a journal beside its master, or without one: queries over outcomes, and the same `load` that a master uses.
//! Invariant: a reader writes nothing and makes no file; no query holds up the master for longer than [`QUERY_SECONDS`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gridctl_core::id::{CodeHash, TrialId};
use rusqlite::{Connection, OpenFlags, ToSql, params};

use super::error::StoreError;
use super::points::{clamp, newest};
use super::row::{COLUMNS, Chain, damaged_value, read_outcome};
use super::schema::{self, Found, JOURNAL_FILE};
use super::{Loaded, OutcomeRow, load};
use crate::clock;

/// A query that takes longer is ended.
pub const QUERY_SECONDS: u64 = 5;
/// Instructions of SQLite's machine between two looks at the clock: well under a millisecond.
const INSTRUCTIONS: i32 = 20_000;
/// Rows that one query of a long walk fetches; between two of them the master is free to checkpoint.
const CHUNK: u64 = 512;

/// A read-only connection to a journal.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    path: PathBuf,
    journal: String,
    began: Instant,
    /// Milliseconds after `began` when the current query is ended.
    deadline: Arc<AtomicU64>,
}

impl Reader {
    /// Opens the journal in `dir`, whether a master has it or not.
    ///
    /// # Errors
    /// [`StoreError::NoJournal`] if there is none; [`StoreError::NotReadable`], [`StoreError::NewerFormat`], [`StoreError::Foreign`] and
    /// [`StoreError::Corrupt`] as they say.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::connected(dir).map_err(|error| match error {
            StoreError::NotWritable { path, why } => StoreError::NotReadable { path, why },
            error => error,
        })
    }

    fn connected(dir: &Path) -> Result<Self, StoreError> {
        schema::check_sqlite()?;
        let none = || StoreError::NoJournal { dir: dir.to_owned() };
        let path = dir.canonicalize().map_err(|_| none())?.join(JOURNAL_FILE);
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            return Err(none());
        }
        let mut conn =
            connect(&path).map_err(|error| StoreError::from_sqlite(&path, "being opened", error))?;
        let (began, deadline) = (clock::now(), Arc::new(AtomicU64::new(u64::MAX)));
        limit_time(&mut conn, began, Arc::clone(&deadline))
            .map_err(|error| StoreError::from_sqlite(&path, "being opened", error))?;
        if schema::inspect(&conn, &path)? == Found::Empty {
            return Err(none());
        }
        let journal = schema::journal_id(&conn, &path)?;
        Ok(Self { conn, path, journal, began, deadline })
    }

    /// The journal's own name, drawn when it was made.
    #[must_use]
    pub fn journal_id(&self) -> &str {
        &self.journal
    }

    /// What a master would start from: the newest snapshot and the events after it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: the journal is damaged.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        self.timed(|conn, path| {
            let fail = |error| StoreError::from_sqlite(path, "being read", error);
            let _one_view = conn.unchecked_transaction().map_err(fail)?;
            load::load(conn, path, Chain::start(&self.journal))
        })
    }

    /// Outcomes after number `seq`, oldest first; of one sweep, if one is named.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn after(&self, seq: u64, sweep: Option<u32>, limit: u64) -> Result<Vec<OutcomeRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o WHERE o.seq > ?1 AND (?2 IS NULL OR o.sweep = ?2) ORDER BY o.seq LIMIT ?3"
        );
        self.outcomes_of(&sql, params![clamp(seq), sweep, clamp(limit)])
    }

    /// Calls `each` with every success that stands, oldest first: for filters, other sort keys, and statistics over repeats.
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
        self.walk(|last| self.outcomes_of(&sql, params![sweep, version, clamp(last), clamp(CHUNK)]), each)
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
             WHERE o.sweep = ?1 AND o.version = ?2 AND o.class <> 'succeeded' AND o.seq > ?3 ORDER BY o.seq LIMIT ?4"
        );
        self.walk(|last| self.outcomes_of(&sql, params![sweep, version, clamp(last), clamp(CHUNK)]), each)
    }

    /// Calls `each` with every success under `code`, of any sweep, oldest first: of two with one trial the later one counts.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn known(&self, code: CodeHash, each: &mut dyn FnMut(OutcomeRow)) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o INDEXED BY outcome_code
             WHERE o.code = ?1 AND o.terminal = 1 AND o.class = 'succeeded' AND o.seq > ?2 ORDER BY o.seq LIMIT ?3"
        );
        let code = code.to_string();
        self.walk(|last| self.outcomes_of(&sql, params![code, clamp(last), clamp(CHUNK)]), each)
    }

    /// Calls `each` with every attempt of a version in the order of the grid. Keeps 16 bytes an attempt in memory.
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

    /// Every attempt of a trial in a sweep, oldest first, over all versions and generations.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn attempts_of(&self, sweep: u32, trial: TrialId) -> Result<Vec<OutcomeRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o INDEXED BY outcome_trial WHERE o.trial = ?1 AND o.sweep = ?2 ORDER BY o.seq"
        );
        self.outcomes_of(&sql, params![trial.to_string(), sweep])
    }

    /// Trials with an outcome whose id begins with `prefix`, with their sweep: at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn find_trials(&self, prefix: &str, limit: u64) -> Result<Vec<(u32, TrialId)>, StoreError> {
        // `{` follows `z`, the greatest character of an id.
        let sql = "SELECT DISTINCT sweep, trial FROM outcome INDEXED BY outcome_trial
            WHERE trial >= ?1 AND trial < ?1 || '{' ORDER BY trial, sweep LIMIT ?2";
        self.timed(|conn, path| {
            let query = || -> rusqlite::Result<Vec<(u32, String)>> {
                let mut statement = conn.prepare_cached(sql)?;
                let found = statement
                    .query_map(params![prefix, clamp(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?;
                found.collect()
            };
            let found = query().map_err(|error| damaged_value(path, error))?;
            let parse = |(sweep, text): (u32, String)| {
                let trial = text.parse().map_err(|_| load::damaged(path, "a trial's id is none", 0))?;
                Ok((sweep, trial))
            };
            found.into_iter().map(parse).collect()
        })
    }

    /// How many trials of a version are settled in each state, by the state's word.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn counts(&self, (sweep, version): (u32, u32)) -> Result<BTreeMap<String, u64>, StoreError> {
        let newest = newest("o");
        let sql = format!(
            "SELECT o.state, count(*) FROM outcome o
             WHERE o.sweep = ?1 AND o.version = ?2 AND o.terminal = 1 AND {newest} GROUP BY o.state"
        );
        self.timed(|conn, path| {
            let query = || -> rusqlite::Result<_> {
                let mut statement = conn.prepare_cached(&sql)?;
                let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
                statement.query_map(params![sweep, version], pair)?.collect()
            };
            query().map_err(|error| damaged_value(path, error))
        })
    }

    /// The number of the last outcome; 0 if there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn last_outcome(&self) -> Result<u64, StoreError> {
        self.timed(load::last_outcome)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The outcomes of these numbers, in this order.
    pub(crate) fn by_seq(&self, seqs: &[u64]) -> Result<Vec<OutcomeRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM outcome o WHERE o.seq = ?1");
        let mut rows = Vec::with_capacity(seqs.len());
        for &seq in seqs {
            rows.append(&mut self.outcomes_of(&sql, params![clamp(seq)])?);
        }
        Ok(rows)
    }

    /// The outcomes that `sql` selects.
    pub(crate) fn outcomes_of(
        &self,
        sql: &str,
        params: &[&dyn ToSql],
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        self.timed(|conn, path| {
            let fail = |error| damaged_value(path, error);
            let mut statement = conn.prepare_cached(sql).map_err(fail)?;
            let mut rows = statement.query(params).map_err(fail)?;
            let mut outcomes = Vec::new();
            while let Some(row) = rows.next().map_err(fail)? {
                outcomes.push(read_outcome(path, row)?);
            }
            Ok(outcomes)
        })
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

    /// One query, ended when its time is up.
    pub(crate) fn timed<T>(
        &self,
        query: impl FnOnce(&Connection, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let limit = self.began.elapsed() + Duration::from_secs(QUERY_SECONDS);
        self.deadline.store(millis(limit), Ordering::Relaxed);
        let result = query(&self.conn, &self.path);
        self.deadline.store(u64::MAX, Ordering::Relaxed);
        result
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn limit_time(conn: &mut Connection, began: Instant, deadline: Arc<AtomicU64>) -> rusqlite::Result<()> {
    let late = move || millis(began.elapsed()) > deadline.load(Ordering::Relaxed);
    conn.progress_handler(INSTRUCTIONS, Some(late))
}

/// Without a log beside it nobody has the file open and nobody was interrupted, and neither if an empty one is all there is: then it
/// is read as it is, and no file is made for it.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::metadata(Path::new(&name)).ok()
    };
    let log = beside("-wal").map(|log| log.len());
    let whole = log.is_none() || (log == Some(0) && beside("-shm").is_none());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = match path.to_str() {
        Some(text) if whole => {
            let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            Connection::open_with_flags(
                format!("file://{escaped}?immutable=1"),
                flags | OpenFlags::SQLITE_OPEN_URI,
            )?
        }
        _ => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(Duration::from_secs(QUERY_SECONDS))?;
    conn.execute_batch(
        "PRAGMA mmap_size = 0; PRAGMA cache_size = -4096; PRAGMA temp_store = FILE; PRAGMA cell_size_check = ON;
         PRAGMA trusted_schema = OFF;",
    )?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

#[cfg(test)]
mod tests;
