//! Support vector machines by linfa-svm: for classes, one against one as in libsvm; and for numbers.
//!
//! Invariant: scaling is learned from the training rows alone.

use linfa::prelude::*;
use linfa_svm::Svm;
use ndarray::{Array1, Array2, Axis};

use super::{Measured, Samples, logistic::SCALE};
use crate::{
    error::TrainError,
    fitted::{ClassRule, Classifier, Kernel, KernelSum, Machine, Machines, NumberRule, Regressor},
    params::{Choice, Float, KnownParam, TrainerParams},
    scaling::Scaling,
};

const C: Float =
    Float { name: "c", about: "what a row on the wrong side costs", min: 1e-6, max: 1e6, default: 1.0 };
const KERNEL: Choice = Choice { name: "kernel", about: "how near two rows are", options: &["rbf", "linear"] };
const GAMMA: Float = Float {
    name: "gamma",
    about: "of the rbf kernel, exp(-gamma * squared distance); 0 means 1 / columns",
    min: 0.0,
    max: 1e6,
    default: 0.0,
};
const EPSILON: Float =
    Float { name: "epsilon", about: "an error that costs nothing", min: 0.0, max: 1e6, default: 0.1 };

/// What the parameters for classes are called.
pub(super) const PARAMS: &[&dyn KnownParam] = &[&C, &KERNEL, &GAMMA, &SCALE];
/// What the parameters for numbers are called.
pub(super) const SVR_PARAMS: &[&dyn KnownParam] = &[&C, &EPSILON, &KERNEL, &GAMMA, &SCALE];

/// Most rows: every two of them are compared, and the table is kept.
const MAX_ROWS: usize = 8_000;
/// How exactly the solver ends.
const TOLERANCE: f64 = 1e-7;

/// What both kinds share.
#[derive(Debug, Clone)]
struct Shape {
    c: f64,
    rbf: bool,
    gamma: f64,
    scale: bool,
}

impl Shape {
    fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self {
            c: params.float(&C)?,
            rbf: params.choice(&KERNEL)? == 0,
            gamma: params.float(&GAMMA)?,
            scale: params.flag(&SCALE)?,
        })
    }

    fn kernel(&self, columns: usize) -> Kernel {
        match (self.rbf, self.gamma > 0.0) {
            (false, _) => Kernel::Linear,
            (true, true) => Kernel::Rbf(self.gamma),
            (true, false) => Kernel::Rbf(1.0 / columns as f64),
        }
    }

    fn prepared(&self, features: &Array2<f64>) -> Result<(Option<Scaling>, Array2<f64>), String> {
        if features.nrows() > MAX_ROWS {
            return Err(format!(
                "it has {} rows to learn from, and takes {MAX_ROWS} at most",
                features.nrows()
            ));
        }
        let scaling = self.scale.then(|| Scaling::standard(features));
        let scaled = scaling.as_ref().map_or_else(|| features.clone(), |scaling| scaling.apply(features));
        Ok((scaling, scaled))
    }
}

/// What is left of a solution: support vectors and their weights, or for a linear kernel their sum.
fn kernel_sum(kernel: Kernel, features: &Array2<f64>, weights: &[f64], offset: f64) -> KernelSum {
    let support: Vec<usize> = (0..weights.len()).filter(|row| weights[*row] != 0.0).collect();
    let weights: Vec<f64> = support.iter().map(|row| weights[*row]).collect();
    let vectors: Vec<Vec<f64>> = support.iter().map(|row| features.row(*row).to_vec()).collect();
    match kernel {
        Kernel::Rbf(_) => KernelSum { kernel, vectors, weights, offset },
        Kernel::Linear => {
            let mut sum = vec![0.0; features.ncols()];
            for (vector, weight) in vectors.iter().zip(&weights) {
                sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * value);
            }
            KernelSum { kernel, vectors: vec![sum], weights: vec![1.0], offset }
        }
    }
}

/// A machine for classes: its parameters, checked.
#[derive(Debug, Clone)]
pub(crate) struct Svc(Shape);

impl Svc {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Shape::new(params).map(Self)
    }

    pub(super) fn fit(&self, train: &Samples) -> Result<Classifier, String> {
        let (scaling, features) = self.0.prepared(&train.features)?;
        let kernel = self.0.kernel(features.ncols());
        let mut classes = train.classes.clone();
        classes.sort_unstable();
        classes.dedup();
        let mut machines = Vec::new();
        for (place, &first) in classes.iter().enumerate() {
            for &second in &classes[place + 1..] {
                let of_two = |row: &usize| [first, second].contains(&train.classes[*row]);
                let rows: Vec<usize> = (0..train.classes.len()).filter(of_two).collect();
                let features = features.select(Axis(0), &rows);
                let is_first: Array1<bool> = rows.iter().map(|row| train.classes[*row] == first).collect();
                let params = Svm::<f64, bool>::params().eps(TOLERANCE).pos_neg_weights(self.0.c, self.0.c);
                let params = match kernel {
                    Kernel::Linear => params.linear_kernel(),
                    Kernel::Rbf(gamma) => params.gaussian_kernel(1.0 / gamma),
                };
                let set = DatasetBase::new(features, is_first);
                let model = params.fit(&set).map_err(|error| error.to_string())?;
                let sum = kernel_sum(kernel, &set.records, &model.alpha, -model.rho);
                machines.push(Machine { first, second, sum });
            }
        }
        Ok(Classifier { scaling, rule: ClassRule::Machines(Machines(machines)) })
    }
}

/// A machine for numbers: its parameters, checked.
#[derive(Debug, Clone)]
pub(crate) struct SvrParams {
    shape: Shape,
    epsilon: f64,
}

impl SvrParams {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self { shape: Shape::new(params)?, epsilon: params.float(&EPSILON)? })
    }

    pub(super) fn fit(&self, train: &Measured) -> Result<Regressor, String> {
        let (scaling, features) = self.shape.prepared(&train.features)?;
        let kernel = self.shape.kernel(features.ncols());
        let params = Svm::<f64, f64>::params().eps(TOLERANCE).c_svr(self.shape.c, Some(self.epsilon));
        let params = match kernel {
            Kernel::Linear => params.linear_kernel(),
            Kernel::Rbf(gamma) => params.gaussian_kernel(1.0 / gamma),
        };
        let set = DatasetBase::new(features, Array1::from(train.numbers.clone()));
        let model = params.fit(&set).map_err(|error| error.to_string())?;
        let sum = kernel_sum(kernel, &set.records, &model.alpha, -model.rho);
        Ok(Regressor { scaling, rule: NumberRule::KernelSum(sum) })
    }
}
