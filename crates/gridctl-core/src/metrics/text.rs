//! Declared metrics in lines of text: by pattern, by name, by the path of nested keys, and by the words before a name.
//! Invariant: a line is looked through once for each metric that it names, however often it does.

use std::cell::OnceCell;
use std::sync::Arc;

use super::beside;
use super::board::{Board, Row};
use super::line::{self, Found};
use super::near::{Missed, WIDE, shown};
use super::nested::{self, Nested};
use super::passed::{self, Passed};
use super::peers;
use super::qualifier::{self, Heading, Qualifier, Said, TRAINING};
use super::section::Section;
use super::series::{Series, Words};
use super::track::Place;
use super::value::{Value, caught_value, number_prefix, unit};
use super::{Declared, Patterns};
use crate::record::Channel;

/// The most values that one pattern takes from one line.
const MAX_CAUGHT: usize = 4_096;
/// How far words may stand before a name, in bytes, for the line to be kept.
const MAX_APART: usize = 400;
/// How much of a line is kept behind a name.
const MAX_BEHIND: usize = 160;
/// The longest words that are shown whole.
const MAX_WORDS: usize = 40;

/// A line of one of the two streams, and what is found in it when it is first asked for.
struct TextLine<'l> {
    text: &'l str,
    channel: Channel,
    place: Place,
    step: OnceCell<Option<i64>>,
    headings: OnceCell<Vec<Heading>>,
    may_say_more: OnceCell<bool>,
    /// What the line stands in.
    section: Option<Section>,
    /// The number of the fold that a heading before the line names.
    peer: Option<u64>,
    /// The model that a heading before the line names.
    model: Option<&'l str>,
}

impl TextLine<'_> {
    fn step(&self) -> Option<i64> {
        *self.step.get_or_init(|| line::find_step(self.text))
    }

    fn may_say_more(&self) -> bool {
        *self.may_say_more.get_or_init(|| qualifier::may_say_more(self.text))
    }

    /// The words that speak of the name `name` at `at`.
    fn said(&self, at: usize, name: &str) -> Option<Said> {
        let headings = || self.headings.get_or_init(|| qualifier::headings(self.text));
        let behind = || {
            let rest = &self.text[at + name.len()..];
            let said = qualifier::behind(rest).or_else(|| qualifier::behind(behind_number(rest)?))?;
            Some((said.0, at))
        };
        let of_record = || {
            let said = self.may_say_more().then(|| qualifier::of_record(self.text, at))?;
            said.map(|said| (said, at))
        };
        let section = || self.section.map(|section| (section.said, at));
        qualifier::directly(self.text, at)
            .or_else(behind)
            .or_else(|| qualifier::under(headings(), at))
            .or_else(of_record)
            .or_else(section)
            .filter(|(said, _)| !said.is_said_by(name))
    }

    /// Where the value of the name `name` at `at` stands, with the fold that it is of and its unit.
    fn place(&self, at: usize, name: &str) -> Place {
        let (before, behind) = (&self.text[..at], &self.text[at + name.len()..]);
        let own = if self.may_say_more() { peers::peer(before) } else { None };
        let peer = own.or(self.peer).filter(|_| !peers::is_of_all(before));
        Place { peer, unit: line::after_separator(behind).and_then(unit), ..self.place }
    }

    /// Takes in a value that the name at `at` alone has.
    fn push_alone(&self, series: &mut Series, at: usize, value: Result<f64, &str>) {
        match value {
            Ok(value) => {
                series.push(self.channel, self.place(at, &series.name), self.step(), value);
                let owner = peers::owner_words(&self.text[..at]).or_else(|| peers::model_of(self.text));
                let name = series.name.len();
                series.push_owner(self.channel, owner.or(self.model), value, || pair(&self.text[at..], name));
            }
            Err(text) => series.push_unreadable(self.channel, self.place, text),
        }
    }

    /// Takes in the value of the name at `at` with these words.
    fn push(&self, series: &mut Series, at: usize, (said, from): Said, value: Result<f64, &str>) {
        let (line, whole_at) = (self.text, at);
        let behind = qualifier::behind(&line[at + series.name.len()..]).map_or(0, |(_, length)| length);
        let pair = pair(&line[at..], series.name.len() + behind);
        let words = &line[from..at];
        let text = if words.is_empty() {
            format!("[{}] {pair}", said.word())
        } else if words.len() <= MAX_WORDS {
            format!("{words}{pair}")
        } else {
            format!("{} … {pair}", words.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
        };
        let begin = line[..from].char_indices().next_back().map_or(0, |(at, _)| at);
        let end = line.floor_char_boundary(at + series.name.len() + MAX_BEHIND);
        let is_near = words.len() <= MAX_APART;
        let (kept, at) =
            if is_near { (&line[begin..end], Some([from - begin, at - begin])) } else { ("", None) };
        let words = Words { said, text: &shown(&text), line: kept, at };
        let value = value.map(|value| (self.step(), value));
        let place = self.place(whole_at, &series.name);
        series.push_with_words((self.channel, place), words, value);
    }
}

