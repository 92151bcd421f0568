//! Makes texts that others wrote fit to be shown: nothing in them moves the cursor, sets a title, hides or turns around.
//! Invariant: what is stored stays raw; only what a person sees goes through here, and it is plain to see that it was changed.

use std::borrow::Cow;
use std::fmt::Write as _;

pub(crate) use gridctl_core::launch::shell;
pub(crate) use gridctl_core::spec::is_hostile;

/// `text` in one line, with hostile characters written out (`\n`, `\u{1b}`).
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// `text` as lines: as [`line()`], but line feeds and tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| is_hostile(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_hostile(c) || keep(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// `text` in one line of at most `most` characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = line(text);
    if text.chars().count() <= most {
        return text.into_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(3)).collect();
    cut.push_str("...");
    cut
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
