//! Small files that hold secrets, for their owner alone.
//! Invariant: written as a whole; one that others may read or write is not trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// More than this is not ours.
const LONGEST: u64 = 1 << 20;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Somebody else could have read or written it.
    #[error("{} may be read or written by others, so it is not trusted: `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is no small file.
    #[error("{} is no small file", path.display())]
    Strange {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The text of the file at `path`, this user's or root's; `None` if there is none. Root reads anybody's.
///
/// # Errors
/// [`PrivateFileError`].
pub fn read(path: &Path) -> Result<Option<String>, PrivateFileError> {
    read_as(path, rustix::process::geteuid().is_root())
}

/// The same, and root reads its own alone.
///
/// # Errors
/// [`PrivateFileError`].
pub fn read_own(path: &Path) -> Result<Option<String>, PrivateFileError> {
    read_as(path, false)
}

fn read_as(path: &Path, of_anybody: bool) -> Result<Option<String>, PrivateFileError> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let io = |source| PrivateFileError::Io { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(PrivateFileError::Strange { path: path.to_owned() });
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.mode() & 0o077 != 0 || !(of_anybody || [0, me].contains(&metadata.uid())) {
        return Err(PrivateFileError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(io)?;
    Ok(Some(text))
}

/// Writes the file for its owner alone, in place of an older one, and so that it survives a loss of power.
///
/// # Errors
/// The system's. The file at `path` is then as it was.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn c08_a_secret_is_written_for_its_owner_and_read_from_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(read(&path).unwrap().is_none());
        write(&path, "old").unwrap();
        write(&path, "new").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("new"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(PrivateFileError::Exposed { .. })));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(read(&path), Err(PrivateFileError::Io { .. })));
        assert!(matches!(read(dir.path()), Err(PrivateFileError::Strange { .. })));
    }
}
