//! Numbers of one name that stand side by side: those of folds and seeds, by their number, and those of several models, by the
//! words before the name.
//! Invariant: what is remembered is bounded, and which value counts is not decided here.

use super::line::after_separator;
use super::near::shown;
use super::qualifier::last_word;
use super::section::MAX_HEADING_LINE;
use super::value::is_blank;
use crate::record::MetricValue;

/// Values that stand side by side, as those of folds do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peers {
    /// The number of the last value's fold.
    last: Option<u64>,
    /// How many folds there were, and whether any two ended with different numbers.
    count: u64,
    before: Option<f64>,
    differ: bool,
}

impl Peers {
    /// A value of the fold of that number, or of none, comes behind the value `before`.
    pub(super) fn push(&mut self, peer: Option<u64>, before: Option<f64>, value: f64) {
        if peer.is_some() && peer != self.last {
            self.count += 1;
            self.before = before.filter(|_| self.last.is_some());
        }
        let other = self.before.filter(|_| peer.is_some());
        self.differ |= other.is_some_and(|other| MetricValue(other) != MetricValue(value));
        self.last = peer;
    }

    /// How many folds there were, if the last value is one's and they ended with different numbers.
    pub(super) fn side_by_side(self) -> Option<u64> {
        (self.last.is_some() && self.count > 1 && self.differ).then_some(self.count)
    }
}

/// The most words before a name that are remembered.
const MAX_OWNERS: usize = 16;

/// Whose a name's numbers are, as far as unknown words directly before it say: `SVM accuracy: 0.8`.
#[derive(Debug, Clone, Default)]
pub(super) struct Owners {
    known: Vec<Owned>,
    /// The words of the last value; none if it had none.
    last: Option<usize>,
    /// The last value without such words.
    bare: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct Owned {
    words: String,
    pub(super) value: f64,
    /// Words, name and value.
    pub(super) text: String,
}

impl Owners {
    pub(super) fn push(&mut self, words: Option<&str>, value: f64, pair: impl FnOnce() -> String) {
        self.last = None;
        let Some(words) = words else {
            self.bare = Some(value);
            return;
        };
        let text = shown(&format!("{words} {}", pair()));
        let owned = Owned { words: words.to_owned(), value, text };
        match self.known.iter().position(|known| known.words.eq_ignore_ascii_case(words)) {
            Some(place) => {
                self.known[place] = owned;
                self.last = Some(place);
            }
            None if self.known.len() < MAX_OWNERS => {
                self.known.push(owned);
                self.last = Some(self.known.len() - 1);
            }
            None => {}
        }
    }

    /// The last value, if it has such words.
    pub(super) fn last(&self) -> Option<&Owned> {
        self.last.map(|last| &self.known[last])
    }

