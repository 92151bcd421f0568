//! One trial as `trials ls` and `trials show` print it, whether it is settled or goes on.
//! Invariant: the same keys for both, absent where there is nothing to say.

use serde::{Deserialize, Serialize};

use crate::id::{TrialId, WorkerId};
use crate::record::{Class, Exit, MetricValue, Record, TrialState};
use crate::sched::LiveTrial;
use crate::value::Params;

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialLine {
    /// Its id.
    pub trial: TrialId,
    /// Its place in the version.
    pub index: u64,
    /// Its state.
    pub state: TrialState,
    /// Its objective.
    pub objective: Option<MetricValue>,
    /// Its parameters.
    pub params: Params,
    /// Its metrics.
    #[serde(with = "crate::leaderboard::as_map")]
    pub metrics: Vec<(String, MetricValue)>,
    /// Its repeat.
    pub repeat: u32,
    /// Attempts so far.
    pub attempts: u32,
    /// How the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// How its process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The line that looks like its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// On which machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Seconds that the last attempt took, or for which a worker has had it so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// The objective's latest (step, value), while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<(i64, MetricValue)>,
    /// Where it was computed, if it was known: the sweep's name and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_from: Option<(String, u32)>,
}

impl TrialLine {
    /// A trial after the attempt that `record` tells of.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
    pub fn after(record: Record) -> Self {
        let report = record.report;
        Self {
            trial: report.trial,
            index: record.index,
            state: record.state,
            objective: report.objective,
            params: record.params,
            metrics: report.metrics,
            repeat: record.repeat,
            attempts: report.token.attempt,
            class: Some(report.class),
            exit: report.exit,
            error: report.error,
            worker: Some(record.worker),
            host: Some(record.host),
            duration_s: Some(report.duration_ms as f64 / 1000.0),
            progress: None,
            known_from: record.known_from,
        }
    }

    /// A trial that has begun and is not settled.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
    pub fn live(live: LiveTrial, (params, repeat): (Params, u32)) -> Self {
        Self {
            trial: live.trial,
            index: live.index,
            state: live.state,
            objective: None,
            params,
            metrics: Vec::new(),
            repeat,
            attempts: live.attempt,
            class: None,
            exit: None,
            error: None,
            worker: live.worker,
            host: live.host,
            duration_s: live.held_ms.map(|held| held as f64 / 1000.0),
            progress: live.progress.map(|(step, value)| (step, MetricValue(value))),
            known_from: None,
        }
    }

    /// Whether an attempt of it has begun, and none goes on.
    #[must_use]
    pub fn is_to_be_tried_again(&self) -> bool {
        self.state == TrialState::Pending && self.attempts > 0
    }

    /// Takes over how its last attempt ended.
    pub fn ended_last(&mut self, last: Self) {
        (self.class, self.exit, self.error) = (last.class, last.exit, last.error);
        (self.worker, self.host, self.duration_s) = (last.worker, last.host, last.duration_s);
    }
}