/// What stands behind the number that `rest` has after a sign.
fn behind_number(rest: &str) -> Option<&str> {
    let value = line::after_separator(rest)?;
    number_prefix(value).map(|(_, end)| &value[end..])
}

/// A name, and what stands behind it up to the end of its value.
fn pair(text: &str, name: usize) -> String {
    let begins = |c: char| c.is_alphanumeric() || "+-−.".contains(c);
    let value = text[name..].find(begins).map_or(text.len(), |at| name + at);
    let ends = |c: char| c.is_whitespace() || ",;|})]".contains(c);
    let end = text[value..].find(ends).map_or(text.len(), |at| value + at);
    let end = text.floor_char_boundary(end.min(name + MAX_BEHIND));
    format!("{}{}", &text[..name], text[name..end].trim_start_matches(['"', '\'']))
}

/// A value within maps whose names say nothing.
struct Inner<'n> {
    nested: &'n Nested,
    value: Result<f64, ()>,
}

impl Board {
    /// Patterns, and `name=value` for declared names.
    pub(super) fn declared_line(&mut self, text: &str, channel: Channel, place: Place) {
        let patterns = Arc::clone(&self.patterns);
        let (step, headings, may_say_more) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let section = &mut self.sections[usize::from(channel == Channel::Stderr)];
        *section = Section::next(*section, text);
        let peer = &mut self.peers[usize::from(channel == Channel::Stderr)];
        *peer = peers::peer_of_heading(text).or(*peer);
        let (section, peer) = (*section, *peer);
        let model = &mut self.models[usize::from(channel == Channel::Stderr)];
        if let Some(named) = peers::model_of_heading(text) {
            *model = Some(named.into());
        }
        let model = model.clone();
        let model = model.as_deref();
        let line = TextLine { text, channel, place, step, headings, may_say_more, section, peer, model };
        if beside::is_restored(text)
            && let Some(series) = self.series.first_mut()
        {
            series.others.take_restored(text, channel, place.line);
        }
        let mut missed = None;
        let may_name_any = OnceCell::new();
        for (nth, metric) in patterns.declared.iter().enumerate() {
            if metric.regex.is_some() {
                self.caught(&line, nth, metric, &patterns);
                continue;
            }
            let mut read = None;
            if metric.name.is_in(text) {
                let (of_this, rank) = self.named(&line, nth, metric, &patterns);
                missed = missed.or(patterns.is_objective(nth).then_some(of_this));
                read = rank;
            } else if metric.path.as_ref().is_some_and(|(_, last)| last.is_in(text)) {
                read = self.at_path(&line, nth, metric).then_some(Qualifier::NONE.rank());
            }
            if self.series[nth].by(channel).is_some()
                && *may_name_any.get_or_init(|| patterns.may_name_any(text))
            {
                self.pass_over(&line, nth, metric, read);
            }
        }
        let bytes = text.as_bytes();
        let Some(objective) = patterns.objective().filter(|_| !self.series[0].has_value()) else { return };
        if objective.regex.is_some() {
            objective.name.find(text, |found| missed.get_or_insert_default().add(found));
        }
        if missed.is_some() || memchr::memchr3(b'=', b':', WIDE, bytes).is_some() {
            self.near.look_at(text, &objective.name.name, missed.unwrap_or_default());
        }
    }

