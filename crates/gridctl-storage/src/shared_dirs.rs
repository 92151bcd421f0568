//! Directories on this machine that processes share, each named by what is in it: unpacked code, datasets.
//! Invariant: a directory is ready only once it is whole, and survives a loss of power then; whoever uses
//! one holds its lock shared, whoever fills or removes it holds it alone, in whatever process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::clock;
use crate::owned::remove_tree;

const LOCK: &str = ".lock";
/// The file that says that a directory is ready, and what is in it; its time is that of its last use.
const READY: &str = "ready";
const FILES: &str = "files";

/// Whether `path` is what a ready directory holds.
#[must_use]
pub fn is_shared(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILES)
        && path.parent().is_some_and(|dir| dir.join(READY).is_file())
}

/// Where they are.
#[derive(Debug, Clone)]
pub struct SharedDirs {
    root: PathBuf,
}

/// What became of a look for a directory.
#[derive(Debug)]
pub enum SharedEntry {
    /// It is there.
    Ready(SharedDir),
    /// The caller makes it.
    Vacant(VacantDir),
    /// Another process makes or removes it.
    Busy,
}

/// A directory that is ready. As long as this lives, it stays.
#[derive(Debug)]
pub struct SharedDir {
    dir: PathBuf,
    _lock: File,
}

impl SharedDir {
    /// What it holds: a directory, or one file.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }

    /// What [`VacantDir::finish`] was told of it.
    ///
    /// # Errors
    /// As the system says.
    pub fn note(&self) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(READY))
    }
}

/// A directory that is to be made, by nobody else. Dropped before that is done, it is removed.
#[derive(Debug)]
pub struct VacantDir {
    dir: PathBuf,
    lock: Option<File>,
}

impl VacantDir {
    /// Where what it holds is to be; nothing is there yet.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }

    /// Where something may be kept that does not stay.
    #[must_use]
    pub fn draft(&self) -> PathBuf {
        self.dir.join("draft")
    }

    /// It is ready; `note` says what is in it.
    ///
    /// # Errors
    /// As the system says.
    pub fn finish(mut self, note: &[u8]) -> io::Result<SharedDir> {
        let (new, ready) = (self.dir.join("ready.tmp"), self.dir.join(READY));
        let dir = File::open(&self.dir)?;
        rustix::fs::syncfs(&dir)?;
        let mut file = File::create(&new)?;
        file.write_all(note)?;
        file.sync_all()?;
        fs::rename(&new, &ready)?;
        dir.sync_all()?;
        let gone = || io::Error::other("it is not locked any more");
        let lock = self.lock.as_ref().ok_or_else(gone)?;
        flock(lock, FlockOperation::NonBlockingLockShared)?;
        // Between the two kinds of lock another process may have had it.
        if !ready.is_file() {
            return Err(gone());
        }
        Ok(SharedDir { dir: self.dir.clone(), _lock: self.lock.take().ok_or_else(gone)? })
    }
}

impl Drop for VacantDir {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Whoever comes next removes what is left.
            let _ = remove_tree(&self.dir);
        }
    }
}

impl SharedDirs {
    /// Those in `root`, which is made when it is needed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where they are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of this name.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn enter(&self, name: &str) -> io::Result<SharedEntry> {
        let (dir, root) = (self.root.join(name), &self.root);
        named(root, DirBuilder::new().recursive(true).mode(0o700).create(root))?;
        let ready = dir.join(READY);
        let is_ready = ready.is_file();
        let way = if is_ready {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let Some(lock) = self.lock(name, way)? else { return Ok(SharedEntry::Busy) };
        match (is_ready, ready.is_file()) {
            (true, true) => {
                let used = File::options().write(true).open(&ready);
                named(&ready, used.and_then(|file| file.set_modified(clock::wall())))?;
                Ok(SharedEntry::Ready(SharedDir { dir, _lock: lock }))
            }
            (false, false) => {
                if fs::symlink_metadata(&dir).is_ok() {
                    named(&dir, remove_tree(&dir))?;
                }
                named(&dir, DirBuilder::new().mode(0o700).create(&dir))?;
                Ok(SharedEntry::Vacant(VacantDir { dir, lock: Some(lock) }))
            }
            // It has changed between the two looks.
            _ => Ok(SharedEntry::Busy),
        }
    }

