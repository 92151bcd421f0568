//! From a sweep file to a [`SweepSpec`]: every key is read here once, and everything that is wrong is reported at once.
//! Invariant: a spec comes out only where no check has failed.

use std::path::Path;
use std::sync::Arc;

use super::axes::{self, Draft};
use super::command::{self, Command};
use super::diagnostic::{Checker, Diagnostic, SpecErrors, shown};
use super::fields::Fields;
use super::random;
use super::relations::{self, Names};
use super::settings;
use super::wandb;
use super::yaml::{self, Key, Kind, Tree};
use super::{Axis, AxisValues, Order, Repeats, SweepSpec, cloud, metric, names};
use crate::expr::Expr;
use crate::launch;
use crate::points::{self, GridError, Points};

/// Combinations of the parameters that conditions name which are tried on each of them.
const CONDITIONS_TRIED: u64 = 10_000;

/// What the checks know beside the file.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The file's name without its extension: the sweep's name, if the file gives none.
    pub file_stem: &'a str,
    /// How many points a random search draws, said beside the file.
    pub count: Option<u64>,
}

/// A sweep file that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What it says.
    pub spec: SweepSpec,
    /// What its author should know.
    pub warnings: Vec<Diagnostic>,
    /// The file gives the sweep's name; else it is the file's.
    pub named: bool,
    /// Why no trial of it can be started, though its grid is known.
    pub unstartable: Option<Diagnostic>,
}

/// Every key of a sweep file, in the order in which messages list them.
pub const KEYS: &[&str] = &[
    "name",
    "description",
    "project",
    "entity",
    "workdir",
    "isolate",
    "setup",
    "image",
    "entrypoint",
    "command",
    "program",
    "serve",
    "method",
    "metric",
    "metrics",
    "parameters",
    "zip",
    "exclude",
    "repeats",
    "order",
    "run_cap",
    "trials",
    "seed",
    "data",
    "output",
    "aws",
    "resources",
    "timeout",
    "retry",
    "env",
    "secrets",
    "env_prefix",
    "preempt_signal",
    "workers",
    "budget",
    "deadline",
    "notify",
    "efs",
];

/// W&B's key for ending trials that look bad.
const EARLY_TERMINATE: &str = "early_terminate";

/// Reads and checks a sweep file.
///
/// # Errors
/// [`SpecErrors`]: everything that is wrong with it, in the file's order, at most twenty.
pub fn parse(source: &[u8], context: &Context<'_>) -> Result<Parsed, SpecErrors> {
    let (text, skipped) = yaml::decode(source)?;
    let result = checked(text, context);
    match result {
        Ok(mut parsed) => {
            parsed.warnings.iter_mut().for_each(|warning| shift(warning, skipped));
            Ok(parsed)
        }
        Err(SpecErrors(mut errors)) => {
            errors.iter_mut().for_each(|error| shift(error, skipped));
            Err(SpecErrors(errors))
        }
    }
}

/// Moves the places by the byte order mark that the parser never saw.
fn shift(diagnostic: &mut Diagnostic, by: usize) {
    let spans = diagnostic.span.iter_mut().chain(diagnostic.related.iter_mut().map(|(span, _)| span));
    spans.for_each(|span| *span = span.start + by..span.end + by);
}

/// A whole sweep file, for who has an empty one.
const TO_BEGIN_WITH: &str = "command: [python3, train.py, \"${args}\"]\n\
    metric: {name: loss, goal: minimize}\n\
    parameters: {lr: {values: [0.1, 0.01]}}";

fn checked(text: &str, context: &Context<'_>) -> Result<Parsed, SpecErrors> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        let error = Diagnostic::error("sweep::empty", "the sweep file is empty");
        return Err(SpecErrors(vec![error.help(format!("begin with these lines:\n{TO_BEGIN_WITH}"))]));
    }
    let mut root = yaml::parse(text)?;
    let mut check = Checker::new(text);
    early_terminate(&mut check, &mut root);
    wandb::take_foreign(&mut check, &mut root);
    let spec = match check.fields("the sweep file", &root, KEYS) {
        Some(fields) => spec(&mut check, &fields, context),
        None => None,
    };
    let warnings = check.finish()?;
    match spec {
        Some((spec, unstartable)) => Ok(Parsed { named: gives_name(&root), spec, warnings, unstartable }),
        None => Err(SpecErrors(vec![Diagnostic::error("sweep::refused", "the sweep file is refused")])),
    }
}

