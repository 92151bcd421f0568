//! One screen about a sweep: how far it is, its best point, what runs, what failed.
//! Invariant: no line is longer than the terminal, and there are no more lines than it has.

use gridctl_core::leaderboard::Row;
use gridctl_core::sched::SweepStatus;
use gridctl_core::trials::TrialLine;

use crate::commands::run::progress;
use crate::commands::trials;
use crate::output::causes::Cause;
use crate::output::table::TableColumns;
use crate::output::{number, rows, sanitise, sentence};

/// Causes of failures that are shown.
const CAUSES: usize = 5;
/// Columns of the bar.
const BAR: usize = 60;

/// What a screen shows.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) status: SweepStatus,
    /// The metric's name; empty if nothing is ranked.
    pub(super) metric: String,
    pub(super) best: Option<Row>,
    /// Trials with workers.
    pub(super) held: Vec<TrialLine>,
    pub(super) causes: Vec<Cause>,
}

/// The screen of a terminal with so many columns and lines.
pub(super) fn of(view: &View, (columns, lines): (usize, usize)) -> String {
    let status = &view.status;
    let metric = if view.metric.is_empty() { "objective" } else { &view.metric };
    let mut all = vec![
        format!("{}  version {}  {}", status.sweep, status.version, status.state.as_str()),
        bar(status, columns),
        progress::line(status, metric, None),
    ];
    if let Some(best) = &view.best {
        all.push(String::new());
        let value = best.objective.map_or_else(String::new, |value| number::metric(value.0));
        all.push(format!("best  {}  {metric} {value}", best.trial.short()));
        let pairs =
            best.params.iter().map(|(name, value)| format!("{name}={}", rows::shown_value(Some(value))));
        all.push(format!("      {}", pairs.collect::<Vec<_>>().join("  ")));
    }
    // Failures and notes come below what runs, and are short: what runs gets the rest of the lines.
    let mut below = Vec::new();
    if !view.causes.is_empty() {
        below.extend([String::new(), "failures".to_owned()]);
        let shown = view.causes.iter().take(CAUSES);
        below.extend(
            shown.map(|cause| format!("{:>6}  {}, {} for example", cause.trials, cause.text, cause.first)),
        );
        let more = view.causes.len().saturating_sub(CAUSES);
        if more > 0 {
            below.push(format!("        and {} more", number::of(more as u64, "cause")));
        }
    }
    below.extend(status.notices.iter().map(|notice| format!("note: {}", sentence::notice(notice))));
    below.extend([String::new(), "Ctrl-C ends this view; the sweep goes on".to_owned()]);
    let room = lines.saturating_sub(all.len() + below.len() + 3);
    if !view.held.is_empty() && room > 0 {
        all.push(String::new());
        all.extend(held(&view.held, metric, room, columns).lines().map(str::to_owned));
        let more = view.held.len().saturating_sub(room);
        if more > 0 {
            all.push(format!("... and {} more", number::count(more as u64)));
        }
    }
    all.append(&mut below);
    let shown = all.iter().take(lines.saturating_sub(1)).map(|line| sanitise::short(line, columns.max(1)));
    shown.collect::<Vec<_>>().join("\n")
}

fn bar(status: &SweepStatus, columns: usize) -> String {
    let (done, of) = (progress::done(status), progress::points(status).max(1));
    let width = BAR.min(columns.saturating_sub(2));
    let full = usize::try_from(done.min(of) * width as u64 / of).unwrap_or(width);
    format!("[{}{}]", "#".repeat(full), "-".repeat(width - full))
}

