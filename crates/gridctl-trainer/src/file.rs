//! The file that a model is kept in: `model.json`, one JSON object, which docs/train.md describes.
//!
//! Invariant: a [`KeptModel`] is whole: whatever wrote the file, each prediction comes to an end without a panic.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write as _},
    path::{Path, PathBuf},
};

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    error::TrainError,
    fitted::{Classifier, Regressor},
};

/// How the file is called.
pub const MODEL_FILE: &str = "model.json";
/// What the file says it is.
const FORMAT: &str = "gridctl-model";
/// The form that this program writes and reads.
const VERSION: u32 = 1;
/// The largest file.
const MAX_BYTES: u64 = 1 << 30;
/// Most rows of one request.
const MAX_ROWS: usize = 100_000;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is too large.
    #[error("{} is larger than a model may be", .0.display())]
    TooLarge(PathBuf),
    /// The file is something else.
    #[error("{} is no model of `gridctl train`: {reason}", path.display())]
    NoModel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later gridctl wrote it.
    #[error("{} has the form {version}, and this gridctl reads {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        version: u32,
    },
    /// Its parts do not fit each other.
    #[error("{} is damaged: its rule does not fit its columns and classes", .0.display())]
    Damaged(PathBuf),
}

impl ModelError {
    /// What to do about it, where that can be said.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Read { .. } => {
                "`gridctl fetch best DIR` copies a trial's files; name DIR, or its model.json, by --model"
            }
            Self::Newer { .. } => "take the gridctl that trained it",
            Self::Damaged(_) | Self::NoModel { .. } => "fetch it again, or train it again",
            Self::TooLarge(_) => return None,
        };
        Some(help.to_owned())
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is nothing to predict for.
    #[error(
        "data is {got}: send a list of {columns} numbers, an object with a number for each column, or a list of these"
    )]
    NoRow {
        /// What there is.
        got: &'static str,
        /// How many columns there are.
        columns: usize,
    },
    /// A list is too long or too short.
    #[error("a row has {got} values, and the model has {columns} columns")]
    Length {
        /// How many there are.
        got: usize,
        /// How many there should be.
        columns: usize,
    },
    /// A column is missing.
    #[error("column {0:?} is missing")]
    Missing(String),
    /// A column is not known.
    #[error("the model has no column {0:?}")]
    Unknown(String),
    /// A value is no number.
    #[error("column {0:?} is no finite number")]
    NotANumber(String),
    /// There are too many rows.
    #[error("there are {0} rows: send {MAX_ROWS} at most")]
    TooMany(usize),
}

/// What predicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Learned {
    Classes {
        /// In the order of the rule's indices.
        labels: Vec<Value>,
        #[serde(flatten)]
        classifier: Classifier,
    },
    Numbers(Regressor),
}

/// A model as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptModel {
    format: String,
    version: u32,
    model: String,
    data: String,
    rows: usize,
    target: String,
    columns: Vec<String>,
    predicts: Learned,
}

