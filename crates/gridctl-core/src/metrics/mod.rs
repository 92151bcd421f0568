//! What a trainer's output says: metrics by every way that the contract names, curves, `::done`, and what came close.
//! Invariant: memory is bounded whatever is printed, and how the output is cut into chunks changes nothing.

mod curve;
mod file;
mod line;
mod log;
mod near;

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::record::{CurvePoint, MetricValue};
use crate::spec::{MetricSpec, Report, SweepSpec};

use curve::{MAX_POINTS, Series};
use line::{Found, Lines};
use near::NearMisses;

pub use log::{cuda_oom, error_line};

/// The most metrics that are taken without being declared; later names are dropped.
pub const MAX_UNDECLARED: usize = 64;
/// The longest name of a metric that is not declared, in bytes.
const MAX_NAME: usize = 128;
/// The most points of all curves of an attempt together.
const MAX_ALL_POINTS: usize = 8_000;
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
}

#[derive(Debug)]
struct Declared {
    name: Arc<str>,
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
            if declared.iter().any(|known| *known.name == *metric.name) {
                continue;
            }
            let regex = compile(metric)?;
            declared.push(Declared { name: metric.name.as_str().into(), report: metric.report, regex });
        }
        Ok(Self { declared, has_objective: objective.is_some() })
    }

    fn objective(&self) -> Option<&Declared> {
        self.declared.first().filter(|_| self.has_objective)
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
    /// The curves of metrics that came with steps, metric by metric.
    pub curve: Vec<CurvePoint>,
    /// The trainer printed `::done`.
    pub done: bool,
    /// If there is an objective and it was not seen: what came close, for people.
    pub near_misses: Vec<String>,
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

    /// Takes in a chunk of output.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) {
        self.board.near.count_bytes(bytes.len());
        let lines = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        lines.feed(bytes, |line| self.board.output_line(line));
    }

    /// The objective's latest value with its step, or with its number where there are no steps.
    #[must_use]
    pub fn latest(&self) -> Option<(i64, f64)> {
        self.board.latest()
    }

    /// Ends the output and the file: what has no end of line yet counts as a line.
    #[must_use]
    pub fn finish(mut self, mut file: FileReader) -> Outcome {
        self.stdout.finish(|line| self.board.output_line(line));
        self.stderr.finish(|line| self.board.output_line(line));
        file.end();
        self.board.join(file.board);
        self.board.outcome()
    }
}

/// What is known so far: one series per metric, the declared ones first and in their order.
#[derive(Debug)]
struct Board {
    patterns: Arc<Patterns>,
    series: Vec<Series>,
    done: bool,
    near: NearMisses,
    /// Why nobody knows the objective, whatever was seen of it.
    unknown: Option<String>,
}

impl Board {
    fn new(patterns: Arc<Patterns>) -> Self {
        let series = patterns.declared.iter().map(|metric| Series::new(metric.name.clone(), metric.report));
        Self { series: series.collect(), done: false, near: NearMisses::default(), unknown: None, patterns }
    }

    fn latest(&self) -> Option<(i64, f64)> {
        self.series.first().filter(|_| self.patterns.has_objective).and_then(Series::latest)
    }

    /// Takes in what came by another way, as if it came after this.
    fn join(&mut self, other: Self) {
        let most = self.patterns.declared.len() + MAX_UNDECLARED;
        for theirs in other.series {
            if let Some(ours) = self.series.iter_mut().find(|ours| ours.name == theirs.name) {
                ours.join(theirs);
            } else if self.series.len() < most {
                self.series.push(theirs);
            }
        }
        self.near.join(other.near);
        self.unknown = self.unknown.take().or(other.unknown);
    }

    fn output_line(&mut self, raw: &[u8]) {
        let line = line::text(raw);
        if let Some(rest) = line.trim_start().strip_prefix("::") {
            if rest.trim_end() == "done" {
                self.done = true;
                return;
            }
            if let Some(pairs) = rest.strip_prefix("metric").filter(|pairs| pairs.starts_with([' ', '\t'])) {
                self.metric_line(pairs);
                return;
            }
        }
        self.declared_line(&line);
    }

