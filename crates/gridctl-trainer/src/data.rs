//! The data: the red wines of the wine-quality set that is built into linfa-datasets, and what is
//! asked of them.
//!
//! Invariant: two rows are in one group exactly if their measurements are equal, so a split by
//! group never tests on a wine that it has trained on.

use std::collections::HashMap;

use ndarray::Array2;

/// Measurements and quality of the red wines.
#[derive(Debug)]
pub(crate) struct Wine {
    /// One row a wine, one column a measurement.
    pub(crate) features: Array2<f64>,
    /// The tasters' mark: 3 to 8 in these data.
    pub(crate) quality: Vec<usize>,
    /// Each row's group: equal for rows with equal measurements, numbered from 0 in order of
    /// appearance.
    pub(crate) group: Vec<usize>,
    /// How many groups there are.
    pub(crate) groups: usize,
}

/// What a model is to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrainTarget {
    /// The mark itself.
    Quality,
    /// Whether the mark is at least this.
    Good(usize),
}

impl Wine {
    pub(crate) fn load() -> Self {
        let set = linfa_datasets::winequality();
        let mut known = HashMap::new();
        let group: Vec<usize> = set
            .records
            .rows()
            .into_iter()
            .map(|row| {
                let next = known.len();
                *known.entry(row.iter().map(|value| value.to_bits()).collect::<Vec<_>>()).or_insert(next)
            })
            .collect();
        Self { quality: set.targets.to_vec(), groups: known.len(), features: set.records, group }
    }

    /// Each row's class under `target`; classes are ordered.
    pub(crate) fn classes(&self, target: TrainTarget) -> Vec<usize> {
        match target {
            TrainTarget::Quality => self.quality.clone(),
            TrainTarget::Good(from) => self.quality.iter().map(|&mark| usize::from(mark >= from)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_wine_share_its_group() {
        let wine = Wine::load();
        assert_eq!((wine.features.dim(), wine.groups), ((1599, 11), 1359));
        for (a, &group) in wine.group.iter().enumerate() {
            let first = wine.group.iter().position(|&other| other == group).expect("it is in the list");
            assert_eq!(wine.features.row(a), wine.features.row(first), "rows {a} and {first}");
        }
        let max = wine.group.iter().max().copied();
        assert_eq!(max, Some(wine.groups - 1), "groups are numbered without gaps");
    }

    #[test]
    fn good_wines_are_those_from_a_mark_on() {
        let wine = Wine::load();
        for (from, expected) in [(4, 1589), (6, 855), (7, 217), (8, 18)] {
            assert_eq!(wine.classes(TrainTarget::Good(from)).iter().sum::<usize>(), expected, "from {from}");
        }
        assert_eq!(wine.classes(TrainTarget::Quality), wine.quality);
    }
}
