//! A results volume in S3, or in a store that speaks its language. An object is put whole and only
//! where none is; what is left open by an answer is decided by what lies there.
//! Invariant: no call overwrites an object, and a caller waits no longer than the deadlines of its
//! calls.

mod account;
mod answer;
mod client;
mod parts;
mod put;
mod read;
mod runtime;

use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use gridctl_core::s3_url::{LONGEST_KEY, S3Url};

pub use self::account::{AccountBucket, content_name};
use self::client::{BucketClient, broken_off};
pub(crate) use self::read::ObjectRange;
pub(crate) use self::runtime::Begun;
use super::{Entry, Published, Put, Volume, VolumeError, check_listed, check_path};

/// A volume beneath a prefix of a bucket.
#[derive(Debug, Clone)]
pub struct S3Volume {
    url: S3Url,
    bucket: BucketClient,
}

impl S3Volume {
    /// Opens the volume, whose bucket must be there.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub fn open(url: &S3Url) -> Result<Self, VolumeError> {
        Ok(Self { url: url.clone(), bucket: BucketClient::of(url)? })
    }

    /// Opens the volume for writing: its store must not overwrite what is there.
    ///
    /// # Errors
    /// [`VolumeError::S3`] with [`super::S3Problem::NoConditionalWrites`] if it does.
    pub fn create(url: &S3Url) -> Result<Self, VolumeError> {
        static TRIED: Mutex<BTreeSet<S3Url>> = Mutex::new(BTreeSet::new());
        let volume = Self::open(url)?;
        let tried = || TRIED.lock().unwrap_or_else(PoisonError::into_inner);
        if !tried().contains(url) {
            volume.ask(|volume| async move { volume.probe().await })?;
            tried().insert(url.clone());
        }
        Ok(volume)
    }

    /// The address.
    pub(crate) fn url(&self) -> &S3Url {
        &self.url
    }

    /// The error for a call that ended without a result.
    pub(crate) fn broken_off(&self) -> VolumeError {
        broken_off(&self.url)
    }

    /// All that lies beneath the address, or at it, as (path, size, ETag).
    pub(crate) fn objects(&self) -> Result<Vec<(String, u64, String)>, VolumeError> {
        self.ask(|volume| async move { volume.all_objects().await })
    }

    /// Begins to read a range of an object whose content has this ETag. `path` is beneath the
    /// address; empty, it is the object there.
    pub(crate) fn begin_range(
        &self,
        path: &str,
        range: Range<u64>,
        etag: &str,
    ) -> Option<Begun<Result<ObjectRange, VolumeError>>> {
        let key = if path.is_empty() { self.url.prefix().to_owned() } else { self.url.key(path) };
        let (volume, etag) = (self.clone(), etag.to_owned());
        runtime::begin(async move { volume.read_as_listed(&key, range, &etag).await })
    }

    /// The key of a path.
    fn key(&self, path: &str) -> Result<String, VolumeError> {
        check_path(path)?;
        let key = self.url.key(path);
        if key.len() > LONGEST_KEY {
            let path = path.chars().take(100).collect();
            let why = "with the prefix it is longer than 1,024 bytes";
            return Err(VolumeError::BadPath { path, why });
        }
        Ok(key)
    }

    /// Waits for `work` with this volume.
    fn ask<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T, VolumeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, VolumeError>> + Send + 'static,
    {
        let begun = runtime::begin(work(self.clone()));
        begun.and_then(runtime::Begun::wait).unwrap_or_else(|| Err(broken_off(&self.url)))
    }
}

impl Volume for S3Volume {
    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<Put, VolumeError> {
        let (key, bytes) = (self.key(path)?, bytes.to_vec());
        self.ask(|volume| async move { volume.put(&key, bytes).await })
    }

    fn put_file(&self, path: &str, file: &File, limit: u64) -> Result<Published, VolumeError> {
        parts::file(self, (path, &self.key(path)?), file, limit)
    }

    fn get(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, VolumeError> {
        let key = self.key(path)?;
        self.ask(|volume| async move { volume.read(&key, range).await })
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, VolumeError> {
        check_listed(path)?;
        let above = match (path, self.url.prefix()) {
            ("", "") => String::new(),
            ("", prefix) => format!("{prefix}/"),
            (path, _) => format!("{}/", self.url.key(path)),
        };
        self.ask(|volume| async move { volume.entries(&above).await })
    }

    fn delete(&self, path: &str) -> Result<(), VolumeError> {
        let key = self.key(path)?;
        self.ask(|volume| async move { volume.remove(&key).await })
    }
}

#[cfg(test)]
pub(crate) mod tests;