fn spec(
    check: &mut Checker<'_>,
    fields: &Fields<'_>,
    context: &Context<'_>,
) -> Option<(SweepSpec, Option<Diagnostic>)> {
    let mut labels = labels(check, fields);
    let name = name(check, fields, context, &mut labels);
    let random = random::is_random(check, fields);
    let amount = random::amount(check, fields, context, random);
    let env_prefix = settings::env_prefix(check, fields.get("env_prefix"));
    let drafts = match fields.get("parameters") {
        Some(tree) => axes::read(check, tree, &env_prefix, fields.get("zip"), random),
        None => {
            no_parameters(check, fields);
            Vec::new()
        }
    };
    let names = Names::new(&drafts);
    let whens = relations::whens(check, &names);
    let zip = fields.get("zip").map(|tree| relations::zip(check, &names, tree)).unwrap_or_default();
    let exclude =
        fields.get("exclude").map(|tree| relations::exclude(check, &names, tree)).unwrap_or_default();
    let repeats = repeats(check, fields, &names, (&zip, &whens, &exclude));
    if !random {
        points(check, fields, &drafts, (&zip, repeats));
    }
    let (objective, metrics) = metric::read(check, fields.get("metric"), fields.get("metrics"));
    let image = fields.get("image").and_then(|tree| cloud::image(check, tree));
    let Command { words, program, missing } = command::read(check, &names, fields);
    let (env, secrets) = settings::variables(check, fields.get("env"), fields.get("secrets"), &drafts);
    let spec = SweepSpec {
        name: name.unwrap_or_default(),
        labels,
        zip,
        exclude,
        repeats,
        order: order(check, fields.get("order")),
        point_by_point: repeats != Repeats::Seeds(1),
        sequence: amount.sequence,
        run_cap: amount.run_cap,
        objective,
        metrics,
        command: words,
        program,
        env,
        secrets,
        env_prefix,
        resources: settings::resources(check, fields.get("resources")),
        shares_gpus: !settings::says_gpus(fields.get("resources")),
        timeout_ms: fields.get("timeout").and_then(|tree| settings::duration(check, "`timeout`", tree)),
        retry: settings::retry(check, fields.get("retry")),
        workdir: fields.get("workdir").and_then(|tree| settings::workdir(check, tree)),
        isolate: fields.get("isolate").and_then(|tree| check.boolean("`isolate`", tree)).unwrap_or(false),
        setup: fields.get("setup").and_then(|tree| check.text("`setup`", tree).map(str::to_owned)),
        data: fields.get("data").and_then(|tree| settings::place(check, "`data`", tree)),
        output: fields.get("output").and_then(|tree| settings::place(check, "`output`", tree)),
        entrypoint: fields
            .get("entrypoint")
            .and_then(|tree| command::entrypoint(check, tree, fields.has("image"))),
        image,
        serve: fields.get("serve").map(|tree| command::serve(check, tree)).unwrap_or_default(),
        preempt_signal: fields.get("preempt_signal").and_then(|tree| settings::signal(check, tree)),
        unserved: unserved(check, fields),
        axes: Vec::new(),
    };
    if check.failed() {
        // What to write in place of `bayes` says how many points, too.
        let count = amount.missing.filter(|_| !random::is_bayes(fields));
        missing.into_iter().chain(count).for_each(|missing| check.push(missing));
        return None;
    }
    let axes = axes_of(check, drafts, whens)?;
    let spec = SweepSpec { axes, ..spec };
    usable(check, fields, &spec);
    Some((spec, missing.or(amount.missing)))
}

