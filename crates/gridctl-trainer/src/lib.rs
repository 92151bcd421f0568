//! The trainers that ship with gridctl: `gridctl train forest` and others. They cross-validate a model on wine, iris,
//! diabetes or a CSV file, print its scores, and keep the model that all rows give.
//!
//! They are trainers like any other. gridctl starts them as processes, they read their parameters from the
//! environment and print metrics on standard output; no other crate knows them.
//!
//! Invariant: the same model, data, parameters and seed print the same bytes, in every process.

mod cv;
mod data;
mod error;
mod file;
mod fitted;
mod folds;
mod models;
mod params;
mod predict;
mod print;
mod rng;
mod scaling;
mod score;

use std::io::{self, Write};
use std::path::Path;

use crate::{
    cv::FoldPlan,
    data::{DataChoice, Table},
    file::Learned,
    models::{Model, ModelKind},
    params::{Env, Flag, Int, KnownParam, Text},
};

pub use crate::{
    data::DataError,
    error::TrainError,
    file::{KeptModel, MODEL_FILE, ModelError, RequestError},
    predict::PredictArgs,
};

/// What `gridctl train` takes on its command line; everything else comes from the environment.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// What to do
    #[command(subcommand)]
    command: TrainCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum TrainCommand {
    /// Linear regression, by ordinary least squares
    #[command(after_long_help = print::help(ModelKind::Linear))]
    Linear,
    /// Linear regression with penalties on its weights: lasso, ridge and between
    #[command(alias = "elastic_net", after_long_help = print::help(ModelKind::ElasticNet))]
    ElasticNet,
    /// Logistic regression
    #[command(after_long_help = print::help(ModelKind::Logistic))]
    Logistic,
    /// A decision tree
    #[command(after_long_help = print::help(ModelKind::Tree))]
    Tree,
    /// A random forest
    #[command(after_long_help = print::help(ModelKind::Forest))]
    Forest,
    /// AdaBoost over shallow trees
    #[command(name = "adaboost", after_long_help = print::help(ModelKind::AdaBoost))]
    AdaBoost,
    /// A support vector machine that tells classes
    #[command(after_long_help = print::help(ModelKind::Svm))]
    Svm,
    /// A support vector machine that predicts numbers
    #[command(after_long_help = print::help(ModelKind::Svr))]
    Svr,
    /// Gaussian naive Bayes
    #[command(alias = "naive-bayes", after_long_help = print::help(ModelKind::Bayes))]
    Bayes,
    /// Predict with a model that was kept
    Predict(PredictArgs),
}

const DATA: Text = Text { name: "data", about: "wine, iris, diabetes, or the path of a CSV file", usual: "" };
const TARGET: Text = Text {
    name: "target",
    about: "the column to predict; of wine, good (whether a wine is good) or quality (its mark)",
    usual: "",
};
const GOOD_FROM: Int =
    Int { name: "good_from", about: "the quality from which a wine is good", min: 4, max: 8, default: 6 };
const FOLDS: Int = Int { name: "folds", about: "folds of the cross-validation", min: 2, max: 50, default: 5 };
const KEEP: Flag =
    Flag { name: "keep_model", about: "write the model of all rows to $GRID_OUTPUT_DIR", default: true };
const SHARED: &[&dyn KnownParam] = &[&DATA, &TARGET, &GOOD_FROM, &FOLDS, &KEEP];

impl TrainCommand {
    fn kind(&self) -> Result<ModelKind, &PredictArgs> {
        Ok(match self {
            Self::Linear => ModelKind::Linear,
            Self::ElasticNet => ModelKind::ElasticNet,
            Self::Logistic => ModelKind::Logistic,
            Self::Tree => ModelKind::Tree,
            Self::Forest => ModelKind::Forest,
            Self::AdaBoost => ModelKind::AdaBoost,
            Self::Svm => ModelKind::Svm,
            Self::Svr => ModelKind::Svr,
            Self::Bayes => ModelKind::Bayes,
            Self::Predict(args) => return Err(args),
        })
    }
}

/// Trains as the environment says: parameters from `GRID_PARAMS` (one JSON object) or else
/// `HP_<NAME>`, the seed from `GRID_SEED`. Scores go to standard output, a few words about data and
/// target to standard error. Or predicts.
///
/// # Errors
/// [`TrainError`] for parameters that the model does not take, for data that are none, and where the library fails.
pub fn run(args: &TrainArgs) -> Result<(), TrainError> {
    let (mut out, mut notes) = (io::stdout().lock(), io::stderr().lock());
    let result = match args.command.kind() {
        Err(predict) => {
            let dir = std::env::var_os("GRID_MODEL_DIR").filter(|dir| !dir.is_empty());
            predict::run(predict, dir, &mut io::stdin().lock(), &mut out)
        }
        Ok(kind) => {
            // A panic in the library becomes an error of ours; its own message would only say it twice.
            std::panic::set_hook(Box::new(|_| {}));
            let result =
                Env::read(std::env::vars_os()).and_then(|env| train(kind, env, &mut out, &mut notes));
            drop(std::panic::take_hook());
            result
        }
    };
    match result {
        Err(TrainError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn train(kind: ModelKind, env: Env, out: &mut dyn Write, notes: &mut dyn Write) -> Result<(), TrainError> {
    if !kind.is_built() {
        return Err(TrainError::NotBuilt { model: kind.name() });
    }
    let seed = env.seed()?;
    let (data_dir, output_dir) = (env.data_dir.clone(), env.output_dir.clone());
    let params = env.params(kind.name(), &[kind.params(), SHARED].concat())?;
    let choice = DataChoice {
        data: params.text(&DATA)?.unwrap_or_else(|| kind.usual_data().to_owned()),
        target: params.text(&TARGET)?,
        good_from: params.int(&GOOD_FROM)?,
        data_dir,
    };
    let plan = FoldPlan { model: kind.name(), folds: params.int(&FOLDS)?, seed };
    let keep = output_dir.filter(|_| params.flag(&KEEP).unwrap_or(true));
    params.flag(&KEEP)?;
    let all = |table: &Table| (0..table.features.nrows()).collect::<Vec<_>>();
    let kept = match kind.model(&params)? {
        Model::Classes(model) => {
            let data = choice.classes()?;
            print::data(&data.table, plan, notes)?;
            print::classes(&data, &choice, notes)?;
            print::class_scores(&cv::classes(&model, &data, plan)?, out)?;
            let learn = || -> Result<KeptModel, TrainError> {
                let classifier = cv::fit_classes(&model, &data, (&all(&data.table), None), plan)?;
                let learned = Learned::Classes { labels: data.labels.clone(), classifier };
                Ok(KeptModel::new(kind.name(), &data.table, learned))
            };
            keep.as_ref().map(|_| learn()).transpose()?
        }
        Model::Numbers(model) => {
            let data = choice.numbers()?;
            print::data(&data.table, plan, notes)?;
            print::number_scores(&cv::numbers(&model, &data, plan)?, out)?;
            let learn = || -> Result<KeptModel, TrainError> {
                let regressor = cv::fit_numbers(&model, &data, (&all(&data.table), None), plan)?;
                Ok(KeptModel::new(kind.name(), &data.table, Learned::Numbers(regressor)))
            };
            keep.as_ref().map(|_| learn()).transpose()?
        }
    };
    match (kept, keep) {
        (Some(model), Some(dir)) => model.keep(Path::new(&dir)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
