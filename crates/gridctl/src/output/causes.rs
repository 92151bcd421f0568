//! Failures by their causes: errors that differ in numbers and paths alone are one.
//! Invariant: what comes out is fit to be shown.

use std::collections::HashMap;

use gridctl_core::trials::TrialLine;

use super::sanitise;

/// Columns of a cause.
const LONGEST: usize = 200;

/// Trials that failed alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// What they have in common.
    pub(crate) text: String,
    /// How many.
    pub(crate) trials: u64,
    /// The first of them.
    pub(crate) first: String,
}

/// The causes of these trials' ends, the most frequent first.
pub(crate) fn of<'a>(trials: impl IntoIterator<Item = &'a TrialLine>) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    let mut known = HashMap::new();
    for trial in trials {
        let class = trial.class.map_or_else(|| "failed".to_owned(), |class| class.to_string());
        let text = match &trial.error {
            Some(error) => format!("{class}: {}", masked(error)),
            None => class,
        };
        let at = *known.entry(text.clone()).or_insert(causes.len());
        match causes.get_mut(at) {
            Some(cause) => cause.trials += 1,
            None => causes.push(Cause {
                text: sanitise::short(&text, LONGEST),
                trials: 1,
                first: trial.trial.short(),
            }),
        }
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.trials));
    causes
}

/// An error with `#` for its numbers and `PATH` for its paths.
fn masked(error: &str) -> String {
    let words = error.split(' ').map(|word| {
        let bare = word.trim_matches(|c: char| "'\"`()[]{},:;".contains(c));
        let is_path = (bare.starts_with(['/', '~']) && bare.len() > 1 && bare[1..].contains('/'))
            || bare.contains(":\\")
            || bare.matches('/').count() > 1;
        if is_path { word.replace(bare, "PATH") } else { numbers_masked(word) }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn numbers_masked(word: &str) -> String {
    let (mut out, mut in_number) = (String::new(), false);
    let mut before = ' ';
    let is_hex = word.contains("0x");
    for c in word.chars() {
        // `4.1` and `0x7f3a` are one number; the digit of `conv2d` is a part of a name.
        let goes_on = in_number && (c == '.' || (is_hex && (c.is_ascii_hexdigit() || c == 'x')));
        let is_digit = c.is_ascii_digit() && (in_number || !before.is_ascii_alphabetic());
        if is_digit || goes_on {
            if !in_number {
                out.push('#');
            }
            in_number = true;
        } else {
            in_number = false;
            out.push(c);
        }
        before = c;
    }
    // A full stop at the end is no part of a number.
    if in_number && word.ends_with('.') { out + "." } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_numbers_and_paths_are_one() {
        for (one, other) in [
            ("CUDA out of memory. Tried 1.5 GiB at 0x7f3a2b", "CUDA out of memory. Tried 20 GiB at 0x11c"),
            ("No such file: '/data/a/1.csv'", "No such file: '/tmp/b.csv'"),
            ("shape (3,64) and (3,128)", "shape (12,64) and (9,1)"),
        ] {
            assert_eq!(masked(one), masked(other));
        }
        assert_eq!(masked("conv2d failed: 3/4 of x"), "conv2d failed: #/# of x");
        assert_ne!(masked("KeyError: 'lr'"), masked("KeyError: 'width'"));
    }
}
