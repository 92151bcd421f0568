//! Lines that name a metric with a number and are not read, behind the value that was taken: `Accuracy: 0.8` after `accuracy=0.5`.
//! Invariant: of each stream the last such line is kept until a value comes, and what merely repeats the value is none.

use super::advice::Advice;
use super::ending::{Ending, TIMES, ending, is_spread_percentage, leads_on, share_of};
use super::near::shown;
use super::qualifier::last_word;
use super::series::Series;
use super::value::{is_blank, is_cjk, number_prefix};
use crate::record::{Doubt, MetricValue};

/// How far behind a name its number may stand, in bytes.
const MAX_APART: usize = 120;
/// How much of a line is shown before the name, in bytes.
const MAX_BEFORE: usize = 30;
/// Words between a name and a number which say that it is not the result.
const OTHERS: [&str; 17] = [
    "not",
    "no",
    "never",
    "best",
    "far",
    "target",
    "threshold",
    "train",
    "training",
    "baseline",
    "required",
    "expected",
    "previous",
    "old",
    "initial",
    "min_delta",
    "tolerance",
];
/// What stands directly before numbers that count or measure something else.
const BEFORE_OTHERS: [&str; 14] = [
    "by", "after", "for", "in", "every", "from", "than", "over", "took", "with", "last", "first", "top",
    "within",
];
/// The same, with a sign or without.
const INDICES: [&str; 15] = [
    "epoch",
    "step",
    "iteration",
    "iter",
    "round",
    "fold",
    "seed",
    "lr",
    "rate",
    "patience",
    "batch",
    "line",
    "layer",
    "version",
    "k",
];
/// Words that lead to a number as a sign does.
const LEADING: [&str; 9] = ["is", "was", "are", "of", "to", "reached", "equals", "became", "hit"];
/// What whole numbers count.
pub(super) const COUNTED: [&str; 16] = [
    "epochs",
    "epoch",
    "steps",
    "iterations",
    "times",
    "samples",
    "examples",
    "images",
    "rows",
    "folds",
    "runs",
    "trials",
    "points",
    "batches",
    "gb",
    "mb",
];

/// A number behind a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spoken {
    /// Where it stands in the line, from and to.
    pub(super) at: usize,
    pub(super) end: usize,
    value: f64,
    /// Digits behind its point; none of a number that has no point.
    decimals: Option<i32>,
    /// A whole number with words between, which may count something.
    may_count: bool,
}

/// Where `name` stands in `line` as a word of its own, in whatever letters.
pub(super) fn places(line: &str, name: &str) -> impl Iterator<Item = usize> {
    let (bytes, length) = (line.as_bytes(), name.len());
    let first = name.bytes().next().unwrap_or_default();
    // A single letter is also a word of other meaning.
    let any_case = length > 1;
    let [upper, lower] =
        if any_case { [first.to_ascii_uppercase(), first.to_ascii_lowercase()] } else { [first, first] };
    memchr::memchr2_iter(upper, lower, bytes).filter(move |at| {
        let word = bytes.get(*at..at + length);
        word.is_some_and(|word| is_spelt(word, name.as_bytes()))
            && line.is_char_boundary(*at)
            && line.is_char_boundary(at + length)
            && is_apart(&line[..*at], &line[at + length..], name)
    })
}

/// Whether `word` is `name` in whatever letters, with blanks or dashes for its underscores or with them: `Val Acc`.
fn is_spelt(word: &[u8], name: &[u8]) -> bool {
    let same =
        |(word, name): (&u8, &u8)| word.eq_ignore_ascii_case(name) || *name == b'_' && b" -".contains(word);
    word.iter().zip(name).all(same)
}

/// Whether a name with this before and behind it is no part of a longer one.
fn is_apart(before: &str, behind: &str, name: &str) -> bool {
    let first = name.chars().next().unwrap_or_default();
    let joins = |c: char| (c.is_alphanumeric() && is_cjk(c) == is_cjk(first)) || "_-./?&@".contains(c);
    let mut rest = behind.chars();
    let goes_on = match rest.next() {
        Some('-') if behind.to_ascii_lowercase().starts_with("-score") => false,
        Some('-' | '.' | '/' | '@') => rest.next().is_some_and(char::is_alphanumeric),
        Some(c) => c == '_' || (c.is_alphanumeric() && is_cjk(c) == is_cjk(first)),
        None => false,
    };
    !before.ends_with(joins) && !goes_on
}

