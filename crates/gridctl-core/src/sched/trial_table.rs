//! The trials of a sweep: which are open and in which phase, which are settled and in which state.
//! Invariant: every position is open or settled or neither, and an open trial is in the one queue,
//! and counted, as its phase says: [`TrialTable::set`] and what it stands on are the only way to
//! another phase.

use std::collections::{BTreeMap, BTreeSet};

use super::known_trials::KnownTrials;
use super::settled::Settled;
use super::trial::{Lease, Trial, TrialPhase};
use crate::id::Time;
use crate::record::TrialState;

/// Trials by position of the walk.
#[derive(Debug, Default)]
pub(super) struct TrialTable {
    open: BTreeMap<u64, Trial>,
    settled: Settled,
    /// Open trials that may be granted now; they come before the cursor.
    ready: BTreeSet<u64>,
    /// Open trials that wait, by when they may be granted.
    backoff: BTreeSet<(Time, u64)>,
    /// How many trials are on lease.
    leased: u64,
    /// Generations of trials that were tried again after they had ended; 1 for all others.
    generations: BTreeMap<u64, u32>,
    /// How many attempts trials had that ended without success: if they are tried again, they count
    /// on from there.
    attempts: BTreeMap<u64, u32>,
}

/// What a snapshot keeps of the table.
#[derive(Debug, Default)]
pub(super) struct SavedTrials {
    pub(super) open: Vec<(u64, Trial)>,
    pub(super) settled: Settled,
    pub(super) generations: Vec<(u64, u32)>,
    pub(super) attempts: BTreeMap<u64, u32>,
}

impl TrialTable {
    /// The table that a snapshot was made of. What was on lease is on lease again, and waits begin
    /// anew.
    pub(super) fn restore(now: Time, saved: SavedTrials) -> Self {
        let SavedTrials { open, settled, generations, attempts } = saved;
        let generations = generations.into_iter().collect();
        let mut table = Self { settled, generations, attempts, ..Self::default() };
        for (pos, trial) in open {
            table.open(pos, trial.restored(now));
        }
        table
    }

    /// The open trial at a position.
    pub(super) fn get(&self, pos: u64) -> Option<&Trial> {
        self.open.get(&pos)
    }

