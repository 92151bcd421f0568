//! What stands behind a metric's name: a number, a word for none, or what merely looks like one.
//! Invariant: a number is read whole or not at all; no part of a larger one, of a date, a fraction,
//! a percentage or a label is taken for it.

use super::ending::{Ending, TIMES, ending, share_of};
use super::passed::COUNTED;

/// What a value's text says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// `0.41`, `'0.41'`, `np.float64(0.41)`, `[0.41]`; NaN for `nan` and `None`.
    Number(f64),
    /// `null`: not measured here.
    Null,
    /// It begins like a number, and is none that can be read: `1,234.5`, `95%`.
    Unreadable,
    /// `saved to out.json`.
    Prose,
    /// The number is part of the name: `loss:0=0.5`.
    Label,
}

/// Words for no number, in lower case.
const NO_NUMBER: [&str; 9] = ["none", "<na>", "n/a", "na", "<nil>", "nil", "nothing", "missing", "undefined"];
/// How deep a number may be wrapped.
const MAX_DEPTH: usize = 6;
/// The longest rest of a wrapper's arguments, in bytes.
const MAX_ARGUMENTS: usize = 200;
/// What numbers are wrapped into, in lower case.
const WRAPPERS: [&str; 16] = [
    "float",
    "float16",
    "float32",
    "float64",
    "float128",
    "int",
    "int32",
    "int64",
    "tensor",
    "array",
    "devicearray",
    "decimal",
    "mpf",
    "scalar",
    "bfloat16",
    "longdouble",
];
/// Blanks within a line, the wide and the unbreakable ones too.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}' | '\u{3000}')
}

/// Whether this is a letter of a script that writes without blanks.
pub(super) fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' | '\u{3005}' | '\u{3007}')
}

/// What `text` begins with.
pub(super) fn value_at(text: &str) -> Value {
    let text = text.trim_start_matches(is_blank);
    if let Some((value, end)) = wrapped(text, 0) {
        return match ending(&text[..end], &text[end..]) {
            Ending::Whole if goes_on_as_list(&text[end..]) => Value::Unreadable,
            Ending::Whole => Value::Number(value),
            Ending::Label => Value::Label,
            // `nan%`: of whatever it is a share, it diverged.
            Ending::Broken if value.is_nan() && begins_with_percent(&text[end..]) => Value::Number(value),
            Ending::Broken if value.is_nan() && !begins_like_number(text) => Value::Prose,
            Ending::Broken => Value::Unreadable,
        };
    }
    if strip_word(text, "null").is_some_and(|rest| !rest.starts_with(joins_word)) {
        return Value::Null;
    }
    if begins_like_number(text) { Value::Unreadable } else { Value::Prose }
}

/// Units of one thing in different sizes, as programs choose them by a number's size.
const UNITS: [&str; 24] = [
    "ns", "us", "µs", "μs", "ms", "s", "sec", "min", "h", "B", "KB", "kB", "MB", "GB", "TB", "KiB", "MiB",
    "GiB", "TiB", "k", "K", "M", "G", "T",
];

/// The unit behind the number that `text` begins with, if its kind has others.
pub(super) fn unit(text: &str) -> Option<&'static str> {
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
    let behind = text.trim_start_matches(number);
    let rest = behind.trim_start_matches(is_blank);
    let word = &rest[..rest.len() - rest.trim_start_matches(char::is_alphabetic).len()];
    if word.is_empty() || behind.len() == text.len() {
        return None;
    }
    UNITS.into_iter().find(|unit| *unit == word)
}

/// Whether `text` begins with a number as cells of tables hold them; others may follow.
pub(super) fn is_cell(text: &str) -> bool {
    number_prefix(text).is_some_and(|(_, end)| ending(&text[..end], &text[end..]) == Ending::Whole)
}

/// Whether another fraction follows directly that measures nothing of its own, `0.93 | 0.85 (train | val)`,
/// or nothing but more numbers up to the line's end: which of them counts is not said.
fn goes_on_as_list(rest: &str) -> bool {
    has_fraction_beside(rest) || ends_as_list(rest)
}

