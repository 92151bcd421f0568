//! What a trainer's output says: metrics by every way that the contract names, curves, `::done`, and what came close.
//! Invariant: memory is bounded whatever is printed, and how the output is cut into chunks changes nothing.

mod advice;
mod beside;
mod board;
mod curve;
mod ending;
mod file;
mod line;
mod log;
mod near;
mod nested;
mod passed;
mod peers;
mod qualifier;
mod read_by;
mod section;
mod series;
mod text;
mod track;
mod value;

use std::cell::OnceCell;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::record::{Channel, CurvePoint, Doubt, MetricValue};
use crate::spec::{Goal, MetricSpec, Report, SweepSpec};

use board::Board;
use line::{Lines, Name};

pub use board::MAX_UNDECLARED;
pub use log::{cuda_oom, error_line};
pub use read_by::{ReadBy, read_again};

/// The number of the rule by which metrics are read: one more whenever a release takes other numbers
/// from the same output than the one before.
pub const READER_RULE: u32 = 8;
/// The most memory that one pattern may take, compiled.
const MAX_REGEX: usize = 1 << 20;

/// A `regex:` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression, or compiles to more than 1 MiB.
    #[error("the regex of metric `{metric}` cannot be used: {reason}")]
    Invalid {
        /// The metric.
        metric: String,
        /// What the compiler says.
        reason: String,
    },
    /// It has no group to take the value from.
    #[error(
        "the regex of metric `{metric}` has no group: put the value in parentheses, as in `{metric}=(\\S+)`"
    )]
    NoGroup {
        /// The metric.
        metric: String,
    },
}

/// Compiles a metric's `regex:`, if it has one.
///
/// # Errors
/// It is no regular expression, is too large, or has no group.
pub fn compile(metric: &MetricSpec) -> Result<Option<Regex>, PatternError> {
    let Some(pattern) = &metric.regex else { return Ok(None) };
    let regex =
        RegexBuilder::new(pattern).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).build().map_err(
            |error| PatternError::Invalid { metric: metric.name.clone(), reason: error.to_string() },
        )?;
    if regex.captures_len() < 2 {
        return Err(PatternError::NoGroup { metric: metric.name.clone() });
    }
    Ok(Some(regex))
}

/// The declared metrics of a sweep, ready for use: made once, shared by all attempts.
#[derive(Debug)]
pub struct Patterns {
    declared: Vec<Declared>,
    /// The first of `declared` is the objective.
    has_objective: bool,
    /// Which of the objective's values is the better one.
    goal: Option<Goal>,
    /// Finds any name of `declared`, in whatever letters.
    any_name: Option<Regex>,
}

#[derive(Debug)]
struct Declared {
    name: Name,
    /// If the name is the path to a nested key: the keys around that, and it.
    path: Option<(Vec<String>, Name)>,
    report: Report,
    regex: Option<Regex>,
}

impl Patterns {
    /// The patterns of `spec`.
    ///
    /// # Errors
    /// A `regex:` cannot be used.
    pub fn new(spec: &SweepSpec) -> Result<Self, PatternError> {
        let objective = spec.objective.as_ref().map(|objective| &objective.metric);
        let mut declared: Vec<Declared> = Vec::new();
        for metric in objective.into_iter().chain(&spec.metrics) {
            if declared.iter().any(|known| *known.name.name == *metric.name) {
                continue;
            }
            let regex = compile(metric)?;
            let path = nested::parts(&metric.name).and_then(|mut parts| {
                let last = Name::new(parts.pop()?);
                Some((parts.into_iter().map(str::to_owned).collect(), last))
            });
            let name = Name::new(&metric.name);
            declared.push(Declared { name, path, report: metric.report, regex });
        }
        let spelt = |name: &str| regex::escape(name).replace('_', "[_ -]");
        let names: Vec<String> = declared.iter().map(|metric| spelt(&metric.name.name)).collect();
        let any_name = RegexBuilder::new(&format!("(?i-u){}", names.join("|"))).size_limit(MAX_REGEX).build();
        let any_name = any_name.ok().filter(|_| !declared.is_empty());
        let goal = spec.objective.as_ref().map(|objective| objective.goal);
        Ok(Self { declared, has_objective: objective.is_some(), goal, any_name })
    }

    /// Whether the line may name a declared metric, in whatever letters.
    fn may_name_any(&self, line: &str) -> bool {
        self.any_name.as_ref().is_some_and(|names| names.is_match(line))
    }

    fn objective(&self) -> Option<&Declared> {
        self.declared.first().filter(|_| self.has_objective)
    }

