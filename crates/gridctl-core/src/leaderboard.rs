//! The leaderboard: from the ends of trials to ranked rows, repeats averaged. One function for a master and for a reader without one.
//! Invariant: a value that is not finite is never best, ties go to the lower index, and what was not seen is not made up.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::expr::{EvalError, Expr, ExprError};
use crate::id::{CodeHash, Token, TrialId, WorkerId};
use crate::record::{MetricValue, Record, TrialState};
use crate::spec::{AxisValues, Goal, Repeats, SweepSpec};
use crate::value::{Params, Value};

/// What a filter can name beside parameters and metrics.
const OWN_NAMES: [&str; 4] = ["objective", "index", "attempts", "duration_s"];

/// What the leaderboard must know of a sweep's version.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The metric that ranks, and which way is better; without one nothing is ranked.
    pub objective: Option<(String, Goal)>,
    /// How many trials make a point.
    pub repeats: u64,
    /// The axis that is averaged over, if it is one: no row shows it.
    pub repeat_axis: Option<String>,
    /// The parameters' names.
    pub axes: Vec<String>,
    /// The declared metrics' names.
    pub metrics: Vec<String>,
}

impl Layout {
    /// The layout of a version.
    #[must_use]
    pub fn of(spec: &SweepSpec) -> Self {
        let (repeats, axis) = match spec.repeats {
            Repeats::Seeds(seeds) => (u64::from(seeds.max(1)), None),
            Repeats::Axis(place) => {
                let axis = spec.axes.get(place);
                (axis.map_or(1, |axis| count(&axis.values)), axis.map(|axis| axis.name.clone()))
            }
        };
        let objective = spec.objective.as_ref().map(|it| (it.metric.name.clone(), it.goal));
        let declared = objective.iter().map(|(name, _)| name.clone());
        Self {
            repeats,
            repeat_axis: axis,
            axes: spec.axes.iter().map(|axis| axis.name.clone()).collect(),
            metrics: declared.chain(spec.metrics.iter().map(|metric| metric.name.clone())).collect(),
            objective,
        }
    }
}

fn count(values: &AxisValues) -> u64 {
    match values {
        AxisValues::List(items) => items.len() as u64,
        AxisValues::IntRange { count, .. }
        | AxisValues::FloatRange { count, .. }
        | AxisValues::Spaced { count, .. } => *count,
    }
}

/// What is asked of the leaderboard.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// At most so many rows; `None`: all.
    pub k: Option<usize>,
    /// Skip so many.
    pub offset: usize,
    /// Only rows for which this is true.
    pub filter: Option<Expr>,
    /// By this metric, parameter or own name in place of the objective.
    pub sort: Option<Sort>,
}

/// Another order than the objective's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// A metric, a parameter, or one of `objective`, `index`, `attempts`, `duration_s`.
    pub name: String,
    /// The other way round.
    pub reverse: bool,
}

impl Query {
    /// A query from what people write: `k` 0 means all, an empty filter and an empty sort mean none, `-name` sorts the other way round.
    ///
    /// # Errors
    /// [`LeaderboardError::Filter`]: the filter is no expression.
    pub fn parse(k: usize, offset: usize, filter: &str, sort: &str) -> Result<Self, LeaderboardError> {
        let filter = (!filter.trim().is_empty()).then(|| Expr::parse(filter)).transpose()?;
        let sort = match sort.strip_prefix('-') {
            _ if sort.is_empty() => None,
            Some(name) => Some(Sort { name: name.to_owned(), reverse: true }),
            None => Some(Sort { name: sort.to_owned(), reverse: false }),
        };
        Ok(Self { k: (k > 0).then_some(k), offset, filter, sort })
    }

    /// Whether the best by objective are asked for, and nothing else: an index answers that.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.filter.is_none() && self.sort.is_none()
    }
}

/// Why there is no leaderboard.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LeaderboardError {
    /// The filter is no expression.
    #[error("the filter is not understood: {0}")]
    Filter(#[from] ExprError),
    /// A name that is neither a parameter nor a metric.
    #[error("`{name}` is neither a parameter nor a metric of this sweep{}", did_you_mean(.near))]
    UnknownName {
        /// The name.
        name: String,
        /// The most similar one that there is.
        near: Option<String>,
    },
    /// The filter cannot be computed for some row.
    #[error("the filter has no answer for trial {trial}: {problem}")]
    Eval {
        /// The row's trial.
        trial: TrialId,
        /// Why.
        problem: EvalError,
    },
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

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
    /// How long it took.
    pub duration_ms: u64,
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
            duration_ms: record.report.duration_ms,
        }
    }
}

