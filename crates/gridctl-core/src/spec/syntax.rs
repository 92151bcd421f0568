//! What the YAML parser refuses, in our words where a beginner is likely to meet it.
//! Invariant: whatever the parser says, the place is within the text and the message is one line.

use std::ops::Range;

use serde_saphyr::Error;

use super::diagnostic::{Diagnostic, shown};
use super::limits;
use super::yaml::bytes;

/// A refusal of the parser's, in our words where a beginner is likely to meet it.
pub(super) fn refused(error: &Error, text: &str) -> Diagnostic {
    let at = error.location().map(|location| place(location, text)).map(|mut span| {
        span.end = span.end.max(span.start + 1).min(text.len());
        span.start = text.floor_char_boundary(span.start.min(text.len()));
        span.end = text.ceil_char_boundary(span.end.max(span.start));
        span
    });
    let diagnostic = explain(error, text, at.as_ref());
    match &at {
        Some(span) if diagnostic.span.is_none() => diagnostic.at(span),
        _ => diagnostic,
    }
}

/// Where a refusal lies: in bytes where the parser knows them, else by line and column.
fn place(location: serde_saphyr::Location, text: &str) -> Range<usize> {
    if location.span().byte_offset().is_some() {
        return bytes(location);
    }
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).saturating_sub(1);
    let line = text.split_inclusive('\n').take(number(location.line())).map(str::len).sum::<usize>();
    let column = text[line..].chars().take(number(location.column())).map(char::len_utf8).sum::<usize>();
    let start = (line + column).min(text.trim_end().len());
    start..start
}

fn explain(error: &Error, text: &str, at: Option<&Range<usize>>) -> Diagnostic {
    let bounded = |what: String| {
        Diagnostic::error("sweep::too_complex", what)
            .help("a sweep file is small: name axes and their values")
    };
    match error {
        Error::AliasError { error, .. } => explain(error, text, at),
        Error::Budget { breach, .. } => bounded(budget(breach)),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            bounded("aliases expand to more than is read".to_owned())
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            Diagnostic::error("sweep::alias_cycle", "an alias stands within what it stands for")
                .help("write the value out")
        }
        Error::UnknownAnchor { .. } => {
            Diagnostic::error("sweep::unknown_anchor", "no anchor of this name stands before")
                .help("text that begins with `*` must be quoted")
        }
        Error::MultipleDocuments { .. } => {
            Diagnostic::error("sweep::many_documents", "a second document begins here: one file is one sweep")
                .help("put each sweep into a file of its own")
        }
        Error::NullIntoString { .. } => {
            Diagnostic::error("sweep::key", "a key is text, not null").help("quote the key")
        }
        Error::Unexpected { expected: "string scalar", .. } => {
            Diagnostic::error("sweep::key", "a key is text, not a list or map")
                .help("text that begins with `{` or `[` must be quoted")
        }
        _ => match words(error) {
            words if words.contains("recursion limit") => {
                bounded(format!("nested deeper than {} levels", limits::DEPTH))
            }
            words => syntax(&words, text, at),
        },
    }
}

fn budget(breach: &serde_saphyr::budget::BudgetBreach) -> String {
    use serde_saphyr::budget::BudgetBreach as B;
    match breach {
        B::Depth { .. } => format!("nested deeper than {} levels", limits::DEPTH),
        B::Nodes { .. } | B::Events { .. } => format!("more than {} values", limits::VALUES),
        B::Anchors { .. } => format!("more than {} anchors", limits::ANCHORS),
        B::Aliases { .. } => format!("more than {} aliases", limits::ANCHORS),
        _ => "aliases expand to more than is read".to_owned(),
    }
}

/// The parser's message without the place, which is shown anyway.
fn words(error: &Error) -> String {
    let text = match error {
        Error::Message { msg, .. } | Error::ExternalMessage { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    let text = text.split(" at line ").next().unwrap_or(&text);
    text.trim().trim_end_matches(['.', ',']).to_owned()
}

/// A syntax error; first of all the one that everybody makes: `[python, train.py, ${args}]`.
fn syntax(words: &str, text: &str, at: Option<&Range<usize>>) -> Diagnostic {
    let Some(at) = at else { return Diagnostic::error("sweep::syntax", format!("not YAML: {words}")) };
    if let Some(span) = bare_macro(text, at.start) {
        let name = &text[span.clone()];
        return Diagnostic::error(
            "sweep::unquoted_macro",
            format!("{} must be quoted in a list or map", shown(name)),
        )
        .at(&span)
        .label("`{` begins a map here")
        .help(format!("quote it: \"{name}\""));
    }
    let line_start = text[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
    let base = Diagnostic::error("sweep::syntax", format!("not YAML: {words}"));
    if indent.contains('\t') {
        let tab = line_start + indent.find('\t').unwrap_or(0);
        return Diagnostic::error("sweep::tab", "a tab indents this line: YAML takes spaces only")
            .at(&(tab..tab + 1))
            .help("replace the tab by spaces");
    }
    match line.trim_start().chars().next() {
        Some('%' | '@' | '`') => base.help("text that begins with this character must be quoted"),
        _ if words.contains("tag") => {
            base.help("tags (`!name`) are not used in sweep files: write the value itself, or quote it")
        }
        _ if words.contains("mapping values") => base.help("text with `: ` in it must be quoted"),
        _ => base,
    }
}

/// The unquoted `${...}` nearest before (or at) `at`, in what stands on its line and the one before.
fn bare_macro(text: &str, at: usize) -> Option<Range<usize>> {
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let from = text[..line_start.saturating_sub(1)].rfind('\n').map_or(0, |newline| newline + 1);
    let to = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    let window = &text[from..to];
    let mut quote = None;
    let mut flow = 0_usize;
    let mut found = None;
    for (i, c) in window.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => flow += 1,
            (None, ']') => flow = flow.saturating_sub(1),
            (None, '\n') => quote = None,
            (None, '$') if window[i..].starts_with("${") && from + i <= at + 1 => {
                let end = window[i..].find('}').map_or(i + 2, |close| i + close + 1);
                found = Some(from + i..from + end);
            }
            _ => {}
        }
    }
    found.filter(|span| flow > 0 || text[..span.start].contains('['))
}
