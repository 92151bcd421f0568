//! One sweep's trials: what is settled, what is open, what comes next.
//! Invariant: below the cursor every position is settled or open, never both; above it only what was known before, or begun
//! in an earlier version; and, once `run_cap` has ended the sweep, what is excluded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::attempt_sums::{LeftOut, MachineFaults, Unsure};
use super::breaker::Breaker;
use super::event::Next;
use super::means::PartialMeans;
use super::observed::{Observed, SharedChanges};
use super::phase::SweepPhase;
use super::trial::{Lease, Trial, TrialPhase};
use super::trial_table::TrialTable;
use super::unread::AxisWatch;
use crate::id::{SweepId, Time, TrialId, WorkerId};
use crate::points::Points;
use crate::protocol::FrozenSweep;
use crate::record::TrialState;

/// How many of the last ends the forecast looks at.
pub(super) const ENDS_KEPT: usize = 256;

/// A sweep in its newest version.
#[derive(Debug)]
pub struct Sweep {
    pub(super) id: SweepId,
    pub(super) version: u32,
    pub(super) frozen: Arc<FrozenSweep>,
    pub(super) points: Points,
    pub(super) cursor: u64,
    pub(super) trials: TrialTable,
    pub(super) phase: SweepPhase,
    /// The best value of a point and the position of its trial; with repeats the mean, and the best repeat's.
    pub(super) best: Option<(f64, u64)>,
    /// Repeats of points that are not complete.
    pub(super) means: PartialMeans,
    /// The last trial that completed a point, and the point's value.
    pub(super) completed: Option<(u64, f64)>,
    pub(super) breaker: Breaker,
    /// Attempts that counted as failures.
    pub(super) failures: u64,
    /// Attempts that were lost with their machine.
    pub(super) lost: u64,
    /// What is missing from the results, if anything is.
    pub(super) left_out: Option<LeftOut>,
    /// Attempts whose output can be read in two ways.
    pub(super) unsure: Option<Unsure>,
    /// Attempts that a fault of their machine ended.
    pub(super) faults: Option<MachineFaults>,
    /// What was seen beside outcomes.
    pub(super) observed: Observed,
    pub(super) shared_changes: SharedChanges,
    pub(super) axes: AxisWatch,
    /// What drained workers failed, by position, one for each failure: in doubt until one of the trials succeeds elsewhere.
    pub(super) doubtful: BTreeMap<WorkerId, Vec<u64>>,
    /// The last event that was about it.
    pub(super) last_seq: u64,
    /// When the first trial of this epoch was granted.
    pub(super) begun: Option<Time>,
    /// When attempts ended in this epoch, the newest last.
    pub(super) ends: VecDeque<Time>,
}

impl Sweep {
    pub(super) fn new(id: SweepId, version: u32, frozen: Arc<FrozenSweep>, points: Points) -> Self {
        let axes = AxisWatch::new(&frozen.spec);
        Self {
            id,
            version,
            frozen,
            points,
            cursor: 0,
            trials: TrialTable::default(),
            phase: SweepPhase::Running,
            best: None,
            means: PartialMeans::default(),
            completed: None,
            breaker: Breaker::default(),
            failures: 0,
            lost: 0,
            left_out: None,
            unsure: None,
            faults: None,
            observed: Observed::default(),
            shared_changes: SharedChanges::default(),
            axes,
            doubtful: BTreeMap::new(),
            last_seq: 0,
            begun: None,
            ends: VecDeque::new(),
        }
    }

