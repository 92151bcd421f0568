//! What the cursor of a sweep finds next, and how far `run_cap` lets it.
//! Invariant: a look is bounded, and changes nothing.

use super::sweep::Sweep;
use crate::spec::Order;

/// What the cursor found.
pub(super) struct Ahead {
    /// The cursor's new position: the next fresh trial, or as far as it looked.
    pub(super) upto: u64,
    /// Positions that are no points: (first, how many).
    pub(super) excluded: Vec<(u64, u64)>,
    /// A trial stands at `upto`.
    pub(super) found: bool,
    /// How many positions were looked at.
    pub(super) looked_at: u64,
}

impl Sweep {
    /// How many more trials `run_cap` lets the cursor find, or come upon where they are known: in the
    /// file's order the first ones of the file are meant, else as many as were not begun.
    fn room(&self) -> u64 {
        let Some(cap) = self.frozen.spec.run_cap else { return u64::MAX };
        let gone = match self.frozen.spec.order {
            Order::File => self.cursor - self.trials.settled().excluded.range_cardinality(..self.cursor),
            Order::Spread => self.touched(),
        };
        cap.saturating_sub(gone)
    }

    /// Whether the cursor has anything left to find.
    pub(super) fn has_fresh(&self) -> bool {
        self.cursor < self.points.len() && self.room() > 0
    }

    /// Looks for the next trial that was never begun, at `most` positions. `None`: there is nothing ahead.
    pub(super) fn look_ahead(&self, most: u64) -> Option<Ahead> {
        if !self.has_fresh() {
            return None;
        }
        let in_order = self.frozen.spec.order == Order::File;
        let (mut room, mut excluded) = (self.room(), Vec::new());
        let last = self.points.len().min(self.cursor.saturating_add(most));
        for pos in self.cursor..last {
            let looked_at = pos - self.cursor + 1;
            if !self.trials.is_fresh(pos) {
                room -= u64::from(in_order);
                if room == 0 {
                    return Some(Ahead { upto: pos + 1, excluded, found: false, looked_at });
                }
            } else if self.points.is_excluded(self.points.index_at(pos)) {
                add(&mut excluded, pos);
            } else {
                return Some(Ahead { upto: pos, excluded, found: true, looked_at });
            }
        }
        Some(Ahead { upto: last, excluded, found: false, looked_at: last - self.cursor })
    }

    /// What is excluded from the cursor on, behind what `run_cap` allows; none where there is more than
    /// `most` to look at.
    pub(super) fn excluded_beyond(&self, most: u64) -> Vec<(u64, u64)> {
        let mut excluded = Vec::new();
        if self.points.len() - self.cursor <= most {
            let open = |pos: &u64| self.trials.is_fresh(*pos);
            let positions = (self.cursor..self.points.len()).filter(open);
            let is_excluded = |pos: &u64| self.points.is_excluded(self.points.index_at(*pos));
            positions.filter(is_excluded).for_each(|pos| add(&mut excluded, pos));
        }
        excluded
    }

    pub(super) fn pass(&mut self, upto: u64, excluded: &[(u64, u64)]) {
        self.cursor = self.cursor.max(upto);
        for &(first, count) in excluded {
            self.trials.exclude(first, count);
        }
    }
}

/// Adds the next position to stretches of them.
fn add(stretches: &mut Vec<(u64, u64)>, pos: u64) {
    match stretches.last_mut() {
        Some((first, count)) if *first + *count == pos => *count += 1,
        _ => stretches.push((pos, 1)),
    }
}
