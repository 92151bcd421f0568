//! Workers come, speak and go.
//! Invariant: a `Hello` is the whole truth: what the master thought the worker held and it does not name was never delivered.

use std::collections::BTreeSet;

use super::Core;
use super::event::Event;
use super::step::{Conn, Effect};
use super::trial::Trial;
use super::worker::{Link, Worker};
use crate::id::{LeaseSeq, SweepId, Time, Token, TrialId, WorkerId};
use crate::protocol::{
    CannotRun, Hello, MAX_CANNOT_RUN, MasterUpdate, PROTOCOL, ToWorker, Welcome, WorkerUpdate,
};

/// As many as a worker may say.
fn bounded(mut cannot_run: Vec<CannotRun>) -> Vec<CannotRun> {
    cannot_run.truncate(MAX_CANNOT_RUN);
    cannot_run
}

impl Core {
    /// A worker connected and said who it is.
    pub(super) fn on_hello(&mut self, now: Time, conn: Conn, hello: Hello) {
        if hello.protocol != PROTOCOL {
            let why = format!(
                "this master speaks protocol {PROTOCOL}, the worker ({}) speaks {}: start both from the same release",
                hello.release, hello.protocol
            );
            self.out.effects.extend([Effect::Send(conn, ToWorker::Refused(why)), Effect::Hangup(conn)]);
            return;
        }
        let id = hello.worker;
        if !self.workers.get(&id).is_some_and(|worker| worker.joined) {
            self.emit(now, Event::Joined { worker: id, host: hello.host.clone() });
        }
        self.link(now, conn, &hello);
        self.on_machine(now, id, (hello.machine.clone(), hello.taken));
        self.given_up.on_health(id, &hello.host, &hello.health);
        let welcome = Welcome {
            epoch: self.epoch,
            ttl_ms: self.timing.ttl_ms,
            heartbeat_ms: self.timing.heartbeat_ms,
            orphan_after_ms: self.timing.orphan_after_ms,
        };
        self.out.effects.push(Effect::Send(conn, ToWorker::Welcome(welcome)));
        // The welcome is always followed by an update, even an empty one: it says that what the worker holds is confirmed.
        self.outbox(conn);
        self.compare(now, conn, id, &hello);
        for report in hello.reports {
            self.report(now, conn, id, report);
        }
    }

    fn link(&mut self, now: Time, conn: Conn, hello: &Hello) {
        let deadline = now.after_ms(self.timing.ttl_ms);
        let worker =
            self.workers.entry(hello.worker).or_insert_with(|| Worker::new(hello.host.clone(), deadline));
        worker.deadline = deadline;
        worker.draining = hello.draining;
        worker.health = hello.health.clone();
        worker.cannot_run = bounded(hello.cannot_run.clone());
        let link = Link {
            conn,
            capacity: hello.capacity,
            prefetch: hello.prefetch.min(MAX_PREFETCH),
            told: BTreeSet::new(),
        };
        if let Some(old) = worker.link.replace(link) {
            self.conns.remove(&old.conn);
            self.out.effects.push(Effect::Hangup(old.conn));
        }
        self.conns.insert(conn, hello.worker);
    }

    /// Holds what the worker says it holds against what the master thinks.
    fn compare(&mut self, now: Time, conn: Conn, id: WorkerId, hello: &Hello) {
        for &(token, _, trial) in &hello.held {
            if !self.confirm(now, id, token, trial) {
                self.outbox(conn).fenced.push(token.lease);
            } else if self.is_over(token.lease) {
                self.outbox(conn).cancel.push(token.lease);
            }
        }
        let named: BTreeSet<LeaseSeq> = hello
            .held
            .iter()
            .map(|(token, _, _)| token.lease)
            .chain(hello.reports.iter().map(|report| report.token.lease))
            .collect();
        let Some(worker) = self.workers.get(&id) else {
            return self.broken("a worker that has just connected is not there");
        };
        let undelivered: Vec<_> = worker
            .leases
            .iter()
            .filter(|(lease, _)| !named.contains(lease))
            .map(|(lease, held)| (*lease, *held))
            .collect();
        for (lease, held) in undelivered {
            self.release(id, lease, (held.sweep, held.pos), false);
        }
    }

