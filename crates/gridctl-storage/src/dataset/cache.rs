//! Datasets on this machine's disk, each in a shared directory that is named by address and version.
//! Invariant: what is given out is whole, file by file, as it was listed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridctl_core::s3_url::S3Url;
use sha2::{Digest, Sha256};

use super::{DatasetError, DatasetListing, StageProgress};
use crate::shared_dirs::{SharedDir, SharedDirs, SharedEntry};
use crate::volume::dir::hex;

/// Between two looks at a directory that another process fills or removes.
const LOOK: Duration = Duration::from_millis(200);
/// What datasets leave free of a disk: this share, but not more than so many bytes.
const KEEP_FREE: (u64, u64) = (20, 1 << 30);

/// A directory of datasets.
#[derive(Debug, Clone)]
pub struct DatasetCache {
    dirs: SharedDirs,
    /// Bytes of all datasets, at most.
    limit: Option<u64>,
}

/// A dataset that is there, and stays while this lives.
#[derive(Debug)]
pub struct StagedDataset {
    path: PathBuf,
    bytes: u64,
    _dir: SharedDir,
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
        Self { dirs: SharedDirs::new(root.to_owned()), limit }
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
        let name = hex(&Sha256::digest(format!("{url}\n{version}"))[..16]);
        loop {
            match self.dirs.enter(&name).map_err(|error| self.failed(error))? {
                SharedEntry::Busy => std::thread::sleep(LOOK),
                SharedEntry::Ready(dir) => {
                    if let Some(bytes) = whole(&dir, version) {
                        return Ok(StagedDataset { path: dir.files(), bytes, _dir: dir });
                    }
                    drop(dir);
                    self.dirs.remove(&name).map_err(|error| self.failed(error))?;
                }
                SharedEntry::Vacant(vacant) => {
                    let listing = list()?;
                    if listing.version() != version {
                        return Err(DatasetError::Changed { url: url.clone() });
                    }
                    self.make_room(&listing)?;
                    fetch(&listing, &vacant.files())?;
                    let note = serde_json::to_vec(&listing).map_err(io::Error::from);
                    let dir = note.and_then(|note| vacant.finish(&note));
                    let dir = dir.map_err(|error| self.failed(error))?;
                    return Ok(StagedDataset { path: dir.files(), bytes: listing.bytes(), _dir: dir });
                }
            }
        }
    }

    fn failed(&self, source: io::Error) -> DatasetError {
        DatasetError::Io { path: self.dirs.root().to_owned(), source }
    }

    /// Removes what nobody uses, the longest unused first, until the dataset has room.
    fn make_room(&self, listing: &DatasetListing) -> Result<(), DatasetError> {
        let need = listing.bytes();
        let mut others = self.dirs.by_use().into_iter();
        loop {
            let free = self.free()?;
            if need <= free {
                return Ok(());
            }
            let Some(other) = others.next() else {
                let (url, dir) = (listing.url.clone(), self.dirs.root().to_owned());
                return Err(DatasetError::NoRoom { url, dir, need, free });
            };
            self.dirs.remove(&other).map_err(|error| self.failed(error))?;
        }
    }

    /// Bytes that a dataset may take.
    fn free(&self) -> Result<u64, DatasetError> {
        let disk = rustix::fs::statvfs(self.dirs.root()).map_err(|error| self.failed(error.into()))?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let keep = (total / KEEP_FREE.0).min(KEEP_FREE.1);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(keep);
        let Some(limit) = self.limit else { return Ok(free) };
        let names = self.dirs.by_use();
        let listings = names.iter().filter_map(|name| listing_in(&self.dirs.note_of(name)?));
        let taken = listings.fold(0, |sum: u64, listing| sum.saturating_add(listing.bytes()));
        Ok(free.min(limit.saturating_sub(taken)))
    }
}

fn listing_in(note: &[u8]) -> Option<DatasetListing> {
    serde_json::from_slice(note).ok()
}

/// Bytes of what is here, if it is this version and nothing is missing.
fn whole(dir: &SharedDir, version: &str) -> Option<u64> {
    let listing = listing_in(&dir.note().ok()?).filter(|listing| listing.version() == version)?;
    let data = dir.files();
    let is_there = |path: &str, size: u64| {
        let path = if path.is_empty() { data.clone() } else { data.join(path) };
        fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() == size)
    };
    listing.files.iter().all(|file| is_there(&file.path, file.size)).then(|| listing.bytes())
}
