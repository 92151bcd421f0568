//! A pattern for `regex:` that reads a number which was missed.
//! Invariant: a pattern that is offered was applied to the output in which the number was missed,
//! and caught that number, whole, behind that name and no other.

use regex::Regex;

use super::ending::{Ending, ending, is_spread_percentage};
use super::line::{Found, Name, is_border};
use super::series::{Lane, Series};
use super::value::{fraction, is_blank, is_cjk, number_prefix, whole_number};

/// The most patterns that are tried for one attempt's output.
const MAX_TRIED: u32 = 64;
/// The longest stretch between a name and its number.
const MAX_GAP: usize = 60;
/// Numbers as most programs print them.
const PLAIN: &str = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?i:nan|inf(?:inity)?)";
/// Numbers with groups of digits, or with a comma for a point.
const GROUPED: &str = r"[-+−]?[0-9]+(?:[,.\x27 ’\x{a0}\x{202f}\x{2009}][0-9]+)+";
/// A whole number of another.
const FRACTION: &str = "[0-9]+/[0-9]+";

/// What reads the last number that was missed.
#[derive(Debug, Clone, Default)]
pub(super) struct Advice {
    pattern: Option<Regex>,
    tried: u32,
}

impl Advice {
    /// The pattern.
    pub(super) fn pattern(&self) -> Option<&str> {
        self.pattern.as_ref().map(Regex::as_str)
    }

    /// No more patterns are tried.
    pub(super) fn is_tired(&self) -> bool {
        self.tried == MAX_TRIED
    }

    /// A number was missed: `text`, the end of `line`, begins with `name`.
    pub(super) fn missed(&mut self, line: &str, text: &str, name: &str) {
        let at = line.len() - text.len();
        let Some(gap) = gap(&text[name.len()..]).filter(|gap| !changes_number(gap)) else {
            self.pattern = None;
            return;
        };
        let number_at = at + name.len() + gap.len();
        // The first one of several values is not what was asked for.
        let behind =
            line[number_at..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if gap.contains(['[', '(', '{']) && behind.trim_start_matches(is_blank).starts_with(',') {
            self.pattern = None;
            return;
        }
        if self.pattern.as_ref().is_some_and(|pattern| reads(pattern, line, number_at)) {
            return;
        }
        self.pattern = None;
        let before = line[..at].chars().next_back();
        for number in [PLAIN, GROUPED, FRACTION] {
            if self.tried == MAX_TRIED {
                return;
            }
            self.tried += 1;
            let candidate = format!("{}{}{}({number}){END}", edge(before), quoted(name), between(gap));
            let Ok(pattern) = Regex::new(&candidate) else { return };
            if reads(&pattern, line, number_at) {
                self.pattern = Some(pattern);
                return;
            }
        }
    }

    /// The name stands at `at` in a line, as long as `length`, and its number farther on, at `number_at`:
    /// `Accuracy on 10000 images: 54 %`.
    pub(super) fn spoken(&mut self, line: &str, (at, length): (usize, usize), number_at: usize) {
        let gap = &line[at + length..number_at];
        if changes_number(gap) || self.is_tired() {
            self.pattern = None;
            return;
        }
        if self.pattern.as_ref().is_some_and(|pattern| reads(pattern, line, number_at)) {
            return;
        }
        self.tried += 1;
        let name = quoted(&line[at..at + length]);
        let before = edge(line[..at].chars().next_back());
        self.pattern = [PLAIN, FRACTION].into_iter().find_map(|number| {
            let candidate = format!("{before}{name}{}({number}){END}", between_numbers(gap));
            Regex::new(&candidate).ok().filter(|pattern| reads(pattern, line, number_at))
        });
    }

    /// The number that is advised stands in no line like this: no pattern is offered that reads one here.
    pub(super) fn keeps_off_line(&mut self, line: &str) {
        if self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(line)) {
            self.pattern = None;
            self.tried = MAX_TRIED;
        }
    }

    /// The number of `name` at `text`, the end of `line`, is another's: no pattern is offered that reads it.
    pub(super) fn keeps_off(&mut self, line: &str, text: &str, name: &str) {
        let Some(gap) = gap(&text[name.len()..]) else { return };
        let number_at = line.len() - text.len() + name.len() + gap.len();
        if self.pattern.as_ref().is_some_and(|pattern| reads(pattern, line, number_at)) {
            self.pattern = None;
            self.tried = MAX_TRIED;
        }
    }

