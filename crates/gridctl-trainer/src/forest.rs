//! A random forest of linfa-trees' decision trees: a bootstrap sample and a draw of measurements
//! for each tree, then a vote.
//!
//! linfa-trees adds up its impurities in f32 and in the order of a hash map that is seeded anew in
//! every process. With two classes the order cannot show, for a + b = b + a; with more it decides
//! near ties, and the same seed gives another tree each time. So every tree here asks questions
//! with two answers: "is it at least this class?", once for each step from the lowest class to the
//! highest, which also uses that qualities are ordered. A leaf where both answers weigh the same is
//! the other place where hash order leaks; rows that answer "no" weigh a 4096th more, which breaks
//! the tie, decides nothing else below 4,096 rows, and is exact in f32.
//!
//! Invariant: the predictions depend on data, parameters and seed alone, and the first n trees of a
//! larger forest are the smaller forest.

use linfa::prelude::*;
use linfa_trees::{DecisionTree, SplitQuality};
use ndarray::{Array1, Array2, Axis};

use crate::{
    cv::{Samples, Stage},
    error::TrainError,
    params::{Choice, Float, Int, KnownParam, TrainerParams, whole},
    rng::Rng,
    score,
};

const N_TREES: Int = Int { name: "n_trees", about: "trees in the forest", min: 1, max: 5000, default: 30 };
const MAX_DEPTH: Int =
    Int { name: "max_depth", about: "questions in a row that a tree may ask", min: 1, max: 64, default: 10 };
const MIN_SAMPLES_LEAF: Int =
    Int { name: "min_samples_leaf", about: "least wines in a leaf", min: 1, max: 500, default: 1 };
const MAX_FEATURES: Int = Int {
    name: "max_features",
    about: "measurements drawn for each tree, out of 11",
    min: 1,
    max: 11,
    default: 8,
};
const BOOTSTRAP_FRACTION: Float = Float {
    name: "bootstrap_fraction",
    about: "size of a tree's sample, as a share of the training wines",
    min: 0.01,
    max: 1.0,
    default: 1.0,
};
const CRITERION: Choice =
    Choice { name: "criterion", about: "how a split is judged", options: &["gini", "entropy"] };

/// What a forest's parameters are called.
pub(crate) const PARAMS: &[&dyn KnownParam] =
    &[&N_TREES, &MAX_DEPTH, &MIN_SAMPLES_LEAF, &MAX_FEATURES, &BOOTSTRAP_FRACTION, &CRITERION];

/// How much more a row weighs that answers "no".
const TIE: f32 = 1.0 / 4096.0;

/// A forest's parameters, checked.
#[derive(Debug, Clone)]
pub(crate) struct Forest {
    n_trees: usize,
    max_depth: usize,
    min_samples_leaf: usize,
    max_features: usize,
    bootstrap_fraction: f64,
    criterion: SplitQuality,
}

