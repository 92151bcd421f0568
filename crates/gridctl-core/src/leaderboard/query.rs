//! What is asked of a leaderboard: how many rows, which, in what order; and what is wrong with a question.
//! Invariant: names are checked against the rows before anything is ranked.

use super::row::METRICS;
use crate::expr::{EvalError, Expr, ExprError};
use crate::id::TrialId;
use crate::spec::{Goal, Repeats, SweepSpec};

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
                (axis.map_or(1, |axis| axis.values.count()), axis.map(|axis| axis.name.clone()))
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

impl Layout {
    /// Whether `name` in a sort is the objective: a parameter of the same name goes before it.
    pub(super) fn is_objective(&self, name: &str) -> bool {
        let Some((objective, _)) = &self.objective else { return false };
        let bare = objective == name && !self.axes.contains(objective);
        bare || name.strip_prefix(METRICS).is_some_and(|told| told == objective)
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
