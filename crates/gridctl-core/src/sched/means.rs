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
        let Some((value, wanted)) = objective.zip(self.frozen.spec.objective.as_ref()) else { return };
        let (goal, repeats) = (wanted.goal, self.points.repeats());
        let point = |sweep: &Self, pos: u64| sweep.points.point_of(sweep.points.index_at(pos));
        let (value, at) = if repeats == 1 {
            (value, pos)
        } else {
            let tried = point(self, pos);
            let Some(complete) = self.means.add(tried, value, (repeats, goal)) else { return };
            (complete.mean, self.points.pos_of(self.points.index_of_repeat(tried.0, complete.best_repeat)))
        };
        self.completed = Some((pos, value));
        let earlier = |other: u64| point(self, pos).0 < point(self, other).0;
        // Of equal points the earlier in the file's order is the best.
        if self.best.is_none_or(|(best, other)| goal.better(value, best) || (value == best && earlier(other)))
        {
            self.best = Some((value, at));
        }
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
