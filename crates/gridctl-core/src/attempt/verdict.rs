//! Why nothing more follows an attempt, in one of few reasons: for people who ask.
//! Invariant: it is what [`Tally::count`] decided, computed again from what was reported.

use super::{Budget, End, Next, Tally};
use crate::record::{Class, Report};
use crate::spec::Retry;

/// What became of a trial after its last attempt, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded.
    Succeeded,
    /// A person ended it.
    Cancelled,
    /// It is tried again.
    TriedAgain,
    /// Its last two failures ended with the same line: a further try would do the same.
    SameErrorTwice,
    /// An exit code that the file calls fatal, or an end that no other try changes.
    NoRetryHelps,
    /// The second end in a row without its metric.
    NoMetricTwice,
    /// Over its time, with nothing that a further try could begin from.
    NoCheckpoint,
    /// So many failures: one more than may be tried again.
    FailuresSpent(u32),
    /// The trainer asked for another try too often.
    ReleasesSpent,
    /// It was lost with its machine, or ended before it began, too often.
    LossesSpent,
}

/// What follows from the attempts of one generation of a trial, the first one first.
#[must_use]
pub fn verdict<'a>(reports: impl IntoIterator<Item = &'a Report>, retry: &Retry) -> Verdict {
    let mut tally = Tally::default();
    let mut last = Verdict::TriedAgain;
    for report in reports {
        let end = End::from(report);
        let before = tally.last_error;
        let next = tally.count(&end, retry);
        last = match (next, end.class, Budget::of(end.class)) {
            (Next::Front | Next::Backoff { .. }, ..) => Verdict::TriedAgain,
            (Next::Done(_), Class::Succeeded, _) => Verdict::Succeeded,
            (Next::Done(_), Class::Cancelled, _) => Verdict::Cancelled,
            (Next::Done(_), Class::Failed, _) if before != 0 && before == tally.last_error => {
                Verdict::SameErrorTwice
            }
            (Next::Done(_), Class::NoMetric, _) if before != 0 && before == tally.last_error => {
                Verdict::NoMetricTwice
            }
            (Next::Done(_), Class::Timeout, _) if !end.checkpoint_moved => Verdict::NoCheckpoint,
            (Next::Done(_), _, Some(Budget::Failures)) if end.fatal => Verdict::NoRetryHelps,
            (Next::Done(_), _, Some(Budget::Failures)) => Verdict::FailuresSpent(tally.failures),
            (Next::Done(_), _, Some(Budget::Released)) => Verdict::ReleasesSpent,
            (Next::Done(_), _, Some(Budget::Lost) | None) => Verdict::LossesSpent,
        };
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, LeaseSeq, Token, TrialId};

    #[test]
    fn the_reason_is_the_one_that_ended_the_trial() {
        let retry = Retry { max_failures: 2, on_exit_codes: vec![], fatal_exit_codes: vec![64] };
        let report = |class, error: &str| {
            let token = Token { epoch: Epoch(1), lease: LeaseSeq(1), attempt: 1 };
            Report::without_process(token, TrialId([0; 10]), class, error)
        };
        let fatal = |class| Report { fatal: true, ..report(class, "x") };
        let failed = |error| report(Class::Failed, error);
        for (reports, expected) in [
            (vec![], Verdict::TriedAgain),
            (vec![failed("a")], Verdict::TriedAgain),
            (vec![failed("a"), failed("a")], Verdict::SameErrorTwice),
            (vec![failed("a"), failed("b"), failed("c")], Verdict::FailuresSpent(3)),
            (vec![failed("a"), report(Class::Lost, ""), failed("a")], Verdict::SameErrorTwice),
            (vec![report(Class::NoMetric, "")], Verdict::TriedAgain),
            (vec![report(Class::NoMetric, ""), report(Class::NoMetric, "")], Verdict::NoMetricTwice),
            (vec![fatal(Class::Failed)], Verdict::NoRetryHelps),
            (vec![fatal(Class::Oom)], Verdict::NoRetryHelps),
            (vec![report(Class::Timeout, "x")], Verdict::NoCheckpoint),
            (vec![failed("a"), report(Class::Succeeded, "")], Verdict::Succeeded),
            (vec![report(Class::Cancelled, "")], Verdict::Cancelled),
            (vec![report(Class::Released, ""); 21], Verdict::ReleasesSpent),
            (vec![report(Class::Drained, ""); 51], Verdict::LossesSpent),
        ] {
            assert_eq!(verdict(&reports, &retry), expected, "{}", reports.len());
        }
    }
}
