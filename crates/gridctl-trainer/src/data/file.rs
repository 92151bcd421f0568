//! Reads a CSV file: a heading, then a row for each sample, of numbers but for the target.
//!
//! Invariant: nothing is guessed. What is no finite number is an error with its line and column.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use ndarray::Array2;
use serde_json::Value;

use super::{DataError, Table};

/// The largest file.
const MAX_BYTES: u64 = 512 << 20;

/// A file, with its target as it is written.
#[derive(Debug)]
pub(super) struct CsvData {
    path: PathBuf,
    columns: Vec<String>,
    pub(super) target: String,
    features: Array2<f64>,
    values: Vec<String>,
    /// Where each row begins.
    lines: Vec<u64>,
}

/// Reads a file whose column `target` is to be predicted; the last if none is named.
///
/// # Errors
/// [`DataError`] where it cannot be read, or is no table of numbers.
pub(super) fn read(path: &Path, target: Option<&str>) -> Result<CsvData, DataError> {
    let at = || path.to_owned();
    let (mut reader, mut columns) = open(path)?;
    let place = match target {
        None => columns.len() - 1,
        Some(name) => place(path, &columns, name)?,
    };
    if columns.len() == 1 {
        return Err(DataError::NoFeatures { path: at(), target: columns[place].clone() });
    }
    let (mut numbers, mut values, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for record in reader.records() {
        let (record, line) = checked(path, record, columns.len())?;
        for (index, value) in record.iter().enumerate() {
            if index == place {
                values.push(value.to_owned());
            } else {
                numbers.push(number(path, line, (&columns[index], value))?);
            }
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(DataError::NoRows { path: at() });
    }
    if let Some(empty) = values.iter().position(String::is_empty) {
        return Err(DataError::NoClass { path: at(), line: lines[empty], column: columns[place].clone() });
    }
    let shape = (lines.len(), columns.len() - 1);
    let features = Array2::from_shape_vec(shape, numbers).expect("each row has a number for each column");
    let target = columns.remove(place);
    Ok(CsvData { path: at(), columns, target, features, values, lines })
}

/// The values of `wanted` columns, row by row, and how many rows there are. Other columns are passed over.
///
/// # Errors
/// As for [`read`].
pub(super) fn rows(path: &Path, wanted: &[String]) -> Result<(Vec<f64>, usize), DataError> {
    let (mut reader, columns) = open(path)?;
    let places: Vec<usize> =
        wanted.iter().map(|name| place(path, &columns, name)).collect::<Result<_, _>>()?;
    let (mut numbers, mut count) = (Vec::new(), 0);
    for record in reader.records() {
        let (record, line) = checked(path, record, columns.len())?;
        for (name, place) in wanted.iter().zip(&places) {
            numbers.push(number(path, line, (name, record.get(*place).unwrap_or_default()))?);
        }
        count += 1;
    }
    Ok((numbers, count))
}

/// A reader that has read the heading.
fn open(path: &Path) -> Result<(Reader<impl Read>, Vec<String>), DataError> {
    let failed = |error: std::io::Error| DataError::Read { path: path.to_owned(), reason: error.to_string() };
    let info = std::fs::metadata(path).map_err(failed)?;
    if !info.is_file() {
        return Err(failed(std::io::Error::other("it is no file")));
    }
    if info.len() > MAX_BYTES {
        return Err(DataError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    let mut bytes = BufReader::new(File::open(path).map_err(failed)?.take(MAX_BYTES));
    let delimiter = delimiter(bytes.fill_buf().map_err(failed)?);
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).flexible(true).from_reader(bytes);
    let heading = reader.headers().map_err(|error| csv_error(path, &error))?.clone();
    let columns = names(path, &heading)?;
    Ok((reader, columns))
}

fn place(path: &Path, columns: &[String], name: &str) -> Result<usize, DataError> {
    columns.iter().position(|column| column == name).ok_or_else(|| DataError::NoTarget {
        data: path.display().to_string(),
        target: name.to_owned(),
        known: columns.join(", "),
    })
}

/// A record as long as the heading, and its line.
fn checked(
    path: &Path,
    record: Result<StringRecord, csv::Error>,
    expected: usize,
) -> Result<(StringRecord, u64), DataError> {
    let record = record.map_err(|error| csv_error(path, &error))?;
    let line = record.position().map_or(0, csv::Position::line);
    if record.len() == expected {
        return Ok((record, line));
    }
    Err(DataError::Ragged { path: path.to_owned(), line, columns: record.len(), expected })
}

impl CsvData {
    /// The target as classes, and their labels, ascending.
    pub(super) fn classes(&self) -> (Vec<usize>, Vec<Value>) {
        let mut known: Vec<&str> = self.values.iter().map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let numeric: Option<Vec<f64>> = known.iter().map(|text| finite(text)).collect();
        if let Some(numbers) = &numeric {
            let mut order: Vec<usize> = (0..known.len()).collect();
            order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
            known = order.into_iter().map(|index| known[index]).collect();
        }
        let label = |text: &&str| match &numeric {
            Some(_) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(*text)),
            None => Value::from(*text),
        };
        let place: std::collections::HashMap<&str, usize> =
            known.iter().enumerate().map(|(index, text)| (*text, index)).collect();
        (self.values.iter().map(|text| place[text.as_str()]).collect(), known.iter().map(label).collect())
    }

    /// The target as numbers.
    pub(super) fn numbers(&self) -> Result<Vec<f64>, DataError> {
        let rows = self.values.iter().zip(&self.lines);
        rows.map(|(value, line)| number(&self.path, *line, (&self.target, value))).collect()
    }

    pub(super) fn table(self, name: &str) -> Table {
        Table::new(name, self.columns, &self.target, self.features)
    }
}

/// What stands between columns: the one of comma, semicolon and tab that the heading has most of.
fn delimiter(start: &[u8]) -> u8 {
    let heading = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |wanted: u8| heading.iter().filter(|byte| **byte == wanted).count();
    [b'\t', b';', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

fn names(path: &Path, heading: &StringRecord) -> Result<Vec<String>, DataError> {
    let names: Vec<String> =
        heading.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    if names.iter().all(String::is_empty) {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(DataError::NoName { path: path.to_owned(), column: index + 1 });
        }
        if names[..index].contains(name) {
            return Err(DataError::SameName { path: path.to_owned(), name: name.clone() });
        }
    }
    Ok(names)
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn number(path: &Path, line: u64, (column, value): (&str, &str)) -> Result<f64, DataError> {
    finite(value).ok_or_else(|| DataError::NotANumber {
        path: path.to_owned(),
        line,
        column: column.to_owned(),
        value: value.chars().take(40).collect(),
    })
}

fn csv_error(path: &Path, error: &csv::Error) -> DataError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::Utf8 { pos, .. } => {
            DataError::NotUtf8 { path, line: pos.as_ref().map_or(1, csv::Position::line) }
        }
        _ => DataError::Read { path, reason: error.to_string() },
    }
}
