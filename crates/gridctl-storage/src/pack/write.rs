//! Makes a pack.
//! Invariant: equal files make equal bytes, whoever packs them, when and where.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use gridctl_core::id::PackHash;
use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};
use zstd::Encoder;

use super::tree::{Kind, Tree};
use super::{MAX_PACKED, PackError, PackSize, TooLarge};

/// What every file says of its time: an archive without times is no other one tomorrow.
const TIME: u64 = 1_000_000_000;
/// zstd's own default.
const LEVEL: i32 = 3;

/// A pack in the making. A directory comes before what is in it.
pub struct Packer {
    archive: Builder<Encoder<'static, Packed>>,
    tree: Tree,
}

/// What is packed already, up to the limit.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Packed {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() as u64 + more.len() as u64 > MAX_PACKED {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Packer {
    /// An empty one.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> Result<Self, PackError> {
        let encoder =
            Encoder::new(Packed::default(), LEVEL).map_err(|error| PackError::Damaged(error.to_string()))?;
        Ok(Self { archive: Builder::new(encoder), tree: Tree::default() })
    }

    /// Adds a directory at `path`.
    ///
    /// # Errors
    /// It breaks a rule of packs, or there is no room.
    pub fn dir(&mut self, path: &Path) -> Result<(), PackError> {
        self.tree.admit(path, Kind::Dir)?;
        let added = self.archive.append_data(&mut header(EntryType::Directory, 0o755, 0), path, io::empty());
        added.map_err(|error| self.failed(path, error))
    }

    /// Adds the file `from` at `path`.
    ///
    /// # Errors
    /// It breaks a rule of packs, there is no room, or it cannot be read.
    pub fn file(&mut self, path: &Path, from: &Path) -> Result<(), PackError> {
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
        let file =
            OpenOptions::new().read(true).custom_flags(flags).open(from).map_err(PackError::io(from))?;
        let meta = file.metadata().map_err(PackError::io(from))?;
        if !meta.is_file() {
            return Err(PackError::Refused { path: path.to_owned(), why: super::Unsound::Kind });
        }
        let (size, runs) = (meta.len(), meta.mode() & 0o100 != 0);
        self.tree.admit(path, Kind::File(size))?;
        let mut content = Exactly { from: file.take(size), left: size };
        let mut header = header(EntryType::Regular, if runs { 0o755 } else { 0o644 }, size);
        let added = self.archive.append_data(&mut header, path, &mut content);
        added.map_err(|error| self.failed(from, error))
    }

    /// Adds a symbolic link at `path` that says `target`.
    ///
    /// # Errors
    /// It breaks a rule of packs, or there is no room.
    pub fn link(&mut self, path: &Path, target: &Path) -> Result<(), PackError> {
        self.tree.admit(path, Kind::Link(target))?;
        let added = self.archive.append_link(&mut header(EntryType::Symlink, 0o755, 0), path, target);
        added.map_err(|error| self.failed(path, error))
    }

    /// The bytes of the pack, its name, and how much is in it.
    ///
    /// # Errors
    /// There is no room.
    pub fn finish(self) -> Result<(PackHash, Vec<u8>, PackSize), PackError> {
        let size = self.tree.size();
        let packed = self.archive.into_inner().and_then(Encoder::finish);
        let bytes = packed.map_err(|_| PackError::TooLarge(TooLarge::Packed))?.bytes;
        Ok((PackHash(*blake3::hash(&bytes).as_bytes()), bytes, size))
    }

    fn failed(&self, path: &Path, error: io::Error) -> PackError {
        match self.archive.get_ref().get_ref().is_full {
            true => PackError::TooLarge(TooLarge::Packed),
            false => PackError::io(path)(error),
        }
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_size(size);
    header
}

/// A file's bytes, as many as it had: one that is cut meanwhile is an error, and no shorter archive.
struct Exactly<R> {
    from: io::Take<R>,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.left -= n as u64;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it was cut while it was packed"));
        }
        Ok(n)
    }
}
