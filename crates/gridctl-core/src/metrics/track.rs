//! The values of one metric that came by one way: the one that is reported, the latest, the curve.
//! Invariant: a last value that cannot be read is not passed over for an older one.

use super::curve::{Curve, Tally};
use super::near::shown;
use super::peers::Peers;
use crate::spec::Report;

/// What came of one metric by one way.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    pub(super) value: Option<f64>,
    pub(super) tally: Tally,
    pub(super) latest: Option<(Option<i64>, f64)>,
    pub(super) curve: Curve,
    /// The smallest and the largest value.
    pub(super) extremes: Option<[f64; 2]>,
    /// How many values there were.
    pub(super) seen: u64,
    /// Where the last one stood: the line's number, and the byte behind it.
    pub(super) line: u64,
    pub(super) end: u64,
    /// The last value, if it could not be read, and where it stands.
    pub(super) unreadable: Option<String>,
    pub(super) peers: Peers,
    /// The unit behind the first value that has one, and another that came: what is in several units
    /// cannot be compared.
    unit: Option<&'static str>,
    other_unit: Option<&'static str>,
}

impl Track {
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_none() && self.unreadable.is_none()
    }

    pub(super) fn push(&mut self, report: Report, place: Place, step: Option<i64>, value: f64) {
        self.peers.push(place.peer, self.latest.map(|(_, value)| value), value);
        self.fold(report, value);
        let [least, most] = self.extremes.unwrap_or([value; 2]);
        self.extremes = Some([least.min(value), most.max(value)]);
        self.latest = Some((step, value));
        self.seen = self.seen.saturating_add(1);
        (self.line, self.end) = (place.line, place.end);
        self.unit = self.unit.or(place.unit);
        self.other_unit = self.other_unit.or(place.unit.filter(|_| place.unit != self.unit));
        if let (Some(unit), Some(other)) = (self.unit, self.other_unit) {
            self.unreadable = Some(format!("values in {unit} and in {other}"));
        } else if report == Report::Last {
            self.unreadable = None;
        }
        if let Some(step) = step {
            self.curve.push(step, value);
        }
    }

    pub(super) fn push_unreadable(&mut self, place: Place, text: &str) {
        (self.line, self.end) = (place.line, place.end);
        self.unreadable = Some(shown(text));
    }

    fn fold(&mut self, report: Report, value: f64) {
        self.value = Some(match (report, self.value) {
            (Report::Min, Some(best)) => best.min(value),
            (Report::Max, Some(best)) => best.max(value),
            (Report::Mean, _) => {
                self.tally.push(value);
                self.tally.mean()
            }
            (Report::Last, _) | (_, None) => value,
        });
    }
}

/// Where a value stands in what was printed or written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The line's number.
    pub(super) line: u64,
    /// The byte behind it, counted in the metrics file.
    pub(super) end: u64,
    /// The number of the fold that it is of.
    pub(super) peer: Option<u64>,
    /// The unit behind it, if its kind has others.
    pub(super) unit: Option<&'static str>,
}