/// What runs, or waits in a slot: the longest first.
fn held(held: &[TrialLine], metric: &str, room: usize, columns: usize) -> String {
    let mut held: Vec<&TrialLine> = held.iter().collect();
    held.sort_by(|one, other| other.duration_s.unwrap_or(0.0).total_cmp(&one.duration_s.unwrap_or(0.0)));
    let all: Vec<TrialLine> = held.iter().map(|line| (*line).clone()).collect();
    let params = trials::names(&all, true);
    let headings = ["with workers".to_owned(), ">for".to_owned(), ">step".to_owned(), format!(">{metric}")];
    let headings = headings.into_iter().chain(params.iter().map(|name| format!(">{name}")));
    let headings: Vec<String> = headings.chain(["on".to_owned()]).collect();
    let mut table = TableColumns::new(headings.iter().map(String::as_str));
    for trial in held.into_iter().take(room) {
        let mut cells = vec![trial.trial.short()];
        cells.push(trial.duration_s.map_or_else(String::new, number::seconds));
        let (step, value) = trial
            .progress
            .map_or_else(Default::default, |(step, value)| (step.to_string(), number::metric(value.0)));
        cells.extend([step, value]);
        cells.extend(params.iter().map(|name| rows::shown_value(trial.params.get(name))));
        cells.push(trial.host.clone().unwrap_or_default());
        table.row(cells);
    }
    table.render_in(columns)
}

#[cfg(test)]
mod tests {
    use gridctl_core::id::TrialId;
    use gridctl_core::record::{Class, MetricValue, TrialState};
    use gridctl_core::sched::{Best, SweepPhase};
    use gridctl_core::value::{Params, Value};
    use gridctl_core::view::SweepState;

    use super::*;
    use crate::output::causes;

    fn status() -> SweepStatus {
        SweepStatus {
            sweep: "wine".to_owned(),
            id: None,
            version: 2,
            state: SweepState::Running,
            total: 60,
            pending: 40,
            leased: 3,
            succeeded: 11,
            failed: 6,
            quarantined: 0,
            cancelled: 0,
            excluded: 0,
            best: Some(Best { trial: TrialId([0; 10]), index: 0, objective: MetricValue(0.751_234_9) }),
            eta_s: Some(40.0),
            phase: SweepPhase::Running,
            notices: Vec::new(),
            waiting: 0,
            failures: 6,
            lost: 0,
            workers: 1,
            repeats: 1,
        }
    }

    fn trial(nth: u8, host: &str, error: Option<&str>) -> TrialLine {
        let params = Params::new(vec![
            ("lr".into(), Value::Float(0.1 / f64::from(nth))),
            ("optimizer".into(), Value::Str("adam".to_owned())),
        ]);
        TrialLine {
            trial: TrialId([nth; 10]),
            index: u64::from(nth),
            state: if error.is_some() { TrialState::Failed } else { TrialState::Leased },
            objective: None,
            params,
            metrics: Vec::new(),
            repeat: 0,
            attempts: 1,
            class: error.map(|_| Class::Failed),
            exit: None,
            error: error.map(str::to_owned),
            worker: None,
            host: Some(host.to_owned()),
            duration_s: Some(f64::from(nth) * 31.0),
            progress: Some((i64::from(nth), MetricValue(0.5))),
            known_from: None,
        }
    }

    fn view(host: &str, error: &str) -> View {
        let failed =
            [trial(1, host, Some(error)), trial(2, host, Some("KeyError: 'x'")), trial(3, host, Some(error))];
        let held = (1..=9).map(|nth| trial(nth, host, None)).collect();
        View {
            status: status(),
            metric: "accuracy".to_owned(),
            best: None,
            held,
            causes: causes::of(&failed),
        }
    }

    #[test]
    fn a_screen_of_80_columns_shows_what_runs_and_what_failed() {
        insta::assert_snapshot!(of(&view("alpha", "CUDA error 700 at 0x7f00"), (80, 24)));
    }

    #[test]
    fn h64_c11_whatever_is_shown_stays_within_the_terminal() {
        let hostile = "\u{1b}[2J漢字\u{202e}\u{301}\u{301}\u{301}".repeat(20);
        let shown = view(&hostile, &hostile);
        for (columns, lines) in [(80, 24), (140, 50), (40, 10), (20, 5), (1, 1), (0, 0)] {
            let screen = of(&shown, (columns, lines));
            assert!(screen.lines().count() <= lines.max(1), "{columns}x{lines}\n{screen}");
            let widest = screen.lines().map(sanitise::width).max().unwrap_or(0);
            assert!(widest <= columns.max(3), "{columns}x{lines}: {widest}\n{screen}");
            assert!(!screen.chars().any(|c| c != '\n' && sanitise::is_hostile(c)), "{screen:?}");
        }
    }
}