    /// What the pattern of a metric catches.
    fn caught(&mut self, line: &TextLine<'_>, nth: usize, metric: &Declared, patterns: &Patterns) {
        let Some(regex) = &metric.regex else { return };
        let series = &mut self.series[nth];
        let mut caught = regex.captures_iter(line.text).filter_map(|captures| captures.get(1));
        for caught in caught.by_ref().take(MAX_CAUGHT) {
            match caught_value(caught.as_str()) {
                Value::Number(value) => series.push(line.channel, line.place, line.step(), value),
                Value::Unreadable => series.push_unreadable(line.channel, line.place, caught.as_str()),
                Value::Null | Value::Prose | Value::Label => {}
            }
            if patterns.is_objective(nth) && !matches!(caught_value(caught.as_str()), Value::Number(_)) {
                self.near.regex_caught(caught.as_str());
            }
        }
        if caught.next().is_some() {
            series.push_unreadable(line.channel, line.place, "thousands of values in one line");
        }
    }

    /// Keeps a line that names a metric with a number and was not read; `read` is the rank of what was.
    fn pass_over(&mut self, line: &TextLine<'_>, nth: usize, metric: &Declared, read: Option<u8>) {
        let passed = &mut self.passed[nth][usize::from(line.channel == Channel::Stderr)];
        if read.is_some_and(|rank| rank < TRAINING) {
            *passed = None;
            return;
        }
        let (text, name) = (line.text, &*metric.name.name);
        let is_result = |at: &usize| {
            let said = line.said(*at, &text[*at..at + name.len()]);
            said.is_none_or(|(said, _)| said.rank() < Qualifier::BEST_RANK)
        };
        let numbers = passed::places(text, name).filter(is_result);
        let numbers = numbers.filter_map(|at| Some((at, passed::number_behind(text, at + name.len())?)));
        match numbers.last() {
            Some((at, number)) => {
                *passed = Some(Passed::new(text, (at, name.len()), number, passed.take()));
            }
            None => {
                if let Some(passed) = passed {
                    passed.is_followed_by(text);
                }
            }
        }
    }

    /// The nested key that a metric's name is the path to; returns whether it was read.
    fn at_path(&mut self, line: &TextLine<'_>, nth: usize, metric: &Declared) -> bool {
        let Some((around, last)) = &metric.path else { return false };
        let series = &mut self.series[nth];
        let mut read = false;
        for nested in nested::keys(line.text, &last.name).iter().filter(|nested| nested.path == *around) {
            read = true;
            match last.at(line.text, nested.at) {
                Some(Found::Number(value, _)) => series.push(line.channel, line.place, line.step(), value),
                Some(Found::Unreadable(text)) => series.push_unreadable(line.channel, line.place, text),
                _ => {}
            }
        }
        read
    }