impl KeptModel {
    pub(crate) fn new(model: &str, table: &crate::data::Table, predicts: Learned) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            model: model.to_owned(),
            data: table.name.clone(),
            rows: table.features.nrows(),
            target: table.target.clone(),
            columns: table.columns.clone(),
            predicts,
        }
    }

    /// Writes the file into a directory.
    pub(crate) fn keep(&self, dir: &Path) -> Result<(), TrainError> {
        let path = dir.join(MODEL_FILE);
        let written = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            serde_json::to_writer(&mut file, self)?;
            file.write_all(b"\n")?;
            file.flush()
        };
        written().map_err(|error| TrainError::Keep { path: path.clone(), reason: error.to_string() })
    }

    /// Reads a model from a file, or from the directory that it is in.
    ///
    /// # Errors
    /// [`ModelError`] where there is none, or none that is whole.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let path = if path.is_dir() { path.join(MODEL_FILE) } else { path.to_owned() };
        let failed = |error: io::Error| ModelError::Read { path: path.clone(), reason: error.to_string() };
        let info = fs::metadata(&path).map_err(failed)?;
        if !info.is_file() {
            return Err(failed(io::Error::other("it is no file")));
        }
        if info.len() > MAX_BYTES {
            return Err(ModelError::TooLarge(path));
        }
        let mut bytes = Vec::new();
        File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
        let none = |reason: String| ModelError::NoModel { path: path.clone(), reason };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| none(error.to_string()))?;
        if value.get("format") != Some(&json!(FORMAT)) {
            return Err(none(format!("its format is not {FORMAT}")));
        }
        match value.get("version").and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok()) {
            Some(VERSION) => {}
            Some(version) => return Err(ModelError::Newer { path, version }),
            None => return Err(none("it has no version".to_owned())),
        }
        let model: Self = serde_json::from_value(value).map_err(|error| none(error.to_string()))?;
        let columns = model.columns.len();
        let fits = match &model.predicts {
            Learned::Classes { labels, classifier } => classifier.fits(columns, labels.len()),
            Learned::Numbers(regressor) => regressor.fits(columns),
        };
        if columns > 0 && fits { Ok(model) } else { Err(ModelError::Damaged(path)) }
    }

    /// One line on what it is.
    #[must_use]
    pub fn about(&self) -> String {
        format!(
            "{} of {} by {} columns, trained on {} rows",
            self.model,
            self.target,
            self.columns.len(),
            self.rows
        )
    }

    /// An example of what it answers to.
    #[must_use]
    pub fn example(&self) -> Value {
        json!({ "data": vec![0; self.columns.len()] })
    }

    /// The prediction for `data`: a row, or a list of rows. A row is a list of numbers, or an object of them by column.
    ///
    /// # Errors
    /// [`RequestError`] for what is no row of this model.
    pub fn predict(&self, data: &Value) -> Result<Value, RequestError> {
        match data {
            Value::Array(rows)
                if rows.iter().all(|row| row.is_array() || row.is_object()) && !rows.is_empty() =>
            {
                if rows.len() > MAX_ROWS {
                    return Err(RequestError::TooMany(rows.len()));
                }
                let numbers: Vec<f64> =
                    rows.iter().map(|row| self.row(row)).collect::<Result<Vec<_>, _>>()?.concat();
                Ok(Value::Array(self.say(numbers, rows.len())))
            }
            row => Ok(self.say(self.row(row)?, 1).pop().unwrap_or_default()),
        }
    }

    /// Predictions for rows that are there already.
    pub(crate) fn say(&self, numbers: Vec<f64>, rows: usize) -> Vec<Value> {
        let Ok(features) = Array2::from_shape_vec((rows, self.columns.len()), numbers) else {
            return Vec::new();
        };
        match &self.predicts {
            Learned::Classes { labels, classifier } => {
                classifier.classes(&features).into_iter().map(|class| labels[class].clone()).collect()
            }
            Learned::Numbers(regressor) => {
                regressor.numbers(&features).into_iter().map(Value::from).collect()
            }
        }
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    fn row(&self, row: &Value) -> Result<Vec<f64>, RequestError> {
        let number = |(name, value): (&String, &Value)| {
            value
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| RequestError::NotANumber(name.clone()))
        };
        match row {
            Value::Array(values) if values.len() == self.columns.len() => {
                self.columns.iter().zip(values).map(number).collect()
            }
            Value::Array(values) => {
                Err(RequestError::Length { got: values.len(), columns: self.columns.len() })
            }
            Value::Object(values) => self.by_name(values, number),
            other => Err(RequestError::NoRow { got: kind(other), columns: self.columns.len() }),
        }
    }

    fn by_name(
        &self,
        values: &Map<String, Value>,
        number: impl Fn((&String, &Value)) -> Result<f64, RequestError>,
    ) -> Result<Vec<f64>, RequestError> {
        if let Some(unknown) = values.keys().find(|name| !self.columns.contains(name)) {
            return Err(RequestError::Unknown(unknown.chars().take(64).collect()));
        }
        let value = |name| values.get(name).ok_or_else(|| RequestError::Missing(String::clone(name)));
        self.columns.iter().map(|name| number((name, value(name)?))).collect()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
