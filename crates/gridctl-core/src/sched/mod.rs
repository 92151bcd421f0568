//! The master's policy: sweeps, leases and workers as one state machine without I/O.
//! Invariant: state changes only in [`Core::apply`] (journalled, replayed) or concerns connections and clocks (neither);
//! what people and workers may hear waits in the step until the shell has made its events durable.

mod ahead;
mod apply;
mod attempt_sums;
mod breaker;
mod cancel;
mod changed;
pub mod commit_pipeline;
mod connect;
mod end;
pub mod event;
mod given_up;
mod grant;
mod known;
mod known_trials;
pub mod machines;
mod means;
mod observed;
mod person;
pub mod phase;
mod prior_outcomes;
mod rebuild;
mod retry;
mod save;
mod settled;
pub mod status;
pub mod step;
pub mod sweep;
mod timer;
mod trial;
mod trial_table;
mod unread;
mod view;
mod work_left;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

pub use self::commit_pipeline::CommitPipeline;
pub use self::event::{Ended, Event, Next};
use self::given_up::GivenUp;
pub use self::known::{Changed, JoinedOutcome, LinkSource, PriorOutcome, PriorRow, Reading, RowTells};
pub use self::known_trials::{KnownTrials, LinkSum};
pub use self::machines::{FleetInput, FleetOver};
pub use self::phase::{CloseReason, PauseReason, SweepPhase};
pub use self::prior_outcomes::{LookedUp, PriorOutcomes};
pub use self::rebuild::RecordMisfit;
use self::retry::Retrying;
pub use self::save::{RestoreError, SNAPSHOT_FORMAT};
pub use self::status::{Best, SweepState, SweepStatus};
pub use self::step::{
    Answer, Conn, Copied, Effect, Input, Linked, Outcome, Refusal, Request, Steer, Step, Submission,
    TrialPlace,
};
pub use self::sweep::Sweep;
use self::work_left::TrialTimes;
pub use self::worker::WorkerView;
use self::worker::{Held, Worker};
use crate::fleet::machines::MachineFleet;
use crate::id::{Epoch, LeaseSeq, PackHash, SweepId, Time, TrialId, WorkerId};
use crate::machine::MachineHealth;
use crate::notice::Notice;
use crate::protocol::{MasterUpdate, ToWorker};
use crate::record::TrialState;
use crate::spec::Resources;

/// The master's timing, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawTiming", into = "RawTiming")]
pub struct Timing {
    ttl_ms: u64,
    heartbeat_ms: u64,
    orphan_after_ms: u64,
    grace_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTiming {
    ttl_ms: u64,
    heartbeat_ms: u64,
    orphan_after_ms: u64,
    grace_ms: u64,
}

/// A timing that would lose leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A lease must outlive some missed heartbeats.
    #[error("a lease of {ttl_ms} ms outlives fewer than three heartbeats of {heartbeat_ms} ms")]
    LeaseTooShort {
        /// The lease.
        ttl_ms: u64,
        /// The heartbeat.
        heartbeat_ms: u64,
    },
    /// A lease is a minute's matter, not a year's.
    #[error("a lease of {ttl_ms} ms is over a day: a lost worker's trials would wait as long")]
    LeaseTooLong {
        /// The lease.
        ttl_ms: u64,
    },
}

impl Timing {
    /// A timing whose leases outlive at least three heartbeats.
    ///
    /// # Errors
    /// [`TimingError`] otherwise, or if the lease is over a day.
    pub fn new(
        ttl_ms: u64,
        heartbeat_ms: u64,
        orphan_after_ms: u64,
        grace_ms: u64,
    ) -> Result<Self, TimingError> {
        if heartbeat_ms == 0 || ttl_ms / heartbeat_ms < 3 {
            return Err(TimingError::LeaseTooShort { ttl_ms, heartbeat_ms });
        }
        if ttl_ms > 86_400_000 {
            return Err(TimingError::LeaseTooLong { ttl_ms });
        }
        Ok(Self { ttl_ms, heartbeat_ms, orphan_after_ms, grace_ms })
    }

    /// How long a lease stands without a word from its worker.
    #[must_use]
    pub fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }
}

