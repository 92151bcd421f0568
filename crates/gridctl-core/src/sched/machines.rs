//! The fleet of machines as part of the state machine: what the sweeps want of it, and which worker is on which machine.
//! Invariant: a call to the cloud leaves as an effect, after the record that it follows from; a master that was given no fleet
//! asks nothing of a cloud, whatever its journal says.

use super::Core;
use super::event::Event;
use super::step::{Answer, Effect, Request};
use super::sweep::Sweep;
use super::worker::Held;
use crate::fleet::machines::{
    Bill, Demand, FleetRecord, FleetSetup, Hold, LaunchAnswer, LaunchId, MICROS, MachineFleet, MachineId,
    Markets, SeenMachine,
};
use crate::id::{LeaseSeq, Time, WorkerId};
use crate::notice::Notice;
use crate::view::CostView;

/// From SIGTERM to SIGKILL on a machine that is not wanted any more.
const RETIRE_GRACE_MS: u64 = 60_000;

/// What a fleet's shell tells the core.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetInput {
    /// There is a shell, and this is what the fleet may do.
    Begin {
        /// What it may do.
        setup: FleetSetup,
        /// Milliseconds since 1970.
        wall_ms: u64,
    },
    /// Time went on.
    Tick {
        /// Milliseconds since 1970.
        wall_ms: u64,
    },
    /// The cloud has answered to a launch.
    Answered {
        /// The launch.
        launch: LaunchId,
        /// What became of it.
        answer: LaunchAnswer,
        /// Why not all machines were started, in the cloud's words.
        why: Option<String>,
    },
    /// The cloud was asked what there is; `None`: it did not say.
    Looked(Option<Vec<SeenMachine>>),
    /// What machines that never worked had to say, for people.
    Console(String),
    /// A person wants so many machines at most, and has looked at why machines never work, if they do not.
    Scale(Request, u32),
}

/// Why a fleet is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetOver {
    /// Its sweeps are.
    Sweeps,
    /// There is no money for the rest of them; the master's own machine costs some, too.
    Budget,
    /// Their deadline has passed.
    Deadline,
}

impl Core {
    pub(super) fn on_fleet(&mut self, now: Time, input: FleetInput) {
        match input {
            FleetInput::Begin { setup, wall_ms } => {
                if self.fleet.setup() != Some(&setup) {
                    self.record(now, FleetRecord::Set(setup));
                }
                self.fleet.resume(now, wall_ms);
                self.has_cloud = true;
            }
            FleetInput::Tick { wall_ms } if self.has_cloud => self.tend_machines(now, wall_ms),
            FleetInput::Tick { .. } => {}
            FleetInput::Answered { launch, answer, why } => {
                if let LaunchAnswer::Started(_) = answer {
                    self.trouble = None;
                }
                self.trouble = why.or(self.trouble.take());
                let records = self.fleet.on_answer(now, launch, answer);
                self.record_all(now, records);
            }
            FleetInput::Looked(seen) => {
                let demand = self.demand(now);
                let records = self.fleet.on_look(now, seen, demand);
                self.record_all(now, records);
            }
            FleetInput::Console(text) => self.trouble = Some(text),
            FleetInput::Scale(request, machines) => {
                if self.fleet.setup().is_some() {
                    self.record(now, FleetRecord::Scaled(machines));
                }
                self.fleet.on_resume();
                self.answer_fleet(request);
            }
        }
    }

    /// Touched: one fleet, or none.
    fn answer_fleet(&mut self, request: Request) {
        let touched = u64::from(self.fleet.setup().is_some());
        self.out.effects.push(Effect::Reply(request, Ok(Answer::Done(touched))));
    }

    fn record_all(&mut self, now: Time, records: Vec<FleetRecord>) {
        records.into_iter().for_each(|record| self.record(now, record));
    }

    fn record(&mut self, now: Time, record: FleetRecord) {
        let gone = match &record {
            FleetRecord::Gone(machine) => self.worker_on(machine).filter(|id| self.conn_of(*id).is_none()),
            _ => None,
        };
        if let Some(worker) = gone {
            // While the fleet still knows what the machine cost.
            self.on_worker_lost(worker, true);
        }
        self.emit(now, Event::Fleet(record));
    }

    /// The worker on this machine.
    fn worker_on(&self, machine: &MachineId) -> Option<WorkerId> {
        let on_it = self.workers.iter().find(|(_, worker)| worker.machine.as_ref() == Some(machine));
        on_it.map(|(id, _)| *id)
    }

