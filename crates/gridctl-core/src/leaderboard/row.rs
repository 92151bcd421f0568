//! The rows of a leaderboard: from records, and for points with repeats their mean and spread.
//! Invariant: what is averaged succeeded; a row has no rank before it is ranked.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::query::Layout;
use crate::id::{CodeHash, Token, TrialId, WorkerId};
use crate::metrics::ReadBy;
use crate::record::{Class, MetricValue, Record, TrialState};
use crate::value::{Params, Value};

/// What the leaderboard reads of a [`Record`]; reads its JSON without building the rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Brief {
    /// The place in the version.
    pub index: u64,
    /// The trial.
    pub trial: TrialId,
    /// The trial less its repeat.
    pub point: TrialId,
    /// The repeat.
    pub repeat: u32,
    /// The code's mark.
    pub code: CodeHash,
    /// The generation.
    pub generation: u32,
    /// The trial's state after this end.
    pub state: TrialState,
    /// The parameters.
    pub params: Params,
    /// The worker.
    pub worker: WorkerId,
    /// The token; its attempt is how many there were.
    pub token: Token,
    /// The objective.
    #[serde(default)]
    pub objective: Option<MetricValue>,
    /// The metrics.
    pub metrics: Vec<(String, MetricValue)>,
    /// The spread of those that are means of what one attempt printed.
    #[serde(default)]
    pub spreads: Vec<(String, MetricValue)>,
    /// How long it took.
    pub duration_ms: u64,
    /// How the attempt ended.
    pub class: Class,
    /// What read its metrics.
    #[serde(default)]
    pub read_by: ReadBy,
}

impl Brief {
    /// The seed that the trial's id is hashed with: 0 where the repeats are an axis.
    #[must_use]
    pub fn seed(&self) -> u32 {
        if TrialId::of(&self.params, self.repeat) == self.trial { self.repeat } else { 0 }
    }
}

impl From<&Record> for Brief {
    fn from(record: &Record) -> Self {
        Self {
            index: record.index,
            trial: record.report.trial,
            point: record.point,
            repeat: record.repeat,
            code: record.code,
            generation: record.generation,
            state: record.state,
            params: record.params.clone(),
            worker: record.worker,
            token: record.report.token,
            objective: record.report.objective,
            metrics: record.report.metrics.clone(),
            spreads: record.report.spreads.clone(),
            duration_ms: record.report.duration_ms,
            class: record.report.class,
            read_by: record.read_by.clone(),
        }
    }
}

/// One row of the leaderboard: a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its place by the objective among all that have one, from 1, in whatever order and company it is shown; none where nothing
    /// ranks it.
    pub rank: Option<u64>,
    /// Its trial; of several repeats the best.
    pub trial: TrialId,
    /// The trial's place in the version.
    pub index: u64,
    /// `succeeded`; with repeats `failed` if one of them failed, `pending` if one is missing.
    pub state: TrialState,
    /// The objective; with repeats the mean of those that were seen.
    pub objective: Option<MetricValue>,
    /// The parameters, without an axis that is averaged over.
    pub params: Params,
    /// The metrics, sorted by name; means as for the objective.
    #[serde(with = "as_map")]
    pub metrics: Vec<(String, MetricValue)>,
    /// How many repeats were seen.
    pub repeats: u64,
    /// Of how many.
    pub repeats_total: u64,
    /// Attempts that were made, over all repeats.
    pub attempts: u64,
    /// Who computed it; of several repeats the best.
    pub worker: WorkerId,
    /// Seconds that it took; mean over the repeats.
    pub duration_s: f64,
    /// Sample standard deviation of the objective: over the repeats, from two of them on; without
    /// repeats of the values that it is the mean of, if it is (`report: mean`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective_std: Option<MetricValue>,
    /// The same of each metric.
    #[serde(default, with = "as_map", skip_serializing_if = "Vec::is_empty")]
    pub metrics_std: Vec<(String, MetricValue)>,
}

/// What stands before a parameter's name, and a metric's, to tell them apart: the JSON's own words.
pub const PARAMS: &str = "params.";
/// The same of metrics.
pub const METRICS: &str = "metrics.";

/// (name, value) pairs as one JSON object.
pub(crate) mod as_map {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::record::MetricValue;

    pub(crate) fn serialize<S: Serializer>(
        pairs: &[(String, MetricValue)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, MetricValue)>, D::Error> {
        let map = std::collections::BTreeMap::<String, MetricValue>::deserialize(deserializer)?;
        Ok(map.into_iter().collect())
    }
}

impl Row {
    /// What a filter or a sort means by `name`: a parameter, a metric, or one of the row's own values; `params.NAME` and
    /// `metrics.NAME` tell the first two apart. A value that is not finite counts as missing.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        let float = |value: f64| value.is_finite().then_some(Value::Float(value));
        let param = |name: &str| self.params.get(name).cloned();
        let metric = |name: &str| self.metrics.iter().find(|(known, _)| known == name).map(|(_, it)| it.0);
        if let Some(value) = param(name) {
            return Some(value);
        }
        if let Some(value) = metric(name) {
            return float(value);
        }
        if let Some(name) = name.strip_prefix(PARAMS) {
            return param(name);
        }
        if let Some(name) = name.strip_prefix(METRICS) {
            return metric(name).and_then(float);
        }
        match name {
            "objective" => self.objective.and_then(|value| float(value.0)),
            "index" => i64::try_from(self.index).ok().map(Value::Int),
            "attempts" => i64::try_from(self.attempts).ok().map(Value::Int),
            "duration_s" => float(self.duration_s),
            _ => None,
        }
    }
}

