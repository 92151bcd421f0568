//! What attempts may cost: they are finite, only grow, and a trial fails when its failures are used
//! up, and not before.
//! Invariant: it counts by itself, from events alone; of a trial that began in a version before, it
//! knows less and demands less.

use std::collections::{BTreeMap, BTreeSet};

use gridctl_core::attempt::{Budget, MAX_LOST, MAX_RELEASED};
use gridctl_core::id::{LeaseSeq, WorkerId};
use gridctl_core::record::{Class, TrialState};
use gridctl_core::sched::{Ended, Event, Next, SweepPhase};

use super::Violation;
use crate::trainer::MAX_FAILURES;

/// What this version of the sweep has spent, by position.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    spent: BTreeMap<u64, Spent>,
    /// The last attempt of each position.
    attempts: BTreeMap<u64, u32>,
    /// Attempts that their machine could not begin.
    not_begun: BTreeSet<LeaseSeq>,
    /// Attempts that counted against the budget for losses.
    paid: BTreeSet<LeaseSeq>,
    /// What drained workers failed.
    doubtful: BTreeMap<WorkerId, Vec<u64>>,
    /// How many failures were given back.
    pub(super) excused: u64,
}

/// What a generation of a trial has cost.
#[derive(Debug, Default)]
struct Spent {
    /// All of it is seen.
    whole: bool,
    attempts: u32,
    /// Less those that were given back.
    failures: u32,
    /// Of the budget for losses, up to its last end.
    lost: u8,
}

impl Budgets {
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Submitted { .. } => {
                let not_begun = std::mem::take(&mut self.not_begun);
                *self = Self { excused: self.excused, not_begun, ..Self::default() };
            }
            Event::Leased { pos, token, .. } => {
                let spent = self.spent.entry(*pos).or_default();
                spent.whole |= token.attempt == 1;
                spent.attempts += 1;
                let last = self.attempts.insert(*pos, token.attempt);
                promise!(
                    last < Some(token.attempt),
                    "attempt {} of position {pos} follows {last:?}",
                    token.attempt
                );
            }
            Event::Ended(Ended { pos, lease, class, next, .. }) => self.ended(*pos, *lease, *class, next)?,
            Event::Retried { positions, .. } => {
                self.spent
                    .extend(positions.iter().map(|pos| (*pos, Spent { whole: true, ..Spent::default() })));
            }
            // What was cancelled begins anew.
            Event::Steered { phase: SweepPhase::Closed(_), .. } => self.spent.clear(),
            Event::Distrusted { worker, positions, .. } => {
                self.doubtful.entry(*worker).or_default().extend(positions);
            }
            Event::Excused { worker, .. } => {
                for pos in self.doubtful.remove(worker).unwrap_or_default() {
                    self.excused += 1;
                    let spent = self.spent.entry(pos).or_default();
                    spent.failures = spent.failures.saturating_sub(1);
                    spent.lost = spent.lost.saturating_add(1);
                }
            }
            Event::Began { .. }
            | Event::Located { .. }
            | Event::Joined { .. }
            | Event::Fleet(_)
            | Event::Known { .. }
            | Event::Passed { .. }
            | Event::Observed { .. }
            | Event::Steered { .. } => {}
        }
        Ok(())
    }

    /// A worker is about to say that its machine could not begin this attempt.
    pub(super) fn not_begun(&mut self, lease: LeaseSeq) {
        self.not_begun.insert(lease);
    }

    /// It counted against the budget for losses.
    pub(super) fn has_paid(&self, lease: LeaseSeq) -> bool {
        self.paid.contains(&lease)
    }

    fn ended(&mut self, pos: u64, lease: LeaseSeq, class: Class, next: &Next) -> Result<(), Violation> {
        let spent = self.spent.entry(pos).or_default();
        if class == Class::WorkerFault && self.not_begun.contains(&lease) {
            spent.attempts = spent.attempts.saturating_sub(1);
            let costs = matches!(next, Next::Done(TrialState::Failed | TrialState::Quarantined));
            promise!(!costs, "position {pos} is given up because a machine could not begin it: {next:?}");
        }
        if let Next::Again { tally, .. } = next {
            if spent.whole && tally.lost > spent.lost {
                self.paid.insert(lease);
            }
            spent.lost = tally.lost;
        }
        spent.failures += u32::from(Budget::of(class) == Some(Budget::Failures));
        let most = 1 + MAX_FAILURES + u32::from(MAX_LOST) + u32::from(MAX_RELEASED);
        promise!(spent.attempts <= most, "position {pos} has had more than {most} attempts");
        let used_up = spent.failures > MAX_FAILURES;
        let follows = match next {
            Next::Again { .. } => !used_up,
            Next::Done(TrialState::Failed) => used_up || !spent.whole,
            Next::Done(_) => true,
        };
        promise!(follows, "position {pos} has spent {spent:?} after {class}, and then comes {next:?}");
        Ok(())
    }
}