/// What a number behind a name is.
enum Is {
    Result,
    /// It may count something: one that does not goes before.
    Perhaps,
    /// Another number.
    Other,
    /// Neither it nor any behind it is of this name.
    End,
}

/// The number that `line` speaks of behind the name that ends at `behind`.
pub(super) fn number_behind(line: &str, behind: usize) -> Option<Spoken> {
    let near = &line[behind..line.floor_char_boundary(behind + MAX_APART)];
    let (mut before, mut next, mut brackets) = (None, 0, 0_usize);
    let (mut perhaps, mut is_direct) = (None, true);
    for (at, c) in near.char_indices() {
        let apart = before.is_none_or(|before: char| !before.is_alphanumeric() && !"_-/.".contains(before));
        before = Some(c);
        if at < next {
            continue;
        }
        let gap = &near[..at];
        let begins = c.is_ascii_digit() || "+-.nNiI".contains(c);
        if begins
            && apart
            && let Some((value, length)) = number_prefix(&near[at..])
        {
            next = at + length;
            let (at, end) = (behind + at, behind + next);
            let text = &line[at..end];
            let decimals = text.split_once('.').map(|(_, digits)| i32::try_from(digits.len()).unwrap_or(0));
            let spoken = |may_count| Some(Spoken { at, end, value, decimals, may_count });
            match what_is(gap, text, &line[end..]) {
                Is::Result => return spoken(false),
                Is::Perhaps => perhaps = perhaps.or(spoken(true)),
                Is::Other => {}
                Is::End => break,
            }
            is_direct = false;
            continue;
        }
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ',' if !is_direct && brackets == 0 => break,
            ';' | '{' | '}' | '"' | '\'' if !is_direct => break,
            '.' if !is_direct && near[at + 1..].starts_with(is_blank) => break,
            c => is_direct &= !c.is_alphanumeric(),
        }
    }
    perhaps
}

fn what_is(gap: &str, number: &str, rest: &str) -> Is {
    let is_one_of = |words: &[&str], word: &str| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    let words = gap.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    if words.clone().any(|word| is_one_of(&OTHERS, word)) {
        return Is::End;
    }
    let bare = gap.trim_end_matches(is_blank);
    if let Some(key) = bare.strip_suffix('=')
        && key.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        && bare.len() == gap.len()
    {
        // `lr=0.1` is a field of its own.
        return Is::End;
    }
    let last = |text: &str| last_word(text).map_or("", |(word, _)| word).to_owned();
    let index = last(bare.trim_end_matches([':', '=', '#', '(', ' ']));
    let behind = rest.trim_start_matches(|c: char| is_blank(c) || c == '-');
    let counted = &behind[..behind.len() - behind.trim_start_matches(char::is_alphabetic).len()];
    let is_percentage = behind.starts_with(['%', '％']) || is_spread_percentage(rest);
    let is_share = rest.starts_with('/') || share_of(rest).is_some();
    let is_whole = is_percentage || is_share || ending(number, rest) == Ending::Whole;
    if !is_whole
        || leads_on(rest.trim_start_matches(is_blank))
        || is_one_of(&BEFORE_OTHERS, &last(bare))
        || is_one_of(&INDICES, &index)
        || is_one_of(&COUNTED, counted)
        || is_one_of(&TIMES, counted)
    {
        return Is::Other;
    }
    let is_direct = !gap.contains(char::is_alphanumeric);
    let is_number = number.contains(['.', 'e', 'E', 'n', 'N']) || is_percentage || is_share;
    let is_led = bare.ends_with([':', '=', '：', '＝', '>', '→', '为', '為', '是', 'は']);
    if is_direct || is_number {
        Is::Result
    } else if is_led || is_one_of(&LEADING, &last(bare)) || bare.ends_with(['(', '[', '|']) {
        Is::Perhaps
    } else {
        Is::Other
    }
}

/// The last line that was passed over, and what reads it.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    number: Spoken,
    text: String,
    advice: Advice,
}

impl Passed {
    /// The line speaks of `number` behind the name at `at`, as long as `length`; `before` is what was passed
    /// over before it.
    pub(super) fn new(
        line: &str,
        (at, length): (usize, usize),
        number: Spoken,
        before: Option<Self>,
    ) -> Self {
        let mut advice = before.map_or_else(Advice::default, |before| before.advice);
        advice.spoken(line, (at, length), number.at);
        let from = line.ceil_char_boundary(at.saturating_sub(MAX_BEFORE));
        let from =
            line[from..at].find(char::is_whitespace).filter(|_| from > 0).map_or(from, |blank| from + blank);
        Self { number, text: shown(&line[from..]), advice }
    }

