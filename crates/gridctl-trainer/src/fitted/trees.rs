//! Trees that vote: one of them, a forest, or boosted ones.
//!
//! A tree answers a question with two answers, "is it at least this class?"; a ballot asks one for each step from its
//! lowest class to its highest, and counts the yeses.
//! Invariant: a tree's branches point forward, so that every row comes to an end. Ties go to the lowest class.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::{Stage, known, largest};

/// A question, or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Node {
    /// The answer.
    Leaf(bool),
    /// A column, a threshold, the node for what is below it and the node for the rest.
    Split(usize, f64, usize, usize),
}

/// A tree with two answers; the first node is its root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct BinaryTree(pub(crate) Vec<Node>);

impl BinaryTree {
    fn answer(&self, row: &[f64]) -> bool {
        let mut at = 0;
        loop {
            match self.0[at] {
                Node::Leaf(answer) => return answer,
                Node::Split(column, threshold, below, above) => {
                    at = if row[column] < threshold { below } else { above };
                }
            }
        }
    }

    fn fits(&self, columns: usize) -> bool {
        let fits = |(at, node): (usize, &Node)| match *node {
            Node::Leaf(_) => true,
            Node::Split(column, threshold, below, above) => {
                let forward = |to: usize| to > at && to < self.0.len();
                column < columns && threshold.is_finite() && forward(below) && forward(above)
            }
        };
        !self.0.is_empty() && self.0.iter().enumerate().all(fits)
    }
}

/// One vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ballot {
    /// The classes that it knows, ascending: one more than there are trees.
    pub(crate) classes: Vec<usize>,
    pub(crate) trees: Vec<BinaryTree>,
    pub(crate) weight: f64,
}

impl Ballot {
    pub(crate) fn class(&self, row: &[f64]) -> usize {
        self.classes[self.trees.iter().filter(|tree| tree.answer(row)).count()]
    }

    fn fits(&self, columns: usize, classes: usize) -> bool {
        known(&self.classes, classes)
            && self.classes.len() == self.trees.len() + 1
            && self.weight.is_finite()
            && self.trees.iter().all(|tree| tree.fits(columns))
    }
}

/// Votes, which are added up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Trees(pub(crate) Vec<Ballot>);

impl Trees {
    fn classes(&self) -> usize {
        self.0.iter().flat_map(|ballot| &ballot.classes).max().map_or(1, |class| class + 1)
    }

    pub(super) fn class(&self, row: &[f64]) -> usize {
        let mut votes = vec![0.0; self.classes()];
        self.0.iter().for_each(|ballot| votes[ballot.class(row)] += ballot.weight);
        largest(votes)
    }

    /// What they say after 1, 2, 4, ... ballots and after all.
    pub(super) fn stages(&self, features: &Array2<f64>) -> Vec<Stage> {
        if self.0.len() == 1 {
            let predicted = super::rows(features, |row| self.0[0].class(row));
            return vec![Stage { step: None, predicted }];
        }
        let mut votes = vec![vec![0.0; self.classes()]; features.nrows()];
        let rows = super::rows(features, <[f64]>::to_vec);
        let mut stages = Vec::new();
        for (count, ballot) in (1..).zip(&self.0) {
            for (votes, row) in votes.iter_mut().zip(&rows) {
                votes[ballot.class(row)] += ballot.weight;
            }
            if count == self.0.len() || usize::is_power_of_two(count) {
                let predicted = votes.iter().map(|votes| largest(votes.iter().copied())).collect();
                stages.push(Stage { step: Some(count), predicted });
            }
        }
        stages
    }

    pub(super) fn fits(&self, columns: usize, classes: usize) -> bool {
        !self.0.is_empty() && self.0.iter().all(|ballot| ballot.fits(columns, classes))
    }
}
