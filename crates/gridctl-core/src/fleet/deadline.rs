//! When a deadline needs machines on demand: the rule of Uniform Progress (Wu et al., NSDI '24). Work that is behind a straight line
//! to the deadline is helped by machines on demand, until it is well ahead of the line again; and once only machines that nobody
//! takes away can make it, no others are started.
//! Unlike there, the line does not begin with the work, but when half of the time to spare has passed: in replays of real traces
//! that costs nothing where the spot market would have been enough, and no more than the other where it is not.
//! Invariant: the rule asks for nothing while the spot market is enough, and knows no more than what is left and what time it is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// From asking for a machine until a trial goes on there, in milliseconds: its start, its worker, a checkpoint fetched.
pub const CHANGEOVER_MS: u64 = 240_000;

/// Work that is left of sweeps whose trials take about the same time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkLeft {
    /// What each trial needs that runs, or that was begun and waits, in milliseconds.
    pub begun: Vec<u64>,
    /// Trials that were never begun.
    pub fresh: u64,
    /// What one of these takes, in milliseconds.
    pub trial_ms: u64,
    /// Trials at once, at most.
    pub at_once: u64,
}

impl WorkLeft {
    /// How long it takes if trials could be divided among all places, in milliseconds: the measure of progress, since it moves
    /// whenever anything is done.
    #[must_use]
    pub fn even_ms(&self) -> u64 {
        let begun = self.begun.iter().fold(0, |sum: u64, left| sum.saturating_add(*left));
        let fresh = self.fresh.saturating_mul(self.trial_ms);
        begun.saturating_add(fresh).checked_div(self.at_once).unwrap_or(0)
    }

    /// How long it takes if nothing is taken away from now on, in milliseconds: trials are not divided, and each begins as soon as
    /// a place is free.
    #[must_use]
    pub fn makespan_ms(&self) -> u64 {
        let trials = (self.begun.len() as u64).saturating_add(self.fresh);
        let places = usize::try_from(self.at_once.min(trials)).unwrap_or(usize::MAX);
        if places == 0 {
            return 0;
        }
        let mut busy: BinaryHeap<Reverse<u64>> = std::iter::repeat_n(Reverse(0), places).collect();
        let mut begun = self.begun.clone();
        begun.sort_unstable_by_key(|left| Reverse(*left));
        for left in begun {
            assign(&mut busy, left);
        }
        // Whole rounds move every place by one trial; what is uneven at first and at last is played.
        let width = places as u64;
        let played = if self.fresh > 3 * width { 2 * width + self.fresh % width } else { self.fresh };
        (0..played).for_each(|_| assign(&mut busy, self.trial_ms));
        let last = busy.into_iter().map(|Reverse(until)| until).max().unwrap_or(0);
        last.saturating_add(((self.fresh - played) / width).saturating_mul(self.trial_ms))
    }
}

/// The place that is free first has so much more to do.
fn assign(busy: &mut BinaryHeap<Reverse<u64>>, left: u64) {
    if let Some(Reverse(first)) = busy.pop() {
        busy.push(Reverse(first.saturating_add(left)));
    }
}

/// Which machines the deadline wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// The spot market is enough.
    #[default]
    Ahead,
    /// Machines on demand stand in for those that the spot market has not.
    Behind,
    /// Only machines that nobody takes away can make it.
    ToTheEnd,
}

/// A deadline, and how the work stands to it. Times are milliseconds of one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineRule {
    at: u64,
    /// From when the line goes, and how much was left before; not known before the first look.
    from: Option<(u64, u64)>,
    pace: Pace,
}

impl DeadlineRule {
    /// Everything is to be done at `at`.
    #[must_use]
    pub fn new(at: u64) -> Self {
        Self { at, from: None, pace: Pace::Ahead }
    }

