//! The leaderboard's rows in every format.
//! Invariant: `-o json` has the shape that scripts rely on; a table shows what differs between rows, `wide` shows everything.

use std::collections::BTreeSet;

use gridctl_core::leaderboard::{METRICS, PARAMS, Row};
use gridctl_core::record::MetricValue;
use gridctl_core::value::Value;

use super::table::TableColumns;
use super::{Format, csv, number};
use crate::exit::Failure;

/// So many metrics stand beside the objective in a table; `wide` has them all.
const OTHER_METRICS: usize = 8;

/// What the headings need to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heading {
    /// The metric that ranks; empty if nothing is ranked.
    pub(crate) metric: String,
}

/// Prints the first `shown` of `rows`.
pub(crate) fn print(all: &[Row], shown: usize, heading: &Heading, format: Format) -> Result<(), Failure> {
    let rows = &all[..shown.min(all.len())];
    match format {
        Format::Table => super::text(&table((all, rows), heading, false)),
        Format::Wide => super::text(&table((all, rows), heading, true)),
        Format::Json => super::json(&rows),
        Format::Jsonl => super::jsonl(rows),
        Format::Yaml => super::yaml(&rows),
        Format::Csv => {
            let (header, cells) = flat(rows);
            csv::print(&header, cells)
        }
    }
}

/// Names of parameters and metrics, in the order of their first appearance.
fn names(rows: &[Row]) -> (Vec<String>, Vec<String>) {
    let mut seen = BTreeSet::new();
    let params = rows.iter().flat_map(|row| row.params.iter().map(|(name, _)| name));
    let params = params.filter(|name| seen.insert((0, (*name).to_owned()))).map(str::to_owned).collect();
    let metrics = rows.iter().flat_map(|row| row.metrics.iter().map(|(name, _)| name));
    let metrics = metrics.filter(|name| seen.insert((1, (*name).clone()))).cloned().collect();
    (params, metrics)
}

/// Whether not all rows have the same value of this parameter.
fn differs(rows: &[Row], name: &str) -> bool {
    let mut values = rows.iter().map(|row| row.params.get(name));
    let first = values.next();
    values.any(|value| Some(value) != first)
}

/// The rows as columns; parameters that vary among `all` are shown.
fn table((all, rows): (&[Row], &[Row]), heading: &Heading, wide: bool) -> String {
    let (params, metrics) = names(all);
    let shown: Vec<&String> =
        params.iter().filter(|name| wide || all.len() < 2 || differs(all, name)).collect();
    let others = metrics.iter().filter(|name| **name != heading.metric);
    let others: Vec<&String> = others.take(if wide { usize::MAX } else { OTHER_METRICS }).collect();
    let repeated = rows.iter().any(|row| row.repeats_total > 1);
    let odd_states = rows.iter().any(|row| row.state != gridctl_core::record::TrialState::Succeeded);
    let mut headings: Vec<String> = vec![">rank".to_owned(), "trial".to_owned()];
    // What a parameter and a metric have in common is told apart as the JSON does it.
    let meets = |name: &str| params.iter().any(|known| known == name) && measured(name, &metrics, heading);
    let head = |prefix: &str, name: &str| format!(">{}{name}", if meets(name) { prefix } else { "" });
    if !heading.metric.is_empty() {
        headings.push(head(METRICS, &heading.metric));
    }
    let spread = repeated || rows.iter().any(|row| row.objective_std.is_some());
    if spread {
        headings.push(">std".to_owned());
    }
    if repeated {
        headings.push(">repeats".to_owned());
    }
    headings.extend(shown.iter().map(|name| head(PARAMS, name)));
    headings.extend(others.iter().map(|name| head(METRICS, name)));
    if wide || odd_states {
        headings.push("state".to_owned());
    }
    if wide {
        headings.extend([">index", ">attempts", ">duration", "worker"].map(str::to_owned));
    }
    let mut columns = TableColumns::new(headings.iter().map(String::as_str)).whole(wide);
    for row in rows {
        let mut cells = vec![row.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string())];
        cells.push(row.trial.short());
        if !heading.metric.is_empty() {
            cells.push(shown_metric(row.objective, wide));
        }
        if spread {
            cells.push(shown_metric(row.objective_std, wide));
        }
        if repeated {
            cells.push(format!("{}/{}", row.repeats, row.repeats_total));
        }
        cells.extend(shown.iter().map(|name| shown_value(row.params.get(name))));
        cells.extend(others.iter().map(|name| shown_metric(of_name(&row.metrics, name), wide)));
        if wide || odd_states {
            cells.push(row.state.to_string());
        }
        if wide {
            cells.push(row.index.to_string());
            cells.push(row.attempts.to_string());
            cells.push(number::seconds(row.duration_s));
            cells.push(row.worker.to_string());
        }
        columns.row(cells);
    }
    columns.render()
}

fn measured(name: &str, metrics: &[String], heading: &Heading) -> bool {
    name == heading.metric || metrics.iter().any(|known| known == name)
}

