//! What can be wrong with a journal, one variant for each different reaction.
//! Invariant: a damaged journal is `Corrupt`, never `Fatal`, so that its remedy is shown; a full disk is always `NoSpace`.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi;
use rustix::process::{Resource, getrlimit};

/// What SQLite writes at once; a file may end so far from its limit.
const PAGE: u64 = 4096;

/// Why the journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another master has this journal.
    #[error("another master, process {pid}, holds the data directory {}", dir.display())]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The other master's process id; 0 if it has not said yet.
        pid: u32,
    },
    /// There is no journal to read.
    #[error("there is no journal in {}", dir.display())]
    NoJournal {
        /// The data directory.
        dir: PathBuf,
    },
    /// A newer gridctl wrote it.
    #[error("{} has format {found}, and this gridctl knows format {supported} at most", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known here.
        supported: u32,
    },
    /// An earlier gridctl wrote it.
    #[error("{} has format {found}, and this gridctl knows format {supported} alone", path.display())]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that is known here.
        supported: u32,
    },
    /// Something else lies where the journal should be.
    #[error("{} is not a journal of gridctl: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        what: String,
    },
    /// The directory is on a file system that SQLite cannot trust.
    #[error("{} is on {kind}, which cannot hold a journal: its locks and its syncs do not keep their word", dir.display())]
    NetworkFs {
        /// The data directory.
        dir: PathBuf,
        /// The file system.
        kind: &'static str,
    },
    /// It cannot be written.
    #[error("cannot write {}: {why}", path.display())]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// It cannot be read.
    #[error("cannot read {} with its log: {why}", path.display())]
    NotReadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// What is stored is not what was written.
    #[error("{} is damaged: {what} (at {at})", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
        /// The number of the event or outcome; 0 if SQLite itself found it.
        at: u64,
    },
    /// The journal is shorter than it was.
    #[error(
        "{} is behind: it ends with event {} and outcome {}, and event {} and outcome {} were recorded",
        path.display(), events.0, outcomes.0, events.1, outcomes.1
    )]
    Behind {
        /// The file.
        path: PathBuf,
        /// The journal's own name, as its head has it; empty if that is not known.
        journal: String,
        /// The last event that is there, and the last one that was.
        events: (u64, u64),
        /// The same of outcomes.
        outcomes: (u64, u64),
    },
    /// The journal is not the one that its head was written for, or went another way since.
    #[error("{} is not the journal that {} was written for: {what}", path.display(), super::HEAD_FILE)]
    Diverged {
        /// The file.
        path: PathBuf,
        /// What is different.
        what: String,
    },
    /// The journal's files were removed, moved or replaced while a master had them open.
    #[error("{} is not there any more, or is another file", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full; nothing was written and nothing is lost.
    #[error("no space left on the device that holds {}", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// This process may not make its files as long as they would become.
    #[error("{} and its log may not become longer than {kib} KiB here (`ulimit -f`)", path.display())]
    FileLimit {
        /// The file.
        path: PathBuf,
        /// The limit, in KiB.
        kib: u64,
    },
    /// Another program writes to the file.
    #[error("another program keeps {} locked", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// An event or outcome of this number is there already.
    #[error("number {seq} is in the journal already")]
    Duplicate {
        /// The number.
        seq: u64,
    },
    /// An event does not follow the last one.
    #[error("event {got} does not follow: {expected} is next")]
    Gap {
        /// The next number.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// A query took longer than readers may, for they hold up the master's housekeeping.
    #[error("the query took longer than {seconds} s")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
    /// The SQLite that was linked has known bugs.
    #[error("SQLite {found} is too old: gridctl needs {needed} or newer")]
    OldSqlite {
        /// As `sqlite3_libversion_number` has it.
        found: i32,
        /// The oldest that will do.
        needed: i32,
    },
    /// The disk failed, or SQLite did: what is written is known only to the next start.
    #[error("the journal {} failed while {doing}", path.display())]
    Fatal {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite or the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later, with nothing lost until then.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Busy { .. })
    }

    /// The directory of the journal that is not what it was.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Behind { path, .. } | Self::Diverged { path, .. } | Self::Corrupt { path, .. } => {
                path.parent()
            }
            _ => None,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Held { pid, .. } => format!(
                "use that master (`gridctl submit`, `gridctl status`), end it with `kill {pid}`, or name another directory with --data-dir"
            ),
            Self::NoJournal { .. } => {
                "`gridctl run FILE` begins one; name the right directory with --data-dir".to_owned()
            }
            Self::NewerFormat { .. } => {
                "use the newer gridctl, or begin in another directory with --data-dir".to_owned()
            }
            Self::OlderFormat { .. } => "use the gridctl that wrote it, or begin in another directory with \
                 --data-dir: journals of earlier formats are not converted"
                .to_owned(),
            Self::Foreign { .. } => {
                "move that file away, or name another directory with --data-dir".to_owned()
            }
            Self::NetworkFs { .. } => {
                "name a directory on a local disk with --data-dir; results may stay where they are".to_owned()
            }
            Self::NotWritable { .. } => {
                "make the directory writable for you, or name another one with --data-dir".to_owned()
            }
            Self::NotReadable { .. } => {
                "make it readable for you. If the directory is read-only and the last master was killed, copy it to where you may \
                 write (`cp -r`), and name the copy with --data-dir"
                    .to_owned()
            }
            Self::Corrupt { .. } => {
                "the outcomes that were shipped are whole in the results volume: `gridctl rebuild --from \
                 RESULTS` makes the journal again, and sets this one aside; or begin in another directory \
                 with --data-dir"
                    .to_owned()
            }
            Self::Behind { .. } | Self::Diverged { .. } => format!(
                "its log ({0}-wal) was removed or damaged, or another copy was put in its place: put \
                 the newer files back. What was shipped is whole in the results volume: `gridctl \
                 rebuild --from RESULTS` makes the journal again. To go on with what is here, remove {1}",
                super::JOURNAL_FILE,
                super::HEAD_FILE
            ),
            Self::Gone { .. } => "the data directory was removed, moved or replaced while a master was \
                 using it: put it back before you start again"
                .to_owned(),
            Self::NoSpace { .. } => {
                "free some space: the master goes on by itself, and nothing is lost".to_owned()
            }
            Self::FileLimit { .. } => "raise it (`ulimit -f unlimited`), then start again: it goes on from what \
                 is on the disk"
                .to_owned(),
            Self::Busy { .. } => "close what else has it open, such as a sqlite3 shell".to_owned(),
            Self::TooSlow { .. } => "ask for less at once, with -k or --filter".to_owned(),
            Self::Fatal { .. } => {
                "look at the disk (`dmesg`), then start again: it goes on from what is on the disk".to_owned()
            }
            Self::Duplicate { .. } | Self::Gap { .. } | Self::OldSqlite { .. } => return None,
        })
    }

    /// What SQLite said, sorted by the reaction.
    pub(crate) fn from_sqlite(path: &Path, doing: &'static str, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let failure = error.sqlite_error();
        if failure.is_some_and(|failure| failure.code == ErrorCode::SystemIoFailure)
            && let Some(limited) = Self::limited(&path)
        {
            return limited;
        }
        match failure.map(|failure| (failure.code, failure.extended_code)) {
            Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE)) => Self::NoSpace { path },
            Some((ErrorCode::DatabaseCorrupt, _)) => Self::Corrupt { path, what: error.to_string(), at: 0 },
            Some((ErrorCode::NotADatabase, _)) => Self::Foreign {
                path,
                what: "it is no SQLite database; it is something else, or its beginning is damaged"
                    .to_owned(),
            },
            Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => Self::Busy { path },
            Some((ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied, _)) => {
                Self::NotWritable { path, why: error.to_string() }
            }
            Some((ErrorCode::OperationInterrupted, _)) => {
                Self::TooSlow { seconds: super::reader::QUERY_SECONDS }
            }
            Some(_) | None => Self::Fatal { path, doing, source: Box::new(error) },
        }
    }

    /// Whether the journal `path`, its log or its index has grown as far as this process may write: SQLite says only that
    /// a write failed.
    pub(crate) fn limited(path: &Path) -> Option<Self> {
        let limit = getrlimit(Resource::Fsize).current?;
        let length = |end: &str| {
            let mut file = path.as_os_str().to_owned();
            file.push(end);
            std::fs::metadata(file).map_or(0, |meta| meta.len())
        };
        let longest = ["", "-wal", "-shm"].map(length).into_iter().max()?;
        let path = path.to_owned();
        (longest + PAGE > limit).then_some(Self::FileLimit { path, kib: limit / 1024 })
    }

    /// What the system said about a file or directory of the journal.
    pub(crate) fn from_io(path: &Path, doing: &'static str, error: io::Error) -> Self {
        let path = path.to_owned();
        if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            return Self::NotWritable { path, why: "it is a symbolic link".to_owned() };
        }
        match error.kind() {
            io::ErrorKind::FileTooLarge if let Some(limit) = getrlimit(Resource::Fsize).current => {
                Self::FileLimit { path, kib: limit / 1024 }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotFound => Self::NotWritable { path, why: error.to_string() },
            _ => Self::Fatal { path, doing, source: Box::new(error) },
        }
    }
}
