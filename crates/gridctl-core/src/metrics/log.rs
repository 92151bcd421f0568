//! What the end of a log says about a failure: the line that looks like the error, and CUDA's own out-of-memory.
//! Invariant: two attempts that fail in the same way have the same error line, whatever addresses and scratch paths they print.

use super::line;

/// The longest error line, in characters.
const MAX_ERROR: usize = 300;
/// How far from the end a line is looked for that speaks of an error.
const NEAR_END: usize = 20;
/// Words that a line about an error has, in lower case.
const WORDS: [&str; 15] = [
    "error",
    "exception",
    "fatal",
    "panic",
    "not found",
    "no such file",
    "denied",
    "killed",
    "abort",
    "segmentation",
    "fault",
    "failed",
    "cannot",
    "invalid",
    "unrecognized",
];

/// The last line of `log_tail` that looks like the error, in the form in which attempts are compared; `None` for an empty log.
///
/// A Python traceback's last line; a Rust panic's message; else the last line near the end that speaks of an error; else the last line.
#[must_use]
pub fn error_line(log_tail: &str) -> Option<String> {
    let lines: Vec<String> = log_tail
        .split(['\n', '\r'])
        .map(|line| line::text(line.as_bytes()).trim_end().to_owned())
        .filter(|line| !line.trim_start().is_empty() && !line.trim_start().starts_with("::"))
        .collect();
    if let Some(message) = boxed(&lines) {
        return Some(normalised(&message));
    }
    // A rule across the page, or the border of a box, says nothing.
    let lines: Vec<String> =
        lines.into_iter().filter(|line| line.chars().any(char::is_alphanumeric)).collect();
    let found =
        traceback(&lines).or_else(|| panic_message(&lines)).or_else(|| spoken(&lines)).or(lines.last())?;
    Some(normalised(found.trim_start()))
}

/// What stands in a box at the end that is called an error, as typer and rich draw it.
fn boxed(lines: &[String]) -> Option<String> {
    let top = lines.iter().rposition(|line| line.trim_start().starts_with(['╭', '┌', '┏']))?;
    let bottom = lines[top..].iter().position(|line| line.trim_start().starts_with(['╰', '└', '┗']))?;
    let is_last = top + bottom + 1 == lines.len();
    if !is_last || !lines[top].to_lowercase().contains("error") {
        return None;
    }
    let inside = lines[top + 1..top + bottom].iter();
    let inside =
        inside.map(|line| line.trim().trim_matches(['│', '┃', '|']).trim()).filter(|line| !line.is_empty());
    let message = inside.collect::<Vec<_>>().join(" ");
    (!message.is_empty()).then_some(message)
}

/// The line behind the last traceback's frames, which are indented.
fn traceback(lines: &[String]) -> Option<&String> {
    let start = lines.iter().rposition(|line| line.ends_with("Traceback (most recent call last):"))?;
    let indent = |line: &String| line.len() - line.trim_start().len();
    let outer = indent(&lines[start]);
    lines[start + 1..].iter().find(|line| indent(line) <= outer)
}

fn panic_message(lines: &[String]) -> Option<&String> {
    let start =
        lines.iter().rposition(|line| line.starts_with("thread '") && line.contains("panicked at"))?;
    lines.get(start + 1)
}

fn spoken(lines: &[String]) -> Option<&String> {
    lines.iter().rev().take(NEAR_END).find(|line| {
        let lower = line.to_lowercase();
        WORDS.iter().any(|word| lower.contains(word))
    })
}

/// The line without what differs between two attempts: a time at its beginning, addresses, scratch paths.
fn normalised(line: &str) -> String {
    let body = line.trim_start_matches(|c: char| c.is_ascii_digit() || "-:.,/[]TZ+ ".contains(c));
    let digits = line[..line.len() - body.len()].chars().filter(char::is_ascii_digit).count();
    let mut rest = if digits >= 8 && !body.is_empty() { body } else { line };
    let mut out = String::new();
    while let Some(c) = rest.chars().next() {
        if out.len() > MAX_ERROR * 4 {
            break;
        }
        let hex =
            rest.strip_prefix("0x").map(|tail| tail.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
        if let Some(tail) = hex.filter(|tail| rest.len() - tail.len() > 2) {
            out.push_str("0x…");
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("/tmp/") {
            out.push_str("/tmp/…");
            rest = tail.trim_start_matches(|c: char| !c.is_whitespace() && !"'\"`:,;)]}>".contains(c));
        } else {
            out.push(if c.is_control() { ' ' } else { c });
            rest = &rest[c.len_utf8()..];
        }
    }
    out.chars().take(MAX_ERROR).collect()
}

/// Whether CUDA itself says that a GPU's memory did not suffice; the kernel's counters do not know of that.
#[must_use]
pub fn cuda_oom(log: &str) -> bool {
    [
        "CUDA out of memory",
        "torch.OutOfMemoryError",
        "torch.cuda.OutOfMemoryError",
        "CUDA_ERROR_OUT_OF_MEMORY",
    ]
    .iter()
    .any(|sign| log.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_line_is_the_one_that_a_person_would_quote() {
        let cases = [
            ("", None),
            ("\n \r\n", None),
            ("starting\nboom\n\n", Some("boom")),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    x()\nKeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\"\n    y\nValueError: bad lr\nmore of the message\n",
                Some("ValueError: bad lr"),
            ),
            (
                "thread 'main' (7) panicked at src/main.rs:1:2:\nindex out of bounds\nnote: set RUST_BACKTRACE=1\n",
                Some("index out of bounds"),
            ),
            ("error: bad flag\nusage: x\n", Some("error: bad flag")),
            ("sh: 1: train.py: not found\n", Some("sh: 1: train.py: not found")),
            ("loss=0.4\n::metric loss=0.4\n", Some("loss=0.4")),
            ("\x1b[31mError: red\x1b[0m\n", Some("Error: red")),
            ("Error at 0x7ffe12ab in /tmp/slot-3/a.py: x", Some("Error at 0x… in /tmp/…: x")),
            ("2026-01-02 03:04:05,678 ERROR boom", Some("ERROR boom")),
            ("12 errors", Some("12 errors")),
            ("boom\n=====\n-----\n", Some("boom")),
            ("=====\n", None),
            (
                "Usage: t.py [OPTIONS]\n╭─ Error ────────╮\n│ Missing option │\n│ '--lr'.        │\n╰────────────────╯\n",
                Some("Missing option '--lr'."),
            ),
            (
                "╭─── Traceback (most recent call last) ───╮\n│ t.py:3 in <module>  │\n│ ❱ 3 raise error │\n╰─────────╯\nValueError: bad lr\n",
                Some("ValueError: bad lr"),
            ),
            ("╭─ Error ─╮\n╰─────────╯\n", Some("╭─ Error ─╮")),
        ];
        for (log, expected) in cases {
            assert_eq!(error_line(log).as_deref(), expected, "{log:?}");
        }
        assert_eq!(error_line(&"é".repeat(10_000)).map(|line| line.chars().count()), Some(MAX_ERROR));
    }

    #[test]
    fn cuda_says_out_of_memory_in_known_words() {
        assert!(cuda_oom("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"));
        assert!(cuda_oom("failed: CUDA_ERROR_OUT_OF_MEMORY: out of memory"));
        assert!(!cuda_oom("MemoryError: out of memory"));
    }
}
