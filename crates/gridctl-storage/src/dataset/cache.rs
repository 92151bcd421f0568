//! Datasets on this machine's disk, each in a directory of its own, named by address and version.
//! Invariant: a directory without its marker is nothing; whoever uses one holds its lock shared,
//! whoever fills or removes it holds it alone, in whatever process.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gridctl_core::s3_url::S3Url;
use rustix::fs::{FlockOperation, OFlags, flock};
use sha2::{Digest, Sha256};

use super::{DatasetError, DatasetListing, StageProgress};
use crate::volume::dir::hex;

/// Between two looks at a lock that another process holds.
const LOOK: Duration = Duration::from_millis(200);
/// What datasets leave free of a disk: this share, but not more than so many bytes.
const KEEP_FREE: (u64, u64) = (20, 1 << 30);
/// Written last: what is in the directory beside it.
const MARKER: &str = "listing.json";
/// The data itself.
const DATA: &str = "data";
/// The lock, which is never removed.
const LOCK: &str = "lock";
/// A longer marker is not read.
const LONGEST: u64 = 256 << 20;

/// A directory of datasets.
#[derive(Debug, Clone)]
pub struct DatasetCache {
    root: PathBuf,
    /// Bytes of all datasets, at most.
    limit: Option<u64>,
}

/// A dataset that is there, and stays while this lives.
#[derive(Debug)]
pub struct StagedDataset {
    path: PathBuf,
    bytes: u64,
    _lock: File,
}

impl StagedDataset {
    /// The directory, or the file if the address is that of an object.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Fetches what is listed into a directory.
pub(super) type Fetch<'a> = &'a dyn Fn(&DatasetListing, &Path) -> Result<(), DatasetError>;

impl DatasetCache {
    /// The cache in `root`, which is made when it is needed. All datasets take at most `limit`
    /// bytes, and leave some of the disk free.
    #[must_use]
    pub fn new(root: &Path, limit: Option<u64>) -> Self {
        Self { root: root.to_owned(), limit }
    }

    /// The data at `url` as it was when it was listed as `version`; fetched if it is not here yet.
    /// Waits for another process that is fetching it.
    ///
    /// # Errors
    /// [`DatasetError`]: all of them.
    #[cfg(feature = "s3")]
    pub fn stage(
        &self,
        (url, version): (&S3Url, &str),
        progress: &mut dyn FnMut(StageProgress),
    ) -> Result<StagedDataset, DatasetError> {
        let progress = std::cell::RefCell::new(progress);
        let list = || super::list(url);
        let fetch = |listing: &DatasetListing, dir: &Path| {
            let volume = crate::volume::s3::S3Volume::open(url)?;
            super::fetch::fetch(&volume, listing, dir, &mut **progress.borrow_mut())
        };
        self.stage_with((url, version), &list, &fetch)
    }

    /// As a gridctl without S3 does it.
    ///
    /// # Errors
    /// [`DatasetError::S3`], always.
    #[cfg(not(feature = "s3"))]
    pub fn stage(
        &self,
        (url, _): (&S3Url, &str),
        _: &mut dyn FnMut(StageProgress),
    ) -> Result<StagedDataset, DatasetError> {
        Err(crate::volume::VolumeError::WithoutS3 { url: url.to_string() }.into())
    }

    /// The same, whoever lists and fetches.
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "S3 alone has datasets"))]
    pub(super) fn stage_with(
        &self,
        (url, version): (&S3Url, &str),
        list: &dyn Fn() -> Result<DatasetListing, DatasetError>,
        fetch: Fetch<'_>,
    ) -> Result<StagedDataset, DatasetError> {
        let place = self.place(url, version)?;
        loop {
            place.wait_for(FlockOperation::NonBlockingLockShared)?;
            if let Some(listing) = place.whole(version) {
                return place.used(&listing);
            }
            place.wait_for(FlockOperation::NonBlockingLockExclusive)?;
            if place.whole(version).is_some() {
                continue;
            }
            place.clear()?;
            let listing = list()?;
            if listing.version() != version {
                return Err(DatasetError::Changed { url: url.clone() });
            }
            self.make_room(&listing, &place)?;
            let data = place.dir.join(DATA);
            let fetched = fetch(&listing, &data).and_then(|()| place.mark(&listing));
            if let Err(error) = fetched {
                // It may have been the disk that was full: nothing stays of it.
                place.clear()?;
                return Err(error);
            }
        }
    }

    fn place(&self, url: &S3Url, version: &str) -> Result<Place, DatasetError> {
        let name = hex(&Sha256::digest(format!("{url}\n{version}"))[..16]);
        Place::open(&self.root.join(name))
    }

    /// Removes what nobody uses, the longest unused first, until the dataset has room.
    fn make_room(&self, listing: &DatasetListing, own: &Place) -> Result<(), DatasetError> {
        let need = listing.bytes();
        let mut others = self.others(own)?;
        others.sort_by_key(|(used, ..)| *used);
        let mut others = others.into_iter();
        loop {
            let free = self.free(own)?;
            if need <= free {
                return Ok(());
            }
            let Some((_, dir)) = others.next() else {
                let (url, dir) = (listing.url.clone(), self.root.clone());
                return Err(DatasetError::NoRoom { url, dir, need, free });
            };
            let place = Place::open(&dir)?;
            if flock(&place.lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                place.clear()?;
            }
        }
    }

    /// Bytes that a dataset may take.
    fn free(&self, own: &Place) -> Result<u64, DatasetError> {
        let disk = rustix::fs::statvfs(&self.root).map_err(|error| at(&self.root, error.into()))?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let keep = (total / KEEP_FREE.0).min(KEEP_FREE.1);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(keep);
        let Some(limit) = self.limit else { return Ok(free) };
        let mut taken: u64 = 0;
        for (_, dir) in self.others(own)? {
            taken = taken.saturating_add(marked(&dir).map_or(0, |listing| listing.bytes()));
        }
        Ok(free.min(limit.saturating_sub(taken)))
    }

    /// The other datasets that take room: when they were used last, and where they are.
    fn others(&self, own: &Place) -> Result<Vec<(SystemTime, PathBuf)>, DatasetError> {
        let entries = fs::read_dir(&self.root).map_err(|error| at(&self.root, error))?;
        let other = |entry: fs::DirEntry| {
            let dir = entry.path();
            let used = fs::metadata(dir.join(LOCK)).and_then(|lock| lock.modified()).ok()?;
            (dir != own.dir && dir.join(DATA).exists()).then_some((used, dir))
        };
        Ok(entries.flatten().filter_map(other).collect())
    }
}

