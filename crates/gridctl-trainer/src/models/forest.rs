//! A random forest of decision trees: a bootstrap sample and a draw of measurements for each tree,
//! then a vote.
//!
//! Invariant: the predictions depend on data, parameters and seed alone, and the first n trees of a
//! larger forest are the smaller forest.

use ndarray::{Array2, Axis};

use super::{
    Samples,
    tree::{CRITERION, MAX_DEPTH, MIN_SAMPLES_LEAF, Tree, counted_no},
};
use crate::{
    error::TrainError,
    fitted::{Ballot, ClassRule, Classifier, Node, Trees},
    params::{Float, Int, KnownParam, TrainerParams, whole},
    rng::Rng,
};

const N_TREES: Int = Int { name: "n_trees", about: "trees in the forest", min: 1, max: 5000, default: 30 };
const MAX_FEATURES: Int = Int {
    name: "max_features",
    about: "measurements drawn for each tree; all of them where there are no more",
    min: 1,
    max: 10_000,
    default: 8,
};
const BOOTSTRAP_FRACTION: Float = Float {
    name: "bootstrap_fraction",
    about: "size of a tree's sample, as a share of the training rows",
    min: 0.01,
    max: 1.0,
    default: 1.0,
};

/// What a forest's parameters are called.
pub(super) const PARAMS: &[&dyn KnownParam] =
    &[&N_TREES, &MAX_DEPTH, &MIN_SAMPLES_LEAF, &MAX_FEATURES, &BOOTSTRAP_FRACTION, &CRITERION];

/// A forest's parameters, checked.
#[derive(Debug, Clone)]
pub(crate) struct Forest {
    n_trees: usize,
    max_features: usize,
    bootstrap_fraction: f64,
    tree: Tree,
}

impl Forest {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self {
            n_trees: params.int(&N_TREES)?,
            max_features: params.int(&MAX_FEATURES)?,
            bootstrap_fraction: params.float(&BOOTSTRAP_FRACTION)?,
            tree: Tree::new(params)?,
        })
    }

    pub(super) fn fit(&self, train: &Samples, seed: [u64; 2]) -> Result<Classifier, String> {
        let grow = |tree| self.grow(train, &mut Rng::stream(seed[0], &[seed[1], tree as u64]));
        let ballots = (1..=self.n_trees).map(grow).collect::<Result<_, _>>()?;
        Ok(Classifier { scaling: None, rule: ClassRule::Trees(Trees(ballots)) })
    }

    /// One tree for each step between the classes.
    fn grow(&self, train: &Samples, rng: &mut Rng) -> Result<Ballot, String> {
        let columns = self.draw_columns(train.features.ncols(), rng);
        let (rows, counts) = self.draw_rows(train.classes.len(), rng);
        let features: Array2<f64> = train.features.select(Axis(1), &columns).select(Axis(0), &rows);
        let classes: Vec<usize> = rows.iter().map(|&row| train.classes[row]).collect();
        let mut ballot = self.tree.grow(features, &classes, (&counts, counted_no))?;
        for node in ballot.trees.iter_mut().flat_map(|tree| &mut tree.0) {
            if let Node::Split(column, ..) = node {
                *column = columns[*column];
            }
        }
        Ok(ballot)
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
    use crate::{
        fitted::Stage,
        models::{ModelKind, params_of},
        score,
    };

    fn forest(params: &str) -> Forest {
        Forest::new(&params_of(ModelKind::Forest, params)).expect("the values are in range")
    }

    fn stages(params: &str, train: &Samples, seed: [u64; 2]) -> Vec<Stage> {
        forest(params).fit(train, seed).expect("it can be fitted").stages(&train.features)
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
        let stages = stages(r#"{"n_trees": 9, "max_features": 3}"#, &train, [0, 0]);
        let last = stages.last().expect("there is one at the end");
        assert!(score::accuracy(&train.classes, &last.predicted) > 0.9);
    }

    #[test]
    fn a_smaller_forest_is_the_beginning_of_a_larger_one() {
        let train = samples();
        let (small, large) =
            (stages(r#"{"n_trees": 4}"#, &train, [5, 2]), stages(r#"{"n_trees": 11}"#, &train, [5, 2]));
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
                let last = stages(params, &train, [0, 0]).pop().expect("there is one at the end");
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
