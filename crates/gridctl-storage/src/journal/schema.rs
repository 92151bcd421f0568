//! The journal's tables, its format number, and the check that a file is ours before anything is written to it.
//! Invariant: events and outcomes are only ever appended; a file of another application or of a newer format is left untouched.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::error::StoreError;
use super::row::damaged_value;

/// The file's name in the data directory.
pub const JOURNAL_FILE: &str = "journal.sqlite";
/// The format of the tables below. Raise it with every change that an older gridctl would misread.
pub const FORMAT: u32 = 6;
/// "grid", as SQLite's application id.
const APPLICATION_ID: u32 = 0x6772_6964;
/// SQLite 3.51.3, the first without a bug that can lose a commit when the log is reset.
const NEEDED_SQLITE: i32 = 3_051_003;

/// An outcome is found by rank, by trial, by code, among the failures and among the successes that nothing ranks; a version's codes
/// are found by themselves. The generation index is almost always empty: it makes
/// "is there a newer generation?" cheap. Standings say which outcomes of a sweep count for another
/// of its versions too.
/// `crc` covers every other column.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE event (seq INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload TEXT NOT NULL) STRICT;
CREATE TABLE snapshot (seq INTEGER PRIMARY KEY, chain INTEGER NOT NULL, crc INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY, sweep INTEGER NOT NULL, version INTEGER NOT NULL, idx INTEGER NOT NULL,
    trial TEXT NOT NULL, point TEXT NOT NULL, code TEXT NOT NULL, repeat INTEGER NOT NULL, generation INTEGER NOT NULL,
    terminal INTEGER NOT NULL, state TEXT NOT NULL, class TEXT NOT NULL, objective REAL, crc INTEGER NOT NULL,
    read_by TEXT NOT NULL, record TEXT NOT NULL
) STRICT;
CREATE TABLE standing (
    sweep INTEGER NOT NULL, version INTEGER NOT NULL, since INTEGER NOT NULL,
    source INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
    succeeded INTEGER NOT NULL, low TEXT, high TEXT, crc INTEGER NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (sweep, version, last)
) STRICT;
CREATE INDEX outcome_rank ON outcome (sweep, version, objective, idx)
    WHERE terminal = 1 AND class = 'succeeded' AND objective IS NOT NULL;
CREATE INDEX outcome_unranked ON outcome (sweep, version, idx)
    WHERE terminal = 1 AND class = 'succeeded' AND objective IS NULL;
CREATE INDEX outcome_codes ON outcome (sweep, version, code) WHERE terminal = 1 AND class = 'succeeded';
CREATE INDEX outcome_trial ON outcome (trial);
CREATE INDEX outcome_code ON outcome (code, sweep) WHERE terminal = 1 AND class = 'succeeded';
CREATE INDEX outcome_failure ON outcome (sweep, version) WHERE class <> 'succeeded';
CREATE INDEX outcome_again ON outcome (trial) WHERE generation > 1;
";

/// What lies in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet: new, or begun by a process that died at once.
    Empty,
    /// A journal of this format.
    Journal,
}

/// Looks at the file without changing it.
pub(crate) fn inspect(conn: &Connection, path: &Path) -> Result<Found, StoreError> {
    let fail = |error| StoreError::from_sqlite(path, "being looked at", error);
    let application: u32 = pragma(conn, "application_id").map_err(fail)?;
    let format: u32 = pragma(conn, "user_version").map_err(fail)?;
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    match (application, format, tables) {
        (0, 0, 0) => Ok(Found::Empty),
        (APPLICATION_ID, FORMAT, _) => Ok(Found::Journal),
        (APPLICATION_ID, found, _) if found > FORMAT => {
            Err(StoreError::NewerFormat { path: path.to_owned(), found, supported: FORMAT })
        }
        (APPLICATION_ID, found, _) => {
            Err(StoreError::OlderFormat { path: path.to_owned(), found, supported: FORMAT })
        }
        (other, ..) => Err(StoreError::Foreign {
            path: path.to_owned(),
            what: format!("it is an SQLite database of another program (application id {other:#x})"),
        }),
    }
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<u32> {
    conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map(i32::cast_unsigned)
}

/// Makes the tables of a new journal, in one transaction.
pub(crate) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {TABLES}
         INSERT INTO meta VALUES ('journal', lower(hex(randomblob(6)))); COMMIT;"
    ))
}

/// Refuses a journal that lacks a table or an index, or has one that is not as [`create`] made it.
pub(crate) fn check_tables(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let fail = |error| StoreError::from_sqlite(path, "being looked at", error);
    let mut statement = conn.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").map_err(fail)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(fail)?;
    let found = rows.collect::<Result<Vec<_>, _>>().map_err(|error| damaged_value(path, error))?;
    let made = TABLES.split(';').map(str::trim).filter(|made| !made.is_empty());
    match made.into_iter().find(|made| !found.iter().any(|sql| sql == made)) {
        None => Ok(()),
        Some(made) => {
            let name = made.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            let what = format!("what `{name}` made is missing or has changed");
            Err(StoreError::Corrupt { path: path.to_owned(), what, at: 0 })
        }
    }
}

/// The journal's own name, drawn when it was made.
pub(crate) fn journal_id(conn: &Connection, path: &Path) -> Result<String, StoreError> {
    conn.query_row("SELECT value FROM meta WHERE name = 'journal'", [], |row| row.get(0))
        .optional()
        .map_err(|error| StoreError::from_sqlite(path, "reading its name", error))?
        .ok_or_else(|| StoreError::Corrupt {
            path: path.to_owned(),
            what: "its own name is missing".to_owned(),
            at: 0,
        })
}

/// Refuses an SQLite that is older than the bugs that were fixed for us.
pub(crate) fn check_sqlite() -> Result<(), StoreError> {
    let found = rusqlite::version_number();
    if found < NEEDED_SQLITE {
        return Err(StoreError::OldSqlite { found, needed: NEEDED_SQLITE });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_sqlite_is_new_enough() {
        check_sqlite().unwrap();
    }
}
