//! Where a sweep stands, and why.
//! Invariant: reasons are types; the sentences that people read are made by the binary alone.

use serde::{Deserialize, Serialize};

/// Where a sweep stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepPhase {
    /// Trials are granted, or wait for a worker.
    #[default]
    Running,
    /// Nothing is granted until a person resumes the sweep.
    Paused(PauseReason),
    /// Running trials finish, nothing more is granted, then the sweep closes.
    Stopping,
    /// The sweep is over; what was not settled is cancelled.
    Closed(CloseReason),
}

impl SweepPhase {
    /// Whether trials are granted.
    #[must_use]
    pub fn is_running(self) -> bool {
        self == Self::Running
    }

    /// Whether the sweep is over.
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Whether the master goes on with the sweep by itself.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Stopping)
    }
}

/// Why a sweep is paused: who paused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// A person: what runs goes on to its end.
    Person,
    /// Another sweep was run in the same data directory; running this one's file again goes on.
    SetAside,
    /// Its journal was made again from its results; running its file goes on.
    Rebuilt,
    /// No machine is left that can start trainers.
    NoFitMachine,
    /// The results volume could not be written for long: what was finished is kept where it is.
    ResultsFull,
    /// The master: the first trials failed within seconds or without their metric, and none has succeeded.
    FirstTrialsFailed {
        /// So many trials.
        failed: u32,
    },
    /// The master: most of the first trials failed.
    MostTrialsFailed {
        /// So many failed,
        failed: u32,
        /// of so many.
        of: u32,
    },
}

impl PauseReason {
    /// Whether the master itself paused the sweep because its trials fail: after a resume it does so
    /// again only where none has succeeded.
    #[must_use]
    pub fn is_breaker(self) -> bool {
        matches!(self, Self::FirstTrialsFailed { .. } | Self::MostTrialsFailed { .. })
    }
}

/// Why a sweep is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Every trial is settled.
    Finished,
    /// As many trials are settled as `run_cap` allows.
    CapReached,
    /// The objective's target was reached.
    TargetReached,
    /// `stop`.
    Stopped,
    /// `cancel`.
    Cancelled,
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Finished => "every trial is settled",
            Self::CapReached => "`run_cap` allows no more",
            Self::TargetReached => "the target was reached",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        })
    }
}
