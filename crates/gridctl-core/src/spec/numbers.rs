//! Reading numbers, with what to write instead where the file has something that only looks like one.
//! Invariant: no NaN, no infinity, no whole number beyond 64 bits, and nothing that became zero on the way.

use std::ops::RangeInclusive;

use super::diagnostic::{Checker, Diagnostic, shown};
use super::yaml::{Kind, Tree};

impl Checker<'_> {
    /// A whole number within `range`.
    pub(super) fn whole(&mut self, what: &str, tree: &Tree, range: RangeInclusive<i64>) -> Option<i64> {
        let (low, high) = (*range.start(), *range.end());
        let beyond = match tree.kind {
            Kind::Int(value) if range.contains(&value) => return Some(value),
            Kind::Int(_) | Kind::Huge => true,
            _ => false,
        };
        if beyond {
            let got = shown(self.raw(tree));
            let bounds =
                if high == i64::MAX { format!("at least {low}") } else { format!("from {low} to {high}") };
            self.push(
                Diagnostic::error("sweep::out_of_range", format!("{what} is {got}: it must be {bounds}"))
                    .at(&tree.span),
            );
        } else {
            self.wrong(what, tree, "a whole number");
            self.number_help(tree);
        }
        None
    }

    /// A finite number.
    pub(super) fn number(&mut self, what: &str, tree: &Tree) -> Option<f64> {
        match tree.kind {
            #[expect(clippy::cast_precision_loss, reason = "parameters are compared in f64")]
            Kind::Int(value) => Some(value as f64),
            Kind::Float(_) => self.float(what, tree),
            Kind::Huge => {
                self.huge(what, tree);
                None
            }
            _ => {
                self.wrong(what, tree, "a number");
                self.number_help(tree);
                None
            }
        }
    }

    /// What to write instead of a text that looks like a number, added to the error just made.
    fn number_help(&mut self, tree: &Tree) {
        let Kind::Str(text) = &tree.kind else { return };
        let bare: String = text.chars().filter(|c| *c != '_').collect();
        let (radix, digits) = match bare.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => (16, &bare[2..]),
            Some("0o") => (8, &bare[2..]),
            Some("0b") => (2, &bare[2..]),
            _ => (10, bare.as_str()),
        };
        let meant = i64::from_str_radix(digits, radix)
            .map(|value| value.to_string())
            .or_else(|_| digits.parse::<f64>().map(|value| format!("{value:?}")));
        if let Ok(meant) = meant {
            let quoted = self.raw(tree).starts_with(['"', '\'']);
            let why = if quoted { "in quotes it is text" } else { "only plain decimal numbers are numbers" };
            self.help_last(format!("{why}: write `{meant}`"));
        }
    }

    pub(super) fn float(&mut self, what: &str, tree: &Tree) -> Option<f64> {
        let Kind::Float(value) = tree.kind else { return None };
        let raw = self.raw(tree);
        let mantissa = raw.split(['e', 'E']).next().unwrap_or(raw);
        let problem = if value.is_nan() {
            "is not a number: NaN cannot be a parameter"
        } else if raw.contains("inf") || raw.contains("Inf") || raw.contains("INF") {
            "is infinite: parameters are finite numbers"
        } else if value.is_infinite() {
            "is too large for a number (at most about 1.8e308)"
        } else if value == 0.0 && mantissa.contains(|c: char| c.is_ascii_digit() && c != '0') {
            "is too small for a number: it would become 0"
        } else {
            // Negative zero equals zero everywhere else, so it is written as zero too.
            return Some(value + 0.0);
        };
        let message = format!("{what}: {} {problem}", shown(raw));
        self.push(
            Diagnostic::error("sweep::number", message).at(&tree.span).help("quote it if text is meant"),
        );
        None
    }

    pub(super) fn huge(&mut self, what: &str, tree: &Tree) {
        let message = format!(
            "{what}: {} is too large for a whole number (from -9223372036854775808 to 9223372036854775807)",
            shown(self.raw(tree))
        );
        self.push(Diagnostic::error("sweep::number", message).at(&tree.span).help(
            "quote it if text is meant, or write it with an exponent if an approximate number will do",
        ));
    }
}
