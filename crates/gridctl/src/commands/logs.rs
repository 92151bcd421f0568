//! `gridctl logs`: what a trial's last attempt printed.
//! Invariant: a terminal gets text that moves nothing; a pipe gets what the trainer wrote.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use gridctl_core::record::{Record, TrialState};

use super::trials;
use crate::cli::LogsArgs;
use crate::exit::{Exit, Outcome};
use crate::output::{self, number, sanitise};
use crate::settings::Settings;
use crate::source::{Source, target};

const EVERY: Duration = Duration::from_millis(500);

/// Runs the command.
pub(crate) fn run(args: &LogsArgs, settings: &Settings) -> Outcome {
    let (sweep, from) = target::sweep(args.sweep.as_deref(), settings)?;
    let mut source = Source::open(settings, &from)?;
    let mut shown = 0;
    loop {
        let details = source.trial(&sweep, &args.trial)?;
        let records = trials::records(&details)?;
        let from = if args.follow { shown } else { records.len().saturating_sub(1) };
        for record in records.iter().skip(from) {
            print(record)?;
        }
        shown = records.len();
        let goes_on = matches!(details.trial.state, TrialState::Pending | TrialState::Leased);
        if !args.follow || !goes_on || !source.is_live() {
            if records.is_empty() {
                output::say("no attempt of this trial has ended yet; -f waits for one");
            }
            return Ok(Exit::Ok);
        }
        std::thread::sleep(EVERY);
    }
}

fn print(record: &Record) -> Result<(), crate::exit::Failure> {
    let report = &record.report;
    output::say(format_args!(
        "trial {} attempt {}: {}{} after {} on {}",
        report.trial.short(),
        report.token.attempt,
        report.class,
        report.exit.map_or_else(String::new, |end| format!(" ({})", trials::exit(end))),
        number::duration(Duration::from_millis(report.duration_ms)),
        sanitise::line(&record.host)
    ));
    let kept = report.log.len() as u64;
    if report.log_bytes > kept {
        output::say(format_args!(
            "the last {} of {} bytes; the whole is among the trial's files in the results",
            number::count(kept),
            number::count(report.log_bytes)
        ));
    }
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        let text = report.log.replace("\r\n", "\n").replace('\r', "\n");
        out.write_all(sanitise::lines(&text).as_bytes())?;
    } else {
        out.write_all(report.log.as_bytes())?;
    }
    if !report.log.is_empty() && !report.log.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}
