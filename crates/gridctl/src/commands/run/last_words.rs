//! What `run` says at its end, and of what an earlier one left.
//! Invariant: nothing is decided here.

use gridctl_core::id::Time;
use gridctl_core::sched::{CloseReason, Core, SweepPhase, SweepStatus};

use super::Hint;
use super::progress::{self, Progress};
use super::supervise::SubmittedVersion;
use crate::output::sentence::{self, NoticeTeller};
use crate::output::{self, number, sanitise};

/// The last words about a sweep.
pub(super) fn conclude(
    status: &SweepStatus,
    stands: &SubmittedVersion,
    progress: &Progress,
    (hint, notices): (&Hint, &NoticeTeller),
) {
    let how = match status.phase {
        SweepPhase::Closed(reason @ CloseReason::TargetReached) => reason.to_string(),
        _ => status.state.as_str().to_owned(),
    };
    let mut text = format!(
        "{}: {how} in {}, {} succeeded",
        status.sweep,
        number::duration(progress.elapsed()),
        number::count(status.succeeded)
    );
    let cancelled = match status.phase {
        SweepPhase::Closed(CloseReason::TargetReached) => "not needed",
        SweepPhase::Closed(CloseReason::CapReached) => "left out by run_cap",
        _ => "cancelled",
    };
    let counts = [
        (status.failed, "failed"),
        (status.quarantined, "quarantined"),
        (status.cancelled, cancelled),
        (stands.known, "known before"),
    ];
    for (count, what) in counts {
        if count > 0 {
            text = format!("{text}, {} {what}", number::count(count));
        }
    }
    output::say(text);
    for notice in status.notices.iter().filter(|notice| !notices.has_said(notice)) {
        output::say(format_args!("  note: {}", sentence::notice(notice)));
    }
    if let SweepPhase::Paused(reason) = status.phase {
        output::say(format_args!("paused: {}", sentence::pause(reason)));
        let first = if reason.is_breaker() { "put it right, then " } else { "" };
        output::say(format_args!("  help: {first}go on with: {}", hint.run("")));
    } else {
        let list = |state| hint.command(&format!("trials ls {} --state {state}", status.sweep));
        let again = hint.run("--retry-failed");
        if status.quarantined > 0 {
            output::say(format_args!(
                "  note: a trial is quarantined when its machine failed or vanished too often: `{}` lists them",
                list("quarantined")
            ));
        }
        if status.failed > 0 {
            let failed = list("failed");
            output::say(format_args!("  help: `{failed}` lists the failed ones, `{again}` tries them again"));
        } else if status.quarantined > 0 {
            output::say(format_args!("  help: `{again}` tries them again"));
        }
    }
}

/// Says which records waited since before this start.
pub(super) fn say_late(late: Vec<(String, u64)>) {
    for (sweep, records) in late {
        output::say(format_args!(
            "shipped {} of `{sweep}` that the results did not have yet",
            number::of(records, "record")
        ));
    }
}

/// Says which sweeps others gave to this master that are not at their end, as nothing goes on with them.
pub(super) fn say_left(core: &Core, own: &str) {
    let left = core.sweeps().filter(|sweep| sweep.name() != own);
    for status in left.map(|sweep| sweep.status(Time(0))).filter(|status| status.phase == SweepPhase::Running)
    {
        output::say(format_args!(
            "note: {} was submitted meanwhile, and stands at {} of {}: `gridctl run` with its file goes on",
            sanitise::line(&status.sweep),
            number::count(progress::done(&status)),
            number::of(progress::points(&status), "trial")
        ));
    }
}
