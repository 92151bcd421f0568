//! Trainers: how long an attempt takes and how it ends, as a function of seed, trial and lease.
//! Invariant: the objective depends on the trial alone, so that every order of events has to lead
//! to the same results.

use gridctl_core::id::{Token, TrialId};
use gridctl_core::protocol::Grant;
use gridctl_core::record::{Class, Exit, MetricValue, Report};

/// The metric that ranks.
pub(crate) const OBJECTIVE: &str = "score";

/// What the sweep file says of retries.
pub(crate) const MAX_FAILURES: u32 = 2;
/// On a bad machine an attempt takes so long at most.
pub(crate) const AT_ONCE_MS: u64 = 500;

/// What a trial is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    /// Its first attempt fails.
    Flaky,
    Bad,
}

pub(crate) fn kind(trial: TrialId) -> Kind {
    match number(trial, 0) % 20 {
        0 | 1 => Kind::Bad,
        2 | 3 => Kind::Flaky,
        _ => Kind::Good,
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits")]
pub(crate) fn objective(trial: TrialId) -> f64 {
    (number(trial, 3) % 1000) as f64 / 1000.0
}

pub(crate) fn duration_ms(seed: u64, grant: &Grant, longest_ms: u64) -> u64 {
    let mixed =
        (seed ^ grant.token.lease.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    1 + (mixed >> 20) % longest_ms
}

/// How the attempt ends if nobody stops it.
pub(crate) fn outcome(grant: &Grant, duration_ms: u64) -> Report {
    let fails = match kind(grant.trial) {
        Kind::Good => false,
        Kind::Flaky => grant.token.attempt == 1,
        Kind::Bad => true,
    };
    let mut report = failure(grant, duration_ms, "failure");
    if !fails {
        report.class = Class::Succeeded;
        report.exit = Some(Exit::Code(0));
        report.error = None;
        let value = MetricValue(objective(grant.trial));
        report.objective = Some(value);
        report.metrics = vec![(OBJECTIVE.to_owned(), value)];
    }
    report
}

/// Whether attempts of the trial leave a file.
pub(crate) fn leaves_files(trial: TrialId) -> bool {
    number(trial, 1).is_multiple_of(2)
}

/// What is in the file that an attempt leaves.
pub(crate) fn left(trial: TrialId, token: Token) -> String {
    format!("{trial} {token}")
}

/// An attempt that fails with an error of its own: the same error twice would be final.
pub(crate) fn failure(grant: &Grant, duration_ms: u64, error: &str) -> Report {
    let mut report = Report::without_process(grant.token, grant.trial, Class::Failed, "it fails");
    report.duration_ms = duration_ms;
    report.exit = Some(Exit::Code(1));
    report.error = Some(format!("{error} {}", grant.token.attempt));
    report
}

fn number(trial: TrialId, from: usize) -> u64 {
    trial.0.iter().skip(from).take(4).fold(0, |sum, byte| sum * 256 + u64::from(*byte))
}