/// What is built on the spec must take it: the grid, and the start of a trial.
fn usable(check: &mut Checker<'_>, fields: &Fields<'_>, spec: &SweepSpec) {
    let points = Points::new(Arc::new(spec.clone()));
    if let (Ok(points), true) = (&points, fields.has("trials") || fields.has("run_cap")) {
        fewer(check, fields, spec, points);
    }
    let points = points.and_then(|points| points.check_conditions(CONDITIONS_TRIED));
    let points = points.err().map(|error| {
        let at = |text: &str| spec.exclude.iter().any(|condition| condition.source() == text);
        match &error {
            GridError::Evaluation { expression, .. } if at(expression) => ("exclude", error),
            _ => ("parameters", error),
        }
    });
    let points = points.map(|(key, error)| (key, error.to_string(), Some(error.help().to_owned())));
    let start = launch::check_command(spec).err().map(|error| ("command", error.to_string(), None));
    for (key, problem, help) in points.into_iter().chain(start) {
        let mut error = Diagnostic::error("sweep::unusable", problem).maybe_help(help);
        error.span = fields.key(key).cloned();
        check.push(error);
    }
}

/// Says that a sequence has fewer points than are asked for.
fn fewer(check: &mut Checker<'_>, fields: &Fields<'_>, spec: &SweepSpec, points: &Points) {
    let (asked, there) = (spec.sequence.map_or(0, |sequence| sequence.points), points.point_count());
    if asked <= there {
        return;
    }
    let drawn =
        spec.axes.iter().any(|axis| axis.when.is_some() || matches!(axis.values, AxisValues::Drawn(_)));
    let (message, help) = if drawn {
        (
            format!(
                "{asked} points are asked for, of so few values that they repeat: {there} are drawn at most"
            ),
            "ask for fewer, or add a parameter that is continuous",
        )
    } else {
        (
            format!("{asked} points are asked for, and only {there} are different: all of those are tried"),
            "`method: grid` tries the same ones",
        )
    };
    let mut warning = Diagnostic::warning("sweep::fewer_points", message).help(help);
    warning.span = fields.key("trials").or(fields.key("run_cap")).cloned();
    check.push(warning);
}

fn axes_of(check: &mut Checker<'_>, drafts: Vec<Draft<'_>>, whens: Vec<Option<Expr>>) -> Option<Vec<Axis>> {
    let axis = |(draft, when): (Draft<'_>, Option<Expr>)| {
        let Draft { name, path, variable, span, was, values, .. } = draft;
        let axis = Axis { name, path, variable, values: values?, when, was };
        if axis.was.as_ref().is_some_and(|was| !points::has_value(&axis, was)) {
            let message =
                format!("parameter {} says by `was` a value that is none of its own", shown(&axis.name));
            check.push(Diagnostic::error("sweep::was", message).at(&span).help(
                "`was` is what the program took before it was a parameter: list that value too, so that what is known stays known",
            ));
        }
        Some(axis)
    };
    drafts.into_iter().zip(whens).map(axis).collect()
}

fn no_parameters(check: &mut Checker<'_>, fields: &Fields<'_>) {
    if fields.misspelt("parameters") {
        return;
    }
    check.push(
        Diagnostic::error("sweep::no_parameters", "the sweep file has no `parameters`")
            .help("name what is searched: `parameters: {lr: {values: [0.1, 0.01]}}`"),
    );
}

fn gives_name(root: &Tree) -> bool {
    let Kind::Map(entries) = &root.kind else { return false };
    entries.iter().any(|(key, value)| key.text == "name" && !matches!(value.kind, Kind::Null))
}

/// The name, made fit where it was written to be shown; or the file's. What was written is kept as a label.
fn name(
    check: &mut Checker<'_>,
    fields: &Fields<'_>,
    context: &Context<'_>,
    labels: &mut Vec<(String, String)>,
) -> Option<String> {
    let Some(tree) = fields.get("name").filter(|tree| !matches!(tree.kind, Kind::Null)) else {
        return Some(names::derived(context.file_stem));
    };
    let text = check.scalar("`name`", tree)?;
    match names::usable(&text) {
        Ok(name) if name != text => {
            let message =
                format!("the sweep's name is {}: commands and paths take no other signs", shown(&name));
            check.push(Diagnostic::warning("sweep::name", message).at(&tree.span));
            labels.push(("name".to_owned(), text));
            Some(name)
        }
        Ok(name) => Some(name),
        Err(error) => {
            let diagnostic = Diagnostic::error("sweep::name", error.problem).at(&tree.span);
            check.push(diagnostic.maybe_help(error.help));
            None
        }
    }
}

