//! The journal as one SQLite file: write-ahead log, a sync for each commit, one connection that writes and checkpoints.
//! Invariant: after an error that leaves the disk's content unknown this store refuses everything; only a new start may go on.
//! A journal that is refused is left as it is, with its log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::error::StoreError;
use super::fs_check::{FsKind, kind_of};
use super::head::{self, Head, HeadFile};
use super::home::{self, Home};
use super::load;
use super::lock::{self, MasterLock};
use super::open::{BUSY, Opened, keep_log, length, sync_dir};
use super::open_files::OpenFiles;
use super::row::{self, Chain, snapshot_crc};
use super::schema::{self, JOURNAL_FILE};
use super::standing;
use super::{Group, Loaded, Snapshot, Store};

/// The write-ahead log is copied into the file when it has grown by so much.
const CHECKPOINT_BYTES: u64 = 64 << 20;
const SNAPSHOTS_KEPT: u32 = 2;

/// How to open a journal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Trust a network file system that nobody should trust.
    pub allow_network_fs: bool,
}

/// The journal of one master.
#[derive(Debug)]
pub struct SqliteStore {
    conn: Connection,
    path: PathBuf,
    wal: PathBuf,
    dir: PathBuf,
    journal: String,
    home: Home,
    last: Chain,
    last_outcome: u64,
    warnings: Vec<String>,
    head: HeadFile,
    files: OpenFiles,
    /// Checkpoint when the log is longer than this.
    checkpoint_at: u64,
    /// Nothing was committed since the log was last emptied: the head is synced with the next
    /// commit, so that a log which is deleted is always missed.
    log_is_empty: bool,
    /// This store has committed nothing yet.
    is_first: bool,
    /// The journal was not closed as it should be: its indexes may not fit.
    needs_check: bool,
    doubt: Option<String>,
    /// Something failed in a way that leaves the disk's content unknown.
    dead: bool,
    _lock: MasterLock,
}

