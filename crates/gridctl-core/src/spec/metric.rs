//! `metric` and `metrics`: what is measured, and which way is better.
//! Invariant: no metric is declared twice, and every `regex` compiles within its limit and has a group for the value.

use std::collections::HashMap;
use std::ops::Range;

use regex::RegexBuilder;

use super::diagnostic::{Checker, Diagnostic, shown};
use super::fields::Fields;
use super::yaml::{Kind, Tree};
use super::{Goal, MetricSpec, Objective, Report, limits, names};

/// Metrics that people want to be large, whatever the default is.
const LARGER_IS_BETTER: &[&str] = &["accuracy", "acc", "auc", "f1", "r2"];

/// The objective and the further metrics.
pub(super) fn read(
    check: &mut Checker<'_>,
    metric: Option<&Tree>,
    metrics: Option<&Tree>,
) -> (Option<Objective>, Vec<MetricSpec>) {
    let mut seen: HashMap<String, Range<usize>> = HashMap::new();
    let objective = metric.and_then(|tree| {
        let (objective, span) = objective(check, tree)?;
        seen.insert(objective.metric.name.clone(), span);
        Some(objective)
    });
    let items = metrics.and_then(|tree| check.items("`metrics`", tree, limits::METRICS)).unwrap_or_default();
    let mut further = Vec::with_capacity(items.len());
    for item in items {
        let Some((spec, span)) = declared(check, item) else { continue };
        let is_objective = objective.as_ref().is_some_and(|objective| objective.metric.name == spec.name);
        match seen.get(&spec.name) {
            // Named again without saying anything else about it: harmless.
            Some(_) if is_objective && matches!(item.kind, Kind::Str(_)) => {}
            Some(before) => check.push(
                Diagnostic::error(
                    "sweep::duplicate_metric",
                    format!("the metric {} is declared twice", shown(&spec.name)),
                )
                .at(&span)
                .label("again here")
                .related(before, "first here")
                .help("keep one of the two"),
            ),
            None => {
                seen.insert(spec.name.clone(), span);
                further.push(spec);
            }
        }
    }
    (objective, further)
}

fn objective(check: &mut Checker<'_>, tree: &Tree) -> Option<(Objective, Range<usize>)> {
    if let Kind::Str(name) = &tree.kind {
        check.wrong("`metric`", tree, "a map");
        check.help_last(format!("write `metric: {{name: {name}, goal: minimize}}` (or `goal: maximize`)"));
        return None;
    }
    let fields = check.fields("`metric`", tree, &["name", "goal", "target", "regex", "report"])?;
    let metric = spec(check, "`metric`", &fields, tree);
    let goal = fields.get("goal").map(|tree| goal(check, tree));
    let target = fields.get("target").map(|tree| check.number("`metric.target`", tree));
    let (metric, span) = metric?;
    let goal = match goal {
        Some(goal) => goal?,
        None => assumed(check, &metric.name, &span),
    };
    let target = match target {
        Some(target) => Some(target?),
        None => None,
    };
    Some((Objective { metric, goal, target }, span))
}

fn goal(check: &mut Checker<'_>, tree: &Tree) -> Option<Goal> {
    let text = check.text("`metric.goal`", tree)?;
    let lower = text.trim().to_lowercase();
    if matches!(lower.as_str(), "max" | "min" | "higher" | "lower") {
        let meant = if matches!(lower.as_str(), "max" | "higher") { "maximize" } else { "minimize" };
        let message = format!("`metric.goal` cannot be {}", shown(text));
        check.push(
            Diagnostic::error("sweep::unknown_word", message)
                .at(&tree.span)
                .help(format!("write `goal: {meant}`")),
        );
        return None;
    }
    let word = check.word("`metric.goal`", tree, &["maximize", "minimize", "maximise", "minimise"])?;
    Some(if word.starts_with("max") { Goal::Maximize } else { Goal::Minimize })
}

