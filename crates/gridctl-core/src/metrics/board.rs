//! What is known of an attempt's metrics so far, line by line of what it printed and wrote.
//! Invariant: a value is kept by the way it came, and what came explicitly is never replaced by text.

use std::borrow::Cow;
use std::sync::Arc;

use super::advice;
use super::curve::MAX_POINTS;
use super::file::{self, JsonLine};
use super::line::{self, Line, is_between_cells};
use super::near::{NearMisses, shown};
use super::passed::Passed;
use super::peers;
use super::qualifier::{self, Qualifier};
use super::section::Section;
use super::series::{Series, Words};
use super::track::Place;
use super::value::{Value, as_step, number_prefix, whole_value};
use super::{Outcome, Patterns, Stream};
use crate::record::{Channel, CurvePoint, Doubt, MetricValue};
use crate::spec::Report;

/// The most metrics that are taken without being declared; later names are dropped.
pub const MAX_UNDECLARED: usize = 64;
/// The longest name of a metric that is not declared, in bytes.
pub(super) const MAX_NAME: usize = 128;
/// The most points of all curves of an attempt together.
pub(super) const MAX_ALL_POINTS: usize = 8_000;
/// The most doubts that are kept of one attempt.
const MAX_DOUBTS: usize = 16;

/// What is known so far: one series per metric, the declared ones first and in their order.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) patterns: Arc<Patterns>,
    pub(super) series: Vec<Series>,
    pub(super) done: bool,
    pub(super) near: NearMisses,
    /// Why nobody knows the objective, whatever was seen of it.
    pub(super) unknown: Option<String>,
    /// Lines so far, by way.
    pub(super) lines: [u64; Channel::ALL.len()],
    /// Lines that were cut, and the length of the longest.
    pub(super) cut: (u64, u64),
    /// Of stdout and stderr, the section that their last line is in.
    pub(super) sections: [Option<Section>; 2],
    /// The same for the fold that a heading named last.
    pub(super) peers: [Option<u64>; 2],
    /// The same for the model.
    pub(super) models: [Option<Arc<str>>; 2],
    /// Of each declared metric, the last row of a table that begins with its name and is not read.
    pub(super) rows: Vec<Option<Row>>,
    /// Of each declared metric, what was passed over on stdout and on stderr since its last value.
    pub(super) passed: Vec<[Option<Passed>; 2]>,
}

/// A row of a table, with more cells than a name and a number.
#[derive(Debug)]
pub(super) struct Row {
    /// What stands behind the name.
    first: f64,
    /// The row, or its beginning.
    line: String,
    advice: advice::Advice,
}

impl Row {
    /// The row that `line` is, if it begins with `text`, what stands from the metric's name on.
    pub(super) fn of(line: &str, text: &str, name: &str) -> Option<Self> {
        let behind = text.strip_prefix(name)?.trim_start_matches(is_between_cells);
        let is_first = line.trim_start_matches(is_between_cells) == text;
        let (first, _) = number_prefix(behind).filter(|_| is_first)?;
        let mut advice = advice::Advice::default();
        advice.missed(line, text, name);
        Some(Self { first, line: shown(text), advice })
    }

    /// What there is to doubt of the value that was taken, as it is none of this row.
    fn doubt(self, series: &Series) -> Option<Doubt> {
        let value = MetricValue(series.value()?);
        let is_text = matches!(series.channel(), Some(Channel::Stdout | Channel::Stderr));
        let metric = series.name.to_string();
        let differs = is_text && MetricValue(self.first) != value;
        let pattern = self.advice.pattern().map(str::to_owned);
        differs.then_some(Doubt::Unread { metric, value, line: self.line, pattern })
    }
}

/// How the values of one line came that were given with their names.
struct Given<'l> {
    channel: Channel,
    place: Place,
    step: Option<i64>,
    /// On what the line says that they were measured.
    said: Option<Qualifier>,
    /// The model that the line says it is of.
    model: Option<&'l str>,
    line: &'l str,
}

