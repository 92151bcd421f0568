//! From bytes to lines, and from lines to names and numbers: what a stream's chunks, `name=value` and `::metric` are made of.
//! Invariant: memory is bounded by [`MAX_LINE`] whatever comes, and no byte sequence is an error.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;

use super::qualifier;
use super::value::{
    Value, as_step, ends_step, is_blank, is_cell, is_cjk, is_percentage, number_prefix, value_at,
};

/// The longest line that is read; a longer one is cut there, which is said.
pub(super) const MAX_LINE: usize = 1 << 20;

/// One line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Its text, as far as it is read. Where it was cut, the word that the cut went through is gone.
    pub(super) bytes: &'a [u8],
    /// How long it is.
    pub(super) length: u64,
    /// How many bytes its stream had up to its end, the end included.
    pub(super) end: u64,
}

impl Line<'_> {
    /// Whether there is more of it than is read.
    pub(super) fn is_cut(&self) -> bool {
        self.length > MAX_LINE as u64
    }
}

/// Cuts chunks into lines at `\n` and `\r`; holds what has no end yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// The length of the line that has no end yet.
    length: u64,
    /// Bytes taken in so far.
    taken: u64,
}

impl Lines {
    /// Takes a chunk in and gives every line that is whole to `on_line`; empty lines are left out.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            self.taken += end as u64 + 1;
            if self.length > 0 {
                self.hold(line);
                self.give(&mut on_line);
            } else if !line.is_empty() {
                let length = line.len() as u64;
                on_line(Line { bytes: readable(line, length), length, end: self.taken });
            }
        }
        self.taken += bytes.len() as u64;
        self.hold(bytes);
    }

    /// Gives the line without an end, if there is one.
    pub(super) fn finish(&mut self, on_line: impl FnMut(Line<'_>)) {
        if self.length > 0 {
            self.give(on_line);
        }
    }

    /// Bytes that are held of a line without end.
    pub(super) fn waiting(&self) -> usize {
        self.partial.len()
    }

    /// Bytes taken in so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    fn give(&mut self, mut on_line: impl FnMut(Line<'_>)) {
        let length = std::mem::take(&mut self.length);
        on_line(Line { bytes: readable(&self.partial, length), length, end: self.taken });
        self.partial.clear();
        // One long line is no reason to hold its memory from then on.
        self.partial.shrink_to(64 << 10);
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len() as u64;
    }
}

/// What may be read of a line of this length: where it is cut, not the number that the cut goes through.
fn readable(line: &[u8], length: u64) -> &[u8] {
    if length <= MAX_LINE as u64 {
        return line;
    }
    let line = &line[..line.len().min(MAX_LINE)];
    let word = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'{' | b'[' | b'"' | b'=' | b':');
    let whole = line.len() - line.iter().rev().take(1_000).take_while(|byte| word(byte)).count();
    &line[..whole]
}

/// The line as text, without the control sequences that colour it; invalid UTF-8 replaced.
pub(super) fn text(line: &[u8]) -> Cow<'_, str> {
    let text = lossy(line);
    if memchr::memchr(0x1b, line).is_some() { Cow::Owned(without_escapes(&text)) } else { text }
}

/// `bytes` as text, invalid UTF-8 replaced; most are valid, which is seen faster than replaced. Of UTF-16,
/// which has a zero beside each ASCII letter, these letters.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(0, bytes).is_some() {
        let bytes = bytes.strip_prefix(b"\xff\xfe").or(bytes.strip_prefix(b"\xfe\xff")).unwrap_or(bytes);
        let kept: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        if bytes.len() >= kept.len() + bytes.len() / 3 {
            return Cow::Owned(String::from_utf8_lossy(&kept).into_owned());
        }
    }
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
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
            Some('[') => {
                let end = chars.find(|c| ('\x40'..='\x7e').contains(c));
                // What the cursor was moved away from is not one word with what follows.
                if end.is_some_and(|end| matches!(end, 'A'..='H' | 'f')) {
                    out.push(' ');
                }
            }
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

