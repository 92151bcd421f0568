//! `gridctl why`: how a trial ended, why, and why it was not tried again.
//! Invariant: the reason is the one by which the master decided.

use std::fmt::Write as _;

use gridctl_core::attempt::verdict::{Verdict, verdict};
use gridctl_core::record::{Class, Record, TrialState};
use gridctl_core::spec::Retry;
use gridctl_core::view::TrialDetails;

use crate::cli::TrialArgs;
use crate::exit::{Exit, Outcome};
use crate::output::{self, number, sanitise, sentence};
use crate::settings::Settings;
use crate::source::{fold, target};

use super::trials;

/// Lines of the log that are shown, and columns of each.
const LINES: usize = 15;
const WIDTH: usize = 160;

/// Runs the command.
pub(crate) fn run(which: &TrialArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(which.sweep(), settings)?;
    let details = source.trial(&sweep, &which.trial)?;
    trials::say_repeat(&mut source, &details, &which.trial);
    let core = source.dir.as_deref().map(fold::core).transpose()?.flatten();
    let retry = core.and_then(|core| Some(core.sweep_named(&details.sweep)?.frozen().spec.retry.clone()));
    output::text(&text(&details, retry.as_ref()))?;
    Ok(Exit::Ok)
}

fn text(details: &TrialDetails, retry: Option<&Retry>) -> String {
    let TrialDetails { trial, attempts, sweep } = details;
    let mut out = format!("{} of {}: {}", trial.trial.short(), sanitise::line(sweep), trial.state);
    if let Some(objective) = trial.objective.filter(|_| trial.state == TrialState::Succeeded) {
        let _ = write!(out, ", objective {}", number::plain(objective.0));
    }
    out.push('\n');
    let params: Vec<String> =
        trial.params.iter().map(|(name, value)| format!("{name}={}", value.to_json())).collect();
    let _ = writeln!(out, "with {}", sanitise::short(&params.join(" "), 3 * WIDTH));
    let last_of = attempts.last().map(|record| (record.version, record.generation));
    let of_now = |record: &&Record| Some((record.version, record.generation)) == last_of;
    let now: Vec<&Record> = attempts.iter().filter(of_now).collect();
    let reason = retry.and_then(|retry| because(trial.state, &now, retry));
    if let Some((sweep, version)) = &trial.known_from {
        let _ = writeln!(
            out,
            "it was not run here: it is known from version {version} of {}",
            sanitise::line(sweep)
        );
    } else if let Some(reason) = reason {
        let _ = writeln!(out, "{reason}");
    }
    if trial.state == TrialState::Leased {
        out.push_str(&trials::now(trial));
    }
    if !now.is_empty() {
        out.push('\n');
    }
    for record in &now {
        out.push_str(&attempt(record));
    }
    let earlier = attempts.len() - now.len();
    if earlier > 0 {
        let shown = number::of(earlier as u64, "attempt");
        let _ = writeln!(out, "{shown} of before: `gridctl trials show {}`", trial.trial.short());
    }
    if let Some(last) = now.last().filter(|last| last.report.class != Class::Succeeded) {
        out.push_str(&log_end(last));
    }
    out.push_str(&next(trial.state, &trial.trial.short()));
    out
}

/// Why nothing more follows, or what does.
fn because(state: TrialState, now: &[&Record], retry: &Retry) -> Option<String> {
    let last = now.last()?;
    let code = last.report.exit.map_or_else(String::new, |end| format!(" ({})", trials::exit(end)));
    let most = retry.max_failures;
    Some(match verdict(now.iter().map(|record| &record.report), retry) {
        Verdict::Succeeded | Verdict::Cancelled => return None,
        Verdict::TriedAgain if state == TrialState::Pending => {
            "it waits to be tried again: longer after each failure, a minute at most".to_owned()
        }
        Verdict::TriedAgain => return None,
        Verdict::SameErrorTwice => {
            "the same error twice: a further try was not made, since it would end alike".to_owned()
        }
        Verdict::NoMetricTwice => {
            "twice without its metric: a further try was not made, since it would print the same".to_owned()
        }
        Verdict::NoRetryHelps if last.report.class == Class::Oom => {
            "it was not tried again: the GPU's memory is too small for it, whenever it is tried".to_owned()
        }
        Verdict::NoRetryHelps => {
            format!("it was not tried again: no other try can help after that end{code}")
        }
        Verdict::NoCheckpoint => {
            "it was not tried again: its checkpoint did not move on, so it would run over its timeout again"
                .to_owned()
        }
        Verdict::FailuresSpent(failures) => format!(
            "it was not tried again: this was failure {failures}, and `retry: {{max_failures: {most}}}` allows {most} retries"
        ),
        Verdict::ReleasesSpent => "it was not tried again: it asked for another try too often".to_owned(),
        Verdict::LossesSpent => {
            "it is quarantined: it was lost with its machine too often, and may be what ends them".to_owned()
        }
    })
}

fn attempt(record: &Record) -> String {
    let report = &record.report;
    let mut out = format!(
        "attempt {}: {}{} {}\n",
        report.token.attempt,
        report.class,
        report.exit.map_or_else(String::new, |end| format!(" ({})", trials::exit(end))),
        trials::spent(report, &sanitise::line(&record.host)),
    );
    let error = report.error.iter().map(|error| sanitise::short(error, WIDTH));
    let misses = report.near_misses.iter().map(|miss| sanitise::short(miss, 3 * WIDTH));
    for line in error.chain(misses).chain(report.doubts.iter().map(sentence::doubt)) {
        let _ = writeln!(out, "  {line}");
    }
    out
}

fn log_end(record: &Record) -> String {
    let log = record.report.log.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "\nit printed nothing\n".to_owned();
    }
    let from = lines.len().saturating_sub(LINES);
    let mut out = format!("\nthe end of what attempt {} printed\n", record.report.token.attempt);
    for line in &lines[from..] {
        let _ = writeln!(out, "  | {}", sanitise::short(line, WIDTH));
    }
    out
}

/// What one can do.
fn next(state: TrialState, trial: &str) -> String {
    match state {
        TrialState::Failed | TrialState::Quarantined | TrialState::Cancelled => format!(
            "\nall it printed: gridctl logs {trial}\nrun it here:    gridctl rerun {trial}\n\
             try it again:   gridctl run FILE --retry-failed, or with a master gridctl trials retry {trial}\n"
        ),
        TrialState::Pending | TrialState::Leased | TrialState::Succeeded | TrialState::Excluded => {
            format!("\nall it printed: gridctl logs {trial}\n")
        }
    }
}
