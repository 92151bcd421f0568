//! How much work the sweeps have left, for a fleet with a deadline: what trials took so far, and how far those are that go on
//! elsewhere from a checkpoint.
//! Invariant: this is a forecast of this master alone and is not journalled; no trial's state follows from it.

use std::collections::BTreeMap;

use super::Core;
use super::worker::Held;
use crate::fleet::deadline::WorkLeft;
use crate::id::{SweepId, Time};
use crate::record::{Class, Report};

/// What trials took.
#[derive(Debug, Default)]
pub(super) struct TrialTimes {
    succeeded: u64,
    total_ms: u64,
    /// What earlier attempts did whose checkpoints moved on, in milliseconds.
    carried: BTreeMap<(SweepId, u64), u64>,
}

impl TrialTimes {
    /// An attempt has ended; whether its trial is tried again.
    pub(super) fn on_end(&mut self, trial: (SweepId, u64), report: &Report, is_again: bool) {
        let before = self.carried.remove(&trial).unwrap_or(0);
        let done = before.saturating_add(report.duration_ms);
        if report.class == Class::Succeeded {
            self.succeeded += 1;
            self.total_ms = self.total_ms.saturating_add(done);
        } else if is_again {
            let kept = if report.checkpoint_moved { done } else { before };
            if kept > 0 {
                self.carried.insert(trial, kept);
            }
        }
    }

    /// What a trial takes on average.
    fn mean_ms(&self) -> Option<u64> {
        self.total_ms.checked_div(self.succeeded)
    }

    fn carried(&self, trial: (SweepId, u64)) -> u64 {
        self.carried.get(&trial).copied().unwrap_or(0)
    }
}

impl Core {
    /// What is left to do for the fleet; `backlog` trials wait or run. Where no trial's time is known, it is as long as the longest
    /// that runs has run; `None` before one runs.
    pub(super) fn work_left(&self, now: Time, backlog: u64) -> Option<WorkLeft> {
        let setup = self.fleet.setup()?;
        let held = || self.workers.values().flat_map(|worker| worker.leases.values());
        let done = |held: &Held| {
            now.ms_since(held.since).saturating_add(self.trial_times.carried((held.sweep, held.pos)))
        };
        let known = self.trial_times.mean_ms().or(setup.trial_ms);
        let trial_ms = known.or_else(|| held().map(done).max())?.max(1);
        let running: Vec<u64> = held().map(|held| trial_ms.saturating_sub(done(held))).collect();
        let is_held = |trial: &(SweepId, u64)| held().any(|held| (held.sweep, held.pos) == *trial);
        let waiting = self.trial_times.carried.iter().filter(|(trial, _)| !is_held(trial));
        let waiting: Vec<u64> = waiting.map(|(_, kept)| trial_ms.saturating_sub(*kept)).collect();
        let fresh = backlog.saturating_sub(running.len() as u64).saturating_sub(waiting.len() as u64);
        let slots = setup.pools.iter().map(|pool| u64::from(pool.slots)).min().unwrap_or(1);
        let at_once = u64::from(self.fleet.working().1).saturating_mul(slots);
        Some(WorkLeft { begun: [running, waiting].concat(), fresh, trial_ms, at_once })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, LeaseSeq, Token, TrialId};

    #[test]
    fn what_checkpoints_kept_counts_for_the_trial_that_goes_on_from_them() {
        let trial = (SweepId(1), 7);
        let token = Token { epoch: Epoch(1), lease: LeaseSeq(1), attempt: 1 };
        let report = |class, duration_ms, checkpoint_moved| Report {
            duration_ms,
            checkpoint_moved,
            ..Report::without_process(token, TrialId([0; 10]), class, "")
        };
        let mut times = TrialTimes::default();
        assert_eq!(times.mean_ms(), None);
        times.on_end(trial, &report(Class::Preempted, 500, true), true);
        times.on_end(trial, &report(Class::Preempted, 90, false), true);
        times.on_end(trial, &report(Class::Preempted, 200, true), true);
        assert_eq!((times.carried(trial), times.mean_ms()), (700, None));
        times.on_end(trial, &report(Class::Succeeded, 300, true), false);
        times.on_end((SweepId(1), 8), &report(Class::Succeeded, 500, true), false);
        times.on_end((SweepId(1), 9), &report(Class::Failed, 1, true), false);
        assert_eq!((times.carried(trial), times.mean_ms()), (0, Some(750)));
    }
}
