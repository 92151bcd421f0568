//! A journal's file on its way to being written: found or made, and refused if it is not what it
//! was.
//! Invariant: until something is committed nothing is changed in a journal that was there, not even
//! its log.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::head::{self, Head};
use super::home::{self, Home};
use super::load;
use super::row::Chain;
use super::schema::{self, Found, JOURNAL_FILE};

/// How long to wait for another program that has the file locked.
pub(crate) const BUSY: Duration = Duration::from_secs(5);

/// A journal that may be written.
pub(crate) struct Opened {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    /// Its own name.
    pub(crate) journal: String,
    pub(crate) last: Chain,
    pub(crate) last_outcome: u64,
    pub(crate) home: Home,
    /// It was not closed as it should be.
    pub(crate) needs_check: bool,
    /// Why it cannot be told whether it is whole.
    pub(crate) doubt: Option<String>,
}

impl Opened {
    /// The journal in `dir`, whose lock is held; a new one if there is none.
    pub(crate) fn at(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(JOURNAL_FILE);
        let head = head::read(dir);
        let log_was_empty = length(&dir.join(format!("{JOURNAL_FILE}-wal"))) == 0;
        let nothing = || Err(load::behind(&path, head.as_ref(), Chain { seq: 0, crc: 0 }, 0));
        // SQLite deletes the log of a file without a page.
        if length(&path) == 0 && (head.is_some() || !log_was_empty) {
            return nothing();
        }
        let conn = connect(&path)?;
        // Until something is committed.
        keep_log(&conn, &path, !log_was_empty)?;
        let is_new = schema::inspect(&conn, &path)? == Found::Empty;
        if is_new && head.is_some() {
            return nothing();
        }
        prepare(&conn, &path)?;
        if is_new {
            schema::create(&conn).map_err(|error| fail(&path, "being made", error))?;
        }
        schema::check_tables(&conn, &path)?;
        let journal = schema::journal_id(&conn, &path)?;
        let last = load::last_event(&conn, &path, Chain::start(&journal))?;
        let last_outcome = load::last_outcome(&conn, &path)?;
        if let Some(head) = &head {
            load::check_head(&conn, &path, &journal, head)?;
        }
        load::check_numbers(&conn, &path, last_outcome)?;
        let home = home::find(&conn, &path, &journal, dir)?;
        let has_events = last.seq > 0;
        let was_closed = log_was_empty && head.as_ref().is_some_and(|head| head.is_closed);
        Ok(Self {
            conn,
            path,
            journal,
            last,
            last_outcome,
            home,
            needs_check: has_events && !was_closed,
            doubt: doubt(dir, head.as_ref()).filter(|_| has_events),
        })
    }
}

/// Why it cannot be told whether the journal in `dir` is whole, when its head is this one.
pub(crate) fn doubt(dir: &Path, head: Option<&Head>) -> Option<String> {
    let path = head::path(dir);
    let text = "is missing or not understood: whether the journal is as long as it was cannot be told";
    head.is_none().then(|| format!("{} {text}", path.display()))
}

/// Bytes of a file; 0 if there is none.
pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
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

/// Whether the log stays as it is when the connection is closed; else it is copied into the file
/// and removed.
pub(crate) fn keep_log(conn: &Connection, path: &Path, keep: bool) -> Result<(), StoreError> {
    let set = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep);
    set.map(drop).map_err(|error| fail(path, "being opened", error))
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
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA mmap_size = 0;
         PRAGMA cache_size = -4096;
         PRAGMA temp_store = FILE; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
    )
    .map_err(fail)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map(drop).map_err(fail)
}

fn fail(path: &Path, doing: &'static str, error: rusqlite::Error) -> StoreError {
    StoreError::from_sqlite(path, doing, error)
}
