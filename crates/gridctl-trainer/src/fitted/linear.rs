//! Weights for each column: planes, logits, and the bells of naive Bayes.
//! Invariant: ties go to the lowest class.

use serde::{Deserialize, Serialize};

use super::{dot, known, largest, softmax, whole};

/// A number that grows evenly with each measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plane {
    pub(crate) weights: Vec<f64>,
    pub(crate) intercept: f64,
}

impl Plane {
    pub(super) fn number(&self, row: &[f64]) -> f64 {
        dot(&self.weights, row) + self.intercept
    }

    pub(super) fn fits(&self, columns: usize) -> bool {
        whole(&self.weights, columns) && self.intercept.is_finite()
    }
}

/// A plane for each class; the highest wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logits {
    pub(crate) classes: Vec<usize>,
    pub(crate) planes: Vec<Plane>,
}

impl Logits {
    fn logs(&self, row: &[f64]) -> Vec<f64> {
        self.planes.iter().map(|plane| plane.number(row)).collect()
    }

    pub(super) fn class(&self, row: &[f64]) -> usize {
        self.classes[largest(self.logs(row))]
    }

    pub(super) fn probabilities(&self, row: &[f64], count: usize) -> Vec<f64> {
        softmax(&self.classes, &self.logs(row), count)
    }

    pub(super) fn fits(&self, columns: usize, classes: usize) -> bool {
        let planes = self.planes.iter().all(|plane| plane.fits(columns));
        planes && self.planes.len() == self.classes.len() && known(&self.classes, classes)
    }
}

/// A bell curve for each class and column; measurements are taken to be independent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bayes {
    pub(crate) classes: Vec<usize>,
    pub(crate) priors: Vec<f64>,
    pub(crate) means: Vec<Vec<f64>>,
    pub(crate) variances: Vec<Vec<f64>>,
}

impl Bayes {
    fn logs(&self, row: &[f64]) -> Vec<f64> {
        let bells = self.means.iter().zip(&self.variances);
        let log = |(prior, (means, variances)): (&f64, (&Vec<f64>, &Vec<f64>))| {
            let bell = |((value, mean), variance): ((&f64, &f64), &f64)| {
                (std::f64::consts::TAU * variance).ln() + (value - mean).powi(2) / variance
            };
            prior.ln() - 0.5 * row.iter().zip(means).zip(variances).map(bell).sum::<f64>()
        };
        self.priors.iter().zip(bells).map(log).collect()
    }

    pub(super) fn class(&self, row: &[f64]) -> usize {
        self.classes[largest(self.logs(row))]
    }

    pub(super) fn probabilities(&self, row: &[f64], count: usize) -> Vec<f64> {
        softmax(&self.classes, &self.logs(row), count)
    }

    pub(super) fn fits(&self, columns: usize, classes: usize) -> bool {
        let count = self.classes.len();
        let table = |rows: &[Vec<f64>]| rows.len() == count && rows.iter().all(|row| whole(row, columns));
        known(&self.classes, classes)
            && whole(&self.priors, count)
            && self.priors.iter().all(|prior| *prior > 0.0)
            && table(&self.means)
            && table(&self.variances)
            && self.variances.iter().flatten().all(|variance| *variance > 0.0)
    }
}
