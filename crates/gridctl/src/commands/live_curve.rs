//! The curves of a trial that runs, as far as its output says them.
//! Invariant: who looks does not wait for a trial that is silent.

use std::sync::Arc;
use std::time::Duration;

use gridctl_core::live::PIECE;
use gridctl_core::metrics::{Extractor, FileReader, Patterns, Stream};
use gridctl_core::record::{CurvePoint, TrialState};
use gridctl_core::view::TrialDetails;

use super::again;
use crate::source::DataSource;

/// Longest that is waited for what was printed.
const WITHIN: Duration = Duration::from_millis(1_500);

/// The curves so far; none where no master can be asked, or where the trial has printed none.
pub(super) fn of(source: &mut DataSource, details: &TrialDetails) -> Vec<CurvePoint> {
    if details.trial.state != TrialState::Leased || !source.is_live() {
        return Vec::new();
    }
    let Ok(frozen) = again::frozen(details, source) else { return Vec::new() };
    let Ok(patterns) = Patterns::new(&frozen.spec) else { return Vec::new() };
    let mut text = String::new();
    source.output_within(WITHIN, (&details.sweep, &details.trial.trial.to_string()), |event| {
        text.push_str(&event.text);
        // What is there comes in few large pieces; a small one is the last.
        !event.is_over && (event.text.is_empty() || event.text.len() >= PIECE / 2)
    });
    let patterns = Arc::new(patterns);
    let mut extractor = Extractor::new(Arc::clone(&patterns));
    extractor.feed(Stream::Stdout, text.as_bytes(), &|| 0);
    extractor.finish(FileReader::new(patterns)).curve
}
