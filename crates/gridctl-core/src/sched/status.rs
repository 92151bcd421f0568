//! What a sweep looks like from outside, at one moment.

use serde::{Deserialize, Serialize};

use crate::id::{SweepId, TrialId};
use crate::notice::Notice;
use crate::record::MetricValue;
use crate::sched::phase::{CloseReason, SweepPhase};

/// A sweep's state in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepState {
    /// Trials are granted, or wait for a worker.
    Running,
    /// Nothing is granted until somebody resumes it.
    Paused,
    /// What runs finishes, then it closes.
    Stopping,
    /// Every trial is settled, or the target was reached.
    Finished,
    /// `stop`.
    Stopped,
    /// `cancel`.
    Cancelled,
    /// It is not over, and no master is there to go on with it.
    Interrupted,
}

impl SweepState {
    /// The word that output uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped | Self::Cancelled)
    }
}

impl From<SweepPhase> for SweepState {
    fn from(phase: SweepPhase) -> Self {
        match phase {
            SweepPhase::Running => Self::Running,
            SweepPhase::Paused(_) => Self::Paused,
            SweepPhase::Stopping => Self::Stopping,
            SweepPhase::Closed(CloseReason::Stopped) => Self::Stopped,
            SweepPhase::Closed(CloseReason::Cancelled) => Self::Cancelled,
            SweepPhase::Closed(
                CloseReason::Finished | CloseReason::CapReached | CloseReason::TargetReached,
            ) => Self::Finished,
        }
    }
}

/// A sweep at one moment. The sum of the states is `total`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepStatus {
    /// Its name.
    pub sweep: String,
    /// Its number in this journal.
    #[serde(skip)]
    pub id: Option<SweepId>,
    /// Its version.
    pub version: u32,
    /// Its state.
    pub state: SweepState,
    /// Trials in all: the raw product of the axes and repeats.
    pub total: u64,
    /// Not begun, or waiting for another try.
    pub pending: u64,
    /// Held by workers.
    pub leased: u64,
    /// Done.
    pub succeeded: u64,
    /// Ended without success.
    pub failed: u64,
    /// Lost too often.
    pub quarantined: u64,
    /// Ended by a person, or never begun when the sweep closed.
    pub cancelled: u64,
    /// No points.
    pub excluded: u64,
    /// The best point so far, by its value (with repeats the mean, once all of them are there) and its best trial.
    pub best: Option<Best>,
    /// Seconds to go, as the last ends suggest; `None` while there is nothing to go by.
    pub eta_s: Option<f64>,
    /// Why it stands so.
    pub phase: SweepPhase,
    /// What a person should know beside that.
    pub notices: Vec<Notice>,
    /// Of those pending, how many have begun and wait until they may be tried again.
    #[serde(default)]
    pub waiting: u64,
    /// Attempts that were counted as failures so far, also of trials that are tried again.
    #[serde(default)]
    pub failures: u64,
    /// Attempts that were lost with their machine: silence, preemption, faults of machines.
    #[serde(default)]
    pub lost: u64,
    /// Workers that are connected.
    #[serde(default)]
    pub workers: u64,
    /// How often each point is tried.
    #[serde(default)]
    pub repeats: u32,
}

impl SweepStatus {
    /// Whether trials have succeeded and no point is complete, so that none is best.
    #[must_use]
    pub fn none_complete(&self) -> bool {
        self.best.is_none() && self.repeats > 1 && self.succeeded > 0
    }

    /// The same, where no master is there to go on: nothing is granted, and nobody knows for how long.
    #[must_use]
    pub fn without_master(mut self) -> Self {
        if matches!(self.state, SweepState::Running | SweepState::Stopping) {
            (self.state, self.eta_s, self.waiting) = (SweepState::Interrupted, None, 0);
        }
        self
    }
}

/// The best point so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its trial; of several repeats the best one.
    pub trial: TrialId,
    /// Its place in the version.
    pub index: u64,
    /// Its objective; of several repeats the mean.
    pub objective: MetricValue,
}
