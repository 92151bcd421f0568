//! One master for a data directory: an exclusive `flock` on `master.lock`, which says who holds it.
//! Invariant: the lock lives exactly as long as the process that holds it, however that ends; the file's text is for people.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::error::StoreError;
use crate::clock;

/// The file's name in the data directory.
const LOCK_FILE: &str = "master.lock";
/// So often something is tried that another process may be in the middle of, and between two tries.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);
/// More than this is not ours.
const LONGEST: u64 = 256;

/// The lock of `dir`.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(LOCK_FILE)
}

/// Held while a master writes.
#[derive(Debug)]
pub(crate) struct MasterLock {
    _file: File,
}

impl MasterLock {
    /// Takes the lock of `dir` and writes who has it.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = path(dir);
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
        let mut tries = TRIES;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                // Somebody may only be looking whether it is held.
                Err(rustix::io::Errno::WOULDBLOCK) if tries > 0 => tries -= 1,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StoreError::Held { dir: dir.to_owned(), pid: holder(&mut file) });
                }
                Err(error) => return Err(io(error.into())),
            }
            std::thread::sleep(PAUSE);
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{} since {}", std::process::id(), clock::unix_seconds()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// The master that holds the lock of `dir` at this moment: its process, or 0 if it has not said
/// yet.
#[must_use]
pub fn living_master(dir: &Path) -> Option<u32> {
    let no_follow = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let mut file = OpenOptions::new().read(true).custom_flags(no_follow).open(path(dir)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(holder(&mut file)),
        // Held, it is given up with the file.
        _ => None,
    }
}

/// The process that the lock file names. It may be between taking the lock and writing its name, so it gets a little time.
fn holder(file: &mut File) -> u32 {
    for _ in 0..TRIES {
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(LONGEST).read_to_string(&mut text));
        if let (Ok(_), Some(Ok(pid))) = (read, text.split(' ').next().map(str::parse)) {
            return pid;
        }
        std::thread::sleep(PAUSE);
    }
    0
}