    /// Every open trial, by position.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Trial)> {
        self.open.iter().map(|(pos, trial)| (*pos, trial))
    }

    /// How many trials are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// How many trials are on lease.
    pub(super) fn leased(&self) -> u64 {
        self.leased
    }

    /// Trials that may be granted now, in the walk's order.
    pub(super) fn ready(&self) -> impl Iterator<Item = u64> {
        self.ready.iter().copied()
    }

    /// When the waiting trials may be granted, in that order.
    pub(super) fn waits(&self) -> impl DoubleEndedIterator<Item = (Time, u64)> + ExactSizeIterator {
        self.backoff.iter().copied()
    }

    /// The settled trials.
    pub(super) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Whether the trial was neither begun nor known.
    pub(super) fn is_fresh(&self, pos: u64) -> bool {
        self.settled.state(pos).is_none() && !self.open.contains_key(&pos)
    }

    /// The generation of the trial.
    pub(super) fn generation(&self, pos: u64) -> u32 {
        let kept = || self.generations.get(&pos).copied().unwrap_or(1);
        self.open.get(&pos).map_or_else(kept, |trial| trial.generation)
    }

    /// Generations above 1.
    pub(super) fn generations(&self) -> &BTreeMap<u64, u32> {
        &self.generations
    }

    /// Attempts of trials that ended without success.
    pub(super) fn attempts(&self) -> &BTreeMap<u64, u32> {
        &self.attempts
    }

    /// The open trial is in this phase from now on. False if there is none.
    pub(super) fn set(&mut self, pos: u64, phase: TrialPhase) -> bool {
        let Some(trial) = self.open.get_mut(&pos) else { return false };
        let before = trial.enter(phase);
        self.leave(pos, &before);
        self.enter(pos);
        true
    }

    /// Changes what is counted of an open trial, which is not its phase.
    pub(super) fn edit(&mut self, pos: u64, change: impl FnOnce(&mut Trial)) {
        if let Some(trial) = self.open.get_mut(&pos) {
            change(trial);
        }
    }

    /// The trial is granted, for the first time or again.
    pub(super) fn lease(&mut self, pos: u64, lease: Lease) {
        let trial = self.open.entry(pos).or_insert_with(|| Trial::new(1));
        (trial.attempt, trial.progress) = (lease.token.attempt, None);
        self.set(pos, TrialPhase::Leased(lease));
    }

    /// Whoever held what has expired is not to blame for it.
    pub(super) fn forgive_expired(&mut self) {
        self.open.values_mut().for_each(Trial::forgive);
    }

    /// What has waited long enough may be granted.
    pub(super) fn wake(&mut self, now: Time) {
        while let Some(&(until, pos)) = self.backoff.first()
            && until <= now
        {
            self.backoff.pop_first();
            self.edit(pos, Trial::wake);
            self.enter(pos);
        }
    }

    /// The trial is settled.
    pub(super) fn settle(&mut self, pos: u64, state: TrialState) {
        if let Some(trial) = self.open.remove(&pos) {
            self.leave(pos, trial.phase());
            if trial.attempt > 0 && state != TrialState::Succeeded {
                self.attempts.insert(pos, trial.attempt);
            }
        }
        self.settled.insert(pos, state);
    }

    /// The trial begins another generation.
    pub(super) fn retry(&mut self, pos: u64) {
        self.settled.remove(pos);
        let generation = self.generations.entry(pos).or_insert(1);
        *generation += 1;
        let attempt = self.attempts.remove(&pos).unwrap_or(0);
        let mut trial = Trial::new(*generation);
        trial.attempt = attempt;
        self.open(pos, trial);
    }

    /// A trial of the version before goes on.
    pub(super) fn carry(&mut self, pos: u64, trial: &Trial) {
        if trial.generation > 1 {
            self.generations.insert(pos, trial.generation);
        }
        self.open(pos, trial.carried());
    }

    /// The sweep is over: what nobody holds is cancelled.
    pub(super) fn close(&mut self) {
        let idle = self.open.iter().filter(|(_, trial)| !trial.is_leased()).map(|(pos, _)| *pos);
        for pos in idle.collect::<Vec<_>>() {
            self.settle(pos, TrialState::Cancelled);
        }
        self.settled.optimize();
    }

    /// Trials are settled without an attempt.
    pub(super) fn join(&mut self, known: &KnownTrials) {
        self.settled.join(known);
    }

    /// So many positions from `first` on are no points.
    pub(super) fn exclude(&mut self, first: u64, count: u64) {
        self.settled.excluded.insert_range(first..first.saturating_add(count));
    }

    fn open(&mut self, pos: u64, trial: Trial) {
        if let Some(before) = self.open.insert(pos, trial) {
            self.leave(pos, before.phase());
        }
        self.enter(pos);
    }

    /// Takes a position out of what its phase put it into.
    fn leave(&mut self, pos: u64, phase: &TrialPhase) {
        match phase {
            TrialPhase::Ready | TrialPhase::Expired { .. } => _ = self.ready.remove(&pos),
            TrialPhase::Backoff { until, is_over, .. } => {
                if *is_over {
                    self.ready.remove(&pos);
                } else {
                    self.backoff.remove(&(*until, pos));
                }
            }
            TrialPhase::Leased(_) => self.leased -= 1,
        }
    }

    /// Puts a position into what its phase asks for.
    fn enter(&mut self, pos: u64) {
        match self.open.get(&pos).map(Trial::phase) {
            Some(TrialPhase::Backoff { until, is_over: false, .. }) => {
                self.backoff.insert((*until, pos));
            }
            Some(TrialPhase::Leased(_)) => self.leased += 1,
            Some(_) => _ = self.ready.insert(pos),
            None => {}
        }
    }
}
