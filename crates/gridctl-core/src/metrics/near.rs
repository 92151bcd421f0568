//! What came close to the objective, for people whose trial ended without it.
//! Invariant: bounded, whatever was printed; names that resemble the objective's stay when others have to go.

use super::advice::Advice;
use super::line::{Found, Name};
use super::passed::{self, Spoken};
use super::qualifier::{self, Qualifier, TRAINING};
use super::value::{Value, is_blank, number_prefix, value_at};

/// The most names that are remembered.
const MAX_SEEN: usize = 16;
/// The longest stretch of output that is shown.
const MAX_SHOWN: usize = 80;
/// The most names of one line that are looked at.
const MAX_NAMES: usize = 256;
/// The longest line in which the name is looked for among other words, in bytes.
const MAX_PROSE_LINE: usize = 300;
/// How many names are known not to be worth remembering.
const PASSED_OVER: usize = 512;
/// Names as alike as this are worth a "declared".
const SIMILAR: f64 = 0.7;

/// What stands at the objective's name in a line, and is no value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Missed<'l> {
    /// The first `accuracy: saved to out.json`.
    pub(super) prose: Option<&'l str>,
    /// The last `accuracy 0.9`.
    pub(super) apart: Option<&'l str>,
}

impl<'l> Missed<'l> {
    /// Takes in what was found.
    pub(super) fn add(&mut self, found: Found<'l>) {
        match found {
            Found::Prose(text) => self.prose = self.prose.or(Some(text)),
            Found::NoSeparator(text) => self.apart = Some(text),
            Found::Number(..) | Found::Unreadable(_) => {}
        }
    }
}

/// The trace that misses leave.
#[derive(Debug, Clone, Default)]
pub(super) struct NearMisses {
    /// Names with numbers, by likeness to the objective's.
    seen: Vec<(String, f64)>,
    /// `accuracy=95%`.
    not_number: Option<String>,
    /// `accuracy 0.9`.
    no_separator: Option<String>,
    /// The rank of the word before the name that the advice for it has.
    apart_rank: u8,
    /// `Accuracy=95%`, and the name in it.
    other_letters: Option<(String, String)>,
    /// `Accuracy of the network: 54 %`, and what reads it.
    in_prose: Option<(String, Advice)>,
    /// The first `::metric` line that has more or less than names with values.
    malformed_metric: Option<String>,
    /// Keys of one line that are all the objective, and one of them.
    several: Option<(String, String)>,
    /// A pattern that takes the number out of one of these two.
    advice: Advice,
    /// What the objective's pattern caught that is no number.
    regex_caught: Option<String>,
    json_lines: u64,
    json_malformed: u64,
    json_first_malformed: Option<String>,
    bytes: u64,
    /// Hashes of names that were less alike than all that are remembered, each at a place of its own:
    /// most lines repeat the names of the line before.
    passed_over: Vec<u64>,
}

impl NearMisses {
    pub(super) fn count_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Takes in what came close by another way.
    pub(super) fn join(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        for (name, likeness) in other.seen {
            self.remember(name, likeness);
        }
        self.not_number = self.not_number.take().or(other.not_number);
        self.json_lines += other.json_lines;
        self.json_malformed += other.json_malformed;
        self.json_first_malformed = self.json_first_malformed.take().or(other.json_first_malformed);
    }

    pub(super) fn json_line(&mut self) {
        self.json_lines += 1;
    }

    pub(super) fn malformed_json(&mut self, line: &str) {
        self.json_lines += 1;
        self.json_malformed += 1;
        self.json_first_malformed.get_or_insert_with(|| shown(line));
    }

    pub(super) fn malformed_metric(&mut self, line: &str) {
        self.malformed_metric.get_or_insert_with(|| shown(line));
    }

    pub(super) fn regex_caught(&mut self, text: &str) {
        self.regex_caught.get_or_insert_with(|| shown(text));
    }

    pub(super) fn not_number(&mut self, text: &str) {
        self.not_number.get_or_insert_with(|| shown(text));
    }

    /// A line has several values of the objective, in maps of different names.
    pub(super) fn several(&mut self, text: String, advised: String) {
        self.several = Some((text, advised));
    }