impl Forest {
    pub(crate) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self {
            n_trees: params.int(&N_TREES)?,
            max_depth: params.int(&MAX_DEPTH)?,
            min_samples_leaf: params.int(&MIN_SAMPLES_LEAF)?,
            max_features: params.int(&MAX_FEATURES)?,
            bootstrap_fraction: params.float(&BOOTSTRAP_FRACTION)?,
            criterion: match params.choice(&CRITERION)? {
                0 => SplitQuality::Gini,
                _ => SplitQuality::Entropy,
            },
        })
    }

    /// Trains on `train` and predicts `test` after 1, 2, 4, ... trees and after all.
    pub(crate) fn predict(
        &self,
        train: &Samples,
        test: &Array2<f64>,
        seed: [u64; 2],
    ) -> Result<Vec<Stage>, String> {
        let mut votes: Vec<Vec<usize>> = vec![Vec::with_capacity(self.n_trees); test.nrows()];
        let mut stages = Vec::new();
        for tree in 1..=self.n_trees {
            let mut rng = Rng::stream(seed[0], &[seed[1], tree as u64]);
            let predicted = self.tree(train, test, &mut rng)?;
            votes.iter_mut().zip(predicted).for_each(|(votes, class)| votes.push(class));
            if tree.is_power_of_two() || tree == self.n_trees {
                let vote = |votes: &Vec<usize>| score::majority(votes.iter().copied()).unwrap_or_default();
                stages.push(Stage { step: Some(tree), predicted: votes.iter().map(vote).collect() });
            }
        }
        Ok(stages)
    }

    /// Trains one tree and predicts `test` with it.
    fn tree(&self, train: &Samples, test: &Array2<f64>, rng: &mut Rng) -> Result<Vec<usize>, String> {
        let columns = self.draw_columns(train.features.ncols(), rng);
        let (rows, counts) = self.draw_rows(train.classes.len(), rng);
        let features = train.features.select(Axis(1), &columns).select(Axis(0), &rows);
        let classes: Vec<usize> = rows.iter().map(|&row| train.classes[row]).collect();
        let test = test.select(Axis(1), &columns);

        let mut steps = classes.clone();
        steps.sort_unstable();
        steps.dedup();
        let mut set = DatasetBase::new(features, Array1::default(rows.len()));
        let mut passed = vec![0; test.nrows()];
        for &step in steps.iter().skip(1) {
            set.targets = classes.iter().map(|&class| class >= step).collect::<Array1<bool>>();
            set.weights = counts
                .iter()
                .zip(&set.targets)
                .map(|(n, yes)| if *yes { *n } else { n * (1.0 + TIE) })
                .collect();
            let answers = self.params().fit(&set).map_err(|error| error.to_string())?.predict(&test);
            passed.iter_mut().zip(&answers).for_each(|(passed, yes)| *passed += usize::from(*yes));
        }
        Ok(passed.into_iter().map(|passed| steps[passed]).collect())
    }

    fn params(&self) -> linfa_trees::DecisionTreeParams<f64, bool> {
        let leaf = self.min_samples_leaf as f32;
        DecisionTree::params()
            .split_quality(self.criterion)
            .max_depth(Some(self.max_depth))
            .min_weight_leaf(leaf)
            .min_weight_split(2.0 * leaf)
    }

    /// The measurements that a tree may ask about, ascending.
    fn draw_columns(&self, count: usize, rng: &mut Rng) -> Vec<usize> {
        let mut columns: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut columns);
        columns.truncate(self.max_features);
        columns.sort_unstable();
        columns
    }

    /// A bootstrap sample: the rows drawn, ascending, and how often each was.
    fn draw_rows(&self, count: usize, rng: &mut Rng) -> (Vec<usize>, Vec<f32>) {
        let mut drawn = vec![0.0; count];
        let size = whole((self.bootstrap_fraction * count as f64).ceil());
        (0..size).for_each(|_| drawn[rng.below(count)] += 1.0);
        drawn.into_iter().enumerate().filter(|&(_, times)| times > 0.0).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Env;

    fn forest(params: &str) -> Forest {
        let env = Env::read([("GRID_PARAMS".into(), params.into())]).expect("it is UTF-8");
        let params = env.params("forest", PARAMS).expect("the names are known");
        Forest::new(&params).expect("the values are in range")
    }

    /// 200 rows in four classes that follow from the first of three columns, but for every seventh.
    fn samples() -> Samples {
        let mut rng = Rng::stream(1, &[]);
        let features = Array2::from_shape_simple_fn((200, 3), || rng.below(1000) as f64);
        let class = |(row, value): (usize, &f64)| if row % 7 == 0 { 3 } else { 3 + whole(value / 250.0) };
        let classes = features.column(0).iter().enumerate().map(class).collect();
        Samples { features, classes }
    }

    #[test]
    fn a_forest_learns_more_than_two_classes() {
        let train = samples();
        let stages = forest(r#"{"n_trees": 9, "max_features": 3}"#)
            .predict(&train, &train.features, [0, 0])
            .expect("the data can be fitted");
        let last = stages.last().expect("there is one at the end");
        assert!(score::accuracy(&train.classes, &last.predicted) > 0.9);
    }

    #[test]
    fn a_smaller_forest_is_the_beginning_of_a_larger_one() {
        let train = samples();
        let predict =
            |params| forest(params).predict(&train, &train.features, [5, 2]).expect("it can be fitted");
        let (small, large) = (predict(r#"{"n_trees": 4}"#), predict(r#"{"n_trees": 11}"#));
        let steps = |stages: &[Stage]| stages.iter().map(|stage| stage.step).collect::<Vec<_>>();
        assert_eq!(steps(&small), [1, 2, 4].map(Some));
        assert_eq!(steps(&large), [1, 2, 4, 8, 11].map(Some));
        for (small, large) in small.iter().zip(&large) {
            assert_eq!(small.predicted, large.predicted, "after {:?} trees", small.step);
        }
    }

    #[test]
    fn odd_data_fits_without_a_panic() {
        let cases: [(&str, &[f64], &[usize]); 4] = [
            ("one class", &[1.0, 2.0, 3.0, 4.0], &[5, 5, 5, 5]),
            ("constant measurement", &[1.0, 1.0, 1.0, 1.0], &[5, 6, 5, 6]),
            ("one row", &[1.0], &[5]),
            ("each row its own class", &[1.0, 2.0, 3.0, 4.0], &[3, 5, 6, 8]),
        ];
        for (name, column, classes) in cases {
            let features = Array2::from_shape_vec((column.len(), 1), column.to_vec()).expect("one column");
            let train = Samples { classes: classes.to_vec(), features };
            for params in
                [r#"{"max_features": 1}"#, r#"{"bootstrap_fraction": 0.01, "criterion": "entropy"}"#]
            {
                let stages = forest(params).predict(&train, &train.features, [0, 0]);
                let last = stages.expect(name).pop().expect("there is one at the end");
                assert!(last.predicted.iter().all(|class| classes.contains(class)), "{name}, {params}");
            }
        }
    }

    #[test]
    fn a_sample_has_the_size_asked_for() {
        for (fraction, expected) in [("1.0", 200.0), ("0.5", 100.0), ("0.011", 3.0)] {
            let forest = forest(&format!(r#"{{"bootstrap_fraction": {fraction}}}"#));
            let (rows, counts) = forest.draw_rows(200, &mut Rng::stream(0, &[]));
            assert!(rows.is_sorted() && rows.len() == counts.len());
            assert_eq!(counts.iter().sum::<f32>(), expected, "{fraction}");
        }
    }
}