    /// Its number in this journal.
    #[must_use]
    pub fn id(&self) -> SweepId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.frozen.spec.name
    }

    /// Its newest version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All that the newest version says.
    #[must_use]
    pub fn frozen(&self) -> &Arc<FrozenSweep> {
        &self.frozen
    }

    /// The newest version's points.
    #[must_use]
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// Its phase.
    #[must_use]
    pub fn phase(&self) -> SweepPhase {
        self.phase
    }

    /// Where the trial at this place of the version stands.
    #[must_use]
    pub fn state_of(&self, index: u64) -> TrialState {
        let pos = self.points.pos_of(index);
        if let Some(trial) = self.trials.get(pos) {
            return if trial.is_leased() { TrialState::Leased } else { TrialState::Pending };
        }
        self.trials.settled().state(pos).unwrap_or(match self.phase {
            SweepPhase::Closed(_) => TrialState::Cancelled,
            _ => TrialState::Pending,
        })
    }

    pub(super) fn is_active(&self) -> bool {
        self.phase.is_active()
    }

    /// Trials that were begun or known.
    pub(super) fn touched(&self) -> u64 {
        let settled = self.trials.settled();
        let sets = [&settled.succeeded, &settled.failed, &settled.quarantined, &settled.cancelled];
        sets.iter().map(|set| set.len()).sum::<u64>() + self.trials.len() as u64
    }

    pub(super) fn lease(&mut self, pos: u64, lease: Lease) {
        // A trial that a version before had begun may stand ahead of the cursor, which must not jump there.
        if pos == self.cursor {
            self.cursor += 1;
        }
        self.trials.lease(pos, lease);
    }

    /// The lease's time is over: the trial may be granted again.
    pub(super) fn expire(&mut self, pos: u64, lost: bool) {
        if let Some(TrialPhase::Leased(lease)) = self.trials.get(pos).map(Trial::phase) {
            let lease = lease.clone();
            self.trials.set(pos, TrialPhase::Expired { lease, lost });
        }
    }

    /// Its holder is back before anybody else was granted the trial.
    pub(super) fn readopt(&mut self, pos: u64) {
        if let Some(TrialPhase::Expired { lease, .. }) = self.trials.get(pos).map(Trial::phase) {
            let lease = lease.clone();
            self.trials.set(pos, TrialPhase::Leased(lease));
        }
    }

    /// An attempt has ended. False if the trial is to be tried again and is not open.
    pub(super) fn end(&mut self, now: Time, pos: u64, next: &Next) -> bool {
        let Next::Again { tally, delay_ms, avoid } = next else {
            let Next::Done(state) = next else { return false };
            self.trials.settle(pos, *state);
            return true;
        };
        self.trials.edit(pos, |trial| {
            trial.tally = *tally;
            trial.avoid.clone_from(avoid);
        });
        let (until, delay_ms) = (now.after_ms(*delay_ms), *delay_ms);
        let waits = TrialPhase::Backoff { delay_ms, until, is_over: false };
        self.trials.set(pos, if delay_ms == 0 { TrialPhase::Ready } else { waits })
    }

    /// Whose failures are in doubt no more now that the trial has succeeded on `worker`: they were the machines' own.
    pub(super) fn to_excuse(&self, pos: u64, worker: WorkerId) -> Vec<WorkerId> {
        let doubtful =
            self.doubtful.iter().filter(|(other, failed)| **other != worker && failed.contains(&pos));
        doubtful.map(|(other, _)| *other).collect()
    }

    /// What this worker failed is held against no trial.
    pub(super) fn excuse(&mut self, worker: WorkerId) {
        for pos in self.doubtful.remove(&worker).unwrap_or_default() {
            self.failures = self.failures.saturating_sub(1);
            self.trials.edit(pos, |trial| trial.tally.excuse());
        }
    }

    pub(super) fn remember_end(&mut self, now: Time) {
        if self.ends.len() == ENDS_KEPT {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
    }

    pub(super) fn steer(&mut self, phase: SweepPhase) {
        if let SweepPhase::Paused(reason) = self.phase
            && reason.is_breaker()
            && phase.is_running()
        {
            self.breaker.overrule(!self.trials.settled().succeeded.is_empty());
        }
        if self.phase.is_closed() && phase.is_running() {
            let again: Vec<u64> = self.trials.settled().cancelled.iter().collect();
            self.retry(&again);
        }
        self.phase = phase;
        if phase.is_closed() {
            self.trials.close();
        }
    }

    pub(super) fn retry(&mut self, positions: &[u64]) {
        for &pos in positions {
            if self.points.repeats() > 1 {
                self.means.forget(self.points.point_of(self.points.index_at(pos)));
            }
            self.trials.retry(pos);
        }
    }

    /// The trial's id at this position.
    pub(super) fn trial_id(&self, pos: u64) -> TrialId {
        self.points.trial_id(self.points.index_at(pos))
    }
}
