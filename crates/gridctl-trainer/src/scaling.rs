//! Brings measurements to one scale.
//!
//! Invariant: what is learned comes from the training rows alone, and travels with the model.

use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// What is taken from each column, and what it is then divided by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scaling {
    pub(crate) mean: Vec<f64>,
    pub(crate) scale: Vec<f64>,
}

impl Scaling {
    /// Each column to mean 0 and deviation 1. A column that is constant in `train` is only shifted.
    pub(crate) fn standard(train: &Array2<f64>) -> Self {
        let deviation = |column: ndarray::ArrayView1<'_, f64>| match column.std(0.0) {
            deviation if deviation > 0.0 => deviation,
            _ => 1.0,
        };
        Self { scale: train.columns().into_iter().map(deviation).collect(), ..Self::centre(train) }
    }

    /// Each column to mean 0.
    pub(crate) fn centre(train: &Array2<f64>) -> Self {
        let mean = train.columns().into_iter().map(|column| column.mean().unwrap_or(0.0)).collect();
        Self { mean, scale: vec![1.0; train.ncols()] }
    }

    pub(crate) fn apply(&self, features: &Array2<f64>) -> Array2<f64> {
        let mut scaled = features.clone();
        for ((mut column, mean), scale) in scaled.axis_iter_mut(Axis(1)).zip(&self.mean).zip(&self.scale) {
            column.mapv_inplace(|value| (value - mean) / scale);
        }
        scaled
    }

    /// Whether it fits so many columns.
    pub(crate) fn fits(&self, columns: usize) -> bool {
        let whole =
            |numbers: &[f64]| numbers.len() == columns && numbers.iter().all(|number| number.is_finite());
        whole(&self.mean) && whole(&self.scale) && self.scale.iter().all(|scale| *scale > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn scaling_is_learned_from_the_training_rows_alone() {
        let train = array![[1.0, 5.0], [3.0, 5.0]];
        let scaling = Scaling::standard(&train);
        assert_eq!(scaling.apply(&train), array![[-1.0, 0.0], [1.0, 0.0]]);
        assert_eq!(scaling.apply(&array![[4.0, 6.0]]), array![[2.0, 1.0]]);
        assert_eq!(Scaling::centre(&train).apply(&train), array![[-1.0, 0.0], [1.0, 0.0]]);
    }
}