/// What stands where a name was looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found<'a> {
    /// `name=0.41` or `name: 0.41`; also a line that is nothing but the two, as rows of a table are.
    Number(f64, &'a str),
    /// `name=` with something behind it that begins like a number, and is none.
    Unreadable(&'a str),
    /// `name=` with other words behind it.
    Prose(&'a str),
    /// `name 0.41`, or the two in cells of a table, among other words.
    NoSeparator(&'a str),
}

/// A name, ready to be found in many lines.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) name: Arc<str>,
    finder: Finder<'static>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), finder: Finder::new(name.as_bytes()).into_owned() }
    }

    /// Whether it is anywhere in `line`, be it as a part of another.
    pub(super) fn is_in(&self, line: &str) -> bool {
        self.finder.find(line.as_bytes()).is_some()
    }

    /// Where it stands in `line`, be it as a part of another.
    pub(super) fn places(&self, line: &str) -> impl Iterator<Item = usize> {
        self.finder.find_iter(line.as_bytes())
    }

    /// The value of the name that stands at `at`.
    pub(super) fn at<'a>(&self, line: &'a str, at: usize) -> Option<Found<'a>> {
        value_of(after_name(line, at, &self.name)?, &line[at..])
    }

    /// Every place in `line` where it stands by itself, quoted or not, with a value behind it.
    pub(super) fn find<'a>(&self, line: &'a str, mut on_found: impl FnMut(Found<'a>)) {
        for at in self.finder.find_iter(line.as_bytes()) {
            if let Some(rest) = after_name(line, at, &self.name)
                && let Some(found) =
                    row_of(&line[..at], rest, &line[at..]).or_else(|| value_of(rest, &line[at..]))
            {
                on_found(found);
            }
        }
    }
}

/// What steps are called.
static STEPS: LazyLock<[Name; 2]> = LazyLock::new(|| ["step", "epoch"].map(Name::new));

/// The step that the line names: `step=`, or else `epoch=`; also `12/100`.
pub(super) fn find_step(line: &str) -> Option<i64> {
    STEPS.iter().find_map(|step| {
        step.finder.find_iter(line.as_bytes()).find_map(|at| {
            let text = after_separator(after_name(line, at, &step.name)?)?;
            let (value, end) = number_prefix(text)?;
            as_step(value).filter(|_| ends_step(&text[..end], &text[end..]))
        })
    })
}

/// What is behind the name at `at`, its closing quote left out; `None` if the name is part of a longer one.
fn after_name<'a>(line: &'a str, at: usize, name: &str) -> Option<&'a str> {
    let before = line[..at].chars().next_back();
    let first = name.chars().next()?;
    if before.is_some_and(|c| (c.is_alphanumeric() && is_cjk(c) == is_cjk(first)) || "_-./?&".contains(c)) {
        return None;
    }
    let rest = &line[at + name.len()..];
    let rest =
        before.filter(|c| matches!(c, '"' | '\'')).and_then(|quote| rest.strip_prefix(quote)).unwrap_or(rest);
    Some(rest)
}

/// What is behind `=`, `:`, narrow or wide, `=>` or `:=`, blanks left out; `==` and `::` are none.
pub(super) fn after_separator(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches(is_blank);
    let separator = rest.chars().next().filter(|c| matches!(c, '=' | ':' | '：' | '＝'))?;
    let rest = &rest[separator.len_utf8()..];
    let second = if separator == '=' { '>' } else { '=' };
    let value = rest.strip_prefix(second).unwrap_or(rest);
    (!rest.starts_with(separator)).then(|| value.trim_start_matches(is_blank))
}

/// What may stand between a name and its number in prose.
const BETWEEN: [&str; 6] = ["->", "→", "is ", "was ", "of ", "reached "];