impl Given<'_> {
    fn push_to(&self, series: &mut Series, value: f64) {
        match self.said {
            None => {
                series.push(self.channel, self.place, self.step, value);
                let name = Arc::clone(&series.name);
                series.push_owner(self.channel, self.model, value, || format!("{name}: {value}"));
            }
            Some(said) => {
                let words = Words { said, text: &shown(self.line), line: "", at: None };
                series.push_with_words((self.channel, self.place), words, Ok((self.step, value)));
            }
        }
    }
}

impl Board {
    pub(super) fn new(patterns: Arc<Patterns>) -> Self {
        let series =
            patterns.declared.iter().map(|metric| Series::new(metric.name.name.clone(), metric.report));
        Self {
            series: series.collect(),
            done: false,
            near: NearMisses::default(),
            unknown: None,
            lines: [0; 4],
            cut: (0, 0),
            sections: [None; 2],
            peers: [None; 2],
            models: [None, None],
            rows: patterns.declared.iter().map(|_| None).collect(),
            passed: patterns.declared.iter().map(|_| [None, None]).collect(),
            patterns,
        }
    }

    pub(super) fn latest(&self) -> Option<(i64, f64)> {
        self.series.first().filter(|_| self.patterns.has_objective).and_then(Series::latest)
    }

    /// Takes in what came by another way, as if it came after this.
    pub(super) fn join(&mut self, other: Self) {
        let most = self.patterns.declared.len() + MAX_UNDECLARED;
        for theirs in other.series {
            if let Some(ours) = self.series.iter_mut().find(|ours| ours.name == theirs.name) {
                ours.join(theirs);
            } else if self.series.len() < most {
                self.series.push(theirs);
            }
        }
        for (ours, theirs) in self.rows.iter_mut().zip(other.rows) {
            *ours = theirs.or(ours.take());
        }
        self.near.join(other.near);
        self.unknown = self.unknown.take().or(other.unknown);
        self.cut = (self.cut.0 + other.cut.0, self.cut.1.max(other.cut.1));
    }

    fn count(&mut self, channel: Channel, line: &Line<'_>) -> Place {
        let number = &mut self.lines[channel as usize];
        *number += 1;
        if line.is_cut() {
            self.cut = (self.cut.0 + 1, self.cut.1.max(line.length));
        }
        Place { line: *number, end: line.end, ..Place::default() }
    }

    pub(super) fn output_line(&mut self, stream: Stream, raw: Line<'_>, file_size: &dyn Fn() -> u64) {
        let channel = match stream {
            Stream::Stdout => Channel::Stdout,
            Stream::Stderr => Channel::Stderr,
        };
        let place = self.count(channel, &raw);
        let line = line::text(raw.bytes);
        if let Some(rest) = line.trim_start().strip_prefix("::") {
            if rest.trim_end() == "done" {
                self.done = true;
                return;
            }
            if let Some(pairs) = rest.strip_prefix("metric")
                && (pairs.is_empty() || pairs.starts_with([' ', '\t']))
            {
                return self.metric_line(pairs, Place { end: file_size(), ..place });
            }
        }
        self.declared_line(&line, channel, place);
    }

