//! AdaBoost (SAMME) over shallow trees: each round's trees attend to what the rounds before got wrong.
//!
//! Not linfa-ensemble's: that draws samples by weight, so that luck is in every round, and it ends ties in the order of a
//! hash map. linfa-trees takes weights as they are.
//!
//! Invariant: what is learned depends on data and parameters alone.

use super::{
    Samples,
    tree::{CRITERION, Tree},
};
use crate::{
    error::TrainError,
    fitted::{ClassRule, Classifier, Trees},
    params::{Float, Int, KnownParam, TrainerParams},
};

const N_TREES: Int = Int { name: "n_trees", about: "rounds of boosting", min: 1, max: 5000, default: 50 };
const MAX_DEPTH: Int =
    Int { name: "max_depth", about: "questions in a row that a tree may ask", min: 1, max: 16, default: 1 };
const LEARNING_RATE: Float = Float {
    name: "learning_rate",
    about: "how much a round changes the weights",
    min: 0.001,
    max: 10.0,
    default: 1.0,
};

/// What the parameters are called.
pub(super) const PARAMS: &[&dyn KnownParam] = &[&N_TREES, &MAX_DEPTH, &LEARNING_RATE, &CRITERION];

/// The vote of trees that got everything right.
const PERFECT: f64 = 1e6;

/// The parameters, checked.
#[derive(Debug, Clone)]
pub(crate) struct AdaBoost {
    rounds: usize,
    learning_rate: f64,
    tree: Tree,
}

impl AdaBoost {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        let criterion = match params.choice(&CRITERION)? {
            0 => linfa_trees::SplitQuality::Gini,
            _ => linfa_trees::SplitQuality::Entropy,
        };
        Ok(Self {
            rounds: params.int(&N_TREES)?,
            learning_rate: params.float(&LEARNING_RATE)?,
            tree: Tree { max_depth: params.int(&MAX_DEPTH)?, leaf: 0.5, criterion },
        })
    }

    pub(super) fn fit(&self, train: &Samples) -> Result<Classifier, String> {
        let rows: Vec<Vec<f64>> = train.features.rows().into_iter().map(|row| row.to_vec()).collect();
        let count = rows.len() as f64;
        let mut weights = vec![1.0; rows.len()];
        let mut ballots = Vec::new();
        for _ in 0..self.rounds {
            let light: Vec<f32> = weights.iter().map(|weight| units(weight / count)).collect();
            let mut ballot =
                self.tree.grow(train.features.clone(), &train.classes, (&light, |weight| weight + 1.0))?;
            let wrong: Vec<bool> =
                rows.iter().zip(&train.classes).map(|(row, class)| ballot.class(row) != *class).collect();
            let missed: f64 = weights.iter().zip(&wrong).filter(|(_, wrong)| **wrong).map(|(w, _)| w).sum();
            let error = missed / weights.iter().sum::<f64>();
            let classes = ballot.classes.len() as f64;
            if error <= 0.0 {
                ballot.weight = PERFECT;
                ballots.push(ballot);
                break;
            }
            if error >= 1.0 - 1.0 / classes {
                break;
            }
            ballot.weight = self.learning_rate * (((1.0 - error) / error).ln() + (classes - 1.0).ln());
            let factor = ballot.weight.exp();
            weights
                .iter_mut()
                .zip(&wrong)
                .filter(|(_, wrong)| **wrong)
                .for_each(|(weight, _)| *weight *= factor);
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight *= count / sum);
            ballots.push(ballot);
        }
        if ballots.is_empty() {
            return Err("the first trees do no better than guessing".to_owned());
        }
        Ok(Classifier { scaling: None, rule: ClassRule::Trees(Trees(ballots)) })
    }
}

/// A share of all weights in whole units, of which there are about four million: sums of them are exact in f32.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers below 2^23 are exact in f32")]
fn units(share: f64) -> f32 {
    (share * f64::from(1_u32 << 22)).round().max(16.0) as f32
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::models::{ModelKind, params_of};

    #[test]
    fn rounds_learn_what_one_stump_cannot() {
        let features = array![[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [8.0]];
        let train = Samples { features, classes: vec![0, 0, 0, 1, 1, 1, 0, 0, 0] };
        let learn = |params| {
            let boost = AdaBoost::new(&params_of(ModelKind::AdaBoost, params)).expect("they are in range");
            boost.fit(&train).expect("it learns").classes(&train.features)
        };
        assert_ne!(learn(r#"{"n_trees": 1}"#), train.classes);
        assert_eq!(learn(r#"{"n_trees": 20}"#), train.classes);
        assert_eq!(learn(r#"{"n_trees": 1, "max_depth": 2}"#), train.classes, "deeper trees need one round");
    }
}
