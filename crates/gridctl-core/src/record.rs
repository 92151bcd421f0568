//! How an attempt ended: the classes, what the worker reports, and the record that journal and results volume keep.
//! Invariant: every attempt ends in exactly one class, and the classes here are the only list.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::FileChange;
use crate::id::{CodeHash, Token, TrialId, WorkerId};
use crate::metrics::ReadBy;
use crate::value::Params;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Exit 0 and the objective was seen, and nobody had asked it to stop; or it printed `::done`.
    Succeeded,
    /// Exit 0 and the objective was not seen.
    NoMetric,
    /// Another exit code, or a signal of its own.
    Failed,
    /// Killed for memory, as the kernel's counters say.
    Oom,
    /// Over the sweep's `timeout`.
    Timeout,
    /// Exit 75 or a code in `on_exit_codes`: it asks for another try.
    Released,
    /// The machine is being taken.
    Preempted,
    /// The worker was asked to stop: `workers drain`, scale-down, Ctrl-C.
    Drained,
    /// Silence until another attempt was granted.
    Lost,
    /// The machine's own fault.
    WorkerFault,
    /// Ended by the user.
    Cancelled,
    /// A newer attempt holds the trial.
    Fenced,
}

impl Class {
    /// Every class, in the table's order.
    pub const ALL: [Self; 12] = [
        Self::Succeeded,
        Self::NoMetric,
        Self::Failed,
        Self::Oom,
        Self::Timeout,
        Self::Released,
        Self::Preempted,
        Self::Drained,
        Self::Lost,
        Self::WorkerFault,
        Self::Cancelled,
        Self::Fenced,
    ];

    /// The word that wire, journal, files and output use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::NoMetric => "no_metric",
            Self::Failed => "failed",
            Self::Oom => "oom",
            Self::Timeout => "timeout",
            Self::Released => "released",
            Self::Preempted => "preempted",
            Self::Drained => "drained",
            Self::Lost => "lost",
            Self::WorkerFault => "worker_fault",
            Self::Cancelled => "cancelled",
            Self::Fenced => "fenced",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// Waiting: not begun, to be tried again, or in backoff.
    Pending,
    /// A worker holds it.
    Leased,
    /// Done, with a result.
    Succeeded,
    /// Its failure budget is used up, or a failure was final.
    Failed,
    /// Lost too often.
    Quarantined,
    /// Ended by the user, or by a newer version of the sweep.
    Cancelled,
    /// No point at all: `exclude` drops it, or an inactive axis is not at its first value.
    Excluded,
}

impl TrialState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Leased,
        Self::Succeeded,
        Self::Failed,
        Self::Quarantined,
        Self::Cancelled,
        Self::Excluded,
    ];

    /// The state that `word` names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The word that files and output use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
            Self::Excluded => "excluded",
        }
    }
}

impl fmt::Display for TrialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A metric's value. JSON has no NaN and no infinity, so those are written as the texts `NaN`, `Infinity` and `-Infinity`.
#[derive(Debug, Clone, Copy)]
pub struct MetricValue(pub f64);

impl PartialEq for MetricValue {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || (self.0.is_nan() && other.0.is_nan())
    }
}

impl Eq for MetricValue {}

impl Serialize for MetricValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            value => serializer.serialize_f64(value),
        }
    }
}

impl<'de> Deserialize<'de> for MetricValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) => Ok(Self(value)),
            Form::Text(text) => match text.as_str() {
                "NaN" => Ok(Self(f64::NAN)),
                "Infinity" => Ok(Self(f64::INFINITY)),
                "-Infinity" => Ok(Self(f64::NEG_INFINITY)),
                _ => Err(serde::de::Error::custom(format!("`{text}` is not a metric's value"))),
            },
        }
    }
}

/// How the trainer's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It never started: the program was not found, say; `Report::error` says why.
    NotStarted,
}

/// One point of a metric's curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The metric's name.
    pub name: String,
    /// The step.
    pub step: i64,
    /// The value.
    pub value: MetricValue,
}

/// By which way a metric's value came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A line of `GRID_METRICS_FILE`.
    File,
    /// A `::metric` line.
    Protocol,
    /// `name=value` on standard output.
    Stdout,
    /// `name=value` on standard error.
    Stderr,
}

impl Channel {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::File, Self::Protocol, Self::Stdout, Self::Stderr];
}

impl Doubt {
    /// The same, with what was printed as `mask` leaves it.
    #[must_use]
    pub fn masked(self, mask: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Unread { metric, value, line, pattern } => {
                Self::Unread { metric, value, line: mask(&line), pattern: pattern.map(|it| mask(&it)) }
            }
            Self::Qualified { metric, value, taken, other } => {
                Self::Qualified { metric, value, taken: mask(&taken), other: other.map(|it| mask(&it)) }
            }
            doubt @ (Self::Differs { .. } | Self::OneOfSeveral { .. } | Self::Cut { .. }) => doubt,
        }
    }
}

