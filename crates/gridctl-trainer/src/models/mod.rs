//! The models: what they take, and how they learn.
//!
//! Invariant: what a model learns depends on data, parameters and seed alone.

mod adaboost;
#[cfg(feature = "models")]
mod bayes;
mod forest;
#[cfg(feature = "models")]
mod linear;
mod logistic;
#[cfg(feature = "models")]
mod svm;
mod tree;

use ndarray::Array2;

use crate::{
    error::TrainError,
    fitted::{Classifier, Regressor},
    params::{KnownParam, TrainerParams},
};

/// What classes are learned from.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) features: Array2<f64>,
    pub(crate) classes: Vec<usize>,
}

/// What numbers are learned from.
#[cfg_attr(not(feature = "models"), expect(dead_code, reason = "no model of this build predicts numbers"))]
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) features: Array2<f64>,
    pub(crate) numbers: Vec<f64>,
}

/// The models there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelKind {
    Linear,
    ElasticNet,
    Logistic,
    Tree,
    Forest,
    AdaBoost,
    Svm,
    Svr,
    Bayes,
}

/// A model that tells classes, with its parameters.
#[derive(Debug)]
pub(crate) enum ClassModel {
    Forest(forest::Forest),
    Tree(tree::Tree),
    AdaBoost(adaboost::AdaBoost),
    Logistic(logistic::Logistic),
    #[cfg(feature = "models")]
    Svm(svm::Svc),
    #[cfg(feature = "models")]
    Bayes(bayes::GaussianBayes),
}

/// A model that predicts numbers, with its parameters.
#[derive(Debug)]
pub(crate) enum NumberModel {
    #[cfg(feature = "models")]
    Linear,
    #[cfg(feature = "models")]
    ElasticNet(linear::ElasticNetParams),
    #[cfg(feature = "models")]
    Svr(svm::SvrParams),
}

/// A model with its parameters, checked.
#[derive(Debug)]
pub(crate) enum Model {
    Classes(ClassModel),
    #[cfg_attr(
        not(feature = "models"),
        expect(dead_code, reason = "no model of this build predicts numbers")
    )]
    Numbers(NumberModel),
}

impl ModelKind {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Linear,
        Self::ElasticNet,
        Self::Logistic,
        Self::Tree,
        Self::Forest,
        Self::AdaBoost,
        Self::Svm,
        Self::Svr,
        Self::Bayes,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::ElasticNet => "elastic-net",
            Self::Logistic => "logistic",
            Self::Tree => "tree",
            Self::Forest => "forest",
            Self::AdaBoost => "adaboost",
            Self::Svm => "svm",
            Self::Svr => "svr",
            Self::Bayes => "bayes",
        }
    }

    /// Which data it is trained on, if none are named.
    pub(crate) fn usual_data(self) -> &'static str {
        match self {
            Self::Linear | Self::ElasticNet | Self::Svr => "diabetes",
            _ => "wine",
        }
    }

    /// Its own parameters; none where it is not in this build.
    pub(crate) fn params(self) -> &'static [&'static dyn KnownParam] {
        match self {
            Self::Forest => forest::PARAMS,
            Self::Tree => tree::PARAMS,
            Self::AdaBoost => adaboost::PARAMS,
            Self::Logistic => logistic::PARAMS,
            #[cfg(feature = "models")]
            Self::ElasticNet => linear::PARAMS,
            #[cfg(feature = "models")]
            Self::Svm => svm::PARAMS,
            #[cfg(feature = "models")]
            Self::Svr => svm::SVR_PARAMS,
            #[cfg(feature = "models")]
            Self::Bayes => bayes::PARAMS,
            _ => &[],
        }
    }

    /// Whether it is in this build.
    pub(crate) fn is_built(self) -> bool {
        cfg!(feature = "models")
            || matches!(self, Self::Forest | Self::Tree | Self::AdaBoost | Self::Logistic)
    }

    /// # Errors
    /// [`TrainError::NotBuilt`], and what its parameters say.
    pub(crate) fn model(self, params: &TrainerParams) -> Result<Model, TrainError> {
        Ok(match self {
            Self::Forest => Model::Classes(ClassModel::Forest(forest::Forest::new(params)?)),
            Self::Tree => Model::Classes(ClassModel::Tree(tree::Tree::new(params)?)),
            Self::AdaBoost => Model::Classes(ClassModel::AdaBoost(adaboost::AdaBoost::new(params)?)),
            Self::Logistic => Model::Classes(ClassModel::Logistic(logistic::Logistic::new(params)?)),
            #[cfg(feature = "models")]
            Self::Svm => Model::Classes(ClassModel::Svm(svm::Svc::new(params)?)),
            #[cfg(feature = "models")]
            Self::Bayes => Model::Classes(ClassModel::Bayes(bayes::GaussianBayes::new(params)?)),
            #[cfg(feature = "models")]
            Self::Linear => Model::Numbers(NumberModel::Linear),
            #[cfg(feature = "models")]
            Self::ElasticNet => {
                Model::Numbers(NumberModel::ElasticNet(linear::ElasticNetParams::new(params)?))
            }
            #[cfg(feature = "models")]
            Self::Svr => Model::Numbers(NumberModel::Svr(svm::SvrParams::new(params)?)),
            #[cfg(not(feature = "models"))]
            _ => return Err(TrainError::NotBuilt { model: self.name() }),
        })
    }
}

impl ClassModel {
    /// Learns from `train`, which has two classes or more. What is left to chance follows from `seed`.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn fit(&self, train: &Samples, seed: [u64; 2]) -> Result<Classifier, String> {
        match self {
            Self::Forest(forest) => forest.fit(train, seed),
            Self::Tree(tree) => tree.fit(train),
            Self::AdaBoost(boost) => boost.fit(train),
            Self::Logistic(logistic) => logistic.fit(train),
            #[cfg(feature = "models")]
            Self::Svm(svm) => svm.fit(train),
            #[cfg(feature = "models")]
            Self::Bayes(bayes) => bayes.fit(train),
        }
    }
}

impl NumberModel {
    /// Learns from `train`.
    ///
    /// # Errors
    /// What the library says.
    #[cfg_attr(
        not(feature = "models"),
        expect(unused_variables, reason = "no model of this build predicts numbers")
    )]
    pub(crate) fn fit(&self, train: &Measured) -> Result<Regressor, String> {
        match *self {
            #[cfg(feature = "models")]
            Self::Linear => linear::least_squares(train),
            #[cfg(feature = "models")]
            Self::ElasticNet(ref net) => net.fit(train),
            #[cfg(feature = "models")]
            Self::Svr(ref svr) => svr.fit(train),
        }
    }
}

/// Some parameters of a model, for its tests.
#[cfg(test)]
pub(crate) fn params_of(kind: ModelKind, params: &str) -> TrainerParams {
    let env = crate::params::Env::read([("GRID_PARAMS".into(), params.into())]).expect("it is UTF-8");
    env.params(kind.name(), kind.params()).expect("the names are known")
}
