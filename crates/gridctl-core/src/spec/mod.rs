//! The sweep: what a checked sweep file says. Nothing downstream checks again.
//! Invariant: a `SweepSpec` exists only after every rule of the file has been checked; its serialised form is what proto and journal carry.

mod axes;
mod check;
mod cloud;
mod command;
mod diagnostic;
mod drawn;
mod fields;
mod frozen;
pub mod limits;
mod machines;
mod metric;
mod names;
mod numbers;
mod random;
mod ranges;
mod relations;
mod settings;
mod syntax;
#[cfg(test)]
pub(crate) mod tests;
mod unique;
mod units;
mod wandb;
mod yaml;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::value::Value;

pub use self::settings::signal_number;
pub use self::units::{UnitError, mebibytes};
pub use check::{Context, KEYS, Parsed, parse};
pub use diagnostic::{Diagnostic, Severity, SpecErrors, is_hostile, nearest};
pub use drawn::{DRAWS, Drawn, Law};
pub use frozen::BrokenSpec;
pub use machines::MachineWishes;
pub use names::derived as derived_name;
pub use random::NO_COUNT;

/// A checked sweep; one that is read back from bytes has been checked again, whoever wrote them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct SweepSpec {
    /// 1 to 63 characters of `[a-z0-9-]`.
    pub name: String,
    /// `description`, `project` and `entity`, kept as labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// The axes, in the file's order; constants are axes of one value.
    pub axes: Vec<Axis>,
    /// Groups of axes (places in `axes`) that walk together; an axis is in one group at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zip: Vec<Vec<usize>>,
    /// Points for which one of these is true are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Expr>,
    /// What is averaged over.
    pub repeats: Repeats,
    /// Points are drawn (`method: random`); else they are a grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<SequenceSpec>,
    /// The order of a grid's walk.
    pub order: Order,
    /// The walk takes the repeats of a point one after another. In journals of before, and without repeats, it is false: the
    /// walk goes through all points with one repeat after the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub point_by_point: bool,
    /// At most so many trials (`run_cap`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_cap: Option<u64>,
    /// The objective; without it exit 0 is success and nothing is ranked.
    pub objective: Option<Objective>,
    /// Further metrics to record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricSpec>,
    /// What a trial starts; macros not yet expanded. Empty only with an image, whose own entrypoint it then is.
    pub command: Vec<String>,
    /// `program:`, for `${program}`; also makes values print as Python prints them (`True`, `None`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Variables that the file sets; `None`: passed on from the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, Option<String>)>,
    /// Names of variables passed on from the caller that are never written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// What stands before a parameter's name in the environment; `HP_` by default.
    pub env_prefix: String,
    /// What an attempt needs.
    pub resources: Resources,
    /// The file says nothing of GPUs: trials see, and share, what the caller sees.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_gpus: bool,
    /// After so many milliseconds an attempt is ended as `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How failures are retried.
    pub retry: Retry,
    /// Where a trial starts, as the file says it (relative to the file).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Each slot works in a copy of the workdir of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolate: bool,
    /// What a machine runs once, by the shell in the workdir, before it runs trials of this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// The data, as the file says it: a path or an `s3://` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The results volume, as the file says it: a path or an `s3://` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The image in whose containers trials run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What stands before the command in the place of the image's own entrypoint; empty: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// What answers with the model that a trial keeps (`serve: {command: ...}`); empty: nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serve: Vec<String>,
    /// A signal sent at once when a machine is about to be taken (`SIGUSR1`, say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preempt_signal: Option<String>,
    /// Keys that are checked but not served yet (`workers`, `budget`, `deadline`, `aws`, `notify`, `efs`), each with its value as JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<(String, Value)>,
}

impl SweepSpec {
    /// Whether both ask for the same, wherever their code, data and results are. Data that is not a
    /// path has no content to be told by: its address counts.
    #[must_use]
    pub(crate) fn asks_the_same_as(&self, other: &Self) -> bool {
        let placeless = |spec: &Self| {
            let data = spec.data.clone().filter(|data| data.contains("://"));
            Self { workdir: None, data, output: None, ..spec.clone() }
        };
        placeless(self) == placeless(other)
    }
}

