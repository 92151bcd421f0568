//! Renders mistakes and warnings as rustc does: code, `file:line:col`, snippet, help.
//! Invariant: whatever stands in the file or in a message, what is printed does not move the cursor.

use std::io::Write as _;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use gridctl_core::spec::{Diagnostic, Severity};

use crate::exit::{Failure, SourceText};
use crate::output::{self, sanitise};

/// Widest that a diagnostic is made, where the terminal allows it.
const WIDEST: usize = 140;

/// Prints what a failure has to say.
pub(crate) fn failure(failure: &Failure) {
    for problem in &failure.problems {
        print(problem, failure.source.as_deref());
    }
}

/// Prints one diagnostic on stderr.
pub(crate) fn print(problem: &Diagnostic, source: Option<&SourceText>) {
    let width = output::terminal_width(std::io::stderr()).unwrap_or(WIDEST).clamp(40, WIDEST);
    let text = render(problem, source, width);
    // Nobody is left to be told if stderr is gone.
    let _ = writeln!(anstream::stderr(), "{text}\n");
}

/// The diagnostic as styled text; `anstream` strips the styles where they are not wanted.
pub(crate) fn render(problem: &Diagnostic, source: Option<&SourceText>, width: usize) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (title, details) = problem.message.split_once('\n').unwrap_or((&problem.message, ""));
    let title = sanitise::line(title).into_owned();
    let mut group = Group::with_title(level.primary_title(title).id(problem.code));
    if let Some(source) = source {
        let text = same_length(&source.text);
        let inside = |span: &std::ops::Range<usize>| text.get(span.clone()).is_some();
        let primary = problem.span.iter().filter(|span| inside(span)).map(|span| {
            let label = problem.label.as_ref().map(|label| sanitise::line(label).into_owned());
            AnnotationKind::Primary.span(span.clone()).label(label)
        });
        let related = problem.related.iter().filter(|(span, _)| inside(span)).map(|(span, label)| {
            AnnotationKind::Context.span(span.clone()).label(sanitise::line(label).into_owned())
        });
        let annotations: Vec<_> = primary.chain(related).collect();
        if annotations.is_empty() {
            group = group.element(annotate_snippets::Origin::path(sanitise::line(&source.name).into_owned()));
        } else {
            let snippet = Snippet::source(text.clone())
                .path(sanitise::line(&source.name).into_owned())
                .annotations(annotations);
            group = group.element(snippet);
        }
    }
    if !details.is_empty() {
        group = group.element(Level::NOTE.message(sanitise::lines(details).into_owned()));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(sanitise::lines(help).into_owned()));
    }
    Renderer::styled().decor_style(DecorStyle::Ascii).term_width(width).render(&[group])
}

/// `text` with what the renderer would pass on to the terminal replaced, byte for byte, so that places stay where they are.
fn same_length(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c1_or_hidden = sanitise::is_hostile(c) && !c.is_ascii();
        if c1_or_hidden {
            (0..c.len_utf8()).for_each(|_| out.push('?'));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(problem: &Diagnostic, text: &str) -> String {
        let source = SourceText { name: "sweep.yaml".to_owned(), text: text.to_owned() };
        anstream::adapter::strip_str(&render(problem, Some(&source), 100)).to_string()
    }

    #[test]
    fn a_mistake_is_shown_with_its_place_and_help() {
        let problem = Diagnostic::error("sweep::unknown_key", "unknown key `paramters`")
            .at(&(8..17))
            .label("no key of a sweep file")
            .help("did you mean `parameters`?");
        assert_eq!(
            plain(&problem, "name: x\nparamters: {}\n"),
            "error[sweep::unknown_key]: unknown key `paramters`\n \
             --> sweep.yaml:2:1\n  |\n2 | paramters: {}\n  | ^^^^^^^^^ no key of a sweep file\n  |\n  \
             = help: did you mean `parameters`?"
        );
    }

    #[test]
    fn c04_nothing_in_the_file_reaches_the_terminal_raw() {
        let text = "name: \"\u{1b}[2J\u{9b}2J\u{202e}\u{200b}x\u{7}\"\n";
        let problem = Diagnostic::error("sweep::name", "bad \u{1b}]0;title\u{7} name").at(&(6..12));
        let shown = plain(&problem, text);
        assert!(!shown.chars().any(|c| c != '\n' && sanitise::is_hostile(c)), "{shown:?}");
    }

    #[test]
    fn a_span_outside_of_the_text_costs_only_the_snippet() {
        let problem = Diagnostic::error("x", "y").at(&(100..200));
        assert!(plain(&problem, "short").contains("--> sweep.yaml"));
    }
}