/// Why a number may not be the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// Another way ended with another number.
    Differs {
        /// The metric.
        metric: String,
        /// The way whose value was taken.
        taken: Channel,
        /// That value.
        value: MetricValue,
        /// The other way.
        other: Channel,
        /// What it ended with.
        other_value: MetricValue,
    },
    /// A line names the metric with another number, in a form that is not read.
    Unread {
        /// The metric.
        metric: String,
        /// The value that was taken.
        value: MetricValue,
        /// The line, or its beginning.
        line: String,
        /// A pattern that reads it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
    },
    /// The value has words before the metric's name that say of what it is, and is of training, or others
    /// ended with another number.
    Qualified {
        /// The metric.
        metric: String,
        /// The value that was taken.
        value: MetricValue,
        /// It with its words.
        taken: String,
        /// The other one with its words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        other: Option<String>,
    },
    /// The value is the last one of several that stand side by side, as those of folds do.
    OneOfSeveral {
        /// The metric.
        metric: String,
        /// The value that was taken.
        value: MetricValue,
        /// How many there are.
        count: u64,
    },
    /// Lines were longer than what is read of one.
    Cut {
        /// How many.
        lines: u64,
        /// Bytes of the longest one.
        longest: u64,
    },
}

/// The most [`Report::log_runs`].
pub const MAX_LOG_RUNS: usize = 1_024;

/// What the worker says of an attempt's end; everything that is to be known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The token under which it was granted.
    pub token: Token,
    /// The trial.
    pub trial: TrialId,
    /// How it ended.
    pub class: Class,
    /// No retry can help: a fatal exit code, or CUDA's own out-of-memory.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fatal: bool,
    /// No trainer was started, through no fault of the trial's: it costs the trial no budget.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unbegun: bool,
    /// How the process ended; `None` where none was started or its end was not seen.
    pub exit: Option<Exit>,
    /// The objective's value, if it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<MetricValue>,
    /// Each metric's value that counts, sorted by name.
    pub metrics: Vec<(String, MetricValue)>,
    /// The spread of each metric that is a mean: the sample standard deviation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spreads: Vec<(String, MetricValue)>,
    /// The curves of metrics that were given with a step, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// The end of stdout and stderr, as they came, at most 64 KiB; invalid UTF-8 replaced.
    pub log: String,
    /// Bytes of output in all.
    pub log_bytes: u64,
    /// How many bytes of it came by stdout, then by stderr, then by stdout again, and so on, in the
    /// order of the log; empty where the log alone does not say what was measured, because
    /// metrics came in the file or the two changed more than [`MAX_LOG_RUNS`] times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_runs: Vec<u64>,
    /// The last line that looks like the error; two attempts in a row with the same one are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For `no_metric`: what came close ("saw `acc`, declared `accuracy`").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near_misses: Vec<String>,
    /// Where what was printed can be read in two ways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<Doubt>,
    /// When it started: milliseconds since 1970 by the worker's wall clock, for people only.
    pub started_unix_ms: u64,
    /// How long it took, by the worker's monotonic clock.
    pub duration_ms: u64,
    /// Processor time of the trainer and what it waited for.
    pub cpu_ms: u64,
    /// Peak resident memory of its largest process, in KiB.
    pub peak_rss_kib: u64,
    /// The trainer's checkpoint changed during the attempt, so another try gets further.
    #[serde(default, skip_serializing_if = "is_false")]
    pub checkpoint_moved: bool,
    /// Files published under `trials/<id>/<epoch>-<lease>/`: how many; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files: u64,
    /// Files that the trainer left, in its output or its newest checkpoint, and that were not
    /// published: too many, too large, or no ordinary ones. The manifest beside the published ones
    /// names them, at most a hundred, and says why.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The file that was started, or the interpreter that a script names: `/home/me/venv/bin/python`, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Files of the workdir that changed while attempts ran, as far as the worker has looked and not
    /// told before. No part of the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<FileChange>,
}

impl Report {
    /// The report of an attempt that no process was started for, or whose end nobody saw.
    #[must_use]
    pub fn without_process(token: Token, trial: TrialId, class: Class, why: &str) -> Self {
        Self {
            token,
            trial,
            class,
            fatal: false,
            unbegun: false,
            exit: None,
            objective: None,
            metrics: Vec::new(),
            spreads: Vec::new(),
            curve: Vec::new(),
            log: String::new(),
            log_bytes: 0,
            log_runs: Vec::new(),
            error: Some(why.to_owned()),
            near_misses: Vec::new(),
            doubts: Vec::new(),
            started_unix_ms: 0,
            duration_ms: 0,
            cpu_ms: 0,
            peak_rss_kib: 0,
            checkpoint_moved: false,
            files: 0,
            left_out: 0,
            program: None,
            changed: Vec::new(),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Record {
    /// The trial under whose id its files are.
    #[must_use]
    pub fn files_of(&self) -> TrialId {
        self.computed_as.unwrap_or(self.report.trial)
    }
}

/// The journal's record of one attempt's end: one line of `records/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The sweep's name.
    pub sweep: String,
    /// Its version.
    pub version: u32,
    /// The place of the trial in this version.
    pub index: u64,
    /// The trial's parameters.
    pub params: Params,
    /// The repeat: seed number, or place of the value on the repeated axis.
    pub repeat: u32,
    /// The point's id: the trial's less its repeat. Trials of one point are averaged.
    pub point: TrialId,
    /// The code's mark.
    pub code: CodeHash,
    /// The trial's generation: 1, and one more for each `trials retry`.
    pub generation: u32,
    /// The trial's state after this; `Pending` if it is tried again.
    pub state: TrialState,
    /// Who held it.
    pub worker: WorkerId,
    /// The machine's name.
    pub host: String,
    /// What read its metrics.
    #[serde(default)]
    pub read_by: ReadBy,
    /// Where it was computed, if this record was taken over: the sweep's name and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_from: Option<(String, u32)>,
    /// The trial as which it was computed, if that is another: it had an axis less, which says `was` now. Its files are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_as: Option<TrialId>,
    /// What the worker said, or what the master made up for one that said nothing.
    #[serde(flatten)]
    pub report: Report,
}
