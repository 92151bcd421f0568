//! Directories of code that workers of one machine share, by what is in them.
//! Invariant: a directory is ready only after it was prepared as a whole, and survives a loss of
//! power then; nobody removes one that somebody uses.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gridctl_storage::owned::remove_tree;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::scratch::named;

/// So many directories are kept at most, beside those that are used.
const MOST: usize = 8;
const LOCK: &str = ".lock";
/// The file that says that a directory is ready; its time is that of its last use.
const READY: &str = "ready";
const FILES: &str = "files";

/// Whether a workdir is one of these: all of it is code, whatever ignore rules are around it.
pub(crate) fn is_cached(workdir: &Path) -> bool {
    workdir.file_name().is_some_and(|name| name == FILES)
        && workdir.parent().is_some_and(|dir| dir.join(READY).is_file())
}

/// Where they are.
#[derive(Debug, Clone)]
pub(super) struct CodeCache {
    dir: PathBuf,
}

/// What became of a look for a directory.
#[derive(Debug)]
pub(super) enum CacheEntry {
    Ready(CodeDir),
    Vacant(VacantDir),
    /// Another worker prepares or removes it.
    Busy,
}

/// A directory that is ready. As long as this is there, it stays.
#[derive(Debug)]
pub(super) struct CodeDir {
    files: PathBuf,
    _lock: File,
}

impl CodeDir {
    /// Where the code is.
    pub(super) fn files(&self) -> &Path {
        &self.files
    }
}

/// A directory that is to be prepared, by nobody else. Dropped before that is done, it is removed.
#[derive(Debug)]
pub(super) struct VacantDir {
    dir: PathBuf,
    lock: Option<File>,
}

