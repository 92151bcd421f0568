//! How an attempt is stopped: a notice if its machine is taken, SIGTERM, its grace, SIGKILL, and at
//! last the slot itself. Time is an argument.
//! Invariant: every attempt that was asked to stop ends within a bound, whatever the trainer does
//! about it.

use super::StopReason;
use crate::id::Time;

/// After SIGKILL the kernel may need a while for a process; a slot that says nothing for so long is
/// given up, in milliseconds.
const GIVE_UP_MS: u64 = 30_000;
/// A trainer whose machine is being taken has until so long before SIGKILL for the notice alone, in
/// milliseconds; then SIGTERM comes. It comes earlier if checkpoints take longer to publish.
const PREEMPT_TERM_MS: u64 = 15_000;
/// SIGKILL comes so long before the machine goes, in milliseconds: what is left is published.
const KILL_BEFORE_MS: u64 = 20_000;
/// SIGKILL comes no earlier than so long after the notice, in milliseconds, however late that was.
const LEAST_GRACE_MS: u64 = 10_000;

/// How long a trainer has whose machine goes in `lead_ms`.
#[must_use]
pub fn preempt_grace_ms(lead_ms: u64) -> u64 {
    lead_ms.saturating_sub(KILL_BEFORE_MS).max(LEAST_GRACE_MS)
}

/// How long it has for the notice alone, if its last checkpoint took `upload_ms` to publish.
#[must_use]
pub fn notice_ms(grace_ms: u64, upload_ms: u64) -> u64 {
    grace_ms.saturating_sub(PREEMPT_TERM_MS.max(upload_ms))
}

/// SIGTERM's number.
const SIGTERM: i32 = 15;
/// SIGKILL's number.
const SIGKILL: i32 = 9;

/// What to do about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this signal to its process group.
    Signal(i32),
    /// End the slot, for it does not answer.
    GiveUp,
}

/// Where the stopping of one attempt stands.
#[derive(Debug, Default)]
pub struct Stop {
    reason: Option<StopReason>,
    /// When SIGTERM is due, until it is sent.
    term_at: Option<Time>,
    kill_at: Option<Time>,
    give_up_at: Option<Time>,
    /// How long its last checkpoint took to publish, in milliseconds.
    upload_ms: u64,
}

