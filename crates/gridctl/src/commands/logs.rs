//! `gridctl logs`: what a trial's last attempt printed.
//! Invariant: a log is printed whole, or what is missing is said; memory is bounded, however long it is.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use gridctl_core::record::{Record, Report, TrialState};
use gridctl_storage::results::Results;

use super::trials;
use crate::cli::LogsArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::page::TextPage;
use crate::output::{self, number, sanitise};
use crate::settings::Settings;
use crate::source::{DataSource, chain, results, target};

/// Read from a published log at once.
const PIECE: u64 = 256 << 10;
const EVERY: Duration = Duration::from_millis(500);

/// Runs the command.
pub(crate) fn run(args: &LogsArgs, settings: &Settings) -> Outcome {
    let (sweep, from) = target::sweep(args.which.sweep(), settings)?;
    let mut source = DataSource::open(settings, &from)?;
    let mut shown = 0;
    loop {
        let details = source.trial(&sweep, &args.which.trial)?;
        if shown == 0 {
            trials::say_repeat(&mut source, &details, &args.which.trial);
        }
        let records = details.attempts;
        let from = if args.follow { shown } else { records.len().saturating_sub(1) };
        for record in records.iter().skip(from) {
            print(record, source.dir.as_deref())?;
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

/// Prints all that an attempt wrote, if its whole log was published and is undamaged; else its end, which the record has.
fn print(record: &Record, dir: Option<&Path>) -> Result<(), Failure> {
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
    let stdout = std::io::stdout().lock();
    let mut page = TextPage::new(stdout.is_terminal(), stdout);
    let (kept, all) = (report.log.len() as u64, report.log_bytes);
    if all > kept {
        let published = match published(record, dir) {
            Ok((results, size)) => {
                copy(&results, report, size, &mut page)?;
                if size == all {
                    return Ok(page.end()?);
                }
                "what stands above ends where the worker kept no more".to_owned()
            }
            Err(why) => why,
        };
        output::say(format_args!(
            "the last {} of {} bytes; the others are missing: {published}",
            number::count(kept),
            number::count(all)
        ));
    }
    page.push(report.log.as_bytes())?;
    Ok(page.end()?)
}

/// The results with the whole log of this attempt and its length; the text says why there is none.
fn published(record: &Record, dir: Option<&Path>) -> Result<(Results, u64), String> {
    let told =
        |failure: Failure| failure.problems.into_iter().next().map_or_else(String::new, |it| it.message);
    let report = &record.report;
    if report.files == 0 {
        return Err("the worker published no files".to_owned());
    }
    let results = results::of_attempt(dir, record).map_err(told)?;
    match results.check_log(report.trial, report.token) {
        Ok(Some(size)) => Ok((results, size)),
        Ok(None) => Err("no whole log is in the results".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

/// Copies a published log, a piece at a time.
fn copy(
    results: &Results,
    report: &Report,
    size: u64,
    page: &mut TextPage<impl std::io::Write>,
) -> Result<(), Failure> {
    let mut at = 0;
    while at < size {
        let piece = results.attempt_log(report.trial, report.token, at..size.min(at + PIECE));
        let piece = piece.map_err(|error| Failure::error("results", chain(&error)))?;
        if piece.is_empty() {
            return Err(Failure::error("results", "the log became shorter while it was read"));
        }
        at += piece.len() as u64;
        page.push(&piece)?;
    }
    Ok(())
}