/// One row of the leaderboard: a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its place in this leaderboard, from 1; none where nothing ranks it.
    pub rank: Option<u64>,
    /// Its trial; of several repeats the first.
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
    /// Who computed it; of several repeats the first.
    pub worker: WorkerId,
    /// Seconds that it took; mean over the repeats.
    pub duration_s: f64,
    /// Sample standard deviation of the objective over the repeats; from two of them on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective_std: Option<MetricValue>,
    /// The same of each metric.
    #[serde(default, with = "as_map", skip_serializing_if = "Vec::is_empty")]
    pub metrics_std: Vec<(String, MetricValue)>,
}

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

/// What a leaderboard answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows, best first.
    pub rows: Vec<Row>,
    /// How many there are in all, after the filter.
    pub total: u64,
    /// More than one version of the code computed them.
    pub mixed_code: bool,
}

/// Collects the settled trials of one version, then ranks them. Without repeats it keeps only what can still be shown.
///
/// Of several generations of a trial the caller gives the newest alone.
#[derive(Debug)]
pub struct Board {
    layout: Layout,
    query: Query,
    /// With repeats: the trials of each point.
    points: BTreeMap<TrialId, Vec<Brief>>,
    /// Without: rows that passed the filter.
    rows: Vec<Row>,
    total: u64,
    codes: BTreeSet<CodeHash>,
    seen: BTreeSet<String>,
    problem: Option<LeaderboardError>,
}

impl Board {
    /// An empty board for this query.
    #[must_use]
    pub fn new(layout: Layout, query: Query) -> Self {
        Self {
            layout,
            query,
            points: BTreeMap::new(),
            rows: Vec::new(),
            total: 0,
            codes: BTreeSet::new(),
            seen: BTreeSet::new(),
            problem: None,
        }
    }

    /// Adds a settled trial. Trials without success count for their point's state alone.
    pub fn add(&mut self, brief: Brief) {
        let succeeded = brief.state == TrialState::Succeeded;
        if succeeded {
            self.codes.insert(brief.code);
            for (name, _) in &brief.metrics {
                if !self.seen.contains(name) {
                    self.seen.insert(name.clone());
                }
            }
        }
        if self.layout.repeats > 1 {
            self.points.entry(brief.point).or_default().push(brief);
        } else if succeeded {
            self.keep(single(brief));
        }
    }

    /// Keeps the row if it passes the filter and may still be shown.
    fn keep(&mut self, row: Row) {
        match self.passes(&row) {
            Ok(true) => self.total += 1,
            Ok(false) => return,
            Err(problem) => {
                self.problem.get_or_insert(problem);
                return;
            }
        }
        self.rows.push(row);
        let Some(k) = self.query.k else { return };
        let shown = k.saturating_add(self.query.offset);
        if self.rows.len() >= shown.saturating_mul(2).saturating_add(1024) {
            self.sort();
            self.rows.truncate(shown);
        }
    }

    fn passes(&self, row: &Row) -> Result<bool, LeaderboardError> {
        let Some(filter) = &self.query.filter else { return Ok(true) };
        filter
            .is_true(&|name| row.value(name))
            .map_err(|problem| LeaderboardError::Eval { trial: row.trial, problem })
    }

    /// Ranks.
    ///
    /// # Errors
    /// [`LeaderboardError::UnknownName`] of the filter or the sort, or [`LeaderboardError::Eval`].
    pub fn finish(mut self) -> Result<Page, LeaderboardError> {
        self.check_names()?;
        for trials in std::mem::take(&mut self.points).into_values() {
            if let Some(row) = averaged(&self.layout, trials) {
                self.keep(row);
            }
        }
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        self.sort();
        let ranked = self.query.sort.is_some() || self.layout.objective.is_some();
        let mut rows: Vec<Row> =
            self.rows.into_iter().skip(self.query.offset).take(self.query.k.unwrap_or(usize::MAX)).collect();
        for (row, place) in rows.iter_mut().zip(self.query.offset as u64 + 1..) {
            let has_value =
                self.query.sort.is_some() || row.objective.is_some_and(|value| value.0.is_finite());
            row.rank = (ranked && has_value).then_some(place);
        }
        Ok(Page { rows, total: self.total, mixed_code: self.codes.len() > 1 })
    }