impl Stop {
    /// Why it was asked to stop.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason
    }

    /// Whether SIGKILL was sent.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.give_up_at.is_some()
    }

    /// Its last checkpoint took so long to publish.
    pub fn uploads_take(&mut self, upload_ms: u64) {
        self.upload_ms = upload_ms;
    }

    /// It is to stop for `reason` within `grace_ms`; the first reason stands, except that a fenced
    /// attempt is fenced. The first step, if there is one.
    pub fn ask(&mut self, now: Time, reason: StopReason, grace_ms: u64) -> Option<Step> {
        let first = self.reason.is_none();
        if first || reason == StopReason::Fenced {
            self.reason = Some(reason);
        }
        let notice_ms = if reason == StopReason::Preempted { notice_ms(grace_ms, self.upload_ms) } else { 0 };
        let (term_at, kill_at) = (now.after_ms(notice_ms), now.after_ms(grace_ms));
        self.term_at = if first { Some(term_at) } else { self.term_at.map(|earlier| earlier.min(term_at)) };
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
        self.step(now)
    }

    /// When the next step is due.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.give_up_at.or(self.term_at).or(self.kill_at)
    }

    /// The step that is due at `now`.
    pub fn step(&mut self, now: Time) -> Option<Step> {
        if let Some(give_up_at) = self.give_up_at {
            return (now >= give_up_at).then_some(Step::GiveUp);
        }
        if self.kill_at.is_some_and(|kill_at| now >= kill_at) {
            self.give_up_at = Some(now.after_ms(GIVE_UP_MS));
            return Some(Step::Signal(SIGKILL));
        }
        self.term_at.take_if(|term_at| now >= *term_at).map(|_| Step::Signal(SIGTERM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_does_not_stop_is_stopped() {
        let mut stop = Stop::default();
        assert_eq!((stop.due(), stop.step(Time(0))), (None, None));
        assert_eq!(stop.ask(Time(100), StopReason::Cancelled, 50), Some(Step::Signal(15)));
        assert_eq!((stop.due(), stop.step(Time(149))), (Some(Time(150)), None));
        assert_eq!(stop.step(Time(150)), Some(Step::Signal(9)));
        assert!(stop.killed());
        assert_eq!(stop.step(Time(150 + GIVE_UP_MS - 1)), None);
        assert_eq!(stop.step(Time(150 + GIVE_UP_MS)), Some(Step::GiveUp));
    }

    #[test]
    fn the_notice_that_a_machine_is_taken_comes_long_before_sigterm() {
        let mut stop = Stop::default();
        assert_eq!(stop.ask(Time(0), StopReason::Preempted, 100_000), None);
        assert_eq!((stop.reason(), stop.due()), (Some(StopReason::Preempted), Some(Time(85_000))));
        assert_eq!((stop.step(Time(84_999)), stop.step(Time(85_000))), (None, Some(Step::Signal(15))));
        assert_eq!((stop.due(), stop.step(Time(99_999))), (Some(Time(100_000)), None));
        assert_eq!(stop.step(Time(100_000)), Some(Step::Signal(9)));
        let mut stop = Stop::default();
        assert_eq!(stop.ask(Time(0), StopReason::Preempted, 15_000), Some(Step::Signal(15)), "a short one");
        let mut stop = Stop::default();
        assert_eq!(stop.ask(Time(0), StopReason::Preempted, 100_000), None);
        assert_eq!(
            stop.ask(Time(9), StopReason::Cancelled, 50),
            Some(Step::Signal(15)),
            "somebody else asks"
        );
        assert_eq!((stop.due(), stop.step(Time(58))), (Some(Time(59)), None));
    }

    #[test]
    fn what_a_notice_leaves_is_shared_between_work_saving_and_publishing() {
        // SIGTERM 35 s before the end, SIGKILL 20 s before it; SIGTERM earlier where uploads are slow.
        let cases = [
            ("in time", 120_000, 0, (85_000, 100_000)),
            ("a slow upload", 120_000, 60_000, (40_000, 100_000)),
            ("one that takes too long", 120_000, 600_000, (0, 100_000)),
            ("late", 40_000, 0, (5_000, 20_000)),
            ("too late", 10_000, 0, (0, 10_000)),
            ("in the past", 0, 5_000, (0, 10_000)),
        ];
        for (name, lead, upload, (term, kill)) in cases {
            let mut stop = Stop::default();
            stop.uploads_take(upload);
            let first = stop.ask(Time(0), StopReason::Preempted, preempt_grace_ms(lead));
            assert_eq!(first, (term == 0).then_some(Step::Signal(15)), "{name}");
            if term > 0 {
                assert_eq!(
                    (stop.due(), stop.step(Time(term))),
                    (Some(Time(term)), Some(Step::Signal(15))),
                    "{name}"
                );
            }
            assert_eq!(
                (stop.due(), stop.step(Time(kill))),
                (Some(Time(kill)), Some(Step::Signal(9))),
                "{name}"
            );
        }
        let mut stop = Stop::default();
        stop.ask(Time(0), StopReason::Preempted, preempt_grace_ms(120_000));
        stop.ask(Time(50), StopReason::Preempted, preempt_grace_ms(120_000));
        assert_eq!(stop.due(), Some(Time(85_000)), "a second notice changes nothing");
    }

    #[test]
    fn the_first_reason_stands_and_the_earliest_end() {
        use StopReason::{Cancelled, Drained, Fenced, Timeout};
        let cases = [
            ("a second, longer grace changes nothing", vec![(Timeout, 10), (Drained, 1000)], Timeout, 10),
            ("a second, shorter one does", vec![(Drained, 1000), (Cancelled, 10)], Drained, 10),
            ("fenced goes before everything", vec![(Drained, 1000), (Fenced, 20)], Fenced, 20),
        ];
        for (name, asks, reason, due) in cases {
            let mut stop = Stop::default();
            let steps: Vec<_> =
                asks.into_iter().map(|(reason, grace)| stop.ask(Time(0), reason, grace)).collect();
            assert_eq!(steps, [Some(Step::Signal(15)), None], "{name}");
            assert_eq!((stop.reason(), stop.due()), (Some(reason), Some(Time(due))), "{name}");
        }
        let mut stop = Stop::default();
        assert_eq!(stop.ask(Time(5), Fenced, 0), Some(Step::Signal(9)));
        assert_eq!(stop.ask(Time(6), Drained, 0), None, "once is enough");
    }
}