    /// The objective's last value was this, which cannot be read.
    pub(super) fn last_was(&mut self, text: &str) {
        if self.several.as_ref().is_some_and(|(several, _)| several == text) {
            (self.not_number, self.no_separator) = (None, None);
            self.advice = Advice::default();
            return;
        }
        self.several = None;
        if self.regex_caught.is_none() && self.not_number.as_deref() != Some(text) {
            // The advice is for another text.
            self.not_number = Some(text.to_owned());
            self.advice = Advice::default();
        }
    }

    /// A name that was given a number, and is not the objective.
    pub(super) fn saw(&mut self, name: &str, objective: &str) {
        if matches!(name, "" | "step" | "epoch") || name.len() > MAX_SHOWN {
            return;
        }
        if name == objective || self.seen.iter().any(|(known, _)| known == name) {
            return;
        }
        let (hash, place) = hash(name);
        if self.passed_over.get(place) == Some(&hash) {
            return;
        }
        self.remember(name.to_owned(), likeness(name, objective));
        if self.seen.len() == MAX_SEEN {
            // If it was remembered, it is found among those before it is looked for here. What has to
            // go never comes back: all that stay are more alike.
            self.passed_over.resize(PASSED_OVER, 0);
            self.passed_over[place] = hash;
        }
    }

    /// Whether it is known that this name has numbers, and is not the objective's in other letters.
    fn is_unlike(&self, name: &str) -> bool {
        if let Some((_, likeness)) = self.seen.iter().find(|(known, _)| known == name) {
            return *likeness < 1.0;
        }
        let (hash, place) = hash(name);
        self.passed_over.get(place) == Some(&hash)
    }

    fn remember(&mut self, name: String, likeness: f64) {
        if self.seen.iter().any(|(known, _)| *known == name) {
            return;
        }
        if self.seen.len() < MAX_SEEN {
            self.seen.push((name, likeness));
            return;
        }
        let least = self.seen.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some(least) = least.filter(|least| least.1 < likeness) {
            *least = (name, likeness);
        }
    }

    /// The objective stands in this line of output with a value that cannot be read, from `text` on; the
    /// words before it begin at `from`.
    pub(super) fn unreadable(&mut self, line: &str, text: &str, from: usize, objective: &str) {
        self.not_number = Some(shown(text));
        let at = line.len() - text.len();
        let is_near = line[from..at].chars().all(|c| c.is_alphabetic() || is_blank(c));
        let from = if is_near { from } else { at };
        self.advice.missed(line, &line[from..], &line[from..at + objective.len()]);
    }

    /// The objective stands in this line of output; it was read, or is another miss.
    pub(super) fn has_name(&mut self, line: &str, objective: &Name) {
        self.advice.proves_itself_on(line, objective);
    }

