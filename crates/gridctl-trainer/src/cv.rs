//! Cross-validation: trains on all folds but one, predicts that one, and scores what was predicted.
//!
//! Invariant: a score comes only from rows that the model which predicted them had not seen.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ndarray::Axis;

use crate::{
    data::{ClassData, DataError, NumberData},
    error::TrainError,
    fitted::{Classifier, Regressor},
    folds,
    models::{ClassModel, Measured, NumberModel, Samples},
    score,
};

/// How to validate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoldPlan {
    /// The model's name, for errors.
    pub(crate) model: &'static str,
    pub(crate) folds: usize,
    pub(crate) seed: u64,
}

/// The scores of classes over all folds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClassScores {
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
    /// Mean of the folds' log losses, for models that say probabilities.
    pub(crate) log_loss: Option<f64>,
}

/// The scores of numbers over all folds: means, and the deviation of the first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NumberScores {
    pub(crate) rmse: f64,
    pub(crate) rmse_std: f64,
    pub(crate) mae: f64,
    pub(crate) r2: f64,
    /// The same of always saying the training rows' mean.
    pub(crate) baseline_rmse: f64,
}

/// Validates a model that tells classes.
///
/// # Errors
/// [`TrainError::Data`] for data that cannot be split so, [`TrainError::Fit`] or [`TrainError::Panicked`] from the first
/// fold that fails.
pub(crate) fn classes(
    model: &ClassModel,
    data: &ClassData,
    plan: FoldPlan,
) -> Result<ClassScores, TrainError> {
    let mut accuracies: Vec<Vec<f64>> = Vec::new();
    let (mut baselines, mut losses, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut all_actual, mut all_predicted) = (Vec::new(), Vec::new());
    for (number, fold) in folds::split(&data.table, plan.folds, plan.seed)?.iter().enumerate() {
        let actual: Vec<usize> = fold.test.iter().map(|&row| data.classes[row]).collect();
        let usual = score::majority(fold.train.iter().map(|&row| data.classes[row])).unwrap_or_default();
        baselines.push(score::accuracy(&actual, &vec![usual; actual.len()]));
        let fitted = fit_classes(model, data, (&fold.train, Some(number)), plan)?;
        let test = data.table.features.select(Axis(0), &fold.test);
        let stages = fitted.stages(&test);
        if let Some(shares) = fitted.probabilities(&test, data.labels.len()) {
            losses.push(score::log_loss(&actual, &shares));
        }
        if number == 0 {
            steps = stages.iter().filter_map(|stage| stage.step).collect();
        }
        accuracies.push(stages.iter().map(|stage| score::accuracy(&actual, &stage.predicted)).collect());
        all_predicted.extend(stages.into_iter().next_back().map(|last| last.predicted).unwrap_or_default());
        all_actual.extend(actual);
    }
    // Boosting may end sooner in one fold than in another: it then stays as it is.
    let at = |stage: usize| -> Vec<f64> {
        accuracies.iter().filter_map(|stages| stages.get(stage).or(stages.last()).copied()).collect()
    };
    let last: Vec<f64> = accuracies.iter().filter_map(|stages| stages.last().copied()).collect();
    Ok(ClassScores {
        curve: steps.into_iter().enumerate().map(|(stage, step)| (step, score::mean(&at(stage)))).collect(),
        accuracy: score::mean(&last),
        accuracy_std: score::std(&last),
        baseline_accuracy: score::mean(&baselines),
        f1_macro: score::f1_macro(&all_actual, &all_predicted),
        log_loss: (!losses.is_empty()).then(|| score::mean(&losses)),
    })
}

/// Validates a model that predicts numbers.
///
/// # Errors
/// As for classes.
pub(crate) fn numbers(
    model: &NumberModel,
    data: &NumberData,
    plan: FoldPlan,
) -> Result<NumberScores, TrainError> {
    let (mut rmse, mut mae, mut r2, mut baselines) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, fold) in folds::split(&data.table, plan.folds, plan.seed)?.iter().enumerate() {
        let actual: Vec<f64> = fold.test.iter().map(|&row| data.numbers[row]).collect();
        let train: Vec<f64> = fold.train.iter().map(|&row| data.numbers[row]).collect();
        baselines.push(score::rmse(&actual, &vec![score::mean(&train); actual.len()]));
        let fitted = fit_numbers(model, data, (&fold.train, Some(number)), plan)?;
        let predicted = fitted.numbers(&data.table.features.select(Axis(0), &fold.test));
        rmse.push(score::rmse(&actual, &predicted));
        mae.push(score::mae(&actual, &predicted));
        r2.push(score::r2(&actual, &predicted));
    }
    Ok(NumberScores {
        rmse: score::mean(&rmse),
        rmse_std: score::std(&rmse),
        mae: score::mean(&mae),
        r2: score::mean(&r2),
        baseline_rmse: score::mean(&baselines),
    })
}

/// Trains on some rows: those of a fold, from 0, or all.
pub(crate) fn fit_classes(
    model: &ClassModel,
    data: &ClassData,
    (rows, fold): (&[usize], Option<usize>),
    plan: FoldPlan,
) -> Result<Classifier, TrainError> {
    let train = Samples {
        features: data.table.features.select(Axis(0), rows),
        classes: rows.iter().map(|&row| data.classes[row]).collect(),
    };
    if train.classes.iter().all(|class| *class == train.classes[0]) {
        let target = data.table.target.clone();
        return Err(DataError::OneClassInFold { fold: fold.map_or(0, |fold| fold + 1), target }.into());
    }
    // All rows come after the last fold.
    let seed = [plan.seed, fold.unwrap_or(plan.folds) as u64];
    guarded(plan.model, fold.map(|fold| fold + 1), || model.fit(&train, seed))
}

/// The same for numbers.
pub(crate) fn fit_numbers(
    model: &NumberModel,
    data: &NumberData,
    (rows, fold): (&[usize], Option<usize>),
    plan: FoldPlan,
) -> Result<Regressor, TrainError> {
    let train = Measured {
        features: data.table.features.select(Axis(0), rows),
        numbers: rows.iter().map(|&row| data.numbers[row]).collect(),
    };
    guarded(plan.model, fold.map(|fold| fold + 1), || model.fit(&train))
}

/// Turns the library's errors and panics into errors of ours.
fn guarded<T>(
    model: &'static str,
    fold: Option<usize>,
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
        assert_eq!(text(guarded("forest", Some(1), || Ok(()))), Ok(()));
        assert_eq!(
            text(guarded("forest", Some(2), || Err("no line search".to_owned()))),
            Err("forest could not be fitted in fold 2: no line search".to_owned())
        );
        assert_eq!(
            text(guarded("logistic", Some(3), || panic!("n_samples > {}", 0))),
            Err("logistic panicked in fold 3: n_samples > 0".to_owned())
        );
        assert_eq!(
            text(guarded("logistic", None, || panic!("assertion failed"))),
            Err("logistic panicked on all rows: assertion failed".to_owned())
        );
    }
}