impl VacantDir {
    /// Where the code is to be.
    pub(super) fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }

    /// Where something may be kept that is not to stay.
    pub(super) fn draft(&self) -> PathBuf {
        self.dir.join("draft")
    }

    /// It is ready.
    pub(super) fn finish(mut self) -> io::Result<CodeDir> {
        let files = self.files();
        rustix::fs::syncfs(File::open(&files)?)?;
        File::create(self.dir.join(READY))?.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        let gone = || io::Error::other("it is not locked any more");
        let lock = self.lock.as_ref().ok_or_else(gone)?;
        flock(lock, FlockOperation::NonBlockingLockShared)?;
        // Between the two kinds of lock another worker may have had it.
        if !self.dir.join(READY).is_file() {
            return Err(gone());
        }
        Ok(CodeDir { files, _lock: self.lock.take().ok_or_else(gone)? })
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

impl CodeCache {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory of this name.
    pub(super) fn enter(&self, name: &str) -> io::Result<CacheEntry> {
        let dir = self.dir.join(name);
        named(&self.dir, DirBuilder::new().recursive(true).mode(0o700).create(&self.dir))?;
        let is_ready = dir.join(READY).is_file();
        let way = if is_ready {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let Some(lock) = self.lock(name, way)? else { return Ok(CacheEntry::Busy) };
        match (is_ready, dir.join(READY).is_file()) {
            (true, true) => {
                // Of its time nothing depends but the order in which they go.
                let _ = fs::write(dir.join(READY), "\n");
                Ok(CacheEntry::Ready(CodeDir { files: dir.join(FILES), _lock: lock }))
            }
            (false, false) => {
                if fs::symlink_metadata(&dir).is_ok() {
                    named(&dir, remove_tree(&dir))?;
                }
                named(&dir, DirBuilder::new().mode(0o700).create(&dir))?;
                let vacant = VacantDir { dir, lock: Some(lock) };
                named(&vacant.files(), DirBuilder::new().mode(0o755).create(vacant.files()))?;
                Ok(CacheEntry::Vacant(vacant))
            }
            // It has changed between the two looks.
            _ => Ok(CacheEntry::Busy),
        }
    }

    /// The lock of this name; none if another has it, or removed it just now.
    fn lock(&self, name: &str, way: FlockOperation) -> io::Result<Option<File>> {
        let path = self.dir.join(format!("{name}{LOCK}"));
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags);
        let file = named(&path, options.open(&path))?;
        match flock(&file, way) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => named(&path, locked.map_err(io::Error::from))?,
        }
        let place = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let is_there = fs::symlink_metadata(&path)
            .is_ok_and(|meta| file.metadata().is_ok_and(|own| place(own) == place(meta)));
        Ok(is_there.then_some(file))
    }

    /// Removes what nobody uses beyond [`MOST`], the longest unused first, and what was never
    /// finished.
    pub(super) fn clear(&self) {
        let mut ready: Vec<(SystemTime, String)> = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match fs::metadata(entry.path().join(READY)).and_then(|meta| meta.modified()) {
                Ok(used) => ready.push((used, name)),
                Err(_) => self.remove(&name),
            }
        }
        ready.sort();
        let beyond = ready.len().saturating_sub(MOST);
        ready.into_iter().take(beyond).for_each(|(_, name)| self.remove(&name));
    }

    /// Removes a directory, unless somebody uses it. What cannot be removed is tried again later.
    fn remove(&self, name: &str) {
        let Ok(Some(_lock)) = self.lock(name, FlockOperation::NonBlockingLockExclusive) else { return };
        let dir = self.dir.join(name);
        // First, so that nobody takes for ready what is half removed.
        let _ = fs::remove_file(dir.join(READY));
        if remove_tree(&dir).is_ok() {
            let _ = fs::remove_file(self.dir.join(format!("{name}{LOCK}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vacant(cache: &CodeCache, name: &str) -> VacantDir {
        match cache.enter(name).unwrap() {
            CacheEntry::Vacant(vacant) => vacant,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_prepares_a_directory_and_all_use_it_once_it_is_whole() {
        let temp = tempfile::tempdir().unwrap();
        let cache = CodeCache::new(temp.path().join("code"));
        let preparing = vacant(&cache, "a");
        fs::write(preparing.files().join("half"), "x").unwrap();
        assert!(matches!(cache.enter("a").unwrap(), CacheEntry::Busy));
        drop(preparing);
        let preparing = vacant(&cache, "a");
        assert!(!preparing.files().join("half").exists(), "what was not finished is gone");
        fs::write(preparing.files().join("whole"), "x").unwrap();
        let ready = preparing.finish().unwrap();
        assert!(is_cached(ready.files()) && !is_cached(temp.path()));
        let CacheEntry::Ready(again) = cache.enter("a").unwrap() else { panic!("it is ready") };
        assert!(again.files().join("whole").is_file());
        cache.remove("a");
        assert!(again.files().exists(), "it is used");
        drop((ready, again));
        cache.remove("a");
        assert_eq!(fs::read_dir(temp.path().join("code")).unwrap().count(), 0);
    }

    #[test]
    fn a_killed_workers_half_and_the_longest_unused_go() {
        let temp = tempfile::tempdir().unwrap();
        let cache = CodeCache::new(temp.path().to_owned());
        fs::create_dir(temp.path().join("killed")).unwrap();
        let kept = vacant(&cache, "used").finish().unwrap();
        for n in 0..MOST + 2 {
            drop(vacant(&cache, &format!("d{n}")).finish().unwrap());
            let ready = File::options().write(true).open(temp.path().join(format!("d{n}/ready"))).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + n as u64);
            ready.set_modified(at).unwrap();
        }
        let at = SystemTime::UNIX_EPOCH;
        File::options().write(true).open(temp.path().join("used/ready")).unwrap().set_modified(at).unwrap();
        cache.clear();
        let there = |name: &str| temp.path().join(name).exists();
        assert!(there("used") && !there("killed") && !there("d0") && there("d9"));
        assert!(!there("d1") && !there("d0.lock"), "the used one counts, and stays");
        drop(kept);
    }
}
