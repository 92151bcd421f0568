//! Where a journal lives: its data directory, which the journal itself names, so that a copy of the
//! directory knows that it is one.
//! Invariant: of two directories with one journal, the one at the path that the journal names is
//! the original.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::head;

/// The directory that the journal names.
const HOME: &str = "home";
/// What tells a copy from its original; drawn when the copy is first opened.
const COPY: &str = "copy";

/// What a journal's directory is to the one that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// The same one, or the journal is new.
    Here,
    /// The directory was moved here.
    Moved,
    /// The directory is a copy of one that is still there.
    CopyOf(PathBuf),
}

/// What `dir` is to the directory that the journal in it names.
pub(crate) fn find(conn: &Connection, path: &Path, journal: &str, dir: &Path) -> Result<Home, StoreError> {
    let Some(named) = value(conn, path, HOME)?.map(PathBuf::from) else { return Ok(Home::Here) };
    if named == dir || is_same_dir(&named, dir) {
        return Ok(Home::Here);
    }
    let there = head::read(&named).is_some_and(|head| head.journal == journal);
    Ok(if there { Home::CopyOf(named) } else { Home::Moved })
}

/// Names `dir` as the journal's home from now on; a copy gets a mark of its own. Part of a
/// transaction.
pub(crate) fn settle(conn: &Connection, home: &Home, dir: &Path) -> rusqlite::Result<()> {
    // A path that is no text never equals the one that is read back: then the directory counts as
    // moved each time.
    let dir = dir.to_string_lossy();
    conn.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![HOME, dir])?;
    if matches!(home, Home::CopyOf(_)) {
        conn.execute("INSERT OR REPLACE INTO meta VALUES (?1, lower(hex(randomblob(4))))", [COPY])?;
    }
    Ok(())
}

/// The mark of a journal that began as a copy; of an original it is `None`.
pub(crate) fn copy_mark(conn: &Connection, path: &Path) -> Result<Option<String>, StoreError> {
    value(conn, path, COPY)
}

fn value(conn: &Connection, path: &Path, name: &str) -> Result<Option<String>, StoreError> {
    conn.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map_err(|error| StoreError::from_sqlite(path, "reading where it lives", error))
}

fn is_same_dir(one: &Path, other: &Path) -> bool {
    let number = |dir: &Path| fs::metadata(dir).ok().map(|found| (found.dev(), found.ino()));
    number(one).is_some_and(|found| number(other) == Some(found))
}