impl SqliteStore {
    /// Opens the journal in `dir`, or makes a new one; both as the only master.
    ///
    /// # Errors
    /// [`StoreError::Held`] if another master has it; [`StoreError::NetworkFs`], [`StoreError::NotWritable`],
    /// [`StoreError::NewerFormat`], [`StoreError::Foreign`], [`StoreError::Corrupt`] as they say.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        schema::check_sqlite()?;
        let warnings = place_warnings(dir, options)?;
        let dir = make_dir(dir)?;
        let lock = MasterLock::acquire(&dir)?;
        let opened = Opened::at(&dir)?;
        let head = HeadFile::open(&dir)
            .map_err(|error| StoreError::from_io(&head::path(&dir), "being opened", error))?;
        sync_dir(&dir)?;
        let beside = |suffix: &str| dir.join(format!("{JOURNAL_FILE}{suffix}"));
        let wal = beside("-wal");
        let files = OpenFiles::note([beside(""), wal.clone(), beside("-shm"), lock::path(&dir)]);
        Ok(Self {
            conn: opened.conn,
            path: opened.path,
            wal,
            dir,
            journal: opened.journal,
            home: opened.home,
            last: opened.last,
            last_outcome: opened.last_outcome,
            warnings,
            head,
            files,
            checkpoint_at: CHECKPOINT_BYTES,
            log_is_empty: true,
            is_first: true,
            needs_check: opened.needs_check,
            doubt: opened.doubt,
            dead: false,
            _lock: lock,
        })
    }

    /// What a person should know about the place of this journal.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The journal's own name, drawn when it was made: 12 hexadecimal digits.
    #[must_use]
    pub fn journal_id(&self) -> &str {
        &self.journal
    }

    /// Why it cannot be told whether the journal is as long as it was.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// What this directory is to the one that the journal has lived in.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Whether the journal was not closed as it should be, so that [`super::Reader::check`] is due.
    #[must_use]
    pub fn needs_check(&self) -> bool {
        self.needs_check
    }

    /// Whether `group` follows what is there.
    fn check_order(&self, group: &Group<'_>) -> Result<(), StoreError> {
        let mut expected = self.last.seq + 1;
        for event in group.events {
            match event.seq {
                seq if seq == expected => expected += 1,
                seq if seq < expected => return Err(StoreError::Duplicate { seq }),
                got => return Err(StoreError::Gap { expected, got }),
            }
        }
        let mut expected = self.last_outcome + 1;
        for outcome in group.outcomes {
            match outcome.seq {
                seq if seq == expected => expected += 1,
                seq if seq < expected => return Err(StoreError::Duplicate { seq }),
                got => return Err(StoreError::Gap { expected, got }),
            }
        }
        Ok(())
    }

    fn write_group(&self, group: &Group<'_>) -> rusqlite::Result<Chain> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        if self.is_first {
            home::settle(&self.conn, &self.home, &self.dir)?;
        }
        let mut chain = self.last;
        if !group.events.is_empty() {
            let mut insert = self.conn.prepare_cached(row::INSERT_EVENT)?;
            for event in group.events {
                chain = chain.next(&event.payload);
                row::insert_event(&mut insert, event, chain.crc)?;
            }
        }
        if !group.outcomes.is_empty() {
            let mut insert = self.conn.prepare_cached(row::INSERT_OUTCOME)?;
            for outcome in group.outcomes {
                row::insert_outcome(&mut insert, outcome)?;
            }
        }
        if !group.standings.is_empty() {
            let mut insert = self.conn.prepare_cached(standing::INSERT_STANDING)?;
            for piece in group.standings {
                standing::insert_standing(&mut insert, piece)?;
            }
        }
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(chain)
    }

    fn write_snapshot(&self, snapshot: &Snapshot<'_>, chain: Chain) -> rusqlite::Result<()> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let crc = snapshot_crc(chain, snapshot.bytes);
        self.conn.execute(
            "INSERT OR REPLACE INTO snapshot VALUES (?1, ?2, ?3, ?4)",
            params![chain.seq.cast_signed(), chain.crc, crc, snapshot.bytes],
        )?;
        self.conn.execute(
            "DELETE FROM snapshot WHERE seq NOT IN (SELECT seq FROM snapshot ORDER BY seq DESC LIMIT ?1)",
            [SNAPSHOTS_KEPT],
        )?;
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Leaves the transaction that failed, and tells errors that lost nothing from those that may have.
    fn roll_back(&mut self, doing: &'static str, error: rusqlite::Error) -> StoreError {
        let left = self.conn.is_autocommit() || self.conn.execute_batch("ROLLBACK").is_ok();
        if let Err(gone) = self.still_there() {
            return gone;
        }
        let error = fail(&self.path, doing, error);
        if !(left && error.is_retryable()) {
            self.die();
        }
        error
    }

    /// From now on nothing is written, not even when the connection is closed: by its path that may
    /// be another journal's log.
    fn die(&mut self) {
        self.dead = true;
        // Where even this fails, the process ends anyway.
        let _ = keep_log(&self.conn, &self.path, true);
    }

    /// Writes down how far the journal is. Where that fails the head is late, which makes it weaker
    /// and not wrong.
    fn note_head(&mut self, is_closed: bool, now: bool) {
        let (journal, event, outcome) = (self.journal.clone(), self.last, self.last_outcome);
        let _ = self.head.write(&Head { journal, event, outcome, is_closed }, now);
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        if self.dead {
            if let Some(limited) = StoreError::limited(&self.path) {
                return Err(limited);
            }
            let source = "an earlier write failed; start again".into();
            return Err(StoreError::Fatal { path: self.path.clone(), doing: "being written", source });
        }
        Ok(())
    }

    /// Copies the write-ahead log into the file and empties it, as far as readers allow. What failed here is durable already, so
    /// a failure stops the next write and not the one before.
    fn checkpoint(&mut self) {
        let emptied = self.conn.busy_timeout(Duration::ZERO).and_then(|()| {
            self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        let restored = self.conn.busy_timeout(BUSY);
        let length = self.wal_length();
        self.checkpoint_at = CHECKPOINT_BYTES.max(length + CHECKPOINT_BYTES / 4);
        self.log_is_empty |= length == 0;
        if let Err(error) = emptied.and(restored.map(|()| 0))
            && !fail(&self.path, "copying its log", error).is_retryable()
        {
            self.die();
        }
    }

    fn wal_length(&self) -> u64 {
        length(&self.wal)
    }
}

impl Store for SqliteStore {
    fn append(&mut self, group: &Group<'_>) -> Result<(), StoreError> {
        self.check_alive()?;
        if group.is_empty() {
            return Ok(());
        }
        self.check_order(group)?;
        match self.write_group(group) {
            Ok(chain) => self.last = chain,
            Err(error) => return Err(self.roll_back("committing", error)),
        }
        self.last_outcome = group.outcomes.last().map_or(self.last_outcome, |outcome| outcome.seq);
        self.still_there()?;
        self.note_head(false, self.log_is_empty);
        if self.is_first {
            keep_log(&self.conn, &self.path, false)?;
        }
        (self.log_is_empty, self.is_first) = (false, false);
        if self.wal_length() > self.checkpoint_at {
            self.checkpoint();
        }
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Result<(), StoreError> {
        self.check_alive()?;
        let start = Chain::start(&self.journal);
        let Some(chain) = load::chain_at(&self.conn, &self.path, start, snapshot.seq)? else {
            return Err(StoreError::Gap { expected: self.last.seq, got: snapshot.seq });
        };
        self.write_snapshot(snapshot, chain).map_err(|error| self.roll_back("keeping a snapshot", error))
    }

    fn load(&mut self, before: u64) -> Result<Loaded, StoreError> {
        load::load(&self.conn, &self.path, Chain::start(&self.journal), before)
    }

    fn idle(&mut self) {
        if !self.dead && self.wal_length() > 0 {
            self.checkpoint();
        }
    }

    fn still_there(&mut self) -> Result<(), StoreError> {
        let Some(path) = self.files.gone().cloned() else { return Ok(()) };
        self.die();
        Err(StoreError::Gone { path })
    }

    fn close(&mut self) {
        self.idle();
        if !self.dead && !self.is_first {
            self.note_head(true, true);
        }
    }
}

fn fail(path: &Path, doing: &'static str, error: rusqlite::Error) -> StoreError {
    StoreError::from_sqlite(path, doing, error)
}

/// Makes the data directory for this user alone, if it is not there, and resolves what leads to it.
fn make_dir(dir: &Path) -> Result<PathBuf, StoreError> {
    let io = |error| StoreError::from_io(dir, "making the data directory", error);
    crate::durable::create_dirs(dir, 0o700).map_err(io)?;
    dir.canonicalize().map_err(io)
}

/// What a person should know about the place of a journal.
fn place_warnings(dir: &Path, options: Options) -> Result<Vec<String>, StoreError> {
    let dir = dir.to_owned();
    match kind_of(&dir) {
        FsKind::Network(kind) if !options.allow_network_fs => Err(StoreError::NetworkFs { dir, kind }),
        FsKind::Network(kind) => {
            Ok(vec![format!("the journal in {} is on {kind}: a crash may damage it", dir.display())])
        }
        FsKind::Memory => Ok(vec![format!(
            "the journal in {} is on a file system in memory: it does not survive a restart of the machine",
            dir.display()
        )]),
        FsKind::Local => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod lost;
#[cfg(test)]
mod tests;
