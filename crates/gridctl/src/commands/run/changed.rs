//! Outcomes of other code: says what changed, and asks what they are worth.
//! Invariant: without a terminal nothing is assumed.

use std::io::{BufRead as _, IsTerminal as _};

use gridctl_core::view::Changed;

use crate::exit::{Exit, Failure};
use crate::output::{self, number, sanitise, sentence};
use gridctl_core::spec::Diagnostic;

/// What the master found.
#[derive(Debug)]
pub(crate) struct ChangedFiles {
    /// The sweep.
    pub(crate) sweep: String,
    /// The version before.
    pub(crate) version: u32,
    /// What is different.
    pub(crate) lines: Vec<String>,
    /// Trials that ended with a success.
    pub(crate) succeeded: u64,
    /// Trials that ended without one.
    pub(crate) failed: u64,
    /// Files by which they may have disturbed each other.
    pub(crate) disturbed: Vec<String>,
}

/// Asks on a terminal; an error that says what to type where there is none. Where nothing succeeded, there is
/// nothing to be asked.
pub(crate) fn ask(found: &ChangedFiles) -> Result<Changed, Failure> {
    if found.succeeded == 0 && found.disturbed.is_empty() {
        output::say(describe(found).replace('\n', "\n  "));
        output::say("nothing had succeeded, so that everything is tried again");
        return Ok(Changed::Failed);
    }
    let interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !interactive {
        return Err(refusal(found));
    }
    output::say(describe(found).replace('\n', "\n  "));
    doubt(found).iter().for_each(output::say);
    output::say(format_args!(
        "[k] keep them all   [f] keep the {} successes, try the others again   [a] try everything again   [q] quit",
        number::count(found.succeeded)
    ));
    for _ in 0..5 {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer).unwrap_or(0);
        match answer.trim() {
            "k" | "keep" => return Ok(Changed::Keep),
            "f" | "failed" => return Ok(Changed::Failed),
            "a" | "all" => return Ok(Changed::All),
            "" | "q" | "quit" => break,
            _ if read == 0 => break,
            _ => output::say("k, f, a or q?"),
        }
    }
    Err(Failure::new(Exit::Declined, Diagnostic::error("run::declined", "nothing was started")))
}

/// Says which files came or changed since and count as written by trainers.
pub(crate) fn note_left(left: &[String]) {
    const NAMED: usize = 5;
    if left.is_empty() {
        return;
    }
    let named: Vec<String> = left.iter().take(NAMED).map(|path| sanitise::short(path, 80)).collect();
    let more = match left.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {} more", number::count(more as u64)),
    };
    output::say(format_args!(
        "taken for what trainers write, and no code: {}{more}; if it is code, say --changed keep, failed or all",
        named.join(", ")
    ));
}

/// Says what became of results whose metrics were read in another way than the sweep file says now.
pub(crate) fn note_reading(read_again: u64, lost: u64, unread: u64) {
    if read_again > 0 {
        let results = number::of(read_again, "result");
        output::say(format_args!(
            "{results} read again from the logs, as metrics are read in another way now, or were declared since"
        ));
    }
    if unread > 0 {
        output::say(format_args!(
            "{} kept without the metrics that were declared since: what was printed is not all in the log",
            number::of(unread, "result")
        ));
    }
    if lost > 0 {
        output::say(format_args!(
            "{} tried again: metrics are read in another way now, and what was printed is not all in the log",
            number::of(lost, "trial")
        ));
    }
}

fn describe(found: &ChangedFiles) -> String {
    let mut text = format!(
        "`{}` has changed since version {}, which has {} successes and {} failed trials:",
        found.sweep,
        found.version,
        number::count(found.succeeded),
        number::count(found.failed)
    );
    for line in &found.lines {
        text.push('\n');
        text.push_str(&sanitise::short(line, 160));
    }
    text
}

/// Why no outcome is worth keeping, where they may be wrong.
fn doubt(found: &ChangedFiles) -> Option<String> {
    (!found.disturbed.is_empty()).then(|| {
        format!(
            "only --changed all makes sense: trials that ran together may have disturbed each other by {}, and --changed keep \
             and failed keep numbers that may be wrong",
            sentence::names(&found.disturbed)
        )
    })
}

fn refusal(found: &ChangedFiles) -> Failure {
    if let Some(doubt) = doubt(found) {
        return Failure::usage("run::changed", describe(found)).help(doubt);
    }
    let mut help =
        "say what the outcomes are worth: --changed keep takes them as they are, --changed failed tries those without success again, \
         --changed all tries everything again"
            .to_owned();
    if found.lines.iter().any(|line| line.starts_with("file ")) {
        help.push_str("; files that trainers write are no code once .gridctlignore names them");
    }
    Failure::usage("run::changed", describe(found)).help(help)
}
