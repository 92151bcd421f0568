//! The fleet's plan against a made-up cloud: answers that are lost or late, capacity that comes and goes, machines that are taken
//! away with a notice, without one, or not at all, machines that never work, and a master that is killed and begins anew.
//! Invariant: the plan is the one that a master steps; the cloud knows nothing of it but what it is asked.

use std::collections::BTreeMap;

use gridctl_core::fleet::machines::{
    Caps, CloudCall, Demand, FleetRecord, Hold, Launch, LaunchAnswer, LaunchId, MICROS, MachineFleet,
    MachineId, Market, Markets, Pool, SeenMachine,
};
use gridctl_core::id::Time;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Violation;

/// One step of the world, in milliseconds.
const TICK_MS: u64 = 2_000;
/// From here on nothing goes wrong any more.
const QUIET_MS: u64 = 3 * HOUR_MS;
/// By then everything has ended.
const END_MS: u64 = 24 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;
/// Ending everything may take so long, whatever goes wrong here.
const RESERVE_MS: u64 = 20 * 60_000;
/// An answer that has not come by then is lost.
const TIMEOUT_MS: u64 = 60_000;

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub struct CloudReport {
    /// Machines that were started.
    pub started: u64,
    /// Machines that were taken away.
    pub taken: u64,
    /// Answers that were lost.
    pub lost: u64,
    /// Launches that found no capacity, or less than was asked for.
    pub scarce: u64,
    /// Masters that were killed.
    pub killed: u64,
    /// Notices that were false.
    pub false_notices: u64,
    /// Machines that never worked.
    pub never_joined: u64,
    /// Machines on demand.
    pub on_demand: u64,
    /// The budget ended it.
    pub budget_reached: bool,
    /// Calls that were made.
    pub calls: u64,
}

struct Machine {
    launch: LaunchId,
    pool: usize,
    market: Market,
    started: u64,
    seen_from: u64,
    joins: Option<u64>,
    taken: Option<u64>,
    noticed: Option<u64>,
    ended: Option<u64>,
}

enum Answer {
    Launch(LaunchId, LaunchAnswer),
    Look(Option<Vec<SeenMachine>>),
}

struct World {
    rng: ChaCha8Rng,
    now: u64,
    pools: Vec<Pool>,
    cap: u32,
    budget: Option<u64>,
    markets: Markets,
    fleet: Option<MachineFleet>,
    journal: Vec<FleetRecord>,
    back_at: u64,
    machines: BTreeMap<MachineId, Machine>,
    tokens: BTreeMap<LaunchId, Option<Vec<MachineId>>>,
    scarce: BTreeMap<(usize, Market), u64>,
    /// What reaches the cloud later.
    sent: Vec<(u64, CloudCall)>,
    /// What reaches the master later, if it is still that one.
    answers: Vec<(u64, u64, Answer)>,
    epoch: u64,
    /// Slot-milliseconds of work that are left.
    work: u64,
    trial_ms: u64,
    at_once: u64,
    report: CloudReport,
}

