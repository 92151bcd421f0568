//! The sentences for reasons and notices, which everything else knows as types.
//! Invariant: what came from elsewhere is made fit to be shown.

use std::time::{Duration, Instant};

use gridctl_core::fleet::machines::Hold;
use gridctl_core::notice::Notice;
use gridctl_core::record::{Channel, Doubt};
use gridctl_core::sched::{CloseReason, PauseReason, SweepPhase};
use gridctl_master::Unshipped;

use super::{number, sanitise};
use crate::clock;

/// A notice that stays is repeated after so long.
const REPEAT: Duration = Duration::from_secs(60);
/// Between two lines about conditions of one kind.
const SAME_KIND: Duration = Duration::from_secs(10);

/// Why a sweep stands so, if there is more to say than its state.
pub(crate) fn reason(phase: SweepPhase) -> Option<String> {
    match phase {
        SweepPhase::Paused(reason) => Some(pause(reason)),
        SweepPhase::Closed(reason @ (CloseReason::TargetReached | CloseReason::CapReached)) => {
            Some(reason.to_string())
        }
        SweepPhase::Running | SweepPhase::Stopping | SweepPhase::Closed(_) => None,
    }
}

/// Why a sweep is paused.
pub(crate) fn pause(reason: PauseReason) -> String {
    match reason {
        PauseReason::Person => "paused by a person".to_owned(),
        PauseReason::SetAside => {
            "another sweep was run since; running its file again goes on with it".to_owned()
        }
        PauseReason::Rebuilt => {
            "its journal was made again from its results; running its file goes on".to_owned()
        }
        PauseReason::NoFitMachine => "no machine is left that can start a trial".to_owned(),
        PauseReason::ResultsFull => {
            "the results directory could not be written for long; what is finished is kept until it can be"
                .to_owned()
        }
        PauseReason::FirstTrialsFailed { failed } => {
            format!("the first {failed} trials failed and none has succeeded")
        }
        PauseReason::MostTrialsFailed { failed, of } => {
            format!("{failed} of the first {of} trials failed")
        }
    }
}

/// What a notice says, and what helps.
pub(crate) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::JournalFull { error } => format!(
            "{}: nothing is decided until there is space again, and workers go on",
            sanitise::line(error)
        ),
        Notice::RecordsNotShipped { error } => format!(
            "records wait to be shipped to the results directory, and the journal has them: {}",
            sanitise::line(error)
        ),
        Notice::FilesLeftOut { files, attempts, first } => format!(
            "not kept: {} of {} (too many, too large, or no ordinary files); \
             `gridctl trials show {}` says where they are listed",
            number::of(*files, "file"),
            number::of(*attempts, "attempt"),
            first.short()
        ),
        Notice::Unsure { attempts, first, doubt: what } => format!(
            "{} ({}, as in `gridctl trials show {}`)",
            doubt(what),
            number::of(*attempts, "attempt"),
            first.short()
        ),
        Notice::ResultsWait { host, error } => format!(
            "finished trials wait on {} to be published, and nothing new starts there until they are: {}",
            sanitise::line(host),
            sanitise::line(error)
        ),
        Notice::MachineFaults { attempts, last, fault } => format!(
            "{} ended by a fault of the machine, at no cost to a trial's budget for failures: {} (as in \
             `gridctl trials show {}`)",
            number::of(*attempts, "attempt"),
            sanitise::line(fault),
            last.short()
        ),
        Notice::MayDisturb { files, isolated: false } => format!(
            "trials that run together may disturb each other: {} changed more than once while several \
             ran; `isolate: true` in the sweep file gives each slot a copy of the workdir",
            names(files)
        ),
        Notice::MayDisturb { files, isolated: true } => format!(
            "trials that run together may disturb each other though each has a copy of the workdir: {} \
             changed there more than once; a link or an absolute path leads to it",
            names(files)
        ),
        Notice::MayHaveDisturbed { files } => format!(
            "outcomes that are kept of an earlier version may be wrong: {} changed more than once while \
             several of its trials ran; --rerun tries every trial again",
            names(files)
        ),
        Notice::MayBeUnread { axes } => format!(
            "the program may not read {}: trials that differ in nothing else have the same metrics, to \
             the last bit",
            names(axes)
        ),
        Notice::MachineRests { host, fault } => {
            of_machine(host, "could not start a trial, rests and tries again", fault)
        }
        Notice::MachineGivenUp { host, fault } => {
            of_machine(host, "could not start trials and takes no more", fault)
        }
        Notice::CannotRun { host, why } => cannot_run(host, why),
        Notice::NoMachines { hold, why } => no_machines(*hold, why.as_deref()),
        Notice::MachinesOnDemand { machines } => on_demand(*machines),
        Notice::NoWorkerFits { cpu_milli, mem_mib, gpus } => no_worker_fits(*cpu_milli, *mem_mib, *gpus),
    }
}

