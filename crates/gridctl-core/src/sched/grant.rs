//! Grants: which trial goes to which worker.
//! Invariant: sweeps share the workers evenly by processors held, and within a sweep what was begun goes before what was not.

use super::Core;
use super::event::Event;
use super::sweep::Sweep;
use super::trial::{Lease, Trial, TrialPhase};
use super::worker::Worker;
use crate::id::{Fingerprint, LeaseSeq, SweepId, Time, Token, WorkerId};
use crate::points::Points;
use crate::protocol::Grant;
use std::sync::Arc;

/// How many trials of the queue are looked at for one that suits a worker.
const LOOKED_AT: usize = 64;
/// How many trials one step grants.
const GRANTS_A_STEP: usize = 4_096;
/// How many positions one step passes that are no fresh trials, and how much it evaluates for them; see [`Points::cost`].
const PASSED_A_STEP: u64 = 10_000;
const EVALUATED_A_STEP: u64 = 1 << 20;

/// What a step may still do. What is left over then is for the next step, which follows at once.
struct StepBudget {
    grants: usize,
    positions: u64,
    evaluation: u64,
}

impl StepBudget {
    fn full() -> Self {
        Self { grants: GRANTS_A_STEP, positions: PASSED_A_STEP, evaluation: EVALUATED_A_STEP }
    }

    /// How many positions of `points` may be looked at, at least one.
    fn positions_of(&self, points: &Points) -> u64 {
        self.positions.min(self.evaluation / points.cost()).max(1)
    }

    fn is_spent(&self) -> bool {
        self.grants == 0 || self.positions == 0 || self.evaluation == 0
    }

    fn spend_positions(&mut self, count: u64, points: &Points) {
        self.positions = self.positions.saturating_sub(count);
        self.evaluation = self.evaluation.saturating_sub(count.saturating_mul(points.cost()));
    }
}

/// How many positions of `points` one step may look at.
pub(super) fn looked_at(points: &Points) -> u64 {
    StepBudget::full().positions_of(points)
}

