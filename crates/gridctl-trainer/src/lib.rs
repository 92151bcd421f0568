//! The linfa trainer that ships with gridctl: `gridctl train forest`, `gridctl train logistic`. It
//! cross-validates a model on the red wines of the wine-quality data and prints its scores.
//!
//! It is a trainer like any other. gridctl starts it as a process, it reads its parameters from the
//! environment and prints metrics on standard output; no other crate knows it.
//!
//! Invariant: the same model, parameters and seed print the same bytes, in every process.

mod cv;
mod data;
mod error;
mod folds;
mod forest;
mod logistic;
mod params;
mod rng;
mod score;

use std::io::{self, Write};

use ndarray::Array2;

use crate::{
    cv::{FoldPlan, Samples, Scores, Stage},
    data::{TrainTarget, Wine},
    forest::Forest,
    logistic::Logistic,
    params::{Choice, Env, Int, KnownParam, ParamTable, TrainerParams},
};

pub use crate::error::TrainError;

/// What `gridctl train` takes on its command line; everything else comes from the environment.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = help())]
pub struct TrainArgs {
    /// The model to train
    pub model: ModelKind,
}

/// The models there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ModelKind {
    /// A random forest
    Forest,
    /// Logistic regression
    Logistic,
}

const TARGET: Choice = Choice {
    name: "target",
    about: "what to predict: whether a wine is good, or its quality itself",
    options: &["good", "quality"],
};
const GOOD_FROM: Int =
    Int { name: "good_from", about: "the quality from which a wine is good", min: 4, max: 8, default: 6 };
const FOLDS: Int = Int { name: "folds", about: "folds of the cross-validation", min: 2, max: 50, default: 5 };
const SHARED: &[&dyn KnownParam] = &[&TARGET, &GOOD_FROM, &FOLDS];

/// A model with its parameters, checked.
#[derive(Debug)]
pub(crate) enum Model {
    Forest(Forest),
    Logistic(Logistic),
}

impl ModelKind {
    fn name(self) -> &'static str {
        match self {
            Self::Forest => "forest",
            Self::Logistic => "logistic",
        }
    }

    fn params(self) -> Vec<&'static dyn KnownParam> {
        let own = match self {
            Self::Forest => forest::PARAMS,
            Self::Logistic => logistic::PARAMS,
        };
        [own, SHARED].concat()
    }

    fn model(self, params: &TrainerParams) -> Result<Model, TrainError> {
        Ok(match self {
            Self::Forest => Model::Forest(Forest::new(params)?),
            Self::Logistic => Model::Logistic(Logistic::new(params)?),
        })
    }
}

impl Model {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Forest(_) => ModelKind::Forest.name(),
            Self::Logistic(_) => ModelKind::Logistic.name(),
        }
    }

    /// Trains on `train` and predicts `test`. What is left to chance follows from `seed`.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn predict(
        &self,
        train: &Samples,
        test: &Array2<f64>,
        seed: [u64; 2],
    ) -> Result<Vec<Stage>, String> {
        match self {
            Self::Forest(forest) => forest.predict(train, test, seed),
            Self::Logistic(logistic) => logistic.predict(train, test),
        }
    }
}