impl Default for Timing {
    /// Leases of 30 s, heartbeats of 5 s, an hour for orphans, a minute of grace after a restart.
    fn default() -> Self {
        Self { ttl_ms: 30_000, heartbeat_ms: 5_000, orphan_after_ms: 3_600_000, grace_ms: 60_000 }
    }
}

impl TryFrom<RawTiming> for Timing {
    type Error = TimingError;
    fn try_from(raw: RawTiming) -> Result<Self, TimingError> {
        Self::new(raw.ttl_ms, raw.heartbeat_ms, raw.orphan_after_ms, raw.grace_ms)
    }
}

impl From<Timing> for RawTiming {
    fn from(timing: Timing) -> Self {
        let Timing { ttl_ms, heartbeat_ms, orphan_after_ms, grace_ms } = timing;
        Self { ttl_ms, heartbeat_ms, orphan_after_ms, grace_ms }
    }
}

/// So many machines that take no trials for now are told of.
const MOST_UNFIT: usize = 4;

/// The state machine.
#[derive(Debug)]
pub struct Core {
    timing: Timing,
    epoch: Epoch,
    next_seq: u64,
    next_lease: u64,
    sweeps: BTreeMap<SweepId, Sweep>,
    /// Sweeps that may be granted from, or closed.
    active: BTreeSet<SweepId>,
    /// Every lease whose holder may report: those that stand, and expired ones that nobody else was granted.
    leases: BTreeMap<LeaseSeq, (SweepId, u64)>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Restart grace that a holder's leases have had since it was last heard, in milliseconds.
    graces: BTreeMap<WorkerId, u64>,
    conns: BTreeMap<Conn, WorkerId>,
    given_up: GivenUp,
    /// Who asked for trials to be tried again that are not all of them yet, and what is answered then.
    retrying: VecDeque<(Request, Answer, Retrying)>,
    fleet: MachineFleet,
    /// Somebody carries out what the fleet wants.
    has_cloud: bool,
    /// What went wrong with machines last.
    trouble: Option<String>,
    trial_times: TrialTimes,
    out: Step,
    outbox: BTreeMap<Conn, MasterUpdate>,
    last_step: Time,
    /// Work was left over that no input announces: step again soon.
    unfinished: bool,
}

