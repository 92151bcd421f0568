//! One master for a data directory: an exclusive `flock` on `master.lock`, which says who holds it.
//! Invariant: the lock lives exactly as long as the process that holds it, however that ends; the file's text is for people.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::error::StoreError;
use crate::clock;

/// The file's name in the data directory.
const LOCK_FILE: &str = "master.lock";
/// More than this is not ours.
const LONGEST: u64 = 256;

/// Held while a master writes.
#[derive(Debug)]
pub(crate) struct MasterLock {
    _file: File,
}

impl MasterLock {
    /// Takes the lock of `dir` and writes who has it.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let io = |error: std::io::Error| StoreError::from_io(&path, "taking its lock", error);
        let no_follow = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow)
            .open(&path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::Held { dir: dir.to_owned(), pid: holder(&mut file) });
            }
            Err(error) => return Err(io(error.into())),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{} since {}", std::process::id(), clock::unix_seconds()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// The process that the lock file names. It may be between taking the lock and writing its name, so it gets a little time.
fn holder(file: &mut File) -> u32 {
    for _ in 0..20 {
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(LONGEST).read_to_string(&mut text));
        if let (Ok(_), Some(Ok(pid))) = (read, text.split(' ').next().map(str::parse)) {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    0
}