    /// Looks at a line of output as long as the objective was not seen; `missed` stands there at its name.
    pub(super) fn look_at(&mut self, line: &str, objective: &str, missed: Missed<'_>) {
        if let Some(text) = missed.prose {
            self.not_number(text);
        }
        if let Some(text) = missed.apart {
            self.no_separator = Some(shown(text));
            if self.not_number.is_none() {
                self.advise_apart(line, text, objective);
            }
        }
        self.look_for_prose(line, objective);
        let mut other = None;
        for (at, sign) in separators(line).take(MAX_NAMES) {
            let before = line[..at].trim_end_matches([' ', '\t', '"', '\'']);
            let after = line[at + sign..].trim_start_matches([' ', '\t']);
            let begins = after.trim_start_matches(['"', '\'', '[', '(']);
            if !begins.starts_with(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
                continue;
            }
            let part = |c: char| c.is_alphanumeric() || "_-./".contains(c);
            let name = with_word_before(before, before.trim_end_matches(part).len(), objective);
            if name.len() > MAX_SHOWN || !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                continue;
            }
            if matches!(name, "step" | "epoch") || self.is_unlike(name) {
                continue;
            }
            match value_at(after) {
                Value::Number(_) => self.saw(name, objective),
                Value::Unreadable if number_prefix(begins).is_some() => other = Some(name),
                _ => {}
            }
        }
        if let Some(name) = other {
            self.other_letters(line, name, objective);
        }
    }

    /// Looks for the objective's name among other words, in whatever letters, and a number farther on.
    fn look_for_prose(&mut self, line: &str, objective: &str) {
        let (bytes, length) = (line.as_bytes(), objective.len());
        let Some(first) = objective.bytes().next() else { return };
        if line.len() > MAX_PROSE_LINE || self.in_prose.as_ref().is_some_and(|(_, a)| a.is_tired()) {
            return;
        }
        let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let [upper, lower] = [first.to_ascii_uppercase(), first.to_ascii_lowercase()];
        let found = memchr::memchr2_iter(upper, lower, bytes).find(|at| {
            bytes.get(*at..at + length).is_some_and(|word| word.eq_ignore_ascii_case(objective.as_bytes()))
                && !part(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !part(bytes.get(at + length))
        });
        let Some(at) = found.filter(|at| line.is_char_boundary(*at)) else { return };
        let words = line[..line.floor_char_boundary(at + length + MAX_SHOWN)]
            .split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.filter_map(Qualifier::of).any(|said| said.rank() >= TRAINING) {
            // A pattern for it would be taken for one of the result.
            return;
        }
        let number = passed::number_behind(line, at + length);
        let has_words = |number: &Spoken| line[at + length..number.at].contains(char::is_alphabetic);
        let Some(number) = number.filter(has_words) else { return };
        let (text, advice) = self.in_prose.get_or_insert_default();
        advice.spoken(line, (at, length), number.at);
        if advice.pattern().is_some() {
            *text = shown(&line[at..number.end]);
        }
    }

    /// Advises what reads the number of `text`, with the word before it that says of what it is; one of
    /// training does not replace one of validation.
    fn advise_apart(&mut self, line: &str, text: &str, objective: &str) {
        let at = line.len() - text.len();
        let (said, from) = qualifier::directly(line, at).unwrap_or((Qualifier::NONE, at));
        let is_advised = self.advice.pattern().is_some();
        if is_advised && said.rank() > self.apart_rank {
            self.advice.keeps_off(line, text, objective);
            return;
        }
        self.apart_rank = said.rank();
        self.advice.missed(line, &line[from..], &line[from..at + objective.len()]);
    }

    /// A name whose value cannot be read may be the objective in other letters.
    fn other_letters(&mut self, line: &str, name: &str, objective: &str) {
        if name == objective || self.not_number.is_some() || letters(name) != letters(objective) {
            return;
        }
        let mut last = None;
        Name::new(name).find(line, |found| {
            if let Found::Unreadable(text) = found {
                last = Some(text);
            }
        });
        if let Some(text) = last {
            self.other_letters = Some((shown(text), name.to_owned()));
            if self.no_separator.is_none() {
                self.advice.missed(line, text, name);
            }
        }
    }

    /// The sentences, most telling first.
    pub(super) fn sentences(&self, objective: &str, has_regex: bool) -> Vec<String> {
        if self.bytes == 0 {
            return vec![format!(
                "nothing was printed at all: print `{objective}=0.5`, or append JSON lines to $GRID_METRICS_FILE"
            )];
        }
        let mut out = Vec::new();
        if let Some((text, advised)) = &self.several {
            out.push(format!(
                "saw `{text}` in one line, with different numbers: write `name: {advised}` under `metric`"
            ));
        }
        if let Some(text) = &self.malformed_metric {
            out.push(format!("saw `{text}`: write `::metric {objective}=0.5`"));
        }
        if let Some(text) =
            self.not_number.as_ref().filter(|text| self.malformed_metric.as_ref() != Some(text))
        {
            out.push(format!("saw `{text}`: its value is not a plain number"));
        }
        if let Some(text) = &self.no_separator {
            out.push(format!("saw `{text}`: write `=` or `:` between name and value"));
        }
        if let (Some((text, name)), true) = (&self.other_letters, out.is_empty()) {
            out.push(format!("saw `{text}`, declared `{objective}`: `{name}` has no plain number"));
        }
        if let Some(pattern) = self.advice.pattern().filter(|_| !out.is_empty()) {
            out.push(format!("to read it: `regex: '{pattern}'` under `metric`"));
        }
        if let Some((text, pattern)) = self
            .in_prose
            .as_ref()
            .filter(|_| out.is_empty())
            .and_then(|(text, advice)| Some((text, advice.pattern()?)))
        {
            out.push(format!("saw `{text}`, where other words stand between the name and its number"));
            out.push(format!("to read it: `regex: '{pattern}'` under `metric`"));
        }
        if let Some(text) = &self.regex_caught {
            out.push(format!("the regex of `{objective}` caught `{text}`, which is not a number"));
        } else if has_regex {
            out.push(format!("the regex of `{objective}` matched no line"));
        }
        self.names(objective, &mut out);
        if let Some(first) = &self.json_first_malformed {
            let (bad, all) = (self.json_malformed, self.json_lines);
            let indented = if first == "{" { ": write each object on one line, without indent" } else { "" };
            out.push(format!(
                "{bad} of {all} lines of $GRID_METRICS_FILE are not JSON objects, `{first}` for one{indented}"
            ));
        } else if self.json_lines > 0 {
            out.push(format!(
                "none of the {} lines of $GRID_METRICS_FILE has `{objective}`",
                self.json_lines
            ));
        }
        if out.is_empty() {
            out.push(format!("no line of output has the form `{objective}=0.5` or `{objective}: 0.5`"));
        }
        out
    }

    fn names(&self, objective: &str, out: &mut Vec<String>) {
        let mut seen: Vec<&(String, f64)> = self.seen.iter().collect();
        seen.sort_by(|a, b| of_training(&a.0).cmp(&of_training(&b.0)).then(b.1.total_cmp(&a.1)));
        seen.sort_by_key(|(_, likeness)| *likeness < SIMILAR);
        let list = |names: &[&(String, f64)]| {
            names.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let similar = seen.partition_point(|(_, likeness)| *likeness >= SIMILAR);
        if similar > 0 {
            out.push(format!(
                "saw {}, declared `{objective}`: write `name: {}` under `metric`, or print `{objective}=0.5`",
                list(&seen[..similar.min(3)]),
                seen[0].0
            ));
        } else if !seen.is_empty() {
            out.push(format!("saw numbers for {}, none for `{objective}`", list(&seen[..seen.len().min(5)])));
        }
    }
}

/// How little a name is of a result, as far as its parts say: validation first, training last.
fn of_training(name: &str) -> u8 {
    let parts = name.split(|c: char| !c.is_alphanumeric());
    let said = parts.filter_map(Qualifier::of).max_by_key(|said| said.rank());
    match said {
        Some(said) if said.rank() >= TRAINING => 2,
        Some(said) if !said.is_validation() => 1,
        _ => 0,
    }
}

/// The name that begins at `from`, with the word before it where both are the objective:
/// `val acc` for `val_acc`.
fn with_word_before<'l>(before: &'l str, from: usize, objective: &str) -> &'l str {
    let lead = before[..from].trim_end_matches(is_blank);
    let word = lead.trim_end_matches(char::is_alphabetic).len();
    let both = &before[word..];
    let first = |text: &str| text.chars().next().map(|c| c.to_ascii_lowercase());
    let may_be = word < lead.len() && first(both) == first(objective);
    if may_be && letters(both) == letters(objective) {
        return both;
    }
    &before[from..]
}

