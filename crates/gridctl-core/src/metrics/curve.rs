//! A curve of bounded length, and what the mean of values is computed from.
//! Invariant: a curve holds at most [`MAX_POINTS`] points, its first and its last one among them, in the order in which they came.

/// The most points of one curve.
pub(super) const MAX_POINTS: usize = 1_000;

/// Every so many-th point that came, and the last one.
#[derive(Debug, Clone, Default)]
pub(super) struct Curve {
    points: Vec<(i64, f64)>,
    last: Option<(i64, f64)>,
    pub(super) count: u64,
    /// Points are kept whose number is a multiple of 2 to this power.
    halvings: u32,
}

impl Curve {
    pub(super) fn push(&mut self, step: i64, value: f64) {
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
    pub(super) fn thinned(mut self, limit: usize) -> Vec<(i64, f64)> {
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
pub(super) struct Tally {
    count: f64,
    /// Summed in order of arrival.
    sum: f64,
    /// The mean so far, as the squares need it.
    centre: f64,
    /// The sum of the squares of what each value is away from the mean.
    squares: f64,
}

impl Tally {
    pub(super) fn push(&mut self, value: f64) {
        self.join(Self { count: 1.0, sum: value, centre: value, squares: 0.0 });
    }

    /// Takes in what came later.
    pub(super) fn join(&mut self, later: Self) {
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

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// The sample standard deviation, of two values or more.
    pub(super) fn spread(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.squares / (self.count - 1.0)).sqrt())
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
