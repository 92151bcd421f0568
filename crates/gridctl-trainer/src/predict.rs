//! `gridctl train predict`: a kept model answers. With a CSV file, a prediction for each row; without, a JSON line for
//! each JSON line on standard input, as `gridctl serve` talks to a model's process.
//!
//! Invariant: each request has one answer, and a bad one does not end the process.

use std::{
    ffi::OsString,
    io::{BufRead, Read as _, Write},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{data::DataChoice, error::TrainError, file::KeptModel};

/// The longest request, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// What to predict, and by which model.
#[derive(Debug, Clone, clap::Args)]
pub struct PredictArgs {
    /// A CSV file with the model's columns; without it, JSON lines such as {"data": [1, 2, 3]} are read from standard input
    pub file: Option<PathBuf>,
    /// The model.json, or the directory that it is in; in $GRID_MODEL_DIR if not given, else in this directory
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
}

/// Answers until there are no more requests.
///
/// # Errors
/// [`TrainError`] where there is no model, or no data.
pub(crate) fn run(
    args: &PredictArgs,
    dir: Option<OsString>,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<(), TrainError> {
    let path = args.model.clone().or_else(|| dir.map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."));
    let model = KeptModel::read(&path)?;
    match &args.file {
        Some(file) => table(&model, file, out),
        None => lines(&model, input, out),
    }
}

fn table(model: &KeptModel, file: &std::path::Path, out: &mut dyn Write) -> Result<(), TrainError> {
    let (numbers, rows) = DataChoice::rows(file, model.columns())?;
    writeln!(out, "prediction")?;
    for prediction in model.say(numbers, rows) {
        match prediction {
            Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
                writeln!(out, "\"{}\"", text.replace('"', "\"\""))?;
            }
            Value::String(text) => writeln!(out, "{text}")?,
            other => writeln!(out, "{other}")?,
        }
    }
    out.flush()?;
    Ok(())
}

fn lines(model: &KeptModel, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), TrainError> {
    loop {
        let mut line = Vec::new();
        if input.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = match serde_json::from_slice::<Value>(&line) {
            Ok(request) => match request.get("data").map(|data| model.predict(data)) {
                Some(Ok(result)) => json!({ "result": result }),
                Some(Err(error)) => json!({ "error": error.to_string() }),
                None => json!({ "error": "the request has no `data`" }),
            },
            Err(error) => json!({ "error": format!("the request is no JSON: {error}") }),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
}
