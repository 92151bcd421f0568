//! One replay: machines of a trace come and go, trials run on them, and the plan of the core, or a planner that knows the trace,
//! says which machines there are.
//! Invariant: the plan is the one that a master steps, and it is told only what a master would hear, when it would hear it.

use std::collections::VecDeque;

use gridctl_core::attempt::stop;
use gridctl_core::fleet::deadline::WorkLeft;
use gridctl_core::fleet::machines::{
    CloudCall, Demand, FleetRecord, FleetSetup, Launch, LaunchAnswer, LaunchId, MachineFleet, MachineId,
    Market, Pool, SeenMachine,
};
use gridctl_core::id::Time;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::trace::Supply;
use super::trial::Going;
use super::{HOUR_MS, LONGEST_MS, ON_DEMAND, Outcome, Planner, Replay, SAVING, SPOT, Told};

/// From a launch until the machine's worker is there.
const BOOT_MS: u64 = 90_000;
/// A worker asks for notices so often.
const POLL_MS: u64 = 2_000;
/// A lease without a word ends so long after it.
const LEASE_MS: u64 = 30_000;
/// What has ended is shown for so long.
const SHOWN_MS: u64 = 60_000;
/// Of a hundred machines that are taken, so many are said to be in time, and so many late; of the others nothing is said.
const NOTICED: (u32, u32) = (85, 5);
/// Notices of machines that are not taken, an hour.
const FALSE_AN_HOUR: f64 = 0.02;
/// Between two steps: the plan looks at what is there as often; who knows the trace sees each change of it.
const STEP_MS: (u64, u64) = (30_000, 5_000);

struct Machine {
    id: MachineId,
    launch: LaunchId,
    market: Market,
    node: usize,
    started: u64,
    joins: u64,
    /// When it is taken, and when its trial is told to stop; `u64::MAX`: never.
    taken: u64,
    stops: u64,
    /// When it hears that it is taken, whether or not that is so.
    hears: u64,
    has_heard: bool,
    leaving: bool,
    going: Option<Going>,
    ended: Option<u64>,
}

pub(super) struct World<'a> {
    replay: &'a Replay<'a>,
    now: u64,
    rng: ChaCha8Rng,
    supply: Supply,
    fleet: Option<MachineFleet>,
    machines: Vec<Machine>,
    /// What each trial has done that is kept.
    kept: Vec<u64>,
    queue: VecDeque<usize>,
    /// Trials that come back to the head of the queue, and when.
    back: Vec<(u64, usize)>,
    done: usize,
    busy_ms: u64,
    out: Outcome,
}

impl<'a> World<'a> {
    pub(super) fn new(replay: &'a Replay<'a>) -> Self {
        let policy = replay.policy;
        let setup = FleetSetup {
            pools: vec![Pool {
                instance: "c5.xlarge".to_owned(),
                zone: "a".to_owned(),
                slots: 1,
                spot: SPOT,
                on_demand: ON_DEMAND,
            }],
            markets: policy.markets,
            machines: replay.machines,
            budget: None,
            reserve_ms: 0,
            master_price: ON_DEMAND,
            deadline_wall_ms: policy.deadline_ms,
            trial_ms: None,
        };
        let mut fleet = MachineFleet::default();
        fleet.apply(Time(0), &FleetRecord::Set(setup));
        Self {
            replay,
            now: 0,
            rng: ChaCha8Rng::seed_from_u64(replay.seed),
            supply: replay.trace.supply(replay.begin, replay.seed),
            fleet: matches!(policy.planner, Planner::Core).then_some(fleet),
            machines: Vec::new(),
            kept: vec![0; replay.trials],
            queue: (0..replay.trials).collect(),
            back: Vec::new(),
            done: 0,
            busy_ms: 0,
            out: Outcome::default(),
        }
    }

