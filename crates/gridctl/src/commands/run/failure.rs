//! The first failure of a sweep, shown at once: most sweeps that fail do so from the first trial on.
//! Invariant: what the trainer printed cannot move the cursor, and is short.

use std::fmt::Write as _;
use std::time::Duration;

use gridctl_core::attempt::Budget;
use gridctl_core::record::{Class, Record};

use super::Hint;
use crate::commands::trials::exit;
use crate::output::{number, sanitise};

/// Lines of the log that are shown.
const LINES: usize = 20;
/// Characters of each.
const WIDTH: usize = 160;

/// Whether an attempt ended in a way that its author must know of.
pub(super) fn counts(record: &Record) -> bool {
    Budget::of(record.report.class) == Some(Budget::Failures)
}

/// What is said about it.
pub(super) fn describe(record: &Record, metric: &str, hint: &Hint) -> String {
    let report = &record.report;
    let trial = report.trial.short();
    let mut text = format!(
        "trial {trial} {}{} after {} on {}",
        what(report.class),
        report.exit.map_or_else(String::new, |end| format!(" ({})", exit(end))),
        number::duration(Duration::from_millis(report.duration_ms)),
        sanitise::line(&record.host)
    );
    let params: Vec<String> =
        record.params.iter().take(12).map(|(name, value)| format!("{name}={}", value.to_json())).collect();
    let _ = write!(text, "\n  with {}", sanitise::short(&params.join(" "), WIDTH));
    if report.class == Class::NoMetric {
        let metric = sanitise::line(metric);
        let _ = write!(text, "\n  it ended with exit 0, but never said what `{metric}` is");
        for miss in &report.near_misses {
            let _ = write!(text, "\n  {}", sanitise::short(miss, 3 * WIDTH));
        }
        let _ = write!(
            text,
            "\n  help: print a line such as `::metric {metric}=0.5`, or `{metric}=0.5`, on stdout or stderr"
        );
    } else if let Some(error) = &report.error {
        let _ = write!(text, "\n  {}", sanitise::short(error, WIDTH));
    }
    text.push_str(&last_lines(&report.log));
    let _ = write!(text, "\n  see more: {}", hint.command(&format!("logs {trial}")));
    text
}

fn what(class: Class) -> &'static str {
    match class {
        Class::NoMetric => "ended without its metric",
        Class::Oom => "ran out of memory",
        Class::Timeout => "ran over its timeout",
        _ => "failed",
    }
}

fn last_lines(log: &str) -> String {
    let text = log.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "\n  it printed nothing".to_owned();
    }
    let from = lines.len().saturating_sub(LINES);
    let mut out =
        if from > 0 { format!("\n  its last {LINES} lines:") } else { "\n  it printed:".to_owned() };
    for line in &lines[from..] {
        out.push_str("\n  | ");
        out.push_str(&sanitise::short(line, WIDTH));
    }
    out
}
