//! `gridctl trials diff`: in what two trials differ.
//! Invariant: what is equal is left out of the table, and said to be.

use std::collections::BTreeSet;

use gridctl_core::record::MetricValue;
use gridctl_core::view::TrialDetails;
use serde::Serialize;

use crate::cli::TrialsDiffArgs;
use crate::exit::{Exit, Outcome};
use crate::output::{self, number, rows};
use crate::settings::Settings;
use crate::source::target;

/// One difference.
#[derive(Debug, Serialize)]
struct Difference {
    what: String,
    one: String,
    other: String,
}

/// Runs the command.
pub(crate) fn run(args: &TrialsDiffArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.sweep.as_deref(), settings)?;
    let one = source.trial(&sweep, &args.one)?;
    let other = source.trial(&sweep, &args.other)?;
    let all = told(&one).into_iter().chain(told(&other)).map(|(what, _)| what);
    let mut seen = BTreeSet::new();
    let names: Vec<String> = all.filter(|what| seen.insert(what.clone())).collect();
    let value = |details: &TrialDetails, what: &String| {
        told(details)
            .into_iter()
            .find(|(name, _)| name == what)
            .map_or_else(|| "-".to_owned(), |(_, value)| value)
    };
    let count = names.len();
    let differences: Vec<Difference> = names
        .into_iter()
        .map(|what| Difference { one: value(&one, &what), other: value(&other, &what), what })
        .filter(|it| it.one != it.other)
        .collect();
    let (first, second) = (one.trial.trial.short(), other.trial.trial.short());
    let headings = ["", &format!(">{first}"), &format!(">{second}")];
    let cells = |it: &Difference| vec![it.what.clone(), it.one.clone(), it.other.clone()];
    output::list(&differences, args.output, (headings, cells), "they differ in nothing that is recorded")?;
    let equal = count - differences.len();
    if equal > 0 && !differences.is_empty() {
        output::say(format_args!("{equal} more are equal: parameters, metrics, code, machine"));
    }
    Ok(Exit::Ok)
}

/// What is recorded of a trial, name by name.
fn told(details: &TrialDetails) -> Vec<(String, String)> {
    let trial = &details.trial;
    let mut all = vec![("state".to_owned(), trial.state.to_string())];
    let params = trial.params.iter();
    all.extend(params.map(|(name, value)| (format!("param {name}"), rows::shown_value(Some(value)))));
    all.push(("repeat".to_owned(), trial.repeat.to_string()));
    let metric = |(name, value): &(String, MetricValue)| (format!("metric {name}"), number::metric(value.0));
    all.extend(trial.metrics.iter().map(metric));
    if let Some(last) = details.attempts.last() {
        all.push(("code".to_owned(), last.code.to_string().chars().take(12).collect()));
        all.push(("version".to_owned(), last.version.to_string()));
        all.push(("end".to_owned(), last.report.class.to_string()));
        all.push(("duration".to_owned(), trial.duration_s.map_or_else(String::new, number::seconds)));
        all.push(("machine".to_owned(), last.host.clone()));
        all.push(("program".to_owned(), last.report.program.clone().unwrap_or_default()));
    }
    all
}