    /// Looks at another line with that name: what the pattern catches there must be a value of it, too.
    pub(super) fn proves_itself_on(&mut self, line: &str, name: &Name) {
        let Some(pattern) = &self.pattern else { return };
        let (length, mut places) = (name.name.len(), Vec::new());
        name.find(line, |found| {
            if let Found::Number(_, text) | Found::Unreadable(text) | Found::NoSeparator(text) = found {
                let behind = line.len() - text.len() + length;
                let gaps = [first_gap(&text[length..]), gap(&text[length..])];
                places.extend(gaps.into_iter().flatten().map(|gap| behind + gap.len()));
            }
        });
        let fits = pattern.captures_iter(line).filter_map(|captures| captures.get(1)).all(|caught| {
            places.binary_search(&caught.start()).is_ok() && is_whole(caught.as_str(), &line[caught.end()..])
        });
        if !fits {
            self.pattern = None;
            self.tried = MAX_TRIED;
        }
    }
}

/// What to say where an objective was printed with different words before it, and different numbers.
pub(super) fn undecided(series: &Series, [advised, other]: [&Lane; 2]) -> Vec<String> {
    let name = &*series.name;
    let mut sentences = vec![format!(
        "saw `{}` and `{}`, and no `{name}` without such a word: say which of them is meant",
        advised.text, other.text
    )];
    let others: Vec<&str> = series.other_lanes(advised).map(|lane| lane.line.as_str()).collect();
    match advised.at {
        Some(places) => {
            if let Some(pattern) = with_words(&advised.line, places, name, &others) {
                sentences.push(format!("to read it: `regex: '{pattern}'` under `metric`"));
            }
        }
        None if !advised.line.is_empty() => {
            sentences.push(format!("to read it: `name: {}` under `metric`", advised.line));
        }
        None => sentences.push(format!("print each with a name of its own: `val_{name}`, `test_{name}`")),
    }
    sentences
}

/// A pattern for what came last with these words.
pub(super) fn of_words(lane: &Lane, name: &str) -> Option<String> {
    with_words(&lane.line, lane.at?, name, &[])
}

/// A pattern for the number of the name at `at` with the words that begin at `from`, which matches none of
/// the other lines.
fn with_words(line: &str, [from, at]: [usize; 2], name: &str, others: &[&str]) -> Option<String> {
    let gap = gap(&line[at + name.len()..]).filter(|gap| !changes_number(gap))?;
    let number_at = at + name.len() + gap.len();
    let (before, words) = (line[..from].chars().next_back(), &line[from..at]);
    let is_direct = words.chars().all(|c| c.is_alphabetic() || is_blank(c) || "\"'`".contains(c));
    let words = if is_direct {
        between(words)
    } else {
        let heading = words.split(|c: char| !c.is_alphabetic() && !is_blank(c)).next()?;
        format!(r"{}\b.*?[^\w./-]", between(heading.trim_end_matches(is_blank)))
    };
    [PLAIN, GROUPED].into_iter().find_map(|number| {
        let candidate = format!("{}{words}{}{}({number}){END}", edge(before), quoted(name), between(gap));
        let pattern = Regex::new(&candidate).ok()?;
        let fits = reads(&pattern, line, number_at) && !others.iter().any(|other| pattern.is_match(other));
        fits.then_some(candidate)
    })
}

/// Behind a number, what cannot go on with it.
const END: &str = r"(?:[^\w.,:/]|[.,:/](?:\D|$)|$)";

/// Before a name, what it is no part of.
fn edge(before: Option<char>) -> &'static str {
    if before.is_some_and(is_cjk) { r"(?:^|[^A-Za-z0-9_./-])" } else { r"(?:^|[^\w./-])" }
}

/// Whether the last thing that the pattern catches of the line up to there is the number at `at`.
fn reads(pattern: &Regex, line: &str, at: usize) -> bool {
    let mut all = pattern.captures_iter(line).filter_map(|captures| captures.get(1));
    all.find(|caught| caught.start() >= at)
        .is_some_and(|caught| caught.start() == at && is_whole(caught.as_str(), &line[caught.end()..]))
}

/// Whether `number` ends where `rest` begins; it may be a percentage, for who takes the pattern wants that.
fn is_whole(number: &str, rest: &str) -> bool {
    let next = rest.trim_start_matches(is_blank);
    let signs = ["%", "％", "percent", "pct"];
    let percentage = signs.iter().any(|sign| next.starts_with(sign)) || is_spread_percentage(next);
    let is_number = whole_number(number).or_else(|| fraction(number)).is_some();
    is_number && (percentage || ending(number, rest) == Ending::Whole)
}

