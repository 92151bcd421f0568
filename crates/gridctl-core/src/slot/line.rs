//! A slot's line, as its worker keeps it: the attempt that goes on there, and the one behind it
//! that the slot starts at its end.
//! Invariant: the front alone gets signals. What is asked of an attempt behind it is done when that
//! begins; meanwhile the slot is asked to give it back.

use std::collections::VecDeque;

use super::{SlotRequest, Watch, Watchdog};
use crate::attempt::StopReason;
use crate::attempt::stop::{Step, Stop};
use crate::id::Time;

/// Attempts in line at once: one goes on, and one may wait for its end.
pub const LINE_LENGTH: usize = 2;

/// The line, with what the worker knows of each attempt in `T`.
#[derive(Debug)]
pub struct SlotLine<T> {
    attempts: VecDeque<InLine<T>>,
    watchdog: Watchdog,
}

/// An attempt in line.
#[derive(Debug)]
pub struct InLine<T> {
    /// Names it to the slot.
    pub id: u64,
    /// How far it is stopped.
    pub stop: Stop,
    /// Why, and with which grace in milliseconds, it is stopped as soon as it begins.
    at_begin: Option<(StopReason, u64)>,
    /// What the worker knows of it.
    pub attempt: T,
}

/// What the worker does next about its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineTodo {
    /// Says this to the slot.
    Tell(SlotRequest),
    /// Ends what runs below the slot, and then the slot.
    GiveUp(Unanswered),
}

/// Why a slot is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// It gave no sign.
    Ping,
    /// It told of no end after SIGKILL.
    Kill,
}

impl<T> SlotLine<T> {
    /// The empty line of a slot that has `silence_ms` for each answer.
    #[must_use]
    pub fn new(silence_ms: u64) -> Self {
        Self { attempts: VecDeque::new(), watchdog: Watchdog::new(silence_ms) }
    }

    /// Whether nothing goes on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Whether one more attempt may come.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.attempts.len() < LINE_LENGTH
    }

    /// The attempts, the one that goes on first.
    pub fn iter(&self) -> impl Iterator<Item = &InLine<T>> {
        self.attempts.iter()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut InLine<T>> {
        self.attempts.iter_mut()
    }

    /// The attempt that goes on.
    #[must_use]
    pub fn front(&self) -> Option<&InLine<T>> {
        self.attempts.front()
    }

    /// The same, to be changed.
    pub fn front_mut(&mut self) -> Option<&mut InLine<T>> {
        self.attempts.front_mut()
    }

    /// One more attempt, which the slot knows as `id`.
    pub fn push(&mut self, id: u64, attempt: T) {
        self.attempts.push_back(InLine { id, stop: Stop::default(), at_begin: None, attempt });
    }

    /// The slot said something, or another slot has taken its place.
    pub fn heard(&mut self) {
        self.watchdog.heard();
    }

    /// The attempt `id` is to stop for a reason within a grace in milliseconds, or, with neither,
    /// is asked back if it waits.
    pub fn order(&mut self, now: Time, id: u64, stop: Option<(StopReason, u64)>) -> Option<LineTodo> {
        let place = self.attempts.iter().position(|attempt| attempt.id == id)?;
        let attempt = self.attempts.get_mut(place)?;
        if place > 0 {
            attempt.at_begin = stop.or(attempt.at_begin);
            return Some(LineTodo::Tell(SlotRequest::Withdraw { id }));
        }
        let (reason, grace_ms) = stop?;
        attempt.stop.ask(now, reason, grace_ms).map(|step| todo(id, step))
    }

    /// The attempt `id` has ended or was given back: it leaves the line. True if it was the front:
    /// [`Self::begin`] is next.
    pub fn take(&mut self, id: u64) -> Option<(InLine<T>, bool)> {
        let place = self.attempts.iter().position(|attempt| attempt.id == id)?;
        self.attempts.remove(place).map(|attempt| (attempt, place == 0))
    }

    /// The front has begun: the order that is due, if it was to stop while it waited.
    pub fn begin(&mut self) -> Option<(u64, (StopReason, u64))> {
        let front = self.attempts.front_mut()?;
        Some((front.id, front.at_begin.take()?))
    }

    /// When the stopping of the front goes on.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.attempts.front().and_then(|front| front.stop.due())
    }

    /// What is due. Called every second or more often while an attempt goes on. `is_held` is asked
    /// when the slot is about to be given up: whether the kernel holds its process.
    pub fn look(&mut self, now: Time, is_held: impl FnOnce() -> bool) -> [Option<LineTodo>; 2] {
        let Some(front) = self.attempts.front_mut() else {
            self.watchdog.rests();
            return [None, None];
        };
        let step = front.stop.step(now).map(|step| todo(front.id, step));
        let watch = match self.watchdog.look(now, is_held) {
            Watch::Wait => None,
            Watch::Ask(number) => Some(LineTodo::Tell(SlotRequest::Ping { number })),
            Watch::GiveUp => Some(LineTodo::GiveUp(Unanswered::Ping)),
        };
        [step, watch]
    }

    /// The slot is lost: the line is empty from now on. What was in it, the front first.
    pub fn lose(&mut self) -> impl Iterator<Item = InLine<T>> + use<T> {
        std::mem::take(&mut self.attempts).into_iter()
    }
}

