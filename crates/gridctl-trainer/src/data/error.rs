//! What is wrong with data, each with its place and what would be right.

use std::path::PathBuf;

/// Why there are no data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Neither built in nor a CSV file.
    #[error("there are no data {data:?}")]
    UnknownData {
        /// What was asked for.
        data: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file is too large.
    #[error("{} is larger than {} MiB", path.display(), limit >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In bytes.
        limit: u64,
    },
    /// A file has nothing in it.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file has a heading alone.
    #[error("{} has a heading and no rows", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// A file is no text.
    #[error("{}, line {line}, is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// A row is longer or shorter than the heading.
    #[error("{}, line {line} has {columns} columns, and the heading has {expected}", path.display())]
    Ragged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// In this row.
        columns: usize,
        /// In the heading.
        expected: usize,
    },
    /// A column has no name.
    #[error("{}: column {column} has no name", path.display())]
    NoName {
        /// The file.
        path: PathBuf,
        /// From 1.
        column: usize,
    },
    /// Two columns have one name.
    #[error("{} has two columns called {name:?}", path.display())]
    SameName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// There is only the target.
    #[error("{} has no column besides {target:?}, which is to be predicted", path.display())]
    NoFeatures {
        /// The file.
        path: PathBuf,
        /// The target.
        target: String,
    },
    /// A value is no finite number.
    #[error("{}, line {line}: column {column} is {value:?}, which is no finite number", path.display())]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// The column's name.
        column: String,
        /// As it is written, cut short.
        value: String,
    },
    /// A row has no class.
    #[error("{}, line {line}: column {column} is empty", path.display())]
    NoClass {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// The target.
        column: String,
    },
    /// The target is not there.
    #[error("{data} has no column {target:?}")]
    NoTarget {
        /// The data.
        data: String,
        /// What was asked for.
        target: String,
        /// What there is.
        known: String,
    },
    /// All rows are of one class.
    #[error("all rows have the same {target}: there is nothing to tell apart")]
    OneClass {
        /// The target.
        target: String,
    },
    /// So many classes are none.
    #[error("{target} has {count} different values: too many for classes")]
    TooManyClasses {
        /// The target.
        target: String,
        /// How many.
        count: usize,
    },
    /// The model tells classes, and the data have none.
    #[error("{data} has a number to predict, {target}, and no classes")]
    NoClasses {
        /// The data.
        data: String,
        /// The target.
        target: String,
    },
    /// The model predicts numbers, and the data have none.
    #[error("{data} has classes to tell, {target}, and no number to predict")]
    NoNumbers {
        /// The data.
        data: String,
        /// The target.
        target: String,
    },
    /// There are more folds than rows to deal out.
    #[error("{data} has {groups} different rows: too few for {folds} folds")]
    TooFewRows {
        /// The data.
        data: String,
        /// How many different rows there are.
        groups: usize,
        /// The folds asked for.
        folds: usize,
    },
    /// The rows to train on are all of one class.
    #[error("all rows that fold {fold} trains on have the same {target}")]
    OneClassInFold {
        /// From 1.
        fold: usize,
        /// The target.
        target: String,
    },
}

impl DataError {
    /// What to do about it, where that can be said.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::UnknownData { .. } => {
                "data is one of wine, iris, diabetes, or the path of a file that ends in .csv"
            }
            Self::Read { .. } => {
                "a path is sought in $GRID_DATA_DIR, which is what the sweep file's `data:` names, and in the \
                 directory that the trainer starts in"
            }
            Self::NotANumber { .. } => {
                "leave out the row, or the column; write yes and no as 1 and 0, and one of several as a column for each"
            }
            Self::NoTarget { known, .. } => return Some(format!("there is: {known}")),
            Self::TooManyClasses { .. } | Self::NoClasses { .. } => {
                "numbers are predicted by linear, elastic-net and svr"
            }
            Self::NoNumbers { .. } => "classes are told by logistic, tree, forest, adaboost, svm and bayes",
            Self::TooFewRows { .. } => {
                "rows that are equal share a fold, since one would give the other away; set fewer folds"
            }
            Self::OneClassInFold { .. } => "set fewer folds, or leave out rare classes",
            _ => return None,
        };
        Some(help.to_owned())
    }
}
