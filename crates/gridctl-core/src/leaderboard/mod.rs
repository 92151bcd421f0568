//! The leaderboard: from the ends of trials to ranked rows, repeats averaged. One function for a master and for a reader without one.
//! Invariant: a value that is not finite is never best, nor is a point that lacks a repeat; ties go to the lower index, and what
//! was not seen is not made up.

mod query;
mod row;

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

pub use self::query::{Layout, LeaderboardError, Query, Sort};
pub use self::row::{Brief, METRICS, PARAMS, Row, ranked};
pub(crate) use self::row::{as_map, mean};
use self::row::{averaged, single};
use crate::id::{CodeHash, TrialId};
use crate::record::TrialState;
use crate::spec::Goal;
use crate::value::Value;

/// What a filter can name beside parameters and metrics.
const OWN_NAMES: [&str; 4] = ["objective", "index", "attempts", "duration_s"];

/// What a leaderboard answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows, best first unless another order was asked for.
    pub rows: Vec<Row>,
    /// How many there are in all, after the filter.
    pub total: u64,
    /// More than one version of the code computed them.
    pub mixed_code: bool,
}

/// Collects the settled trials of one version, then ranks them. Without repeats it keeps only what can still be shown.
///
/// Without repeats the caller gives the newest generation of a trial alone; with them any, in any order.
#[derive(Debug)]
pub struct Board {
    layout: Layout,
    query: Query,
    /// With repeats: the newest end of each trial of each point.
    points: BTreeMap<TrialId, BTreeMap<TrialId, Brief>>,
    /// Without: rows that passed the filter.
    rows: Vec<Row>,
    total: u64,
    /// What the objective ranks, filtered out or not: (value, index).
    standing: Vec<(f64, u64)>,
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
            standing: Vec::new(),
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
            match self.points.entry(brief.point).or_default().entry(brief.trial) {
                Entry::Vacant(place) => {
                    place.insert(brief);
                }
                // A trial that was tried anew ends under a later lease, in whichever version.
                Entry::Occupied(mut known) if known.get().token < brief.token => {
                    known.insert(brief);
                }
                Entry::Occupied(_) => {}
            }
        } else if succeeded {
            let objective = self.layout.objective.as_ref().map(|(name, _)| name.as_str());
            self.keep(single(brief, objective));
        }
    }

    /// Keeps the row if it passes the filter and may still be shown.
    fn keep(&mut self, row: Row) {
        self.standing.extend(standing(&row));
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
            if let Some(row) = averaged(&self.layout, trials.into_values().collect()) {
                self.keep(row);
            }
        }
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        self.sort();
        let mut rows: Vec<Row> =
            self.rows.into_iter().skip(self.query.offset).take(self.query.k.unwrap_or(usize::MAX)).collect();
        if let Some((_, goal)) = self.layout.objective {
            let best_first = |a: &(f64, u64), b: &(f64, u64)| by_goal(goal, a.0, b.0).then(a.1.cmp(&b.1));
            self.standing.sort_unstable_by(best_first);
            for row in &mut rows {
                let found =
                    standing(row).map(|it| self.standing.binary_search_by(|other| best_first(other, &it)));
                row.rank = found.and_then(Result::ok).map(|place| place as u64 + 1);
            }
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
            let told = |prefix: &str, mut all: &mut dyn Iterator<Item = &String>| {
                name.strip_prefix(prefix).is_some_and(|bare| (&mut all).any(|known| known == bare))
            };
            let told = told(PARAMS, &mut self.layout.axes.iter())
                || told(METRICS, &mut self.layout.metrics.iter().chain(&self.seen));
            if !told && !known().any(|known| known == name) {
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
                let is_objective = sort.name == "objective" || self.layout.is_objective(&sort.name);
                let reverse = sort.reverse != (is_objective && goal == Some(Goal::Maximize));
                self.rows.sort_by(|a, b| {
                    let order = by_value(a.value(&sort.name), b.value(&sort.name), reverse);
                    order.then(a.index.cmp(&b.index))
                });
            }
        }
    }
}

/// What ranks the row; what is missing, not finite or not complete ranks nowhere.
fn standing(row: &Row) -> Option<(f64, u64)> {
    value_of(row).filter(|_| row.state == TrialState::Succeeded).map(|value| (value, row.index))
}

fn value_of(row: &Row) -> Option<f64> {
    row.objective.map(|value| value.0).filter(|value| value.is_finite())
}

/// The better one first.
fn by_goal(goal: Goal, a: f64, b: f64) -> Ordering {
    goal.better(b, a).cmp(&goal.better(a, b))
}

/// Best first; then what is not complete, and last what is missing or not finite.
fn by_objective(goal: Option<Goal>, a: &Row, b: &Row) -> Ordering {
    let Some(goal) = goal else { return Ordering::Equal };
    let tier = |row: &Row| match (value_of(row), row.state) {
        (None, _) => 2,
        (Some(_), TrialState::Succeeded) => 0,
        (Some(_), _) => 1,
    };
    let values = value_of(a).zip(value_of(b));
    tier(a).cmp(&tier(b)).then(values.map_or(Ordering::Equal, |(a, b)| by_goal(goal, a, b)))
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

#[cfg(test)]
mod tests;
