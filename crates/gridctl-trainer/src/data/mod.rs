//! The data: wine, iris and diabetes, which are built into linfa-datasets, or a CSV file; and what is asked of them.
//!
//! Invariant: two rows are in one group exactly if their measurements are equal, so a split by group never tests on a
//! row that was trained on. Every measurement is a finite number.

mod error;
mod file;

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use ndarray::Array2;
use serde_json::{Value, json};

pub use self::error::DataError;

/// Most classes that a target may have.
const MAX_CLASSES: usize = 200;

/// Rows and columns, without what is to be predicted.
#[derive(Debug)]
pub(crate) struct Table {
    /// How the parameter `data` calls it.
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    /// What is to be predicted.
    pub(crate) target: String,
    /// A row for each sample, a column for each measurement.
    pub(crate) features: Array2<f64>,
    /// Rows of one stratum are dealt evenly to the folds.
    pub(crate) strata: Vec<usize>,
    /// Each row's group: equal for rows with equal measurements, numbered from 0 in order of appearance.
    pub(crate) group: Vec<usize>,
    pub(crate) groups: usize,
}

/// A table and a class for each of its rows.
#[derive(Debug)]
pub(crate) struct ClassData {
    pub(crate) table: Table,
    /// An index into the labels.
    pub(crate) classes: Vec<usize>,
    /// Texts, or numbers where all of them are; ascending.
    pub(crate) labels: Vec<Value>,
}

/// A table and a number for each of its rows.
#[derive(Debug)]
pub(crate) struct NumberData {
    pub(crate) table: Table,
    pub(crate) numbers: Vec<f64>,
}

/// Which data, and what of them is to be predicted.
#[derive(Debug)]
pub(crate) struct DataChoice {
    /// `wine`, `iris`, `diabetes`, or the path of a CSV file.
    pub(crate) data: String,
    pub(crate) target: Option<String>,
    /// From which quality on a wine is good.
    pub(crate) good_from: usize,
    /// What GRID_DATA_DIR names.
    pub(crate) data_dir: Option<OsString>,
}

impl DataChoice {
    /// The data with a class for each row.
    ///
    /// # Errors
    /// [`DataError`] where the data cannot be read, or have no classes.
    pub(crate) fn classes(&self) -> Result<ClassData, DataError> {
        match self.data.as_str() {
            "wine" => self.wine(),
            "iris" => self.iris(),
            "diabetes" => {
                Err(DataError::NoClasses { data: self.data.clone(), target: "progression".to_owned() })
            }
            _ => self.file_of_classes(),
        }
    }

    /// The data with a number for each row.
    ///
    /// # Errors
    /// [`DataError`] where the data cannot be read, or have no number to predict.
    pub(crate) fn numbers(&self) -> Result<NumberData, DataError> {
        match self.data.as_str() {
            "wine" => {
                self.target_is(&["quality"])?;
                let set = linfa_datasets::winequality();
                let numbers = set.targets.iter().map(|&mark| mark as f64).collect();
                let columns = set.feature_names().to_vec();
                Ok(NumberData { table: Table::new("wine", columns, "quality", set.records), numbers })
            }
            "iris" => Err(DataError::NoNumbers { data: self.data.clone(), target: "species".to_owned() }),
            "diabetes" => {
                self.target_is(&["progression"])?;
                let set = linfa_datasets::diabetes();
                let columns = set.feature_names().to_vec();
                let numbers = set.targets.to_vec();
                Ok(NumberData { table: Table::new("diabetes", columns, "progression", set.records), numbers })
            }
            _ => {
                let read = file::read(&self.path()?, self.target.as_deref())?;
                let numbers = read.numbers()?;
                Ok(NumberData { table: read.table(&self.data), numbers })
            }
        }
    }

    /// The values of `columns` in a file, row by row, and how many rows there are.
    ///
    /// # Errors
    /// [`DataError`] where the file cannot be read, or lacks a column.
    pub(crate) fn rows(path: &Path, columns: &[String]) -> Result<(Vec<f64>, usize), DataError> {
        file::rows(path, columns)
    }

