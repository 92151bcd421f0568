//! Carries out what the core's fleet plan wants. There is one kind of fleet so far: processes on
//! this machine. With the feature `ec2`, `ec2` looks at machines of EC2, and ends them.
//! Invariant: a fleet that is gone leaves no worker behind: each one holds a pipe to it, and ends
//! when that closes.

mod clock;
#[cfg(feature = "ec2")]
pub mod ec2;
mod local;

use std::path::PathBuf;

use gridctl_core::id::WorkerId;

pub use local::{LocalConfig, LocalFleet};

/// What a fleet notices by itself.
#[derive(Debug)]
pub enum FleetEvent {
    /// Another worker was started in the place of one that had ended by itself.
    Started(WorkerId),
    /// This worker's process has ended; what it ran ends with its slots, or has to be ended where
    /// those were killed as well.
    Ended(WorkerId),
    /// No worker is left: their machine cannot start trainers, as each one has told the master.
    NoneLeft,
    /// It gives up: workers end as soon as they start.
    GaveUp(FleetError),
}

/// Why a fleet has no workers.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The program cannot be started.
    #[error("cannot start a worker ({})", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The workers' log cannot be written.
    #[error("cannot write {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Workers end as soon as they start.
    #[error("{deaths} workers in a row ended as soon as they had started, the last one with {how}; the end of {}:\n{tail}", log.display())]
    Dying {
        /// How many.
        deaths: u32,
        /// How the last one ended.
        how: String,
        /// Their log.
        log: PathBuf,
        /// Its end.
        tail: String,
    },
}
