//! What goes into the core and what comes out of it.
//! Invariant: nothing in a `Step` may be shown to anybody before its events are durable.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fleet::machines::CloudCall;
use crate::id::{SweepId, TrialId, WorkerId};
use crate::metrics;
use crate::protocol::{FrozenSweep, Hello, ToWorker, WorkerUpdate};
use crate::record::{Record, TrialState};
use crate::sched::event::Event;
use crate::sched::known::{Changed, JoinedOutcome, LinkSource};
use crate::sched::machines::FleetInput;
use crate::sched::phase::{CloseReason, PauseReason};
use crate::sched::prior_outcomes::LookedUp;
use crate::value::Params;

/// A worker's connection, numbered by the shell; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// A question that waits for a [`Effect::Reply`], numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request(pub u64);

/// What happens to the core.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A worker connected and said who it is.
    Opened(Conn, Box<Hello>),
    /// A worker said something.
    Said(Conn, Box<WorkerUpdate>),
    /// A connection ended. The worker's leases stand until they expire.
    Closed(Conn),
    /// The fleet knows that this worker's process has ended.
    Gone(WorkerId),
    /// Every worker that held leases before this start is known to be gone: the local fleet has ended what was left of them.
    OrphansEnded,
    /// A person submits a sweep.
    Submit(Request, Box<Submission>),
    /// Only the sweep of this name is wanted now: others that are granted from are paused, and go on when they are submitted
    /// again.
    SetAside {
        /// The sweep that is wanted.
        except: String,
    },
    /// A person steers a sweep.
    Steer(Request, SweepId, Steer),
    /// A person wants trials tried again that had ended without success.
    Retry(Request, SweepId, Vec<TrialPlace>),
    /// A person wants trials ended that run.
    CancelTrials(Request, SweepId, Vec<TrialId>),
    /// Nothing more can be done without a person: every sweep that is granted from is paused.
    PauseAll(PauseReason),
    /// Ask every worker to drain: running trials get so many milliseconds.
    Drain {
        /// From SIGTERM to SIGKILL.
        grace_ms: u64,
    },
    /// The fleet's shell, or a person, says something of machines.
    Fleet(FleetInput),
    /// Time went on.
    Tick,
}

/// A sweep to run, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The sweep.
    pub frozen: FrozenSweep,
    /// Outcomes in the journal that count for it: those of the same code, and those that the person wants kept. The driver
    /// fills them in just before it is stepped.
    pub known: Vec<JoinedOutcome>,
    /// What of the journal was looked at before the driver has the submission; it looks at the rest.
    pub looked_up: Option<LookedUp>,
    /// What to do with outcomes of other code; `None`: none of them counts, unless only the grid is another one.
    pub changed: Option<Changed>,
    /// Trials that ended without success in this very version are tried again.
    pub retry_failed: bool,
    /// A new version even if nothing changed, with `known` as given (empty: everything runs again).
    pub rerun: bool,
    /// Files of the workdir that are taken for what trainers write: the person is told of them now.
    pub beside: Vec<String>,
}

/// A trial, and where its sweep's points have it, so that nobody has to search for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialPlace {
    /// The trial.
    pub trial: TrialId,
    /// Its parameters and its seed, as its record says; `None`: it has no record.
    pub point: Option<(Params, u32)>,
}

/// How a person steers a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steer {
    /// Nothing granted, resumable.
    Pause,
    /// Grants again; also reopens a stopped or cancelled sweep.
    Resume,
    /// Running trials finish, the sweep closes.
    Stop,
    /// Everything ends now.
    Cancel,
}

/// What the shell does once the events of the step are durable, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Say this to a worker.
    Send(Conn, ToWorker),
    /// Hang up.
    Hangup(Conn),
    /// Answer a person.
    Reply(Request, Result<Answer, Refusal>),
    /// A sweep is over, or paused by the master itself: whoever waits looks at its status.
    Turned(SweepId),
    /// Ask this of the cloud, and say what it answers.
    Cloud(CloudCall),
    /// The core found itself in a state that must not be, and went on without what it was about to
    /// do: to be logged as an error.
    Broken(&'static str),
}

/// An answer to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The sweep stands as version `version`; `new` if that version came into being just now.
    Submitted {
        /// The sweep.
        sweep: SweepId,
        /// Its version.
        version: u32,
        /// Whether this made the version.
        new: bool,
        /// How many trials of it were known.
        known: u64,
        /// How many of these were read again from their logs.
        read_again: u64,
        /// How many that were computed are tried again, for they were read in another way and their logs are not all there.
        lost: u64,
        /// Of how many that are known a metric that is declared since could not be read, as their logs are not all there.
        unread: u64,
    },
    /// Done as asked; so many trials were touched.
    Done(u64),
}

/// Why the core does not do what a person asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such sweep.
    #[error("there is no sweep {0}")]
    UnknownSweep(SweepId),
    /// The sweep is over.
    #[error("the sweep `{name}` is over ({reason})")]
    Over {
        /// Its name.
        name: String,
        /// Why.
        reason: CloseReason,
    },
    /// No such trial.
    #[error("the sweep `{name}` has no trial {trial}")]
    UnknownTrial {
        /// The sweep's name.
        name: String,
        /// The trial.
        trial: TrialId,
    },
    /// Only what ended without success can be tried again.
    #[error("trial {trial} is {state}: only a trial that ended without success can be tried again")]
    NotEnded {
        /// The trial.
        trial: TrialId,
        /// Where it stands.
        state: TrialState,
    },
    /// Only what runs can be ended.
    #[error("trial {trial} does not run: only a trial that runs can be cancelled")]
    NotRunning {
        /// The trial.
        trial: TrialId,
    },
    /// The grid cannot be counted.
    #[error("{0}")]
    Grid(String),
}

/// One step's results: commit `events`, `outcomes`, `copies` and `links` together, then carry out
/// `effects`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// What was decided, with its number in the journal.
    pub events: Vec<(u64, Event)>,
    /// How attempts ended, each with the number of its event.
    pub outcomes: Vec<Outcome>,
    /// JoinedOutcome outcomes to be copied for a new version.
    pub copies: Vec<Copied>,
    /// JoinedOutcome outcomes that count for a new version as they are.
    pub links: Vec<Linked>,
    /// What to do afterwards.
    pub effects: Vec<Effect>,
}

impl Step {
    /// Whether there is nothing to commit, so that the effects may go out at once.
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.events.is_empty()
    }
}

/// A row of the journal's outcomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The number of the event.
    pub seq: u64,
    /// The sweep.
    pub sweep: SweepId,
    /// The record; its state is terminal unless it is `Pending`.
    pub record: Arc<Record>,
}

/// A known outcome that now counts for a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Copied {
    /// The row that is copied.
    pub from: u64,
    /// The sweep that it now counts for.
    pub sweep: SweepId,
    /// Its version.
    pub version: u32,
    /// The trial's place in that version.
    pub index: u64,
    /// The trial.
    pub trial: TrialId,
    /// The point.
    pub point: TrialId,
    /// The repeat, as a place.
    pub repeat: u32,
    /// What its log says, if it was read again.
    pub again: Option<Arc<metrics::Outcome>>,
}

/// A known outcome of the sweep that counts for another of its versions too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linked {
    /// The row.
    pub from: u64,
    /// What it is of.
    pub source: LinkSource,
    /// Its state.
    pub state: TrialState,
    /// The sweep.
    pub sweep: SweepId,
    /// The version that it counts for.
    pub version: u32,
    /// The trial's place in that version.
    pub index: u64,
}
