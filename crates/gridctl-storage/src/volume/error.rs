//! What can be wrong with a results volume, one variant for each different reaction.
//! Invariant: what is retryable lost nothing and may be tried again; every other one stays as it is
//! until a person acts.

use std::io;

use super::S3Problem;

/// Why the volume did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another sweep has this directory.
    #[error("`{sweep}` in the results volume belongs to another sweep of that name ({by})")]
    Claimed {
        /// The sweep's name.
        sweep: String,
        /// The other sweep's uuid.
        by: String,
    },
    /// Other content is published there.
    #[error("`{path}` is published already, with other content")]
    Conflict {
        /// The path.
        path: String,
    },
    /// There is no such file.
    #[error("`{path}` is not in the results volume")]
    NotFound {
        /// The path.
        path: String,
    },
    /// Something that is no ordinary file or directory is in the way.
    #[error("`{path}` in the results volume is {what}, and gridctl does not follow it")]
    Obstructed {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A path that no volume takes.
    #[error("`{path}` cannot be a path in the results volume: {why}")]
    BadPath {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What is there is not what was published.
    #[error("`{path}` in the results volume is damaged: {what}")]
    Damaged {
        /// The path.
        path: String,
        /// What does not fit.
        what: String,
    },
    /// The volume is full.
    #[error("no space left for `{path}` in the results volume")]
    NoSpace {
        /// The path.
        path: String,
    },
    /// The volume may not be written, or not read.
    #[error("not allowed to use `{path}` in the results volume: {why}")]
    NotAllowed {
        /// The path.
        path: String,
        /// What the system says.
        why: String,
    },
    /// S3 did not do what was asked.
    #[error("s3://{bucket}: {call} failed: {problem}")]
    S3 {
        /// The bucket.
        bucket: String,
        /// What was asked, as AWS names it.
        call: &'static str,
        /// What is wrong.
        problem: S3Problem,
    },
    /// This gridctl cannot talk to S3.
    #[error("{url} cannot be opened: this gridctl was built without S3")]
    WithoutS3 {
        /// The address.
        url: String,
    },
    /// The system failed, perhaps only for now.
    #[error("`{path}` in the results volume failed")]
    Io {
        /// The path.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl VolumeError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoSpace { .. } | Self::Io { .. } => true,
            Self::S3 { problem, .. } => problem.is_retryable(),
            _ => false,
        }
    }

    /// Whether the same call fails whatever becomes of the volume.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::BadPath { .. } | Self::Damaged { .. })
    }

    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Claimed { .. } => {
                "give the sweep another `name:` or `output:`; if these are its own results, and its \
                 journal was lost, `gridctl rebuild --from DIR` makes the journal again"
            }
            Self::Obstructed { .. } => "move it away, or name another `output:`",
            Self::NotAllowed { .. } => "make the directory writable for you, or name another `output:`",
            Self::NoSpace { .. } => "free some space: it is tried again by itself",
            Self::Conflict { .. } => "two masters may be writing here: let one of them end",
            Self::Damaged { .. } => {
                "the disk or another program changed it; the journal, if there is one, has the outcomes"
            }
            Self::S3 { problem, .. } => return problem.help(),
            Self::WithoutS3 { .. } => {
                "`cargo build --release` of gridctl has S3; `--no-default-features` needs `--features s3`"
            }
            Self::NotFound { .. } | Self::BadPath { .. } | Self::Io { .. } => return None,
        })
    }

    /// What the system said about `path`.
    pub(crate) fn from_io(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotAllowed { path, why: source.to_string() }
            }
            _ => Self::Io { path, source },
        }
    }
}