    /// `::metric step=3 loss=0.41`.
    fn metric_line(&mut self, rest: &str, place: Place) {
        let mut numbers = Vec::new();
        let (near, series) = (&mut self.near, &mut self.series);
        let objective = self.patterns.objective().map(|metric| &*metric.name.name);
        let mut unreadable = |name: &str, text: &str| {
            if let Some(series) = series.iter_mut().find(|series| *series.name == *name) {
                series.push_unreadable(Channel::Protocol, place, text);
            }
        };
        let mut is_malformed = rest.trim().is_empty();
        let whole = format!("::metric{rest}");
        let mut said = None;
        line::pairs(rest, |name, value| match value.map(|value| (value, whole_value(value))) {
            Some((_, Value::Number(number))) => numbers.push((name, number)),
            Some((_, Value::Null)) => {}
            Some((value, Value::Prose)) if qualifier::is_split_key(name) => said = Qualifier::of(value),
            Some((value, Value::Unreadable | Value::Prose | Value::Label)) => {
                let text = format!("{name}={value}");
                unreadable(name, &text);
                if objective == Some(name) {
                    near.not_number(&text);
                }
            }
            None => {
                is_malformed = true;
                unreadable(name.trim_matches([':', ',', ';', '"', '\'']), &whole);
            }
        });
        if is_malformed {
            near.malformed_metric(&whole);
        }
        let step_of = |wanted: &str| {
            numbers.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| as_step(*value))
        };
        let step = step_of("step").or_else(|| step_of("epoch"));
        let fold = numbers.iter().find(|(name, _)| peers::is_peer(name)).and_then(|(_, fold)| as_step(*fold));
        let place = Place { peer: fold.and_then(|fold| u64::try_from(fold).ok()), ..place };
        let model = peers::model_of(&whole);
        let given = Given { channel: Channel::Protocol, place, step, said, model, line: &whole };
        for (name, value) in numbers {
            self.take(name, &given, value);
        }
    }

    /// A line of `GRID_METRICS_FILE`.
    pub(super) fn file_line(&mut self, raw: Line<'_>) {
        let place = self.count(Channel::File, &raw);
        let text = line::lossy(raw.bytes);
        // Some programs begin a file, or each time they append to it, with a mark of its encoding.
        let line = text.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            return;
        }
        let Some(parsed) = file::parse(line) else {
            self.near.malformed_json(line);
            let patterns = Arc::clone(&self.patterns);
            for (metric, series) in patterns.declared.iter().zip(&mut self.series) {
                if line.contains(&format!("\"{}\"", metric.name.name)) {
                    series.push_unreadable(Channel::File, place, line);
                }
            }
            return;
        };
        self.near.json_line();
        let is_split =
            |(name, value): &(Cow<'_, str>, Value)| *value == Value::Prose && qualifier::is_split_key(name);
        let has_split = parsed.fields.iter().any(is_split);
        let said = has_split.then(|| qualifier::of_record(line, line.find('{')? + 1)).flatten();
        let of_fold = |(name, value): &(Cow<'_, str>, Value)| match value {
            Value::Number(value) if peers::is_peer(name) => as_step(*value),
            _ => None,
        };
        let peer = parsed.fields.iter().find_map(of_fold).and_then(|fold| u64::try_from(fold).ok());
        let place = Place { peer, ..place };
        let (step, model) = (parsed.step(), peers::model_of(line));
        let given = Given { channel: Channel::File, place, step, said, model, line };
        for (name, value) in &parsed.fields {
            match value {
                Value::Number(value) => self.take(name, &given, *value),
                // A text or a truth value is not what was declared, and the value before is not the last.
                Value::Unreadable | Value::Prose | Value::Label => {
                    if let Some(series) = self.series.iter_mut().find(|series| *series.name == **name) {
                        series.push_unreadable(Channel::File, place, line);
                    }
                }
                Value::Null => {}
            }
        }
        self.paths_in_file(line, &parsed, place);
        let is_miss = |value: &Value| matches!(value, Value::Unreadable | Value::Prose | Value::Label);
        if let Some(objective) = self.missing_objective()
            && parsed.fields.iter().any(|(name, value)| **name == *objective && is_miss(value))
        {
            self.near.not_number(line);
        }
    }

    /// Nested keys that a metric's name is the path to.
    fn paths_in_file(&mut self, line: &str, parsed: &JsonLine<'_>, place: Place) {
        let patterns = Arc::clone(&self.patterns);
        for (metric, series) in patterns.declared.iter().zip(&mut self.series) {
            let Some((around, last)) = &metric.path else { continue };
            let is_key = parsed.fields.iter().any(|(name, _)| **name == *metric.name.name);
            if is_key || !last.is_in(line) {
                continue;
            }
            match file::at_path(line, around, &last.name) {
                Some(Value::Number(value)) => series.push(Channel::File, place, parsed.step(), value),
                Some(Value::Unreadable) => series.push_unreadable(Channel::File, place, line),
                _ => {}
            }
        }
    }

    /// A value that was given with its name, declared or not. The step is none, unless it is declared.
    fn take(&mut self, name: &str, given: &Given<'_>, value: f64) {
        if let Some(series) = self.series.iter_mut().find(|series| *series.name == *name) {
            given.push_to(series, value);
            return;
        }
        if let Some(objective) = self.missing_objective() {
            self.near.saw(name, &objective);
        }
        let fits = (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control);
        let undeclared = self.series.len() - self.patterns.declared.len();
        if fits && !matches!(name, "step" | "epoch") && undeclared < MAX_UNDECLARED {
            let mut series = Series::new(name.into(), Report::Last);
            given.push_to(&mut series, value);
            self.series.push(series);
        }
    }

    /// The objective's name, as long as no value of it was seen.
    fn missing_objective(&self) -> Option<Arc<str>> {
        let objective = self.patterns.objective()?;
        self.series.first().is_some_and(|series| !series.has_value()).then(|| objective.name.name.clone())
    }

    pub(super) fn outcome(mut self) -> Outcome {
        let (objective, near_misses) = self.objective();
        let mut doubts: Vec<Doubt> = Vec::new();
        let declared = &self.series[..self.patterns.declared.len()];
        for (nth, series) in declared.iter().enumerate() {
            let (row, passed) = (&mut self.rows[nth], &mut self.passed[nth]);
            let goal = self.patterns.goal.filter(|_| self.patterns.is_objective(nth));
            let passed = match series.channel() {
                Some(Channel::Stdout) => passed[0].take(),
                Some(Channel::Stderr) => passed[1].take(),
                _ => None,
            };
            let passed = passed.and_then(|passed| passed.doubt(series));
            let unread = row.take().and_then(|row| row.doubt(series)).filter(|_| passed.is_none());
            let is_said = passed.is_some() || unread.is_some();
            let of_words = |doubt: &Doubt| matches!(doubt, Doubt::Qualified { .. });
            doubts.extend(passed);
            doubts.extend(series.doubts(goal).into_iter().filter(|doubt| !is_said || !of_words(doubt)));
            doubts.extend(unread);
        }
        doubts.truncate(MAX_DOUBTS);
        let (lines, longest) = self.cut;
        if lines > 0 {
            doubts.push(Doubt::Cut { lines, longest });
        }
        self.series.sort_by(|a, b| a.name.cmp(&b.name));
        let seen = self.series.iter().flat_map(Series::seen).collect();
        let series: Vec<Series> = self.series.into_iter().filter(|series| series.value().is_some()).collect();
        let metrics = series
            .iter()
            .filter_map(|series| Some((series.name.to_string(), MetricValue(series.value()?))))
            .collect();
        let spreads = series
            .iter()
            .filter_map(|series| Some((series.name.to_string(), MetricValue(series.spread()?))))
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
        Outcome { objective, metrics, spreads, curve, done: self.done, near_misses, doubts, seen }
    }

    /// The objective's value; if there should be one and is none, why.
    fn objective(&mut self) -> (Option<f64>, Vec<String>) {
        let patterns = Arc::clone(&self.patterns);
        let (Some(metric), Some(series)) = (patterns.objective(), self.series.first()) else {
            return (None, Vec::new());
        };
        if let Some(why) = self.unknown.take() {
            return (None, vec![why]);
        }
        if let Some(value) = series.value() {
            return (Some(value), Vec::new());
        }
        if let Some(undecided) = series.undecided() {
            return (None, advice::undecided(series, undecided));
        }
        if let Some(text) = series.unreadable() {
            self.near.last_was(text);
        }
        let mut sentences = self.near.sentences(&metric.name.name, metric.regex.is_some());
        if self.cut.0 > 0 {
            let (lines, longest) = self.cut;
            sentences.insert(
                0,
                format!(
                    "{lines} lines were longer than 1 MiB and were cut there, the longest of {longest} bytes"
                ),
            );
        }
        (None, sentences)
    }
}
