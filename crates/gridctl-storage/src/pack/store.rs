//! The packs that a master keeps: one file each, in its data directory.
//! Invariant: a pack that a sweep uses, or that was asked for a short while ago, stays.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gridctl_core::id::PackHash;

use super::{PackDraft, PackError};
use crate::clock;
use crate::durable;

/// A pack that no sweep uses stays so long: whoever has brought it submits its sweep next.
const GRACE: Duration = Duration::from_secs(3_600);
const ENDING: &str = ".tar.zst";
const DRAFT: &str = ".part";

/// A pack that is read.
#[derive(Debug)]
pub struct PackedFile {
    /// The file.
    pub file: File,
    /// Its bytes.
    pub bytes: u64,
}

/// Where the packs are.
#[derive(Debug)]
pub struct PackStore {
    dir: PathBuf,
    drafts: AtomicU64,
}

impl PackStore {
    /// The packs of the data directory `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("packs"), drafts: AtomicU64::new(0) }
    }

    fn path(&self, hash: PackHash) -> PathBuf {
        self.dir.join(format!("{hash}{ENDING}"))
    }

    /// The bytes of a pack that is there; it stays for a while from now on.
    #[must_use]
    pub fn find(&self, hash: PackHash) -> Option<u64> {
        let file = File::open(self.path(hash)).ok()?;
        // If its time cannot be set, it is brought again at worst.
        let _ = file.set_times(FileTimes::new().set_modified(clock::wall()));
        file.metadata().ok().map(|meta| meta.len())
    }

    /// A pack, to be read.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn open(&self, hash: PackHash) -> io::Result<PackedFile> {
        let file = File::open(self.path(hash))?;
        let bytes = file.metadata()?.len();
        Ok(PackedFile { file, bytes })
    }

    /// A draft for one that comes.
    ///
    /// # Errors
    /// As the system says.
    pub fn draft(&self) -> Result<PackDraft, PackError> {
        durable::create_dirs(&self.dir, 0o700).map_err(PackError::io(&self.dir))?;
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{}-{number}{DRAFT}", std::process::id()));
        // One master uses the directory: what is there was left by a process of the same number.
        let _ = fs::remove_file(&path);
        PackDraft::create(&path)
    }

    /// Keeps the draft as the pack `hash`, if it is that.
    ///
    /// # Errors
    /// It is not, or cannot be kept.
    pub fn keep(&self, draft: PackDraft, hash: PackHash) -> Result<(), PackError> {
        draft.keep(hash, &self.path(hash))
    }

    /// Removes packs that are not in `used` and have not been asked for lately, and drafts that
    /// nobody finishes. How many.
    pub fn clear(&self, used: &BTreeSet<PackHash>) -> usize {
        let now = clock::wall();
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let unused = entries.filter(|entry| {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { return false };
            let pack = name.strip_suffix(ENDING).and_then(|hash| hash.parse().ok());
            let is_ours = name.ends_with(DRAFT) || pack.is_some_and(|hash| !used.contains(&hash));
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let is_old = modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > GRACE));
            is_ours && is_old
        });
        // One that cannot be removed is tried again at the next look.
        unused.filter(|entry| fs::remove_file(entry.path()).is_ok()).count()
    }
}