    /// The values behind the name of a metric; returns what is none, and the lowest rank of what is one.
    fn named<'l>(
        &mut self,
        line: &TextLine<'l>,
        nth: usize,
        metric: &Declared,
        patterns: &Patterns,
    ) -> (Missed<'l>, Option<u8>) {
        let text = line.text;
        let all_nested = nested::keys(text, &metric.name.name);
        let (mut unreadable, mut alone, mut inner) = (None, false, Vec::new());
        let mut read = None::<u8>;
        let mut no_value = Missed::default();
        let series = &mut self.series[nth];
        metric.name.find(text, |found| {
            no_value.add(found);
            let (shown, value) = match found {
                Found::Number(value, shown) => (shown, Ok(value)),
                Found::Unreadable(shown) => (shown, Err(shown)),
                Found::NoSeparator(shown) => {
                    let row = Row::of(text, shown, &metric.name.name);
                    self.rows[nth] = row.or(self.rows[nth].take());
                    return;
                }
                Found::Prose(_) => return,
            };
            let at = text.len() - shown.len();
            let mut reads = |said: Qualifier| {
                read = Some(read.map_or(said.rank(), |rank| rank.min(said.rank())));
            };
            let mut missed = |(said, from): Said| {
                if let Err(shown) = value {
                    unreadable = Some((said.rank(), from, shown));
                }
            };
            if let Ok(place) = all_nested.binary_search_by_key(&at, |nested| nested.at) {
                let nested = &all_nested[place];
                let value = value.map_err(|_| ());
                missed((Qualifier::NONE, at));
                let said = nested.path.iter().rev().find_map(|key| Qualifier::of(key));
                reads(said.unwrap_or(Qualifier::NONE));
                match said {
                    Some(said) => push_nested(series, line, (nested, said), value),
                    None => inner.push(Inner { nested, value }),
                }
            } else if let Some(said) = line.said(at, &metric.name.name) {
                missed(said);
                reads(said.0);
                line.push(series, at, said, value);
            } else {
                alone = true;
                missed((Qualifier::NONE, at));
                reads(Qualifier::NONE);
                line.push_alone(series, at, value);
            }
        });
        series.others.take((text, line.channel, line.place.line), &metric.name, patterns, alone);
        let several = if alone { None } else { one_of(series, line, &inner) };
        if patterns.is_objective(nth) {
            if let Some((text, advised)) = several {
                self.near.several(text, advised);
            }
            // Once for each line, however many values it has.
            if let Some((rank, from, shown)) = unreadable
                && rank <= series.rank(line.channel)
            {
                self.near.unreadable(text, shown, from, &metric.name.name);
            }
            self.near.has_name(text, &metric.name);
        }
        (no_value, read)
    }
}

fn path_of(nested: &Nested, name: &str) -> String {
    format!("{}.{name}", nested.path.join("."))
}

/// Takes in a value within a map whose name says what it was measured on.
fn push_nested(
    series: &mut Series,
    line: &TextLine<'_>,
    (nested, said): (&Nested, Qualifier),
    value: Result<f64, ()>,
) {
    let path = path_of(nested, &series.name);
    let text = value.map_or_else(|()| path.clone(), |value| format!("{path}: {value}"));
    let text = shown(&text);
    let value = value.map(|value| (line.step(), value)).map_err(|()| text.as_str());
    let words = Words { said, text: &text, line: &path, at: None };
    series.push_with_words((line.channel, line.place), words, value);
}

/// Takes the values within maps whose names say nothing, if they are of one map, or alike; else
/// returns two of them, and the one to advise.
fn one_of(series: &mut Series, line: &TextLine<'_>, inner: &[Inner<'_>]) -> Option<(String, String)> {
    let last = inner.last()?;
    let bits = |inner: &Inner<'_>| inner.value.map(f64::to_bits);
    let is_other = |other: &&Inner<'_>| other.nested.path != last.nested.path && bits(other) != bits(last);
    if let Some(other) = inner.iter().rev().find(is_other) {
        let [other, last] = [other, last].map(|inner| path_of(inner.nested, &series.name));
        let text = shown(&format!("{other}, {last}"));
        series.push_unreadable(line.channel, line.place, &text);
        return Some((text, other));
    }
    for (nth, Inner { nested, value }) in inner.iter().enumerate() {
        let peer = (inner.len() > 1).then_some(nth as u64);
        match value {
            Ok(value) => series.push(line.channel, Place { peer, ..line.place }, line.step(), *value),
            Err(()) => series.push_unreadable(line.channel, line.place, &line.text[nested.at..]),
        }
    }
    None
}