    fn check_names(&self) -> Result<(), LeaderboardError> {
        let filter = self.query.filter.iter().flat_map(|filter| filter.names().iter());
        let sort = self.query.sort.iter().map(|sort| &sort.name);
        let known = || {
            let named = self.layout.axes.iter().chain(&self.layout.metrics).chain(&self.seen);
            named.map(String::as_str).chain(OWN_NAMES)
        };
        for name in filter.chain(sort) {
            if !known().any(|known| known == name) {
                let near = known()
                    .map(|known| (strsim::damerau_levenshtein(known, name), known))
                    .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3)
                    .min()
                    .map(|(_, known)| known.to_owned());
                return Err(LeaderboardError::UnknownName { name: name.clone(), near });
            }
        }
        Ok(())
    }

    fn sort(&mut self) {
        let goal = self.layout.objective.as_ref().map(|(_, goal)| *goal);
        match &self.query.sort {
            None => self.rows.sort_by(|a, b| by_objective(goal, a, b).then(a.index.cmp(&b.index))),
            Some(sort) => {
                let is_objective = sort.name == "objective"
                    || self.layout.objective.as_ref().is_some_and(|(name, _)| *name == sort.name);
                let reverse = sort.reverse != (is_objective && goal == Some(Goal::Maximize));
                self.rows.sort_by(|a, b| {
                    let order = by_value(a.value(&sort.name), b.value(&sort.name), reverse);
                    order.then(a.index.cmp(&b.index))
                });
            }
        }
    }
}

/// Best first; what is missing or not finite comes last.
fn by_objective(goal: Option<Goal>, a: &Row, b: &Row) -> Ordering {
    let Some(goal) = goal else { return Ordering::Equal };
    let value = |row: &Row| row.objective.map(|value| value.0).filter(|value| value.is_finite());
    match (value(a), value(b)) {
        (Some(a), Some(b)) if goal.better(a, b) => Ordering::Less,
        (Some(a), Some(b)) if goal.better(b, a) => Ordering::Greater,
        (Some(_), Some(_)) | (None, None) => Ordering::Equal,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

/// Numbers before texts, what is missing last either way.
fn by_value(a: Option<Value>, b: Option<Value>, reverse: bool) -> Ordering {
    let place = |value: &Option<Value>| match value {
        None | Some(Value::Null) => 2,
        Some(value) if value.as_f64().is_some() => 0,
        Some(_) => 1,
    };
    let turn = |order: Ordering| if reverse { order.reverse() } else { order };
    match (place(&a), place(&b)) {
        (0, 0) => {
            let number = |value: &Option<Value>| value.as_ref().and_then(Value::as_f64).unwrap_or(f64::NAN);
            turn(number(&a).total_cmp(&number(&b)))
        }
        (1, 1) => {
            let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
            turn(text(&a).cmp(&text(&b)))
        }
        (a, b) => a.cmp(&b),
    }
}

impl Row {
    /// What a filter or a sort means by `name`: a parameter, a metric, or one of the row's own values. A value that is not
    /// finite counts as missing.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        let float = |value: f64| value.is_finite().then_some(Value::Float(value));
        if let Some(value) = self.params.get(name) {
            return Some(value.clone());
        }
        if let Some((_, value)) = self.metrics.iter().find(|(known, _)| known == name) {
            return float(value.0);
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

/// The row of a trial that is a point by itself; no rank yet.
fn single(brief: Brief) -> Row {
    Row {
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
        objective_std: None,
        metrics_std: Vec::new(),
    }
}

/// The rows of the best trials as an index gave them, ranked from `offset` + 1 on as far as they have an objective; for versions
/// without repeats.
#[must_use]
pub fn ranked(briefs: Vec<Brief>, offset: u64) -> Vec<Row> {
    let row = |(brief, place): (Brief, u64)| {
        let has_value = brief.objective.is_some_and(|value| value.0.is_finite());
        Row { rank: has_value.then_some(place), ..single(brief) }
    };
    briefs.into_iter().zip(offset + 1..).map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// The row of a point with repeats; `None` if none of them succeeded.
fn averaged(layout: &Layout, mut trials: Vec<Brief>) -> Option<Row> {
    trials.sort_by_key(|brief| (brief.repeat, brief.index));
    let attempts = trials.iter().map(|brief| u64::from(brief.token.attempt)).sum();
    let failed = trials.iter().any(|brief| brief.state != TrialState::Succeeded);
    trials.retain(|brief| brief.state == TrialState::Succeeded);
    let first = trials.first()?;
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
        trial: first.trial,
        index: trials.iter().map(|brief| brief.index).min().unwrap_or(first.index),
        state,
        objective: objectives.as_ref().map(|values| MetricValue(mean(values))),
        params: without(&first.params, layout.repeat_axis.as_deref()),
        metrics,
        repeats: seen,
        repeats_total: layout.repeats,
        attempts,
        worker: first.worker,
        duration_s: mean(&durations),
        objective_std: objectives.as_ref().and_then(|values| std(values)).map(MetricValue),
        metrics_std,
    })
}

fn without(params: &Params, axis: Option<&str>) -> Params {
    let kept = params.iter().filter(|(name, _)| axis != Some(name));
    Params::new(kept.map(|(name, value)| (Arc::from(name), value.clone())).collect())
}

/// The mean; NaN of nothing.
#[expect(clippy::cast_precision_loss, reason = "nobody repeats a trial 2^53 times")]
fn mean(values: &[f64]) -> f64 {
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

#[cfg(test)]
mod tests;
