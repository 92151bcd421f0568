//! Events change the state: the one way in, live and on replay.
//! Invariant: applying cannot fail, and depends on nothing but the state, the event and, for timers, `now`.

use std::sync::Arc;

use super::Core;
use super::event::Event;
use super::person::seed;
use super::phase::SweepPhase;
use super::sweep::Sweep;
use super::worker::Worker;
use crate::id::{LeaseSeq, SweepId, Time};
use crate::points::Points;
use crate::protocol::FrozenSweep;

impl Core {
    /// Applies one event, live or from the journal. On replay `now` is the start, and what the journal cannot know
    /// (connections) is as if every worker were away.
    pub fn apply(&mut self, now: Time, event: &Event) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.apply_to_state(now, event);
        if let Some(sweep) = event.sweep() {
            self.with_sweep(sweep, |sweep| sweep.last_seq = seq);
        }
    }

    fn apply_to_state(&mut self, now: Time, event: &Event) {
        match event {
            Event::Began { epoch } => self.apply_began(now, *epoch),
            Event::Submitted { sweep, version, frozen } => self.apply_submitted(*sweep, *version, frozen),
            Event::Located { sweep, frozen } => {
                self.with_sweep(*sweep, |sweep| sweep.frozen = Arc::clone(frozen));
            }
            Event::Joined { worker, host } => {
                let known = self.workers.entry(*worker).or_insert_with(|| Worker::new(host.clone(), now));
                known.host.clone_from(host);
                known.joined = true;
                self.graces.remove(worker);
            }
            Event::Leased { sweep, pos, token, worker } => {
                self.apply_leased(now, *sweep, *pos, (*token, *worker))
            }
            Event::Ended(ended) => self.apply_ended(now, ended),
            Event::Known { sweep, known, .. } => self.with_sweep(*sweep, |sweep| {
                sweep.observed.join();
                sweep.join(known);
            }),
            Event::Passed { sweep, upto, excluded } => {
                self.with_sweep(*sweep, |sweep| sweep.pass(*upto, excluded));
            }
            Event::Distrusted { sweep, worker, positions } => self.with_sweep(*sweep, |sweep| {
                sweep.doubtful.entry(*worker).or_default().extend(positions);
            }),
            Event::Excused { sweep, worker } => self.with_sweep(*sweep, |sweep| sweep.excuse(*worker)),
            Event::Steered { sweep, phase } => self.apply_steered(*sweep, *phase),
            Event::Retried { sweep, positions } => {
                self.with_sweep(*sweep, |sweep| sweep.retry(positions));
            }
            Event::Fleet(record) => self.fleet.apply(now, record),
            Event::Observed { sweep, observation } => {
                self.with_sweep(*sweep, |sweep| sweep.observed.note(observation));
            }
        }
    }

    fn with_sweep(&mut self, id: SweepId, change: impl FnOnce(&mut Sweep)) {
        if let Some(sweep) = self.must_have(id) {
            change(sweep);
        }
    }

    fn apply_steered(&mut self, id: SweepId, phase: SweepPhase) {
        let Some(sweep) = self.sweeps.get_mut(&id) else {
            return self.broken("a sweep is steered that is not there");
        };
        let idle: Vec<LeaseSeq> = sweep
            .trials
            .iter()
            .filter(|(_, trial)| !trial.is_leased())
            .filter_map(|(_, trial)| trial.lease().map(|lease| lease.token.lease))
            .collect();
        sweep.steer(phase);
        if phase.is_closed() {
            for lease in idle {
                self.leases.remove(&lease);
            }
        }
        if sweep.is_active() {
            self.active.insert(id)
        } else {
            self.active.remove(&id)
        };
    }

    /// A version takes the place of the one before. What was held is ended before, unless the new version has it too.
    fn apply_submitted(&mut self, id: SweepId, version: u32, frozen: &Arc<FrozenSweep>) {
        let Ok(points) = Points::new(Arc::new(frozen.spec.clone())) else {
            return self.broken("a version was submitted whose points cannot be counted");
        };
        let mut sweep = Sweep::new(id, version, Arc::clone(frozen), points);
        if let Some(old) = self.sweeps.remove(&id) {
            self.carry_over(&old, &mut sweep);
        }
        self.sweeps.insert(id, sweep);
        self.active.insert(id);
    }

    /// Open trials of the same code that the new version has too go on there.
    fn carry_over(&mut self, old: &Sweep, new: &mut Sweep) {
        new.observed = old.observed.in_next(&old.frozen, &new.frozen);
        let same_code = old.frozen.code == new.frozen.code;
        for (pos, trial) in old.trials.iter() {
            let point = old.points.trial(old.points.index_at(pos));
            let (seed, near) = (seed(old, point.repeat), Some(point.index));
            let kept = new.points.index_of_near(&point.params, seed, near).filter(|_| same_code);
            let Some(index) = kept else {
                if let Some(lease) = trial.lease() {
                    self.leases.remove(&lease.token.lease);
                }
                continue;
            };
            let pos = new.points.pos_of(index);
            if let Some(lease) = trial.lease() {
                new.observed.join();
                self.leases.insert(lease.token.lease, (new.id, pos));
                if let Some(held) = self
                    .workers
                    .get_mut(&lease.worker)
                    .and_then(|worker| worker.leases.get_mut(&lease.token.lease))
                {
                    held.pos = pos;
                }
            }
            new.trials.carry(pos, trial);
        }
    }
}
