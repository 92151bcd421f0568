//! The journal as one SQLite file: write-ahead log, a sync for each commit, one connection that writes and checkpoints.
//! Invariant: after an error that leaves the disk's content unknown this store refuses everything; only a new start may go on.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::error::StoreError;
use super::fs_check::{FsKind, kind_of};
use super::load;
use super::lock::MasterLock;
use super::row::{self, Chain, snapshot_crc};
use super::schema::{self, Found, JOURNAL_FILE};
use super::{Group, Loaded, Snapshot, Store};

/// The write-ahead log is copied into the file when it has grown by so much.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// How long to wait for another program that has the file locked.
const BUSY: Duration = Duration::from_secs(5);
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
    journal: String,
    last: Chain,
    last_outcome: u64,
    warnings: Vec<String>,
    /// Checkpoint when the log is longer than this.
    checkpoint_at: u64,
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
        let mut warnings = Vec::new();
        match kind_of(dir) {
            FsKind::Network(kind) if !options.allow_network_fs => {
                return Err(StoreError::NetworkFs { dir: dir.to_owned(), kind });
            }
            FsKind::Network(kind) => {
                warnings.push(format!("the journal in {} is on {kind}: a crash may damage it", dir.display()));
            }
            FsKind::Memory => warnings.push(format!(
                "the journal in {} is on a file system in memory: it does not survive a restart of the machine",
                dir.display()
            )),
            FsKind::Local => {}
        }
        let dir = make_dir(dir)?;
        let lock = MasterLock::acquire(&dir)?;
        let path = dir.join(JOURNAL_FILE);
        let conn = connect(&path)?;
        if schema::inspect(&conn, &path)? == Found::Empty {
            prepare(&conn, &path)?;
            schema::create(&conn).map_err(|error| fail(&path, "being made", error))?;
            sync_dir(&dir)?;
        } else {
            prepare(&conn, &path)?;
        }
        let journal = schema::journal_id(&conn, &path)?;
        let last = load::last_event(&conn, &path, Chain::start(&journal))?;
        let last_outcome = load::last_outcome(&conn, &path)?;
        let wal = dir.join(format!("{JOURNAL_FILE}-wal"));
        Ok(Self {
            conn,
            path,
            wal,
            journal,
            last,
            last_outcome,
            warnings,
            checkpoint_at: CHECKPOINT_BYTES,
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
        let mut last = self.last_outcome;
        for outcome in group.outcomes {
            if outcome.seq <= last {
                return Err(StoreError::Duplicate { seq: outcome.seq });
            }
            last = outcome.seq;
        }
        Ok(())
    }

    fn write_group(&self, group: &Group<'_>) -> rusqlite::Result<Chain> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
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
        let error = fail(&self.path, doing, error);
        self.dead = !(left && error.is_retryable());
        error
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        if self.dead {
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
        if let Err(error) = emptied.and(restored.map(|()| 0)) {
            self.dead = !fail(&self.path, "copying its log", error).is_retryable();
        }
    }

    fn wal_length(&self) -> u64 {
        fs::metadata(&self.wal).map_or(0, |metadata| metadata.len())
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

    fn load(&mut self) -> Result<Loaded, StoreError> {
        load::load(&self.conn, &self.path, Chain::start(&self.journal))
    }

    fn idle(&mut self) {
        if !self.dead && self.wal_length() > 0 {
            self.checkpoint();
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

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StoreError::from_io(dir, "syncing the data directory", error))
}

/// Opens the file, which only its owner may read, and changes nothing in it.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(StoreError::from_io(path, "making the file", error));
        }
        _ => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let opened =
        Connection::open_with_flags(path, flags).and_then(|conn| conn.busy_timeout(BUSY).map(|()| conn));
    opened.map_err(|error| fail(path, "being opened", error))
}

/// Sets what a connection must be told each time.
fn prepare(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let fail = |error| fail(path, "being opened", error);
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(fail)?;
    if mode != "wal" {
        let why = "its file system cannot share memory between processes".to_owned();
        return Err(StoreError::NotWritable { path: path.to_owned(), why });
    }
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA mmap_size = 0; PRAGMA cache_size = -4096;
         PRAGMA temp_store = FILE; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
    )
    .map_err(fail)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map(drop).map_err(fail)
}

#[cfg(test)]
mod tests;
