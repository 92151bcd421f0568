//! `gridctl events`: how each attempt of a sweep ended, and what followed, in the order in which that was recorded.
//! Invariant: each attempt is told once, however often the master is started again meanwhile.

use std::io::Write as _;
use std::time::Duration;

use gridctl_core::record::{Record, TrialState};
use gridctl_core::sched::SweepStatus;

use crate::cli::{EventsArgs, EventsFormat};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, number, sanitise, sentence};
use crate::settings::Settings;
use crate::source::{DataSource, target};

use super::trials;

/// What came meanwhile is asked for so often.
const EVERY: Duration = Duration::from_millis(500);

/// Runs the command.
pub(crate) fn run(args: &EventsArgs, settings: &Settings) -> Outcome {
    let (name, mut source) = target::open(args.sweep.as_deref(), settings)?;
    let mut status = source.status(&name)?;
    let sweep = status.sweep.clone();
    let mut after = 0;
    loop {
        let page = ask(&mut source, (args, settings), |source| source.attempts(&sweep, after))?;
        after = page.next;
        match args.output {
            EventsFormat::Jsonl => output::jsonl(&page.attempts)?,
            EventsFormat::Text => lines(page.attempts.iter().map(line))?,
        }
        if page.more {
            continue;
        }
        if !args.follow || status.phase.is_closed() || !source.is_live() {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(EVERY);
        // Whatever had ended before it was over has been asked for once more after that.
        let new = ask(&mut source, (args, settings), |source| source.status(&sweep))?;
        if args.output == EventsFormat::Text && new.phase != status.phase {
            lines([turned(&new)])?;
        }
        status = new;
    }
}

/// The answer to a question. `gridctl run` ends with its sweep: then the journal answers.
fn ask<T>(
    source: &mut DataSource,
    (args, settings): (&EventsArgs, &Settings),
    ask: impl Fn(&mut DataSource) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match ask(source) {
        Err(failure) if failure.exit == Exit::Unreachable => {
            *source = target::open(args.sweep.as_deref(), settings)?.1;
            ask(source)
        }
        answer => answer,
    }
}

fn lines(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut out = output::stdout();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn turned(status: &SweepStatus) -> String {
    let why = sentence::reason(status.phase).map_or_else(String::new, |why| format!(": {why}"));
    format!("sweep {}{why}", status.state.as_str())
}

/// One attempt's end.
fn line(record: &Record) -> String {
    let report = &record.report;
    let ended = report.started_unix_ms.saturating_add(report.duration_ms);
    let when = if report.started_unix_ms == 0 { "-".to_owned() } else { number::unix_ms(ended) };
    let code = report.exit.map_or_else(String::new, |end| format!(" ({})", trials::exit(end)));
    let mut text = format!(
        "{when}  {} attempt {} {}{code} after {} on {}",
        report.trial.short(),
        report.token.attempt,
        report.class,
        number::duration(Duration::from_millis(report.duration_ms)),
        sanitise::line(&record.host)
    );
    if let Some(objective) = report.objective {
        text.push_str(&format!(", objective {}", number::metric(objective.0)));
    }
    if let Some(error) = &report.error {
        text.push_str(&format!(": {}", sanitise::short(error, 120)));
    }
    if let Some((sweep, version)) = &record.known_from {
        text.push_str(&format!("; known from version {version} of {}", sanitise::line(sweep)));
    } else if record.state == TrialState::Pending {
        text.push_str("; to be tried again");
    } else if record.state != TrialState::Succeeded {
        text.push_str(&format!("; the trial is {}", record.state));
    }
    text
}
