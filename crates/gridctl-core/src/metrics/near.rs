//! What came close to the objective, for people whose trial ended without it.
//! Invariant: bounded, whatever was printed; names that resemble the objective's stay when others have to go.

use regex::Regex;

use super::line::{Found, find, number_at, number_prefix, whole_number};

/// The most names that are remembered.
const MAX_SEEN: usize = 16;
/// The longest stretch of output that is shown.
const MAX_SHOWN: usize = 80;
/// Names as alike as this are worth a "declared".
const SIMILAR: f64 = 0.7;

/// The trace that misses leave.
#[derive(Debug, Clone, Default)]
pub(super) struct NearMisses {
    /// Names with numbers, by likeness to the objective's.
    seen: Vec<(String, f64)>,
    /// `accuracy=95%`.
    not_number: Option<String>,
    /// `accuracy 0.9`.
    no_separator: Option<String>,
    /// A pattern that takes the number out of one of these two.
    pattern: Option<String>,
    /// What the objective's pattern caught that is no number.
    regex_caught: Option<String>,
    json_lines: u64,
    json_malformed: u64,
    json_first_malformed: Option<String>,
    bytes: u64,
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

    pub(super) fn regex_caught(&mut self, text: &str) {
        self.regex_caught.get_or_insert_with(|| shown(text));
    }

    pub(super) fn not_number(&mut self, text: &str) {
        self.not_number.get_or_insert_with(|| shown(text));
    }

    /// A name that was given a number, and is not the objective.
    pub(super) fn saw(&mut self, name: &str, objective: &str) {
        if matches!(name, "" | "step" | "epoch") || name.len() > MAX_SHOWN {
            return;
        }
        if name != objective && !self.seen.iter().any(|(known, _)| known == name) {
            self.remember(name.to_owned(), likeness(name, objective));
        }
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

    /// Looks at a line of output that did not hold the objective.
    pub(super) fn look_at(&mut self, line: &str, objective: &str) {
        find(line, objective, |found| match found {
            Found::NotNumber(text) => self.misses(line, text, objective),
            Found::NoSeparator(text) => {
                if self.no_separator.is_none() {
                    self.no_separator = Some(shown(text));
                    self.pattern = self.pattern.take().or_else(|| pattern(line, text, objective));
                }
            }
            Found::Number(_) => {}
        });
        for (at, _) in line.match_indices(['=', ':']) {
            let before = line[..at].trim_end_matches([' ', '\t', '"', '\'']);
            let after = line[at + 1..].trim_start_matches([' ', '\t']);
            if number_prefix(after).is_none() {
                continue;
            }
            let part = |c: char| c.is_alphanumeric() || "_-./".contains(c);
            let begins = before.trim_end_matches(part).len();
            let name = &before[begins..];
            if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                continue;
            }
            if number_at(after).is_some() {
                self.saw(name, objective);
            } else if name != objective && likeness(name, objective) >= SIMILAR {
                self.misses(line, &line[begins..], name);
            }
        }
    }

    /// `text` of this line begins with a name whose value is no plain number.
    fn misses(&mut self, line: &str, text: &str, name: &str) {
        if self.not_number.is_none() {
            self.not_number(text);
            self.pattern = self.pattern.take().or_else(|| pattern(line, text, name));
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
        if let Some(text) = &self.not_number {
            out.push(format!("saw `{text}`: its value is not a plain number"));
        }
        if let Some(text) = &self.no_separator {
            out.push(format!("saw `{text}`: write `=` or `:` between name and value"));
        }
        if let Some(pattern) = &self.pattern {
            out.push(format!("to read it: `regex: '{}'` under `metric`", pattern.replace('\'', "''")));
        }
        if let Some(text) = &self.regex_caught {
            out.push(format!("the regex of `{objective}` caught `{text}`, which is not a number"));
        } else if has_regex {
            out.push(format!("the regex of `{objective}` matched no line"));
        }
        self.names(objective, &mut out);
        if let Some(first) = &self.json_first_malformed {
            let (bad, all) = (self.json_malformed, self.json_lines);
            out.push(format!(
                "{bad} of {all} lines of $GRID_METRICS_FILE are not JSON objects, `{first}` for one"
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
        seen.sort_by(|a, b| b.1.total_cmp(&a.1));
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

/// A pattern that catches the number that follows `name` in `text`, the end of `line`; `None` if there is no plain one.
fn pattern(line: &str, text: &str, name: &str) -> Option<String> {
    ["", r"\b"].into_iter().find_map(|edge| {
        let pattern = format!(r"{edge}{}[^\d.+-]*([\d.e+-]+)", regex::escape(name));
        let caught = Regex::new(&pattern).ok()?.captures(line)?.get(1)?;
        let rest = &line[caught.end()..];
        let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            || (rest.starts_with([',', ':', '/']) && rest[1..].starts_with(|c: char| c.is_ascii_digit()));
        let is_it = caught.start() >= line.len() - text.len() && whole_number(caught.as_str()).is_some();
        (is_it && !goes_on).then_some(pattern)
    })
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
