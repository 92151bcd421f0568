//! From bytes to lines, and from lines to names and numbers: what a stream's chunks, `name=value` and `::metric` are made of.
//! Invariant: memory is bounded by [`MAX_LINE`] whatever comes, and no byte sequence is an error.

use std::borrow::Cow;

/// The longest line that is looked at; what is beyond it is dropped.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// Cuts chunks into lines at `\n` and `\r`; holds what has no end yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes a chunk in and gives every line that is whole to `on_line`, without its end; empty lines are left out.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if !self.partial.is_empty() {
                self.hold(line);
                on_line(&self.partial);
                self.partial.clear();
            } else if !line.is_empty() {
                on_line(&line[..line.len().min(MAX_LINE)]);
            }
        }
        self.hold(bytes);
    }

    /// Gives the line without an end, if there is one.
    pub(super) fn finish(&mut self, on_line: impl FnOnce(&[u8])) {
        if !self.partial.is_empty() {
            on_line(&self.partial);
            self.partial.clear();
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The line as text, without the control sequences that colour it; invalid UTF-8 replaced.
pub(super) fn text(line: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(line);
    if text.contains('\x1b') { Cow::Owned(without_escapes(&text)) } else { text }
}

/// `text` without terminal control sequences: CSI (`ESC [ ... letter`), OSC (`ESC ] ... BEL`), and other pairs.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('[') => while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
            Some(']') => {
                while let Some(c) = chars.next() {
                    if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    out
}

/// The number that `text` begins with, and its length. Also `nan`, `inf` and `infinity` in any case; 1e999 is infinite.
pub(super) fn number_prefix(text: &str) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    for word in ["infinity", "inf", "nan"] {
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

/// Whether a number may end where `rest` begins: not within a word, a date, a version, `1,234`, a percentage or (unless `of` it) `3/10`.
fn ends_number(rest: &str, fraction_ok: bool) -> bool {
    let mut chars = rest.chars();
    let digit_next = |chars: &mut std::str::Chars<'_>| chars.next().is_some_and(|c| c.is_ascii_digit());
    match chars.next() {
        Some('%' | '_') => false,
        Some('/') if fraction_ok => true,
        Some('.' | ',' | ':' | '-' | '/') => !digit_next(&mut chars),
        Some(' ') => !rest.trim_start().starts_with('%'),
        Some(c) => !c.is_alphanumeric(),
        None => true,
    }
}

/// The number at the beginning of `text`, if it ends there too.
pub(super) fn number_at(text: &str) -> Option<f64> {
    number_prefix(text).filter(|(_, end)| ends_number(&text[*end..], false)).map(|(value, _)| value)
}

/// `text` as a number, the whole of it.
pub(super) fn whole_number(text: &str) -> Option<f64> {
    let text = text.trim();
    number_prefix(text).filter(|(_, end)| *end == text.len()).map(|(value, _)| value)
}

/// `value` as a step, if it is a whole number.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
pub(super) fn as_step(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}

/// What stands where a name was looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found<'a> {
    /// `name=0.41` or `name: 0.41`.
    Number(f64),
    /// `name=` with something else behind it.
    NotNumber(&'a str),
    /// `name 0.41`.
    NoSeparator(&'a str),
}

/// Every place in `line` where `name` stands by itself, quoted or not, with a value behind it.
pub(super) fn find<'a>(line: &'a str, name: &str, mut on_found: impl FnMut(Found<'a>)) {
    for (at, _) in line.match_indices(name) {
        if let Some(rest) = after_name(line, at, name)
            && let Some(found) = value_of(rest, &line[at..])
        {
            on_found(found);
        }
    }
}

/// The step that the line names: `step=`, or else `epoch=`; also `12/100`.
pub(super) fn find_step(line: &str) -> Option<i64> {
    ["step", "epoch"].into_iter().find_map(|name| {
        line.match_indices(name).find_map(|(at, _)| {
            let (value, end) = number_prefix(after_separator(after_name(line, at, name)?)?)?;
            let rest = &after_separator(after_name(line, at, name)?)?[end..];
            as_step(value).filter(|_| ends_number(rest, true))
        })
    })
}

/// What is behind the name at `at`, its closing quote left out; `None` if the name is part of a longer one.
fn after_name<'a>(line: &'a str, at: usize, name: &str) -> Option<&'a str> {
    let before = line[..at].chars().next_back();
    if before.is_some_and(|c| c.is_alphanumeric() || "_-./".contains(c)) {
        return None;
    }
    let rest = &line[at + name.len()..];
    let rest =
        before.filter(|c| matches!(c, '"' | '\'')).and_then(|quote| rest.strip_prefix(quote)).unwrap_or(rest);
    Some(rest)
}

/// What is behind `=` or `:`, blanks left out; `==` and `::` are neither.
fn after_separator(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches([' ', '\t']);
    let separator = rest.chars().next().filter(|c| matches!(c, '=' | ':'))?;
    let rest = &rest[1..];
    (!rest.starts_with(separator)).then(|| rest.trim_start_matches([' ', '\t']))
}

fn value_of<'a>(rest: &'a str, shown: &'a str) -> Option<Found<'a>> {
    if let Some(value) = after_separator(rest) {
        if value.is_empty() {
            return None;
        }
        return Some(number_at(value).map_or(Found::NotNumber(shown), Found::Number));
    }
    let bare = rest.strip_prefix([' ', '\t'])?.trim_start();
    number_at(bare).map(|_| Found::NoSeparator(shown))
}

/// The `name=value` pairs of a `::metric` line; names with blanks stand in quotes.
pub(super) fn pairs<'a>(mut rest: &'a str, mut on_pair: impl FnMut(&'a str, &'a str)) {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = match rest.chars().next() {
            None => return,
            Some(quote @ ('"' | '\'')) => match rest[1..].split_once(quote) {
                Some((name, after)) => (name, after),
                None => return,
            },
            Some(_) => rest.split_at(rest.find(['=', ' ', '\t']).unwrap_or(rest.len())),
        };
        let Some(value) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let (value, after) = value.split_at(value.find([' ', '\t']).unwrap_or(value.len()));
        on_pair(name, value.trim_end_matches(','));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut_into_chunks() {
        let text = b"one\ntwo\r\n\r\rthree\rfour";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                lines.feed(chunk, |line| found.push(String::from_utf8_lossy(line).into_owned()));
            }
            lines.finish(|line| found.push(String::from_utf8_lossy(line).into_owned()));
            assert_eq!(found, ["one", "two", "three", "four"], "chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.feed(&[b'x'; 10_000], |_| unreachable!());
        }
        assert!(lines.partial.capacity() <= 2 * MAX_LINE);
        let mut lengths = Vec::new();
        lines.feed(b"\nshort\n", |line| lengths.push(line.len()));
        lines.feed(&[[b'y'; 2 * MAX_LINE].as_slice(), b"\n"].concat(), |line| lengths.push(line.len()));
        assert_eq!(lengths, [MAX_LINE, 5, MAX_LINE]);
    }

    #[test]
    fn colours_and_other_control_sequences_are_stripped() {
        let cases: [(&[u8], &str); 5] = [
            (b"\x1b[1;32mloss\x1b[0m=0.4", "loss=0.4"),
            (b"\x1b]8;;http://x\x1b\\loss\x1b]8;;\x07=1", "loss=1"),
            (b"\x1b(Bloss=1", "Bloss=1"),
            (b"loss=1\x1b[", "loss=1"),
            (b"\xff loss=1", "\u{fffd} loss=1"),
        ];
        for (raw, expected) in cases {
            assert_eq!(text(raw), expected);
        }
    }

    #[test]
    fn numbers_are_read_whole_or_not_at_all() {
        let cases = [
            ("0.41", Some(0.41)),
            ("-1e-3,", Some(-1e-3)),
            ("+.5)", Some(0.5)),
            ("5.", Some(5.0)),
            ("12. Next", Some(12.0)),
            ("1e5", Some(1e5)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity}", Some(f64::NEG_INFINITY)),
            ("1e999", Some(f64::INFINITY)),
            ("3 of 4", Some(3.0)),
            ("95%", None),
            ("95 %", None),
            ("1,234.5", None),
            ("12:30", None),
            ("2026-01-02", None),
            ("1.2.3", None),
            ("3/10", None),
            ("1_000", None),
            ("0x1f", None),
            ("1e", None),
            ("infra", None),
            ("tensor(0.4)", None),
            ("e5", None),
            (".", None),
            ("-", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number_at(text), expected, "{text}");
        }
        assert!(number_at("NaN").is_some_and(f64::is_nan));
        assert_eq!(whole_number(" 0.5 "), Some(0.5));
        assert_eq!(whole_number("0.5 x"), None);
    }

    #[test]
    fn a_name_is_found_where_it_stands_by_itself() {
        let found = |line: &'static str, name: &str| {
            let mut all = Vec::new();
            find(line, name, |found| all.push(found));
            all
        };
        use Found::{NoSeparator, NotNumber, Number};
        let cases: [(&str, &str, Vec<Found<'_>>); 17] = [
            ("loss=0.41", "loss", vec![Number(0.41)]),
            ("epoch 3 loss: 0.41, acc: 0.9", "acc", vec![Number(0.9)]),
            ("loss = 1e-3", "loss", vec![Number(1e-3)]),
            ("{'loss': 0.5, 'n': 1}", "loss", vec![Number(0.5)]),
            (r#"{"loss":0.5}"#, "loss", vec![Number(0.5)]),
            ("val_loss=1 loss=2 loss=3", "loss", vec![Number(2.0), Number(3.0)]),
            ("val/loss=1", "val/loss", vec![Number(1.0)]),
            ("val/loss=1 val-loss=1 val.loss=1 losses=1", "loss", vec![]),
            ("iter_loss (log scale): -2.5", "iter_loss (log scale)", vec![Number(-2.5)]),
            ("--loss=1", "loss", vec![]),
            ("loss==1 loss::1 loss=", "loss", vec![]),
            ("acc=95%", "acc", vec![NotNumber("acc=95%")]),
            ("loss: tensor(0.4)", "loss", vec![NotNumber("loss: tensor(0.4)")]),
            ("acc 0.9", "acc", vec![NoSeparator("acc 0.9")]),
            ("the loss is low", "loss", vec![]),
            ("größe=1", "größe", vec![Number(1.0)]),
            ("übergröße=1", "größe", vec![]),
        ];
        for (line, name, expected) in cases {
            assert_eq!(found(line, name), expected, "{line}");
        }
        assert_eq!(find_step("step: 12/100 loss=1"), Some(12));
        assert_eq!(find_step("Epoch epoch=3, loss=1"), Some(3));
        assert_eq!(find_step("epoch=0.5 timestep=3"), None);
    }
}