    fn tend_machines(&mut self, now: Time, wall_ms: u64) {
        self.fleet.all_idle();
        for worker in self.workers.values() {
            let Some(machine) = &worker.machine else { continue };
            let heard = worker.link.as_ref().map(|_| now);
            self.fleet.on_worker(heard, machine, !worker.leases.is_empty());
        }
        let demand = self.demand(now);
        if self.fleet.has_deadline()
            && let Some(work) = self.work_left(now, demand.backlog)
        {
            self.fleet.on_work_left(wall_ms, &work);
        }
        let records = self.fleet.decide(now, wall_ms, demand);
        self.record_all(now, records);
        for machine in self.fleet.retire(now) {
            let Some(id) = self.worker_on(&machine) else { continue };
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.draining = true;
            }
            if let Some(conn) = self.conn_of(id) {
                self.outbox(conn).drain_ms = Some(RETIRE_GRACE_MS);
            }
        }
        for machine in self.fleet.leave(now) {
            // What runs there may end.
            let id = self.worker_on(&machine);
            id.and_then(|id| self.workers.get_mut(&id)).into_iter().for_each(|worker| worker.draining = true);
        }
        let calls = self.fleet.calls(now, demand);
        self.out.effects.extend(calls.into_iter().map(Effect::Cloud));
    }

    /// What the sweeps want of the fleet: a place for each trial that may run now or soon.
    fn demand(&self, now: Time) -> Demand {
        let of = |id| {
            let sweep = self.sweeps.get(id)?;
            let status = sweep.status(now);
            Some(if sweep.phase.is_running() { status.pending + status.leased } else { status.leased })
        };
        let backlog = self.sweeps.keys().filter_map(of).sum();
        Demand { backlog, at_once: u64::MAX }
    }

    /// A worker is on a machine: whoever was said to be there before is there no more.
    pub(super) fn on_machine(
        &mut self,
        now: Time,
        id: WorkerId,
        (machine, is_taken): (Option<String>, bool),
    ) {
        let Some(machine) = machine.map(MachineId) else { return };
        if let Some(before) = self.worker_on(&machine).filter(|before| *before != id) {
            if let Some(conn) = self.conn_of(before) {
                self.out.effects.push(Effect::Hangup(conn));
            }
            self.on_worker_lost(before, true);
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.machine = Some(machine);
        }
        if is_taken {
            self.on_taken(now, id);
        }
    }

    /// A worker says that its machine is to be taken away.
    pub(super) fn on_taken(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.draining = true;
        if let Some(machine) = &worker.machine {
            self.fleet.on_notice(now, machine);
        }
    }

    /// What a worker's attempts have cost that end with its machine.
    pub(super) fn count_waste(&mut self, id: WorkerId, attempts: Option<LeaseSeq>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let Some(machine) = &worker.machine else { return };
        let since = |held: &Held| self.last_step.ms_since(held.since);
        let slot_ms = match attempts {
            Some(lease) => worker.leases.get(&lease).map_or(0, since),
            // What waited behind others cost nothing.
            None => worker.leases.values().take(self.fleet.slots_of(machine)).map(since).sum(),
        };
        let machine = machine.clone();
        self.fleet.on_wasted(&machine, slot_ms);
    }

    /// What a person should know of the machines.
    pub(super) fn machine_notices(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let Some(setup) = self.fleet.setup().filter(|_| self.has_cloud) else { return notices };
        if let Some(hold) = self.fleet.hold()
            && hold != Hold::Machines
        {
            notices.push(Notice::NoMachines { hold, why: self.trouble.clone() });
        }
        let machines = self.fleet.on_demand_machines();
        if setup.markets == Markets::SpotThenOnDemand && machines > 0 {
            notices.push(Notice::MachinesOnDemand { machines });
        }
        notices
    }

    /// What the fleet has cost; `None` where there is none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "money and hours for people")]
    pub fn cost(&self, now: Time) -> Option<CostView> {
        let setup = self.fleet.setup()?;
        let dollars = |micros: u64| micros as f64 / MICROS as f64;
        let Bill { spent, on_demand, machine_ms, wasted, .. } = self.fleet.spent_until(0);
        let statuses: Vec<_> = self.sweeps.values().map(|sweep| sweep.status(now)).collect();
        let succeeded = statuses.iter().map(|status| status.succeeded).sum();
        let to_go =
            statuses.iter().map(|status| status.eta_s).try_fold(0.0, |most: f64, eta| Some(most.max(eta?)));
        let (per_hour, spent) = (dollars(self.fleet.price_now()), dollars(spent));
        let (working, most) = self.fleet.working();
        Some(CostView {
            spent,
            on_demand: dollars(on_demand),
            saved: dollars(on_demand) - spent,
            wasted: dollars(wasted),
            per_hour,
            machine_hours: machine_ms as f64 / 3_600_000.0,
            machines: self.fleet.machines() as u64,
            working,
            most,
            budget: setup.budget.map(dollars),
            succeeded,
            per_trial: (succeeded > 0).then(|| spent / succeeded as f64),
            at_end: to_go
                .filter(|_| !statuses.is_empty())
                .map(|seconds| spent + per_hour * seconds / 3_600.0),
            hold: self.fleet.hold(),
            trouble: self.trouble.clone(),
        })
    }

    /// Whether no machine lives or is on its way, and none will be wanted any more.
    #[must_use]
    pub fn fleet_over(&self, now: Time) -> Option<FleetOver> {
        let is_over = |sweep: &Sweep| sweep.status(now).state.is_over();
        if !self.fleet.is_empty() {
            None
        } else if !self.sweeps.is_empty() && self.sweeps.values().all(is_over) {
            Some(FleetOver::Sweeps)
        } else {
            let is_late = self.fleet.is_late().then_some(FleetOver::Deadline);
            self.fleet.has_spent_all().then_some(FleetOver::Budget).or(is_late)
        }
    }

    /// The fleet, for whoever asks what it costs.
    #[must_use]
    pub fn fleet(&self) -> &MachineFleet {
        &self.fleet
    }

    /// What went wrong with machines last, in the cloud's or their own words.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
