//! The repeats of points that have been seen, until a point has all of them and so a mean.
//! Invariant: only finite values are kept, at most one a repeat, and of complete points none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sweep::Sweep;
use crate::leaderboard::mean;
use crate::spec::Goal;

/// Values by point, named by the index of its first repeat, and by repeat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PartialMeans(BTreeMap<u64, BTreeMap<u32, f64>>);

/// A point that has all of its repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Complete {
    pub(super) mean: f64,
    /// The repeat that did best; of several the first.
    pub(super) best_repeat: u32,
}

impl PartialMeans {
    /// Adds a value; the mean if the point is complete with it, summed in the order of repeats.
    pub(super) fn add(
        &mut self,
        (point, repeat): (u64, u32),
        value: f64,
        (repeats, goal): (u32, Goal),
    ) -> Option<Complete> {
        if !value.is_finite() {
            return None;
        }
        let seen = self.0.entry(point).or_default();
        seen.insert(repeat, value);
        if seen.len() < repeats as usize {
            return None;
        }
        let seen = self.0.remove(&point)?;
        let values: Vec<f64> = seen.values().copied().collect();
        let mut best: Option<(u32, f64)> = None;
        for (repeat, value) in seen {
            if best.is_none_or(|(_, known)| goal.better(value, known)) {
                best = Some((repeat, value));
            }
        }
        best.map(|(best_repeat, _)| Complete { mean: mean(&values), best_repeat })
    }

    /// Whether some of the point's repeats are known.
    pub(super) fn has(&self, point: u64) -> bool {
        self.0.contains_key(&point)
    }

    /// The repeat is tried again: what it was worth counts no more.
    pub(super) fn forget(&mut self, (point, repeat): (u64, u32)) {
        if let Some(seen) = self.0.get_mut(&point) {
            seen.remove(&repeat);
        }
    }
}

impl Sweep {
    /// A trial's objective is known: the point's value, once it is complete, may be the best.
    pub(super) fn score(&mut self, pos: u64, objective: Option<f64>) {
        let Some(value) = objective else { return };
        let mut means = std::mem::take(&mut self.means);
        let complete = self.complete(&mut means, pos, value);
        self.means = means;
        let Some(complete) = complete else { return };
        self.completed = Some((pos, complete.0));
        if self.beats(complete, self.best) {
            self.best = Some(complete);
        }
    }

    /// The value of the point that the trial at `pos` completes with `value`, and the position of the trial that stands for
    /// it; `means` has what its other repeats were worth. `None` if it does not complete it, or nothing ranks it.
    pub(super) fn complete(&self, means: &mut PartialMeans, pos: u64, value: f64) -> Option<(f64, u64)> {
        let goal = self.frozen.spec.objective.as_ref()?.goal;
        let repeats = self.points.repeats();
        if repeats == 1 {
            return Some((value, pos));
        }
        let tried = self.points.point_of(self.points.index_at(pos));
        let complete = means.add(tried, value, (repeats, goal))?;
        let index = self.points.index_of_repeat(tried.0, complete.best_repeat);
        Some((complete.mean, self.points.pos_of(index)))
    }

    /// Whether a point is better than another, each given as its value and its trial's position. Of equal points the earlier
    /// in the file's order is the best.
    pub(super) fn beats(&self, (value, at): (f64, u64), other: Option<(f64, u64)>) -> bool {
        let Some(wanted) = &self.frozen.spec.objective else { return false };
        let point = |pos: u64| self.points.point_of(self.points.index_at(pos)).0;
        other.is_none_or(|(best, other)| {
            wanted.goal.better(value, best) || (value == best && point(at) < point(other))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_comes_with_the_last_repeat_whatever_their_order() {
        let mut means = PartialMeans::default();
        let want = (3, Goal::Minimize);
        assert_eq!(means.add((7, 2), 0.3, want), None);
        assert_eq!(means.add((7, 0), f64::NAN, want), None);
        assert_eq!(means.add((8, 0), 1.0, want), None);
        assert_eq!(means.add((7, 1), 0.1, want), None);
        means.forget((7, 1));
        assert_eq!(means.add((7, 0), 0.1, want), None);
        let complete = means.add((7, 1), 0.2, want);
        assert_eq!(complete, Some(Complete { mean: (0.1 + 0.2 + 0.3) / 3.0, best_repeat: 0 }));
        assert_eq!(means.0.keys().collect::<Vec<_>>(), [&8]);
    }
}
