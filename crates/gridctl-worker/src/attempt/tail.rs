//! The file that a trainer appends metrics to: read from where it was left off, to its end, however
//! large it is.
//! Invariant: whoever asks waits for no more than [`SMALL`] of it; more is read on a thread of its
//! own, a bounded piece at a time. What cannot be read makes the objective unknown.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gridctl_core::metrics::{FileReader, Patterns};
use rustix::fs::OFlags;
use tokio::task::{JoinHandle, spawn_blocking};

/// Read at once.
const PIECE: usize = 256 << 10;
/// A file up to this size is read by whoever looks.
const SMALL: u64 = 64 << 10;
/// Read on a thread before it says how far it is.
const STRETCH: u64 = 64 << 20;
/// The most that is read of a file.
const MOST: u64 = 16 << 30;
/// So many bytes before the place where reading goes on are compared with what was read there.
const SEAM: usize = 64;

/// The metrics file of one attempt.
#[derive(Debug)]
pub(super) struct MetricsFile {
    reading: TailReading,
    latest: Option<(i64, f64)>,
    path: PathBuf,
    written_over: u64,
    patterns: Arc<Patterns>,
    /// Nobody wants to know any more.
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
enum TailReading {
    Resting(Box<Follower>),
    Away(JoinHandle<Box<Follower>>),
    /// The thread that read it broke.
    Broken,
}

impl MetricsFile {
    /// The file at `path`, which is not there yet.
    pub(super) fn new(path: PathBuf, patterns: Arc<Patterns>) -> Self {
        let reader = FileReader::new(Arc::clone(&patterns));
        let follower = Follower { tail: MetricsTail::new(path.clone()), reader, given_up: false };
        let reading = TailReading::Resting(Box::new(follower));
        Self { reading, latest: None, path, written_over: 0, patterns, stop: Arc::default() }
    }

    /// Takes in what was appended, or has it read.
    pub(super) async fn look(&mut self) {
        if matches!(&self.reading, TailReading::Away(thread) if thread.is_finished()) {
            self.back().await;
        }
        self.go_on();
    }

    /// The objective's latest value in it.
    pub(super) fn latest(&self) -> Option<(i64, f64)> {
        self.latest
    }

    /// Bytes that it has had, those included that were written over.
    pub(super) fn size(&self) -> u64 {
        self.written_over + size(&self.path)
    }

    /// Takes in what is left, if the file is small; whether all of it was taken in.
    pub(super) fn is_read(&mut self) -> bool {
        self.go_on();
        matches!(self.reading, TailReading::Resting(_))
    }

    /// Nothing more of it is wanted.
    pub(super) fn abandon(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Reads it to its end.
    pub(super) async fn read_on(&mut self) {
        while !self.is_read() {
            self.back().await;
            if matches!(self.reading, TailReading::Broken) {
                return;
            }
        }
    }

    /// Removes it; what was read of it.
    pub(super) fn finish(mut self) -> FileReader {
        if let TailReading::Resting(follower) = std::mem::replace(&mut self.reading, TailReading::Broken) {
            follower.tail.remove();
            return follower.reader;
        }
        let mut reader = FileReader::new(Arc::clone(&self.patterns));
        reader.give_up("$GRID_METRICS_FILE was not read to its end".to_owned());
        reader
    }

    /// Reads on: a small file here, a large one on a thread.
    fn go_on(&mut self) {
        match std::mem::replace(&mut self.reading, TailReading::Broken) {
            TailReading::Resting(mut follower) if follower.tail.size() <= SMALL => {
                follower.read(&self.stop);
                self.rest(follower);
            }
            TailReading::Resting(follower) if follower.is_at_end() => self.rest(follower),
            TailReading::Resting(mut follower) => {
                let stop = Arc::clone(&self.stop);
                self.reading = TailReading::Away(spawn_blocking(move || {
                    follower.read(&stop);
                    follower
                }));
            }
            other => self.reading = other,
        }
    }

    /// Waits for the thread.
    async fn back(&mut self) {
        if let TailReading::Away(thread) = &mut self.reading {
            match thread.await {
                Ok(follower) => self.rest(follower),
                Err(error) => {
                    tracing::error!("a metrics file cannot be read: {error}");
                    self.reading = TailReading::Broken;
                }
            }
        }
    }

    fn rest(&mut self, follower: Box<Follower>) {
        self.latest = follower.reader.latest();
        self.written_over = follower.tail.read - follower.tail.at;
        self.reading = TailReading::Resting(follower);
    }
}

impl Drop for MetricsFile {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The file and what was read of it.
#[derive(Debug)]
struct Follower {
    tail: MetricsTail,
    reader: FileReader,
    given_up: bool,
}

impl Follower {
    fn is_at_end(&self) -> bool {
        self.given_up || !self.tail.has_more()
    }