    /// Whether the worker's token is the trial's current one. An expired lease that nobody else was granted stands again.
    fn confirm(&mut self, now: Time, id: WorkerId, token: Token, trial: TrialId) -> bool {
        let Some((sweep_id, pos)) = self.current(id, token) else { return false };
        let Some(sweep) = self.must_have(sweep_id) else { return false };
        if sweep.trial_id(pos) != trial {
            return false;
        }
        sweep.readopt(pos);
        if let Some(held) = self.held(sweep_id, pos, now)
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.hold(token.lease, held);
        }
        true
    }

    /// Whether the lease's sweep was closed, which its worker may not have heard.
    fn is_over(&self, lease: LeaseSeq) -> bool {
        let sweep = self.leases.get(&lease).and_then(|(sweep, _)| self.sweeps.get(sweep));
        sweep.is_some_and(|sweep| sweep.phase.is_closed())
    }

    /// The trial that `token` is the current token of, if `worker` is who holds it.
    pub(super) fn current(&self, worker: WorkerId, token: Token) -> Option<(SweepId, u64)> {
        let &(sweep, pos) = self.leases.get(&token.lease)?;
        let lease = self.sweeps.get(&sweep)?.trials.get(pos)?.lease()?;
        (lease.token == token && lease.worker == worker).then_some((sweep, pos))
    }

    /// A worker said something on its connection; what comes on an earlier one is not heard.
    pub(super) fn on_update(&mut self, now: Time, conn: Conn, update: WorkerUpdate) {
        let Some(&id) = self.conns.get(&conn) else { return };
        self.renew(now, conn);
        for report in update.reports {
            self.report(now, conn, id, report);
        }
        for (lease, step, value) in update.progress {
            self.progress(id, lease, (step, value));
        }
        if update.ping {
            self.outbox(conn);
        }
        let Some(worker) = self.workers.get_mut(&id) else {
            return self.broken("a worker that is connected is not there");
        };
        worker.draining |= update.draining;
        let is_taken = update.taken;
        if let Some(health) = update.health {
            self.given_up.on_health(id, &worker.host, &health);
            worker.health = health;
        }
        if let Some(cannot_run) = update.cannot_run {
            worker.cannot_run = bounded(cannot_run);
        }
        if let (Some(link), Some(prefetch)) = (worker.link.as_mut(), update.prefetch) {
            link.prefetch = prefetch.min(MAX_PREFETCH);
        }
        if is_taken {
            self.on_taken(now, id);
        }
        if update.bye {
            self.on_worker_lost(id, false);
            self.conns.remove(&conn);
            self.out.effects.push(Effect::Hangup(conn));
        }
    }

    fn progress(&mut self, id: WorkerId, lease: LeaseSeq, progress: (i64, f64)) {
        let Some(&(sweep, pos)) = self.leases.get(&lease) else { return };
        let Some(sweep) = self.must_have(sweep) else { return };
        let is_its = |trial: &Trial| trial.lease().is_some_and(|lease| lease.worker == id);
        if sweep.trials.get(pos).is_some_and(is_its) {
            sweep.trials.edit(pos, |trial| trial.progress = Some(progress));
        }
    }

    /// A connection ended: the worker may come back before its leases end.
    pub(super) fn on_disconnect(&mut self, conn: Conn) {
        let Some(id) = self.conns.remove(&conn) else { return };
        let Some(worker) = self.workers.get_mut(&id) else {
            return self.broken("a worker that was connected is not there");
        };
        worker.link = None;
        if worker.leases.is_empty() {
            self.workers.remove(&id);
        }
    }

    /// The worker is no more, as the fleet or its silence says; `lost`: it vanished while it held trials.
    pub(super) fn on_worker_lost(&mut self, id: WorkerId, lost: bool) {
        if lost {
            self.count_waste(id, None);
        }
        let Some(worker) = self.workers.remove(&id) else { return };
        if let Some(link) = &worker.link {
            self.conns.remove(&link.conn);
        }
        for (lease, held) in &worker.leases {
            self.release(id, *lease, (held.sweep, held.pos), lost);
        }
    }

    /// All workers of earlier epochs that have not come back are gone, and it was the master's end that took them along: those too
    /// whose leases expired before anybody could say so, because their grace was short and the start took long.
    pub(super) fn orphans_ended(&mut self) {
        let away: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| worker.link.is_none()).map(|(id, _)| *id).collect();
        for id in away {
            self.on_worker_lost(id, false);
        }
        self.sweeps.values_mut().for_each(|sweep| sweep.trials.forgive_expired());
    }

    /// Takes a lease from its worker: the trial may be granted to another.
    fn release(&mut self, id: WorkerId, lease: LeaseSeq, (sweep, pos): (SweepId, u64), lost: bool) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.unhold(lease);
        }
        if let Some(sweep) = self.must_have(sweep) {
            sweep.expire(pos, lost);
        }
        self.cancel_if_closed(sweep, pos);
    }

    /// Asks every worker to drain.
    pub(super) fn drain(&mut self, grace_ms: u64) {
        let conns: Vec<Conn> = self.conns.keys().copied().collect();
        for conn in conns {
            self.outbox(conn).drain_ms = Some(grace_ms);
        }
        for worker in self.workers.values_mut() {
            worker.draining = true;
        }
    }

    /// What will be sent to the worker behind `conn` at the end of the batch.
    pub(super) fn outbox(&mut self, conn: Conn) -> &mut MasterUpdate {
        self.outbox.entry(conn).or_default()
    }

    /// The connection of a worker, if it has one.
    pub(super) fn conn_of(&self, worker: WorkerId) -> Option<Conn> {
        self.workers.get(&worker)?.link.as_ref().map(|link| link.conn)
    }
}

/// The most trials that a worker may hold in advance.
const MAX_PREFETCH: u32 = 256;
