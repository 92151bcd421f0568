//! What the journal holds: every decision, once, in order.
//! Invariant: an event says what was decided, not how, so that replay does not depend on today's policy; heartbeats are none.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::attempt::Tally;
use crate::fleet::machines::FleetRecord;
use crate::id::{Epoch, LeaseSeq, SweepId, Token, WorkerId};
use crate::protocol::FrozenSweep;
use crate::record::{Class, Doubt, TrialState};
use crate::sched::known_trials::{KnownTrials, LinkSum};
use crate::sched::phase::SweepPhase;

pub use crate::sched::observed::Observation;

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A master started on this journal.
    Began {
        /// Its epoch, one more than the last.
        epoch: Epoch,
    },
    /// A version of a sweep was submitted: the first one makes the sweep.
    Submitted {
        /// The sweep.
        sweep: SweepId,
        /// Its new version.
        version: u32,
        /// All that it says.
        frozen: Arc<FrozenSweep>,
    },
    /// The newest version's code, data or results are in other places now.
    Located {
        /// The sweep.
        sweep: SweepId,
        /// The same version as before, with its new places.
        frozen: Arc<FrozenSweep>,
    },
    /// Outcomes that were known before: these positions of the walk are settled without an attempt.
    Known {
        /// The sweep.
        sweep: SweepId,
        /// The version.
        version: u32,
        /// Which, and what they were worth.
        known: KnownTrials,
        /// What was linked of them.
        #[serde(default, skip_serializing_if = "LinkSum::is_empty")]
        links: LinkSum,
    },
    /// The cursor moved on over positions that are no points, or known.
    Passed {
        /// The sweep.
        sweep: SweepId,
        /// The cursor's new position.
        upto: u64,
        /// What was no point: (first position, how many).
        excluded: Vec<(u64, u64)>,
    },
    /// A worker made itself known, for the first time in this epoch.
    Joined {
        /// The worker.
        worker: WorkerId,
        /// Its machine.
        host: String,
    },
    /// A trial was granted; its position is below the cursor afterwards.
    Leased {
        /// The sweep.
        sweep: SweepId,
        /// The position of the walk.
        pos: u64,
        /// The token.
        token: Token,
        /// To whom.
        worker: WorkerId,
    },
    /// An attempt ended.
    Ended(Ended),
    /// A worker that failed whatever it was given is drained; its failures are in doubt.
    Distrusted {
        /// The sweep.
        sweep: SweepId,
        /// The worker.
        worker: WorkerId,
        /// The positions of the walk, one for each failure.
        positions: Vec<u64>,
    },
    /// A trial in doubt has succeeded elsewhere: all that the worker failed counts as `worker_fault` from now on.
    Excused {
        /// The sweep.
        sweep: SweepId,
        /// The worker.
        worker: WorkerId,
    },
    /// The sweep's phase was changed, by a person or by the master itself.
    Steered {
        /// The sweep.
        sweep: SweepId,
        /// To what.
        phase: SweepPhase,
    },
    /// Trials that had ended are to be tried again, as a new generation.
    Retried {
        /// The sweep.
        sweep: SweepId,
        /// The positions of the walk.
        positions: Vec<u64>,
    },
    /// Something happened to the fleet of machines.
    Fleet(FleetRecord),
    /// Something was seen of the sweep's attempts, beside their outcomes.
    Observed {
        /// The sweep.
        sweep: SweepId,
        /// What.
        observation: Observation,
    },
}

impl Event {
    /// The sweep that it is about, if it is about one.
    #[must_use]
    pub fn sweep(&self) -> Option<SweepId> {
        match self {
            Self::Began { .. } | Self::Joined { .. } | Self::Fleet(_) => None,
            Self::Submitted { sweep, .. }
            | Self::Located { sweep, .. }
            | Self::Known { sweep, .. }
            | Self::Passed { sweep, .. }
            | Self::Leased { sweep, .. }
            | Self::Ended(Ended { sweep, .. })
            | Self::Distrusted { sweep, .. }
            | Self::Excused { sweep, .. }
            | Self::Steered { sweep, .. }
            | Self::Retried { sweep, .. }
            | Self::Observed { sweep, .. } => Some(*sweep),
        }
    }
}

/// An attempt's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The sweep.
    pub sweep: SweepId,
    /// The position of the walk.
    pub pos: u64,
    /// The lease that ended.
    pub lease: LeaseSeq,
    /// How.
    pub class: Class,
    /// What follows for the trial.
    pub next: Next,
    /// It took no more than a few seconds, which breakers mind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fast: bool,
    /// For a success: the objective, if it is finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<f64>,
    /// Files that the trainer left and that were not published.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// For a success: the first doubt about what was printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// What the machine's fault was, if one ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What follows an attempt's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The trial is settled in this state.
    Done(TrialState),
    /// Back in the queue, with what is counted against it.
    Again {
        /// The budgets used so far.
        tally: Tally,
        /// Not before so many milliseconds; 0: at the head of the queue.
        delay_ms: u64,
        /// Preferably on another machine than this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        avoid: Option<String>,
    },
}
