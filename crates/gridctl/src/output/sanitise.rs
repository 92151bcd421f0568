//! Makes texts that others wrote fit to be shown: nothing in them moves the cursor, sets a title, hides or turns around.
//! Invariant: what is stored stays raw; only what a person sees goes through here, and it is plain to see that it was changed.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(crate) use gridctl_core::launch::shell;
pub(crate) use gridctl_core::spec::is_hostile;

/// So many marks without a width of their own (accents, say) may follow a character. More of them
/// reach into other lines.
const MOST_MARKS: usize = 4;

/// `text` in one line, with hostile characters written out (`\n`, `\u{1b}`), and marks that are too
/// many or stand alone.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    // What stands before the text is none of its characters.
    let mut marks = MOST_MARKS;
    escape(text, |c| {
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        !is_hostile(c) && marks <= MOST_MARKS
    })
}

/// How many columns of a terminal `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` as lines: hostile characters are written out, but for line feeds and tabs.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t') || !is_hostile(c))
}

/// `text` with each character written out that `keep`, which is asked about one after the other,
/// does not want.
fn escape(text: &str, mut keep: impl FnMut(char) -> bool) -> Cow<'_, str> {
    let mut out = String::new();
    // So much of the text has been taken over.
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        if keep(c) {
            continue;
        }
        out.push_str(&text[taken..at]);
        taken = at + c.len_utf8();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    if taken == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[taken..]);
    Cow::Owned(out)
}

/// `text` in one line of at most `most` columns.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = line(text);
    if width(&text) <= most {
        return text.into_owned();
    }
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| width(&text[..*end]) <= most.saturating_sub(3)).last().unwrap_or(0);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c04_hostile_characters_are_written_out() {
        assert_eq!(
            line("a\u{1b}[2J\u{202e}b\n\u{9b}1m\u{200b}"),
            "a\\u{1b}[2J\\u{202e}b\\n\\u{9b}1m\\u{200b}"
        );
        assert_eq!(lines("a\n\tb\r"), "a\n\tb\\r");
        assert_eq!(line("plain, größe, 漢字"), "plain, größe, 漢字");
        assert_eq!(short("0123456789", 6), "012...");
        assert_eq!(short("漢字漢字", 8), "漢字漢字");
        assert_eq!(short("漢字漢字漢", 8), "漢字...");
        assert_eq!(short("漢字", 3), "...");
        assert_eq!(line("e\u{301}\u{301}"), "e\u{301}\u{301}");
        assert_eq!(line("\u{301}e"), "\\u{301}e");
        assert_eq!(line(&"\u{301}".repeat(3)), "\\u{301}".repeat(3));
        assert_eq!(
            line(&format!("e{}x\n", "\u{301}".repeat(5))),
            format!("e{}\\u{{301}}x\\n", "\u{301}".repeat(4))
        );
    }

    #[test]
    fn c05_a_shell_reads_back_what_is_quoted() {
        for text in ["plain", "", "a b", "it's", "$(rm -rf ~)", "`id`", "-rf", "a\nb\u{1b}'\\", "ü é"] {
            let script = format!("printf %s {}", shell(text));
            let out = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), text, "{script}");
        }
    }
}
