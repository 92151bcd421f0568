//! The values of one metric over an attempt: the one that counts, the latest, and a curve of bounded length.
//! Invariant: a curve holds at most [`MAX_POINTS`] points, its first and its last one among them, in the order in which they came.

use std::sync::Arc;

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

/// One metric of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: Arc<str>,
    report: Report,
    value: Option<f64>,
    latest: Option<(Option<i64>, f64)>,
    seen: i64,
    curve: Curve,
}

impl Series {
    pub(super) fn new(name: Arc<str>, report: Report) -> Self {
        Self { name, report, value: None, latest: None, seen: 0, curve: Curve::default() }
    }

    /// Takes a value in. NaN is neither smallest nor largest beside any other value.
    pub(super) fn push(&mut self, step: Option<i64>, value: f64) {
        self.fold(value);
        self.latest = Some((step, value));
        self.seen = self.seen.saturating_add(1);
        if let Some(step) = step {
            self.curve.push(step, value);
        }
    }

    fn fold(&mut self, value: f64) {
        self.value = Some(match (self.report, self.value) {
            (Report::Min, Some(best)) => best.min(value),
            (Report::Max, Some(best)) => best.max(value),
            (Report::Last, _) | (_, None) => value,
        });
    }

    /// Takes in what came after it.
    pub(super) fn join(&mut self, later: Self) {
        if let Some(value) = later.value {
            self.fold(value);
        }
        self.latest = later.latest.or(self.latest);
        self.seen = self.seen.saturating_add(later.seen);
        if later.curve.count > 0 {
            for (step, value) in later.curve.thinned(MAX_POINTS) {
                self.curve.push(step, value);
            }
        }
    }

    /// The value that counts.
    pub(super) fn value(&self) -> Option<f64> {
        self.value
    }

    /// The latest value with its step; without a step, how many values there were.
    pub(super) fn latest(&self) -> Option<(i64, f64)> {
        self.latest.map(|(step, value)| (step.unwrap_or(self.seen), value))
    }

    /// Whether any value came with a step.
    pub(super) fn has_curve(&self) -> bool {
        self.curve.count > 0
    }

    /// The curve, at most `limit` points of it.
    pub(super) fn into_curve(self, limit: usize) -> Vec<(i64, f64)> {
        self.curve.thinned(limit)
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
        let cases: [(Report, &[f64], f64); 6] = [
            (Report::Last, &[0.5, 0.9, 0.7], 0.7),
            (Report::Min, &[0.5, 0.2, 0.7], 0.2),
            (Report::Max, &[0.5, 0.9, 0.7], 0.9),
            (Report::Min, &[nan, 0.5, nan], 0.5),
            (Report::Max, &[nan, nan], nan),
            (Report::Last, &[0.5, nan], nan),
        ];
        for (report, values, expected) in cases {
            let mut series = Series::new("x".into(), report);
            values.iter().for_each(|value| series.push(None, *value));
            let value = series.value().unwrap();
            assert!(
                value == expected || value.is_nan() && expected.is_nan(),
                "{report:?} {values:?}: {value}"
            );
        }
    }
}