/// Which points are drawn, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceSpec {
    /// The same seed draws the same points.
    pub seed: u64,
    /// How many positions there are, repeats not counted.
    pub points: u64,
}

/// One parameter and its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// The parameter's name; nested parameters are joined with dots.
    pub name: String,
    /// The path of a nested parameter (`[model, lr]`); one element for a plain one, dots in a plain name included.
    pub path: Vec<String>,
    /// The variable that carries it (`HP_LR`); none where two axes would share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Its values.
    pub values: AxisValues,
    /// The axis exists only where this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
    /// What it was before it was an axis: trials of before, which do not have it, are known as those with this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Value>,
}

/// The values of an axis, by rule, so that a long range takes no memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AxisValues {
    /// As the file lists them; not empty, no two the same unless the axis is zipped.
    List(Vec<Value>),
    /// `min + i * step` for i in 0..count, in integers.
    IntRange {
        /// First value.
        min: i64,
        /// Distance, at least 1.
        step: i64,
        /// How many.
        count: u64,
    },
    /// `min + i * step` for i in 0..count, each rounded to 12 significant digits.
    FloatRange {
        /// First value.
        min: f64,
        /// Distance, above 0.
        step: f64,
        /// How many.
        count: u64,
    },
    /// `count` values from `min` to `max`, both included, evenly spaced or evenly in the logarithm.
    Spaced {
        /// First value.
        min: f64,
        /// Last value.
        max: f64,
        /// How many, at least 1.
        count: u64,
        /// Evenly in the logarithm.
        log: bool,
    },
    /// Drawn at random, in a sequence only.
    Drawn(Drawn),
}

impl AxisValues {
    /// How many values there are; [`DRAWS`] where they are drawn.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::List(values) => values.len() as u64,
            Self::IntRange { count, .. } | Self::FloatRange { count, .. } | Self::Spaced { count, .. } => {
                *count
            }
            Self::Drawn(_) => DRAWS,
        }
    }

    /// The values that the file lists, if it does.
    #[must_use]
    pub fn listed(&self) -> Option<&[Value]> {
        match self {
            Self::List(values) | Self::Drawn(Drawn { law: Law::Categorical { values, .. }, .. }) => {
                Some(values)
            }
            _ => None,
        }
    }
}

/// What is averaged over and never ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// So many seeds; 1 by default.
    Seeds(u32),
    /// This axis (its place in `axes`).
    Axis(usize),
}

/// The order in which points are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Spread over the grid, so that the leaderboard tells something early.
    Spread,
    /// As written: the last axis fastest.
    File,
}

/// A metric and a goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The metric.
    pub metric: MetricSpec,
    /// Which way is better.
    pub goal: Goal,
    /// The sweep ends when it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Larger is better.
    Maximize,
    /// Smaller is better.
    Minimize,
}

impl Goal {
    /// Whether `a` is better than `b`; NaN is never better, and anything else is better than NaN.
    #[must_use]
    pub fn better(self, a: f64, b: f64) -> bool {
        match (a.is_nan(), b.is_nan()) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => match self {
                Self::Maximize => a > b,
                Self::Minimize => a < b,
            },
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Maximize => "maximize",
            Self::Minimize => "minimize",
        })
    }
}

/// A metric that a trainer reports, and which of its values counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSpec {
    /// Its name.
    pub name: String,
    /// A pattern whose first group is the value, tried on each line of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Which value counts.
    #[serde(default)]
    pub report: Report,
}

impl MetricSpec {
    /// The last value of what is printed under this name.
    #[must_use]
    pub fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), regex: None, report: Report::Last }
    }
}

/// Which of a metric's values counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The last one.
    #[default]
    Last,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The mean of all of them; its spread is kept beside it.
    Mean,
}

/// What one attempt takes of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// MiB of memory; 0 sets no limit.
    pub mem_mib: u64,
    /// Whole GPUs.
    pub gpus: u32,
}

/// The file's part of the table of how attempts end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Retries after counted failures; 2 by default: the third is final.
    pub max_failures: u32,
    /// Exit codes, beside 75, that ask for another try at no cost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_exit_codes: Vec<i32>,
    /// Exit codes that are final at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fatal_exit_codes: Vec<i32>,
}