    pub(super) fn play(mut self) -> Outcome {
        while self.now < LONGEST_MS {
            self.machines();
            self.grant();
            match self.fleet.take() {
                Some(mut fleet) => {
                    self.tend(&mut fleet);
                    self.fleet = Some(fleet);
                }
                None => self.tend_knowing(),
            }
            let is_over = self.done == self.replay.trials && self.living().next().is_none();
            if is_over {
                self.out.has_ended = true;
                break;
            }
            self.now = self.next();
        }
        self.result()
    }

    fn result(mut self) -> Outcome {
        let mut cost = u128::from(ON_DEMAND) * u128::from(self.now);
        for machine in &self.machines {
            let ms = machine.ended.unwrap_or(self.now) - machine.started;
            let price = if machine.market == Market::Spot { SPOT } else { ON_DEMAND };
            cost += u128::from(price) * u128::from(ms);
            self.out.on_demand_ms += if machine.market == Market::OnDemand { ms } else { 0 };
        }
        self.out.micros = u64::try_from(cost / u128::from(HOUR_MS)).unwrap_or(u64::MAX);
        self.out.ms = self.now;
        let useful = self.done as u64 * self.replay.trial_ms;
        self.out.wasted_ms = self.busy_ms.saturating_sub(useful);
        self.out.useful_ms = useful;
        self.out
    }

