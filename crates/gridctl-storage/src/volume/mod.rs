//! The results volume: a flat space of files under paths such as
//! `wine/trials/k3f9/1-7/manifest.json`, written once and never changed.
//! Invariant: a path holds nothing or a whole file; who finds it taken by other content is told so
//! and changes nothing.

pub mod dir;
mod error;
pub mod memory;
#[cfg(feature = "s3")]
pub mod s3;
mod s3_problem;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use gridctl_core::output::VolumeUrl;

pub use dir::DirVolume;
pub use error::VolumeError;
pub use memory::{MemoryVolume, VolumeFault};
pub use s3_problem::S3Problem;

/// The longest path that every kind of volume takes.
pub const LONGEST_PATH: usize = 1_024;
/// The longest name between two slashes.
pub const LONGEST_NAME: usize = 200;

/// How a publication went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The file was not there, and is now.
    Written,
    /// The very same content was there.
    Same,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Whether it was new.
    pub put: Put,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
}

/// A file or directory in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name, without the path.
    pub name: String,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Whether more lies beneath it.
    pub is_dir: bool,
}

/// Files that are published once, whole, and durably. Paths are relative, of names as
/// [`check_path`] takes them.
pub trait Volume: Send + Sync {
    /// Publishes `bytes` at `path`; when it returns, they are durable.
    ///
    /// # Errors
    /// [`VolumeError::Conflict`] if other content is there; [`VolumeError::NoSpace`];
    /// [`VolumeError::Obstructed`].
    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<Put, VolumeError>;

    /// Publishes at most `limit` bytes of `file` from where it stands, without holding them in
    /// memory.
    ///
    /// # Errors
    /// As [`Volume::put_new`].
    fn put_file(&self, path: &str, file: &File, limit: u64) -> Result<Published, VolumeError>;

    /// The bytes of `range`, or fewer where the file ends.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`].
    fn get(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, VolumeError>;

    /// What lies directly beneath `path`, or in all if that is empty, sorted by name; nothing if
    /// there is no such directory.
    ///
    /// # Errors
    /// [`VolumeError::Obstructed`], [`VolumeError::Io`].
    fn list(&self, path: &str) -> Result<Vec<Entry>, VolumeError>;

    /// Removes a file, and the directories above it that are empty then; it may be gone already.
    ///
    /// # Errors
    /// [`VolumeError::Obstructed`], [`VolumeError::Io`].
    fn delete(&self, path: &str) -> Result<(), VolumeError>;
}

/// Opens the volume at `url`, which must be there.
///
/// # Errors
/// [`VolumeError::NotFound`] if it is not; [`VolumeError::Obstructed`], [`VolumeError::NotAllowed`];
/// [`VolumeError::S3`], [`VolumeError::WithoutS3`].
pub fn open(url: &VolumeUrl) -> Result<Arc<dyn Volume>, VolumeError> {
    match url {
        VolumeUrl::Dir(dir) => Ok(Arc::new(DirVolume::open(dir)?)),
        #[cfg(feature = "s3")]
        VolumeUrl::S3(url) => Ok(Arc::new(s3::S3Volume::open(url)?)),
        #[cfg(not(feature = "s3"))]
        VolumeUrl::S3(url) => Err(VolumeError::WithoutS3 { url: url.to_string() }),
    }
}

/// Opens the volume at `url`, which is made if it is not there.
///
/// # Errors
/// As [`open`].
pub fn create(url: &VolumeUrl) -> Result<Arc<dyn Volume>, VolumeError> {
    match url {
        VolumeUrl::Dir(dir) => Ok(Arc::new(DirVolume::create(dir)?)),
        #[cfg(feature = "s3")]
        VolumeUrl::S3(url) => Ok(Arc::new(s3::S3Volume::create(url)?)),
        #[cfg(not(feature = "s3"))]
        VolumeUrl::S3(url) => Err(VolumeError::WithoutS3 { url: url.to_string() }),
    }
}

/// Whether `path` can be listed.
fn check_listed(path: &str) -> Result<(), VolumeError> {
    if path.is_empty() { Ok(()) } else { check_path(path) }
}

/// Whether `path` is relative and made of names that mean the same on every kind of volume.
///
/// # Errors
/// [`VolumeError::BadPath`] says what is wrong with it.
pub fn check_path(path: &str) -> Result<(), VolumeError> {
    let bad = |why| Err(VolumeError::BadPath { path: path.chars().take(100).collect(), why });
    if path.len() > LONGEST_PATH {
        return bad("it is longer than 1,024 bytes");
    }
    for name in path.split('/') {
        if name.is_empty() {
            return bad("a name in it is empty");
        }
        if name.len() > LONGEST_NAME {
            return bad("a name in it is longer than 200 bytes");
        }
        if name.starts_with('.') {
            return bad("a name in it begins with a dot");
        }
        if !name.bytes().all(is_plain) {
            return bad("it has characters other than letters, digits and `._-+=,@%`");
        }
    }
    Ok(())
}

/// Bytes that stand for themselves in a path.
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-+=,@%".contains(&byte)
}