impl Core {
    /// Grants as many trials as the workers can hold.
    pub(super) fn grant(&mut self, now: Time) {
        if self.active.is_empty() {
            return;
        }
        let open: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| worker.is_open()).map(|(id, _)| *id).collect();
        let mut rest = open;
        let mut budget = StepBudget::full();
        // One trial for each worker in turn, so that the last trials are spread over the machines.
        while !rest.is_empty() && !budget.is_spent() {
            rest.retain(|id| budget.is_spent() || self.grant_one(now, *id, &mut budget));
        }
        self.unfinished |= budget.is_spent();
    }

    /// Grants one trial to this worker, if any suits it.
    fn grant_one(&mut self, now: Time, id: WorkerId, budget: &mut StepBudget) -> bool {
        let mut sweeps: Vec<(u64, SweepId)> = Vec::new();
        for sweep_id in self.active_sweeps() {
            if let Some(sweep) = self.sweeps.get(&sweep_id)
                && sweep.phase.is_running()
            {
                sweeps.push((
                    sweep.trials.leased() * u64::from(sweep.frozen.spec.resources.cpu_milli.max(1)),
                    sweep_id,
                ));
            }
        }
        sweeps.sort_unstable();
        for (_, sweep) in sweeps {
            let Some(worker) = self.workers.get(&id) else {
                self.broken("a worker that takes trials is not there");
                return false;
            };
            if !worker.is_open() {
                return false;
            }
            let fits = self.sweeps.get(&sweep).is_some_and(|sweep| {
                worker.fits(&sweep.frozen.spec.resources) && worker.why_not(sweep.id, sweep.version).is_none()
            });
            if fits && let Some(pos) = self.pick(now, (sweep, id), budget) {
                self.lease(now, sweep, pos, id);
                budget.grants -= 1;
                return true;
            }
        }
        false
    }

    /// The next trial of `sweep` that suits the worker; moves the cursor up to it, if it is fresh.
    fn pick(
        &mut self,
        now: Time,
        (sweep_id, id): (SweepId, WorkerId),
        budget: &mut StepBudget,
    ) -> Option<u64> {
        let worker = self.workers.get(&id)?;
        let sweep = self.sweeps.get(&sweep_id)?;
        let suits = |pos: &u64| {
            let Some(trial) = sweep.trials.get(*pos) else { return false };
            let elsewhere = trial
                .avoid
                .as_ref()
                .is_some_and(|host| *host == worker.host && self.has_other_host(host, sweep));
            !elsewhere && (!trial.goes_alone() || worker.leases.is_empty())
        };
        let ready = sweep.trials.ready().take(LOOKED_AT).find(suits);
        if let Some(pos) = ready {
            return self.end_expired(now, sweep_id, pos).then_some(pos);
        }
        let ahead = sweep.look_ahead(budget.positions_of(&sweep.points))?;
        // The trial that was found is a grant, and no position that was passed.
        budget.spend_positions(ahead.looked_at - u64::from(ahead.found), &sweep.points);
        if ahead.upto > sweep.cursor || !ahead.excluded.is_empty() {
            self.emit(now, Event::Passed { sweep: sweep_id, upto: ahead.upto, excluded: ahead.excluded });
        }
        self.unfinished |= !ahead.found;
        ahead.found.then_some(ahead.upto)
    }

    /// Whether a machine other than `host` takes trials of this sweep.
    fn has_other_host(&self, host: &str, sweep: &Sweep) -> bool {
        let suits = |worker: &Worker| {
            worker.could_ever_hold(&sweep.frozen.spec.resources)
                && worker.why_not(sweep.id, sweep.version).is_none()
        };
        let other = |worker: &Worker| worker.is_open() && worker.host != *host && suits(worker);
        self.workers.values().any(other)
    }

    fn lease(&mut self, now: Time, sweep_id: SweepId, pos: u64, id: WorkerId) {
        let Some(sweep) = self.must_have(sweep_id) else { return };
        let attempt = sweep.trials.get(pos).map_or(0, |trial| trial.attempt) + 1;
        let token = Token { epoch: self.epoch, lease: LeaseSeq(self.next_lease), attempt };
        self.emit(now, Event::Leased { sweep: sweep_id, pos, token, worker: id });
        let Some(sweep) = self.must_have(sweep_id) else { return };
        let point = sweep.points.trial(sweep.points.index_at(pos));
        let trial = sweep.trial_id(pos);
        let grant = Grant {
            token,
            sweep: sweep_id,
            version: sweep.version,
            trial,
            index: point.index,
            params: point.params,
            repeat: point.repeat,
            fingerprint: Fingerprint::of(trial, sweep.frozen.code),
            resources: sweep.frozen.spec.resources,
        };
        let (version, frozen) = (sweep.version, Arc::clone(&sweep.frozen));
        let Some(link) = self.workers.get_mut(&id).and_then(|worker| worker.link.as_mut()) else {
            return self.broken("a trial is granted to a worker that is away");
        };
        let conn = link.conn;
        if link.told.insert((sweep_id, version)) {
            self.outbox(conn).sweeps.push((sweep_id, version, frozen));
        }
        self.outbox(conn).grants.push(grant);
    }

    pub(super) fn apply_leased(
        &mut self,
        now: Time,
        sweep_id: SweepId,
        pos: u64,
        (token, id): (Token, WorkerId),
    ) {
        self.next_lease = self.next_lease.max(token.lease.0 + 1);
        let ttl_ms = self.timing.ttl_ms;
        let worker =
            self.workers.entry(id).or_insert_with(|| Worker::new(String::new(), now.after_ms(ttl_ms)));
        let host = worker.host.clone();
        let Some(sweep) = self.sweeps.get_mut(&sweep_id) else {
            return self.broken("a trial is leased in a sweep that is not there");
        };
        if let Some(TrialPhase::Expired { lease, .. }) = sweep.trials.get(pos).map(Trial::phase) {
            self.leases.remove(&lease.token.lease);
        }
        sweep.begun.get_or_insert(now);
        sweep.breaker.granted(pos);
        sweep.lease(pos, Lease { token, worker: id, host });
        self.leases.insert(token.lease, (sweep_id, pos));
        if let Some(held) = self.held(sweep_id, pos, now)
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.hold(token.lease, held);
        }
    }
}
