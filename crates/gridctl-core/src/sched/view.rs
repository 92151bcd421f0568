//! A sweep as people see it.
//! Invariant: the states add up to the trials there are.

use super::attempt_sums::{LeftOut, MachineFaults, Unsure};
use super::phase::SweepPhase;
use super::status::{Best, SweepStatus};
use super::sweep::{ENDS_KEPT, Sweep};
use crate::id::Time;
use crate::notice::Notice;
use crate::record::MetricValue;

impl Sweep {
    /// The sweep as people see it.
    #[must_use]
    pub fn status(&self, now: Time) -> SweepStatus {
        let total = self.points.len();
        let [succeeded, failed, quarantined, cancelled, excluded] =
            self.trials.settled().all().map(|(_, set)| set.len());
        let rest = total - (succeeded + failed + quarantined + cancelled + excluded + self.trials.leased());
        let over = self.phase.is_closed();
        SweepStatus {
            sweep: self.name().to_owned(),
            id: Some(self.id),
            version: self.version,
            state: self.phase.into(),
            phase: self.phase,
            total,
            pending: if over { 0 } else { rest },
            leased: self.trials.leased(),
            succeeded,
            failed,
            quarantined,
            cancelled: if over { cancelled + rest } else { cancelled },
            excluded,
            best: self.best.map(|(objective, pos)| {
                let index = self.points.index_at(pos);
                Best { trial: self.points.trial_id(index), index, objective: MetricValue(objective) }
            }),
            eta_s: match self.phase {
                SweepPhase::Running | SweepPhase::Stopping => self.eta_s(now, rest + self.trials.leased()),
                SweepPhase::Paused(_) => None,
                SweepPhase::Closed(_) => Some(0.0),
            },
            notices: self.notices(),
            waiting: self.trials.waits().len() as u64,
            failures: self.failures,
            lost: self.lost,
            workers: 0,
            repeats: self.points.repeats(),
        }
    }

    fn notices(&self) -> Vec<Notice> {
        let left_out = self.left_out.map(|LeftOut { files, attempts, first }| Notice::FilesLeftOut {
            files,
            attempts,
            first: self.trial_id(first),
        });
        let unsure = self.unsure.clone().map(|Unsure { attempts, first, doubt }| Notice::Unsure {
            attempts,
            first: self.trial_id(first),
            doubt,
        });
        let faults = self.faults.clone().map(|MachineFaults { attempts, last, fault }| {
            Notice::MachineFaults { attempts, last: self.trial_id(last), fault }
        });
        left_out
            .into_iter()
            .chain(unsure)
            .chain(faults)
            .chain(self.observed.notices(self.frozen.spec.isolate))
            .collect()
    }

    /// Seconds that `left` trials take at the pace of the last ends, counted from the first grant while there are few; no fewer than
    /// the last of those that wait must wait, and are then tried.
    #[expect(clippy::cast_precision_loss, reason = "a forecast for people")]
    fn eta_s(&self, now: Time, left: u64) -> Option<f64> {
        let oldest = *self.ends.front()?;
        let from = if self.ends.len() < ENDS_KEPT { self.begun.unwrap_or(oldest) } else { oldest };
        let (ends, span) = (self.ends.len(), now.ms_since(from));
        let each = (ends >= 2 && span > 0).then(|| (span as f64 / 1000.0) / ends as f64)?;
        let waits =
            self.trials.waits().next_back().map(|(until, _)| until.ms_since(now) as f64 / 1000.0 + each);
        Some((left as f64 * each).max(waits.unwrap_or(0.0)))
    }
}