    fn wine(&self) -> Result<ClassData, DataError> {
        let is_mark = self.target_is(&["good", "quality"])? == 1;
        let set = linfa_datasets::winequality();
        let marks = set.targets.to_vec();
        let columns = set.feature_names().to_vec();
        let name = if is_mark { "quality" } else { "good" };
        let mut table = Table::new("wine", columns, name, set.records);
        let (classes, labels) = if is_mark {
            let mut known = marks.clone();
            known.sort_unstable();
            known.dedup();
            let classes = marks.iter().map(|mark| known.binary_search(mark).unwrap_or_default()).collect();
            (classes, known.iter().map(|mark| json!(mark)).collect())
        } else {
            let classes = marks.iter().map(|&mark| usize::from(mark >= self.good_from)).collect();
            (classes, vec![json!("lesser"), json!("good")])
        };
        table.strata = marks;
        Ok(ClassData { table, classes, labels })
    }

    fn iris(&self) -> Result<ClassData, DataError> {
        self.target_is(&["species"])?;
        let set = linfa_datasets::iris();
        let classes = set.targets.to_vec();
        let columns = set.feature_names().to_vec();
        let mut table = Table::new("iris", columns, "species", set.records);
        table.strata.clone_from(&classes);
        Ok(ClassData {
            table,
            classes,
            labels: ["setosa", "versicolor", "virginica"].map(Value::from).to_vec(),
        })
    }

    fn file_of_classes(&self) -> Result<ClassData, DataError> {
        let read = file::read(&self.path()?, self.target.as_deref())?;
        let (classes, labels) = read.classes();
        let target = || read.target.clone();
        match labels.len() {
            0 | 1 => return Err(DataError::OneClass { target: target() }),
            count if count > MAX_CLASSES => {
                return Err(DataError::TooManyClasses { target: target(), count });
            }
            _ => {}
        }
        let mut table = read.table(&self.data);
        table.strata.clone_from(&classes);
        Ok(ClassData { table, classes, labels })
    }

    /// The index of the target in what the data have; the first if none is asked for.
    fn target_is(&self, known: &[&str]) -> Result<usize, DataError> {
        let Some(target) = &self.target else { return Ok(0) };
        known.iter().position(|name| name == target).ok_or_else(|| DataError::NoTarget {
            data: self.data.clone(),
            target: target.clone(),
            known: known.join(", "),
        })
    }

    /// Where the file is: in the data that a sweep names, or from the directory that the trainer starts in.
    fn path(&self) -> Result<PathBuf, DataError> {
        let given = PathBuf::from(&self.data);
        if !self.data.to_ascii_lowercase().ends_with(".csv") {
            return Err(DataError::UnknownData { data: self.data.clone() });
        }
        let staged = self.data_dir.as_ref().map(PathBuf::from).filter(|_| given.is_relative());
        Ok(match staged {
            Some(file) if file.is_file() && file.file_name() == given.file_name() => file,
            Some(dir) if dir.join(&given).is_file() => dir.join(&given),
            _ => given,
        })
    }
}

impl Table {
    /// One stratum, and groups of equal rows.
    fn new(name: &str, columns: Vec<String>, target: &str, features: Array2<f64>) -> Self {
        let mut known = HashMap::new();
        let group: Vec<usize> = features
            .rows()
            .into_iter()
            .map(|row| {
                let next = known.len();
                *known.entry(row.iter().map(|value| value.to_bits()).collect::<Vec<_>>()).or_insert(next)
            })
            .collect();
        let (strata, groups) = (vec![0; group.len()], known.len());
        Self { name: name.to_owned(), columns, target: target.to_owned(), features, strata, group, groups }
    }

    /// Columns whose values are all the same: they tell nothing.
    pub(crate) fn constant_columns(&self) -> Vec<&str> {
        let columns = self.features.columns().into_iter().zip(&self.columns);
        columns
            .filter(|(values, _)| values.iter().all(|value| *value == values[0]))
            .map(|(_, name)| name.as_str())
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