/// Plays one seed.
///
/// # Errors
/// [`Violation`]: a cap was passed, a machine was left alive, or the work never ended.
pub fn simulate_cloud(seed: u64) -> Result<CloudReport, Violation> {
    let mut world = World::new(seed);
    while world.now < END_MS {
        world.now += TICK_MS;
        world.tick()?;
        if world.is_over() {
            return world.finish();
        }
    }
    let fleet = world.fleet.as_ref().map(|fleet| (fleet.machines(), fleet.hold(), fleet.spent()));
    Err(Violation(format!("not over after a day: {} trials left, fleet {fleet:?}", world.backlog())))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pools = (0..rng.random_range(1..6_usize)).map(|number| {
            let slots = [1, 4, 16][rng.random_range(0..3_usize)];
            let on_demand = u64::from(slots) * rng.random_range(30_000..60_000_u64);
            let spot = on_demand * rng.random_range(25..80_u64) / 100;
            Pool {
                instance: format!("t{number}.x"),
                zone: format!("z{}", number % 3),
                slots,
                spot,
                on_demand,
            }
        });
        let pools: Vec<Pool> = pools.collect();
        let cap = rng.random_range(1..40);
        let budget = rng.random_bool(0.4).then(|| rng.random_range(MICROS / 20..2 * MICROS));
        let trial_ms = rng.random_range(10_000..1_200_000);
        let fallback = rng.random_bool(0.5);
        let markets = if fallback { Markets::SpotThenOnDemand } else { Markets::Spot };
        let at_once = rng.random_range(1..200);
        // One machine of one slot must be able to do its part within a day.
        let most = (20 * at_once.min(u64::from(cap))).min(400);
        let work = trial_ms * rng.random_range(1..=most);
        let mut world = Self {
            rng,
            now: 0,
            pools,
            cap,
            budget,
            markets,
            fleet: None,
            journal: Vec::new(),
            back_at: 0,
            machines: BTreeMap::new(),
            tokens: BTreeMap::new(),
            scarce: BTreeMap::new(),
            sent: Vec::new(),
            answers: Vec::new(),
            epoch: 0,
            work,
            trial_ms,
            at_once,
            report: CloudReport::default(),
        };
        world.begin();
        world
    }

    fn is_quiet(&self) -> bool {
        self.now >= QUIET_MS
    }

    /// Something happens that often, in thousandths of each step, while things go wrong.
    fn fault(&mut self, thousandths: u32) -> bool {
        !self.is_quiet() && self.rng.random_ratio(thousandths, 1_000)
    }

    /// A master begins, from its journal.
    fn begin(&mut self) {
        let caps = Caps::new(self.cap, self.budget, RESERVE_MS);
        let mut fleet = MachineFleet::new(self.pools.clone(), caps, self.markets);
        let now = Time(self.now);
        self.journal.iter().for_each(|record| fleet.apply(now, record));
        fleet.resume(now, self.now);
        self.epoch += 1;
        self.fleet = Some(fleet);
    }

    fn backlog(&self) -> u64 {
        self.work.div_ceil(self.trial_ms)
    }

    fn demand(&self) -> Demand {
        Demand { backlog: self.backlog(), at_once: self.at_once }
    }

    fn tick(&mut self) -> Result<(), Violation> {
        self.cloud();
        self.work();
        if self.fleet.is_none() && self.now >= self.back_at {
            self.begin();
        }
        self.master();
        let alive = self.machines.values().filter(|machine| machine.ended.is_none()).count();
        if alive > self.cap as usize {
            return Err(Violation(format!("{alive} machines live at {}, and {} may", self.now, self.cap)));
        }
        if let Some(budget) = self.budget.filter(|budget| self.bill() > *budget) {
            return Err(Violation(format!("{} spent at {}, and {budget} may be", self.bill(), self.now)));
        }
        Ok(())
    }

    /// What the cloud really takes, in millionths of a dollar.
    fn bill(&self) -> u64 {
        let one = |machine: &Machine| {
            let ms = machine.ended.unwrap_or(self.now) - machine.started;
            u128::from(self.pools[machine.pool].price(machine.market)) * u128::from(ms)
        };
        let all: u128 = self.machines.values().map(one).sum();
        u64::try_from(all / u128::from(HOUR_MS)).unwrap_or(u64::MAX)
    }

    /// Machines are taken away; calls arrive.
    fn cloud(&mut self) {
        let now = self.now;
        for machine in self.machines.values_mut().filter(|machine| machine.ended.is_none()) {
            if machine.taken.is_some_and(|at| at <= now) {
                machine.ended = Some(now);
                self.report.taken += 1;
            }
        }
        self.scarce.retain(|_, until| *until > now);
        if self.fault(10) {
            let pool = self.rng.random_range(0..self.pools.len());
            let market = if self.rng.random_bool(0.8) { Market::Spot } else { Market::OnDemand };
            self.scarce.insert((pool, market), now + self.rng.random_range(60_000..3_600_000));
        }
        if self.is_quiet() {
            self.scarce.clear();
        }
        let (due, later) = std::mem::take(&mut self.sent).into_iter().partition(|(at, _)| *at <= now);
        self.sent = later;
        let due: Vec<(u64, CloudCall)> = due;
        for (_, call) in due {
            self.execute(&call);
        }
    }

    /// What the cloud does when a call arrives.
    fn execute(&mut self, call: &CloudCall) -> Option<Answer> {
        match call {
            CloudCall::Terminate(ids) => {
                for id in ids {
                    if let Some(machine) = self.machines.get_mut(id) {
                        machine.ended.get_or_insert(self.now);
                    }
                }
                None
            }
            CloudCall::Console(_) => None,
            CloudCall::Look => Some(Answer::Look(Some(self.shown()))),
            CloudCall::Launch(launch, _) => {
                let answer = match self.tokens.get(&launch.id()) {
                    Some(known) => known.clone(),
                    None => self.launch(launch),
                };
                self.tokens.insert(launch.id(), answer.clone());
                let answer = answer.map_or(LaunchAnswer::NoCapacity, LaunchAnswer::Started);
                Some(Answer::Launch(launch.id(), answer))
            }
        }
    }

    fn launch(&mut self, launch: &Launch) -> Option<Vec<MachineId>> {
        let scarce = self.scarce.contains_key(&(launch.pool(), launch.market()));
        let count = if self.fault(100) { self.rng.random_range(0..=launch.count()) } else { launch.count() };
        let count = if scarce { 0 } else { count };
        if count < launch.count() {
            self.report.scarce += 1;
        }
        let ids = (0..count).map(|_| self.start(launch)).collect::<Vec<_>>();
        (!ids.is_empty()).then_some(ids)
    }

    fn start(&mut self, launch: &Launch) -> MachineId {
        let id = MachineId(format!("i-{:06}", self.machines.len()));
        let now = self.now;
        let dud = self.fault(50);
        let joins = (!dud).then(|| now + self.rng.random_range(30_000..240_000));
        let lives = self.rng.random_range(60_000..7_200_000_u64);
        let is_taken = launch.market() == Market::Spot && now + lives < QUIET_MS && self.rng.random_bool(0.5);
        let taken = is_taken.then_some(now + lives);
        let lead = [0, 10_000, 120_000][self.rng.random_range(0..3_usize)];
        let false_notice = self.fault(100).then(|| now + self.rng.random_range(60_000..3_600_000_u64));
        let noticed = taken.filter(|_| lead > 0).map(|at| at.saturating_sub(lead)).or(false_notice);
        self.report.started += 1;
        self.report.never_joined += u64::from(dud);
        self.report.false_notices += u64::from(taken.is_none() && noticed.is_some());
        self.report.on_demand += u64::from(launch.market() == Market::OnDemand);
        let seen_from = now + self.rng.random_range(0..60_000);
        let (launch, pool, market) = (launch.id(), launch.pool(), launch.market());
        let machine =
            Machine { launch, pool, market, started: now, seen_from, joins, taken, noticed, ended: None };
        self.machines.insert(id.clone(), machine);
        id
    }

    /// What is there, as the cloud shows it: late, and the dead for a minute more.
    fn shown(&self) -> Vec<SeenMachine> {
        let now = self.now;
        let shown = self.machines.iter().filter(|(_, machine)| {
            machine.seen_from <= now && machine.ended.is_none_or(|ended| now - ended < 60_000)
        });
        shown
            .map(|(id, machine)| SeenMachine {
                id: id.clone(),
                launch: machine.launch,
                ending: machine.ended.is_some(),
            })
            .collect()
    }

    /// Workers work; the master hears of it, and of notices.
    fn work(&mut self) {
        let mut trials = self.backlog().min(self.at_once);
        let mut done = 0;
        for (id, machine) in &self.machines {
            let works = machine.ended.is_none() && machine.joins.is_some_and(|at| at <= self.now);
            if !works {
                continue;
            }
            let slots = u64::from(self.pools[machine.pool].slots).min(trials);
            trials -= slots;
            done += slots * TICK_MS;
            let Some(fleet) = self.fleet.as_mut() else { continue };
            fleet.on_worker(Some(Time(self.now)), id, slots > 0);
            if machine.noticed.is_some_and(|at| at <= self.now) {
                fleet.on_notice(Time(self.now), id);
            }
        }
        self.work = self.work.saturating_sub(done);
    }

    fn master(&mut self) {
        if self.fault(2) && self.fleet.take().is_some() {
            self.report.killed += 1;
            self.back_at = self.now + self.rng.random_range(2_000..180_000);
            return;
        }
        let (now, demand, epoch) = (Time(self.now), self.demand(), self.epoch);
        let Some(mut fleet) = self.fleet.take() else { return };
        let (due, later) =
            std::mem::take(&mut self.answers).into_iter().partition(|(at, ..)| *at <= self.now);
        self.answers = later;
        let due: Vec<(u64, u64, Answer)> = due;
        for (_, _, answer) in due.into_iter().filter(|(_, of, _)| *of == epoch) {
            let records = match answer {
                Answer::Launch(id, answer) => fleet.on_answer(now, id, answer),
                Answer::Look(seen) => fleet.on_look(now, seen, demand),
            };
            self.record(&mut fleet, records);
        }
        let records = fleet.decide(now, self.now, demand);
        self.record(&mut fleet, records);
        if fleet.hold() == Some(Hold::NeverJoined) && self.now.is_multiple_of(600_000) {
            fleet.on_resume();
        }
        self.report.budget_reached |= fleet.hold() == Some(Hold::Budget);
        // Killed between the record and the call: the next master asks.
        if self.fault(1) {
            self.report.killed += 1;
            self.back_at = self.now + 10_000;
            return;
        }
        for call in fleet.calls(now, demand) {
            self.report.calls += 1;
            self.send(call);
        }
        self.fleet = Some(fleet);
    }

    fn record(&mut self, fleet: &mut MachineFleet, records: Vec<FleetRecord>) {
        for record in records {
            fleet.apply(Time(self.now), &record);
            self.journal.push(record);
        }
    }

    /// A call goes out: it arrives or not, and so does its answer.
    fn send(&mut self, call: CloudCall) {
        let failed = match &call {
            CloudCall::Launch(launch, _) => Some(Answer::Launch(launch.id(), LaunchAnswer::Lost)),
            CloudCall::Look => Some(Answer::Look(None)),
            CloudCall::Terminate(_) | CloudCall::Console(_) => None,
        };
        if self.fault(100) {
            self.report.lost += 1;
            // It arrives late, or never; nobody hears of it.
            if self.rng.random_bool(0.6) {
                let at = self.now + self.rng.random_range(0..50_000);
                self.sent.push((at, call));
            }
            self.answers.extend(failed.map(|answer| (self.now + TIMEOUT_MS, self.epoch, answer)));
            return;
        }
        let at = self.now + self.rng.random_range(1_000..20_000);
        if let (CloudCall::Launch(launch, _), true) = (&call, self.fault(50)) {
            self.answers.push((at, self.epoch, Answer::Launch(launch.id(), LaunchAnswer::Throttled)));
            return;
        }
        let answer = self.execute(&call);
        self.answers.extend(answer.map(|answer| (at, self.epoch, answer)));
    }

    fn is_over(&self) -> bool {
        let nothing = self.sent.is_empty() && self.fleet.as_ref().is_some_and(MachineFleet::is_empty);
        let dead = self.machines.values().all(|machine| machine.ended.is_some());
        let stopped = self.fleet.as_ref().is_some_and(|fleet| fleet.hold() == Some(Hold::Budget));
        nothing && (self.work == 0 || stopped) && (dead || self.is_quiet())
    }

    /// The fleet says that nothing is left: the cloud has to agree.
    fn finish(self) -> Result<CloudReport, Violation> {
        let left: Vec<&MachineId> =
            self.machines.iter().filter(|(_, machine)| machine.ended.is_none()).map(|(id, _)| id).collect();
        if !left.is_empty() {
            return Err(Violation(format!("left alive: {left:?}")));
        }
        let (bill, spent) = (self.bill(), self.fleet.as_ref().map_or(0, MachineFleet::spent));
        if spent + 1 < bill {
            return Err(Violation(format!("the cloud takes {bill}, and the fleet knows of {spent}")));
        }
        Ok(self.report)
    }
}
