//! Gaussian naive Bayes by linfa-bayes.
//!
//! Invariant: what is kept are linfa's own numbers. It shows them by serde alone.

use linfa::prelude::*;
use linfa_bayes::GaussianNb;
use ndarray::Array1;
use serde_json::Value;

use super::Samples;
use crate::{
    error::TrainError,
    fitted::{Bayes, ClassRule, Classifier},
    params::{Float, KnownParam, TrainerParams},
};

const VAR_SMOOTHING: Float = Float {
    name: "var_smoothing",
    about: "added to each variance, as a share of the largest",
    min: 1e-12,
    max: 1.0,
    default: 1e-9,
};

/// What the parameters are called.
pub(super) const PARAMS: &[&dyn KnownParam] = &[&VAR_SMOOTHING];

/// The parameters, checked.
#[derive(Debug, Clone)]
pub(crate) struct GaussianBayes {
    var_smoothing: f64,
}

impl GaussianBayes {
    pub(super) fn new(params: &TrainerParams) -> Result<Self, TrainError> {
        Ok(Self { var_smoothing: params.float(&VAR_SMOOTHING)? })
    }

    pub(super) fn fit(&self, train: &Samples) -> Result<Classifier, String> {
        let set = DatasetBase::new(train.features.clone(), Array1::from(train.classes.clone()));
        let model = GaussianNb::params()
            .var_smoothing(self.var_smoothing)
            .fit(&set)
            .map_err(|error| error.to_string())?;
        let shown = serde_json::to_value(&model).map_err(|error| error.to_string())?;
        let bayes = numbers(&shown).ok_or("the library shows its numbers in another form")?;
        let classifier = Classifier { scaling: None, rule: ClassRule::Bayes(bayes) };
        let classes = train.classes.iter().max().map_or(0, |class| class + 1);
        match classifier.fits(train.features.ncols(), classes) {
            true => Ok(classifier),
            false => Err("all columns are constant".to_owned()),
        }
    }
}

/// The classes, ascending, with their numbers.
fn numbers(shown: &Value) -> Option<Bayes> {
    let infos = shown.get("class_info")?.as_object()?;
    let mut rows: Vec<(usize, &Value)> =
        infos.iter().map(|(class, info)| Some((class.parse().ok()?, info))).collect::<Option<_>>()?;
    rows.sort_by_key(|(class, _)| *class);
    let list = |info: &Value, name: &str| -> Option<Vec<f64>> {
        info.get(name)?.get("data")?.as_array()?.iter().map(Value::as_f64).collect()
    };
    Some(Bayes {
        classes: rows.iter().map(|(class, _)| *class).collect(),
        priors: rows.iter().map(|(_, info)| info.get("prior")?.as_f64()).collect::<Option<_>>()?,
        means: rows.iter().map(|(_, info)| list(info, "theta")).collect::<Option<_>>()?,
        variances: rows.iter().map(|(_, info)| list(info, "sigma")).collect::<Option<_>>()?,
    })
}