/// Where `=` and `:` stand, narrow and wide, and how many bytes each has.
fn separators(line: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = line.as_bytes();
    memchr::memchr3_iter(b'=', b':', WIDE, bytes).filter_map(|at| match bytes[at] {
        WIDE => ['：', '＝']
            .into_iter()
            .find(|wide| line[at..].starts_with(*wide))
            .map(|wide| (at, wide.len_utf8())),
        _ => Some((at, 1)),
    })
}

/// The first byte of a wide colon or equals sign.
pub(super) const WIDE: u8 = 0xef;

/// A name's FNV hash, never 0, and its place among [`PASSED_OVER`].
fn hash(name: &str) -> (u64, usize) {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, step).max(1);
    (hash, usize::try_from(hash % PASSED_OVER as u64).expect("less than a thousand"))
}

/// How alike two names are, 0 to 1: one within the other counts, and so does the same name in other letters.
fn likeness(name: &str, objective: &str) -> f64 {
    let (name, objective) = (letters(name), letters(objective));
    let contained = !name.is_empty()
        && !objective.is_empty()
        && name.len().min(objective.len()) >= 2
        && (name.contains(&objective) || objective.contains(&name));
    let distance = strsim::jaro_winkler(&name, &objective);
    if contained { distance.max(0.9) } else { distance }
}

/// The letters and digits of a name, in lower case.
fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A stretch of output for people: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    let text = text.trim();
    let mut out: String =
        text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        out.push('…');
    }
    out
}