fn no_worker_fits(cpu_milli: u32, mem_mib: u64, gpus: u32) -> String {
    let processors = number::metric(f64::from(cpu_milli) / 1000.0);
    format!(
        "no connected worker has what one trial asks for: {processors} processors, {mem_mib} MiB, {gpus} GPUs"
    )
}

fn on_demand(machines: u64) -> String {
    let machines = number::of(machines, "machine");
    format!("the spot market has no room: {machines} on demand, at the full price")
}

/// Why no machines are started, and what a person does about it.
pub(crate) fn no_machines(hold: Hold, why: Option<&str>) -> String {
    let what = match hold {
        Hold::Machines => {
            "no more machines are started: as many run as may; `gridctl workers scale N` allows more"
        }
        Hold::Budget => "no more machines are started: the budget is spent but for what ending them costs",
        Hold::Deadline => "no more machines are started: the deadline has passed",
        Hold::Capacity => {
            "EC2 has no such machines just now; they are asked for again every three minutes, and more types \
             or zones help"
        }
        Hold::NeverJoined => {
            "machines start and never work, so no more are started; `gridctl workers scale N` tries again"
        }
    };
    match why {
        Some(why) => format!("{what}: {}", sanitise::line(why)),
        None => what.to_owned(),
    }
}

fn of_machine(host: &str, does: &str, fault: &str) -> String {
    format!("{} {does}: {}", sanitise::line(host), sanitise::line(fault))
}

/// How much a sweep's results lack.
pub(crate) fn lack(left: &Unshipped) -> String {
    let records = (left.records > 0).then(|| number::of(left.records, "record"));
    let versions = (left.versions > 0).then(|| number::of(left.versions, "version"));
    records.into_iter().chain(versions).collect::<Vec<_>>().join(" and ")
}

/// What a machine says that cannot run a sweep; it may be the end of a log.
fn cannot_run(host: &str, why: &str) -> String {
    let why: Vec<_> = why.trim_end().lines().map(sanitise::line).collect();
    format!(
        "{} cannot run this sweep, and gets no trials of it: {}",
        sanitise::line(host),
        why.join("\n    ")
    )
}

/// Names of files or axes, fit to be shown.
pub(crate) fn names(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", sanitise::short(name, 80))).collect();
    names.join(", ")
}

/// What there is to do about a line that is not read and that no pattern is known for.
fn if_unread(line: &str) -> String {
    let speaks_of_best = line.to_lowercase().contains("best");
    let remedy = if speaks_of_best {
        "`report: max` or `report: min` under that metric takes the best of its values"
    } else {
        "give a `regex` if that is the one"
    };
    remedy.to_owned()
}

/// The name that `text` gives a number, if it is the metric's with something joined to it: `val_acc: 0.8`.
fn longer_name<'t>(metric: &str, text: &'t str) -> Option<&'t str> {
    let name = text.split([':', '=']).next()?.trim().trim_matches(['"', '\'']);
    let joined = name.strip_suffix(metric)?;
    (joined.ends_with(['_', '-', '.', '/']) && !name.contains(char::is_whitespace)).then_some(name)
}

