//! What came close to the objective, for people whose trial ended without it.
//! Invariant: bounded, whatever was printed; names that resemble the objective's stay when others have to go.

use super::line::{Found, find, number_at};

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
        if name == objective || self.seen.iter().any(|(known, _)| known == name) {
            return;
        }
        let likeness = likeness(name, objective);
        if self.seen.len() < MAX_SEEN {
            self.seen.push((name.to_owned(), likeness));
            return;
        }
        let least = self.seen.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some(least) = least.filter(|least| least.1 < likeness) {
            *least = (name.to_owned(), likeness);
        }
    }

    /// Looks at a line of output that did not hold the objective.
    pub(super) fn look_at(&mut self, line: &str, objective: &str) {
        find(line, objective, |found| match found {
            Found::NotNumber(text) => self.not_number(text),
            Found::NoSeparator(text) => {
                self.no_separator.get_or_insert_with(|| shown(text));
            }
            Found::Number(_) => {}
        });
        for (at, _) in line.match_indices(['=', ':']) {
            let before = line[..at].trim_end_matches([' ', '\t', '"', '\'']);
            let after = line[at + 1..].trim_start_matches([' ', '\t']);
            if number_at(after).is_some() {
                let part = |c: char| c.is_alphanumeric() || "_-./".contains(c);
                let name = &before[before.trim_end_matches(part).len()..];
                if name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                    self.saw(name, objective);
                }
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
        if let Some(text) = &self.not_number {
            out.push(format!("saw `{text}`: its value is not a plain number"));
        }
        if let Some(text) = &self.no_separator {
            out.push(format!("saw `{text}`: write `=` or `:` between name and value"));
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
            out.push(format!("saw {}, declared `{objective}`", list(&seen[..similar.min(3)])));
        } else if !seen.is_empty() {
            out.push(format!("saw numbers for {}, none for `{objective}`", list(&seen[..seen.len().min(5)])));
        }
    }
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