    /// The last value with its words, and what else `name` was, with another number.
    pub(super) fn doubtful(&self, name: &str) -> Option<(&Owned, String)> {
        let last = self.last()?;
        let differs = |other: f64| MetricValue(other) != MetricValue(last.value);
        let other =
            self.known.iter().rev().find(|other| differs(other.value)).map(|other| other.text.clone());
        let bare = self.bare.filter(|bare| differs(*bare)).map(|bare| format!("{name}: {bare}"));
        Some((last, other.or(bare)?))
    }
}

/// Words before a number that say that others like it follow: `fold 3`.
const PEERS: [&str; 4] = ["fold", "split", "seed", "repeat"];
/// How far before a name they are looked for, in bytes.
const NEAR_NAME: usize = 120;

/// Whether numbers of this name tell values apart that stand side by side.
pub(super) fn is_peer(name: &str) -> bool {
    PEERS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The number of the fold, or the like, that the end of `before` names.
pub(super) fn peer(before: &str) -> Option<u64> {
    let from = before.ceil_char_boundary(before.len().saturating_sub(NEAR_NAME));
    let mut text = &before[from..];
    if let Some(fold) = before.trim_start().strip_prefix("[CV ") {
        // scikit-learn's `[CV 2/5] END ...; score=0.9`.
        let digits = fold.bytes().take_while(u8::is_ascii_digit).count();
        return fold[..digits].parse().ok().filter(|_| fold[digits..].starts_with('/'));
    }
    loop {
        text = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let digits = &text[text.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        if digits.is_empty() {
            return None;
        }
        text = &text[..text.len() - digits.len()];
        let word = text.trim_end_matches([' ', '"', '\'', ':', '=', '#', '_', '-', '[', '(']);
        let word = &word[word.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len()..];
        if is_peer(word) {
            return digits.parse().ok();
        }
    }
}

/// The number of the fold that a line speaks of which is a heading alone: `Fold 3/5`, `=== Fold 3 ===`.
pub(super) fn peer_of_heading(line: &str) -> Option<u64> {
    let first = line.bytes().find(u8::is_ascii_alphanumeric)?;
    if line.len() > MAX_HEADING_LINE || !b"fsrFSR".contains(&first) || line.contains('.') {
        return None;
    }
    let text = line.trim_matches(|c: char| !c.is_alphanumeric());
    let word = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let is_peer = is_peer(&text[..word]);
    let counter = text[word..].trim_start_matches([' ', '#', ':', '_', '-']);
    let digits = counter.bytes().take_while(u8::is_ascii_digit).count();
    let rest = counter[digits..].trim_start_matches(|c: char| c.is_ascii_digit() || " /of".contains(c));
    (is_peer && digits > 0 && rest.is_empty()).then(|| counter[..digits].parse().ok())?
}

/// Words before a name that say nothing of whose it is.
const NEUTRAL: [&str; 37] = [
    "the",
    "a",
    "an",
    "and",
    "with",
    "epoch",
    "step",
    "current",
    "this",
    "its",
    "our",
    "my",
    "your",
    "model",
    "got",
    "has",
    "is",
    "result",
    "results",
    "score",
    "metric",
    "metrics",
    "info",
    "debug",
    "new",
    "last",
    "latest",
    "reported",
    "computed",
    "cv",
    "cross",
    "validated",
    "global",
    "running",
    "batch",
    "iteration",
    "at",
];

/// Words that name, with a number, one part of what is measured: `class 3`.
const PARTS: [&str; 9] =
    ["class", "label", "category", "task", "client", "user", "subject", "site", "cluster"];

/// The part that the end of `near` names, or the fold that was picked: `class 3`, `best fold: 2,`.
fn numbered_part(near: &str) -> Option<&str> {
    let numbered = near.trim_end_matches([',', ';', ':', ')', ' ']);
    let words = numbered.trim_end_matches(|c: char| c.is_ascii_digit());
    let key = words.trim_end_matches([' ', ':', '=', '#', '_', '-', '(']);
    let from = key.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let word = &key[from..];
    if words.len() == numbered.len() || word.is_empty() {
        return None;
    }
    if PARTS.iter().any(|known| known.eq_ignore_ascii_case(word)) {
        return Some(&numbered[from..]);
    }
    let lead = key[..from].trim_end_matches(is_blank);
    let picked = ["best", "worst"].iter().find(|picked| is_peer(word) && ends_with_word(lead, picked))?;
    Some(&numbered[lead.len() - picked.len()..])
}

/// Words directly before a name that may say whose number it is, as `Random forest accuracy: 0.9`.
pub(super) fn owner_words(before: &str) -> Option<&str> {
    let from = before.ceil_char_boundary(before.len().saturating_sub(NEAR_NAME));
    let near = before[from..].trim_end_matches(['"', '\'', '`']).trim_end_matches(is_blank);
    if let Some(part) = numbered_part(near).filter(|_| near.len() < before.len()) {
        return Some(part);
    }
    let words = near.trim_end_matches(|c: char| c.is_alphabetic() || c == ' ' || c == '-');
    let words = near[words.len()..].trim_start_matches([' ', '-']);
    let is_apart = near.len() < before.len() && !words.is_empty();
    let says = words.split([' ', '-']).filter(|word| !word.is_empty());
    let is_neutral = says.clone().all(|word| NEUTRAL.iter().any(|known| known.eq_ignore_ascii_case(word)));
    let is_summary = words.split([' ', '-']).any(is_summary);
    (is_apart && !is_neutral && !is_summary).then_some(words)
}

/// Keys whose text names a model, or the like: the numbers beside or below it are that one's.
const MODEL_KEYS: [&str; 9] =
    ["model", "model_name", "classifier", "clf", "estimator", "regressor", "algorithm", "algo", "learner"];
/// The longest name of a model, in bytes.
const MAX_MODEL: usize = 60;
/// So many keys of a line are looked at.
const MAX_KEYS: usize = 64;

/// The model that a key of the line names: `"model": "svm"`, `model=svm`.
pub(super) fn model_of(line: &str) -> Option<&str> {
    let signs = memchr::memchr2_iter(b'=', b':', line.as_bytes()).take(MAX_KEYS);
    signs.into_iter().find_map(|at| {
        let key = line[..at].trim_end_matches(is_blank).trim_end_matches(['"', '\'']);
        MODEL_KEYS.iter().find(|known| ends_with_word(key, known))?;
        let value = after_separator(&line[at..])?;
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let model = match quote {
            Some(quote) => value[1..].split(quote).next()?,
            None => value.split(|c: char| c.is_whitespace() || ",;|})]".contains(c)).next()?,
        };
        is_name_of_model(model).then_some(model)
    })
}

/// The model that a line names which is a heading alone: `Model: Random forest`.
pub(super) fn model_of_heading(line: &str) -> Option<&str> {
    let first = line.bytes().find(u8::is_ascii_alphanumeric)?;
    if line.len() > MAX_HEADING_LINE || !b"mcerlaMCERLA".contains(&first) {
        return None;
    }
    let text = line.trim_matches(|c: char| !c.is_alphanumeric());
    let word = text.bytes().take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'_').count();
    let is_key = MODEL_KEYS.iter().any(|known| known.eq_ignore_ascii_case(&text[..word]));
    let model = after_separator(&text[word..]).filter(|_| is_key)?;
    (!model.contains(['=', ':', ','])).then_some(model).filter(|model| is_name_of_model(model))
}

fn is_name_of_model(text: &str) -> bool {
    text.len() <= MAX_MODEL && text.contains(char::is_alphabetic)
}

fn ends_with_word(text: &str, word: &str) -> bool {
    let Some(from) = text.len().checked_sub(word.len()) else { return false };
    let is_same = text.get(from..).is_some_and(|end| end.eq_ignore_ascii_case(word));
    is_same && !text[..from].ends_with(|c: char| c.is_alphanumeric() || "_-./".contains(c))
}

/// Words that say that a number is made of others.
const SUMMARIES: [&str; 7] = ["final", "overall", "mean", "average", "avg", "total", "median"];

fn is_summary(word: &str) -> bool {
    SUMMARIES.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a name's number is made of others: `mean accuracy: 0.8`.
pub(super) fn is_of_all(before: &str) -> bool {
    last_word(before).is_some_and(|(word, _)| is_summary(word))
}
