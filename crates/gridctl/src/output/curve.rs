//! A metric's curve, drawn in lines of text.
//! Invariant: whatever the numbers are, the picture is as wide as it may be and its lines are few.

use rasciigraph::{Config, plot};

/// Lines of a curve.
const LINES: u32 = 8;
/// The widest and the narrowest picture.
const WIDEST: usize = 100;
const NARROWEST: usize = 20;
/// Columns of the numbers beside it.
const NUMBERS: usize = 16;
/// Numbers beyond this are too far apart to be drawn.
const LARGEST: f64 = 1e12;

/// The curve through `points`, which are steps and values; `None` where there is nothing to see.
pub(crate) fn draw(points: &[(i64, f64)], width: usize) -> Option<String> {
    let mut points: Vec<(i64, f64)> =
        points.iter().copied().filter(|(_, value)| value.is_finite() && value.abs() < LARGEST).collect();
    points.sort_by_key(|(step, _)| *step);
    // Of several values at one step the last counts.
    points.reverse();
    points.dedup_by_key(|(step, _)| *step);
    points.reverse();
    let (first, last) = (points.first()?, points.last()?);
    let lowest = points.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let highest = points.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    if points.len() < 3 || highest - lowest < 1e-9 * highest.abs().max(1e-3) {
        return None;
    }
    let columns = width.min(WIDEST).saturating_sub(NUMBERS).max(NARROWEST);
    let series = (0..columns).map(|column| at(&points, column, columns)).collect();
    let picture = plot(series, Config::default().with_height(LINES));
    let picture: String = picture.lines().map(|line| format!("  {}\n", line.trim_end())).collect();
    Some(format!("{picture}  steps {} to {}\n", first.0, last.0))
}

/// The value at a column, between the points to its left and right.
#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn at(points: &[(i64, f64)], column: usize, columns: usize) -> f64 {
    let (first, last) = (points[0].0 as f64, points[points.len() - 1].0 as f64);
    let step = first + (last - first) * column as f64 / (columns - 1) as f64;
    let right = points.partition_point(|(at, _)| (*at as f64) < step).min(points.len() - 1);
    let left = right.saturating_sub(1);
    let ((from, low), (to, high)) = (points[left], points[right]);
    let share =
        if to == from { 1.0 } else { ((step - from as f64) / (to as f64 - from as f64)).clamp(0.0, 1.0) };
    low + (high - low) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_falls_from_left_to_right_and_names_its_ends() {
        let points: Vec<(i64, f64)> = (0..50).map(|step| (step, 1.0 / (1 + step) as f64)).collect();
        let drawn = draw(&points, 80).expect("there is something to see");
        insta::assert_snapshot!(drawn);
        assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
        assert!(drawn.lines().count() <= 10, "{drawn}");
    }

    #[test]
    fn h64_no_numbers_spoil_the_picture() {
        for points in [
            vec![],
            vec![(0, 1.0), (1, 2.0)],
            vec![(0, f64::NAN); 9],
            vec![(0, 1.0), (0, 2.0), (0, 3.0)],
            vec![(0, 0.5), (1, 0.5), (2, 0.5)],
            vec![(0, 1e308), (1, -1e308), (2, f64::INFINITY)],
        ] {
            assert_eq!(draw(&points, 80), None, "{points:?}");
        }
        for points in [
            vec![(i64::MIN, 1.0), (0, 2.0), (i64::MAX, 1.5)],
            vec![(0, 1e11), (1, -1e11), (2, 0.0)],
            vec![(0, 1e-9), (1, 2e-9), (2, 1e-3)],
            vec![(5, 1.0), (3, 2.0), (4, f64::NAN), (9, -1.0)],
        ] {
            for width in [0, 1, 40, 80, 100_000] {
                let drawn = draw(&points, width).unwrap_or_else(|| panic!("{points:?}"));
                assert!(drawn.lines().all(|line| line.chars().count() <= 120), "{points:?}\n{drawn}");
                assert!(drawn.lines().count() <= 14, "{points:?}\n{drawn}");
            }
        }
    }
}
