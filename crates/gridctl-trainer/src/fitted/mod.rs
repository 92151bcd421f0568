//! What has been learned, as the model file holds it, and what it says of new rows.
//!
//! Invariant: what is scored is what is kept: cross-validation and `gridctl train predict` ask the same values.

mod kernel;
mod linear;
mod trees;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

#[cfg(feature = "models")]
pub(crate) use self::kernel::{Kernel, Machine};
pub(crate) use self::{
    kernel::{KernelSum, Machines},
    linear::{Bayes, Logits, Plane},
    trees::{Ballot, BinaryTree, Node, Trees},
};
use crate::scaling::Scaling;

/// A model's predictions for some rows, part way (a forest after so many trees) or at its end.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// How far the model had come; `None` where there is nothing to count.
    pub(crate) step: Option<usize>,
    pub(crate) predicted: Vec<usize>,
}

/// Tells classes, which are indices into labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Classifier {
    pub(crate) scaling: Option<Scaling>,
    pub(crate) rule: ClassRule,
}

/// How classes are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClassRule {
    Logits(Logits),
    Trees(Trees),
    Machines(Machines),
    Bayes(Bayes),
}

/// Predicts numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Regressor {
    pub(crate) scaling: Option<Scaling>,
    pub(crate) rule: NumberRule,
}

/// How numbers are predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NumberRule {
    Plane(Plane),
    KernelSum(KernelSum),
}

impl Classifier {
    /// What it says at each stage; the last is the whole model's.
    pub(crate) fn stages(&self, features: &Array2<f64>) -> Vec<Stage> {
        let whole = |predicted| vec![Stage { step: None, predicted }];
        let features = &scaled(self.scaling.as_ref(), features);
        match &self.rule {
            ClassRule::Logits(logits) => whole(rows(features, |row| logits.class(row))),
            ClassRule::Trees(trees) => trees.stages(features),
            ClassRule::Machines(machines) => whole(rows(features, |row| machines.class(row))),
            ClassRule::Bayes(bayes) => whole(rows(features, |row| bayes.class(row))),
        }
    }

    /// What the whole model says.
    pub(crate) fn classes(&self, features: &Array2<f64>) -> Vec<usize> {
        match &self.rule {
            ClassRule::Trees(trees) => rows(&scaled(self.scaling.as_ref(), features), |row| trees.class(row)),
            _ => self.stages(features).pop().map(|stage| stage.predicted).unwrap_or_default(),
        }
    }

    /// How likely each of `count` classes is, where the model knows.
    pub(crate) fn probabilities(&self, features: &Array2<f64>, count: usize) -> Option<Vec<Vec<f64>>> {
        let features = &scaled(self.scaling.as_ref(), features);
        match &self.rule {
            ClassRule::Logits(logits) => Some(rows(features, |row| logits.probabilities(row, count))),
            ClassRule::Bayes(bayes) => Some(rows(features, |row| bayes.probabilities(row, count))),
            ClassRule::Trees(_) | ClassRule::Machines(_) => None,
        }
    }

    /// Whether it is whole, and fits so many columns and classes.
    pub(crate) fn fits(&self, columns: usize, classes: usize) -> bool {
        let scaling = self.scaling.as_ref().is_none_or(|scaling| scaling.fits(columns));
        scaling
            && match &self.rule {
                ClassRule::Logits(logits) => logits.fits(columns, classes),
                ClassRule::Trees(trees) => trees.fits(columns, classes),
                ClassRule::Machines(machines) => machines.fits(columns, classes),
                ClassRule::Bayes(bayes) => bayes.fits(columns, classes),
            }
    }
}

impl Regressor {
    pub(crate) fn numbers(&self, features: &Array2<f64>) -> Vec<f64> {
        let features = &scaled(self.scaling.as_ref(), features);
        match &self.rule {
            NumberRule::Plane(plane) => rows(features, |row| plane.number(row)),
            NumberRule::KernelSum(sum) => rows(features, |row| sum.value(row)),
        }
    }

    /// Whether it is whole, and fits so many columns.
    pub(crate) fn fits(&self, columns: usize) -> bool {
        let scaling = self.scaling.as_ref().is_none_or(|scaling| scaling.fits(columns));
        scaling
            && match &self.rule {
                NumberRule::Plane(plane) => plane.fits(columns),
                NumberRule::KernelSum(sum) => sum.fits(columns),
            }
    }
}

fn scaled(scaling: Option<&Scaling>, features: &Array2<f64>) -> Array2<f64> {
    scaling.map_or_else(|| features.clone(), |scaling| scaling.apply(features))
}

/// What `say` says of each row.
fn rows<T>(features: &Array2<f64>, say: impl Fn(&[f64]) -> T) -> Vec<T> {
    features.rows().into_iter().map(|row| say(&row.to_vec())).collect()
}

/// Where the largest value is; the first of those that tie.
fn largest(values: impl IntoIterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.into_iter().enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

/// Probabilities of `count` classes from the logarithms of what is proportional to them.
fn softmax(classes: &[usize], logs: &[f64], count: usize) -> Vec<f64> {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut shares = vec![0.0; count];
    for (class, weight) in classes.iter().zip(weights) {
        if let Some(share) = shares.get_mut(*class) {
            *share = weight / sum;
        }
    }
    shares
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Whether there are so many numbers, all finite.
fn whole(numbers: &[f64], count: usize) -> bool {
    numbers.len() == count && numbers.iter().all(|number| number.is_finite())
}

/// Whether classes are there, and known.
fn known(classes: &[usize], count: usize) -> bool {
    !classes.is_empty() && classes.iter().all(|class| *class < count)
}
