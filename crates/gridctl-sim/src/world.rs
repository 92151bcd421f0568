//! The world: one master, its machines, the network between them, and what goes wrong.
//! Invariant: whatever happens to a process happens through the queue, in virtual time, drawn from
//! the seed.

mod fault;
mod line;
mod master;
mod net;
mod person;
mod publish;
mod ship;
mod slot;
mod worker;

use std::collections::BTreeMap;

use gridctl_core::id::{LeaseSeq, SweepId, Time, WorkerId};
use gridctl_core::protocol::{ToMaster, ToWorker};
use gridctl_core::record::TrialState;
use gridctl_core::sched::{Conn, Sweep, SweepState, SweepStatus};
use gridctl_core::slot::SlotEvent;
use gridctl_storage::journal::MemoryStore;
use gridctl_storage::volume::MemoryVolume;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

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
    /// The sweeps at the end.
    pub statuses: Vec<SweepStatus>,
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
    ResultsMended,
    Publishes { worker: WorkerId },
    Published { worker: WorkerId, lease: LeaseSeq },
    ToMaster { conn: Conn, message: Box<ToMaster> },
    ToWorker { conn: Conn, message: Box<ToWorker> },
    ConnLost { conn: Conn },
    Ships { life: u32 },
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
    volume: MemoryVolume,
    /// What befalls the results volume, and whether a call was hit.
    volume_fault: Option<Fault>,
    /// What a trainer leaves lies here until its worker has published it.
    output: TempDir,
    full: bool,
    slow: bool,
    duplicate_next: bool,
    /// The next message on a broken connection still arrives.
    late: bool,
    auditor: Auditor,
    durable: Durable,
    /// How often each sweep's file was changed.
    submitted: Vec<u32>,
    injected: BTreeMap<Fault, u32>,
}

/// Plays the plan of `seed` to its end.
///
/// # Errors
/// [`Violation`]: a promise was broken.
pub fn simulate(seed: u64) -> Result<Report, Violation> {
    let plan = Plan::of(seed);
    let mut world = World::new(plan)?;
    let mut events = 0;
    let limit = world.plan.calm_ms + PATIENCE_MS + world.work_ms();
    while let Some(happens) = world.queue.next() {
        events += 1;
        world.happens(happens)?;
        if events % 16 == 0 && world.is_over() {
            break;
        }
        if world.queue.now() > limit {
            return Err(Violation(format!("the sweep does not end: {:?}", world.statuses())));
        }
    }
    world.mend_results(None);
    world.results()?;
    world.ship_the_rest()?;
    let statuses = world.statuses();
    let excused = world.auditor.excused();
    let World { given_up, unfit, refused, .. } = world;
    let took_ms = world.queue.now();
    Ok(Report { injected: world.injected, statuses, took_ms, events, excused, given_up, unfit, refused })
}

impl World {
    fn new(plan: Plan) -> Result<Self, Violation> {
        let mut queue = Queue::new();
        queue.at(0, Happens::MasterStarts);
        for machine in 0..plan.workers {
            queue.at(1 + machine as u64 * 700, Happens::WorkerStarts { machine });
        }
        for (time, fault) in &plan.faults {
            queue.at(*time, Happens::Injected(*fault));
        }
        let world = Self {
            rng: ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5eed),
            cut: vec![false; plan.workers],
            bad: vec![false; plan.workers],
            unable: vec![false; plan.workers],
            volume: MemoryVolume::seeded(plan.seed),
            volume_fault: None,
            output: tempfile::tempdir().map_err(|error| Violation(format!("no directory: {error}")))?,
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
            submitted: vec![0; plan.sweeps],
            injected: BTreeMap::new(),
            plan,
        };
        for sweep in 0..world.plan.sweeps {
            let claimed = world.results_of(&person::name(sweep))?.claim();
            claimed.map_err(|error| Violation(format!("the volume is claimed by nobody: {error}")))?;
        }
        Ok(world)
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
            Happens::ResultsMended => self.mend_results(None),
            Happens::Publishes { worker } => self.publish(worker)?,
            Happens::Published { worker, lease } => self.published(worker, lease)?,
            Happens::ToMaster { conn, message } => self.hear_worker(conn, *message)?,
            Happens::ToWorker { conn, message } => self.hear_master(conn, *message)?,
            Happens::ConnLost { conn } => self.conn_lost(conn)?,
            Happens::Ships { life } => self.ship(life)?,
            Happens::Resumes => self.resume()?,
        }
        Ok(())
    }

    /// What all trials take on one slot, several times over.
    fn work_ms(&self) -> u64 {
        8 * self.plan.trials.unsigned_abs() * self.plan.longest_ms
    }

    /// Every sweep, as the master has it.
    fn statuses(&self) -> Vec<SweepStatus> {
        let Some(core) = self.master.as_ref().map(|master| master.driver.core()) else { return Vec::new() };
        core.sweeps().filter_map(|sweep| core.status(sweep.id(), self.now())).collect()
    }

    /// The sweeps that wait for a person.
    fn paused(&self) -> Vec<SweepId> {
        let statuses = self.statuses().into_iter();
        statuses.filter(|status| status.state == SweepState::Paused).filter_map(|status| status.id).collect()
    }

    /// Every sweep is over, the last commit durable, nothing held, and no more faults come.
    fn is_over(&self) -> bool {
        self.queue.now() > self.plan.calm_ms
            && self.master.as_ref().is_some_and(|master| master.driver.underway().is_none())
            && self.are_all_over()
    }

    fn are_all_over(&self) -> bool {
        let statuses = self.statuses();
        let is_over = |status: &SweepStatus| status.state.is_over() && status.leased == 0;
        statuses.len() == self.plan.sweeps && statuses.iter().all(is_over)
    }

    /// Every trial has the result that it must have.
    fn results(&self) -> Result<(), Violation> {
        let Some(master) = &self.master else { return Err(Violation("no master at the end".to_owned())) };
        master.driver.core().sweeps().try_for_each(|sweep| self.results_are_right(sweep))
    }

    fn results_are_right(&self, sweep: &Sweep) -> Result<(), Violation> {
        let [cancelled, stopped, bad] =
            [Fault::Cancel, Fault::Stop, Fault::BadMachine].map(|fault| self.injected.contains_key(&fault));
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
                || ((cancelled || stopped) && state == TrialState::Cancelled)
                || (bad && state == TrialState::Failed);
            if state != wanted && !excused {
                return Err(Violation(format!(
                    "trial {trial} ended as {state}, not as {wanted}: {:?}",
                    sweep.status(self.now())
                )));
            }
        }
        Ok(())
    }
}
