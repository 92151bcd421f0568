//! Follows the file that a trainer appends metrics to, from where it was left off.
//! Invariant: a look costs one failed `open` while there is no file, and reads a bounded piece at a time.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::OFlags;

/// Read at once.
const PIECE: usize = 256 << 10;

/// One metrics file.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    at: u64,
    found: bool,
}

impl Tail {
    /// The file at `path`, which is not there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, at: 0, found: false }
    }

    /// The next piece of it, if more was appended.
    ///
    /// # Errors
    /// As the system says; that it is not there is none.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        // What the trainer put there may be a link, or a pipe that would never answer.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
        self.found = true;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
        }
        if meta.len() < self.at {
            // It was begun anew.
            self.at = 0;
        }
        if meta.len() == self.at {
            return Ok(None);
        }
        let mut piece = vec![0; PIECE];
        let n = file.read_at(&mut piece, self.at)?;
        piece.truncate(n);
        self.at += n as u64;
        Ok((n > 0).then_some(piece))
    }

    /// Removes the file, if there has been one.
    pub(super) fn remove(&self) {
        if self.found && fs::remove_file(&self.path).is_err() {
            crate::scratch::remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_read_as_it_grows_and_from_the_start_if_it_shrinks() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        let mut tail = Tail::new(path.clone());
        assert_eq!(tail.next().unwrap(), None);
        tail.remove();
        fs::write(&path, "one\n").unwrap();
        assert_eq!(tail.next().unwrap().as_deref(), Some(b"one\n".as_slice()));
        assert_eq!(tail.next().unwrap(), None);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"tw").unwrap();
        assert_eq!(tail.next().unwrap().as_deref(), Some(b"tw".as_slice()));
        fs::write(&path, "new").unwrap();
        assert_eq!(tail.next().unwrap().as_deref(), Some(b"new".as_slice()));
        tail.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_file_is_an_error_and_no_trap() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        let mut tail = Tail::new(path.clone());
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(tail.next().is_err());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(tail.next().is_err());
        tail.remove();
        assert!(!path.exists());
    }
}
