//! What can end a master, and what it answers to people. Invariant: one variant for each different reaction, each with its remedy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gridctl_core::id::{Epoch, PackHash};
use gridctl_core::leaderboard::LeaderboardError;
use gridctl_core::sched::Refusal;
use gridctl_storage::journal::StoreError;
use gridctl_storage::private::PrivateFileError;
use gridctl_storage::volume::VolumeError;

/// Why a master does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The journal.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event cannot be read.
    #[error("event {seq} of the journal cannot be read: {problem}")]
    Event {
        /// Its number.
        seq: u64,
        /// Why.
        problem: String,
    },
    /// An address that other machines can reach.
    #[error("{address} can be reached from other machines, and --plain does not encrypt")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A file with keys or tokens is not what a master wrote.
    #[error("{} cannot be used: {problem}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A file with keys or tokens is not trusted.
    #[error(transparent)]
    Private(#[from] PrivateFileError),
    /// Certificates cannot be made.
    #[error("cannot make a certificate: {problem}")]
    Tls {
        /// Why.
        problem: String,
    },
    /// It cannot listen.
    #[error("cannot listen on {place}")]
    Listen {
        /// The socket's path, or the address.
        place: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file of the data directory cannot be used.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Another master has taken over the results volume.
    #[error(
        "a master of epoch {theirs}{} has taken over the results of `{sweep}`; this one is of epoch {ours}",
        seat(by)
    )]
    Superseded {
        /// The sweep.
        sweep: String,
        /// This master's epoch.
        ours: Epoch,
        /// The other one's.
        theirs: Epoch,
        /// The other one's data directory and machine, if it said so.
        by: Option<String>,
    },
    /// The results hold what the journal lacks.
    #[error("the journal in {} is behind the results of `{sweep}` in {volume}: {lack}", dir.display())]
    Behind {
        /// The data directory.
        dir: PathBuf,
        /// The sweep.
        sweep: String,
        /// The sweep's directory in the results volume.
        volume: String,
        /// What it lacks.
        lack: Lack,
    },
    /// The journal is shorter than it was, and some of what it lacks is in the results.
    #[error("{source}; {}", kept.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Lost {
        /// What the journal says of itself.
        source: StoreError,
        /// What the results have.
        kept: Vec<Kept>,
    },
    /// The results cannot be used.
    #[error("cannot use the results in {volume}")]
    Results {
        /// The volume.
        volume: String,
        /// Why.
        #[source]
        source: VolumeError,
    },
    /// There is no need to make the journal again.
    #[error("the journal in {} is whole; it has {}", dir.display(), sweep_list(sweeps))]
    Whole {
        /// The data directory.
        dir: PathBuf,
        /// Its sweeps.
        sweeps: Vec<String>,
    },
    /// The journal has another sweep, which would be missing from the new one.
    #[error("the journal in {} also has `{sweep}`, with results in {volume}", dir.display())]
    NotNamed {
        /// The data directory.
        dir: PathBuf,
        /// The sweep.
        sweep: String,
        /// The sweep's directory in its results volume.
        volume: String,
    },
    /// The data directory is a copy, and the results are the original's.
    #[error(
        "{} is a copy of {}, and the results of `{sweep}` in {volume} belong to the original",
        dir.display(), original.display()
    )]
    Copied {
        /// The copy.
        dir: PathBuf,
        /// The original.
        original: PathBuf,
        /// A sweep with results elsewhere.
        sweep: String,
        /// The results volume.
        volume: String,
    },
    /// The data directory was removed, moved or replaced while the master was using it.
    #[error("the data directory is gone: {} is not there any more, or is another file", path.display())]
    Gone {
        /// The file that was missed first.
        path: PathBuf,
        /// What became of each sweep's records.
        rescued: Vec<Rescued>,
    },
    /// The master ended while the disk was full.
    #[error("the master ended while nothing could be recorded: {source}")]
    Unrecorded {
        /// What the journal says.
        source: StoreError,
    },
    /// A part of the master could not begin.
    #[error("cannot begin the master's {part}")]
    NotBegun {
        /// Which.
        part: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A part of the master ended that never should.
    #[error("the master's {part} ended unexpectedly{}", reason(why))]
    Broken {
        /// Which.
        part: &'static str,
        /// What is known of why; may be empty.
        why: String,
    },
}

