//! Reading a journal beside its master, or without one: queries over outcomes, and the same `load`
//! that a master uses.
//! Invariant: a reader writes nothing and makes no file; no query holds up the master for longer
//! than [`QUERY_SECONDS`]; a row that an index led to is compared with what was asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gridctl_core::id::TrialId;
use rusqlite::{Connection, OpenFlags, ToSql, params};

use super::check::Stopper;
use super::error::StoreError;
use super::head::{self, Head};
use super::home;
use super::points::clamp;
use super::row::{COLUMNS, Chain, damaged_value, read_outcome};
use super::schema::{self, Found, JOURNAL_FILE};
use super::{EventRow, Loaded, OutcomeRow, load};
use crate::clock;

/// A query that takes longer is ended.
pub const QUERY_SECONDS: u64 = 5;
/// Instructions of SQLite's machine between two looks at the clock: well under a millisecond.
const INSTRUCTIONS: i32 = 20_000;
/// A read-only connection to a journal.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    path: PathBuf,
    journal: String,
    began: Instant,
    /// Milliseconds after `began` when the current query is ended.
    deadline: Arc<AtomicU64>,
    pub(super) stopper: Stopper,
}

impl Reader {
    /// Opens the journal in `dir`, whether a master has it or not.
    ///
    /// # Errors
    /// [`StoreError::NoJournal`] if there is none; [`StoreError::NotReadable`], [`StoreError::NewerFormat`], [`StoreError::Foreign`] and
    /// [`StoreError::Corrupt`] as they say.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::connected(dir, head::read).map_err(reading)
    }

    /// The same, but a journal that is shorter than it was is read as it is.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_as_it_is(dir: &Path) -> Result<Self, StoreError> {
        Self::connected(dir, |_| None).map_err(reading)
    }

    fn connected(dir: &Path, read_head: impl Fn(&Path) -> Option<Head>) -> Result<Self, StoreError> {
        schema::check_sqlite()?;
        let none = || StoreError::NoJournal { dir: dir.to_owned() };
        let dir = dir.canonicalize().map_err(|_| none())?;
        let path = dir.join(JOURNAL_FILE);
        // A master beside this reader writes the head after the commit: what is read first is never
        // ahead.
        let head = read_head(&dir);
        let nothing = || {
            let behind = |head| load::behind(&path, Some(head), Chain { seq: 0, crc: 0 }, 0);
            head.as_ref().map_or_else(none, behind)
        };
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            return Err(nothing());
        }
        let mut conn =
            connect(&path).map_err(|error| StoreError::from_sqlite(&path, "being opened", error))?;
        let (began, deadline) = (clock::now(), Arc::new(AtomicU64::new(u64::MAX)));
        let stopper = Stopper::default();
        limit_time(&mut conn, began, Arc::clone(&deadline), stopper.clone())
            .map_err(|error| StoreError::from_sqlite(&path, "being opened", error))?;
        if schema::inspect(&conn, &path)? == Found::Empty {
            return Err(nothing());
        }
        schema::check_tables(&conn, &path)?;
        let journal = schema::journal_id(&conn, &path)?;
        if let Some(head) = &head {
            load::check_head(&conn, &path, &journal, head)?;
        }
        Ok(Self { conn, path, journal, began, deadline, stopper })
    }

    /// The journal's own name, drawn when it was made.
    #[must_use]
    pub fn journal_id(&self) -> &str {
        &self.journal
    }

    /// The journal's name, and of a copy the mark that tells it from its original: what a new sweep
    /// is named after.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn identity(&self) -> Result<String, StoreError> {
        let mark = self.timed(home::copy_mark)?;
        Ok(mark.map_or_else(|| self.journal.clone(), |mark| format!("{}-{mark}", self.journal)))
    }

    /// What a master would start from, as [`super::Store::load`] says.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: the journal is damaged.
    pub fn load(&self, before: u64) -> Result<Loaded, StoreError> {
        self.timed(|conn, path| {
            let fail = |error| StoreError::from_sqlite(path, "being read", error);
            let _one_view = conn.unchecked_transaction().map_err(fail)?;
            load::load(conn, path, Chain::start(&self.journal), before)
        })
    }

    /// The events whose text begins with `prefix`, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn events_beginning(&self, prefix: &str) -> Result<Vec<EventRow>, StoreError> {
        let sql = "SELECT seq, payload FROM event WHERE substr(payload, 1, ?1) = ?2 ORDER BY seq";
        self.timed(|conn, path| {
            let query = || -> rusqlite::Result<Vec<EventRow>> {
                let mut statement = conn.prepare_cached(sql)?;
                let length = clamp(prefix.chars().count() as u64);
                let found = statement.query_map(params![length, prefix], |row| {
                    let payload: String = row.get(1)?;
                    Ok(EventRow { seq: row.get::<_, i64>(0)?.cast_unsigned(), payload: payload.into_bytes() })
                })?;
                found.collect()
            };
            query().map_err(|error| damaged_value(path, error))
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

    /// Every attempt of a trial in a sweep, over all versions and generations, in the order in
    /// which they came to count; one that counts for several versions is there for each.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn attempts_of(&self, sweep: u32, trial: TrialId) -> Result<Vec<OutcomeRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o INDEXED BY outcome_trial WHERE o.trial = ?1 AND o.sweep = ?2 ORDER BY o.seq"
        );
        let rows = self.outcomes_of(&sql, params![trial.to_string(), sweep])?;
        let rows = self.fitting(rows, |row| (row.trial, row.sweep) == (trial, sweep))?;
        self.with_links(sweep, rows)
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

    /// Whether the master that wrote it last ended as it should, so that the journal need not be
    /// checked.
    #[must_use]
    pub fn was_closed(dir: &Path) -> bool {
        head::read(dir).is_some_and(|head| head.is_closed)
    }

    /// Why it cannot be told whether the journal in `dir`, which has events, is as long as it was.
    #[must_use]
    pub fn doubt(dir: &Path) -> Option<String> {
        super::open::doubt(dir, head::read(dir).as_ref())
    }

    /// What the chain of checksums is after event `seq`; `None` if there is no such event.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn chain_at(&self, seq: u64) -> Result<Option<u32>, StoreError> {
        let start = Chain::start(&self.journal);
        self.timed(|conn, path| Ok(load::chain_at(conn, path, start, seq)?.map(|chain| chain.crc)))
    }

    /// How many outcomes a sweep has after number `seq`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn count_after(&self, seq: u64, sweep: u32) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM outcome WHERE seq > ?1 AND sweep = ?2";
        self.timed(|conn, path| {
            conn.prepare_cached(sql)
                .and_then(|mut it| it.query_row(params![clamp(seq), sweep], |row| row.get::<_, i64>(0)))
                .map(i64::cast_unsigned)
                .map_err(|error| damaged_value(path, error))
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

    /// `rows`, to which an index led, if every one is what was asked for.
    pub(crate) fn fitting(
        &self,
        rows: Vec<OutcomeRow>,
        fits: impl Fn(&OutcomeRow) -> bool,
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        match rows.iter().find(|row| !fits(row)) {
            Some(row) => Err(load::damaged(&self.path, "an index does not fit its table", row.seq)),
            None => Ok(rows),
        }
    }

    /// One query, ended when its time is up.
    pub(crate) fn timed<T>(
        &self,
        query: impl FnOnce(&Connection, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let limit = self.began.elapsed() + Duration::from_secs(QUERY_SECONDS);
        self.deadline.store(millis(limit), Ordering::Relaxed);
        let result = self.untimed(query);
        self.deadline.store(u64::MAX, Ordering::Relaxed);
        result
    }

    /// One query, which only the stopper ends.
    pub(crate) fn untimed<T>(
        &self,
        query: impl FnOnce(&Connection, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        query(&self.conn, &self.path)
    }
}

/// What cannot be written and was only to be read, cannot be read.
fn reading(error: StoreError) -> StoreError {
    match error {
        StoreError::NotWritable { path, why } => StoreError::NotReadable { path, why },
        error => error,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn limit_time(
    conn: &mut Connection,
    began: Instant,
    deadline: Arc<AtomicU64>,
    stopper: Stopper,
) -> rusqlite::Result<()> {
    let late = move || stopper.is_stopped() || millis(began.elapsed()) > deadline.load(Ordering::Relaxed);
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