    /// Another line follows: no pattern is offered that takes its number for this one.
    pub(super) fn is_followed_by(&mut self, line: &str) {
        self.advice.keeps_off_line(line);
    }

    /// What there is to doubt of the value that was taken, as it is not this one.
    pub(super) fn doubt(self, series: &Series) -> Option<Doubt> {
        let value = series.value()?;
        let is_count = self.number.may_count && value.fract() != 0.0;
        let pattern = self.advice.pattern().map(str::to_owned);
        let metric = series.name.to_string();
        (!is_count && !self.number.repeats(value)).then_some(Doubt::Unread {
            metric,
            value: MetricValue(value),
            line: self.text,
            pattern,
        })
    }
}

impl Spoken {
    /// Whether it is `value` as it is printed with so many digits, or as a percentage.
    pub(super) fn repeats(self, value: f64) -> bool {
        let is_same = |value: f64| {
            let room = self
                .decimals
                .filter(|decimals| *decimals > 0)
                .map_or(0.0, |decimals| 0.5 * 0.1_f64.powi(decimals));
            let room = room.max(value.abs() * 1e-12);
            MetricValue(self.value) == MetricValue(value) || (self.value - value).abs() <= room * (1.0 + 1e-9)
        };
        is_same(value) || is_same(value * 100.0) || is_same(value / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_a_line_speaks_of_is_found_behind_the_name() {
        for (line, expected) in [
            ("Accuracy: 0.8", Some("0.8")),
            ("accuracy on validation set: 0.8", Some("0.8")),
            ("Final accuracy of the model is 0.8", Some("0.8")),
            ("Accuracy of the network on the 10000 test images: 54 %", Some("54")),
            ("accuracy improved from 0.4 to 0.5", Some("0.5")),
            ("accuracy increased (0.4 --> 0.5).  Saving model ...", Some("0.5")),
            ("accuracy (mean +/- std) = 0.91 +/- 0.02", Some("0.91")),
            ("ACCURACY,0.8", Some("0.8")),
            ("| Accuracy | 0.8 |", Some("0.8")),
            ("{\"Accuracy\": 0.8}", Some("0.8")),
            ("accuracy at epoch 10: 0.8", Some("0.8")),
            ("accuracy after 3 epochs: 0.8", Some("0.8")),
            ("accuracy of 3 models: 0.8", Some("0.8")),
            ("Final accuracy is nan", Some("nan")),
            ("Accuracy: 9123/10000 (91%)", Some("9123")),
            ("Accuracy-score: 0.8", Some("0.8")),
            ("accuracy did not improve from 0.8", None),
            ("accuracy so far: 0.8", None),
            ("accuracy on the training set: 0.8", None),
            ("accuracy did not improve for 5 epochs", None),
            ("accuracy improved by 0.012 >= min_delta = 0.0", None),
            ("accuracy computed in 3.25 seconds", None),
            ("accuracy computed in 3.25s", None),
            ("accuracy plot saved to out-0.5/fig_2.png", None),
            ("best parameters for accuracy: lr=0.1", None),
            ("'metric': 'accuracy', 'lr': 0.1", None),
            ("train_accuracy: 0.9, accuracy_std: 0.1, accuracy.x: 1", None),
            ("--accuracy 0.5", None),
        ] {
            let found = places(line, "accuracy").find_map(|at| number_behind(line, at + "accuracy".len()));
            assert_eq!(found.map(|found| &line[found.at..found.end]), expected, "{line}");
        }
        assert_eq!(places("A total of 3.5, a 1", "a").collect::<Vec<_>>(), [16]);
    }

    #[test]
    fn what_is_rounded_or_a_percentage_repeats_a_value() {
        for (line, value, repeats) in [
            ("acc: 0.8", 0.8, true),
            ("acc: 0.8", 0.8312, true),
            ("acc: 0.84", 0.8312, false),
            ("acc: 83.12 %", 0.8312, true),
            ("acc: 83.1", 0.8312, true),
            ("acc: 1", 0.8, false),
            ("acc: 1.0", 0.98, true),
            ("acc: nan", f64::NAN, true),
            ("acc: nan", 0.5, false),
        ] {
            assert_eq!(number_behind(line, 3).unwrap().repeats(value), repeats, "{line} {value}");
        }
    }
}
