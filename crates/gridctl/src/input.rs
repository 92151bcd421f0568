//! Reads files that people wrote: regular ones of bounded size.
//! Invariant: an endless pipe or device costs one look, not memory or time.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The system does not let us.
    Io(io::Error),
    /// It is a directory.
    Directory,
    /// It is a pipe or a device.
    Special,
    /// It has more bytes than it may have.
    TooLarge {
        /// So many.
        size: u64,
        /// No more than so many.
        most: u64,
    },
}

impl ReadError {
    /// What is said about the file called `name`, which should be `what`.
    pub(crate) fn about(&self, name: &str, what: &str) -> String {
        match self {
            Self::Io(error) => format!("cannot read {name}: {}", reason(error)),
            Self::Directory => format!("{name} is a directory"),
            Self::Special => format!("{name} is a pipe or a device, not a file"),
            Self::TooLarge { size, most } => {
                format!("{name} has {size} bytes, and {what} has at most {most}")
            }
        }
    }
}

/// The bytes of the file at `path`, `most` of them at most.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(ReadError::Io)?;
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if metadata.is_dir() {
        return Err(ReadError::Directory);
    }
    if !metadata.is_file() {
        return Err(ReadError::Special);
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    // It may have grown while it was read.
    let size = metadata.len().max(bytes.len() as u64);
    if size > most { Err(ReadError::TooLarge { size, most }) } else { Ok(bytes) }
}

/// What the system says, without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}