fn value_of<'a>(rest: &'a str, shown: &'a str) -> Option<Found<'a>> {
    let rest = qualifier::behind(rest).map_or(rest, |(_, length)| &rest[length..]);
    if let Some(value) = after_separator(rest) {
        return match value_at(value) {
            _ if value.is_empty() => None,
            Value::Number(value) => Some(Found::Number(value, shown)),
            Value::Unreadable => Some(Found::Unreadable(shown)),
            Value::Prose => Some(Found::Prose(shown)),
            Value::Null | Value::Label => None,
        };
    }
    let bare = rest.trim_start_matches(is_between_cells);
    let said = BETWEEN.iter().find_map(|word| bare.strip_prefix(word)).unwrap_or(bare);
    let said = said.trim_start_matches(is_blank);
    let is_wrapped = said.starts_with(char::is_alphabetic) && matches!(value_at(said), Value::Number(_));
    let is_number = bare.len() < rest.len() && (is_cell(said) || is_percentage(said) || is_wrapped);
    is_number.then_some(Found::NoSeparator(shown))
}

/// The number of a line that is nothing but a name and a number, in cells of a table or not.
fn row_of<'a>(before: &str, rest: &'a str, shown: &'a str) -> Option<Found<'a>> {
    let bare = rest.trim_start_matches(is_between_cells);
    let (value, end) = number_prefix(bare).filter(|_| bare.len() < rest.len())?;
    let is_alone = before.chars().all(is_between_cells) && bare[end..].chars().all(is_between_cells);
    is_alone.then_some(Found::Number(value, shown))
}

/// Blanks and borders, as they stand around the cells of a table.
pub(super) fn is_between_cells(c: char) -> bool {
    is_blank(c) || is_border(c)
}

/// Between the cells of a table.
pub(super) fn is_border(c: char) -> bool {
    matches!(c, '|' | '│' | '┃' | '║')
}

