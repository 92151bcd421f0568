//! Support vector machines: sums over how near a row is to some of those that were trained on.
//! Invariant: ties go to the lowest class.

use serde::{Deserialize, Serialize};

use super::{dot, known, largest, whole};

/// How near two rows are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kernel {
    Linear,
    /// exp(-gamma * squared distance)
    Rbf(f64),
}

/// A weighted sum of a row's nearness to support vectors, and an offset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KernelSum {
    pub(crate) kernel: Kernel,
    pub(crate) vectors: Vec<Vec<f64>>,
    pub(crate) weights: Vec<f64>,
    pub(crate) offset: f64,
}

impl KernelSum {
    pub(super) fn value(&self, row: &[f64]) -> f64 {
        let near = |vector: &Vec<f64>| match self.kernel {
            Kernel::Linear => dot(vector, row),
            Kernel::Rbf(gamma) => {
                let squares = vector.iter().zip(row).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                (-gamma * squares).exp()
            }
        };
        let terms = self.vectors.iter().zip(&self.weights).map(|(vector, weight)| weight * near(vector));
        terms.sum::<f64>() + self.offset
    }

    pub(super) fn fits(&self, columns: usize) -> bool {
        let kernel = match self.kernel {
            Kernel::Linear => true,
            Kernel::Rbf(gamma) => gamma.is_finite() && gamma > 0.0,
        };
        kernel
            && self.offset.is_finite()
            && whole(&self.weights, self.vectors.len())
            && self.vectors.iter().all(|vector| whole(vector, columns))
    }
}

/// Tells two classes apart: a positive sum means the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) sum: KernelSum,
}

/// A machine for each two classes; the class with the most of them wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Machines(pub(crate) Vec<Machine>);

impl Machines {
    pub(super) fn class(&self, row: &[f64]) -> usize {
        let mut votes = vec![0.0; self.0.iter().map(|machine| machine.second + 1).max().unwrap_or(1)];
        for machine in &self.0 {
            votes[if machine.sum.value(row) >= 0.0 { machine.first } else { machine.second }] += 1.0;
        }
        largest(votes)
    }

    pub(super) fn fits(&self, columns: usize, classes: usize) -> bool {
        let fits = |machine: &Machine| {
            machine.first < machine.second && known(&[machine.second], classes) && machine.sum.fits(columns)
        };
        !self.0.is_empty() && self.0.iter().all(fits)
    }
}
