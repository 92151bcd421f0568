//! Packs: the files of a workdir as one archive, named by its hash. A pack is made where a sweep is
//! submitted, kept by the master, and unpacked by workers.
//! Invariant: what is packed and what is unpacked pass the same rules, so that no archive, whoever
//! made it, writes outside of its directory or beyond its limits.

mod draft;
mod read;
mod store;
mod tree;
mod write;

use std::io;
use std::path::PathBuf;

use gridctl_core::id::PackHash;

pub use draft::PackDraft;
pub use read::{check, unpack};
pub use store::{PackStore, PackedFile};
pub use tree::PackSize;
pub use write::Packer;

/// Bytes of a pack at most.
pub const MAX_PACKED: u64 = 100_000_000;
/// Bytes of all its files at most.
pub const MAX_UNPACKED: u64 = 1_000_000_000;
/// Files, directories and links at most.
pub const MAX_ENTRIES: usize = 100_000;

/// Why there is no pack, or none is made of these files.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is larger than a pack may be.
    #[error("{0}")]
    TooLarge(TooLarge),
    /// It holds what no pack holds.
    #[error("{}: {why}", sanitised(path))]
    Refused {
        /// The path in the pack.
        path: PathBuf,
        /// What is wrong with it.
        why: Unsound,
    },
    /// It is no pack, or a damaged one.
    #[error("it is no pack, or a damaged one: {0}")]
    Damaged(String),
    /// Its bytes are not those that its name says.
    #[error("the bytes of the pack {wanted} have the hash {found}")]
    OtherBytes {
        /// The hash that was asked for.
        wanted: PackHash,
        /// That of the bytes.
        found: PackHash,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", sanitised(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// [`MAX_PACKED`].
    #[error("packed they are more than {} MB", MAX_PACKED / 1_000_000)]
    Packed,
    /// [`MAX_UNPACKED`].
    #[error("the files are more than {} MB", MAX_UNPACKED / 1_000_000)]
    Unpacked,
    /// [`MAX_ENTRIES`].
    #[error("there are more than {MAX_ENTRIES} files and directories")]
    Entries,
}

/// What no pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// Its path is absolute, empty, or has `.` or `..` in it.
    #[error("the path leads elsewhere")]
    Path,
    /// Its path, or a part of that, is longer than file systems take.
    #[error("the path is too long")]
    Long,
    /// Its path is not UTF-8, or holds control characters.
    #[error("the path is not plain text")]
    Text,
    /// The same path comes twice, or another one differs from it in upper and lower case alone.
    #[error("the path comes twice, as some file systems read it")]
    Twice,
    /// The directory that it is in does not come before it, or is no directory.
    #[error("what it is in is no directory of the pack")]
    Above,
    /// It is neither a file, a directory nor a symbolic link.
    #[error("it is neither a file, a directory nor a symbolic link")]
    Kind,
    /// It is a link that leads out of the directory.
    #[error("the link leads out of the directory")]
    Link,
    /// Its mode is more than permissions.
    #[error("its mode says more than who may read, write and run it")]
    Mode,
}

impl PackError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// Whether a disk is to blame, and not the pack.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether the disk that it was to be written to is full.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }
}

/// A path as it may be shown: it may be anybody's.
fn sanitised(path: &std::path::Path) -> String {
    path.to_string_lossy().chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests;
