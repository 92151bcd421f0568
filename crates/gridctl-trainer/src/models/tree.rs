//! A decision tree of linfa-trees, and how forests and boosting grow theirs.
//!
//! linfa-trees adds up its impurities in f32 and in the order of a hash map that is seeded anew in
//! every process. With two classes the order cannot show, for a + b = b + a; with more it decides
//! near ties, and the same seed gives another tree each time. So every tree here asks questions
//! with two answers: "is it at least this class?", once for each step from the lowest class to the
//! highest, which also uses that qualities are ordered. A leaf where both answers weigh the same is
//! the other place where hash order leaks; rows that answer "no" weigh a little more, which breaks
//! the tie and decides nothing else. Weights are such that their sums are exact in f32: where they
//! are not, linfa-trees may look at a side without rows, and panics.
//!
//! Invariant: a tree depends on data and parameters alone.

use linfa::prelude::*;
use linfa_trees::{DecisionTree, SplitQuality, TreeNode};
use ndarray::{Array1, Array2};

use super::Samples;
use crate::{
    error::TrainError,
    fitted::{Ballot, BinaryTree, ClassRule, Classifier, Node, Trees},
    params::{Choice, Int, KnownParam, TrainerParams},
};

pub(super) const MAX_DEPTH: Int =
    Int { name: "max_depth", about: "questions in a row that a tree may ask", min: 1, max: 64, default: 10 };
pub(super) const MIN_SAMPLES_LEAF: Int =
    Int { name: "min_samples_leaf", about: "least rows in a leaf", min: 1, max: 500, default: 1 };
pub(super) const CRITERION: Choice =
    Choice { name: "criterion", about: "how a split is judged", options: &["gini", "entropy"] };

/// What a tree's parameters are called.
pub(super) const PARAMS: &[&dyn KnownParam] = &[&MAX_DEPTH, &MIN_SAMPLES_LEAF, &CRITERION];

/// How much more a row weighs that answers "no": exact below 4,096 rows.
pub(super) fn counted_no(weight: f32) -> f32 {
    weight * (1.0 + 1.0 / 4096.0)
}

/// How far a tree grows.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(super) max_depth: usize,
    /// Least weight of a leaf.
    pub(super) leaf: f32,
    pub(super) criterion: SplitQuality,
}

impl Tree {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self {
            max_depth: params.int(&MAX_DEPTH)?,
            leaf: params.int(&MIN_SAMPLES_LEAF)? as f32,
            criterion: match params.choice(&CRITERION)? {
                0 => SplitQuality::Gini,
                _ => SplitQuality::Entropy,
            },
        })
    }

    pub(super) fn fit(&self, train: &Samples) -> Result<Classifier, String> {
        let weights = vec![1.0; train.classes.len()];
        let ballot = self.grow(train.features.clone(), &train.classes, (&weights, counted_no))?;
        Ok(Classifier { scaling: None, rule: ClassRule::Trees(Trees(vec![ballot])) })
    }

    /// A tree for each step between the classes of weighted rows, and what those weigh that answer "no".
    pub(super) fn grow(
        &self,
        features: Array2<f64>,
        classes: &[usize],
        (weights, no): (&[f32], fn(f32) -> f32),
    ) -> Result<Ballot, String> {
        let mut steps = classes.to_vec();
        steps.sort_unstable();
        steps.dedup();
        let mut set = DatasetBase::new(features, Array1::default(classes.len()));
        let mut trees = Vec::new();
        for &step in steps.iter().skip(1) {
            set.targets = classes.iter().map(|&class| class >= step).collect::<Array1<bool>>();
            let weigh = |(weight, yes): (&f32, &bool)| if *yes { *weight } else { no(*weight) };
            set.weights = weights.iter().zip(&set.targets).map(weigh).collect();
            let tree = self.params().fit(&set).map_err(|error| error.to_string())?;
            let mut nodes = Vec::new();
            flatten(tree.root_node(), &mut nodes);
            trees.push(BinaryTree(nodes));
        }
        Ok(Ballot { classes: steps, trees, weight: 1.0 })
    }

    fn params(&self) -> linfa_trees::DecisionTreeParams<f64, bool> {
        DecisionTree::params()
            .split_quality(self.criterion)
            .max_depth(Some(self.max_depth))
            .min_weight_leaf(self.leaf)
            .min_weight_split(2.0 * self.leaf)
    }
}

/// Appends a node and all below it; the place where it stands.
fn flatten(node: &TreeNode<f64, bool>, nodes: &mut Vec<Node>) -> usize {
    let at = nodes.len();
    match (node.prediction(), node.children().as_slice()) {
        (None, [Some(below), Some(above)]) => {
            let (column, threshold, _) = node.split();
            nodes.push(Node::Leaf(false));
            let below = flatten(below, nodes);
            let above = flatten(above, nodes);
            nodes[at] = Node::Split(column, threshold, below, above);
        }
        (answer, _) => nodes.push(Node::Leaf(answer.unwrap_or_default())),
    }
    at
}