/// Why a number may not be the one that was meant.
pub(crate) fn doubt(doubt: &Doubt) -> String {
    match doubt {
        Doubt::Differs { metric, taken, value, other, other_value } => format!(
            "`{}` ended with {} {}, which was taken, and with {} {}",
            sanitise::line(metric),
            number::plain(value.0),
            way(*taken),
            number::plain(other_value.0),
            way(*other)
        ),
        Doubt::Unread { metric, value, line, pattern } => {
            let remedy = pattern.as_ref().map_or_else(
                || if_unread(line),
                |pattern| format!("to read it: `regex: '{}'` under that metric", sanitise::line(pattern)),
            );
            format!(
                "`{}` was read as {}, and the line `{}` was not read; {remedy}",
                sanitise::line(metric),
                number::plain(value.0),
                sanitise::line(line)
            )
        }
        Doubt::Qualified { metric, value, taken, other } => {
            let value = number::plain(value.0);
            let instead = other
                .as_ref()
                .map_or_else(String::new, |other| format!(", and not from `{}`", sanitise::line(other)));
            let named = other.as_ref().and_then(|other| longer_name(metric, other));
            let remedy = named.map_or_else(
                || "give a `regex` if another is meant".to_owned(),
                |named| format!("write `name: {}` if that one is meant", sanitise::line(named)),
            );
            format!(
                "`{}` was read as {value} from `{}`{instead}: {remedy}",
                sanitise::line(metric),
                sanitise::line(taken)
            )
        }
        Doubt::OneOfSeveral { metric, value, count } => format!(
            "`{}` was read as {}, the last of {count} that stand side by side, as those of folds do: \
             `report: mean` takes their mean",
            sanitise::line(metric),
            number::plain(value.0)
        ),
        Doubt::Cut { lines, longest } => format!(
            "{} longer than 1 MiB (up to {longest} bytes) was cut there, and not read beyond",
            number::of(*lines, "line")
        ),
    }
}

/// By which way a metric's value came.
pub(crate) fn way(channel: Channel) -> &'static str {
    match channel {
        Channel::File => "in $GRID_METRICS_FILE",
        Channel::Protocol => "as `::metric`",
        Channel::Stdout => "on stdout",
        Channel::Stderr => "on stderr",
    }
}

/// Says notices at once, and again each minute as long as they stay; of what was seen once is enough.
#[derive(Debug, Default)]
pub(crate) struct NoticeTeller {
    told: Vec<(Notice, Instant)>,
}

impl NoticeTeller {
    /// Whether a notice that holds for good was said.
    pub(crate) fn has_said(&self, notice: &Notice) -> bool {
        is_once(notice) && self.told.iter().any(|(told, _)| told == notice)
    }

    /// The lines to say now, of the notices that hold now.
    pub(crate) fn due(&mut self, notices: &[Notice]) -> Vec<String> {
        self.due_at(notices, clock::now())
    }

    fn due_at(&mut self, notices: &[Notice], now: Instant) -> Vec<String> {
        self.told.retain(|(told, _)| notices.iter().any(|notice| is_same_kind(notice, told)));
        let mut lines = Vec::new();
        for new in notices {
            let last = self.told.iter().filter(|(told, _)| is_same_kind(told, new));
            let last = last.max_by_key(|(_, at)| *at);
            if self.has_said(new) {
                continue;
            }
            let pause = match last {
                Some((told, _)) if told == new => REPEAT,
                _ => SAME_KIND,
            };
            if last.is_none_or(|(_, at)| now.duration_since(*at) >= pause) {
                self.told.retain(|(told, _)| told != new);
                self.told.push((new.clone(), now));
                lines.push(format!("note: {}", notice(new)));
            }
        }
        lines
    }
}

/// Whether a notice is of something that was seen and stays as it is, so that once is enough.
fn is_once(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::MayDisturb { .. }
            | Notice::MayHaveDisturbed { .. }
            | Notice::MayBeUnread { .. }
            | Notice::CannotRun { .. }
    )
}

fn is_same_kind(one: &Notice, other: &Notice) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_said_at_once_and_then_each_minute() {
        let begin = clock::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let full = [Notice::JournalFull { error: "no space".to_owned() }];
        let other = [Notice::JournalFull { error: "quota".to_owned() }];
        let seen = [Notice::MayBeUnread { axes: vec!["lr".to_owned()] }];
        let mut teller = NoticeTeller::default();
        let cases: [(&str, u64, &[Notice], usize); 10] = [
            ("none holds", 0, &[], 0),
            ("one begins", 1, &full, 1),
            ("it stays", 30, &full, 0),
            ("it stays for a minute", 61, &full, 1),
            ("its cause changes, soon after", 65, &other, 0),
            ("its cause is another one", 72, &other, 1),
            ("it ends", 73, &[], 0),
            ("it begins again", 74, &full, 1),
            ("something was seen", 75, &seen, 1),
            ("that stays so", 700, &seen, 0),
        ];
        for (name, seconds, notices, lines) in cases {
            assert_eq!(teller.due_at(notices, at(seconds)).len(), lines, "{name}");
        }
    }
}