    fn living(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| machine.ended.is_none())
    }

    /// When something happens next.
    fn next(&self) -> u64 {
        let step = if self.fleet.is_some() { STEP_MS.0 } else { STEP_MS.1 };
        let of = self.living().flat_map(|machine| {
            let ends = machine.going.map_or(u64::MAX, |going| going.ends_at());
            [machine.joins, machine.taken, machine.stops, machine.hears, ends]
        });
        let all = of.chain(self.back.iter().map(|(at, _)| *at)).filter(|at| *at > self.now);
        all.min().unwrap_or(u64::MAX).min(self.now + step)
    }

    /// Trials end, machines hear that they are taken, and are.
    fn machines(&mut self) {
        let now = self.now;
        for place in 0..self.machines.len() {
            let machine = &mut self.machines[place];
            if machine.ended.is_some() {
                continue;
            }
            let (taken, stops) = (machine.taken, machine.stops);
            let hears_now =
                machine.hears <= now && !std::mem::replace(&mut machine.has_heard, machine.hears <= now);
            if hears_now && self.replay.policy.told == Told::Twice && machine.hears < stops {
                // It saves, and works on.
                machine.going.as_mut().into_iter().for_each(Going::pause);
            }
            if let Some(going) = machine.going {
                let end = going.ends_at();
                if end <= now && end <= stops && end <= taken {
                    machine.going = None;
                    self.done += 1;
                    self.busy_ms += end - going.since;
                } else if stops <= now && stops < taken {
                    self.stop(place, going);
                }
            }
            if taken <= now {
                let machine = &mut self.machines[place];
                machine.ended = Some(taken);
                self.out.taken += 1;
                if let Some(going) = machine.going.take() {
                    self.busy_ms += taken - going.since;
                    self.comes_back(taken + LEASE_MS, going.trial, going.kept_by(taken));
                }
            }
        }
        self.back.sort_unstable();
        while self.back.first().is_some_and(|(at, _)| *at <= now) {
            let (_, trial) = self.back.remove(0);
            self.queue.push_front(trial);
        }
    }

    fn comes_back(&mut self, at: u64, trial: usize, kept: u64) {
        self.kept[trial] = kept;
        self.back.push((at, trial));
    }

    /// The trial on a machine is told to stop: it saves, if it can in time, and goes back.
    fn stop(&mut self, place: usize, going: Going) {
        let machine = &mut self.machines[place];
        let told = machine.stops;
        match going.saved(told, machine.taken) {
            Some((kept, ready)) => {
                machine.going = None;
                self.busy_ms += ready - going.since;
                self.comes_back(ready, going.trial, kept);
            }
            None if going.saving.is_none() => {
                machine.going = None;
                self.busy_ms += told - going.since;
                self.comes_back(told, going.trial, 0);
            }
            // It does not get that far.
            None => machine.stops = u64::MAX,
        }
    }

    fn grant(&mut self) {
        let (now, trial_ms) = (self.now, self.replay.trial_ms);
        let listens = self.replay.policy.told != Told::Nothing;
        let saving = self.replay.policy.checkpoints.then_some(SAVING);
        for machine in self.machines.iter_mut().filter(|machine| machine.ended.is_none()) {
            let takes =
                machine.joins <= now && now < machine.stops && !machine.leaving && machine.going.is_none();
            if !takes || (listens && machine.has_heard) {
                continue;
            }
            let Some(trial) = self.queue.pop_front() else { return };
            let kept = self.kept[trial];
            machine.going = Some(Going { trial, since: now, kept, left: trial_ms - kept, saving, paused: 0 });
        }
    }

    /// What is left, in the time that trials take with what they save.
    fn work_left(&self) -> WorkLeft {
        let (trial_ms, policy) = (self.replay.trial_ms, self.replay.policy);
        let saving = policy.checkpoints.then_some(SAVING);
        let takes = |kept: u64| {
            Going { trial: 0, since: 0, kept, left: trial_ms - kept, saving, paused: 0 }.ends_at()
        };
        let going = self.living().filter_map(|machine| machine.going);
        let going = going.map(|going| going.ends_at().saturating_sub(self.now));
        let waiting = self.queue.iter().chain(self.back.iter().map(|(_, trial)| trial));
        let (begun, fresh): (Vec<usize>, Vec<usize>) = waiting.partition(|trial| self.kept[**trial] > 0);
        WorkLeft {
            begun: going.chain(begun.into_iter().map(|trial| takes(self.kept[trial]))).collect(),
            fresh: fresh.len() as u64,
            trial_ms: takes(0),
            at_once: self.replay.machines.into(),
        }
    }

    /// The master's part.
    fn tend(&mut self, fleet: &mut MachineFleet) {
        let now = Time(self.now);
        let listens = self.replay.policy.told != Told::Nothing;
        for machine in self.machines.iter().filter(|machine| machine.ended.is_none()) {
            if machine.joins <= self.now {
                fleet.on_worker(Some(now), &machine.id, machine.going.is_some());
            }
            if listens && machine.has_heard {
                fleet.on_notice(now, &machine.id);
            }
        }
        let demand = Demand { backlog: (self.replay.trials - self.done) as u64, at_once: u64::MAX };
        if fleet.has_deadline() {
            fleet.on_work_left(self.now, &self.work_left());
        }
        let records = fleet.decide(now, self.now, demand);
        records.iter().for_each(|record| fleet.apply(now, record));
        for id in fleet.leave(now) {
            let found = self.machines.iter_mut().find(|machine| machine.id == id);
            found.into_iter().for_each(|machine| machine.leaving = true);
        }
        for call in fleet.calls(now, demand) {
            let records = match call {
                CloudCall::Launch(launch, _) => fleet.on_answer(now, launch.id(), self.launch(&launch)),
                CloudCall::Look => fleet.on_look(now, Some(self.shown()), demand),
                CloudCall::Terminate(ids) => {
                    ids.iter().for_each(|id| self.end(id));
                    Vec::new()
                }
                CloudCall::Console(_) => Vec::new(),
            };
            records.iter().for_each(|record| fleet.apply(now, record));
        }
    }

    fn launch(&mut self, launch: &Launch) -> LaunchAnswer {
        let started: Vec<MachineId> =
            (0..launch.count()).map_while(|_| self.start(launch.id(), launch.market(), 0)).collect();
        if started.is_empty() { LaunchAnswer::NoCapacity } else { LaunchAnswer::Started(started) }
    }

    /// A machine, if there is one, and one that lives so long.
    fn start(&mut self, launch: LaunchId, market: Market, least_ms: u64) -> Option<MachineId> {
        let (now, knows) = (self.now, self.fleet.is_none() && self.replay.policy.planner != Planner::Core);
        let held: Vec<usize> = self.living().map(|machine| machine.node).collect();
        let (node, taken) = match market {
            Market::OnDemand => (usize::MAX, u64::MAX),
            Market::Spot => self.supply.take(now, (&held, &mut self.rng), knows)?,
        };
        if taken.saturating_sub(now) < least_ms {
            return None;
        }
        let id = MachineId(format!("i-{:05}", self.machines.len()));
        let (hears, said) = match market {
            Market::Spot if !knows => self.notice(taken),
            _ => (u64::MAX, u64::MAX),
        };
        let stops = match self.replay.policy.told {
            _ if knows => taken.saturating_sub(SAVING.save_ms + SAVING.upload_ms),
            Told::Nothing => u64::MAX,
            Told::AtOnce => hears,
            Told::Twice | Told::AtTheEnd if hears == u64::MAX => u64::MAX,
            Told::Twice | Told::AtTheEnd => {
                let grace_ms = stop::preempt_grace_ms(said.saturating_sub(hears));
                hears + stop::notice_ms(grace_ms, SAVING.upload_ms)
            }
        };
        let machine = Machine {
            id: id.clone(),
            launch,
            market,
            node,
            started: now,
            joins: now + BOOT_MS,
            taken,
            stops,
            hears,
            has_heard: false,
            leaving: false,
            going: None,
            ended: None,
        };
        self.machines.push(machine);
        Some(id)
    }

    /// When a machine hears that it is taken, and when it is said to be: in time, late, never, or though it is not.
    fn notice(&mut self, taken: u64) -> (u64, u64) {
        let lead = match self.rng.random_range(0..100) {
            draw if draw < NOTICED.0 => Some(self.rng.random_range(108_000..=120_000)),
            draw if draw < NOTICED.0 + NOTICED.1 => Some(self.rng.random_range(5_000..60_000)),
            _ => None,
        };
        let real = lead.filter(|_| taken < u64::MAX).map(|lead| taken.saturating_sub(lead).max(self.now));
        let hours = -self.rng.random_range(f64::EPSILON..1.0_f64).ln() / FALSE_AN_HOUR;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours of a replay")]
        let false_one = self.now + (hours * 3.6e6) as u64;
        match real {
            Some(at) if at <= false_one => (at + POLL_MS, taken),
            _ if false_one < taken => (false_one + POLL_MS, false_one + 120_000),
            _ => (u64::MAX, u64::MAX),
        }
    }

    fn end(&mut self, id: &MachineId) {
        let now = self.now;
        let Some(place) = self.machines.iter().position(|machine| machine.id == *id) else { return };
        let machine = &mut self.machines[place];
        machine.ended.get_or_insert(now);
        if let Some(going) = machine.going.take() {
            self.busy_ms += now - going.since;
            self.comes_back(now + LEASE_MS, going.trial, going.kept_by(now));
        }
    }

    fn shown(&self) -> Vec<SeenMachine> {
        let shown = |machine: &&Machine| machine.ended.is_none_or(|ended| self.now - ended < SHOWN_MS);
        let seen = self.machines.iter().filter(shown).map(|machine| SeenMachine {
            id: machine.id.clone(),
            launch: machine.launch,
            ending: machine.ended.is_some(),
        });
        seen.collect()
    }

    /// Who knows the trace has as many machines as are of use, those that live longest, none for less than is worth it, and ends
    /// each at once that has nothing to do.
    fn tend_knowing(&mut self) {
        let Planner::Knowing { least_ms } = self.replay.policy.planner else { return };
        let backlog = self.replay.trials - self.done;
        let idle = |machine: &&mut Machine| machine.ended.is_none() && machine.going.is_none();
        let is_over = self.queue.is_empty() && self.back.is_empty();
        for machine in self.machines.iter_mut().filter(idle) {
            if is_over && (machine.joins <= self.now || backlog == 0) {
                machine.ended = Some(self.now);
            }
        }
        let living = self.living().count();
        let wanted = backlog.min(self.replay.machines as usize).saturating_sub(living);
        for _ in 0..wanted {
            if self.start(LaunchId(0), Market::Spot, BOOT_MS + least_ms).is_none() {
                return;
            }
        }
    }
}
