//! `gridctl logs`: what a trial's last attempt printed, or prints.
//! Invariant: a log is printed whole, or what is missing is said; memory is bounded, however long it is.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use gridctl_core::id::TrialId;
use gridctl_core::record::{Record, Report, TrialState};
use gridctl_core::view::OutputEvent;
use gridctl_storage::results::Results;

use super::trials;
use crate::cli::LogsArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::page::TextPage;
use crate::output::{self, number, sanitise};
use crate::settings::Settings;
use crate::source::{chain, results, target};

/// Read from a published log at once.
const PIECE: u64 = 256 << 10;
const EVERY: Duration = Duration::from_millis(500);

/// Runs the command.
pub(crate) fn run(args: &LogsArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.which.sweep(), settings)?;
    let (mut shown, mut live) = (0, LivePage::default());
    loop {
        let details = source.trial(&sweep, &args.which.trial)?;
        if shown == 0 {
            trials::say_repeat(&mut source, &details, &args.which.trial);
        }
        let trial = details.trial.trial;
        let records = details.attempts;
        let from = if args.follow { shown } else { records.len().saturating_sub(1) };
        for record in records.iter().skip(from) {
            say_end(record);
            if !live.finish(&record.report)? {
                print(record, source.dir.as_deref())?;
            }
        }
        shown = records.len();
        let goes_on = matches!(details.trial.state, TrialState::Pending | TrialState::Leased);
        if !args.follow || !goes_on || !source.is_live() {
            if records.is_empty() {
                output::say("no attempt of this trial has ended yet; -f shows what it prints meanwhile");
            }
            return Ok(Exit::Ok);
        }
        if details.trial.state == TrialState::Leased {
            source.output(&sweep, &trial.to_string(), |event| live.show(trial, &event))?;
        }
        std::thread::sleep(EVERY);
    }
}

/// What was shown of an attempt while it ran.
#[derive(Default)]
struct LivePage {
    attempt: u32,
    /// Bytes of its output, with those that were passed over.
    until: u64,
    /// Nothing was passed over.
    is_whole: bool,
    page: Option<TextPage<std::io::Stdout>>,
}

impl LivePage {
    /// Shows more of it; false once that is over.
    fn show(&mut self, trial: TrialId, event: &OutputEvent) -> Result<bool, Failure> {
        if event.attempt != self.attempt && event.attempt != 0 {
            output::say(format_args!("trial {} attempt {} goes on", trial.short(), event.attempt));
            let stdout = std::io::stdout();
            let page = TextPage::new(stdout.is_terminal(), stdout);
            *self = Self { attempt: event.attempt, until: 0, is_whole: true, page: Some(page) };
        }
        let Some(page) = &mut self.page else { return Ok(!event.is_over) };
        if event.from > self.until {
            self.is_whole = false;
            output::say(format_args!("{} bytes were passed over", number::count(event.from - self.until)));
        }
        // A connection that was made anew begins at the beginning.
        let known = usize::try_from(self.until.saturating_sub(event.from)).unwrap_or(usize::MAX);
        if let Some(new) = event.text.get(known..).filter(|new| !new.is_empty()) {
            page.push(new.as_bytes())?;
            page.flush()?;
            self.until = event.from + event.text.len() as u64;
        }
        Ok(!event.is_over)
    }

    /// Shows what the report has beyond what was shown; false if the whole has to be shown.
    fn finish(&mut self, report: &Report) -> Result<bool, Failure> {
        if self.attempt != report.token.attempt {
            return Ok(false);
        }
        let begin = report.log_bytes.saturating_sub(report.log.len() as u64);
        let Some(mut page) = self.page.take() else { return Ok(false) };
        let rest =
            self.until.checked_sub(begin).and_then(|known| report.log.get(usize::try_from(known).ok()?..));
        if let Some(rest) = rest.filter(|_| self.is_whole) {
            page.push(rest.as_bytes())?;
            page.end()?;
            return Ok(true);
        }
        page.end()?;
        output::say("some of it was passed over while it ran; this is all of it");
        Ok(false)
    }
}

/// How an attempt ended.
fn say_end(record: &Record) {
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
}

/// Prints all that an attempt wrote, if its whole log was published and is undamaged; else its end, which the record has.
fn print(record: &Record, dir: Option<&Path>) -> Result<(), Failure> {
    let report = &record.report;
    let stdout = std::io::stdout().lock();
    let mut page = TextPage::new(stdout.is_terminal(), stdout);
    let (kept, all) = (report.log.len() as u64, report.log_bytes);
    if all > kept {
        let published = match published(record, dir) {
            Ok((results, size)) => {
                copy(&results, record, size, &mut page)?;
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
    match results.check_log(record.files_of(), report.token) {
        Ok(Some(size)) => Ok((results, size)),
        Ok(None) => Err("no whole log is in the results".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

/// Copies a published log, a piece at a time.
fn copy(
    results: &Results,
    record: &Record,
    size: u64,
    page: &mut TextPage<impl std::io::Write>,
) -> Result<(), Failure> {
    let mut at = 0;
    while at < size {
        let piece = results.attempt_log(record.files_of(), record.report.token, at..size.min(at + PIECE));
        let piece = piece.map_err(|error| Failure::error("results", chain(&error)))?;
        if piece.is_empty() {
            return Err(Failure::error("results", "the log became shorter while it was read"));
        }
        at += piece.len() as u64;
        page.push(&piece)?;
    }
    Ok(())
}
