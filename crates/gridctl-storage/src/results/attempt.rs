//! `trials/<id>/<epoch>-<lease>/`: the files and the full log of one attempt.
//! Invariant: an attempt publishes only under its own token, files first and the manifest last; readers believe nothing without one.

use std::fs::{self, File};
use std::io::{self, BufReader, Seek, Write};
use std::path::Path;
use std::time::Duration;

use gridctl_core::id::{Epoch, LeaseSeq, Token, TrialId};
use sha2::{Digest, Sha256};

use super::Results;
use super::collect::{Collected, collect, open_beneath};
use super::manifest::{FileEntry, MANIFEST, Manifest};
use crate::sparse::SparseWriter;
use crate::volume::dir::hex;
use crate::volume::{VolumeError, check_path};

/// Bytes that are read at once.
const CHUNK: u64 = 1 << 20;
const LOG: &str = "log.txt";
/// What is not as its manifest says is looked at again, after so long at first and at last:
/// machines that share a volume may see a manifest before the files that it lists.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(320));

/// How much an attempt may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files.
    pub files: u64,
    /// Bytes of all of them. A sparse file counts as long as it says it is, though holes stay
    /// holes: whoever reads, checks or fetches it has that much to do.
    pub bytes: u64,
}

impl Default for Limits {
    /// 10,000 files and 100 GiB.
    fn default() -> Self {
        Self { files: 10_000, bytes: 100 << 30 }
    }
}

/// Copies the files beneath `dir`, less those that `leave` names at the top, into the new directory
/// `into`. What no attempt publishes, such as links, is left out; says how much that is.
///
/// # Errors
/// As the system says; `dir` must be a directory, and no link to one.
pub fn copy_files(dir: &Path, into: &Path, leave: &[&str]) -> io::Result<u64> {
    fs::create_dir(into)?;
    let collected = collect(dir, &Limits { files: u64::MAX, bytes: u64::MAX }, leave)?;
    for found in &collected.files {
        let to = into.join(&found.local);
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut from = BufReader::with_capacity(256 << 10, open_beneath(dir, found)?);
        let mut file = File::options().write(true).create_new(true).open(&to)?;
        let mut sparse = SparseWriter::new(&mut file);
        io::copy(&mut from, &mut sparse)?;
        sparse.finish()?;
    }
    Ok(collected.skipped.len() as u64 + collected.skipped_more)
}

impl Results {
    /// Publishes the files beneath `dir`, and the whole log if one is given. An attempt without either publishes nothing, and its
    /// manifest says so. May be repeated after an error.
    ///
    /// # Errors
    /// [`VolumeError::Conflict`] if other content was published under this token before; as [`crate::volume::Volume::put_file`].
    pub fn publish_attempt(
        &self,
        (trial, token): (TrialId, Token),
        dir: &Path,
        log: Option<&File>,
        limits: &Limits,
    ) -> Result<Manifest, VolumeError> {
        let to = self.attempt_dir(trial, token.epoch, token.lease);
        self.publish(&to, (&trial.to_string(), token), (dir, log, &[]), limits)
    }

    /// The manifest of an attempt; `None` if it published nothing, or not everything yet.
    ///
    /// # Errors
    /// [`VolumeError::Damaged`] if it is not that of this trial and token, or no manifest at all.
    pub fn attempt_manifest(&self, trial: TrialId, token: Token) -> Result<Option<Manifest>, VolumeError> {
        let dir = self.attempt_dir(trial, token.epoch, token.lease);
        let manifest = self.manifest(&dir, &trial.to_string())?;
        match manifest {
            Some(other) if other.token != token => Err(VolumeError::Damaged {
                path: format!("{dir}/{MANIFEST}"),
                what: format!("it is that of attempt {}", other.token),
            }),
            found => Ok(found),
        }
    }

    /// Copies what an attempt published into the directory `into`, checking every hash; its log becomes `log.txt`.
    ///
    /// # Errors
    /// [`VolumeError::Damaged`] if something is not what the manifest says.
    pub fn fetch_attempt(&self, manifest: &Manifest, into: &Path) -> Result<(), VolumeError> {
        let path = self.path(&format!("trials/{}/{}", manifest.owner, manifest.token));
        self.copy_out(&path, manifest, into)
    }

    /// How long the log is that an attempt published, once all of it was read and found to be what its manifest says; `None` if it
    /// published none.
    ///
    /// # Errors
    /// [`VolumeError::Damaged`] if it is not what the manifest says, or that is none; [`VolumeError::NotFound`] if it is gone.
    pub fn check_log(&self, trial: TrialId, token: Token) -> Result<Option<u64>, VolumeError> {
        let Some(entry) = self.attempt_manifest(trial, token)?.and_then(|manifest| manifest.log) else {
            return Ok(None);
        };
        let entry = FileEntry { path: LOG.to_owned(), ..entry };
        let dir = self.attempt_dir(trial, token.epoch, token.lease);
        settled(|| self.read_entry(&dir, &entry, &mut std::io::sink()))?;
        Ok(Some(entry.size))
    }