    /// When everything is to be done.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What it wanted last.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// What it wants at `now`, when so much is left.
    pub fn step(&mut self, now: u64, work: &WorkLeft) -> Pace {
        let left_ms = work.even_ms();
        // More work than at the start, or trials that take longer than was thought: another line.
        let (from, whole) = *self
            .from
            .take_if(|(_, whole)| *whole >= left_ms)
            .get_or_insert((now + self.at.saturating_sub(now).saturating_sub(left_ms) / 2, left_ms));
        self.from = Some((from, whole));
        let room = self.at.saturating_sub(now);
        let expected = |at: u64| {
            let part = u128::from(whole) * u128::from(self.at.saturating_sub(at));
            u64::try_from(part / u128::from(self.at.saturating_sub(from).max(1))).unwrap_or(u64::MAX)
        };
        let is_late = |wanted: u64| left_ms > wanted;
        // Whoever is that late stays so until there is as much time again to spare.
        let spare = if self.pace == Pace::ToTheEnd { 4 } else { 2 };
        self.pace = if left_ms == 0 {
            Pace::Ahead
        } else if room < work.makespan_ms().saturating_add(spare * CHANGEOVER_MS) {
            Pace::ToTheEnd
        } else if is_late(expected(now))
            || (self.pace != Pace::Ahead && is_late(expected(now.saturating_add(2 * CHANGEOVER_MS))))
        {
            Pace::Behind
        } else {
            Pace::Ahead
        };
        self.pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    /// Trials one after the other, each to the place that is free first.
    fn played(work: &WorkLeft) -> u64 {
        let mut busy = vec![0_u64; usize::try_from(work.at_once).unwrap()];
        let mut begun = work.begun.clone();
        begun.sort_unstable();
        begun.reverse();
        for left in begun.into_iter().chain((0..work.fresh).map(|_| work.trial_ms)) {
            *busy.iter_mut().min().unwrap() += left;
        }
        busy.into_iter().max().unwrap()
    }

    #[test]
    fn what_is_left_takes_as_long_as_its_trials_one_after_the_other() {
        assert_eq!(WorkLeft::default().makespan_ms(), 0);
        for at_once in [1, 2, 5, 12] {
            for fresh in [0, 1, 11, 24, 25, 36, 37, 400] {
                for begun in [vec![], vec![7, 90], vec![100; 12], vec![3, 99, 50, 60, 1, 1]] {
                    let work = WorkLeft { begun, fresh, trial_ms: 100, at_once };
                    assert_eq!(work.makespan_ms(), played(&work), "{work:?}");
                }
            }
        }
        let huge = WorkLeft { begun: vec![u64::MAX; 2], fresh: 1 << 40, trial_ms: 3_600_000, at_once: 1_000 };
        assert_eq!(huge.makespan_ms(), u64::MAX, "it is bounded, and does not take for ever");
    }

    /// One trial that needs so many minutes.
    fn left(minutes: u64) -> WorkLeft {
        WorkLeft { begun: vec![minutes * MINUTE], fresh: 0, trial_ms: MINUTE, at_once: 1 }
    }

    #[test]
    fn work_behind_the_line_is_helped_until_it_is_well_ahead_of_it() {
        // 600 minutes of work within 900: from minute 150 on, four minutes of work in five.
        let mut rule = DeadlineRule::new(900 * MINUTE);
        let history = [
            ("at the start", 0, 600, Pace::Ahead),
            ("half of what there is to spare has passed", 150, 600, Pace::Ahead),
            ("a minute behind", 151, 600, Pace::Behind),
            ("behind", 200, 561, Pace::Behind),
            ("a little ahead", 204, 556, Pace::Behind),
            ("eight minutes ahead", 215, 540, Pace::Ahead),
            ("less ahead", 220, 540, Pace::Ahead),
            ("on the line", 225, 540, Pace::Ahead),
            ("nothing goes on for an hour", 285, 540, Pace::Behind),
            ("and for longer", 352, 540, Pace::Behind),
            ("now all of the time that is left is needed", 353, 540, Pace::ToTheEnd),
            ("little more than that", 360, 525, Pace::ToTheEnd),
            ("more", 361, 500, Pace::Behind),
            ("and it stands still", 890, 20, Pace::ToTheEnd),
            ("late", 950, 10, Pace::ToTheEnd),
            ("all is done", 951, 0, Pace::Ahead),
        ];
        for (name, now, minutes, pace) in history {
            assert_eq!(rule.step(now * MINUTE, &left(minutes)), pace, "{name}");
        }
    }

    #[test]
    fn trials_that_cannot_be_divided_count_for_the_end_and_not_for_the_line() {
        // Five trials of 100 minutes on four places: 125 minutes of work that take 200.
        let work = |begun: &[u64], fresh| WorkLeft {
            begun: begun.iter().map(|left| left * MINUTE).collect(),
            fresh,
            trial_ms: 100 * MINUTE,
            at_once: 4,
        };
        let mut rule = DeadlineRule::new(400 * MINUTE);
        assert_eq!(rule.step(0, &work(&[], 5)), Pace::Ahead);
        assert_eq!(rule.step(150 * MINUTE, &work(&[0, 50, 50, 50], 1)), Pace::Ahead);
        assert_eq!(rule.step(293 * MINUTE, &work(&[100], 0)), Pace::ToTheEnd);
    }

    #[test]
    fn more_work_than_at_the_start_begins_another_line() {
        let mut rule = DeadlineRule::new(900 * MINUTE);
        rule.step(0, &left(100));
        assert_eq!(rule.step(300 * MINUTE, &left(400)), Pace::Ahead, "the sweep has grown");
        assert_eq!(rule.step(400 * MINUTE, &left(400)), Pace::Ahead);
        assert_eq!(rule.step(401 * MINUTE, &left(400)), Pace::Behind);
    }
}