/// The row of a trial that is a point by itself, where `objective` is what ranks; no rank yet.
pub(super) fn single(brief: Brief, objective: Option<&str>) -> Row {
    let spread = brief.spreads.iter().find(|(name, _)| Some(name.as_str()) == objective);
    Row {
        objective_std: spread.map(|(_, spread)| *spread),
        metrics_std: brief.spreads,
        rank: None,
        trial: brief.trial,
        index: brief.index,
        state: brief.state,
        objective: brief.objective,
        params: brief.params,
        metrics: brief.metrics,
        repeats: 1,
        repeats_total: 1,
        attempts: u64::from(brief.token.attempt),
        worker: brief.worker,
        duration_s: seconds(brief.duration_ms),
    }
}

/// The rows of the best trials as an index gave them, ranked from `offset` + 1 on as far as they have an objective; for versions
/// without repeats that rank by `objective`.
#[must_use]
pub fn ranked(briefs: Vec<Brief>, offset: u64, objective: Option<&str>) -> Vec<Row> {
    let row = |(brief, place): (Brief, u64)| {
        let has_value = brief.objective.is_some_and(|value| value.0.is_finite());
        Row { rank: has_value.then_some(place), ..single(brief, objective) }
    };
    briefs.into_iter().zip(offset + 1..).map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// The row of a point with repeats; `None` if none of them succeeded.
pub(super) fn averaged(layout: &Layout, mut trials: Vec<Brief>) -> Option<Row> {
    trials.sort_by_key(|brief| (brief.repeat, brief.index));
    let attempts = trials.iter().map(|brief| u64::from(brief.token.attempt)).sum();
    let failed = trials.iter().any(|brief| brief.state != TrialState::Succeeded);
    trials.retain(|brief| brief.state == TrialState::Succeeded);
    let first = trials.first()?;
    let best = best_of(layout, &trials).unwrap_or(first);
    let seen = trials.len() as u64;
    let state = match failed {
        true => TrialState::Failed,
        false if seen < layout.repeats => TrialState::Pending,
        false => TrialState::Succeeded,
    };
    let objectives: Option<Vec<f64>> =
        trials.iter().map(|brief| brief.objective.map(|value| value.0)).collect();
    let names: BTreeSet<&str> =
        trials.iter().flat_map(|brief| brief.metrics.iter().map(|(name, _)| name.as_str())).collect();
    let mut metrics = Vec::with_capacity(names.len());
    let mut metrics_std = Vec::new();
    for name in names {
        let value =
            |brief: &Brief| brief.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| value.0);
        let values: Vec<f64> = trials.iter().filter_map(value).collect();
        metrics.push((name.to_owned(), MetricValue(mean(&values))));
        if let Some(std) = std(&values) {
            metrics_std.push((name.to_owned(), MetricValue(std)));
        }
    }
    let durations: Vec<f64> = trials.iter().map(|brief| seconds(brief.duration_ms)).collect();
    Some(Row {
        rank: None,
        trial: best.trial,
        index: trials.iter().map(|brief| brief.index).min().unwrap_or(first.index),
        state,
        objective: objectives.as_ref().map(|values| MetricValue(mean(values))),
        params: without(&first.params, layout.repeat_axis.as_deref()),
        metrics,
        repeats: seen,
        repeats_total: layout.repeats,
        attempts,
        worker: best.worker,
        duration_s: mean(&durations),
        objective_std: objectives.as_ref().and_then(|values| std(values)).map(MetricValue),
        metrics_std,
    })
}

/// The repeat with the best value; of equal ones the first.
fn best_of<'t>(layout: &Layout, trials: &'t [Brief]) -> Option<&'t Brief> {
    let (_, goal) = layout.objective.as_ref()?;
    let mut best: Option<(&Brief, f64)> = None;
    for trial in trials {
        let Some(value) = trial.objective.map(|value| value.0) else { continue };
        if best.is_none_or(|(_, known)| goal.better(value, known)) {
            best = Some((trial, value));
        }
    }
    best.map(|(trial, _)| trial)
}

fn without(params: &Params, axis: Option<&str>) -> Params {
    let kept = params.iter().filter(|(name, _)| axis != Some(name));
    Params::new(kept.map(|(name, value)| (Arc::from(name), value.clone())).collect())
}

/// The mean; NaN of nothing.
#[expect(clippy::cast_precision_loss, reason = "nobody repeats a trial 2^53 times")]
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation; none of fewer than two values.
#[expect(clippy::cast_precision_loss, reason = "nobody repeats a trial 2^53 times")]
fn std(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}
