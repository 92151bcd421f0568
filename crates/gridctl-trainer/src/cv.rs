//! Cross-validation: trains on all folds but one, predicts that one, and scores what was predicted.
//!
//! Invariant: a score comes only from wines that the model which predicted them had not seen.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ndarray::{Array2, Axis};

use crate::{
    Model,
    data::{TrainTarget, Wine},
    error::TrainError,
    folds, score,
};

/// What a model is trained on: a row of measurements and a class for each wine.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) features: Array2<f64>,
    pub(crate) classes: Vec<usize>,
}

/// A model's predictions for the test rows, part way (a forest after so many trees) or at its end.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// How far the model had come; `None` where there is nothing to count.
    pub(crate) step: Option<usize>,
    pub(crate) predicted: Vec<usize>,
}

/// How to validate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoldPlan {
    pub(crate) target: TrainTarget,
    pub(crate) folds: usize,
    pub(crate) seed: u64,
}

/// The scores over all folds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scores {
    /// Mean accuracy after so many steps, for models that have steps.
    pub(crate) curve: Vec<(usize, f64)>,
    /// Mean of the folds' accuracies.
    pub(crate) accuracy: f64,
    /// Their standard deviation.
    pub(crate) accuracy_std: f64,
    /// Mean accuracy in the same folds of always saying the training rows' most frequent class.
    pub(crate) baseline_accuracy: f64,
    /// F1 averaged over classes, of all predictions together: rare classes are missing from single
    /// folds.
    pub(crate) f1_macro: f64,
}

/// Validates `model` on `wine`.
///
/// # Errors
/// [`TrainError::Fit`] or [`TrainError::Panicked`] from the first fold that fails.
pub(crate) fn validate(model: &Model, wine: &Wine, plan: FoldPlan) -> Result<Scores, TrainError> {
    let classes = wine.classes(plan.target);
    let mut accuracies: Vec<Vec<f64>> = Vec::new();
    let mut steps = Vec::new();
    let mut baselines = Vec::new();
    let (mut all_actual, mut all_predicted) = (Vec::new(), Vec::new());
    for (number, fold) in folds::split(wine, plan.folds, plan.seed).iter().enumerate() {
        let pick = |rows: &[usize]| rows.iter().map(|&row| classes[row]).collect::<Vec<_>>();
        let measure = |rows: &[usize]| wine.features.select(Axis(0), rows);
        let train = Samples { features: measure(&fold.train), classes: pick(&fold.train) };
        let (test, actual) = (measure(&fold.test), pick(&fold.test));
        let usual = score::majority(train.classes.iter().copied()).unwrap_or_default();
        baselines.push(score::accuracy(&actual, &vec![usual; actual.len()]));
        let seed = [plan.seed, number as u64];
        let stages = guarded(model.name(), number + 1, || model.predict(&train, &test, seed))?;
        steps = stages.iter().filter_map(|stage| stage.step).collect();
        accuracies.push(stages.iter().map(|stage| score::accuracy(&actual, &stage.predicted)).collect());
        if let Some(last) = stages.into_iter().next_back() {
            all_predicted.extend(last.predicted);
        }
        all_actual.extend(actual);
    }
    let last: Vec<f64> = accuracies.iter().filter_map(|stages| stages.last().copied()).collect();
    let at =
        |stage: usize| accuracies.iter().filter_map(|stages| stages.get(stage).copied()).collect::<Vec<_>>();
    Ok(Scores {
        curve: steps.into_iter().enumerate().map(|(stage, step)| (step, score::mean(&at(stage)))).collect(),
        accuracy: score::mean(&last),
        accuracy_std: score::std(&last),
        baseline_accuracy: score::mean(&baselines),
        f1_macro: score::f1_macro(&all_actual, &all_predicted),
    })
}

/// Turns the library's errors and panics into errors of ours.
fn guarded<T>(
    model: &'static str,
    fold: usize,
    fit: impl FnOnce() -> Result<T, String>,
) -> Result<T, TrainError> {
    match catch_unwind(AssertUnwindSafe(fit)) {
        Ok(fitted) => fitted.map_err(|reason| TrainError::Fit { model, fold, reason }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let reason = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned();
            Err(TrainError::Panicked { model, fold, reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_of_the_library_are_errors_of_ours() {
        let text = |result: Result<(), TrainError>| result.map_err(|error| error.to_string());
        assert_eq!(text(guarded("forest", 1, || Ok(()))), Ok(()));
        assert_eq!(
            text(guarded("forest", 2, || Err("no line search".to_owned()))),
            Err("forest could not be fitted in fold 2: no line search".to_owned())
        );
        assert_eq!(
            text(guarded("logistic", 3, || panic!("n_samples > {}", 0))),
            Err("logistic panicked in fold 3: n_samples > 0".to_owned())
        );
        assert_eq!(
            text(guarded("logistic", 3, || panic!("assertion failed"))),
            Err("logistic panicked in fold 3: assertion failed".to_owned())
        );
    }
}
