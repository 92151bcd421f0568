//! A pack that is on its way: bytes come, and in the end it is one or is gone.
//! Invariant: a file has a pack's name only if its bytes have that hash, it can be unpacked, and it
//! survives a loss of power.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gridctl_core::id::PackHash;

use super::{MAX_PACKED, PackError, PackSize, TooLarge, check};

/// A file that becomes a pack. Dropped before it is one, it is removed.
#[derive(Debug)]
pub struct PackDraft {
    file: File,
    path: PathBuf,
    hash: blake3::Hasher,
    bytes: u64,
}

impl PackDraft {
    /// An empty one at `path`, where nothing is.
    ///
    /// # Errors
    /// As the system says.
    pub fn create(path: &Path) -> Result<Self, PackError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(PackError::io(path))?;
        Ok(Self { file, path: path.to_owned(), hash: blake3::Hasher::new(), bytes: 0 })
    }

    /// More bytes.
    ///
    /// # Errors
    /// There are too many, or the disk takes no more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_PACKED {
            return Err(PackError::TooLarge(TooLarge::Packed));
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(PackError::io(&self.path))
    }

    /// Whether its bytes are the pack `wanted`.
    ///
    /// # Errors
    /// They are not.
    pub fn has_hash(&self, wanted: PackHash) -> Result<(), PackError> {
        let found = PackHash(*self.hash.finalize().as_bytes());
        if found == wanted { Ok(()) } else { Err(PackError::OtherBytes { wanted, found }) }
    }

    /// The file, if its bytes are the pack `wanted`, and how much is in it.
    ///
    /// # Errors
    /// They are not, or it breaks a rule of packs.
    pub fn verify(&mut self, wanted: PackHash) -> Result<(&mut File, PackSize), PackError> {
        self.has_hash(wanted)?;
        let size = check(&mut self.file)?;
        Ok((&mut self.file, size))
    }

    /// Verifies it, and keeps it at `path`.
    ///
    /// # Errors
    /// As of [`Self::verify`], or as the system says.
    pub fn keep(mut self, wanted: PackHash, path: &Path) -> Result<(), PackError> {
        self.verify(wanted)?;
        self.file.sync_all().map_err(PackError::io(&self.path))?;
        fs::rename(&self.path, path).map_err(PackError::io(path))?;
        let above = path.parent().unwrap_or(Path::new("."));
        File::open(above).and_then(|dir| dir.sync_all()).map_err(PackError::io(above))
    }
}

impl Drop for PackDraft {
    fn drop(&mut self) {
        // Kept, it is elsewhere.
        let _ = fs::remove_file(&self.path);
    }
}
