//! The world: one master, its machines, the network between them, and what goes wrong.
//! Invariant: whatever happens to a process happens through the queue, in virtual time, drawn from
//! the seed.

mod fault;
mod line;
mod master;
mod net;
mod person;
mod slot;
mod worker;

use std::collections::BTreeMap;

use gridctl_core::id::{LeaseSeq, Time, WorkerId};
use gridctl_core::protocol::{ToMaster, ToWorker};
use gridctl_core::record::TrialState;
use gridctl_core::sched::{Conn, SweepStatus};
use gridctl_core::slot::SlotEvent;
use gridctl_storage::journal::MemoryStore;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::audit::{Auditor, Violation};
use crate::durable::Durable;
use crate::plan::{Fault, Plan};
use crate::queue::Queue;
use crate::trainer;

/// What a simulation came to.
#[derive(Debug)]
pub struct Report {
    /// How often each fault was injected.
    pub injected: BTreeMap<Fault, u32>,
    /// The sweep at the end.
    pub status: SweepStatus,
    /// Virtual time that it took, in milliseconds.
    pub took_ms: u64,
    /// Events of the world.
    pub events: u64,
    /// Failures of bad machines that were given back.
    pub excused: u64,
    /// Slots that did not answer and were given up.
    pub given_up: u64,
    /// Workers that gave their machine up, since nothing could be started there.
    pub unfit: u64,
    /// How often a damaged journal was refused.
    pub refused: u64,
}

/// After the last fault a sweep has so long to come to its end, beside the time that its trials
/// take.
const PATIENCE_MS: u64 = 900_000;

/// What happens.
#[derive(Debug)]
pub(crate) enum Happens {
    MasterStarts,
    MasterTicks { life: u32 },
    Commit { life: u32 },
    SpaceAgain,
    LogMended,
    Injected(Fault),
    WorkerStarts { machine: usize },
    WorkerTicks { worker: WorkerId },
    Connects { worker: WorkerId },
    SlotRuns { worker: WorkerId, slot: u32 },
    SlotSays { worker: WorkerId, slot: u32, life: u64, event: SlotEvent },
    SlotGoesOn { worker: WorkerId, slot: u32, life: u64 },
    TrainerEnds { worker: WorkerId, slot: u32, life: u64, lease: LeaseSeq },
    Thaws { worker: WorkerId },
    Heals { machine: usize },
    Mended { machine: usize },
    AbleAgain { machine: usize },
    ResultsFit,
    ToMaster { conn: Conn, message: Box<ToMaster> },
    ToWorker { conn: Conn, message: Box<ToWorker> },
    ConnLost { conn: Conn },
    Resumes,
}

pub(crate) struct World {
    plan: Plan,
    rng: ChaCha8Rng,
    queue: Queue<Happens>,
    store: MemoryStore,
    master: Option<master::Master>,
    lives: u32,
    workers: BTreeMap<WorkerId, worker::Process>,
    started: u32,
    lives_of_slots: u64,
    given_up: u64,
    unfit: u64,
    refused: u64,
    conns: net::Net,
    cut: Vec<bool>,
    /// Machines that fail whatever they are given.
    bad: Vec<bool>,
    /// Machines that can start nothing.
    unable: Vec<bool>,
    /// The results volume takes no files.
    results_full: bool,
    full: bool,
    slow: bool,
    duplicate_next: bool,
    /// The next message on a broken connection still arrives.
    late: bool,
    auditor: Auditor,
    durable: Durable,
    submitted: u32,
    injected: BTreeMap<Fault, u32>,
}