    /// The published log of an attempt, from `range` of its bytes.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`] if it published none.
    pub fn attempt_log(
        &self,
        trial: TrialId,
        token: Token,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, VolumeError> {
        let dir = self.attempt_dir(trial, token.epoch, token.lease);
        self.volume.get(&format!("{dir}/{LOG}"), range)
    }

    fn attempt_dir(&self, trial: TrialId, epoch: Epoch, lease: LeaseSeq) -> String {
        self.path(&format!("trials/{trial}/{epoch}-{lease}"))
    }

    /// Publishes files and log beneath the directory `to`, and then their manifest.
    pub(crate) fn publish(
        &self,
        to: &str,
        (owner, token): (&str, Token),
        (dir, log, leave): (&Path, Option<&File>, &[&str]),
        limits: &Limits,
    ) -> Result<Manifest, VolumeError> {
        let mut collected = collect(dir, limits, leave).map_err(|error| VolumeError::from_io(to, error))?;
        let files = self.put_files(to, dir, &mut collected, limits.bytes)?;
        let log = log.map(|log| self.put_log(to, log)).transpose()?;
        let Collected { skipped, skipped_more, .. } = collected;
        let manifest =
            Manifest { format: 1, owner: owner.to_owned(), token, files, log, skipped, skipped_more };
        if !manifest.is_empty() {
            self.volume.put_new(&format!("{to}/{MANIFEST}"), manifest.to_json().as_bytes())?;
        }
        Ok(manifest)
    }

    fn put_files(
        &self,
        to: &str,
        dir: &Path,
        collected: &mut Collected,
        bytes: u64,
    ) -> Result<Vec<FileEntry>, VolumeError> {
        let (mut entries, mut left) = (Vec::new(), bytes);
        for found in std::mem::take(&mut collected.files) {
            let file = match open_beneath(dir, &found) {
                Ok(file) => file,
                Err(error) => {
                    collected.skip(&found.local, error.to_string());
                    continue;
                }
            };
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            if size > left {
                collected.skip(&found.local, format!("{size} bytes are more than is left of {bytes}"));
                continue;
            }
            let path = format!("files/{}", found.encoded);
            let published = self.volume.put_file(&format!("{to}/{path}"), &file, left)?;
            left = left.saturating_sub(published.size);
            entries.push(FileEntry { path, size: published.size, sha256: published.sha256 });
        }
        Ok(entries)
    }

    fn put_log(&self, to: &str, mut log: &File) -> Result<FileEntry, VolumeError> {
        log.rewind().map_err(|error| VolumeError::from_io(to, error))?;
        let published = self.volume.put_file(&format!("{to}/{LOG}"), log, u64::MAX)?;
        Ok(FileEntry { path: LOG.to_owned(), size: published.size, sha256: published.sha256 })
    }

    /// Copies everything that the manifest lists to `into`, and compares it.
    pub(crate) fn copy_out(&self, dir: &str, manifest: &Manifest, into: &Path) -> Result<(), VolumeError> {
        check_path(dir)?;
        for entry in manifest.files.iter().chain(&manifest.log) {
            let Some(local) = entry.local_path() else {
                return Err(VolumeError::BadPath { path: entry.path.clone(), why: "it leads elsewhere" });
            };
            let local = into.join(local);
            let io = |error| VolumeError::from_io(&local.display().to_string(), error);
            local.parent().map_or(Ok(()), fs::create_dir_all).map_err(io)?;
            let mut file = File::options().write(true).create_new(true).open(&local).map_err(io)?;
            settled(|| {
                file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
                let mut sparse = SparseWriter::new(&mut file);
                self.read_entry(dir, entry, &mut sparse)?;
                sparse.finish().map_err(io)
            })?;
        }
        Ok(())
    }

    fn read_entry(&self, dir: &str, entry: &FileEntry, to: &mut dyn Write) -> Result<(), VolumeError> {
        let path = format!("{dir}/{}", entry.path);
        let (mut offset, mut hasher) = (0, Sha256::new());
        // One byte more than there should be, so that a longer file is noticed.
        while offset <= entry.size {
            let end = (offset + CHUNK).min(entry.size + 1);
            let chunk = self.volume.get(&path, offset..end)?;
            if chunk.is_empty() {
                break;
            }
            hasher.update(&chunk);
            to.write_all(&chunk).map_err(|error| VolumeError::from_io(&path, error))?;
            offset += chunk.len() as u64;
        }
        if offset != entry.size || hex(&hasher.finalize()) != entry.sha256 {
            return Err(VolumeError::Damaged { path, what: "it is not what its manifest says".to_owned() });
        }
        Ok(())
    }
}

/// Reads until what is read is what was published, but not for ever.
fn settled(mut read: impl FnMut() -> Result<(), VolumeError>) -> Result<(), VolumeError> {
    let mut pause = LOOK_AGAIN.0;
    loop {
        match read() {
            Err(VolumeError::Damaged { .. } | VolumeError::NotFound { .. }) if pause <= LOOK_AGAIN.1 => {}
            result => return result,
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}
