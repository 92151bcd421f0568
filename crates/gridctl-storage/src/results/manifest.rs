//! The list of what an attempt or a checkpoint published: it comes last, so that what it lists is whole once it is there.
//! Invariant: a manifest that was read is that of the owner and token that were asked for, and leads nowhere outside.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use gridctl_core::id::Token;
use serde::{Deserialize, Serialize};

use super::Results;
use crate::volume::{VolumeError, check_path, is_plain};

/// The file's name.
pub(crate) const MANIFEST: &str = "manifest.json";
/// A longer one is not read.
const LONGEST: u64 = 16 << 20;

/// A published file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it lies beneath the manifest's directory; bytes that a volume does not take are written as `%20`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

impl FileEntry {
    /// The file's own path, as the trainer named it.
    #[must_use]
    pub fn local_path(&self) -> Option<PathBuf> {
        let path = self.path.strip_prefix("files/").unwrap_or(&self.path);
        path.split('/').map(decode).collect()
    }
}

/// Something that was not published, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its path, for people.
    pub name: String,
    /// The reason.
    pub why: String,
}

/// What was published under one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// The trial's id, or for a checkpoint the fingerprint.
    pub owner: String,
    /// Who published it.
    pub token: Token,
    /// The files, sorted by path.
    pub files: Vec<FileEntry>,
    /// The whole log, where the record has only its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<FileEntry>,
    /// What was left out, at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// How many more were left out.
    #[serde(default)]
    pub skipped_more: u64,
}

impl Manifest {
    /// Whether there was nothing to publish.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.log.is_none() && self.skipped.is_empty()
    }

    /// How many files were left out.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        (self.skipped.len() as u64).saturating_add(self.skipped_more)
    }

    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().chain(&self.log).map(|file| file.size).sum()
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a manifest has plain keys and no floats")
    }
}

impl Results {
    /// The manifest in `dir` of this owner; `None` if there is none yet.
    pub(crate) fn manifest(&self, dir: &str, owner: &str) -> Result<Option<Manifest>, VolumeError> {
        let path = format!("{dir}/{MANIFEST}");
        let damaged = |what: String| VolumeError::Damaged { path: path.clone(), what };
        let bytes = match self.volume.get(&path, 0..LONGEST + 1) {
            Ok(bytes) => bytes,
            Err(VolumeError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if bytes.len() as u64 > LONGEST {
            return Err(damaged("it is longer than any manifest".to_owned()));
        }
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != 1 {
            return Err(damaged(format!("its format is {}, and this gridctl knows 1", manifest.format)));
        }
        if manifest.owner != owner {
            return Err(damaged(format!("it is that of {}", manifest.owner)));
        }
        let mut entries = manifest.files.iter().chain(&manifest.log);
        if entries.any(|entry| check_path(&entry.path).is_err() || entry.local_path().is_none()) {
            return Err(damaged("it lists a path that leads elsewhere".to_owned()));
        }
        Ok(Some(manifest))
    }
}

/// A file's name as a volume takes it: other bytes, `%` and a leading dot as `%` and two hexadecimal digits.
pub(crate) fn encode(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for (i, &byte) in name.iter().enumerate() {
        if is_plain(byte) && byte != b'%' && !(i == 0 && byte == b'.') {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02x}").expect("a string takes everything");
        }
    }
    text
}

/// The inverse of [`encode`]; `None` for what could lead elsewhere.
fn decode(name: &str) -> Option<OsString> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                u8::try_from(value).ok()?
            }
            plain => plain,
        });
    }
    let safe =
        !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/') && !bytes.contains(&0);
    safe.then(|| OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_so_that_they_read_back_and_lead_nowhere() {
        for (name, encoded) in [
            (&b"epoch=3.ckpt"[..], "epoch=3.ckpt"),
            (b"my model.bin", "my%20model.bin"),
            (b".hidden", "%2ehidden"),
            (b"100%", "100%25"),
            (b"\xff\n\\", "%ff%0a%5c"),
        ] {
            assert_eq!(encode(name), encoded);
            assert!(check_path(encoded).is_ok());
            assert_eq!(decode(encoded).unwrap().into_vec(), name);
        }
        for bad in ["", "%2e", "%2e%2e", "a%2fb", "%00", "%", "%zz", "%f"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