/// Plays the plan of `seed` to its end.
///
/// # Errors
/// [`Violation`]: a promise was broken.
pub fn simulate(seed: u64) -> Result<Report, Violation> {
    let plan = Plan::of(seed);
    let mut world = World::new(plan);
    let mut events = 0;
    let limit = world.plan.calm_ms + PATIENCE_MS + world.work_ms();
    while let Some(happens) = world.queue.next() {
        events += 1;
        world.happens(happens)?;
        if world.is_over() {
            break;
        }
        if world.queue.now() > limit {
            return Err(Violation(format!("the sweep does not end: {:?}", world.status())));
        }
    }
    let status = world.status().ok_or_else(|| Violation("no sweep at the end".to_owned()))?;
    world.results(&status)?;
    let excused = world.auditor.excused();
    let World { given_up, unfit, refused, .. } = world;
    let took_ms = world.queue.now();
    Ok(Report { injected: world.injected, status, took_ms, events, excused, given_up, unfit, refused })
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut queue = Queue::new();
        queue.at(0, Happens::MasterStarts);
        for machine in 0..plan.workers {
            queue.at(1 + machine as u64 * 700, Happens::WorkerStarts { machine });
        }
        for (time, fault) in &plan.faults {
            queue.at(*time, Happens::Injected(*fault));
        }
        Self {
            rng: ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5eed),
            cut: vec![false; plan.workers],
            bad: vec![false; plan.workers],
            unable: vec![false; plan.workers],
            results_full: false,
            plan,
            queue,
            store: MemoryStore::held_back(),
            master: None,
            lives: 0,
            workers: BTreeMap::new(),
            started: 0,
            lives_of_slots: 0,
            given_up: 0,
            unfit: 0,
            refused: 0,
            conns: net::Net::default(),
            full: false,
            slow: false,
            duplicate_next: false,
            late: false,
            durable: Durable::default(),
            auditor: Auditor::default(),
            submitted: 0,
            injected: BTreeMap::new(),
        }
    }

    fn now(&self) -> Time {
        Time(self.queue.now())
    }

    fn happens(&mut self, happens: Happens) -> Result<(), Violation> {
        match happens {
            Happens::MasterStarts => self.start_master()?,
            Happens::MasterTicks { life } => self.tick_master(life)?,
            Happens::Commit { life } => self.commit(life)?,
            Happens::SpaceAgain => self.full = false,
            Happens::LogMended => self.store.mend_log(),
            Happens::Injected(fault) => self.inject(fault)?,
            Happens::WorkerStarts { machine } => self.start_worker(machine)?,
            Happens::WorkerTicks { worker } => self.tick_worker(worker)?,
            Happens::Connects { worker } => self.connect(worker)?,
            Happens::SlotRuns { worker, slot } => self.run_slot(worker, slot)?,
            Happens::SlotSays { worker, slot, life, event } => self.hear_slot(worker, slot, (life, event))?,
            Happens::SlotGoesOn { worker, slot, life } => self.slot_goes_on(worker, slot, life)?,
            Happens::TrainerEnds { worker, slot, life, lease } => {
                self.trainer_ends(worker, slot, (life, lease));
            }
            Happens::Thaws { worker } => self.thaw(worker)?,
            Happens::Heals { machine } => self.cut[machine] = false,
            Happens::Mended { machine } => self.bad[machine] = false,
            Happens::AbleAgain { machine } => self.unable[machine] = false,
            Happens::ResultsFit => self.publish_all()?,
            Happens::ToMaster { conn, message } => self.hear_worker(conn, *message)?,
            Happens::ToWorker { conn, message } => self.hear_master(conn, *message)?,
            Happens::ConnLost { conn } => self.conn_lost(conn)?,
            Happens::Resumes => self.resume()?,
        }
        Ok(())
    }

    /// What all trials take on one slot, several times over.
    fn work_ms(&self) -> u64 {
        4 * self.plan.trials.unsigned_abs() * self.plan.longest_ms
    }

    fn status(&self) -> Option<SweepStatus> {
        let core = self.master.as_ref()?.driver.core();
        let sweep = core.sweeps().next()?;
        core.status(sweep.id(), self.now())
    }

    /// The sweep is over, its last commit durable, nothing held, and no more faults come.
    fn is_over(&self) -> bool {
        self.queue.now() > self.plan.calm_ms
            && self.master.as_ref().is_some_and(|master| master.driver.underway().is_none())
            && self.status().is_some_and(|status| status.state.is_over() && status.leased == 0)
    }

    /// Every trial has the result that it must have.
    fn results(&self, status: &SweepStatus) -> Result<(), Violation> {
        let Some(master) = &self.master else { return Err(Violation("no master at the end".to_owned())) };
        let Some(sweep) = master.driver.core().sweeps().next() else {
            return Err(Violation("no sweep".to_owned()));
        };
        let [cancelled, bad] =
            [Fault::Cancel, Fault::BadMachine].map(|fault| self.injected.contains_key(&fault));
        for index in 0..sweep.points().len() {
            let trial = sweep.points().trial_id(index);
            let state = sweep.state_of(index);
            let wanted = match trainer::kind(trial) {
                trainer::Kind::Good | trainer::Kind::Flaky => TrialState::Succeeded,
                trainer::Kind::Bad => TrialState::Failed,
            };
            // What is lost again and again may end in quarantine; a person may have cancelled what
            // was left; and while no other machine was there, a bad one may have been the only one
            // to try.
            let excused = state == TrialState::Quarantined
                || (cancelled && state == TrialState::Cancelled)
                || (bad && state == TrialState::Failed);
            if state != wanted && !excused {
                return Err(Violation(format!(
                    "trial {trial} ended as {state}, not as {wanted}: {status:?}"
                )));
            }
        }
        Ok(())
    }
}
