//! Numbers beside a metric's own: `val_accuracy: 0.75` beside `accuracy: 0.95`, `acc: 0.70 (best: 0.85)`, best weights that are restored.
//! Invariant: what is remembered is bounded, and none of these numbers is ever taken for the metric's.

use super::line::{Name, after_separator};
use super::near::shown;
use super::passed::{Spoken, number_behind};
use super::qualifier::Qualifier;
use super::value::is_blank;
use super::{Declared, Patterns};
use crate::record::Channel;

/// What begins a line which says that the best weights so far are taken again, in lower case.
const RESTORED: [&str; 5] =
    ["restoring model weights", "restoring best", "restored best", "loading best model", "loaded best model"];

/// A number beside the metric's own, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Beside {
    pub(super) text: String,
    /// None where a line says only that there is a best one.
    pub(super) number: Option<Spoken>,
    pub(super) channel: Channel,
    pub(super) line: u64,
}

/// The last ones of one metric.
#[derive(Debug, Clone, Default)]
pub(super) struct Others {
    /// What was measured on other data than that of training.
    pub(super) held_out: Option<Beside>,
    /// The best so far.
    pub(super) best: Option<Beside>,
    /// The best weights were taken again.
    pub(super) restored: Option<Beside>,
}

impl Others {
    /// Takes in what a line has; `is_read` if the metric stands there by its name alone.
    pub(super) fn take(
        &mut self,
        (text, channel, line): (&str, Channel, u64),
        metric: &Name,
        patterns: &Patterns,
        is_read: bool,
    ) {
        let length = metric.name.len();
        let beside = |from: usize, number: Spoken| {
            let text = shown(&text[from..number.end]);
            Some(Beside { text, number: Some(number), channel, line })
        };
        for at in metric.places(text) {
            let Some((said, from)) = compound(text, at) else { continue };
            let name = &text[from..at + length];
            let is_declared = |declared: &Declared| *declared.name.name == *name;
            if patterns.declared.iter().any(is_declared) {
                continue;
            }
            let Some(number) = number_at(text, at + length) else { continue };
            if said.rank() == Qualifier::BEST_RANK {
                self.best = beside(from, number);
            } else if said.rank() < Qualifier::BEST_RANK && (is_read || !said.is_test()) {
                self.held_out = beside(from, number);
            }
        }
        if is_read && let Some((from, number)) = best_in_brackets(text) {
            self.best = beside(from, number);
        }
    }

    /// Takes in that the line says that the best weights are taken again.
    pub(super) fn take_restored(&mut self, text: &str, channel: Channel, line: u64) {
        self.restored = Some(Beside { text: shown(text), number: None, channel, line });
    }
}

/// Whether a line says that the best weights so far are taken again.
pub(super) fn is_restored(text: &str) -> bool {
    let begin = text.trim_start().as_bytes();
    let begins = |known: &&str| {
        begin.get(..known.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(known.as_bytes()))
    };
    begin.first().is_some_and(|first| matches!(first | 0x20, b'r' | b'l')) && RESTORED.iter().any(begins)
}

/// What the words say that are joined to the name at `at`, and where they begin: `best_val_` of `best_val_loss`.
fn compound(line: &str, at: usize) -> Option<(Qualifier, usize)> {
    let (mut said, mut from) = (None::<Qualifier>, at);
    for _ in 0..2 {
        let Some(before) = line[..from].strip_suffix(['_', '-', '.', '/']) else { break };
        let begin = before.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
        let word = Qualifier::of(&before[begin..])?;
        said = Some(said.map_or(word, |said| said.and(Some(word))));
        from = begin;
    }
    let is_apart = !line[..from].ends_with(|c: char| c.is_alphanumeric() || "_-./?&@=".contains(c));
    said.filter(|_| is_apart).map(|said| (said, from))
}

/// The number that stands behind a sign directly behind a name that ends at `behind`.
fn number_at(line: &str, behind: usize) -> Option<Spoken> {
    after_separator(line[behind..].trim_start_matches(['"', '\'']))?;
    let number = number_behind(line, behind)?;
    (!line[behind..number.at].contains(char::is_alphanumeric)).then_some(number)
}

/// `(best: 0.85)`, and where its word begins.
fn best_in_brackets(line: &str) -> Option<(usize, Spoken)> {
    memchr::memchr2_iter(b'(', b'[', line.as_bytes()).take(16).find_map(|open| {
        let inner = line[open + 1..].trim_start_matches(is_blank);
        let is_best = inner.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("best"));
        let from = line.len() - inner.len();
        if is_best { Some((from, number_at(line, from + 4)?)) } else { None }
    })
}
