//! Traces of spot machines, played over the plan in core: what policies cost, how long they take, and what they do twice.
//! Invariant: one replay is one seed; every policy is measured by the same prices and the same trials.

mod table;
mod trace;
mod trial;
mod world;

use gridctl_core::fleet::machines::Markets;

pub use self::table::{CASES, Figures, Row, compared, summary, table};
pub use self::trace::{Trace, traces};
pub use self::trial::Saving;

const HOUR_MS: u64 = 3_600_000;
/// Prices of a machine, in millionths of a dollar an hour: the article's. The master's machine costs as much as one on demand.
pub const SPOT: u64 = 60_000;
/// On demand.
pub const ON_DEMAND: u64 = 170_000;
/// Work of each machine in a replay, in milliseconds.
pub const WORK_MS: u64 = 12 * HOUR_MS;
/// What has not ended by then never does.
pub const LONGEST_MS: u64 = 12 * WORK_MS;
/// How trials save.
pub const SAVING: Saving =
    Saving { every_ms: 300_000, save_ms: 5_000, upload_ms: 10_000, restore_ms: 20_000 };

/// When a trial is told that its machine is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Never: leases end.
    Nothing,
    /// With the notice.
    AtOnce,
    /// By SIGTERM, shortly before the end that the notice names.
    AtTheEnd,
    /// Both: it saves at the notice, works on, and saves again at SIGTERM.
    Twice,
}

/// Who says which machines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planner {
    /// The plan of the core.
    Core,
    /// One that knows the trace, and takes no machine for less than so long beyond its start.
    Knowing {
        /// In milliseconds.
        least_ms: u64,
    },
}

/// How a sweep is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Its name, for people.
    pub name: &'static str,
    /// Where machines may come from.
    pub markets: Markets,
    /// Trials save what they have done.
    pub checkpoints: bool,
    /// What notices do.
    pub told: Told,
    /// When it is to be over, in milliseconds from its start.
    pub deadline_ms: Option<u64>,
    /// Who plans.
    pub planner: Planner,
}

/// What gridctl does with trainers that save whenever they are told.
pub const OURS: Policy = Policy {
    name: "spot, checkpoints at the notice and at SIGTERM",
    markets: Markets::Spot,
    checkpoints: true,
    told: Told::Twice,
    deadline_ms: None,
    planner: Planner::Core,
};

/// One replay.
#[derive(Debug)]
pub struct Replay<'a> {
    /// What is played.
    pub trace: &'a Trace,
    /// How late in the trace it begins, in milliseconds.
    pub begin: u64,
    /// What chance there is follows from this.
    pub seed: u64,
    /// Machines at once, one trial each.
    pub machines: u32,
    /// What a trial takes without interruption, in milliseconds.
    pub trial_ms: u64,
    /// How many there are.
    pub trials: usize,
    /// How it is done.
    pub policy: Policy,
}

/// What a replay came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// All trials were done, and all machines ended.
    pub has_ended: bool,
    /// How long it took.
    pub ms: u64,
    /// What it cost, in millionths of a dollar, the master's machine included.
    pub micros: u64,
    /// Work of trials that counts,
    pub useful_ms: u64,
    /// and time of theirs that does not: done again, saved, fetched.
    pub wasted_ms: u64,
    /// Machines that were taken.
    pub taken: u64,
    /// Time of machines on demand.
    pub on_demand_ms: u64,
}

impl Replay<'_> {
    /// Plays it.
    #[must_use]
    pub fn play(&self) -> Outcome {
        world::World::new(self).play()
    }
}