fn at(path: &Path, source: io::Error) -> DatasetError {
    DatasetError::Io { path: path.to_owned(), source }
}

/// What the marker of a directory says.
fn marked(dir: &Path) -> Option<DatasetListing> {
    let marker = dir.join(MARKER);
    let is_short = fs::metadata(&marker).is_ok_and(|it| it.len() <= LONGEST);
    serde_json::from_slice(&fs::read(marker).ok().filter(|_| is_short)?).ok()
}

/// The directory of one dataset.
struct Place {
    dir: PathBuf,
    lock: File,
}

impl Place {
    fn open(dir: &Path) -> Result<Self, DatasetError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| at(dir, error))?;
        let path = dir.join(LOCK);
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow);
        let lock = options.open(&path).map_err(|error| at(&path, error))?;
        Ok(Self { dir: dir.to_owned(), lock })
    }

    /// Takes the lock, or changes how it is held; whoever has it alone ends some time, for the
    /// kernel gives up the locks of the dead.
    fn wait_for(&self, kind: FlockOperation) -> Result<(), DatasetError> {
        loop {
            match flock(&self.lock, kind) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => std::thread::sleep(LOOK),
                Err(error) => return Err(at(&self.dir.join(LOCK), error.into())),
            }
        }
    }

    /// What is here, if it is this version and nothing is missing.
    fn whole(&self, version: &str) -> Option<DatasetListing> {
        let listing = marked(&self.dir).filter(|listing| listing.version() == version)?;
        let data = self.dir.join(DATA);
        let is_there = |path: &str, size: u64| {
            let path = if path.is_empty() { data.clone() } else { data.join(path) };
            fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() == size)
        };
        listing.files.iter().all(|file| is_there(&file.path, file.size)).then_some(listing)
    }

    fn mark(&self, listing: &DatasetListing) -> Result<(), DatasetError> {
        let (new, marker) = (self.dir.join("listing.tmp"), self.dir.join(MARKER));
        // Nothing that a loss of power took away is believed to be here afterwards.
        let synced = rustix::fs::syncfs(&self.lock).map_err(io::Error::from);
        let text = serde_json::to_vec(listing).map_err(io::Error::from);
        let written = synced.and(text).and_then(|text| fs::write(&new, text));
        written.and_then(|()| fs::rename(&new, &marker)).map_err(|error| at(&marker, error))
    }

    /// Removes everything but the lock, the marker first.
    fn clear(&self) -> Result<(), DatasetError> {
        let (marker, data) = (self.dir.join(MARKER), self.dir.join(DATA));
        let gone = |removed: io::Result<()>| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        gone(fs::remove_file(&marker)).map_err(|error| at(&marker, error))?;
        writable(&data);
        let removed = if data.is_file() { fs::remove_file(&data) } else { fs::remove_dir_all(&data) };
        gone(removed).map_err(|error| at(&data, error))
    }

    fn used(self, listing: &DatasetListing) -> Result<StagedDataset, DatasetError> {
        let path = self.dir.join(DATA);
        rustix::fs::futimens(
            &self.lock,
            &rustix::fs::Timestamps {
                last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
                last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
            },
        )
        .map_err(|error| at(&path, error.into()))?;
        Ok(StagedDataset { path, bytes: listing.bytes(), _lock: self.lock })
    }
}

/// Directories are read-only for trials; their owner must be able to remove what is in them.
fn writable(dir: &Path) {
    if !fs::symlink_metadata(dir).is_ok_and(|it| it.is_dir()) {
        return;
    }
    // What cannot be changed cannot be removed either, which is said then.
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        writable(&entry.path());
    }
}
