//! Keys of W&B's sweep files that have no effect here, and keys that only hold anchors.
//! Invariant: none of them is an error, and each of W&B's is named in a warning.

use super::check::KEYS;
use super::diagnostic::{Checker, Diagnostic, shown};
use super::yaml::{Key, Kind, Tree};

/// Keys of W&B's schema, of its launch queues and of its runs.
const OF_A_SWEEP: &[&str] = &[
    "apiVersion",
    "controller",
    "display_name",
    "group",
    "image_uri",
    "imageuri",
    "job",
    "job_type",
    "kind",
    "launch",
    "notes",
    "queue",
    "save_code",
    "scheduler",
    "settings",
    "tags",
];
/// Keys of a metric of W&B's: what a failed run counts as in a Bayesian search.
const OF_A_METRIC: &[&str] = &["impute", "impute_while_running"];

/// Takes the keys without effect out of the file.
pub(super) fn take_foreign(check: &mut Checker<'_>, root: &mut Tree) {
    let Kind::Map(entries) = &mut root.kind else { return };
    let source = check.source;
    entries.retain(|(key, value)| !holds_an_anchor(source, key, value));
    if let Some((_, metric)) = entries.iter_mut().find(|(key, _)| key.text == "metric") {
        take(check, metric, OF_A_METRIC);
    }
    take(check, root, OF_A_SWEEP);
}

/// Whether a key is there for its anchor: one of no meaning with an anchored value, or by its name.
fn holds_an_anchor(source: &str, key: &Key, value: &Tree) -> bool {
    let named = key.text.starts_with("x-") || key.text.starts_with(['_', '.']);
    let between = source.get(key.span.end..value.span.start).unwrap_or_default();
    let anchored = between.trim_start_matches([':', '"', '\'', ' ']).starts_with('&');
    named || (anchored && !KEYS.contains(&key.text.as_str()))
}

fn take(check: &mut Checker<'_>, tree: &mut Tree, keys: &[&str]) {
    let Kind::Map(entries) = &mut tree.kind else { return };
    for (key, _) in entries.extract_if(.., |(key, _)| keys.contains(&key.text.as_str())) {
        let message = format!("{} is a key of W&B's that has no effect here", shown(&key.text));
        check.push(Diagnostic::warning("sweep::no_effect", message).at(&key.span));
    }
}
