//! What is printed: scores on standard output, a few words about the data on standard error, parameters in the help.

use std::io::Write;

use crate::{
    SHARED,
    cv::{ClassScores, FoldPlan, NumberScores},
    data::{ClassData, DataChoice, Table},
    error::TrainError,
    models::ModelKind,
    params::ParamTable,
};

/// What the data are, and how they are dealt to folds.
pub(crate) fn data(table: &Table, plan: FoldPlan, notes: &mut dyn Write) -> Result<(), TrainError> {
    let rows = table.features.nrows();
    let copies = match rows - table.groups {
        0 => String::new(),
        copies => format!(
            "; {copies} are copies of another, and copies are kept together, so that no row is tested on after its \
             copy was trained on"
        ),
    };
    writeln!(notes, "data: {}, {rows} rows of {} measurements{copies}", table.name, table.columns.len())?;
    let constant = table.constant_columns();
    if let [first, rest @ ..] = constant.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        writeln!(notes, "always the same, and so of no use: {}{more}", first.escape_debug())?;
    }
    writeln!(
        notes,
        "target: {}; scores are means over {} folds, shuffled by seed {}; the baseline is a guess without measurements",
        table.target.escape_debug(),
        plan.folds,
        plan.seed,
    )?;
    Ok(())
}

/// How many rows each class has.
pub(crate) fn classes(
    data: &ClassData,
    choice: &DataChoice,
    notes: &mut dyn Write,
) -> Result<(), TrainError> {
    if data.table.name == "wine" && data.table.target == "good" {
        let good = data.classes.iter().sum::<usize>();
        writeln!(notes, "good are {good} wines: the tasters gave them {} or more of 10", choice.good_from)?;
    }
    Ok(())
}

/// Six decimals: far finer than the folds' spread, and coarser than what another processor's
/// rounding changes.
pub(crate) fn class_scores(scores: &ClassScores, out: &mut dyn Write) -> Result<(), TrainError> {
    for (step, accuracy) in &scores.curve {
        writeln!(out, "::metric step={step} accuracy={accuracy:.6}")?;
    }
    write!(
        out,
        "::metric accuracy={:.6} accuracy_std={:.6} baseline_accuracy={:.6} f1_macro={:.6}",
        scores.accuracy, scores.accuracy_std, scores.baseline_accuracy, scores.f1_macro,
    )?;
    match scores.log_loss {
        Some(loss) => writeln!(out, " log_loss={loss:.6}")?,
        None => writeln!(out)?,
    }
    out.flush()?;
    Ok(())
}

/// Numbers may be of any size: so many digits, and not so many decimals.
pub(crate) fn number_scores(scores: &NumberScores, out: &mut dyn Write) -> Result<(), TrainError> {
    let digits = |number: f64| format!("{number:.7e}").parse::<f64>().unwrap_or(number);
    writeln!(
        out,
        "::metric rmse={} rmse_std={} mae={} r2={} baseline_rmse={}",
        digits(scores.rmse),
        digits(scores.rmse_std),
        digits(scores.mae),
        digits(scores.r2),
        digits(scores.baseline_rmse),
    )?;
    out.flush()?;
    Ok(())
}

/// What `gridctl train MODEL --help` says below the options.
pub(crate) fn help(kind: ModelKind) -> String {
    let name = kind.name();
    if !kind.is_built() {
        return format!("This gridctl was built without {name}.");
    }
    let own = ParamTable(kind.params()).to_string();
    let own = if own.is_empty() { String::new() } else { format!("Parameters of {name}:\n{own}\n") };
    format!(
        "Parameters come from the environment, as in any trainer: all in GRID_PARAMS,\n\
         one JSON object, or else one by one in HP_<NAME>, as here:\n\n    \
         HP_FOLDS=10 GRID_SEED=1 gridctl train {name}\n\n\
         GRID_SEED (0) decides folds and samples. Without data, it is trained on {}.\n\
         Defaults are in brackets.\n\n{own}Parameters of all models:\n{}",
        kind.usual_data(),
        ParamTable(SHARED),
    )
}