/// What a journal lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// Records after the last outcome.
    #[error("records up to {last} are there, and the journal ends with outcome {ends}")]
    Records {
        /// The number of the last record.
        last: u64,
        /// The number of the journal's last outcome.
        ends: u64,
    },
    /// The journal has another outcome of this number.
    #[error("record {seq} is another one than the journal's outcome {seq}")]
    Record {
        /// The number.
        seq: u64,
    },
    /// A version of the sweep.
    #[error("version {theirs} is there, and the journal knows of version {ours}")]
    Version {
        /// The version.
        theirs: u32,
        /// The journal's.
        ours: u32,
    },
    /// The start of a master.
    #[error("epoch {theirs} has begun there, and the journal ends with epoch {ours}")]
    Epoch {
        /// The epoch.
        theirs: Epoch,
        /// The journal's.
        ours: Epoch,
    },
    /// What the journal held when an epoch began.
    #[error("when epoch {epoch} began, the journal had another event {event} than it has now")]
    Event {
        /// The epoch.
        epoch: Epoch,
        /// The event's number.
        event: u64,
    },
}

/// Records that a journal lacks and the results have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("records {first} to {last} are in {volume}/records")]
pub struct Kept {
    /// The first number that the journal lacks.
    pub first: u64,
    /// The last one that is there.
    pub last: u64,
    /// The sweep's directory in the results volume.
    pub volume: String,
}

/// What became of a sweep's records when the data directory was gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// The sweep.
    pub sweep: String,
    /// Records that the results volume lacks.
    pub records: u64,
    /// The file that they were written to, or why they could not be.
    pub written: Result<PathBuf, String>,
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn seat(by: &Option<String>) -> String {
    by.as_ref().map_or_else(String::new, |by| format!(" in {by}"))
}

fn reason(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

impl MasterError {
    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Event { .. } => Some(
                "it may come from another version of gridctl: start the version that wrote it".to_owned(),
            ),
            Self::NotLoopback { .. } => {
                Some("leave --plain out, and every connection is encrypted".to_owned())
            }
            Self::Identity { .. } => Some(
                "put the file back as it was; or move it away, and a new one is made: workers join again, \
                 and people need new addresses and tokens"
                    .to_owned(),
            ),
            Self::Listen { .. } => Some("is the port taken? Port 0 takes any that is free".to_owned()),
            Self::Superseded { .. } => {
                Some("use the other master, or give the sweep another `output:`".to_owned())
            }
            Self::Behind { dir, volume, .. } => Some(format!(
                "an older copy of the journal was put in its place, or its log was lost: put the newer \
                 files back. The records are whole: `gridctl leaderboard {volume}` shows them. To go on \
                 without the newer files, {} makes the journal again",
                rebuild_command(dir, &[volume])
            )),
            Self::Lost { source, kept } => {
                let volumes: Vec<&String> = kept.iter().map(|kept| &kept.volume).collect();
                let dir = source.dir().unwrap_or(Path::new("DIR"));
                let command = rebuild_command(dir, &volumes);
                source.help().map(|help| format!("{help}; or {command} makes the journal again"))
            }
            Self::Results { source, .. } => source.help().map(str::to_owned),
            Self::Whole { .. } => Some(
                "`gridctl run FILE` goes on with it; --data-dir DIR makes a journal elsewhere".to_owned(),
            ),
            Self::NotNamed { volume, .. } => Some(format!("add --from {volume}")),
            Self::Unrecorded { .. } => {
                Some("free some space and start again: what ended meanwhile is tried again".to_owned())
            }
            Self::Copied { original, .. } => Some(format!(
                "go on in the original with --data-dir {0}; or move that away, and the copy takes its \
                 place; or begin in a new directory",
                original.display()
            )),
            Self::Gone { rescued, .. } => Some(rescue_help(rescued)),
            Self::File { .. }
            | Self::Private(_)
            | Self::Tls { .. }
            | Self::NotBegun { .. }
            | Self::Broken { .. } => None,
        }
    }
}

fn sweep_list(names: &[String]) -> String {
    if names.is_empty() { "no sweep".to_owned() } else { names.join(", ") }
}

fn rebuild_command(dir: &Path, volumes: &[&String]) -> String {
    let from: String = volumes.iter().map(|volume| format!(" --from {volume}")).collect();
    format!("`gridctl rebuild{from} --data-dir {}`", dir.display())
}

