//! How a number ends: by itself, as a part of something longer, or as a part of a name.
//! Invariant: what goes on behind a number is looked at once, whatever it is.

use super::value::{is_blank, is_cjk, number_prefix, strip_word};

/// Words for parts of a time: `3 min 12 s`.
pub(super) const TIMES: [&str; 17] = [
    "d", "day", "days", "h", "hr", "hrs", "hour", "hours", "m", "min", "mins", "minute", "minutes", "s",
    "sec", "second", "seconds",
];
/// Letters of CJK scripts that are part of a number.
const CJK_NUMERALS: &str = "十百千万萬亿億兆京零〇一二三四五六七八九点點割分成";

/// How a number ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing goes on with it.
    Whole,
    /// What was read is part of something longer.
    Broken,
    /// What was read is part of a name.
    Label,
}

/// How `number` ends where `rest` begins.
pub(super) fn ending(number: &str, rest: &str) -> Ending {
    let (digits, next) = (number.bytes().all(|byte| byte.is_ascii_digit()), rest.chars().next());
    let Some(next) = next else { return Ending::Whole };
    if is_spread_percentage(rest) {
        return Ending::Broken;
    }
    let behind = &rest[next.len_utf8()..];
    let digit_behind = behind.starts_with(char::is_numeric);
    let label = |behind: &str| {
        let value = behind.trim_start_matches(is_blank);
        digits && value.starts_with(|c: char| c.is_numeric() || "+-.'\"".contains(c))
    };
    let broken = match next {
        '%' | '‰' | '％' | '_' | '#' | '^' => true,
        '=' if label(behind) => return Ending::Label,
        ':' if !digit_behind && label(behind) => return Ending::Label,
        '=' if leads_on(rest) => true,
        '=' => !behind.starts_with('=') && digits,
        // `0.5..0.6`.
        '.' => behind.trim_start_matches('.').starts_with(char::is_numeric),
        '-' if leads_on(rest) => true,
        ',' | ';' | ':' | '-' | '/' | '\'' | '+' | '~' => digit_behind,
        // On a terminal, what follows is written over it.
        '\u{8}' => !behind.trim_start_matches(['\u{8}', ' ']).is_empty(),
        '*' | '×' | '·' | '⋅' => behind.trim_start_matches(is_blank).starts_with(char::is_numeric),
        c if is_blank(c) => return behind_blank(number, rest, c),
        c if is_cjk(c) => CJK_NUMERALS.contains(c),
        '±' | '∓' | '（' | '│' | '┃' | '║' => false,
        '→' | '⇒' => leads_on(rest),
        c if c.is_alphanumeric() => true,
        // Marks of other scripts may be part of a number: `1٬234`, `10⁻³`.
        c => !c.is_ascii() && digit_behind,
    };
    if broken { Ending::Broken } else { Ending::Whole }
}

/// How `number` ends where `rest` begins with the blank `first`.
fn behind_blank(number: &str, rest: &str, first: char) -> Ending {
    let next = rest.trim_start_matches(is_blank);
    let one = rest.len() - next.len() == first.len_utf8();
    let digits = next.bytes().take_while(u8::is_ascii_digit).count();
    let short = number.trim_start_matches(['+', '-']);
    let is_short = short.len() <= 3 && short.bytes().all(|byte| byte.is_ascii_digit());
    let group = one && is_short && digits == 3 && !next[3..].starts_with(char::is_alphanumeric);
    let tight = one && !matches!(first, ' ' | '\t' | '\u{3000}') && digits > 0;
    let then_digit = |signs: &[char]| {
        let behind = next.strip_prefix(signs);
        behind.is_some_and(|behind| behind.trim_start_matches(is_blank).starts_with(char::is_numeric))
    };
    let power = next
        .strip_prefix(['x', 'X'])
        .is_some_and(|behind| behind.trim_start_matches(is_blank).starts_with("10"));
    let exponent = next.strip_prefix(['e', 'E']).and_then(|behind| behind.strip_prefix(['+', '-']));
    let broken = group
        || tight
        || next.starts_with(['%', '‰', '％'])
        || ["percent", "pct"].iter().any(|word| strip_word(next, word).is_some())
        || then_digit(&['×', '·', '⋅', '*', '/', '÷'])
        || share_of(next).is_some()
        || leads_on(next)
        || is_summed(next)
        || is_time_in_parts(next)
        || power
        || exponent.is_some_and(|behind| behind.starts_with(|c: char| c.is_ascii_digit()));
    if number.bytes().all(|byte| byte.is_ascii_digit()) && then_digit(&['=']) {
        return Ending::Label;
    }
    if broken { Ending::Broken } else { Ending::Whole }
}

/// What `text` begins with as a number, blanks before it left out.
fn number_behind(text: &str) -> Option<&str> {
    let text = text.trim_start_matches(is_blank);
    number_prefix(text).map(|(_, end)| &text[end..])
}

/// What follows `of 100` or `out of 100`, if `rest` begins so.
pub(super) fn share_of(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches(is_blank);
    let whole = ["of ", "out of "].iter().find_map(|word| strip_word(rest, word))?;
    number_behind(whole).filter(|_| whole.trim_start_matches(is_blank).starts_with(char::is_numeric))
}

/// Whether `rest` leads from one number to another, as in `0.5 -> 0.3` and `0.5 to 0.3`.
pub(super) fn leads_on(rest: &str) -> bool {
    let arrows = ["-->", "->", "==>", "=>", "→", "⇒", "to "];
    let target = arrows.iter().find_map(|arrow| strip_word(rest, arrow));
    target.is_some_and(|target| number_behind(target).is_some())
}

/// Whether a spread follows that makes a percentage of the number: `86.0 +/- 5.0 %`.
pub(super) fn is_spread_percentage(rest: &str) -> bool {
    let next = rest.trim_start_matches(is_blank);
    let spread = ["+/-", "+-", "±", "∓"].iter().find_map(|sign| next.strip_prefix(sign));
    let behind = spread.and_then(number_behind).map(|behind| behind.trim_start_matches(is_blank));
    behind.is_some_and(|behind| behind.starts_with(['%', '‰', '％']))
}

/// Whether `rest` goes on with a sum: `+ 0.2`, or `- 0.2 = 0.1`.
fn is_summed(rest: &str) -> bool {
    let mut rest = rest;
    while let Some(behind) = rest.strip_prefix("- ").and_then(number_behind) {
        rest = behind.trim_start_matches(is_blank);
        if rest.starts_with('=') {
            return true;
        }
    }
    rest.strip_prefix("+ ").is_some_and(|behind| number_behind(behind).is_some())
}

/// Whether `rest` is the unit of a time with a smaller part behind it: `min 12 s`.
fn is_time_in_parts(rest: &str) -> bool {
    let unit = |text: &str| {
        let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
        TIMES.iter().any(|unit| unit.eq_ignore_ascii_case(&text[..length])).then_some(length)
    };
    let Some(length) = unit(rest) else { return false };
    let behind = rest[length..].trim_start_matches(|c| is_blank(c) || c == ',');
    let behind = behind.strip_prefix("and ").unwrap_or(behind);
    number_behind(behind).is_some_and(|rest| unit(rest.trim_start_matches(is_blank)).is_some())
}