    fn is_objective(&self, nth: usize) -> bool {
        nth == 0 && self.has_objective
    }
}

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What an attempt's output said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The objective, if it was seen; NaN was seen.
    pub objective: Option<f64>,
    /// Each metric's value that counts, sorted by name.
    pub metrics: Vec<(String, MetricValue)>,
    /// The spread of each one that is a mean: the sample standard deviation, of two values or more.
    pub spreads: Vec<(String, MetricValue)>,
    /// The curves of metrics that came with steps, metric by metric.
    pub curve: Vec<CurvePoint>,
    /// The trainer printed `::done`.
    pub done: bool,
    /// If there is an objective and it was not seen: what came close, for people.
    pub near_misses: Vec<String>,
    /// Where what was printed can be read in two ways.
    pub doubts: Vec<Doubt>,
    /// How often each metric was seen by each way, and where last; sorted by name.
    pub seen: Vec<Seen>,
}

/// The values of one metric that came by one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The metric.
    pub name: String,
    /// The way.
    pub channel: Channel,
    /// How many values.
    pub count: u64,
    /// The line that the last one stands in, from 1.
    pub line: u64,
    /// The last one was this, which cannot be read.
    pub unreadable: Option<String>,
    /// Its values are those that count.
    pub taken: bool,
}

/// Follows the output of one attempt.
#[derive(Debug)]
pub struct Extractor {
    stdout: Lines,
    stderr: Lines,
    board: Board,
}

/// Reads one attempt's `GRID_METRICS_FILE`, on whatever thread has the time for it.
#[derive(Debug)]
pub struct FileReader {
    lines: Lines,
    board: Board,
}

impl FileReader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(patterns: Arc<Patterns>) -> Self {
        Self { lines: Lines::default(), board: Board::new(patterns) }
    }

    /// Takes in the next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.board.near.count_bytes(bytes.len());
        self.lines.feed(bytes, |line| self.board.file_line(line));
    }

    /// Not all of the file could be read: what the objective is, nobody knows.
    pub fn give_up(&mut self, why: String) {
        self.board.unknown.get_or_insert(why);
    }

    /// Bytes taken in so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lines.taken()
    }

    /// What was fed has its end here, with a line's end or without.
    pub fn end(&mut self) {
        self.lines.finish(|line| self.board.file_line(line));
    }

    /// The objective's latest value with its step, or with its number where there are no steps.
    #[must_use]
    pub fn latest(&self) -> Option<(i64, f64)> {
        self.board.latest()
    }
}

impl Extractor {
    /// An extractor that has seen nothing yet.
    #[must_use]
    pub fn new(patterns: Arc<Patterns>) -> Self {
        Self { stdout: Lines::default(), stderr: Lines::default(), board: Board::new(patterns) }
    }

    /// As if output had been lost: what the objective is, nobody knows.
    #[must_use]
    pub fn broken(patterns: Arc<Patterns>) -> Self {
        let mut extractor = Self::new(patterns);
        extractor.board.unknown = Some("what was printed was not read to its end".to_owned());
        extractor
    }

    /// The patterns that it looks for.
    #[must_use]
    pub fn patterns(&self) -> &Arc<Patterns> {
        &self.board.patterns
    }

    /// Bytes of a line of this stream that has no end yet: they are read with what comes next.
    #[must_use]
    pub fn waiting(&self, stream: Stream) -> usize {
        match stream {
            Stream::Stdout => self.stdout.waiting(),
            Stream::Stderr => self.stderr.waiting(),
        }
    }

    /// Takes in a chunk of output. `file_size` says how long the metrics file was when the chunk
    /// came, so that values of both are in order.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8], file_size: &dyn Fn() -> u64) {
        self.board.near.count_bytes(bytes.len());
        let size = OnceCell::new();
        let size = || *size.get_or_init(file_size);
        let lines = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        lines.feed(bytes, |line| self.board.output_line(stream, line, &size));
    }

    /// The objective's latest value with its step, or with its number where there are no steps.
    #[must_use]
    pub fn latest(&self) -> Option<(i64, f64)> {
        self.board.latest()
    }

    /// Ends the output and the file: what has no end of line yet counts as a line.
    #[must_use]
    pub fn finish(mut self, mut file: FileReader) -> Outcome {
        file.end();
        let size = file.lines.taken();
        self.stdout.finish(|line| self.board.output_line(Stream::Stdout, line, &|| size));
        self.stderr.finish(|line| self.board.output_line(Stream::Stderr, line, &|| size));
        self.board.join(file.board);
        self.board.outcome()
    }
}

#[cfg(test)]
mod tests;
