//! The values of one metric over an attempt: the one that counts, the latest, and a curve of bounded length.
//! Invariant: a curve holds at most [`MAX_POINTS`] points, its first and its last one among them, in the order in which they came.

use std::sync::Arc;

use super::Seen;
use super::near::shown;
use crate::record::{Channel, Doubt, MetricValue};
use crate::spec::Report;

/// The most points of one curve.
pub(super) const MAX_POINTS: usize = 1_000;

/// Every so many-th point that came, and the last one.
#[derive(Debug, Clone, Default)]
struct Curve {
    points: Vec<(i64, f64)>,
    last: Option<(i64, f64)>,
    count: u64,
    /// Points are kept whose number is a multiple of 2 to this power.
    halvings: u32,
}

impl Curve {
    fn push(&mut self, step: i64, value: f64) {
        if self.count.trailing_zeros() >= self.halvings {
            if self.points.len() == MAX_POINTS - 1 {
                halve(&mut self.points);
                self.halvings += 1;
            }
            if self.count.trailing_zeros() >= self.halvings {
                self.points.push((step, value));
            }
        }
        self.last = Some((step, value));
        self.count += 1;
    }

    /// The points, at most `limit` of them (at least 2).
    fn thinned(mut self, limit: usize) -> Vec<(i64, f64)> {
        while self.points.len() >= limit.max(2) {
            halve(&mut self.points);
            self.halvings += 1;
        }
        let last_is_kept = (self.count.wrapping_sub(1)).trailing_zeros() >= self.halvings;
        self.points.extend(self.last.filter(|_| !last_is_kept));
        self.points
    }
}

/// Keeps every second point, the first one included.
fn halve(points: &mut Vec<(i64, f64)>) {
    let mut place = 0;
    points.retain(|_| {
        place += 1;
        place % 2 == 1
    });
}

/// What the mean of values and their spread are computed from, value by value.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: f64,
    /// Summed in order of arrival.
    sum: f64,
    /// The mean so far, as the squares need it.
    centre: f64,
    /// The sum of the squares of what each value is away from the mean.
    squares: f64,
}

impl Tally {
    fn push(&mut self, value: f64) {
        self.join(Self { count: 1.0, sum: value, centre: value, squares: 0.0 });
    }

    /// Takes in what came later.
    fn join(&mut self, later: Self) {
        if later.count == 0.0 {
            return;
        }
        let count = self.count + later.count;
        let apart = later.centre - self.centre;
        self.squares += later.squares + apart * apart * self.count * later.count / count;
        self.centre += apart * later.count / count;
        self.sum += later.sum;
        self.count = count;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// The sample standard deviation, of two values or more.
    fn spread(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.squares / (self.count - 1.0)).sqrt())
    }
}

/// What came of one metric by one way.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    value: Option<f64>,
    tally: Tally,
    latest: Option<(Option<i64>, f64)>,
    curve: Curve,
    /// How many values there were.
    pub(super) seen: u64,
    /// Where the last one stood: the line's number, and the byte behind it.
    pub(super) line: u64,
    pub(super) end: u64,
    /// The last value, if it could not be read, and where it stands.
    unreadable: Option<String>,
}

impl Track {
    fn is_empty(&self) -> bool {
        self.value.is_none() && self.unreadable.is_none()
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
}

/// One metric of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: Arc<str>,
    report: Report,
    tracks: [Track; Channel::ALL.len()],
}

impl Series {
    pub(super) fn new(name: Arc<str>, report: Report) -> Self {
        Self { name, report, tracks: Default::default() }
    }

    /// Takes a value in. NaN is neither smallest nor largest beside any other value.
    pub(super) fn push(&mut self, channel: Channel, place: Place, step: Option<i64>, value: f64) {
        let track = &mut self.tracks[channel as usize];
        track.fold(self.report, value);
        track.latest = Some((step, value));
        track.seen = track.seen.saturating_add(1);
        (track.line, track.end) = (place.line, place.end);
        if self.report == Report::Last {
            track.unreadable = None;
        }
        if let Some(step) = step {
            track.curve.push(step, value);
        }
    }

    /// Takes in that there was a value which cannot be read.
    pub(super) fn push_unreadable(&mut self, channel: Channel, place: Place, text: &str) {
        let track = &mut self.tracks[channel as usize];
        (track.line, track.end) = (place.line, place.end);
        track.unreadable = Some(shown(text));
    }

    /// Takes in what was read of the file.
    pub(super) fn join(&mut self, mut file: Self) {
        let place = Channel::File as usize;
        self.tracks[place] = std::mem::take(&mut file.tracks[place]);
    }

