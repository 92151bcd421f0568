//! What follows when the results volume does not take what a trainer left: it stays where it is,
//! and is tried again until the volume takes it, or until it is not wanted any more.
//! Invariant: the result of an attempt that was not broken off waits as long as its worker works.

use std::future::pending;
use std::time::Duration;

use gridctl_core::attempt::StopReason;
use gridctl_core::protocol::Grant;
use gridctl_core::record::Class;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::{AttemptOrder, SlotNews};

/// The first pause, and how much longer each further one is.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const FACTOR: u32 = 5;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What does not wait long is tried so often.
const TRIES: u32 = 4;

/// The waiting of one attempt.
#[derive(Debug)]
pub(super) struct PublishWait {
    tries: u32,
    is_broken_off: bool,
    /// It was broken off, or its worker is asked to end: it does not wait long.
    hurries: bool,
}

/// What is to be done about an attempt that could not be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// To try again, after so long at the latest.
    TryAgain(Duration),
    /// The trial is another's, or not wanted any more.
    Drop(StopReason),
    /// No further try would help, or there is no time for one.
    GiveUp,
}

impl PublishWait {
    /// For an attempt that ended as `class`, after it was asked to stop for the reason `asked`.
    pub(super) fn new(class: Class, asked: Option<StopReason>) -> Self {
        let is_broken_off = matches!(class, Class::Drained | Class::Preempted | Class::Cancelled);
        let worker_ends = matches!(asked, Some(StopReason::Drained | StopReason::Preempted));
        Self { tries: 0, is_broken_off, hurries: is_broken_off || worker_ends }
    }

    /// Whether it is a result, which must outlive its worker: it was not broken off.
    pub(super) fn is_worth_keeping(&self) -> bool {
        !self.is_broken_off
    }

    /// It could not be published, see [`Self::after_failure`]: waits until it is time for the next
    /// try, if there is to be one, or until it is asked to stop.
    pub(super) async fn pause(
        &mut self,
        orders: &mut UnboundedReceiver<AttemptOrder>,
        may_wait: bool,
    ) -> NextStep {
        let then = self.after_failure(may_wait);
        let NextStep::TryAgain(pause) = then else { return then };
        let asked = async {
            loop {
                match orders.recv().await {
                    Some(AttemptOrder::Stop { reason, .. }) => return reason,
                    Some(AttemptOrder::Recall) => {}
                    None => pending().await,
                }
            }
        };
        match tokio::time::timeout(pause, asked).await {
            Ok(reason) => self.asked(reason),
            Err(_) => then,
        }
    }

    /// It could not be published; `may_wait`: the volume may take it later.
    fn after_failure(&mut self, may_wait: bool) -> NextStep {
        self.tries = self.tries.saturating_add(1);
        if !may_wait || (self.hurries && self.tries >= TRIES) {
            return NextStep::GiveUp;
        }
        let pause = FIRST_PAUSE.saturating_mul(FACTOR.saturating_pow(self.tries - 1));
        NextStep::TryAgain(pause.min(LONGEST_PAUSE))
    }

    /// It is asked to stop while it waits.
    fn asked(&mut self, reason: StopReason) -> NextStep {
        match reason {
            StopReason::Fenced | StopReason::Cancelled => NextStep::Drop(reason),
            StopReason::Timeout | StopReason::Drained | StopReason::Preempted => {
                // Once more, for what kept it may be over by now.
                (self.hurries, self.tries) = (true, TRIES - 1);
                NextStep::TryAgain(Duration::ZERO)
            }
        }
    }
}

/// Says that the attempt is over, and what keeps its files from being published.
pub(super) fn tell_unpublished(said: &UnboundedSender<SlotNews>, grant: &Grant, fault: &str) {
    tracing::warn!("trial {} is over and waits to be published: {fault}", grant.trial);
    // Nobody listens only when the worker itself is at its end.
    let _ = said.send(SlotNews::Unpublished { lease: grant.token.lease, fault: fault.to_owned() });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it waits in all, and for how many failures of at most 50.
    fn bears(waiting: &mut PublishWait) -> (u64, u32) {
        let mut waits = Duration::ZERO;
        for failures in 1..=50 {
            let NextStep::TryAgain(pause) = waiting.after_failure(true) else {
                return (waits.as_secs(), failures);
            };
            waits += pause;
        }
        (waits.as_secs(), 50)
    }

    #[test]
    fn what_is_done_waits_for_the_volume_and_what_was_broken_off_does_not() {
        use StopReason::{Cancelled, Drained, Timeout};
        let (long, short) = ((6 + 47 * 10, 50), (6, 4));
        let cases = [
            ("a success", Class::Succeeded, None, long),
            ("a failure", Class::Failed, None, long),
            ("one that took too long", Class::Timeout, Some(Timeout), long),
            ("one that was drained", Class::Drained, Some(Drained), short),
            ("a success of a worker that ends", Class::Succeeded, Some(Drained), short),
            ("one that was cancelled", Class::Cancelled, Some(Cancelled), short),
        ];
        for (name, class, asked, expected) in cases {
            assert_eq!(bears(&mut PublishWait::new(class, asked)), expected, "{name}");
        }
        assert_eq!(PublishWait::new(Class::Succeeded, None).after_failure(false), NextStep::GiveUp);
    }

    #[test]
    fn what_waits_is_dropped_if_nobody_wants_it_and_tried_once_more_when_its_worker_ends() {
        let mut waiting = PublishWait::new(Class::Succeeded, None);
        bears(&mut waiting);
        for reason in [StopReason::Fenced, StopReason::Cancelled] {
            assert_eq!(waiting.asked(reason), NextStep::Drop(reason));
        }
        assert_eq!(waiting.asked(StopReason::Drained), NextStep::TryAgain(Duration::ZERO));
        assert_eq!(bears(&mut waiting), (0, 1));
    }
}
