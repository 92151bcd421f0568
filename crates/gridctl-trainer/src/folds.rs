//! Cuts the data into folds for cross-validation: by group, alike in their strata, shuffled by the seed.
//!
//! Invariant: every row is tested exactly once, and no group has rows on both sides of a split.

use std::collections::BTreeMap;

use crate::{
    data::{DataError, Table},
    rng::Rng,
};

/// One split: the rows to train on and the rows to test on, both ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fold {
    pub(crate) train: Vec<usize>,
    pub(crate) test: Vec<usize>,
}

/// The `count` splits that `seed` gives. The groups of each stratum are shuffled and dealt out in
/// turn, so that every fold holds about the same share of every stratum.
///
/// # Errors
/// [`DataError::TooFewRows`] for more folds than there are groups.
pub(crate) fn split(table: &Table, count: usize, seed: u64) -> Result<Vec<Fold>, DataError> {
    if count > table.groups {
        return Err(DataError::TooFewRows { data: table.name.clone(), groups: table.groups, folds: count });
    }
    let mut by_stratum: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut seen = vec![false; table.groups];
    for (&group, &stratum) in table.group.iter().zip(&table.strata) {
        if !std::mem::replace(&mut seen[group], true) {
            by_stratum.entry(stratum).or_default().push(group);
        }
    }
    let mut rng = Rng::stream(seed, &[]);
    let mut fold_of = vec![0; table.groups];
    let mut dealt = 0;
    for groups in by_stratum.values_mut() {
        rng.shuffle(groups);
        for &group in groups.iter() {
            fold_of[group] = dealt % count;
            dealt += 1;
        }
    }
    let fold = |fold| {
        let (test, train) = (0..table.group.len()).partition(|&row| fold_of[table.group[row]] == fold);
        Fold { train, test }
    };
    Ok((0..count).map(fold).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::data::tests::choice;

    fn wine() -> Table {
        choice("wine", None).classes().expect("it is built in").table
    }

    #[test]
    fn each_row_is_tested_once_and_no_group_straddles_a_split() {
        let wine = wine();
        for count in [2, 5, 10] {
            let folds = split(&wine, count, 4).expect("there are enough");
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
        let wine = wine();
        for fold in split(&wine, 5, 0).expect("there are enough") {
            assert!((280..360).contains(&fold.test.len()), "{} rows", fold.test.len());
            let good = fold.test.iter().filter(|&&row| wine.strata[row] >= 7).count();
            assert!((30..60).contains(&good), "{good} good wines");
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let wine = wine();
        let folds = |seed| split(&wine, 5, seed).expect("there are enough");
        assert_eq!(folds(1), folds(1));
        assert_ne!(folds(1), folds(2));
        assert!(matches!(split(&wine, 1360, 0), Err(DataError::TooFewRows { groups: 1359, .. })));
    }
}
