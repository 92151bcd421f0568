//! Numbers by weighted sums: ordinary least squares by linfa-linear, elastic net by linfa-elasticnet.
//!
//! Invariant: scaling is learned from the training rows alone. Both solvers get centred columns: linfa-elasticnet centres
//! the target alone, which is only right for those.

use linfa::prelude::*;
use linfa_elasticnet::ElasticNet;
use linfa_linear::LinearRegression;
use ndarray::{Array1, Axis};

use super::{Measured, logistic::SCALE};
use crate::{
    error::TrainError,
    fitted::{NumberRule, Plane, Regressor},
    params::{Float, Int, KnownParam, TrainerParams},
    scaling::Scaling,
};

const ALPHA: Float = Float {
    name: "alpha",
    about: "penalty on large weights, against half the mean squared error",
    min: 0.0,
    max: 1e6,
    default: 1.0,
};
const L1_RATIO: Float = Float {
    name: "l1_ratio",
    about: "share of l1 in the penalty: 1 is the lasso, 0 is ridge",
    min: 0.0,
    max: 1.0,
    default: 0.5,
};
const MAX_ITERATIONS: Int = Int {
    name: "max_iterations",
    about: "rounds of the solver (coordinate descent)",
    min: 1,
    max: 1_000_000,
    default: 10_000,
};

/// What the parameters of elastic net are called.
pub(super) const PARAMS: &[&dyn KnownParam] = &[&ALPHA, &L1_RATIO, &MAX_ITERATIONS, &SCALE];

/// The duality gap at which the solver ends, as a share of the target's squares.
const TOLERANCE: f64 = 1e-10;

/// Ordinary least squares. It has no parameters: scaling would change nothing but rounding.
pub(super) fn least_squares(train: &Measured) -> Result<Regressor, String> {
    let scaling = Scaling::standard(&train.features);
    let features = scaling.apply(&train.features);
    // A column that tells nothing has the weight 0, and would leave the solver without an answer.
    let varies = |column: &usize| features.column(*column).iter().any(|value| *value != 0.0);
    let columns: Vec<usize> = (0..features.ncols()).filter(varies).collect();
    let mut plane =
        Plane { weights: vec![0.0; features.ncols()], intercept: crate::score::mean(&train.numbers) };
    if !columns.is_empty() {
        let set = DatasetBase::new(features.select(Axis(1), &columns), Array1::from(train.numbers.clone()));
        let model = LinearRegression::default().fit(&set).map_err(|error| error.to_string())?;
        columns.iter().zip(model.params()).for_each(|(column, weight)| plane.weights[*column] = *weight);
        plane.intercept = model.intercept();
    }
    whole(Regressor { scaling: Some(scaling), rule: NumberRule::Plane(plane) }, train)
}

/// Parameters of elastic net, checked.
#[derive(Debug, Clone)]
pub(crate) struct ElasticNetParams {
    alpha: f64,
    l1_ratio: f64,
    max_iterations: usize,
    scale: bool,
}

impl ElasticNetParams {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self {
            alpha: params.float(&ALPHA)?,
            l1_ratio: params.float(&L1_RATIO)?,
            max_iterations: params.int(&MAX_ITERATIONS)?,
            scale: params.flag(&SCALE)?,
        })
    }

    pub(super) fn fit(&self, train: &Measured) -> Result<Regressor, String> {
        let scaling =
            if self.scale { Scaling::standard(&train.features) } else { Scaling::centre(&train.features) };
        let set = DatasetBase::new(scaling.apply(&train.features), Array1::from(train.numbers.clone()));
        let model = ElasticNet::params()
            .penalty(self.alpha)
            .l1_ratio(self.l1_ratio)
            .tolerance(TOLERANCE)
            .max_iterations(u32::try_from(self.max_iterations).unwrap_or(u32::MAX))
            .fit(&set)
            .map_err(|error| error.to_string())?;
        let plane = Plane { weights: model.hyperplane().to_vec(), intercept: model.intercept() };
        whole(Regressor { scaling: Some(scaling), rule: NumberRule::Plane(plane) }, train)
    }
}

/// Solvers give numbers that are none where columns are combinations of each other.
fn whole(fitted: Regressor, train: &Measured) -> Result<Regressor, String> {
    match fitted.fits(train.features.ncols()) {
        true => Ok(fitted),
        false => Err("the weights are no finite numbers".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_plane_is_found_and_a_constant_column_does_not_matter() {
        let features = array![[1.0, 7.0, 2.0], [2.0, 7.0, 1.0], [3.0, 7.0, 5.0], [4.0, 7.0, 0.0]];
        let numbers: Vec<f64> = features.rows().into_iter().map(|row| 3.0 * row[0] - row[2] + 5.0).collect();
        let train = Measured { features, numbers };
        let fitted = least_squares(&train).expect("it has an answer");
        let near = |a: &[f64]| a.iter().zip(&train.numbers).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near(&fitted.numbers(&train.features)));
        let constant = Measured { features: array![[1.0], [1.0]], numbers: vec![3.0, 5.0] };
        let fitted = least_squares(&constant).expect("it has an answer");
        assert_eq!(fitted.numbers(&constant.features), [4.0, 4.0]);
    }

    #[test]
    fn columns_that_are_one_another_are_an_error_and_no_nonsense() {
        let train =
            Measured { features: array![[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], numbers: vec![1.0, 2.0, 4.0] };
        if let Ok(fitted) = least_squares(&train) {
            let rmse = crate::score::rmse(&train.numbers, &fitted.numbers(&train.features));
            assert!(rmse < 0.3, "an answer is a right one: {rmse}");
        }
    }
}