/// The `name=value` pairs of a `::metric` line, and what is none, without a value; names with blanks stand
/// in quotes.
pub(super) fn pairs<'a>(mut rest: &'a str, mut on_pair: impl FnMut(&'a str, Option<&'a str>)) {
    let blanks = [' ', '\t'];
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = match rest.chars().next() {
            None => return,
            Some(quote @ ('"' | '\'')) => match rest[1..].split_once(quote) {
                Some((name, after)) => (name, after),
                None => return on_pair(rest, None),
            },
            Some(_) => rest.split_at(rest.find(['=', ' ', '\t']).unwrap_or(rest.len())),
        };
        let Some(value) = after.trim_start_matches(blanks).strip_prefix('=').filter(|_| !name.is_empty())
        else {
            on_pair(name, None);
            rest = after.strip_prefix('=').unwrap_or(after);
            continue;
        };
        let next = value.trim_start_matches(blanks);
        let (text, after) = next.split_at(next.find(blanks).unwrap_or(next.len()));
        if next.len() < value.len() && text.contains('=') {
            // The next pair: this one has no value.
            on_pair(name, None);
            rest = next;
        } else {
            on_pair(name, Some(text.trim_end_matches(',')));
            rest = after;
        }
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
                lines.feed(chunk, |line| found.push(String::from_utf8_lossy(line.bytes).into_owned()));
            }
            lines.finish(|line| found.push(String::from_utf8_lossy(line.bytes).into_owned()));
            assert_eq!(found, ["one", "two", "three", "four"], "chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory_and_is_cut_between_words() {
        let mut lines = Lines::default();
        for _ in 0..1_000 {
            lines.feed(&[b'x'; 10_000], |_| unreachable!());
        }
        assert!(lines.partial.capacity() <= 2 * MAX_LINE);
        let mut seen = Vec::new();
        lines.feed(b"\nshort\n", |line| seen.push((line.bytes.len(), line.length, line.is_cut())));
        assert_eq!(seen[1], (5, 5, false));
        assert_eq!((seen[0].1, seen[0].2), (10_000_000, true));
        let mut text = " ".repeat(MAX_LINE - 8) + "loss=0.12";
        text.push_str("345\n");
        for size in [1_000, text.len()] {
            let mut whole = String::new();
            let mut lines = Lines::default();
            for chunk in text.as_bytes().chunks(size) {
                lines.feed(chunk, |line| {
                    assert_eq!(line.end, text.len() as u64);
                    whole = String::from_utf8_lossy(line.bytes).trim().to_owned();
                });
            }
            assert_eq!(whole, "loss=", "half a number is none");
        }
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
    fn a_name_is_found_where_it_stands_by_itself() {
        use Found::{NoSeparator, Number, Prose, Unreadable};
        let found = |line: &'static str, name: &str| {
            let mut all = Vec::new();
            Name::new(name).find(line, |found| match found {
                Number(value, _) => all.push(Number(value, "")),
                other => all.push(other),
            });
            all
        };
        let cases: [(&str, &str, Vec<Found<'_>>); 29] = [
            ("loss=0.41", "loss", vec![Number(0.41, "")]),
            ("epoch 3 loss: 0.41, acc: 0.9", "acc", vec![Number(0.9, "")]),
            ("loss = 1e-3", "loss", vec![Number(1e-3, "")]),
            ("{'loss': 0.5, 'n': 1}", "loss", vec![Number(0.5, "")]),
            (r#"{"loss":0.5}"#, "loss", vec![Number(0.5, "")]),
            ("val_loss=1 loss=2 loss=3", "loss", vec![Number(2.0, ""), Number(3.0, "")]),
            ("val/loss=1", "val/loss", vec![Number(1.0, "")]),
            ("val/loss=1 val-loss=1 val.loss=1 losses=1", "loss", vec![]),
            ("iter_loss (log scale): -2.5", "iter_loss (log scale)", vec![Number(-2.5, "")]),
            ("--loss=1", "loss", vec![]),
            ("loss==1 loss::1 loss=", "loss", vec![]),
            ("acc=95%", "acc", vec![Unreadable("acc=95%")]),
            ("loss: tensor(0.4)", "loss", vec![Number(0.4, "")]),
            ("acc 0.9", "acc", vec![Number(0.9, "")]),
            ("   val_acc        0.90056 ", "val_acc", vec![Number(0.90056, "")]),
            ("accuracy      0.97   143", "accuracy", vec![NoSeparator("accuracy      0.97   143")]),
            ("epoch 3 acc 0.9", "acc", vec![NoSeparator("acc 0.9")]),
            ("the loss is low", "loss", vec![]),
            ("größe=1", "größe", vec![Number(1.0, "")]),
            ("übergröße=1", "größe", vec![]),
            ("acc: saved to out.json", "acc", vec![Prose("acc: saved to out.json")]),
            ("验证loss：0.5，acc＝0.9", "loss", vec![Number(0.5, "")]),
            ("验证loss：0.5，acc＝0.9", "acc", vec![Number(0.9, "")]),
            ("验证损失=1 损失=2", "损失", vec![Number(2.0, "")]),
            ("loss:0=0.5 loss:1: 0.25", "loss", vec![]),
            (r#"{"loss": null}"#, "loss", vec![]),
            ("│  acc   │  0.91  │", "acc", vec![Number(0.91, "")]),
            ("| acc | 0.91 | 3 |", "acc", vec![NoSeparator("acc | 0.91 | 3 |")]),
            ("wandb:      acc 0.91", "acc", vec![NoSeparator("acc 0.91")]),
        ];
        for (line, name, expected) in cases {
            assert_eq!(found(line, name), expected, "{line}");
        }
        assert_eq!(find_step("step: 12/100 loss=1"), Some(12));
        assert_eq!(find_step("Epoch epoch=3, loss=1"), Some(3));
        assert_eq!(find_step("epoch=0.5 timestep=3"), None);
    }
}