/// What stands between a name and the number behind it; of a share and its percentage that, unless it is
/// rounded: then points that differ would look alike.
fn gap(rest: &str) -> Option<&str> {
    percentage_gap(rest).or_else(|| first_gap(rest))
}

/// What stands between a name and the first number behind it.
fn first_gap(rest: &str) -> Option<&str> {
    let mut before = None;
    for (at, c) in rest.char_indices().take_while(|(at, _)| *at < MAX_GAP) {
        let begins = c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | '−');
        let apart = before.is_none_or(|before: char| !before.is_alphanumeric() && before != '_');
        if at > 0 && apart {
            let number = if c == '−' { &rest[at + c.len_utf8()..] } else { &rest[at..] };
            if begins && number_prefix(number).is_some() {
                return Some(&rest[..at]);
            }
        }
        // Behind these another field or another value begins.
        if matches!(c, ';' | ',' | '}' | ']' | ')' | '&') {
            return None;
        }
        before = Some(c);
    }
    None
}

/// What stands between a name and the percentage that a share is: `: 67/100 (` of `: 67/100 (67%)`.
fn percentage_gap(rest: &str) -> Option<&str> {
    let share = first_gap(rest)?;
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let part = share.len() + digits(&rest[share.len()..]);
    let whole = part + 1 + digits(rest[part..].strip_prefix('/')?);
    let open = rest[whole..].trim_start_matches(is_blank).strip_prefix('(')?;
    let begin = rest.len() - open.len();
    let (percent, end) = number_prefix(open)?;
    let is_rounded =
        fraction(&rest[share.len()..whole]).is_some_and(|exact| (exact * 100.0 - percent).abs() > 1e-9);
    let is_percentage = open[end..].trim_start_matches(is_blank).starts_with('%');
    (is_percentage && !is_rounded).then(|| &rest[..begin])
}

/// Whether what stands before a number makes another of it: a sign that stands apart, or a bound.
fn changes_number(gap: &str) -> bool {
    let sign = gap.trim_end_matches(is_blank);
    let lower = sign.to_ascii_lowercase();
    if ["nan", "inf", "none", "null"].iter().any(|word| lower.ends_with(word)) {
        return true;
    }
    let is_bound = sign.ends_with(['<', '>', '≤', '≥', '~', '≈']);
    let is_arrow = sign.ends_with("->") || sign.ends_with("=>");
    is_bound && !is_arrow || sign.ends_with(['-', '−']) && sign.contains(['=', ':'])
}

/// A pattern for the stretch between name and number.
fn between(gap: &str) -> String {
    let mut pattern = String::new();
    let is_table = gap.chars().any(is_border);
    if gap.chars().all(|c| is_blank(c) || is_border(c)) {
        return if is_table { r"[\s|│┃║]+".to_owned() } else { r"\s+".to_owned() };
    }
    let mut rest = gap;
    while let Some(c) = rest.chars().next() {
        let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
        if blanks > 0 {
            pattern.push_str(r"\s*");
            rest = &rest[blanks..];
        } else if c.is_ascii_digit() {
            pattern.push_str(r"\d+");
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            pattern.push_str(&quoted(c.encode_utf8(&mut [0; 4])));
            rest = &rest[c.len_utf8()..];
        }
    }
    pattern
}

/// The same, where numbers in between may be any.
fn between_numbers(gap: &str) -> String {
    let (mut pattern, mut from, mut before) = (String::new(), 0, None);
    for (at, c) in gap.char_indices() {
        let apart = before.is_none_or(|before: char| !before.is_alphanumeric() && !"_-.".contains(before));
        before = Some(c);
        if at < from || !apart {
            continue;
        }
        let Some((_, length)) = number_prefix(&gap[at..]) else { continue };
        if gap[at + length..].starts_with(char::is_alphanumeric) {
            continue;
        }
        if at > from {
            pattern.push_str(&between(&gap[from..at]));
        }
        pattern.push_str(r"\S+");
        from = at + length;
    }
    if from < gap.len() || gap.is_empty() {
        pattern.push_str(&between(&gap[from..]));
    }
    pattern
}

/// `text` as a part of a pattern that can stand within single quotes.
fn quoted(text: &str) -> String {
    regex::escape(text).replace('\'', r"\x27")
}