    /// The way whose values count: those given explicitly, in order of arrival, before text on
    /// stdout, and that before text on stderr.
    pub(super) fn channel(&self) -> Option<Channel> {
        let is_there = |channel: &Channel| !self.tracks[*channel as usize].is_empty();
        let [file, protocol] =
            [Channel::File, Channel::Protocol].map(|channel| &self.tracks[channel as usize]);
        if !file.is_empty() && (protocol.is_empty() || file.end > protocol.end) {
            return Some(Channel::File);
        }
        [Channel::Protocol, Channel::Stdout, Channel::Stderr].into_iter().find(is_there)
    }

    /// What came by a way.
    pub(super) fn track(&self, channel: Channel) -> &Track {
        &self.tracks[channel as usize]
    }

    /// The ways whose values count: one; but of all explicit ones the smallest, the largest and the
    /// mean are made, the way first that ended first.
    fn counted(&self) -> impl Iterator<Item = Channel> {
        let last = self.channel();
        let earlier = match last {
            Some(Channel::File) => Some(Channel::Protocol),
            Some(Channel::Protocol) => Some(Channel::File),
            _ => None,
        };
        let is_made_of_all = self.report != Report::Last;
        earlier.filter(|_| is_made_of_all).into_iter().chain(last)
    }

    /// The value that counts; none, if one that counts could not be read.
    pub(super) fn value(&self) -> Option<f64> {
        if self.unreadable().is_some() {
            return None;
        }
        let mut values = self.counted().filter_map(|channel| self.by(channel));
        match self.report {
            Report::Last => values.last(),
            Report::Min => values.reduce(f64::min),
            Report::Max => values.reduce(f64::max),
            Report::Mean => values.next().map(|_| self.tally().mean()),
        }
    }

    /// The spread of what the mean was made of; none of fewer than two values.
    pub(super) fn spread(&self) -> Option<f64> {
        self.value().and_then(|_| self.tally().spread())
    }

    fn tally(&self) -> Tally {
        let mut all = Tally::default();
        self.counted().for_each(|channel| all.join(self.track(channel).tally));
        all
    }

    /// The value that counts of what came by a way.
    pub(super) fn by(&self, channel: Channel) -> Option<f64> {
        self.track(channel).value
    }