/// Words for what is measured beside a metric: `12.5 fps`.
const MEASURES: [&str; 8] = ["fps", "hz", "it", "ips", "tokens", "words", "percent", "pct"];

fn has_fraction_beside(rest: &str) -> bool {
    let next = rest.trim_start_matches(|c| is_blank(c) || matches!(c, ',' | ';' | '|'));
    let Some((_, end)) = number_prefix(next).filter(|_| next.len() < rest.len()) else { return false };
    let (number, behind) = next.split_at(end);
    let word = behind.trim_start_matches(is_blank);
    let word = &word[..word.find(|c| is_blank(c) || ",;|)]".contains(c)).unwrap_or(word.len())];
    let is_one_of = |words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    let measures = word.contains('/')
        || UNITS.contains(&word)
        || is_one_of(&TIMES)
        || is_one_of(&COUNTED)
        || is_one_of(&MEASURES);
    number.contains(['.', 'e', 'E', 'n', 'N']) && ending(number, behind) == Ending::Whole && !measures
}

fn ends_as_list(rest: &str) -> bool {
    let mut rest = rest;
    let mut has_more = false;
    loop {
        let next = rest.trim_start_matches(|c| is_blank(c) || matches!(c, ',' | ';' | '|'));
        if next.is_empty() {
            return has_more;
        }
        // Behind a bar, a whole number may be in a column of another name.
        let is_in_column = rest[..rest.len() - next.len()].contains('|');
        match number_prefix(next) {
            Some((_, end)) if is_in_column && !next[..end].contains('.') => return false,
            Some((_, end)) if next.len() < rest.len() => rest = &next[end..],
            _ => return false,
        }
        has_more = true;
    }
}

/// Whether `text` begins with a percentage.
pub(super) fn is_percentage(text: &str) -> bool {
    number_prefix(text).is_some_and(|(_, end)| begins_with_percent(&text[end..]))
}

fn begins_with_percent(rest: &str) -> bool {
    rest.trim_start_matches(is_blank).starts_with(['%', '‰', '％'])
}

/// The whole of `text`, as somebody gave it or as a pattern caught it. A pattern says where a number
/// ends, so digits may be in groups and the decimal point a comma, where there is no doubt.
pub(super) fn whole_value(text: &str) -> Value {
    let text = text.trim_matches(is_blank);
    match wrapped(text, 0) {
        Some((value, end)) if end == text.len() => Value::Number(value),
        _ => match ungrouped(text).and_then(|plain| plain.parse().ok()) {
            Some(value) => Value::Number(value),
            None if text == "null" => Value::Null,
            None if begins_like_number(text) => Value::Unreadable,
            None => Value::Prose,
        },
    }
}

/// What a pattern caught: as [`whole_value`] has it, and a fraction is a number, for who caught both of its
/// parts wants that: `(\d+/\d+)`.
pub(super) fn caught_value(text: &str) -> Value {
    match whole_value(text) {
        Value::Unreadable => fraction(text).map_or(Value::Unreadable, Value::Number),
        value => value,
    }
}

/// The whole of `text` as one whole number of another, which is not smaller: `9123/10000`.
pub(super) fn fraction(text: &str) -> Option<f64> {
    let (part, whole) = text.trim_matches(is_blank).split_once('/')?;
    let number = |text: &str| {
        let is_whole = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<f64>().ok().filter(|_| is_whole)
    };
    let (part, whole) = (number(part)?, number(whole)?);
    (whole > 0.0 && part <= whole).then_some(part / whole)
}

/// `text` as a number, the whole of it.
pub(super) fn whole_number(text: &str) -> Option<f64> {
    match whole_value(text) {
        Value::Number(value) => Some(value),
        _ => None,
    }
}

/// `value` as a step, if it is a whole number.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
pub(super) fn as_step(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}