    /// `::metric step=3 loss=0.41`.
    fn metric_line(&mut self, rest: &str) {
        let mut numbers = Vec::new();
        let near = &mut self.near;
        let objective = self.patterns.objective().map(|metric| &*metric.name);
        line::pairs(rest, |name, value| match line::whole_number(value) {
            Some(number) => numbers.push((name, number)),
            None if objective == Some(name) => near.not_number(&format!("{name}={value}")),
            None => {}
        });
        let step_of = |wanted: &str| {
            numbers.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| line::as_step(*value))
        };
        let step = step_of("step").or_else(|| step_of("epoch"));
        for (name, value) in numbers {
            self.take(name, step, value);
        }
    }

    /// Patterns, and `name=value` for declared names.
    fn declared_line(&mut self, line: &str) {
        let has_separator = line.contains(['=', ':']);
        let patterns = Arc::clone(&self.patterns);
        let step = std::cell::OnceCell::new();
        let step = || *step.get_or_init(|| line::find_step(line));
        for (place, metric) in patterns.declared.iter().enumerate() {
            let is_objective = place == 0 && patterns.has_objective;
            if let Some(regex) = &metric.regex {
                for caught in regex.captures_iter(line).filter_map(|captures| captures.get(1)) {
                    match line::whole_number(caught.as_str()) {
                        Some(value) => self.series[place].push(step(), value),
                        None if is_objective => self.near.regex_caught(caught.as_str()),
                        None => {}
                    }
                }
            } else if has_separator {
                line::find(line, &metric.name, |found| {
                    if let Found::Number(value) = found {
                        self.series[place].push(step(), value);
                    }
                });
            }
        }
        if let Some(objective) = self.missing_objective() {
            self.near.look_at(line, &objective);
        }
    }

    /// A line of `GRID_METRICS_FILE`.
    fn file_line(&mut self, raw: &[u8]) {
        let line = String::from_utf8_lossy(raw);
        if line.trim().is_empty() {
            return;
        }
        let Some(parsed) = file::parse(&line) else { return self.near.malformed_json(&line) };
        self.near.json_line();
        for (name, value) in &parsed.numbers {
            self.take(name, parsed.step, *value);
        }
        if let Some(objective) = self.missing_objective()
            && parsed.others.iter().any(|name| **name == *objective)
        {
            self.near.not_number(&line);
        }
    }

    /// A value that was given with its name, declared or not. The step is none, unless it is declared.
    fn take(&mut self, name: &str, step: Option<i64>, value: f64) {
        if let Some(series) = self.series.iter_mut().find(|series| *series.name == *name) {
            series.push(step, value);
            return;
        }
        if let Some(objective) = self.missing_objective() {
            self.near.saw(name, &objective);
        }
        let fits = (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control);
        let undeclared = self.series.len() - self.patterns.declared.len();
        if fits && !matches!(name, "step" | "epoch") && undeclared < MAX_UNDECLARED {
            let mut series = Series::new(name.into(), Report::Last);
            series.push(step, value);
            self.series.push(series);
        }
    }

    /// The objective's name, as long as it was not seen.
    fn missing_objective(&self) -> Option<Arc<str>> {
        let objective = self.patterns.objective()?;
        self.series.first().is_some_and(|series| series.value().is_none()).then(|| objective.name.clone())
    }

    fn outcome(self) -> Outcome {
        let patterns = Arc::clone(&self.patterns);
        let mut objective =
            self.series.first().filter(|_| self.patterns.has_objective).and_then(Series::value);
        let near_misses = match (patterns.objective(), self.unknown) {
            (Some(_), Some(why)) => {
                objective = None;
                vec![why]
            }
            (Some(metric), None) if objective.is_none() => {
                self.near.sentences(&metric.name, metric.regex.is_some())
            }
            _ => Vec::new(),
        };
        let mut series: Vec<Series> =
            self.series.into_iter().filter(|series| series.value().is_some()).collect();
        series.sort_by(|a, b| a.name.cmp(&b.name));
        let metrics = series
            .iter()
            .filter_map(|series| Some((series.name.to_string(), MetricValue(series.value()?))))
            .collect();
        let curves = series.iter().filter(|series| series.has_curve()).count().max(1);
        let limit = MAX_POINTS.min(MAX_ALL_POINTS / curves);
        let mut curve = Vec::new();
        for series in series {
            let name = series.name.to_string();
            let points = series.into_curve(limit).into_iter();
            curve.extend(points.map(|(step, value)| CurvePoint {
                name: name.clone(),
                step,
                value: MetricValue(value),
            }));
        }
        Outcome { objective, metrics, curve, done: self.done, near_misses }
    }
}

#[cfg(test)]
mod tests;
