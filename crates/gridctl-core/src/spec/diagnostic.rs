//! What is wrong with a sweep file, and where: data for whoever renders it.
//! Invariant: spans are byte offsets into the source that was parsed, on character boundaries and within it.

use std::fmt::Write as _;
use std::ops::Range;

use super::limits;

/// One mistake (or doubt), with the place it stands at and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable name, such as `sweep::unknown_key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, with the value.
    pub message: String,
    /// Where: bytes of the source.
    pub span: Option<Range<usize>>,
    /// What to write beside the place.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that belong to it, each with what to write beside it.
    pub related: Vec<(Range<usize>, String)>,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, but the author should know.
    Warning,
}

impl Diagnostic {
    /// An error without a place.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// A warning without a place.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// The same, at `span`.
    #[must_use]
    pub fn at(mut self, span: &Range<usize>) -> Self {
        self.span = Some(span.clone());
        self
    }

    /// The same, with what to write beside the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, with what to do about it if anything is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// The same, with another place.
    #[must_use]
    pub fn related(mut self, span: &Range<usize>, label: impl Into<String>) -> Self {
        self.related.push((span.clone(), label.into()));
        self
    }
}

/// The mistakes of a sweep file, in its order, [`limits::ERRORS`] at most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(.0))]
pub struct SpecErrors(pub Vec<Diagnostic>);

fn summary(errors: &[Diagnostic]) -> String {
    let first = errors.first().map_or("the sweep file is refused", |error| &error.message);
    match errors.len() {
        0 | 1 => first.to_owned(),
        more => format!("{first} (and {} more)", more - 1),
    }
}

/// Collects what is wrong while the file is checked.
pub(super) struct Checker<'s> {
    /// The text that is checked.
    pub(super) source: &'s str,
    errors: Vec<Diagnostic>,
    unshown: usize,
    warnings: Vec<Diagnostic>,
}

impl<'s> Checker<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, errors: Vec::new(), unshown: 0, warnings: Vec::new() }
    }

    /// Takes a diagnostic; of errors only so many are kept, so that a file of nothing but mistakes costs little.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        let (list, most) = match diagnostic.severity {
            Severity::Error => (&mut self.errors, limits::ERRORS),
            Severity::Warning => (&mut self.warnings, limits::ERRORS),
        };
        if list.len() < most {
            list.push(diagnostic);
        } else if diagnostic.severity == Severity::Error {
            self.unshown += 1;
        }
    }

    /// Adds help to the error just taken, unless it has some.
    pub(super) fn help_last(&mut self, help: String) {
        if self.unshown == 0
            && let Some(last) = self.errors.last_mut()
        {
            last.help.get_or_insert(help);
        }
    }

    /// Gives the error just taken other help.
    pub(super) fn replace_help(&mut self, help: String) {
        if self.unshown == 0
            && let Some(last) = self.errors.last_mut()
        {
            last.help = Some(help);
        }
    }

    /// Whether an error has been found.
    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The warnings, or the errors.
    pub(super) fn finish(mut self) -> Result<Vec<Diagnostic>, SpecErrors> {
        let place = |d: &Diagnostic| d.span.as_ref().map_or(usize::MAX, |span| span.start);
        self.errors.sort_by_key(place);
        self.warnings.sort_by_key(place);
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        if self.unshown > 0 {
            self.errors.truncate(limits::ERRORS - 1);
            let unshown = self.unshown + 1;
            self.errors
                .push(Diagnostic::error("sweep::more", format!("{unshown} more mistakes are not shown")));
        }
        Err(SpecErrors(self.errors))
    }
}

/// `text` as a message shows it: in backticks, cut short, with nothing that could move the cursor or hide.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut out = String::from("`");
    for (i, c) in text.chars().enumerate() {
        if i == MOST {
            out.push_str("...");
            break;
        }
        if is_hostile(c) {
            let _ = write!(out, "\\u{{{:04X}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.push('`');
    out
}

/// Characters that are not seen or that change how others are seen: controls, zero-width, direction overrides.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The one of `known` that `word` was probably meant to be.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1 + candidate.len().min(word.len()) / 4 && *distance < candidate.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean` for the nearest of `known`, and else the list of them, where it is short enough to be read.
pub(super) fn suggest<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<String> {
    const MOST: usize = 40;
    if let Some(near) = nearest(word, known.clone()) {
        return Some(format!("did you mean {}?", shown(near)));
    }
    list(known.take(MOST + 1))
        .filter(|(count, _)| *count <= MOST)
        .map(|(_, text)| format!("known here: {text}"))
}

/// The names, each in backticks, with commas; `None` for none.
pub(super) fn list<'k>(names: impl Iterator<Item = &'k str>) -> Option<(usize, String)> {
    let shown: Vec<String> = names.map(shown).collect();
    (!shown.is_empty()).then(|| (shown.len(), shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_text_hides_nothing_and_is_short() {
        assert_eq!(shown("a\u{202e}b\u{0}"), "`a\\u{202E}b\\u{0000}`");
        assert!(shown(&"x".repeat(10_000)).len() < 80);
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["parameters", "metric", "metrics", "zip"];
        assert_eq!(nearest("paramters", known), Some("parameters"));
        assert_eq!(nearest("Metric", known), Some("metric"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("a", known), None);
    }

    #[test]
    fn of_many_errors_twenty_are_shown_with_the_count_of_the_rest() {
        let mut check = Checker::new("");
        (0..100).for_each(|i| check.push(Diagnostic::error("sweep::x", "x").at(&(i..i + 1))));
        let SpecErrors(errors) = check.finish().unwrap_err();
        assert_eq!(errors.len(), limits::ERRORS);
        assert_eq!(errors[19].message, "81 more mistakes are not shown");
    }
}
