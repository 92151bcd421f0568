//! Places workers. There is one kind of fleet so far: processes on this machine.
//! Invariant: a fleet that is gone leaves no worker behind: each one holds a pipe to it, and ends when that closes.

mod clock;
mod local;

use std::path::PathBuf;

use gridctl_core::id::WorkerId;

pub use local::{LocalConfig, LocalFleet};

/// Something that places workers.
pub trait Fleet {
    /// Starts `count` workers more, and says who they are.
    ///
    /// # Errors
    /// [`FleetError`]: not all of them could be started; those that were go on.
    fn launch(&mut self, count: usize) -> Result<Vec<WorkerId>, FleetError>;

    /// Asks a worker to end, and does not start another one in its place. One that is unknown has ended already.
    fn terminate(&mut self, worker: WorkerId);

    /// The workers that there are.
    fn describe(&self) -> Vec<Placed>;
}

/// A worker that a fleet has placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Who it is.
    pub worker: WorkerId,
    /// Its process on this machine.
    pub pid: u32,
}

/// What a fleet notices by itself.
#[derive(Debug)]
pub enum FleetEvent {
    /// This worker's process has ended; what it ran ends with its slots, or has to be ended where those were killed as well.
    Gone(WorkerId),
    /// Another worker was started in the place of one that had ended by itself.
    Replaced(WorkerId),
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