/// Without a goal W&B minimizes; for some names that is hardly meant.
fn assumed(check: &mut Checker<'_>, name: &str, span: &Range<usize>) -> Goal {
    let lower = name.to_lowercase();
    let parts = lower.split(|c: char| !c.is_ascii_alphanumeric());
    if parts.into_iter().any(|part| LARGER_IS_BETTER.contains(&part)) {
        check.push(
            Diagnostic::warning(
                "sweep::goal",
                format!("{} will be minimized: without `goal`, smaller is better", shown(name)),
            )
            .at(span)
            .help("write `goal: maximize`, or `goal: minimize` if that is meant"),
        );
    }
    Goal::Minimize
}

/// One of `metrics`: a name, or a map.
fn declared(check: &mut Checker<'_>, tree: &Tree) -> Option<(MetricSpec, Range<usize>)> {
    if let Kind::Str(name) = &tree.kind {
        let metric = MetricSpec { name: name.clone(), regex: None, report: Report::Last };
        return named(check, &tree.span, name).then(|| (metric, tree.span.clone()));
    }
    if !matches!(tree.kind, Kind::Map(_)) {
        check.wrong("a metric", tree, "a name or a map such as `{name: f1, regex: 'F1=(\\S+)'}`");
        return None;
    }
    let fields = check.fields("a metric", tree, &["name", "regex", "report"])?;
    spec(check, "a metric", &fields, tree)
}

fn spec(
    check: &mut Checker<'_>,
    what: &str,
    fields: &Fields<'_>,
    tree: &Tree,
) -> Option<(MetricSpec, Range<usize>)> {
    let Some(name_tree) = fields.get("name") else {
        let error = Diagnostic::error("sweep::missing_key", format!("{what} has no `name`")).at(&tree.span);
        check.push(error.help("name what the trainer prints: `name: loss` for a line `loss=0.41`"));
        return None;
    };
    let name = check.text(&format!("{what}: `name`"), name_tree)?;
    let good = named(check, &name_tree.span, name);
    let regex = match fields.get("regex") {
        Some(tree) => Some(pattern(check, tree)?),
        None => None,
    };
    let report = match fields.get("report") {
        Some(tree) => {
            match check.word(&format!("{what}: `report`"), tree, &["last", "min", "max", "mean"])? {
                "min" => Report::Min,
                "max" => Report::Max,
                "mean" => Report::Mean,
                _ => Report::Last,
            }
        }
        None => Report::Last,
    };
    good.then(|| (MetricSpec { name: name.to_owned(), regex, report }, name_tree.span.clone()))
}

fn named(check: &mut Checker<'_>, span: &Range<usize>, name: &str) -> bool {
    let verdict = names::metric(name);
    if let Err(error) = &verdict {
        check.push(
            Diagnostic::error("sweep::metric_name", error.problem.clone())
                .at(span)
                .maybe_help(error.help.clone()),
        );
    }
    verdict.is_ok()
}

fn pattern(check: &mut Checker<'_>, tree: &Tree) -> Option<String> {
    let text = check.text("`regex`", tree)?;
    if let Err(problem) = compiles(text) {
        check.push(
            Diagnostic::error("sweep::regex", format!("`regex`: {problem}")).at(&tree.span).help(
                "it needs one group around the value, as in 'F1=(\\S+)' (single quotes keep backslashes)",
            ),
        );
        return None;
    }
    Some(text.to_owned())
}

/// Whether `text` is a pattern with a group, and small enough.
pub(super) fn compiles(text: &str) -> Result<(), String> {
    match RegexBuilder::new(text).size_limit(limits::REGEX_BYTES).build() {
        Ok(regex) if regex.captures_len() < 2 => Err(format!("{} has no group", shown(text))),
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(most)) => {
            Err(format!("{} is too large: it compiles to more than {most} bytes", shown(text)))
        }
        Err(error) => {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(format!("{} is no regular expression: {last}", shown(text)))
        }
    }
}
