//! Logistic regression by linfa-logistic: of two classes, or multinomial where there are more.
//!
//! Invariant: scaling is learned from the training rows alone.

use linfa::prelude::*;
use linfa_logistic::{LogisticRegression, MultiLogisticRegression};
use ndarray::{Array1, Array2, Axis};

use crate::{
    cv::{Samples, Stage},
    error::TrainError,
    params::{Flag, Float, Int, KnownParam, TrainerParams},
};

const ALPHA: Float = Float {
    name: "alpha",
    about: "penalty on large weights (l2), against the summed loss",
    min: 0.0,
    max: 1e6,
    default: 1.0,
};
const MAX_ITERATIONS: Int =
    Int { name: "max_iterations", about: "steps of the solver (L-BFGS)", min: 1, max: 10_000, default: 100 };
const SCALE: Flag =
    Flag { name: "scale", about: "bring every measurement to mean 0 and deviation 1", default: true };

/// What the parameters are called.
pub(crate) const PARAMS: &[&dyn KnownParam] = &[&ALPHA, &MAX_ITERATIONS, &SCALE];

/// Parameters of the regression, checked.
#[derive(Debug, Clone)]
pub(crate) struct Logistic {
    alpha: f64,
    max_iterations: usize,
    scale: bool,
}

impl Logistic {
    pub(crate) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self {
            alpha: params.float(&ALPHA)?,
            max_iterations: params.int(&MAX_ITERATIONS)?,
            scale: params.flag(&SCALE)?,
        })
    }

    /// Trains on `train` and predicts `test`.
    pub(crate) fn predict(&self, train: &Samples, test: &Array2<f64>) -> Result<Vec<Stage>, String> {
        let (train_x, test_x) = if self.scale {
            standardise(&train.features, test)
        } else {
            (train.features.clone(), test.clone())
        };
        let mut classes = train.classes.clone();
        classes.sort_unstable();
        classes.dedup();
        let set = DatasetBase::new(train_x, Array1::from(train.classes.clone()));
        let iterations = self.max_iterations as u64;
        let predicted = match classes.len() {
            2 => LogisticRegression::default()
                .alpha(self.alpha)
                .max_iterations(iterations)
                .fit(&set)
                .map(|model| model.predict(&test_x)),
            _ => MultiLogisticRegression::default()
                .alpha(self.alpha)
                .max_iterations(iterations)
                .fit(&set)
                .map(|model| model.predict(&test_x)),
        };
        let predicted = predicted.map_err(|error| error.to_string())?.to_vec();
        Ok(vec![Stage { step: None, predicted }])
    }
}

/// Both sets with each column shifted and scaled so that the training set has mean 0 and deviation
/// 1. A column that is constant in the training set is only shifted.
fn standardise(train: &Array2<f64>, test: &Array2<f64>) -> (Array2<f64>, Array2<f64>) {
    let (mut train, mut test) = (train.clone(), test.clone());
    for (mut column, mut other) in train.axis_iter_mut(Axis(1)).zip(test.axis_iter_mut(Axis(1))) {
        let mean = column.mean().unwrap_or(0.0);
        let deviation = column.std(0.0);
        let scale = if deviation > 0.0 { deviation } else { 1.0 };
        column.mapv_inplace(|value| (value - mean) / scale);
        other.mapv_inplace(|value| (value - mean) / scale);
    }
    (train, test)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn scaling_is_learned_from_the_training_rows_alone() {
        let (train, test) = standardise(&array![[1.0, 5.0], [3.0, 5.0]], &array![[4.0, 6.0]]);
        assert_eq!(train, array![[-1.0, 0.0], [1.0, 0.0]]);
        assert_eq!(test, array![[2.0, 1.0]]);
    }
}