fn todo(id: u64, step: Step) -> LineTodo {
    match step {
        Step::Signal(signal) => LineTodo::Tell(SlotRequest::Signal { id, signal }),
        Step::GiveUp => LineTodo::GiveUp(Unanswered::Kill),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Option<(StopReason, u64)> = Some((StopReason::Cancelled, 50));

    fn line() -> SlotLine<&'static str> {
        let mut line = SlotLine::new(30_000);
        line.push(7, "first");
        line.push(8, "second");
        line
    }

    fn signal(id: u64, signal: i32) -> Option<LineTodo> {
        Some(LineTodo::Tell(SlotRequest::Signal { id, signal }))
    }

    #[test]
    fn the_front_is_stopped_and_given_up_in_the_end() {
        let mut line = line();
        assert!(!line.has_room());
        assert_eq!((line.order(Time(0), 9, STOP), line.order(Time(0), 7, None)), (None, None));
        assert_eq!(line.order(Time(0), 7, STOP), signal(7, 15));
        assert_eq!((line.due(), line.look(Time(49), || false)), (Some(Time(50)), [None, None]));
        assert_eq!(line.look(Time(50), || false)[0], signal(7, 9));
        line.heard();
        assert_eq!(line.look(Time(30_050), || false)[0], Some(LineTodo::GiveUp(Unanswered::Kill)));
        let lost: Vec<_> = line.lose().map(|attempt| attempt.attempt).collect();
        assert_eq!((lost, line.is_empty()), (vec!["first", "second"], true));
    }

    #[test]
    fn what_waits_is_asked_back_and_stopped_if_it_begins_all_the_same() {
        let mut line = line();
        let back = Some(LineTodo::Tell(SlotRequest::Withdraw { id: 8 }));
        assert_eq!(line.order(Time(0), 8, STOP), back);
        assert_eq!(line.order(Time(1), 8, None), back, "and the wish to stop it stands");
        assert_eq!(line.begin(), None, "nothing was asked of the front");
        let (first, was_front) = line.take(7).unwrap();
        assert_eq!((first.attempt, was_front), ("first", true));
        assert_eq!(line.begin(), Some((8, (StopReason::Cancelled, 50))));
        assert_eq!((line.begin(), line.order(Time(3), 8, STOP)), (None, signal(8, 15)));
        assert!(line.take(8).is_some_and(|(second, _)| second.stop.reason() == Some(StopReason::Cancelled)));
        assert!(line.take(8).is_none());
    }

    #[test]
    fn a_slot_is_watched_while_an_attempt_goes_on() {
        let mut line = line();
        let looks = |line: &mut SlotLine<_>, from: u64| {
            (from..).step_by(1_000).find_map(|ms| line.look(Time(ms), || false)[1].take())
        };
        assert_eq!(looks(&mut line, 0), Some(LineTodo::Tell(SlotRequest::Ping { number: 1 })));
        assert_eq!(looks(&mut line, 11_000), Some(LineTodo::GiveUp(Unanswered::Ping)));
        drop(line.lose());
        assert_eq!(line.look(Time(90_000), || false), [None, None], "an empty one may be silent");
    }
}
