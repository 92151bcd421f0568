//! What can end a master, and what it answers to people. Invariant: one variant for each different reaction, each with its remedy.

use std::net::SocketAddr;
use std::path::PathBuf;

use gridctl_core::id::Epoch;
use gridctl_core::leaderboard::LeaderboardError;
use gridctl_core::sched::{Refusal, RestoreError};
use gridctl_storage::journal::StoreError;
use gridctl_storage::volume::VolumeError;

/// Why a master does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The journal.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The newest snapshot cannot be read.
    #[error("the snapshot after event {seq} cannot be read")]
    Snapshot {
        /// The last event in it.
        seq: u64,
        /// Why.
        #[source]
        source: RestoreError,
    },
    /// An event cannot be read.
    #[error("event {seq} of the journal cannot be read: {problem}")]
    Event {
        /// Its number.
        seq: u64,
        /// Why.
        problem: String,
    },
    /// An address that other machines can reach.
    #[error("{address} can be reached from other machines, and connections are not encrypted yet")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
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
        "a master of epoch {theirs} has taken over the results of `{sweep}`; this one is of epoch {ours}"
    )]
    Superseded {
        /// The sweep.
        sweep: String,
        /// This master's epoch.
        ours: Epoch,
        /// The other one's.
        theirs: Epoch,
    },
    /// A part of the master ended that never should.
    #[error("the master's {0} ended unexpectedly")]
    Broken(&'static str),
}

impl MasterError {
    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Snapshot { .. } | Self::Event { .. } => Some(
                "it may come from another version of gridctl: start the version that wrote it".to_owned(),
            ),
            Self::NotLoopback { .. } => {
                Some("listen on 127.0.0.1, and reach it from elsewhere through `ssh -L`".to_owned())
            }
            Self::Listen { .. } => Some("is the port taken? Port 0 takes any that is free".to_owned()),
            Self::Superseded { .. } => {
                Some("use the other master, or give the sweep another `output:`".to_owned())
            }
            Self::File { .. } | Self::Broken(_) => None,
        }
    }
}

/// Why a master does not do what a person asks.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The policy says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No sweep is called so.
    #[error("there is no sweep `{name}`{}", sweeps(.there_are))]
    UnknownSweep {
        /// The name.
        name: String,
        /// Some that there are.
        there_are: Vec<String>,
    },
    /// Nothing has been submitted yet.
    #[error("no sweep has been submitted yet")]
    NoSweep,
    /// No trial that has begun is called so.
    #[error("no trial that has begun has an id that begins with `{prefix}`")]
    UnknownTrial {
        /// What was given.
        prefix: String,
    },
    /// `best` or a rank, where none is ranked.
    #[error("`{0}` stands for a rank, and no trial of the sweep has it")]
    NoBest(String),
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
    /// The disk is full, and nothing can be decided until there is space again.
    #[error("{0}: nothing is decided until there is space again")]
    DiskFull(String),
    /// The master is ending.
    #[error("the master is ending")]
    Ending,
}

fn sweeps(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
}

impl AskError {
    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoSweep => Some("`gridctl run FILE` or `gridctl submit FILE` submits one".to_owned()),
            Self::UnknownTrial { .. } => Some(
                "`gridctl trials ls` shows those that have begun; `best` and `#3` stand for ranks".to_owned(),
            ),
            Self::Ambiguous { .. } => Some("give more characters of the id".to_owned()),
            Self::Store(error) => error.help(),
            Self::Volume(error) => error.help().map(str::to_owned),
            Self::Refused(Refusal::Over { .. }) => Some(
                "`gridctl trials retry` tries failed trials again; a new version of the file begins anew"
                    .to_owned(),
            ),
            Self::Leaderboard(LeaderboardError::Filter(error)) => error.help.clone(),
            Self::Leaderboard(LeaderboardError::UnknownName { .. }) => {
                Some("text is written in quotes: `optimizer == 'sgd'`".to_owned())
            }
            Self::NoBest(_) => {
                Some("`gridctl trials ls` shows the trials that have begun, and how they ended".to_owned())
            }
            Self::DiskFull(_) => Some("free some space: the master goes on by itself".to_owned()),
            _ => None,
        }
    }
}
