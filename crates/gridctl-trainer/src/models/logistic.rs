//! Logistic regression by linfa-logistic: of two classes, or multinomial where there are more.
//!
//! Invariant: scaling is learned from the training rows alone.

use linfa::prelude::*;
use linfa_logistic::{LogisticRegression, MultiLogisticRegression};
use ndarray::Array1;

use super::Samples;
use crate::{
    error::TrainError,
    fitted::{ClassRule, Classifier, Logits, Plane},
    params::{Flag, Float, Int, KnownParam, TrainerParams},
    scaling::Scaling,
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
/// Shared with the support vector machines.
pub(super) const SCALE: Flag =
    Flag { name: "scale", about: "bring every measurement to mean 0 and deviation 1", default: true };

/// What the parameters are called.
pub(super) const PARAMS: &[&dyn KnownParam] = &[&ALPHA, &MAX_ITERATIONS, &SCALE];

/// Parameters of the regression, checked.
#[derive(Debug, Clone)]
pub(crate) struct Logistic {
    alpha: f64,
    max_iterations: usize,
    scale: bool,
}

impl Logistic {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self {
            alpha: params.float(&ALPHA)?,
            max_iterations: params.int(&MAX_ITERATIONS)?,
            scale: params.flag(&SCALE)?,
        })
    }

    pub(super) fn fit(&self, train: &Samples) -> Result<Classifier, String> {
        let scaling = self.scale.then(|| Scaling::standard(&train.features));
        let features =
            scaling.as_ref().map_or_else(|| train.features.clone(), |scaling| scaling.apply(&train.features));
        let columns = features.ncols();
        let mut classes = train.classes.clone();
        classes.sort_unstable();
        classes.dedup();
        let set = DatasetBase::new(features, Array1::from(train.classes.clone()));
        let iterations = self.max_iterations as u64;
        let failed = |error: linfa_logistic::error::Error| error.to_string();
        let logits = if classes.len() == 2 {
            let problem = LogisticRegression::default().alpha(self.alpha).max_iterations(iterations);
            let model = problem.fit(&set).map_err(failed)?;
            // The other class is where the plane is below zero.
            let ground = Plane { weights: vec![0.0; columns], intercept: 0.0 };
            let plane = Plane { weights: model.params().to_vec(), intercept: model.intercept() };
            let labels = model.labels();
            Logits { classes: vec![labels.neg.class, labels.pos.class], planes: vec![ground, plane] }
        } else {
            let problem = MultiLogisticRegression::default().alpha(self.alpha).max_iterations(iterations);
            let model = problem.fit(&set).map_err(failed)?;
            let weights = model.params().columns().into_iter();
            let plane = |(weights, intercept): (ndarray::ArrayView1<'_, f64>, &f64)| Plane {
                weights: weights.to_vec(),
                intercept: *intercept,
            };
            let planes = weights.zip(model.intercept()).map(plane).collect();
            Logits { classes: model.classes().to_vec(), planes }
        };
        Ok(Classifier { scaling, rule: ClassRule::Logits(logits) })
    }
}
