//! Attempts end: what a worker reports is taken if its token is the trial's, and then the one table says what follows.
//! Invariant: a report is answered by `recorded` or `fenced`, and a trial has one terminal record a generation.

use std::sync::Arc;

use super::Core;
use super::attempt_sums::{LeftOut, MachineFaults, Unsure};
use super::breaker::{self, FAST_MS};
use super::event::{Ended, Event, Next};
use super::phase::{CloseReason, PauseReason, SweepPhase};
use super::step::{Conn, Effect, Outcome};
use super::sweep::Sweep;
use super::trial::{Lease, TrialPhase};
use crate::attempt::{self, Budget, End};
use crate::id::{SweepId, Time, WorkerId};
use crate::metrics::ReadBy;
use crate::record::{Class, Record, Report, TrialState};
use crate::spec::Repeats;

impl Core {
    /// A worker reports how an attempt ended.
    pub(super) fn report(&mut self, now: Time, conn: Conn, worker: WorkerId, mut report: Report) {
        let lease = report.token.lease;
        let current = self.current(worker, report.token);
        let Some((sweep, pos)) = current.filter(|(sweep, pos)| self.is_about(*sweep, *pos, &report)) else {
            self.outbox(conn).fenced.push(lease);
            return;
        };
        self.correct(sweep, &mut report);
        if report.class == Class::Preempted {
            self.count_waste(worker, Some(lease));
        }
        let changed = std::mem::take(&mut report.changed);
        self.end(now, (sweep, pos), report);
        self.observe_changes(now, sweep, &changed);
        self.outbox(conn).recorded.push(lease);
    }

    fn is_about(&self, sweep: SweepId, pos: u64, report: &Report) -> bool {
        self.sweeps.get(&sweep).is_some_and(|sweep| sweep.trial_id(pos) == report.trial)
    }

    /// Takes back what a worker cannot say: only the master knows what is lost, fenced or cancelled.
    fn correct(&mut self, sweep: SweepId, report: &mut Report) {
        let Some(sweep) = self.must_have(sweep) else { return };
        let over = sweep.phase.is_closed();
        report.class = match report.class {
            Class::Succeeded if sweep.frozen.spec.objective.is_some() && report.objective.is_none() => {
                Class::NoMetric
            }
            Class::Lost | Class::Fenced => Class::WorkerFault,
            Class::Cancelled if !over => Class::WorkerFault,
            class => class,
        };
    }

    /// Ends the attempt that holds the trial.
    fn end(&mut self, now: Time, (sweep_id, pos): (SweepId, u64), report: Report) {
        let Some(sweep) = self.sweeps.get(&sweep_id) else {
            return self.broken("an attempt ends in a sweep that is not there");
        };
        let Some(lease) = sweep.trials.get(pos).and_then(|trial| trial.lease()).cloned() else {
            return self.broken("an attempt ends that holds no lease");
        };
        let next = follow(sweep, pos, &lease, &report);
        let event = ended((sweep_id, pos), &report, next.clone());
        self.trial_times.on_end((sweep_id, pos), &report, matches!(next, Next::Again { .. }));
        let seq = self.next_seq;
        let state = match next {
            Next::Done(state) => state,
            Next::Again { .. } => TrialState::Pending,
        };
        let record = Arc::new(record(sweep, pos, &lease, (state, report)));
        self.emit(now, event);
        self.out.outcomes.push(Outcome { seq, sweep: sweep_id, record: Arc::clone(&record) });
        self.observe_axes(now, sweep_id, &record);
        self.watch(now, sweep_id, pos, (&record, &lease));
    }

