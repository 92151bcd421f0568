//! Cuts the data into folds for cross-validation: by group, alike in quality, shuffled by the seed.
//!
//! Invariant: every row is tested exactly once, and no group has rows on both sides of a split.

use std::collections::BTreeMap;

use crate::{data::Wine, rng::Rng};

/// One split: the rows to train on and the rows to test on, both ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fold {
    pub(crate) train: Vec<usize>,
    pub(crate) test: Vec<usize>,
}

/// The `count` splits that `seed` gives. The groups of each quality are shuffled and dealt out in
/// turn, so that every fold holds about the same share of every quality.
pub(crate) fn split(wine: &Wine, count: usize, seed: u64) -> Vec<Fold> {
    let mut by_quality: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut seen = vec![false; wine.groups];
    for (&group, &quality) in wine.group.iter().zip(&wine.quality) {
        if !std::mem::replace(&mut seen[group], true) {
            by_quality.entry(quality).or_default().push(group);
        }
    }
    let mut rng = Rng::stream(seed, &[]);
    let mut fold_of = vec![0; wine.groups];
    let mut dealt = 0;
    for groups in by_quality.values_mut() {
        rng.shuffle(groups);
        for &group in groups.iter() {
            fold_of[group] = dealt % count;
            dealt += 1;
        }
    }
    (0..count)
        .map(|fold| {
            let (test, train) = (0..wine.group.len()).partition(|&row| fold_of[wine.group[row]] == fold);
            Fold { train, test }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_row_is_tested_once_and_no_group_straddles_a_split() {
        let wine = Wine::load();
        for count in [2, 5, 10] {
            let folds = split(&wine, count, 4);
            let mut tested: Vec<usize> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
            tested.sort_unstable();
            assert_eq!(tested, (0..1599).collect::<Vec<_>>(), "{count} folds");
            for fold in &folds {
                let groups = |rows: &[usize]| rows.iter().map(|&row| wine.group[row]).collect::<HashSet<_>>();
                assert!(groups(&fold.train).is_disjoint(&groups(&fold.test)), "{count} folds");
                assert_eq!(fold.train.len() + fold.test.len(), 1599);
            }
        }
    }

    #[test]
    fn folds_are_alike_in_size_and_quality() {
        let wine = Wine::load();
        for fold in split(&wine, 5, 0) {
            assert!((280..360).contains(&fold.test.len()), "{} rows", fold.test.len());
            let good = fold.test.iter().filter(|&&row| wine.quality[row] >= 7).count();
            assert!((30..60).contains(&good), "{good} good wines");
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let wine = Wine::load();
        assert_eq!(split(&wine, 5, 1), split(&wine, 5, 1));
        assert_ne!(split(&wine, 5, 1), split(&wine, 5, 2));
    }
}
