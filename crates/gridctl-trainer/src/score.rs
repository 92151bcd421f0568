//! The scores, computed here in f64 from labels: linfa's own are f32 and add up in hash order.
//!
//! Invariant: a score depends on its arguments alone; ties go to the lowest label.

use std::collections::{BTreeMap, BTreeSet};

/// The share of `predicted` that is right; 0 for none.
pub(crate) fn accuracy(actual: &[usize], predicted: &[usize]) -> f64 {
    let right = actual.iter().zip(predicted).filter(|(actual, predicted)| actual == predicted).count();
    ratio(right, actual.len())
}

/// The most frequent label, the lowest of those that tie; `None` for none.
pub(crate) fn majority(labels: impl IntoIterator<Item = usize>) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    labels.into_iter().for_each(|label| *counts.entry(label).or_default() += 1);
    counts.into_iter().rev().max_by_key(|&(_, count)| count).map(|(label, _)| label)
}

/// The mean over classes of F1 = 2 TP / (2 TP + FP + FN); a class that is never predicted counts as
/// 0.
pub(crate) fn f1_macro(actual: &[usize], predicted: &[usize]) -> f64 {
    let classes: BTreeSet<usize> = actual.iter().chain(predicted).copied().collect();
    let f1 = classes.iter().map(|class| {
        let count = |labels: &[usize]| labels.iter().filter(|label| *label == class).count();
        let both = actual.iter().zip(predicted).filter(|&(a, p)| a == class && p == class).count();
        ratio(2 * both, count(actual) + count(predicted))
    });
    mean(&f1.collect::<Vec<_>>())
}

/// The mean of -ln of the probability that each row's own class was given. One that was thought impossible counts as the
/// smallest step of an f64, as in scikit-learn.
pub(crate) fn log_loss(actual: &[usize], probabilities: &[Vec<f64>]) -> f64 {
    let loss = |(class, row): (&usize, &Vec<f64>)| {
        let given = row.get(*class).copied().unwrap_or(0.0);
        -given.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
    };
    mean(&actual.iter().zip(probabilities).map(loss).collect::<Vec<_>>())
}

/// The root of the mean squared error.
pub(crate) fn rmse(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(&errors(actual, predicted).map(|error| error * error).collect::<Vec<_>>()).sqrt()
}

/// The mean absolute error.
pub(crate) fn mae(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(&errors(actual, predicted).map(f64::abs).collect::<Vec<_>>())
}

/// The share of the variance that is explained. Where there is none, 1 if all is right and else 0.
pub(crate) fn r2(actual: &[f64], predicted: &[f64]) -> f64 {
    let centre = mean(actual);
    let left: f64 = errors(actual, predicted).map(|error| error * error).sum();
    let all: f64 = actual.iter().map(|value| (value - centre).powi(2)).sum();
    match (all > 0.0, left > 0.0) {
        (true, _) => 1.0 - left / all,
        (false, true) => 0.0,
        (false, false) => 1.0,
    }
}

fn errors(actual: &[f64], predicted: &[f64]) -> impl Iterator<Item = f64> {
    actual.iter().zip(predicted).map(|(actual, predicted)| actual - predicted)
}

/// The arithmetic mean; 0 for none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / count(values.len()) }
}

/// The standard deviation of the values themselves (divided by n, as in scikit-learn's
/// `std_test_score`).
pub(crate) fn std(values: &[f64]) -> f64 {
    let centre = mean(values);
    mean(&values.iter().map(|value| (value - centre).powi(2)).collect::<Vec<_>>()).sqrt()
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { count(part) / count(whole) }
}

fn count(items: usize) -> f64 {
    items as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_as_by_hand() {
        let actual = [3, 3, 5, 5, 5, 8];
        let predicted = [3, 5, 5, 5, 3, 5];
        assert!((accuracy(&actual, &predicted) - 3.0 / 6.0).abs() < 1e-12);
        // class 3: TP 1, FP 1, FN 1 -> 1/2; class 5: TP 2, FP 2, FN 1 -> 4/7; class 8: 0
        assert!((f1_macro(&actual, &predicted) - (0.5 + 4.0 / 7.0) / 3.0).abs() < 1e-12);
        assert!((mean(&[1.0, 2.0, 6.0]) - 3.0).abs() < 1e-12);
        assert!((std(&[1.0, 3.0]) - 1.0).abs() < 1e-12);
        let (actual, predicted) = ([1.0, 2.0, 3.0], [1.0, 4.0, 2.0]);
        assert!((rmse(&actual, &predicted) - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((mae(&actual, &predicted) - 1.0).abs() < 1e-12);
        assert!((r2(&actual, &predicted) - (1.0 - 5.0 / 2.0)).abs() < 1e-12);
        assert_eq!((r2(&[1.0, 1.0], &[1.0, 1.0]), r2(&[1.0, 1.0], &[1.0, 2.0])), (1.0, 0.0));
        let loss = log_loss(&[0, 1, 2], &[vec![0.5, 0.5], vec![0.25, 0.75], vec![1.0, 0.0]]);
        assert!((loss - (0.5_f64.ln() + 0.75_f64.ln() + f64::EPSILON.ln()) / -3.0).abs() < 1e-12);
    }

    #[test]
    fn a_tie_goes_to_the_lowest_label() {
        assert_eq!(majority([5, 3, 5, 3, 8]), Some(3));
        assert_eq!(majority([8, 5, 5]), Some(5));
        assert_eq!(majority([]), None);
    }
}