    /// What an attempt's end means beyond its trial: target, breakers.
    fn watch(&mut self, now: Time, sweep_id: SweepId, pos: u64, (record, lease): (&Record, &Lease)) {
        let hosts = self.hosts();
        let (class, fast) = (record.report.class, record.report.duration_ms < FAST_MS);
        let Some(sweep) = self.must_have(sweep_id) else { return };
        sweep.remember_end(now);
        let excused = if class == Class::Succeeded { sweep.to_excuse(pos, lease.worker) } else { Vec::new() };
        for worker in excused {
            self.emit(now, Event::Excused { sweep: sweep_id, worker });
        }
        let Some(sweep) = self.sweeps.get_mut(&sweep_id) else {
            return self.broken("an attempt has ended in a sweep that is not there");
        };
        let version = sweep.version;
        if !sweep.phase.is_running() {
            return;
        }
        if class == Class::Succeeded && reaches_target(sweep, pos) {
            self.close(now, sweep_id, CloseReason::TargetReached);
        } else if let Some(reason) = sweep.breaker.trip(hosts) {
            self.pause(now, sweep_id, reason);
        } else if !record.report.unbegun
            && let Some(worker) = self.workers.get_mut(&lease.worker)
            && worker.breaker.ended((sweep_id, version, pos), class, fast)
            && hosts > 1
        {
            let was_draining = std::mem::replace(&mut worker.draining, true);
            for ((sweep, version), positions) in worker.breaker.doubt() {
                if self.sweeps.get(&sweep).is_some_and(|sweep| sweep.version == version) {
                    self.emit(now, Event::Distrusted { sweep, worker: lease.worker, positions });
                }
            }
            if let Some(conn) = self.conn_of(lease.worker).filter(|_| !was_draining) {
                self.outbox(conn).drain_ms = Some(DRAIN_BROKEN_MS);
            }
        }
    }

    pub(super) fn pause(&mut self, now: Time, sweep: SweepId, reason: PauseReason) {
        let phase = SweepPhase::Paused(reason);
        self.emit(now, Event::Steered { sweep, phase });
        self.out.effects.push(Effect::Turned(sweep));
    }