fn of_name(values: &[(String, MetricValue)], name: &str) -> Option<MetricValue> {
    values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

fn shown_metric(value: Option<MetricValue>, wide: bool) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| if wide { number::plain(value.0) } else { number::metric(value.0) },
    )
}

/// A parameter in a table.
pub(crate) fn shown_value(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// Flat columns for CSV: `param_*`, `metric_*`, and `std_*` of metrics that have a spread.
fn flat(rows: &[Row]) -> (Vec<String>, Vec<Vec<String>>) {
    let (params, metrics) = names(rows);
    let fixed = ["rank", "trial", "index", "state", "objective", "objective_std"];
    let mut header: Vec<String> = fixed.map(str::to_owned).to_vec();
    header.extend(params.iter().map(|name| format!("param_{name}")));
    header.extend(metrics.iter().map(|name| format!("metric_{name}")));
    let std = |row: &Row, name: &str| of_name(&row.metrics_std, name);
    let spread: Vec<&String> =
        metrics.iter().filter(|name| rows.iter().any(|row| std(row, name).is_some())).collect();
    header.extend(spread.iter().map(|name| format!("std_{name}")));
    header.extend(["repeats", "attempts", "worker", "duration_s"].map(str::to_owned));
    let number = |value: Option<MetricValue>| value.map_or_else(String::new, |value| value.0.to_string());
    let cells = rows.iter().map(|row| {
        let mut cells = vec![row.rank.map_or_else(String::new, |rank| rank.to_string())];
        cells.extend([row.trial.to_string(), row.index.to_string(), row.state.to_string()]);
        cells.extend([number(row.objective), number(row.objective_std)]);
        let text = |name: &String| row.params.get(name).and_then(Value::to_text).unwrap_or_default();
        cells.extend(params.iter().map(text));
        cells.extend(metrics.iter().map(|name| number(of_name(&row.metrics, name))));
        cells.extend(spread.iter().map(|name| number(std(row, name))));
        cells.extend([row.repeats.to_string(), row.attempts.to_string(), row.worker.to_string()]);
        cells.push(row.duration_s.to_string());
        cells
    });
    (header, cells.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let json = r#"[
            {"rank":1,"trial":"k3f9x2abk3f9x2ab","index":3,"state":"succeeded","objective":0.75,"params":{"lr":0.1,"opt":"=x","folds":5},
             "metrics":{"acc":0.75,"f1":0.123456789},"repeats":1,"repeats_total":1,"attempts":1,"worker":"abcdefgh","duration_s":1.5},
            {"rank":null,"trial":"a3f2x2abk3f2x2ab","index":4,"state":"succeeded","objective":"NaN","params":{"lr":1e-7,"opt":"b","folds":5},
             "metrics":{"acc":"NaN"},"repeats":1,"repeats_total":1,"attempts":2,"worker":"abcdefgh","duration_s":0.25}]"#;
        serde_json::from_str(&json.replace('9', "7")).unwrap()
    }

    #[test]
    fn a_table_shows_what_differs_and_wide_shows_everything() {
        let heading = Heading { metric: "acc".to_owned() };
        let text = table((&rows(), &rows()), &heading, false);
        let header: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(header, ["rank", "trial", "acc", "lr", "opt", "f1"]);
        let second: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(second, ["-", "a3f2x2ab", "NaN", "1e-7", "b", "-"]);
        let wide = table((&rows(), &rows()), &heading, true);
        assert!(wide.lines().next().unwrap().contains("folds"));
        assert!(wide.lines().next().unwrap().contains("worker"));
    }

    #[test]
    fn flat_columns_have_a_name_for_everything() {
        let (header, cells) = flat(&rows());
        assert_eq!(
            header,
            [
                "rank",
                "trial",
                "index",
                "state",
                "objective",
                "objective_std",
                "param_lr",
                "param_opt",
                "param_folds",
                "metric_acc",
                "metric_f1",
                "repeats",
                "attempts",
                "worker",
                "duration_s"
            ]
        );
        assert_eq!(cells[0][7], "=x");
        assert_eq!(cells[1][4], "NaN");
    }

    #[test]
    fn a_mean_of_what_one_trial_printed_has_its_spread_beside_it() {
        let mut rows = rows();
        rows[0].objective_std = Some(MetricValue(0.25));
        rows[0].metrics_std = vec![("acc".to_owned(), MetricValue(0.25))];
        let text = table((&rows, &rows), &Heading { metric: "acc".to_owned() }, false);
        let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(0)[..4], ["rank", "trial", "acc", "std"]);
        assert_eq!((words(1)[3], words(2)[3]), ("0.25", "-"));
        let (header, cells) = flat(&rows);
        let at = header.iter().position(|name| name == "std_acc").unwrap();
        assert_eq!((&*cells[0][at], &*cells[1][at]), ("0.25", ""));
        assert!(!header.contains(&"std_f1".to_owned()));
    }
}