fn rescue_help(rescued: &[Rescued]) -> String {
    let line = |it: &Rescued| match &it.written {
        _ if it.records == 0 => format!("all records of `{}` are in its results", it.sweep),
        Ok(path) => format!("{} records of `{}` were saved to {}", it.records, it.sweep, path.display()),
        Err(why) => format!("{} records of `{}` could not be saved: {why}", it.records, it.sweep),
    };
    let mut lines: Vec<String> = rescued.iter().map(line).collect();
    lines.push("put the directory back, or begin in another one with --data-dir".to_owned());
    lines.join("; ")
}

/// Why a master does not do what a person asks.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The policy says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No sweep is called so.
    #[error("there is no sweep `{name}`{}", sweeps(.there_are, *.more))]
    UnknownSweep {
        /// The name.
        name: String,
        /// Some that there are.
        there_are: Vec<String>,
        /// How many others there are.
        more: usize,
    },
    /// Nothing has been submitted yet.
    #[error("no sweep has been submitted yet")]
    NoSweep,
    /// No machines are this master's.
    #[error("this master has no fleet of machines")]
    NoFleet,
    /// No trial that has begun is called so.
    #[error("no trial that has begun has an id that begins with `{prefix}`")]
    UnknownTrial {
        /// What was given.
        prefix: String,
    },
    /// `best` or a rank, where none is ranked.
    #[error("`{0}` stands for a rank, and no trial of the sweep has it")]
    NoBest(String),
    /// `best` or a rank, where no point has all of its repeats yet.
    #[error("`{0}` stands for a rank, and no point has all of its repeats: none complete yet")]
    NoneComplete(String),
    /// Several trials are called so.
    #[error("`{prefix}` stands for several trials: {}", candidates.join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// Some of them.
        candidates: Vec<String>,
    },
    /// The leaderboard cannot be made.
    #[error(transparent)]
    Leaderboard(#[from] LeaderboardError),
    /// A page token that no answer gave.
    #[error("`{0}` is not a page token: leave it empty to begin at the beginning")]
    PageToken(String),
    /// The journal could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The results volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The sweep's code is in a pack that nobody has brought.
    #[error("the sweep's code is in the pack {0}, which this master does not have")]
    NoPack(PackHash),
    /// The disk is full, and nothing can be decided until there is space again.
    #[error("{0}: nothing is decided until there is space again")]
    DiskFull(String),
    /// The master cannot go on.
    #[error("the master has failed: {0}")]
    Failed(String),
    /// The journal is behind the results.
    #[error(transparent)]
    Master(Box<MasterError>),
    /// The master is ending.
    #[error("the master is ending")]
    Ending,
}

fn sweeps(names: &[String], more: usize) -> String {
    let rest = if more > 0 { format!(", … and {more} more") } else { String::new() };
    let are = if names.len() == 1 { "is" } else { "are" };
    if names.is_empty() { String::new() } else { format!("; there {are} {}{rest}", names.join(", ")) }
}

impl AskError {
    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownSweep { .. } => Some("`gridctl status --all` lists every sweep".to_owned()),
            Self::NoSweep => Some("`gridctl run FILE` or `gridctl submit FILE` submits one".to_owned()),
            Self::NoFleet => Some("`gridctl launch FILE --spot` starts one that has".to_owned()),
            Self::UnknownTrial { .. } => Some(
                "`gridctl trials ls` shows those that have begun; `best` and `#3` stand for ranks".to_owned(),
            ),
            Self::Ambiguous { .. } => Some("give more characters of the id".to_owned()),
            Self::Store(error) => error.help(),
            Self::Master(error) => error.help(),
            Self::Volume(error) => error.help().map(str::to_owned),
            Self::Refused(Refusal::Over { .. }) => Some(
                "`gridctl trials retry` tries failed trials again; a new version of the file begins anew"
                    .to_owned(),
            ),
            Self::Leaderboard(LeaderboardError::Filter(error)) => error.help.clone(),
            Self::Leaderboard(LeaderboardError::UnknownName { .. }) => {
                Some("text is written in quotes: `optimizer == 'sgd'`".to_owned())
            }
            Self::NoneComplete(_) => {
                Some("`gridctl leaderboard` shows the means of what is there".to_owned())
            }
            Self::NoBest(_) => {
                Some("`gridctl trials ls` shows the trials that have begun, and how they ended".to_owned())
            }
            Self::NoPack(_) => {
                Some("`gridctl submit FILE` brings it; by hand: `PUT /api/v1/packs/HASH` first".to_owned())
            }
            Self::DiskFull(_) => Some("free some space: the master goes on by itself".to_owned()),
            _ => None,
        }
    }
}
