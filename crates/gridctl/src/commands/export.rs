//! `gridctl export`: what is known of every trial, in flat rows for other programs.
//! Invariant: a row says of which trial it is; numbers are printed so that they read back the same.

use gridctl_core::record::{MetricValue, Record, TrialState};
use gridctl_core::trials::TrialLine;
use gridctl_core::value::Value;
use serde_json::{Map, Value as Json, json};

use crate::cli::{ExportArgs, ExportFormat};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, csv};
use crate::settings::Settings;
use crate::source::target;

use super::trials;

/// One row: names and values, in their order.
type Row = Map<String, Json>;

/// Runs the command.
pub(crate) fn run(args: &ExportArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.sweep.as_deref(), settings)?;
    let mut all: Vec<Row> = Vec::new();
    trials::pages(&mut source, (&sweep, None), &mut |source, page| {
        let mut rows = Vec::new();
        for trial in page {
            if args.attempts || args.curves {
                let records = source.trial(&sweep, &trial.trial.to_string())?.attempts;
                rows.extend(if args.curves { curves(&trial, &records) } else { attempts(&trial, &records) });
            } else {
                rows.push(of_trial(&trial));
            }
        }
        if args.output == ExportFormat::Jsonl {
            output::jsonl(&rows)?;
        } else {
            all.extend(rows);
        }
        Ok(())
    })?;
    if args.output == ExportFormat::Csv {
        print_csv(&all)?;
    }
    Ok(Exit::Ok)
}

/// Which trial a row is of, and with which parameters.
fn begin(trial: &TrialLine) -> Row {
    let mut row = Row::new();
    row.insert("trial".to_owned(), json!(trial.trial));
    row.insert("index".to_owned(), json!(trial.index));
    row.insert("repeat".to_owned(), json!(trial.repeat));
    for (name, value) in trial.params.iter() {
        row.insert(format!("param_{name}"), flat(value));
    }
    row
}

fn of_trial(trial: &TrialLine) -> Row {
    let mut row = begin(trial);
    row.insert("state".to_owned(), json!(trial.state));
    row.insert("class".to_owned(), json!(trial.class));
    let settled = trial.objective.filter(|_| trial.state == TrialState::Succeeded);
    row.insert("objective".to_owned(), json!(settled));
    metrics(&mut row, &trial.metrics);
    row.insert("attempts".to_owned(), json!(trial.attempts));
    row.insert("duration_s".to_owned(), json!(trial.duration_s));
    row.insert("host".to_owned(), json!(trial.host));
    row.insert("error".to_owned(), json!(trial.error));
    row
}

fn attempts(trial: &TrialLine, records: &[Record]) -> Vec<Row> {
    let row = |record: &Record| {
        let report = &record.report;
        let mut row = begin(trial);
        row.insert("version".to_owned(), json!(record.version));
        row.insert("generation".to_owned(), json!(record.generation));
        row.insert("attempt".to_owned(), json!(report.token.attempt));
        row.insert("class".to_owned(), json!(report.class));
        row.insert("objective".to_owned(), json!(report.objective));
        metrics(&mut row, &report.metrics);
        row.insert("started_unix_ms".to_owned(), json!(report.started_unix_ms));
        row.insert("duration_ms".to_owned(), json!(report.duration_ms));
        row.insert("cpu_ms".to_owned(), json!(report.cpu_ms));
        row.insert("peak_rss_kib".to_owned(), json!(report.peak_rss_kib));
        row.insert("host".to_owned(), json!(record.host));
        row.insert("program".to_owned(), json!(report.program));
        row.insert("error".to_owned(), json!(report.error));
        row
    };
    records.iter().map(row).collect()
}

/// The curves of a trial's last attempt, a point a row.
fn curves(trial: &TrialLine, records: &[Record]) -> Vec<Row> {
    let points = records.last().into_iter().flat_map(|record| &record.report.curve);
    let row = |point: &gridctl_core::record::CurvePoint| {
        let mut row = begin(trial);
        row.insert("metric".to_owned(), json!(point.name));
        row.insert("step".to_owned(), json!(point.step));
        row.insert("value".to_owned(), json!(point.value));
        row
    };
    points.map(row).collect()
}

fn metrics(row: &mut Row, metrics: &[(String, MetricValue)]) {
    for (name, value) in metrics {
        row.insert(format!("metric_{name}"), json!(value));
    }
}

/// A parameter in one cell: what is a list or a map as JSON.
fn flat(value: &Value) -> Json {
    match json!(value) {
        nested @ (Json::Array(_) | Json::Object(_)) => Json::String(nested.to_string()),
        plain => plain,
    }
}

/// Prints rows that may have different columns: each under the name that it has first somewhere.
fn print_csv(rows: &[Row]) -> Result<(), Failure> {
    let mut header: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(Row::keys) {
        if !header.contains(name) {
            header.push(name.clone());
        }
    }
    let cell = |value: Option<&Json>| match value {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    csv::print(&header, rows.iter().map(|row| header.iter().map(|name| cell(row.get(name))).collect()))
}
