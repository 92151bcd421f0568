//! Time: when leases end, when backoffs are over, and what restarts and stalls of the master itself mean for them.
//! Invariant: only this master's monotonic clock counts, and its own lateness is never held against a worker.

use super::Core;
use super::step::{Conn, Effect};
use crate::id::{Epoch, SweepId, Time, WorkerId};

/// A worker that lives has dialled again within so many milliseconds of a master's start: it waits 5 s at most between two tries.
const DIAL_MS: u64 = 10_000;

impl Core {
    /// When the core wants a tick at the latest; `None` while nothing is timed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        if self.unfinished {
            return Some(self.last_step);
        }
        let leases =
            self.workers.values().filter(|worker| !worker.leases.is_empty() || worker.link.is_some());
        let active = self.active.iter().filter_map(|id| self.sweeps.get(id));
        let backoffs = active.filter_map(|sweep| sweep.trials.waits().next().map(|(until, _)| until));
        leases.map(|worker| worker.deadline).chain(backoffs).min()
    }

    /// Only renews the leases of the worker behind `conn`: for when nothing may be stepped because the disk is full.
    pub fn renew(&mut self, now: Time, conn: Conn) {
        if let Some(worker) = self.conns.get(&conn).and_then(|id| self.workers.get_mut(id)) {
            worker.deadline = now.after_ms(self.timing.ttl_ms);
        }
    }

    /// If this master itself was late by more than a quarter of a lease, every lease gets that time on top.
    pub(super) fn note_stall(&mut self, now: Time) {
        let late = now.ms_since(self.last_step);
        self.last_step = self.last_step.max(now);
        if late > self.timing.ttl_ms / 4 {
            for worker in self.workers.values_mut() {
                worker.deadline = worker.deadline.after_ms(late);
            }
        }
    }

    /// Workers whose leases end now: their trials may be granted to others.
    pub(super) fn expire(&mut self, now: Time) {
        let silent: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| worker.deadline <= now).map(|(id, _)| *id).collect();
        for id in silent {
            if let Some(link) = self.workers.get(&id).and_then(|worker| worker.link.as_ref()) {
                self.out.effects.push(Effect::Hangup(link.conn));
                let conn = link.conn;
                self.conns.remove(&conn);
            }
            self.on_worker_lost(id, true);
        }
    }

    pub(super) fn wake(&mut self, now: Time) {
        for id in &self.active {
            if let Some(sweep) = self.sweeps.get_mut(id) {
                sweep.trials.wake(now);
            }
        }
    }

    /// A master starts: whoever holds leases gets its grace, at most three leases' worth over restarts in a row without a word, and
    /// then what it takes to dial: masters that ended within seconds cannot have heard anybody.
    pub(super) fn apply_began(&mut self, now: Time, epoch: Epoch) {
        self.epoch = epoch;
        let most = self.timing.grace_ms.max(3 * self.timing.ttl_ms);
        self.workers.retain(|_, worker| !worker.leases.is_empty());
        self.graces.retain(|id, _| self.workers.contains_key(id));
        for (id, worker) in &mut self.workers {
            let had = self.graces.entry(*id).or_default();
            let grace = self.timing.grace_ms.max(self.timing.ttl_ms).min(most.saturating_sub(*had));
            *had += grace;
            worker.deadline = now.after_ms(grace.max(DIAL_MS));
            worker.link = None;
            worker.joined = false;
            worker.draining = false;
        }
        self.conns.clear();
    }

    /// The sweeps that something can be granted from.
    pub(super) fn active_sweeps(&self) -> Vec<SweepId> {
        self.active.iter().copied().collect()
    }
}
