//! Data that trials read and that lies in S3: listed, and kept on this machine while somebody
//! needs it.
//! Invariant: what is given out is what was listed, file by file, or nothing.

mod cache;
#[cfg(feature = "s3")]
mod fetch;
#[cfg(test)]
#[cfg(feature = "s3")]
mod tests;

use std::io;
use std::path::PathBuf;

use gridctl_core::s3_url::S3Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use cache::{DatasetCache, StagedDataset};

use crate::volume::VolumeError;
use crate::volume::dir::hex;

/// A file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataFile {
    /// Its path beneath the dataset's address; empty if the address is that of an object.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// What S3 calls this content.
    pub etag: String,
}

/// What lies at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetListing {
    /// The address.
    pub url: S3Url,
    /// The files, sorted by path; at least one.
    pub files: Vec<DataFile>,
}

impl DatasetListing {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size))
    }

    /// Another text for each other content.
    #[must_use]
    pub fn version(&self) -> String {
        let mut hash = Sha256::new();
        for DataFile { path, size, etag } in &self.files {
            for text in [path, etag] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            hash.update(size.to_le_bytes());
        }
        hex(&hash.finalize()[..16])
    }
}

/// How far a dataset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageProgress {
    /// Bytes that are there.
    pub bytes: u64,
    /// Bytes in all.
    pub of: u64,
}

/// Why there is no data.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// S3 did not do what was asked.
    #[error(transparent)]
    S3(#[from] VolumeError),
    /// Nothing is there.
    #[error("there is no object at {url}")]
    Empty {
        /// The address.
        url: S3Url,
    },
    /// An object whose key is no path.
    #[error("the object {key:?} of {url} cannot be a file: {why}")]
    Unusable {
        /// The address.
        url: S3Url,
        /// The key beneath it, shortened.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The data is no longer what the sweep was submitted with.
    #[error("the data at {url} is not what the sweep was submitted with")]
    Changed {
        /// The address.
        url: S3Url,
    },
    /// What came is not what was listed.
    #[error("{path} of {url} came damaged, twice")]
    Damaged {
        /// The address.
        url: S3Url,
        /// The file.
        path: String,
    },
    /// The disk is too small.
    #[error("{url} needs {need} bytes in {}, and {free} are free", .dir.display())]
    NoRoom {
        /// The address.
        url: S3Url,
        /// The cache's directory.
        dir: PathBuf,
        /// Bytes.
        need: u64,
        /// Bytes.
        free: u64,
    },
    /// The disk failed.
    #[error("{}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl DatasetError {
    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::S3(error) => return error.help(),
            Self::Empty { .. } => "compare `aws s3 ls` of the address; `data:` names a prefix or one object",
            Self::Unusable { .. } => "rename the object, or name a prefix that does not hold it",
            Self::Changed { .. } => {
                "submit the sweep file again: what was computed with the former data stays marked as such"
            }
            Self::Damaged { .. } => "it is tried again by itself; if it stays so, upload the object anew",
            Self::NoRoom { .. } => "free some space, or put the data directory on a larger disk",
            Self::Io { .. } => return None,
        })
    }
}

/// Lists the data at `url`.
///
/// # Errors
/// [`DatasetError::Empty`], [`DatasetError::Unusable`], [`DatasetError::S3`].
pub fn list(url: &S3Url) -> Result<DatasetListing, DatasetError> {
    #[cfg(feature = "s3")]
    return fetch::list(&crate::volume::s3::S3Volume::open(url)?);
    #[cfg(not(feature = "s3"))]
    Err(VolumeError::WithoutS3 { url: url.to_string() }.into())
}