impl Core {
    /// An empty master.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            epoch: Epoch(0),
            next_seq: 1,
            next_lease: 1,
            sweeps: BTreeMap::new(),
            active: BTreeSet::new(),
            leases: BTreeMap::new(),
            workers: BTreeMap::new(),
            graces: BTreeMap::new(),
            conns: BTreeMap::new(),
            given_up: GivenUp::default(),
            retrying: VecDeque::new(),
            fleet: MachineFleet::default(),
            has_cloud: false,
            trouble: None,
            trial_times: TrialTimes::default(),
            out: Step::default(),
            outbox: BTreeMap::new(),
            last_step: Time(0),
            unfinished: false,
        }
    }

    /// The number that the next lease will have.
    #[must_use]
    pub fn next_lease(&self) -> LeaseSeq {
        LeaseSeq(self.next_lease)
    }

    /// The number of the next event; the first one is 1.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.next_seq
    }

    /// The epoch of this master, 0 before it began.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins an epoch after the journal was read: its leases get their grace. Commit what [`Core::take`] gives before serving.
    pub fn begin(&mut self, now: Time) {
        self.last_step = now;
        self.emit(now, Event::Began { epoch: Epoch(self.epoch.0 + 1) });
    }

    /// Decides what `input` causes at `now` and applies it. Call [`Core::settle`] after a batch of inputs, then [`Core::take`].
    pub fn step(&mut self, now: Time, input: Input) {
        self.note_stall(now);
        match input {
            Input::Opened(conn, hello) => self.on_hello(now, conn, *hello),
            Input::Said(conn, update) => self.on_update(now, conn, *update),
            Input::Closed(conn) => self.on_disconnect(conn),
            Input::Gone(worker) => self.on_worker_lost(worker, true),
            Input::OrphansEnded => self.orphans_ended(),
            Input::Submit(request, submission) => self.submit(now, request, *submission),
            Input::SetAside { except } => self.set_aside(now, &except),
            Input::Steer(request, sweep, steer) => self.steer(now, request, sweep, steer),
            Input::Retry(request, sweep, trials) => self.retry(now, request, sweep, &trials),
            Input::CancelTrials(request, sweep, trials) => self.cancel_trials(now, request, sweep, &trials),
            Input::PauseAll(reason) => self.pause_all(now, reason),
            Input::Drain { grace_ms } => self.drain(grace_ms),
            Input::Fleet(input) => self.on_fleet(now, input),
            Input::Tick => {}
        }
    }

    /// Ends leases whose time is over, grants what can be granted, closes what is done.
    pub fn settle(&mut self, now: Time) {
        self.note_stall(now);
        self.unfinished = false;
        self.expire(now);
        self.wake(now);
        self.retry_some(now);
        self.grant(now);
        self.close_finished(now);
        for (conn, update) in std::mem::take(&mut self.outbox) {
            if self.conns.contains_key(&conn) {
                self.out.effects.push(Effect::Send(conn, ToWorker::Update(update)));
            }
        }
    }

    /// What the inputs since the last call caused.
    pub fn take(&mut self) -> Step {
        std::mem::take(&mut self.out)
    }

    /// Every sweep, the oldest first.
    pub fn sweeps(&self) -> impl DoubleEndedIterator<Item = &Sweep> {
        self.sweeps.values()
    }

    /// Every sweep, the one that something happened to last first.
    #[must_use]
    pub fn latest_first(&self) -> Vec<&Sweep> {
        let mut sweeps: Vec<&Sweep> = self.sweeps.values().collect();
        sweeps.sort_by_key(|sweep| std::cmp::Reverse(sweep.last_seq));
        sweeps
    }

    /// The sweep of this number.
    #[must_use]
    pub fn sweep(&self, sweep: SweepId) -> Option<&Sweep> {
        self.sweeps.get(&sweep)
    }

    /// The sweep of this name.
    #[must_use]
    pub fn sweep_named(&self, name: &str) -> Option<&Sweep> {
        self.sweeps.values().find(|sweep| sweep.name() == name)
    }

    /// A sweep as people see it.
    #[must_use]
    pub fn status(&self, sweep: SweepId, now: Time) -> Option<SweepStatus> {
        let sweep = self.sweeps.get(&sweep)?;
        let mut status = sweep.status(now);
        status.workers = self.conns.len() as u64;
        if !sweep.phase.is_closed() {
            status.notices.extend(self.machine_notices());
            status.notices.extend(self.unfit_machines());
            status.notices.extend(self.given_up.notices());
            status.notices.extend(self.unable_machines(sweep));
        }
        let wanted = &sweep.frozen.spec.resources;
        if sweep.phase.is_running()
            && !self.conns.is_empty()
            && !self.workers.values().any(|worker| worker.could_ever_hold(wanted))
        {
            let Resources { cpu_milli, mem_mib, gpus } = *wanted;
            status.notices.push(Notice::NoWorkerFits { cpu_milli, mem_mib, gpus });
        }
        Some(status)
    }

    fn unfit_machines(&self) -> impl Iterator<Item = Notice> {
        let rests = |worker: &Worker| match &worker.health {
            MachineHealth::Resting { fault } => {
                Some(Notice::MachineRests { host: worker.host.clone(), fault: fault.clone() })
            }
            MachineHealth::CannotPublish { fault } => {
                Some(Notice::ResultsWait { host: worker.host.clone(), error: fault.clone() })
            }
            MachineHealth::Fit | MachineHealth::GivenUp { .. } => None,
        };
        let connected = self.workers.values().filter(|worker| worker.link.is_some());
        connected.filter_map(rests).take(MOST_UNFIT)
    }

    /// Packs that some sweep's present version is in.
    #[must_use]
    pub fn packs(&self) -> BTreeSet<PackHash> {
        self.sweeps.values().filter_map(|sweep| sweep.frozen.sources.pack()).collect()
    }

    /// Machines that cannot run this version, each with what it lacks.
    fn unable_machines(&self, sweep: &Sweep) -> Vec<Notice> {
        let mut notices = Vec::new();
        for worker in self.workers.values().filter(|worker| worker.link.is_some()) {
            let Some(why) = worker.why_not(sweep.id, sweep.version) else { continue };
            let notice = Notice::CannotRun { host: worker.host.clone(), why: why.to_owned() };
            if !notices.contains(&notice) && notices.len() < MOST_UNFIT {
                notices.push(notice);
            }
        }
        notices
    }

    /// Trials of a sweep that have begun and are not settled.
    #[must_use]
    pub fn live(&self, sweep: SweepId, now: Time) -> Vec<LiveTrial> {
        let Some(sweep) = self.sweeps.get(&sweep) else { return Vec::new() };
        let held_ms = |trial: &trial::Trial| {
            let lease = trial.lease().filter(|_| trial.is_leased())?;
            let held = self.workers.get(&lease.worker)?.leases.get(&lease.token.lease)?;
            Some(now.ms_since(held.since))
        };
        let live = |(pos, trial): (u64, &trial::Trial)| LiveTrial {
            trial: sweep.trial_id(pos),
            index: sweep.points.index_at(pos),
            state: if trial.is_leased() { TrialState::Leased } else { TrialState::Pending },
            attempt: trial.attempt,
            host: trial.lease().filter(|_| trial.is_leased()).map(|lease| lease.host.clone()),
            worker: trial.lease().filter(|_| trial.is_leased()).map(|lease| lease.worker),
            lease: trial.lease().filter(|_| trial.is_leased()).map(|lease| lease.token.lease),
            progress: trial.progress,
            held_ms: held_ms(trial),
        };
        sweep.trials.iter().map(live).collect()
    }

    /// Every worker that is connected or holds leases.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerView> {
        let view = |(id, worker): (&WorkerId, &Worker)| WorkerView {
            worker: *id,
            host: worker.host.clone(),
            connected: worker.link.is_some(),
            draining: worker.draining,
            machine: worker.machine.clone().map(|machine| machine.0),
            leased: worker.leases.len(),
            capacity: worker.link.as_ref().map(|link| link.capacity),
        };
        self.workers.iter().map(view).collect()
    }

    /// Decides: journals the event and applies it.
    fn emit(&mut self, now: Time, event: Event) {
        let seq = self.next_seq;
        self.apply(now, &event);
        self.out.events.push((seq, event));
    }

    /// Something that holds whatever anybody says does not hold. No bytes of a peer lead here.
    fn broken(&mut self, what: &'static str) {
        debug_assert!(false, "{what}");
        self.out.effects.push(Effect::Broken(what));
    }

    /// The sweep of that number, which must be there.
    fn must_have(&mut self, id: SweepId) -> Option<&mut Sweep> {
        if !self.sweeps.contains_key(&id) {
            self.broken("what is done is about a sweep that is not there");
        }
        self.sweeps.get_mut(&id)
    }

    fn held(&self, sweep: SweepId, pos: u64, since: Time) -> Option<Held> {
        let sweep = self.sweeps.get(&sweep)?;
        let alone = sweep.trials.get(pos).is_some_and(|trial| trial.tally.must_be_alone());
        Some(Held { sweep: sweep.id, pos, resources: sweep.frozen.spec.resources, alone, since })
    }
}

/// A trial that has begun and is not settled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveTrial {
    /// Its id.
    pub trial: TrialId,
    /// Its place in the version.
    pub index: u64,
    /// `leased`, or `pending` if it waits for another try.
    pub state: TrialState,
    /// Attempts so far.
    pub attempt: u32,
    /// The machine that holds it.
    pub host: Option<String>,
    /// The worker that holds it.
    pub worker: Option<WorkerId>,
    /// The lease under which it is held.
    #[serde(skip)]
    pub lease: Option<LeaseSeq>,
    /// The objective's latest (step, value).
    pub progress: Option<(i64, f64)>,
    /// For how many milliseconds the worker has had it, as far as this master knows.
    pub held_ms: Option<u64>,
}

#[cfg(test)]
mod tests;
