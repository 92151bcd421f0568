//! Where a sweep's results go: a volume by its own address, or the one in the master's data
//! directory.
//! Invariant: an address that was read back from bytes is one that this release can open.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::s3_url::{BadS3Url, S3Url, SCHEME};
use crate::spec::limits::TEXT_BYTES;

/// The results volume of a sweep that names none, as a path in the master's data directory.
pub const DEFAULT_OUTPUT: &str = "results";

/// The address of a results volume. `gridctl-storage` opens it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum VolumeUrl {
    /// An absolute directory, as the machine names it that opens it.
    Dir(PathBuf),
    /// What lies beneath a prefix of a bucket.
    S3(S3Url),
}

impl VolumeUrl {
    /// The directory on this machine, if the volume is one.
    #[must_use]
    pub fn local_dir(&self) -> Option<&Path> {
        match self {
            Self::Dir(dir) => Some(dir),
            Self::S3(_) => None,
        }
    }

    /// The address of a sweep's results in the volume, for people.
    #[must_use]
    pub fn of_sweep(&self, sweep: &str) -> String {
        format!("{self}/{sweep}")
    }
}

impl fmt::Display for VolumeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(dir) => dir.display().fmt(f),
            Self::S3(url) => url.fmt(f),
        }
    }
}

/// A text that is no address of a results volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVolumeUrl {
    /// No absolute directory.
    #[error(
        "{text:?} is no results volume that this gridctl can open: it opens absolute directories and `s3://` addresses"
    )]
    Unknown {
        /// The text, shortened.
        text: String,
    },
    /// No address in S3.
    #[error(transparent)]
    S3(#[from] BadS3Url),
}

impl FromStr for VolumeUrl {
    type Err = BadVolumeUrl;

    fn from_str(text: &str) -> Result<Self, BadVolumeUrl> {
        if text.starts_with(SCHEME) {
            return Ok(Self::S3(text.parse()?));
        }
        let sound = text.starts_with('/') && text.len() <= TEXT_BYTES && !text.contains('\0');
        let bad = || BadVolumeUrl::Unknown { text: text.chars().take(80).collect() };
        sound.then(|| Self::Dir(text.into())).ok_or_else(bad)
    }
}

impl TryFrom<String> for VolumeUrl {
    type Error = BadVolumeUrl;

    fn try_from(text: String) -> Result<Self, BadVolumeUrl> {
        text.parse()
    }
}

impl From<VolumeUrl> for String {
    fn from(url: VolumeUrl) -> Self {
        url.to_string()
    }
}

/// A sweep's results volume, in which the sweep has `<name>/`: claimed by the sweep's uuid, never
/// compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Output {
    /// [`DEFAULT_OUTPUT`] in the data directory of the master, wherever that is.
    InDataDir,
    /// A volume of its own.
    At(VolumeUrl),
}

impl Output {
    /// The results volume for a master whose data directory is `data_dir`.
    #[must_use]
    pub fn volume_in(&self, data_dir: &Path) -> VolumeUrl {
        match self {
            Self::InDataDir => VolumeUrl::Dir(data_dir.join(DEFAULT_OUTPUT)),
            Self::At(url) => url.clone(),
        }
    }
}

impl TryFrom<String> for Output {
    type Error = BadVolumeUrl;

    fn try_from(text: String) -> Result<Self, BadVolumeUrl> {
        if text == DEFAULT_OUTPUT { Ok(Self::InDataDir) } else { text.parse().map(Self::At) }
    }
}

impl From<Output> for String {
    fn from(output: Output) -> Self {
        match output {
            Output::InDataDir => DEFAULT_OUTPUT.to_owned(),
            Output::At(url) => url.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_absolute_directory_or_in_s3_and_reads_back() {
        for text in ["results", "/data/results", "/", "s3://bucket/results"] {
            let output = Output::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(output.clone()), text);
            let json = serde_json::to_string(&output).unwrap();
            assert_eq!(serde_json::from_str::<Output>(&json).unwrap(), output);
        }
        let long = format!("/{}", "x".repeat(TEXT_BYTES));
        for text in ["", "here", "./results", "file:///results", "/a\0b", &long] {
            let refused = Output::try_from(text.to_owned()).unwrap_err();
            assert!(refused.to_string().contains("absolute directories"), "{refused}");
        }
        let refused = Output::try_from("s3://b/results".to_owned()).unwrap_err();
        assert!(refused.to_string().contains("a bucket's name"), "{refused}");
    }

    #[test]
    fn the_default_goes_where_the_data_directory_goes() {
        let dir = |path: &str| VolumeUrl::Dir(path.into());
        assert_eq!(Output::InDataDir.volume_in(Path::new("/a/b")), dir("/a/b/results"));
        assert_eq!(Output::At(dir("/c")).volume_in(Path::new("/a/b")), dir("/c"));
        assert_eq!(dir("/c").of_sweep("wine"), "/c/wine");
    }
}