    /// The lock of this name; none if another has it, or removed it just now.
    fn lock(&self, name: &str, way: FlockOperation) -> io::Result<Option<File>> {
        let path = self.lock_of(name);
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags);
        let file = named(&path, options.open(&path))?;
        match flock(&file, way) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
            locked => named(&path, locked.map_err(io::Error::from))?,
        }
        let place = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let is_there = fs::symlink_metadata(&path)
            .is_ok_and(|meta| file.metadata().is_ok_and(|own| place(own) == place(meta)));
        Ok(is_there.then_some(file))
    }

    fn lock_of(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}{LOCK}"))
    }

    /// The names of all that are ready, the longest unused first. What a dead process left half made is
    /// removed.
    #[must_use]
    pub fn by_use(&self) -> Vec<String> {
        let mut ready: Vec<(SystemTime, String)> = Vec::new();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match fs::metadata(entry.path().join(READY)).and_then(|meta| meta.modified()) {
                Ok(used) => ready.push((used, name)),
                // What cannot be removed takes room, and is tried again at the next look.
                Err(_) => drop(self.remove(&name)),
            }
        }
        ready.sort();
        ready.into_iter().map(|(_, name)| name).collect()
    }

    /// What [`VacantDir::finish`] was told of the directory of this name, if it is ready.
    #[must_use]
    pub fn note_of(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(name).join(READY)).ok()
    }

    /// Removes the directory of this name, unless somebody uses it.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let Some(_lock) = self.lock(name, FlockOperation::NonBlockingLockExclusive)? else { return Ok(()) };
        let dir = self.root.join(name);
        // First, so that nobody takes for ready what is half removed.
        match fs::remove_file(dir.join(READY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return named(&dir, Err(error)),
            _ => named(&dir, remove_tree(&dir))?,
        }
        let path = self.lock_of(name);
        named(&path, fs::remove_file(&path))
    }
}

fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vacant(dirs: &SharedDirs, name: &str) -> VacantDir {
        match dirs.enter(name).unwrap() {
            SharedEntry::Vacant(vacant) => {
                fs::create_dir(vacant.files()).unwrap();
                vacant
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_makes_a_directory_and_all_use_it_once_it_is_whole() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = SharedDirs::new(temp.path().join("code"));
        let making = vacant(&dirs, "a");
        fs::write(making.files().join("half"), "x").unwrap();
        assert!(matches!(dirs.enter("a").unwrap(), SharedEntry::Busy));
        drop(making);
        let making = vacant(&dirs, "a");
        assert!(!making.files().join("half").exists(), "what was not finished is gone");
        fs::write(making.files().join("whole"), "x").unwrap();
        let ready = making.finish(b"what").unwrap();
        assert!(is_shared(&ready.files()) && !is_shared(temp.path()));
        let SharedEntry::Ready(again) = dirs.enter("a").unwrap() else { panic!("it is ready") };
        assert!(again.files().join("whole").is_file());
        assert_eq!((again.note().unwrap(), dirs.note_of("a")), (b"what".to_vec(), Some(b"what".to_vec())));
        dirs.remove("a").unwrap();
        assert!(again.files().exists(), "it is used");
        drop((ready, again));
        dirs.remove("a").unwrap();
        assert_eq!(fs::read_dir(dirs.root()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_half_made_goes_and_the_longest_unused_comes_first() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = SharedDirs::new(temp.path().to_owned());
        fs::create_dir(temp.path().join("killed")).unwrap();
        for (name, second) in [("b", 2_000), ("a", 1_000), ("c", 3_000)] {
            drop(vacant(&dirs, name).finish(b"").unwrap());
            let ready = File::options().write(true).open(temp.path().join(name).join(READY)).unwrap();
            ready.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
        }
        assert_eq!(dirs.by_use(), ["a", "b", "c"]);
        assert!(!temp.path().join("killed").exists());
        assert!(matches!(dirs.enter("a").unwrap(), SharedEntry::Ready(_)));
        assert_eq!(dirs.by_use(), ["b", "c", "a"], "it was used just now");
    }
}