    /// How many machines take part.
    fn hosts(&self) -> usize {
        let connected = self.workers.values().filter(|worker| worker.link.is_some());
        connected.map(|worker| worker.host.as_str()).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Ends the attempt whose lease has expired, because the trial is about to be granted again; false if the trial is
    /// settled by that.
    pub(super) fn end_expired(&mut self, now: Time, sweep_id: SweepId, pos: u64) -> bool {
        let Some(trial) = self.sweeps.get(&sweep_id).and_then(|sweep| sweep.trials.get(pos)) else {
            self.broken("a trial is ready that is not open");
            return false;
        };
        let TrialPhase::Expired { lost, .. } = trial.phase() else { return true };
        let class = if *lost { Class::Lost } else { Class::WorkerFault };
        self.end_as(now, sweep_id, pos, class);
        self.sweeps.get(&sweep_id).is_some_and(|sweep| sweep.trials.get(pos).is_some())
    }

    /// A sweep that is over keeps no trial whose worker is gone: the attempt ends as cancelled.
    pub(super) fn cancel_if_closed(&mut self, sweep_id: SweepId, pos: u64) {
        if self.sweeps.get(&sweep_id).is_some_and(|sweep| sweep.phase.is_closed()) {
            self.end_as(self.last_step, sweep_id, pos, Class::Cancelled);
        }
    }

    /// The report of an attempt whose worker says nothing any more.
    fn report_of_lost(&self, sweep: SweepId, pos: u64, lease: &Lease, class: Class) -> Option<Report> {
        let trial = self.sweeps.get(&sweep)?.trial_id(pos);
        let why = match class {
            Class::Lost => "the worker fell silent",
            Class::Cancelled => "the sweep needs it no more",
            _ => "the worker did not have it any more",
        };
        Some(Report::without_process(lease.token, trial, class, why))
    }

    /// Ends an attempt that the master itself takes back.
    pub(super) fn end_as(&mut self, now: Time, sweep: SweepId, pos: u64, class: Class) {
        let lease = self.sweeps.get(&sweep).and_then(|sweep| sweep.trials.get(pos)?.lease().cloned());
        match lease.and_then(|lease| self.report_of_lost(sweep, pos, &lease, class)) {
            Some(report) => self.end(now, (sweep, pos), report),
            None => self.broken("an attempt is taken back that holds no lease"),
        }
    }

    pub(super) fn apply_ended(&mut self, now: Time, ended: &Ended) {
        let Ended { sweep, pos, lease, class, next, fast, objective, left_out, doubt, fault } = ended;
        self.leases.remove(lease);
        let Some(sweep) = self.sweeps.get_mut(sweep) else {
            return self.broken("an attempt ended in a sweep that is not there");
        };
        if let Some(holder) = sweep.trials.get(*pos).and_then(|trial| trial.lease()).cloned() {
            if let Some(worker) = self.workers.get_mut(&holder.worker) {
                worker.unhold(*lease);
            }
            let settled = match next {
                Next::Done(state) => Some(*state),
                Next::Again { .. } => None,
            };
            let end = breaker::End { class: *class, fast: *fast, host: &holder.host, settled };
            sweep.breaker.ended(*pos, &end);
        }
        let is_open = sweep.end(now, *pos, next);
        sweep.score(*pos, *objective);
        LeftOut::add(&mut sweep.left_out, *pos, *left_out);
        Unsure::add(&mut sweep.unsure, *pos, doubt.as_ref());
        MachineFaults::add(&mut sweep.faults, *pos, fault.as_deref());
        sweep.failures += u64::from(Budget::of(*class) == Some(Budget::Failures));
        sweep.lost += u64::from(matches!(class, Class::Lost | Class::Preempted | Class::WorkerFault));
        if !is_open {
            self.broken("a trial is to be tried again that is not open");
        }
    }
}

/// From SIGTERM to SIGKILL on a machine that is drained because it fails whatever it is given.
const DRAIN_BROKEN_MS: u64 = 10_000;

/// A trial that ended without its metric waits so long at least while no trial has succeeded.
const NO_METRIC_WAIT_MS: u64 = 10_000;

/// The event of an attempt's end.
pub(super) fn ended((sweep, pos): (SweepId, u64), report: &Report, next: Next) -> Event {
    let has_succeeded = report.class == Class::Succeeded;
    let objective = report.objective.map(|value| value.0).filter(|value| value.is_finite());
    Event::Ended(Ended {
        sweep,
        pos,
        lease: report.token.lease,
        class: report.class,
        next,
        fast: report.duration_ms < FAST_MS,
        objective: objective.filter(|_| has_succeeded),
        left_out: report.left_out,
        doubt: report.doubts.first().filter(|_| has_succeeded).cloned(),
        fault: report.error.clone().filter(|_| report.class == Class::WorkerFault),
    })
}

/// What the table says follows this end.
pub(super) fn follow(sweep: &Sweep, pos: u64, lease: &Lease, report: &Report) -> Next {
    let Some(trial) = sweep.trials.get(pos) else { return Next::Done(TrialState::Cancelled) };
    let mut tally = trial.tally;
    let next = tally.count(&End::from(report), &sweep.frozen.spec.retry);
    let counted = Budget::of(report.class) == Some(Budget::Failures);
    let avoid = if counted { Some(lease.host.clone()) } else { trial.avoid.clone() };
    match next {
        attempt::Next::Done(state) => Next::Done(state),
        _ if sweep.phase.is_closed() => Next::Done(TrialState::Cancelled),
        attempt::Next::Front => Next::Again { tally, delay_ms: 0, avoid },
        attempt::Next::Backoff { base_ms } => {
            let seed = lease.token.lease.0 ^ u64::from(lease.token.epoch.0) << 40;
            let delay_ms = attempt::full_jitter(base_ms, seed);
            // Where none has printed the metric yet, others are tried first.
            let waits = report.class == Class::NoMetric && sweep.breaker.is_undecided();
            Next::Again {
                tally,
                delay_ms: if waits { delay_ms.max(NO_METRIC_WAIT_MS) } else { delay_ms },
                avoid,
            }
        }
    }
}

/// Whether the trial completed a point that is good enough: with repeats their mean must be.
fn reaches_target(sweep: &Sweep, pos: u64) -> bool {
    let Some(objective) = &sweep.frozen.spec.objective else { return false };
    let value =
        sweep.completed.filter(|(completed, _)| *completed == pos).map_or(f64::NAN, |(_, value)| value);
    objective.target.is_some_and(|target| value == target || objective.goal.better(value, target))
}

fn record(sweep: &Sweep, pos: u64, lease: &Lease, (state, report): (TrialState, Report)) -> Record {
    let index = sweep.points.index_at(pos);
    let trial = sweep.points.trial(index);
    let plain = sweep.frozen.spec.repeats == Repeats::Seeds(1);
    Record {
        sweep: sweep.name().to_owned(),
        version: sweep.version,
        index,
        params: trial.params,
        repeat: trial.repeat,
        point: if plain { report.trial } else { sweep.points.point_id(index) },
        code: sweep.frozen.code,
        generation: sweep.trials.generation(pos),
        state,
        worker: lease.worker,
        host: lease.host.clone(),
        read_by: ReadBy::of(&sweep.frozen.spec),
        known_from: None,
        computed_as: None,
        report,
    }
}
