//! One sweep's trials: what is settled, what is open, what comes next.
//! Invariant: below the cursor every position is settled or open, never both; above it only what was known before, or begun
//! in an earlier version; and, once `run_cap` has ended the sweep, what is excluded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::breaker::Breaker;
use super::event::Next;
use super::left_out::{LeftOut, Unsure};
use super::means::PartialMeans;
use super::observed::{Observed, SharedChanges};
use super::phase::SweepPhase;
use super::settled::Settled;
use super::trial::{Lease, Trial, TrialPhase};
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
    pub(super) settled: Settled,
    pub(super) open: BTreeMap<u64, Trial>,
    /// Open trials that may be granted now, in the walk's order; they come before the cursor.
    pub(super) ready: BTreeSet<u64>,
    /// Generations of trials that were tried again after they had ended; 1 for all others.
    pub(super) generations: BTreeMap<u64, u32>,
    /// How many attempts trials had that ended without success: if they are tried again, they count on from there.
    pub(super) attempts: BTreeMap<u64, u32>,
    pub(super) backoff: BTreeSet<(Time, u64)>,
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
    /// Trials on lease.
    pub(super) leased: u64,
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
            settled: Settled::default(),
            open: BTreeMap::new(),
            ready: BTreeSet::new(),
            generations: BTreeMap::new(),
            attempts: BTreeMap::new(),
            backoff: BTreeSet::new(),
            phase: SweepPhase::Running,
            best: None,
            means: PartialMeans::default(),
            completed: None,
            breaker: Breaker::default(),
            failures: 0,
            lost: 0,
            left_out: None,
            unsure: None,
            observed: Observed::default(),
            shared_changes: SharedChanges::default(),
            axes,
            doubtful: BTreeMap::new(),
            last_seq: 0,
            begun: None,
            leased: 0,
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
        if let Some(trial) = self.open.get(&pos) {
            return if trial.is_leased() { TrialState::Leased } else { TrialState::Pending };
        }
        self.settled.state(pos).unwrap_or(match self.phase {
            SweepPhase::Closed(_) => TrialState::Cancelled,
            _ => TrialState::Pending,
        })
    }

    pub(super) fn is_active(&self) -> bool {
        self.phase.is_active()
    }

    /// Trials that were begun or known.
    pub(super) fn touched(&self) -> u64 {
        let sets = [
            &self.settled.succeeded,
            &self.settled.failed,
            &self.settled.quarantined,
            &self.settled.cancelled,
        ];
        sets.iter().map(|set| set.len()).sum::<u64>() + self.open.len() as u64
    }

    pub(super) fn lease(&mut self, pos: u64, lease: Lease) {
        // A trial that a version before had begun may stand ahead of the cursor, which must not jump there.
        if pos == self.cursor {
            self.cursor += 1;
        }
        self.ready.remove(&pos);
        let trial = self.open.entry(pos).or_insert_with(|| Trial::new(1));
        // On replay nobody has woken it.
        if let TrialPhase::Backoff { until, .. } = trial.phase {
            self.backoff.remove(&(until, pos));
        }
        trial.attempt = lease.token.attempt;
        trial.progress = None;
        if !trial.is_leased() {
            self.leased += 1;
        }
        trial.phase = TrialPhase::Leased(lease);
    }

    /// The lease's time is over: the trial may be granted again.
    pub(super) fn expire(&mut self, pos: u64, lost: bool) {
        if let Some(trial) = self.open.get_mut(&pos)
            && let TrialPhase::Leased(lease) = &trial.phase
        {
            trial.phase = TrialPhase::Expired { lease: lease.clone(), lost };
            self.leased -= 1;
            self.ready.insert(pos);
        }
    }

    /// Whoever held what has expired is not to blame for it.
    pub(super) fn forgive_expired(&mut self) {
        for trial in self.open.values_mut() {
            if let TrialPhase::Expired { lost, .. } = &mut trial.phase {
                *lost = false;
            }
        }
    }

    /// Its holder is back before anybody else was granted the trial.
    pub(super) fn readopt(&mut self, pos: u64) {
        if let Some(trial) = self.open.get_mut(&pos)
            && let TrialPhase::Expired { lease, .. } = &trial.phase
        {
            trial.phase = TrialPhase::Leased(lease.clone());
            self.leased += 1;
            self.ready.remove(&pos);
        }
    }

    pub(super) fn end(&mut self, now: Time, pos: u64, next: &Next) {
        self.unhold(pos);
        match next {
            Next::Done(state) => self.settle(pos, *state),
            Next::Again { tally, delay_ms, avoid } => {
                let Some(trial) = self.open.get_mut(&pos) else { return };
                trial.tally = *tally;
                trial.avoid.clone_from(avoid);
                if *delay_ms == 0 {
                    trial.phase = TrialPhase::Ready;
                    self.ready.insert(pos);
                } else {
                    let until = now.after_ms(*delay_ms);
                    trial.phase = TrialPhase::Backoff { delay_ms: *delay_ms, until };
                    self.backoff.insert((until, pos));
                }
            }
        }
    }

    fn settle(&mut self, pos: u64, state: TrialState) {
        let attempts = self.open.remove(&pos).map_or(0, |trial| trial.attempt);
        if attempts > 0 && state != TrialState::Succeeded {
            self.attempts.insert(pos, attempts);
        }
        self.settled.insert(pos, state);
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
            if let Some(trial) = self.open.get_mut(&pos) {
                trial.tally.excuse();
            }
        }
    }

    /// Takes the trial out of the queues and counts that show how it is held.
    fn unhold(&mut self, pos: u64) {
        if self.open.get(&pos).is_some_and(Trial::is_leased) {
            self.leased -= 1;
        }
        self.ready.remove(&pos);
    }

    pub(super) fn remember_end(&mut self, now: Time) {
        if self.ends.len() == ENDS_KEPT {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
    }

    /// Backoffs that are over go to the queue.
    pub(super) fn wake(&mut self, now: Time) {
        while let Some(&(until, pos)) = self.backoff.first()
            && until <= now
        {
            self.backoff.pop_first();
            self.ready.insert(pos);
        }
    }

    pub(super) fn steer(&mut self, phase: SweepPhase) {
        if let SweepPhase::Paused(reason) = self.phase
            && reason.is_breaker()
            && phase.is_running()
        {
            self.breaker.overrule(!self.settled.succeeded.is_empty());
        }
        if self.phase.is_closed() && phase.is_running() {
            let again: Vec<u64> = self.settled.cancelled.iter().collect();
            self.retry(&again);
        }
        self.phase = phase;
        if phase.is_closed() {
            let idle: Vec<u64> =
                self.open.iter().filter(|(_, trial)| !trial.is_leased()).map(|(pos, _)| *pos).collect();
            for pos in idle {
                self.settle(pos, TrialState::Cancelled);
            }
            self.ready.clear();
            self.backoff.clear();
            self.settled.optimize();
        }
    }

    pub(super) fn retry(&mut self, positions: &[u64]) {
        for &pos in positions {
            self.settled.remove(pos);
            if self.points.repeats() > 1 {
                self.means.forget(self.points.point_of(self.points.index_at(pos)));
            }
            let generation = self.generations.entry(pos).or_insert(1);
            *generation += 1;
            let attempt = self.attempts.remove(&pos).unwrap_or(0);
            self.open.insert(pos, Trial { attempt, ..Trial::new(*generation) });
            self.ready.insert(pos);
        }
    }

    /// Puts what is open into the queues that its state asks for, after a snapshot was read.
    pub(super) fn requeue(&mut self, now: Time) {
        self.leased = 0;
        for (pos, trial) in &mut self.open {
            match &mut trial.phase {
                TrialPhase::Ready => {
                    self.ready.insert(*pos);
                }
                TrialPhase::Backoff { delay_ms, until } => {
                    *until = now.after_ms(*delay_ms);
                    self.backoff.insert((*until, *pos));
                }
                TrialPhase::Leased(lease) | TrialPhase::Expired { lease, .. } => {
                    trial.phase = TrialPhase::Leased(lease.clone());
                    self.leased += 1;
                }
            }
        }
    }

    /// The trial's id at this position.
    pub(super) fn trial_id(&self, pos: u64) -> TrialId {
        self.points.trial_id(self.points.index_at(pos))
    }
}
