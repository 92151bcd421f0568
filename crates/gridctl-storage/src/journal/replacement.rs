//! A journal that takes another one's place: made in a directory of its own, and put there whole.
//! Invariant: until the new journal is durable the old one stays as it is; then it is set aside,
//! never removed. Whatever is interrupted can be begun anew.

use std::fs;
use std::path::{Path, PathBuf};

use super::Store as _;
use super::error::StoreError;
use super::head::HEAD_FILE;
use super::lock::MasterLock;
use super::open::sync_dir;
use super::schema::JOURNAL_FILE;
use super::sqlite::{Options, SqliteStore};
use crate::clock;

/// Where the new journal is made, in the data directory.
const BUILDING: &str = "rebuilding";

/// A journal in the making, with the data directory's lock.
#[derive(Debug)]
pub struct Replacement {
    dir: PathBuf,
    building: PathBuf,
    _lock: MasterLock,
}

impl Replacement {
    /// Takes the lock of `dir`, and begins an empty journal in a directory below it.
    ///
    /// # Errors
    /// [`StoreError::Held`] if a master has the directory; else as [`SqliteStore::open`].
    pub fn begin(dir: &Path, options: Options) -> Result<(Self, SqliteStore), StoreError> {
        let lock = MasterLock::acquire(dir)?;
        let building = dir.join(BUILDING);
        let io = |error| StoreError::from_io(&building, "removing what was interrupted", error);
        match fs::remove_dir_all(&building) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let store = SqliteStore::open(&building, options)?;
        Ok((Self { dir: dir.to_owned(), building, _lock: lock }, store))
    }

    /// Where the new journal is until it is installed.
    #[must_use]
    pub fn building(&self) -> &Path {
        &self.building
    }

    /// Puts the new journal in its place, and says where the old one is now, if there was one. The
    /// store must be the only connection to it.
    ///
    /// # Errors
    /// As the system says; the old journal may be set aside by then, and the same again goes on.
    pub fn install(self, mut store: SqliteStore) -> Result<Option<PathBuf>, StoreError> {
        store.close();
        drop(store);
        let log = self.building.join(format!("{JOURNAL_FILE}-wal"));
        if super::open::length(&log) > 0 {
            let source = "its log could not be copied into it".into();
            return Err(StoreError::Fatal { path: log, doing: "being closed", source });
        }
        let aside = self.set_aside()?;
        for name in [JOURNAL_FILE, HEAD_FILE] {
            let from = self.building.join(name);
            let io = |error| StoreError::from_io(&from, "being put in its place", error);
            fs::rename(&from, self.dir.join(name)).map_err(io)?;
        }
        sync_dir(&self.dir)?;
        // What is left in it is a lock that nobody holds.
        let _ = fs::remove_dir_all(&self.building);
        Ok(aside)
    }

    /// Moves the files of the journal that is there into a directory of its own.
    fn set_aside(&self) -> Result<Option<PathBuf>, StoreError> {
        let names = ["", "-wal", "-shm"].map(|suffix| format!("{JOURNAL_FILE}{suffix}"));
        let names = names.into_iter().chain([HEAD_FILE.to_owned()]);
        let there: Vec<String> =
            names.filter(|name| self.dir.join(name).symlink_metadata().is_ok()).collect();
        if there.is_empty() {
            return Ok(None);
        }
        let now = clock::unix_seconds();
        let free = |number: &u64| !self.dir.join(format!("journal-before-{number}")).exists();
        let Some(number) = (now..).find(free) else { return Ok(None) };
        let aside = self.dir.join(format!("journal-before-{number}"));
        let io = |error| StoreError::from_io(&aside, "setting the old journal aside", error);
        crate::durable::create_dirs(&aside, 0o700).map_err(io)?;
        for name in there {
            fs::rename(self.dir.join(&name), aside.join(&name)).map_err(io)?;
        }
        sync_dir(&aside)?;
        sync_dir(&self.dir)?;
        Ok(Some(aside))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::append;
    use super::*;

    fn contents(dir: &Path) -> u64 {
        SqliteStore::open(dir, Options::default()).unwrap().load(u64::MAX).unwrap().next_seq - 1
    }

    #[test]
    fn the_old_journal_is_set_aside_once_the_new_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = SqliteStore::open(dir.path(), Options::default()).unwrap();
        append(&mut old, 1, 3);
        let held = Replacement::begin(dir.path(), Options::default()).unwrap_err();
        assert!(matches!(held, StoreError::Held { .. }), "{held}");
        drop(old);
        // Interrupted: the old one stays, and the same again begins anew.
        let (replacement, mut store) = Replacement::begin(dir.path(), Options::default()).unwrap();
        append(&mut store, 1, 9);
        drop((replacement, store));
        assert_eq!(contents(dir.path()), 3);
        let (replacement, mut store) = Replacement::begin(dir.path(), Options::default()).unwrap();
        append(&mut store, 1, 7);
        let aside = replacement.install(store).unwrap().unwrap();
        assert_eq!((contents(dir.path()), contents(&aside)), (7, 3));
        assert!(!dir.path().join(BUILDING).exists());
        let (replacement, mut store) = Replacement::begin(dir.path(), Options::default()).unwrap();
        append(&mut store, 1, 1);
        let again = replacement.install(store).unwrap().unwrap();
        assert_ne!(again, aside);
        assert_eq!((contents(dir.path()), contents(&again)), (1, 7));
    }
}