    /// Reads a stretch, or to the end.
    fn read(&mut self, stop: &AtomicBool) {
        let until = self.tail.read.saturating_add(STRETCH);
        while !self.given_up && self.tail.read < until {
            if stop.load(Ordering::Relaxed) {
                return self.give_up("$GRID_METRICS_FILE was not read to its end".to_owned());
            }
            match self.tail.next() {
                Ok(Some(piece)) => {
                    if piece.anew {
                        self.reader.end();
                    }
                    self.reader.feed(&piece.bytes);
                }
                Ok(None) => return,
                Err(error) => self.give_up(format!("$GRID_METRICS_FILE cannot be read: {error}")),
            }
            if self.tail.read > MOST {
                self.give_up(format!("$GRID_METRICS_FILE is larger than {} GiB", MOST >> 30));
            }
        }
    }

    fn give_up(&mut self, why: String) {
        self.reader.give_up(why);
        self.given_up = true;
    }
}

/// Where reading goes on.
#[derive(Debug)]
struct MetricsTail {
    path: PathBuf,
    /// In the file as it is now.
    at: u64,
    /// What stands just before that place.
    seam: Vec<u8>,
    /// When the file was last changed before it was last read.
    changed: Option<(i64, i64)>,
    /// Bytes read in all, of all files that were there.
    read: u64,
    found: bool,
}

/// Some bytes of it.
#[derive(Debug, PartialEq, Eq)]
struct TailPiece {
    bytes: Vec<u8>,
    /// They are the first ones of a file that was begun anew.
    anew: bool,
}

impl MetricsTail {
    fn new(path: PathBuf) -> Self {
        Self { path, at: 0, seam: Vec::new(), changed: None, read: 0, found: false }
    }

    /// The size of what is there; 0 where nothing is.
    fn size(&self) -> u64 {
        size(&self.path)
    }

    /// Whether what is there is other than what was read.
    fn has_more(&self) -> bool {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) => meta.len() != self.at || self.changed != Some(changed(&meta)),
            Err(_) => false,
        }
    }

    /// The next piece of it, if more was appended or it was written anew.
    fn next(&mut self) -> io::Result<Option<TailPiece>> {
        // What the trainer put there may be a link, or a pipe that would never answer.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    self.found = true;
                    let is_link = fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.is_symlink());
                    let link = || io::Error::new(io::ErrorKind::InvalidData, "it is a symbolic link");
                    return Err(if is_link { link() } else { error });
                }
            };
        self.found = true;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
        }
        self.changed = Some(changed(&meta));
        let anew = self.at > 0 && !self.goes_on(&file, &meta)?;
        if anew {
            self.at = 0;
            self.seam.clear();
        }
        let mut bytes = vec![0; PIECE];
        let n = file.read_at(&mut bytes, self.at)?;
        bytes.truncate(n);
        self.at += n as u64;
        self.read += n as u64;
        self.seam.extend_from_slice(&bytes[n.saturating_sub(SEAM)..]);
        self.seam.drain(..self.seam.len().saturating_sub(SEAM));
        Ok((n > 0).then_some(TailPiece { bytes, anew }))
    }

    /// Whether the file still holds what was read of it last.
    fn goes_on(&self, file: &File, meta: &Metadata) -> io::Result<bool> {
        if meta.len() < self.at {
            return Ok(false);
        }
        let mut there = vec![0; self.seam.len()];
        match file.read_exact_at(&mut there, self.at - self.seam.len() as u64) {
            Ok(()) => Ok(there == self.seam),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the file, if there has been one.
    fn remove(&self) {
        if self.found && fs::remove_file(&self.path).is_err() {
            crate::scratch::remove(&self.path);
        }
    }
}

fn size(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.len())
}

/// When a file was last changed.
fn changed(meta: &Metadata) -> (i64, i64) {
    (meta.mtime(), meta.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_read_as_it_grows_and_from_the_start_if_it_is_written_anew() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        let mut tail = MetricsTail::new(path.clone());
        let mut next =
            || tail.next().unwrap().map(|piece| (String::from_utf8(piece.bytes).unwrap(), piece.anew));
        assert_eq!(next(), None);
        fs::write(&path, "one\n").unwrap();
        assert_eq!(next(), Some(("one\n".to_owned(), false)));
        assert_eq!(next(), None);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"tw").unwrap();
        assert_eq!(next(), Some(("tw".to_owned(), false)));
        for (anew, why) in [("new", "shorter"), ("old", "as long"), ("other\n", "longer")] {
            fs::write(&path, anew).unwrap();
            assert_eq!(next(), Some((anew.to_owned(), true)), "{why}");
        }
        tail.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_file_is_an_error_and_no_trap() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        let mut tail = MetricsTail::new(path.clone());
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(tail.next().is_err());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(tail.next().is_err());
        tail.remove();
        assert!(!path.exists());
    }
}