    /// The last value, if it could not be read; of several that count, any.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.counted().filter_map(|channel| self.track(channel).unreadable.as_deref()).last()
    }

    /// Whether any value was seen of it.
    pub(super) fn has_value(&self) -> bool {
        self.tracks.iter().any(|track| track.value.is_some())
    }

    /// What came by other ways and ended with another number.
    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let (Some(taken), Some(value)) = (self.channel(), self.value()) else { return Vec::new() };
        let others = Channel::ALL.into_iter().filter_map(|other| Some((other, self.by(other)?)));
        others
            .filter(|(other, by)| {
                !self.counted().any(|counted| counted == *other) && MetricValue(*by) != MetricValue(value)
            })
            .map(|(other, by)| Doubt::Differs {
                metric: self.name.to_string(),
                taken,
                value: MetricValue(value),
                other,
                other_value: MetricValue(by),
            })
            .collect()
    }

    /// How often it was seen, and where.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let there = Channel::ALL.into_iter().filter(|channel| !self.track(*channel).is_empty());
        there
            .map(|channel| {
                let track = self.track(channel);
                Seen {
                    name: self.name.to_string(),
                    channel,
                    count: track.seen,
                    line: track.line,
                    unreadable: track.unreadable.clone(),
                    taken: self.channel() == Some(channel),
                }
            })
            .collect()
    }

    /// The latest value with its step; without a step, how many values there were.
    pub(super) fn latest(&self) -> Option<(i64, f64)> {
        let track = self.track(self.channel()?);
        let seen = i64::try_from(track.seen).unwrap_or(i64::MAX);
        track.latest.map(|(step, value)| (step.unwrap_or(seen), value))
    }

    /// Whether any value that counts came with a step.
    pub(super) fn has_curve(&self) -> bool {
        self.channel().is_some_and(|channel| self.track(channel).curve.count > 0)
    }

    /// The curve, at most `limit` points of it.
    pub(super) fn into_curve(mut self, limit: usize) -> Vec<(i64, f64)> {
        let Some(channel) = self.channel() else { return Vec::new() };
        let mut curves = [Channel::File, Channel::Protocol]
            .map(|channel| std::mem::take(&mut self.tracks[channel as usize].curve));
        if channel == Channel::File {
            curves.reverse();
        }
        let all = match channel {
            Channel::File | Channel::Protocol => {
                let [mut earlier, later] = curves;
                if later.count > 0 && earlier.count > 0 {
                    later.thinned(MAX_POINTS).into_iter().for_each(|(step, value)| earlier.push(step, value));
                    earlier
                } else if later.count > 0 {
                    later
                } else {
                    earlier
                }
            }
            text => std::mem::take(&mut self.tracks[text as usize].curve),
        };
        if all.count == 0 { Vec::new() } else { all.thinned(limit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stays_bounded_evenly_spaced_and_keeps_its_ends() {
        for (count, limit) in [
            (1_i64, 1_000),
            (2, 1_000),
            (999, 1_000),
            (1_000, 1_000),
            (1_001, 1_000),
            (123_457, 1_000),
            (5_000, 10),
            (3, 2),
        ] {
            let mut curve = Curve::default();
            (0..count).for_each(|step| curve.push(step, 0.5));
            let steps: Vec<i64> = curve.thinned(limit).into_iter().map(|(step, _)| step).collect();
            assert!(steps.len() <= limit, "{count}: {}", steps.len());
            assert!(
                i64::try_from(steps.len()).unwrap() >= count.min(i64::try_from(limit).unwrap() / 2),
                "{count}"
            );
            assert_eq!((steps.first(), steps.last()), (Some(&0), Some(&(count - 1))), "{count}");
            let gaps: Vec<i64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let body = gaps.split_last().map_or(&[][..], |(_, body)| body);
            assert!(body.windows(2).all(|pair| pair[0] == pair[1]), "{count}: {gaps:?}");
        }
    }

    #[test]
    fn the_value_that_counts_is_the_last_the_smallest_or_the_largest_and_never_nan_beside_others() {
        let nan = f64::NAN;
        let cases: [(Report, &[f64], f64); 9] = [
            (Report::Mean, &[0.1, 0.7, 0.1, 0.2], (0.1 + 0.7 + 0.1 + 0.2) / 4.0),
            (Report::Mean, &[0.5], 0.5),
            (Report::Mean, &[0.5, nan, 0.5], nan),
            (Report::Last, &[0.5, 0.9, 0.7], 0.7),
            (Report::Min, &[0.5, 0.2, 0.7], 0.2),
            (Report::Max, &[0.5, 0.9, 0.7], 0.9),
            (Report::Min, &[nan, 0.5, nan], 0.5),
            (Report::Max, &[nan, nan], nan),
            (Report::Last, &[0.5, nan], nan),
        ];
        for (report, values, expected) in cases {
            let mut series = Series::new("x".into(), report);
            values.iter().for_each(|value| series.push(Channel::Stdout, Place::default(), None, *value));
            let value = series.value().unwrap();
            assert!(
                value == expected || value.is_nan() && expected.is_nan(),
                "{report:?} {values:?}: {value}"
            );
        }
    }

    #[test]
    fn a_mean_is_of_all_explicit_values_with_their_spread_and_of_none_where_one_cannot_be_read() {
        let at = |end| Place { line: 1, end };
        let mut series = Series::new("x".into(), Report::Mean);
        series.push(Channel::Stdout, at(0), None, 9.0);
        for (channel, end, value) in [(Channel::File, 10, 1.0), (Channel::Protocol, 20, 2.0)] {
            series.push(channel, at(end), None, value);
        }
        series.push(Channel::Protocol, at(20), None, 6.0);
        assert_eq!((series.value(), series.spread()), (Some(3.0), Some(7.0_f64.sqrt())));
        let others: Vec<Channel> = series
            .doubts()
            .into_iter()
            .map(|doubt| match doubt {
                Doubt::Differs { other, .. } => other,
                Doubt::Cut { .. } | Doubt::Unread { .. } => unreachable!(),
            })
            .collect();
        assert_eq!(others, [Channel::Stdout], "what the mean is made of does not differ from it");
        series.push_unreadable(Channel::File, at(30), "1,2");
        series.push(Channel::Protocol, at(40), None, 6.0);
        assert_eq!((series.value(), series.unreadable()), (None, Some("1,2")));
    }

    #[test]
    fn the_spread_is_the_sample_standard_deviation_and_none_of_one_value() {
        let spread = |values: &[f64]| {
            let mut tally = Tally::default();
            values.iter().for_each(|value| tally.push(*value));
            tally.spread()
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[0.5]), None);
        assert_eq!(spread(&[0.5, 0.5]), Some(0.0));
        assert_eq!(spread(&[1.0, 2.0, 3.0, 4.0]), Some((5.0_f64 / 3.0).sqrt()));
        let far = spread(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]).unwrap();
        assert!((far - 1.0).abs() < 1e-9, "{far}");
    }
}