/// The number that `text` begins with, and its length. Also `nan`, `inf` and `infinity` in any case; 1e999 is infinite.
pub(super) fn number_prefix(text: &str) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let is_word = bytes.get(sign).is_some_and(u8::is_ascii_alphabetic);
    for word in ["infinity", "inf", "nan"].into_iter().filter(|_| is_word) {
        if bytes.len() >= sign + word.len()
            && bytes[sign..sign + word.len()].eq_ignore_ascii_case(word.as_bytes())
        {
            let end = sign + word.len();
            return text[..end].parse().ok().map(|value| (value, end));
        }
    }
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(sign);
    let mut end = whole;
    if bytes.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        let has_digits = whole > sign || fraction > whole + 1;
        // A full stop after a whole number ends a sentence, which is the same number.
        end = if has_digits { fraction } else { whole };
    }
    if end == sign {
        return None;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let from = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(from.min(bytes.len()));
        if exponent > from {
            end = exponent;
        }
    }
    text[..end].parse().ok().map(|value| (value, end))
}

/// Whether `rest` ends a number that stands as a step, as in `step 12/100`.
pub(super) fn ends_step(number: &str, rest: &str) -> bool {
    rest.starts_with('/') || share_of(rest).is_some() || ending(number, rest) == Ending::Whole
}

/// The number at the beginning of `text` that quotes, brackets or a type may be around, and the length of it all.
fn wrapped(text: &str, depth: usize) -> Option<(f64, usize)> {
    if depth > MAX_DEPTH {
        return None;
    }
    let inner = |from: usize| {
        let at = from + blanks(&text[from..]);
        let (value, length) = wrapped(&text[at..], depth + 1)?;
        Some((value, at + length))
    };
    let first = text.chars().next()?;
    match first {
        '\'' | '"' | '`' => {
            let (value, at) = inner(1)?;
            let at = at + blanks(&text[at..]);
            text[at..].starts_with(first).then_some((value, at + 1))
        }
        '[' | '(' => {
            let (value, at) = inner(1)?;
            closed(text, at, if first == '[' { ']' } else { ')' }, false).map(|end| (value, end))
        }
        _ => match wrapper(text) {
            Some(from) => {
                let (value, at) = inner(from)?;
                closed(text, at, ')', true).map(|end| (value, end))
            }
            None => plain(text),
        },
    }
}

/// Where a wrapper ends whose only value ends at `at`; behind a comma there may be `name=...`, if that is allowed.
fn closed(text: &str, at: usize, close: char, named: bool) -> Option<usize> {
    let mut at = at + blanks(&text[at..]);
    if text[at..].starts_with(',') {
        at += 1;
        at += blanks(&text[at..]);
        if named && !text[at..].starts_with(close) {
            let name = text[at..].bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            let name = name.count();
            if name == 0 || !text[at + name..].starts_with('=') {
                return None;
            }
            at += arguments_end(&text[at..])?;
        }
    }
    text[at..].starts_with(close).then_some(at + 1)
}

/// The length of arguments up to the parenthesis that closes them.
fn arguments_end(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.bytes().take(MAX_ARGUMENTS).position(|byte| {
        match byte {
            b'(' => open += 1,
            b')' if open == 0 => return true,
            b')' => open -= 1,
            _ => {}
        }
        false
    })
}

/// Where the argument of the wrapper begins that `text` begins with.
fn wrapper(text: &str) -> Option<usize> {
    if !text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return None;
    }
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let length = text.bytes().take(40).take_while(part).count();
    if !text[length..].starts_with('(') {
        return None;
    }
    let name = text[..length].rsplit('.').next().unwrap_or_default();
    WRAPPERS.iter().any(|known| known.eq_ignore_ascii_case(name)).then_some(length + 1)
}

/// A bare number, or a word for none.
fn plain(text: &str) -> Option<(f64, usize)> {
    if let Some(odd) = of_msvc(text).or_else(|| of_yaml(text)) {
        return Some(odd);
    }
    number_prefix(text).or_else(|| {
        let word = NO_NUMBER.into_iter().find(|word| strip_word(text, word).is_some())?;
        // `none of these` is prose, `none, acc=0.5` is not.
        let rest = text[word.len()..].trim_start_matches(is_blank);
        let next = rest.trim_start_matches(char::is_alphanumeric);
        let is_prose = next.len() < rest.len() && !next.starts_with(['=', ':', '_']);
        (!is_prose).then_some((f64::NAN, word.len()))
    })
}

