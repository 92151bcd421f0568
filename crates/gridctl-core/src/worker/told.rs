//! What the master says to a worker, and what the worker does about it.
//! Invariant: hearing a thing twice is hearing it once.

use std::sync::Arc;

use super::{GRACE_MS, HeldAttempt, WorkerProtocol};
use crate::attempt::StopReason;
use crate::id::{LeaseSeq, Time};
use crate::protocol::{Grant, MasterUpdate};
use crate::record::{Class, Report};

impl WorkerProtocol {
    pub(super) fn on_master_update(&mut self, now: Time, update: MasterUpdate) {
        for (sweep, version, frozen) in update.sweeps {
            let waiting = self.held.values_mut().filter(|held| held.place.is_none());
            for held in waiting.filter(|held| (held.grant.sweep, held.grant.version) == (sweep, version)) {
                held.sweep = Arc::clone(&frozen);
            }
            self.unrunnable.forget((sweep, version));
            self.sweeps.insert((sweep, version), frozen);
        }
        for lease in update.recorded {
            self.reports.remove(&lease);
            self.unsent.remove(&lease);
        }
        for lease in update.fenced {
            self.reports.remove(&lease);
            self.unsent.remove(&lease);
            self.stop(lease, StopReason::Fenced, 0);
        }
        for grant in update.grants {
            self.granted(now, grant);
        }
        for lease in update.cancel {
            self.stop(lease, StopReason::Cancelled, GRACE_MS);
        }
        if let Some(grace_ms) = update.drain_ms {
            self.drain(now, StopReason::Drained, grace_ms);
        }
        self.admit(now);
    }

    fn granted(&mut self, now: Time, grant: Grant) {
        let lease = grant.token.lease;
        if self.held.contains_key(&lease) || self.reports.contains_key(&lease) {
            return;
        }
        let known = self.sweeps.get(&(grant.sweep, grant.version)).map(Arc::clone);
        let refused = match &known {
            None => Some((Class::WorkerFault, "the master did not say what this trial's sweep is")),
            Some(_) if self.draining.is_some() => Some((Class::Drained, "the worker drains")),
            Some(_) if !self.config.capacity.could_hold(&grant.resources) => {
                Some((Class::WorkerFault, "the trial asks for more than this worker has"))
            }
            Some(_) => self.refusal((grant.sweep, grant.version)),
        };
        match (known, refused) {
            (Some(sweep), None) => {
                let held =
                    HeldAttempt { grant, sweep, place: None, placed: now, stopping: None, recalled: false };
                self.held.insert(lease, held);
            }
            (_, refused) => {
                let (class, why) = refused.unwrap_or((Class::WorkerFault, "the worker cannot hold it"));
                self.not_started(&grant, class, why);
            }
        }
    }

    /// Asks an attempt to stop. One that has not started has nothing to lose.
    pub(super) fn stop(&mut self, lease: LeaseSeq, reason: StopReason, grace_ms: u64) {
        let Some(held) = self.held.get_mut(&lease) else { return };
        if held.place.is_some() {
            if held.stopping.is_none() || reason == StopReason::Fenced {
                held.stopping = Some(reason);
                self.out.push(super::WorkerAction::Stop { lease, reason, grace_ms });
            }
            return;
        }
        let Some(held) = self.held.remove(&lease) else { return };
        if reason != StopReason::Fenced {
            self.not_started(&held.grant, reason.class(), "it had not started");
        }
    }

    /// Reports an attempt that nothing was started for.
    pub(super) fn not_started(&mut self, grant: &Grant, class: Class, why: &str) {
        let lease = grant.token.lease;
        let report = Report::without_process(grant.token, grant.trial, class, why);
        // A trial that the worker should never have been given costs budget, lest it go to and fro.
        let unbegun = class != Class::WorkerFault;
        self.reports.insert(lease, Report { unbegun, ..report });
        self.unsent.insert(lease);
    }
}
