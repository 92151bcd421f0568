//! Whether a slot still answers: one that has been silent is asked, and one that does not answer is
//! given up.
//! Invariant: only time in which the worker itself was awake counts against a slot, and only while
//! the slot has work.

use crate::id::Time;

/// So long a slot that was asked may take to answer, in milliseconds of its worker's own waking
/// time.
pub const SILENCE_MS: u64 = 30_000;
/// A worker looks at its slots more often than this while they work, so that a longer pause was its
/// own: it was stopped, or its machine slept. In milliseconds.
const LONGEST_LOOK_MS: u64 = 1_000;
/// A slot that the kernel holds, since a file system does not answer it, say, has so many times as
/// long.
const HELD_FACTOR: u64 = 10;

/// What is to be done about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Nothing.
    Wait,
    /// Ask it for a sign: [`super::SlotRequest::Ping`] with this number.
    Ask(u64),
    /// It has not answered for too long: end what runs below it, and then it.
    GiveUp,
}

/// Watches one slot.
#[derive(Debug)]
pub struct Watchdog {
    silence_ms: u64,
    looked: Option<Time>,
    /// Waking time since the slot was last heard, or since it was asked.
    silent_ms: u64,
    asked: bool,
    number: u64,
}

impl Watchdog {
    /// For a slot that has `silence_ms` for each answer.
    #[must_use]
    pub fn new(silence_ms: u64) -> Self {
        Self { silence_ms, looked: None, silent_ms: 0, asked: false, number: 0 }
    }

    /// The slot said something, whatever it was, or is another one.
    pub fn heard(&mut self) {
        (self.silent_ms, self.asked) = (0, false);
    }

    /// The slot has nothing to do: it may be silent.
    pub fn rests(&mut self) {
        self.heard();
        self.looked = None;
    }

    /// For a slot that has work. `held` is asked when the slot is about to be given up: whether the
    /// kernel holds its process.
    pub fn look(&mut self, now: Time, held: impl FnOnce() -> bool) -> Watch {
        let since = self.looked.map_or(0, |looked| now.ms_since(looked));
        self.looked = Some(now);
        self.silent_ms += since.min(LONGEST_LOOK_MS);
        if !self.asked {
            if self.silent_ms < self.silence_ms / 3 {
                return Watch::Wait;
            }
            (self.asked, self.silent_ms) = (true, 0);
            self.number += 1;
            return Watch::Ask(self.number);
        }
        let is_over = self.silent_ms >= self.silence_ms
            && (self.silent_ms >= self.silence_ms.saturating_mul(HELD_FACTOR) || !held());
        if is_over { Watch::GiveUp } else { Watch::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every half second, until something is to be done; when that is.
    fn next(dog: &mut Watchdog, from: u64, held: bool) -> (u64, Watch) {
        let looks = (from..).step_by(500).map(|ms| (ms, dog.look(Time(ms), || held)));
        looks.into_iter().find(|(_, watch)| *watch != Watch::Wait).unwrap()
    }

    #[test]
    fn a_silent_slot_is_asked_once_and_given_up_thirty_seconds_later() {
        let mut dog = Watchdog::new(SILENCE_MS);
        assert_eq!(next(&mut dog, 0, false), (10_000, Watch::Ask(1)));
        assert_eq!(next(&mut dog, 10_000, false), (40_000, Watch::GiveUp));
    }

    #[test]
    fn a_slot_that_says_anything_is_asked_again_later() {
        let mut dog = Watchdog::new(SILENCE_MS);
        assert_eq!(next(&mut dog, 0, false), (10_000, Watch::Ask(1)));
        dog.look(Time(39_999), || false);
        dog.heard();
        assert_eq!(next(&mut dog, 40_000, false), (50_000, Watch::Ask(2)));
    }

    #[test]
    fn a_worker_that_was_stopped_or_suspended_does_not_blame_the_slot() {
        let mut dog = Watchdog::new(SILENCE_MS);
        assert_eq!(next(&mut dog, 0, false), (10_000, Watch::Ask(1)));
        for day in 1..20 {
            assert_eq!(dog.look(Time(day * 86_400_000), || false), Watch::Wait, "day {day}");
        }
    }

    #[test]
    fn a_slot_without_work_may_be_silent() {
        let mut dog = Watchdog::new(SILENCE_MS);
        assert_eq!(next(&mut dog, 0, false), (10_000, Watch::Ask(1)));
        dog.rests();
        assert_eq!(next(&mut dog, 3_600_000, false), (3_610_000, Watch::Ask(2)));
    }

    #[test]
    fn a_slot_that_the_kernel_holds_has_longer_but_not_for_ever() {
        let mut dog = Watchdog::new(SILENCE_MS);
        assert_eq!(next(&mut dog, 0, true), (10_000, Watch::Ask(1)));
        assert_eq!(next(&mut dog, 10_000, true), (310_000, Watch::GiveUp));
        let mut dog = Watchdog::new(SILENCE_MS);
        assert_eq!(next(&mut dog, 0, true), (10_000, Watch::Ask(1)));
        (10_000..100_000).step_by(500).for_each(|ms| assert_eq!(dog.look(Time(ms), || true), Watch::Wait));
        assert_eq!(next(&mut dog, 100_000, false), (100_000, Watch::GiveUp), "and is let go");
    }
}