/// Takes `early_terminate` out of the file. A grid of W&B's tries every point with it or without it; for
/// all others it is an error that says what to write instead.
fn early_terminate(check: &mut Checker<'_>, root: &mut Tree) {
    let Kind::Map(entries) = &mut root.kind else { return };
    let of_grid = |(key, value): &(Key, Tree)| {
        key.text == "method"
            && matches!(&value.kind, Kind::Str(text) if text.trim().eq_ignore_ascii_case("grid"))
    };
    let in_grid = entries.iter().any(of_grid);
    for (key, _) in entries.extract_if(.., |(key, _)| key.text == EARLY_TERMINATE) {
        let message = "`early_terminate` has no effect: every trial is trained to its end";
        let diagnostic = match in_grid {
            true => Diagnostic::warning("sweep::early_terminate", message),
            false => Diagnostic::error("sweep::early_terminate", message),
        };
        check.push(diagnostic.at(&key.span).help(
            "remove it; `timeout: 2h` bounds a trial, `metric: {target: ...}` ends the sweep once it is good enough",
        ));
    }
}

fn repeats(
    check: &mut Checker<'_>,
    fields: &Fields<'_>,
    names: &Names<'_, '_>,
    rest: (&[Vec<usize>], &[Option<Expr>], &[Expr]),
) -> Repeats {
    let Some(tree) = fields.get("repeats") else { return Repeats::Seeds(1) };
    let repeats = relations::repeats(check, names, tree).unwrap_or(Repeats::Seeds(1));
    if let Repeats::Axis(place) = repeats {
        relations::repeats_axis(check, names, place, rest, tree);
    }
    repeats
}

/// The grid must be countable.
fn points(
    check: &mut Checker<'_>,
    fields: &Fields<'_>,
    drafts: &[Draft<'_>],
    (zip, repeats): (&[Vec<usize>], Repeats),
) {
    let count = |draft: &Draft<'_>| draft.values.as_ref().map_or(1, AxisValues::count);
    let counts: Vec<u64> = drafts.iter().map(count).collect();
    if relations::points(&counts, zip, repeats).is_some() {
        return;
    }
    let mut largest: Vec<_> = drafts.iter().zip(&counts).collect();
    largest.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown: Vec<String> =
        largest.iter().take(3).map(|(draft, count)| format!("{} has {count}", shown(&draft.name))).collect();
    let mut error = Diagnostic::error("sweep::too_many_points", "the grid has 2^63 points or more")
        .help(format!("take fewer values: {}", shown.join(", ")));
    error.span = fields.key("parameters").cloned();
    check.push(error);
}

fn labels(check: &mut Checker<'_>, fields: &Fields<'_>) -> Vec<(String, String)> {
    let keys = ["description", "project", "entity"];
    let label = |key: &str| {
        let tree = fields.get(key).filter(|tree| !matches!(tree.kind, Kind::Null))?;
        Some((key.to_owned(), check.scalar(&format!("`{key}`"), tree)?))
    };
    keys.into_iter().filter_map(label).collect()
}

fn order(check: &mut Checker<'_>, tree: Option<&Tree>) -> Order {
    match tree.and_then(|tree| check.word("`order`", tree, &["spread", "file"])) {
        Some("file") => Order::File,
        _ => Order::Spread,
    }
}

fn unserved(check: &mut Checker<'_>, fields: &Fields<'_>) -> Vec<(String, crate::value::Value)> {
    let read = |key: &&str| Some(((*key).to_owned(), cloud::read(check, key, fields.get(key)?)?));
    cloud::UNSERVED.iter().filter_map(read).collect()
}

/// The context of a file: its name without the extension.
impl<'a> From<&'a Path> for Context<'a> {
    fn from(path: &'a Path) -> Self {
        Self { file_stem: path.file_stem().and_then(|stem| stem.to_str()).unwrap_or(""), count: None }
    }
}