/// Trains as the environment says: parameters from `GRID_PARAMS` (one JSON object) or else
/// `HP_<NAME>`, the seed from `GRID_SEED`. Scores go to standard output, a few words about data and
/// target to standard error.
///
/// # Errors
/// [`TrainError`] for parameters that the model does not take, and where the library fails.
pub fn run(args: TrainArgs) -> Result<(), TrainError> {
    // A panic in the library becomes an error of ours; its own message would only say it twice.
    std::panic::set_hook(Box::new(|_| {}));
    let result = Env::read(std::env::vars_os())
        .and_then(|env| train(args.model, env, &mut io::stdout().lock(), &mut io::stderr().lock()));
    drop(std::panic::take_hook());
    match result {
        Err(TrainError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn train(kind: ModelKind, env: Env, out: &mut dyn Write, notes: &mut dyn Write) -> Result<(), TrainError> {
    let seed = env.seed()?;
    let params = env.params(kind.name(), &kind.params())?;
    let good_from = params.int(&GOOD_FROM)?;
    let target = match params.choice(&TARGET)? {
        0 => TrainTarget::Good(good_from),
        _ => TrainTarget::Quality,
    };
    let plan = FoldPlan { target, folds: params.int(&FOLDS)?, seed };
    let model = kind.model(&params)?;
    let wine = Wine::load();
    describe(&wine, plan, notes)?;
    print(&cv::validate(&model, &wine, plan)?, out)
}

fn describe(wine: &Wine, plan: FoldPlan, notes: &mut dyn Write) -> Result<(), TrainError> {
    let rows = wine.quality.len();
    writeln!(
        notes,
        "data: {rows} red wines, {} measurements each; {} are copies of another, and copies are kept together, \
         so that no wine is tested on after its copy was trained on",
        wine.features.ncols(),
        rows - wine.groups,
    )?;
    match plan.target {
        TrainTarget::Quality => writeln!(notes, "target: quality, the tasters' mark out of 10; here 3 to 8")?,
        TrainTarget::Good(from) => {
            let good = wine.classes(plan.target).iter().sum::<usize>();
            writeln!(notes, "target: good, as {good} wines are: the tasters gave them {from} or more of 10")?;
        }
    }
    writeln!(
        notes,
        "accuracy is the mean over {} folds, stratified by quality and shuffled by seed {}; the baseline always \
         says the most frequent class",
        plan.folds, plan.seed,
    )?;
    Ok(())
}

/// Six decimals: far finer than the folds' spread, and coarser than what another processor's
/// rounding changes.
fn print(scores: &Scores, out: &mut dyn Write) -> Result<(), TrainError> {
    for (step, accuracy) in &scores.curve {
        writeln!(out, "::metric step={step} accuracy={accuracy:.6}")?;
    }
    writeln!(
        out,
        "::metric accuracy={:.6} accuracy_std={:.6} baseline_accuracy={:.6} f1_macro={:.6}",
        scores.accuracy, scores.accuracy_std, scores.baseline_accuracy, scores.f1_macro,
    )?;
    out.flush()?;
    Ok(())
}

fn help() -> String {
    format!(
        "Parameters come from the environment, as in any trainer: all in GRID_PARAMS,\n\
         one JSON object, or else one by one in HP_<NAME>, as here:\n\n    \
         HP_N_TREES=50 GRID_SEED=1 gridctl train forest\n\n\
         GRID_SEED (0) decides folds and samples. Defaults are in brackets.\n\n\
         forest:\n{}\nlogistic:\n{}\nboth:\n{}",
        ParamTable(forest::PARAMS),
        ParamTable(logistic::PARAMS),
        ParamTable(SHARED),
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, thread};

    use clap::{Parser, ValueEnum};

    use super::*;

    fn printed(kind: ModelKind, params: &str, seed: u64) -> Result<(String, String), TrainError> {
        let vars = [("GRID_PARAMS".into(), params.into()), ("GRID_SEED".into(), seed.to_string().into())];
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        train(kind, Env::read(vars)?, &mut out, &mut notes)?;
        let text = |bytes| String::from_utf8(bytes).expect("all that is printed is UTF-8");
        Ok((text(out), text(notes)))
    }

    /// The metrics as gridctl reads them: the last value of each name counts.
    fn metrics(kind: ModelKind, params: &str) -> BTreeMap<String, f64> {
        let (out, _) = printed(kind, params, 0).expect("it can be trained");
        let pairs = out.lines().flat_map(|line| line.strip_prefix("::metric ").expect("a metric").split(' '));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').expect("name=value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        pairs.map(pair).collect()
    }

    /// A thread hashes with keys of its own, as a process does, so hash order that leaked would
    /// show.
    #[test]
    fn the_same_seed_prints_the_same_bytes_in_every_process() {
        let cases = [
            (ModelKind::Forest, r#"{"n_trees": 6, "max_depth": 20}"#),
            (ModelKind::Forest, r#"{"n_trees": 3, "criterion": "entropy", "good_from": 7}"#),
            (ModelKind::Forest, r#"{"n_trees": 4, "target": "quality", "bootstrap_fraction": 0.5}"#),
            (ModelKind::Logistic, r#"{"folds": 3}"#),
            (ModelKind::Logistic, r#"{"folds": 3, "target": "quality", "max_iterations": 20}"#),
        ];
        for (kind, params) in cases {
            let once = || thread::spawn(move || printed(kind, params, 11).expect("it can be trained")).join();
            let first = once().expect("no panic");
            for _ in 0..4 {
                assert_eq!(once().expect("no panic"), first, "{kind:?} {params}");
            }
            assert_ne!(
                printed(kind, params, 12).expect("it can be trained").0,
                first.0,
                "{kind:?}: another seed"
            );
        }
    }

    /// Bounds for these wines with their copies grouped; scores above them would mean that a test
    /// leaked (not grouped, 64 deep trees get 0.80 where they deserve 0.75).
    #[test]
    fn scores_are_what_these_data_are_known_to_give() {
        let cases = [
            (ModelKind::Logistic, r#"{"target": "good"}"#, 0.535, 0.72..0.77),
            (ModelKind::Logistic, r#"{"target": "good", "good_from": 7}"#, 0.864, 0.865..0.90),
            (ModelKind::Logistic, r#"{"target": "quality"}"#, 0.426, 0.57..0.63),
            (ModelKind::Forest, r#"{"target": "good", "max_depth": 8}"#, 0.535, 0.72..0.79),
            (ModelKind::Forest, r#"{"target": "good", "good_from": 7}"#, 0.864, 0.865..0.91),
            (ModelKind::Forest, r#"{"target": "quality", "n_trees": 16, "max_depth": 8}"#, 0.426, 0.55..0.64),
        ];
        for (kind, params, baseline, expected) in cases {
            let metrics = metrics(kind, params);
            let near = (metrics["baseline_accuracy"] - baseline).abs() < 0.002;
            assert!(near && expected.contains(&metrics["accuracy"]), "{kind:?} {params}: {metrics:?}");
            assert!((0.0..0.06).contains(&metrics["accuracy_std"]), "{kind:?} {params}: {metrics:?}");
            assert!((0.2..0.8).contains(&metrics["f1_macro"]), "{kind:?} {params}: {metrics:?}");
        }
    }

    #[test]
    fn a_forest_prints_its_curve_and_then_its_scores() {
        let (out, notes) =
            printed(ModelKind::Forest, r#"{"n_trees": 5, "max_depth": 3}"#, 0).expect("it trains");
        let lines: Vec<(&str, &str)> = out.lines().filter_map(|line| line.split_once("accuracy=")).collect();
        let starts: Vec<&str> = lines.iter().map(|(start, _)| *start).collect();
        let steps = ["step=1 ", "step=2 ", "step=4 ", "step=5 ", ""];
        assert_eq!(starts, steps.map(|step| format!("::metric {step}")));
        assert!(lines[4].1.starts_with(lines[3].1), "the last value is the whole forest's:\n{out}");
        assert!(notes.contains("240 are copies of another"), "{notes}");
        assert!(notes.contains("5 folds") && notes.contains("6 or more of 10"), "{notes}");
    }

    #[test]
    fn parameters_of_the_other_model_are_unknown() {
        let cases = [(ModelKind::Forest, r#"{"alpha": 1}"#), (ModelKind::Logistic, r#"{"n_trees": 1}"#)];
        for (kind, params) in cases {
            let error = printed(kind, params, 0).expect_err("not its parameter");
            assert!(matches!(error, TrainError::UnknownParam { .. }), "{error}");
            assert!(error.help().expect("it lists them").contains("target, good_from, folds"));
        }
        let error = printed(ModelKind::Forest, r#"{"folds": 1}"#, 0).expect_err("too few");
        assert_eq!(error.to_string(), "parameter folds is 1: it takes a whole number from 2 to 50");
    }

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        train: TrainArgs,
    }

    #[test]
    fn help_lists_every_parameter_and_models_are_called_by_their_names() {
        let help = help();
        for kind in ModelKind::value_variants() {
            let args = Cli::try_parse_from(["train", kind.name()]).expect("a model's name is taken").train;
            assert_eq!(args.model, *kind);
            for param in kind.params() {
                assert!(help.contains(&format!("  {} ", param.name())), "{}:\n{help}", param.name());
            }
        }
        assert!(Cli::try_parse_from(["train", "forrest"]).is_err());
    }
}
