//! Progress on stderr: a bar on a terminal, plain lines elsewhere.
//! Invariant: stdout is never written to, and what is said in between does not tear the bar.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gridctl_core::sched::{SweepState, SweepStatus};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock;
use crate::output::{self, number, sanitise, sentence};

/// Between two plain lines.
const EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
pub(crate) struct Progress {
    began: Instant,
    metric: String,
    slots: u64,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Instant, results: bool },
}

impl Progress {
    /// Progress of a sweep that ranks by `metric`, of which `slots` trials run at once.
    pub(crate) fn new(quiet: bool, metric: &str, slots: u64) -> Self {
        let began = clock::now();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let shown = if quiet {
            Shown::Nothing
        } else if output::terminal_width(std::io::stderr()).is_some() && !dumb {
            Shown::Bar(ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(8)))
        } else {
            Shown::Lines { last: began, results: false }
        };
        Self { began, metric: sanitise::short(metric, 30), slots, shown }
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Shows where the sweep stands.
    pub(crate) fn update(&mut self, status: &SweepStatus) {
        let text = line(status, &self.metric, Some(self.slots));
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_length(points(status).max(1));
                bar.set_position(done(status));
                bar.set_style(style(&text, output::terminal_width(std::io::stderr()).unwrap_or(80)));
                bar.set_message(text);
            }
            Shown::Lines { last, results } => {
                let first = !*results && status.succeeded > 0;
                if first || last.elapsed() >= EVERY {
                    *results |= first;
                    *last = clock::now();
                    output::say(format_args!("[{}] {text}", number::duration(self.began.elapsed())));
                }
            }
        }
    }

    /// Says something beside the progress.
    pub(crate) fn say(&self, text: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| output::say(text)),
            Shown::Nothing | Shown::Lines { .. } => output::say(text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// A bar as long as the text leaves room for; none where that is little.
fn style(text: &str, width: usize) -> ProgressStyle {
    let template = match width.saturating_sub(sanitise::width(text) + 2).min(24) {
        0..8 => "{wide_msg}".to_owned(),
        bar => format!("{{bar:{bar}}} {{wide_msg}}"),
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("##-")
}

/// Trials that are some.
pub(crate) fn points(status: &SweepStatus) -> u64 {
    status.total.saturating_sub(status.excluded)
}

/// Trials that are settled.
pub(crate) fn done(status: &SweepStatus) -> u64 {
    status.succeeded + status.failed + status.quarantined + status.cancelled
}

/// `12/54, 1 failed, 40s to go, best accuracy 0.7512 (k3f9x2ab), 2 running`; of what workers hold at most `slots` are running.
pub(crate) fn line(status: &SweepStatus, metric: &str, slots: Option<u64>) -> String {
    let mut text = format!("{}/{}", number::count(done(status)), number::count(points(status)));
    let failed = status.failed + status.quarantined;
    if failed > 0 {
        let _ = write!(text, ", {} failed", number::count(failed));
    }
    if status.lost > 0 {
        let _ = write!(text, ", {} lost and tried again", number::of(status.lost, "attempt"));
    }
    if let Some(eta) = status.eta_s.filter(|_| !status.state.is_over()) {
        let _ = write!(text, ", {} to go", number::seconds(eta));
    }
    if let Some(best) = &status.best {
        let _ = write!(text, ", best {metric} {} ({})", number::metric(best.objective.0), best.trial.short());
    } else if status.none_complete() {
        text.push_str(", best: none complete yet");
    }
    match slots {
        _ if status.leased == 0 => {}
        _ if status.state == SweepState::Interrupted => {
            let _ = write!(text, ", {} not ended", number::count(status.leased));
        }
        Some(slots) => {
            let _ = write!(text, ", {} running", number::count(status.leased.min(slots)));
        }
        None => {
            let _ = write!(text, ", {} with workers", number::count(status.leased));
        }
    }
    match status.waiting {
        0 => {}
        1 => text.push_str(", 1 waits to be tried again"),
        more => {
            let _ = write!(text, ", {} wait to be tried again", number::count(more));
        }
    }
    if let Some(reason) = sentence::reason(status.phase) {
        let _ = write!(text, "; {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use gridctl_core::id::TrialId;
    use gridctl_core::record::MetricValue;
    use gridctl_core::sched::{Best, SweepPhase};

    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let mut status = SweepStatus {
            sweep: "x".to_owned(),
            id: None,
            version: 1,
            state: SweepState::Running,
            total: 60,
            pending: 40,
            leased: 2,
            succeeded: 11,
            failed: 1,
            quarantined: 0,
            cancelled: 0,
            excluded: 6,
            best: None,
            eta_s: None,
            phase: SweepPhase::Running,
            notices: Vec::new(),
            waiting: 0,
            failures: 1,
            lost: 0,
            workers: 1,
            repeats: 1,
        };
        assert_eq!(line(&status, "accuracy", Some(8)), "12/54, 1 failed, 2 running");
        status.best = Some(Best { trial: TrialId([0; 10]), index: 0, objective: MetricValue(0.751_234_9) });
        status.eta_s = Some(40.0);
        assert_eq!(
            line(&status, "accuracy", Some(8)),
            "12/54, 1 failed, 40s to go, best accuracy 0.751235 (aaaaaaaa), 2 running"
        );
        (status.best, status.leased, status.waiting) = (None, 0, 2);
        let repeated = SweepStatus { repeats: 3, eta_s: None, waiting: 0, ..status.clone() };
        assert_eq!(line(&repeated, "accuracy", None), "12/54, 1 failed, best: none complete yet");
        assert_eq!(line(&status, "accuracy", None), "12/54, 1 failed, 40s to go, 2 wait to be tried again");
        status.leased = 3;
        assert_eq!(line(&status.without_master(), "accuracy", None), "12/54, 1 failed, 3 not ended");
    }
}