/// `.nan` and `-.inf`, as YAML has them; `∞`.
fn of_yaml(text: &str) -> Option<(f64, usize)> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let (value, rest) = if let Some(rest) = body.strip_prefix('∞') {
        (f64::INFINITY, rest)
    } else {
        let word = body.strip_prefix('.').filter(|word| word.starts_with(char::is_alphabetic))?;
        let (value, length) = number_prefix(word)?;
        (value, &word[length..])
    };
    Some((sign * value, text.len() - rest.len()))
}

/// `1.#INF`, `-1.#IND00`: what Microsoft's runtime prints.
fn of_msvc(text: &str) -> Option<(f64, usize)> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let word = body.strip_prefix("1.#")?;
    let length = word.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let value = match &word[..length] {
        word if !word.starts_with("INF") => f64::NAN,
        _ if text.starts_with('-') => f64::NEG_INFINITY,
        _ => f64::INFINITY,
    };
    Some((value, text.len() - word.len() + length))
}

pub(super) fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let begins = text.as_bytes().get(..word.len())?.eq_ignore_ascii_case(word.as_bytes());
    begins.then(|| &text[word.len()..])
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_blank).len()
}

fn joins_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `text` begins as numbers do: a digit, a sign, a quote, a bracket, a wrapper; or signs such as `~` and then a digit.
pub(super) fn begins_like_number(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    if first.is_numeric() || "+-−–—±'\"`“‘[({".contains(first) || wrapper(text).is_some() {
        return true;
    }
    // Fortran's number that found no room, and a tag of YAML's.
    let stars = text.trim_start_matches('*');
    let no_room =
        text.len() - stars.len() > 2 && !stars.trim_start_matches(is_blank).starts_with(char::is_alphabetic);
    if no_room || text.starts_with("!!") {
        return true;
    }
    if first == '<' && text.as_bytes()[..text.len().min(40)].windows(5).any(|part| part == b"ensor") {
        return true;
    }
    let signs = |c: &char| !c.is_alphanumeric() && !is_blank(*c);
    text.chars().take(4).find(|c| !signs(c)).is_some_and(char::is_numeric)
}

/// `1,234.5`, `1'234`, `1 234,5` and `0,5` in the form that programs read; `None` where the commas can mean two things.
fn ungrouped(text: &str) -> Option<String> {
    let text = text.replace('−', "-");
    let body = text.trim_start_matches(['+', '-']);
    if text.len() - body.len() > 1 || text.len() > 64 || !body.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let marks: Vec<char> = body.chars().filter(|c| !c.is_ascii_digit()).collect();
    let (&last, before) = marks.split_last()?;
    let (group, point) = match before.first() {
        Some(&group) if last == group => (Some(group), None),
        Some(&group) => (Some(group), Some(last)),
        None if last == '.' || last == ',' => (None, Some(last)),
        None => (Some(last), None),
    };
    let is_group = |c: char| is_blank(c) || matches!(c, ',' | '.' | '\'' | '’');
    if !marks.iter().all(|c| Some(*c) == group || Some(*c) == point)
        || group.is_some_and(|group| !is_group(group))
        || point.is_some_and(|point| !matches!(point, '.' | ',') || before.contains(&point))
    {
        return None;
    }
    let (whole, fraction) = match point {
        Some(point) => body.split_once(point)?,
        None => (body, ""),
    };
    let mut groups = whole.split(|c| Some(c) == group);
    let first = groups.next()?;
    let fits =
        group.is_none() || ((1..=3).contains(&first.len()) && groups.clone().all(|part| part.len() == 3));
    // `1,234` alone may be either.
    let doubtful = group.is_none() && point == Some(',') && fraction.len() == 3 && first != "0";
    if !fits || doubtful {
        return None;
    }
    let mut plain = text[..text.len() - body.len()].to_owned();
    plain.extend(first.chars().chain(groups.flat_map(str::chars)));
    if !fraction.is_empty() {
        plain.push('.');
        plain.push_str(fraction);
    }
    Some(plain)
}
