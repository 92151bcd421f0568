//! What can go wrong in a trainer, each with the value that is wrong and what would be right.

use std::{io, path::PathBuf};

use crate::{data::DataError, file::ModelError};

/// Why there is no score.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A parameter that the model does not have.
    #[error("{model} has no parameter {name:?}")]
    UnknownParam {
        /// The model.
        model: &'static str,
        /// The parameter as it was given.
        name: String,
        /// The known parameter that is nearest in spelling.
        nearest: Option<&'static str>,
        /// All parameters of the model, separated by commas.
        known: String,
    },
    /// A parameter's value is of the wrong kind or out of range.
    #[error("parameter {name} is {value}: it takes {takes}")]
    BadValue {
        /// The parameter.
        name: &'static str,
        /// The value as it was given.
        value: String,
        /// The kind and range that the parameter takes.
        takes: String,
        /// What it is when it is not given.
        default: String,
    },
    /// `GRID_PARAMS` does not hold an object.
    #[error("GRID_PARAMS is not one JSON object: {reason}")]
    BadParams {
        /// What is there instead.
        reason: String,
    },
    /// `GRID_SEED` is not a seed.
    #[error("GRID_SEED is {value}: it takes a whole number from 0 to {}", u64::MAX)]
    BadSeed {
        /// The value as it was given.
        value: String,
    },
    /// A variable that the trainer reads is not UTF-8.
    #[error("the environment variable {name:?} is not UTF-8")]
    NotText {
        /// The variable, with what is not UTF-8 replaced.
        name: String,
    },
    /// The model is left out of this build.
    #[error("this gridctl was built without {model}")]
    NotBuilt {
        /// The model.
        model: &'static str,
    },
    /// Something is wrong with the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Something is wrong with a model that was kept.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model cannot be kept.
    #[error("cannot write {}: {reason}", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The library could not fit the model.
    #[error("{model} could not be fitted {}: {reason}", on(*fold))]
    Fit {
        /// The model.
        model: &'static str,
        /// The fold, from 1; `None` for all rows.
        fold: Option<usize>,
        /// What the library said.
        reason: String,
    },
    /// The library panicked while it fitted the model.
    #[error("{model} panicked {}: {reason}", on(*fold))]
    Panicked {
        /// The model.
        model: &'static str,
        /// The fold, from 1; `None` for all rows.
        fold: Option<usize>,
        /// The panic's message.
        reason: String,
    },
    /// The scores could not be printed.
    #[error("the scores could not be printed")]
    Output(#[from] io::Error),
}

impl TrainError {
    /// What to do about it, where that can be said.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownParam { nearest: Some(nearest), known, .. } => {
                Some(format!("did you mean {nearest}? Known: {known}"))
            }
            Self::UnknownParam { nearest: None, known, .. } => Some(format!("known: {known}")),
            Self::BadValue { name, default, .. } => {
                Some(format!("leave {name} out to use its default, {default}"))
            }
            Self::BadParams { .. } => Some(
                "gridctl sets it for every trial; by hand, write GRID_PARAMS='{\"folds\": 5}', or leave it out \
                 and set HP_FOLDS=5"
                    .to_owned(),
            ),
            Self::BadSeed { .. } => Some("leave it out to use seed 0".to_owned()),
            Self::NotText { .. } => Some("unset it, or give it a value in UTF-8".to_owned()),
            Self::Fit { model: "logistic", .. } => {
                Some("try a larger alpha, or scale: true, which puts all measurements on one scale".to_owned())
            }
            Self::Fit { model: "linear", .. } => Some(
                "a column may be a combination of others: leave it out, or take elastic-net, which shares the weight"
                    .to_owned(),
            ),
            Self::NotBuilt { .. } => Some(
                "`cargo quickstart` leaves some models out: build with `cargo install --locked --path crates/gridctl`"
                    .to_owned(),
            ),
            Self::Data(error) => error.help(),
            Self::Model(error) => error.help(),
            Self::Fit { .. } | Self::Panicked { .. } | Self::Keep { .. } | Self::Output(_) => None,
        }
    }

    /// The process's exit code: 64 where the parameters are to blame, and trying again is in vain;
    /// else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownParam { .. }
            | Self::BadValue { .. }
            | Self::BadParams { .. }
            | Self::BadSeed { .. }
            | Self::NotBuilt { .. }
            | Self::Data(_)
            | Self::Model(_)
            | Self::NotText { .. } => 64,
            Self::Fit { .. } | Self::Keep { .. } | Self::Panicked { .. } | Self::Output(_) => 1,
        }
    }
}

fn on(fold: Option<usize>) -> String {
    fold.map_or_else(|| "on all rows".to_owned(), |fold| format!("in fold {fold}"))
}
