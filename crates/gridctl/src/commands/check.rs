//! `gridctl check`: what a sweep file means, before anything starts.
//! Invariant: nothing is written or started, no grid is too large to be shown, and no secret's
//! value is.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use gridctl_core::launch::{BaseEnv, MACROS, dropped};
use gridctl_core::metrics::{Extractor, FileReader, Patterns, Seen, Stream};
use gridctl_core::points::{Count, Points};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::Channel;
use gridctl_core::secrets::MASK;
use gridctl_core::spec::{
    AxisValues, Diagnostic, Goal, MetricSpec, NO_COUNT, Objective, Repeats, Severity, SweepSpec,
};
use serde_json::{Value as Json, json};

use crate::cli::CheckArgs;
use crate::diagnose;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::sentence;
use crate::output::table::TableColumns;
use crate::output::{self, TextOrJson, number, rows, sanitise};
use crate::settings::Settings;
use crate::submit::freeze::CopiedWorkdir;
use crate::submit::{self, CheckedFile, freeze, precheck, preview, reads};

/// Trials shown.
const TRIALS: usize = 3;
/// Values of an axis shown from its beginning; the last one is shown too.
const VALUES: u64 = 6;

/// Runs the command.
pub(crate) fn run(args: &CheckArgs, settings: &Settings) -> Outcome {
    let Some(file) = args.file.as_ref().filter(|_| !args.macros) else {
        return show_macros(args.output);
    };
    let checked = submit::check(file, &settings.data_dir, args.count)?;
    let dir = settings.data_dir.for_sweep(&checked.file.base)?;
    let caller = |name: &str| std::env::var(name).ok();
    let resolved = freeze::resolve(&checked, &dir, &caller)?;
    let only_warn = |problem| Diagnostic { severity: Severity::Warning, ..problem };
    let further = resolved.missing.into_iter().chain(resolved.notes).chain(checked.unstartable.clone());
    let mut warnings: Vec<Diagnostic> =
        checked.warnings.iter().cloned().chain(further.map(only_warn)).collect();
    let show = |warnings: &[Diagnostic]| {
        warnings.iter().for_each(|warning| diagnose::print(warning, Some(&checked.file.source)));
    };
    show(&warnings);
    checked.note.iter().for_each(output::say);
    if let Some(log) = &args.log {
        return show_log(log, &checked, args.output);
    }
    let points = preview::points(&resolved.frozen)?;
    let base = BaseEnv::new(&resolved.frozen, preview::caller_env());
    let base = base.shown(&resolved.frozen, |_| MASK.to_owned());
    let counted = checked.unstartable.as_ref().is_none_or(|problem| problem.code == NO_COUNT);
    let trials = if counted { TRIALS } else { 0 };
    let previews = preview::first(&points, trials)
        .into_iter()
        .map(|index| preview::of(&resolved.frozen, &points, index, &base))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            Failure::usage("sweep::command", error.to_string())
                .help(error.help())
                .within(&checked.file.source)
        })?;
    let mut exit = Exit::Ok;
    if checked.unstartable.is_none()
        && let Err(failure) = precheck::command(&resolved.frozen, &points, &checked.file.source)
    {
        // `run` refuses it too.
        exit = failure.exit;
        show(&failure.problems);
        warnings.extend(failure.problems);
    }
    let unread = reads::unread(&resolved.frozen, &points);
    show(&unread);
    warnings.extend(unread);
    let copied = freeze::copied(&resolved.frozen, &dir)?;
    let missing = copied.as_ref().and_then(|copied| freeze::copied_warning(copied, &checked.file.source));
    show(missing.as_slice());
    warnings.extend(missing);
    let endless = checked.unstartable.as_ref().is_some_and(|problem| problem.code == NO_COUNT);
    let count = preview::count(&points);
    let view = CheckView { copied, frozen: &resolved.frozen, points: &points, count, endless, previews };
    match args.output {
        TextOrJson::Text => output::text(&view.text())?,
        TextOrJson::Json => output::json(&view.json(&warnings))?,
    }
    Ok(exit)
}

/// Explains the macros of `command`.
fn show_macros(format: TextOrJson) -> Outcome {
    match format {
        TextOrJson::Json => {
            let all =
                MACROS.map(|(name, meaning)| json!({"macro": format!("${{{name}}}"), "meaning": meaning}));
            output::json(&json!(all))?;
        }
        TextOrJson::Text => {
            let mut columns = TableColumns::new(["macro", "what it becomes"]);
            MACROS
                .into_iter()
                .for_each(|(name, meaning)| columns.row(vec![format!("${{{name}}}"), meaning.to_owned()]));
            output::text(&columns.render())?;
        }
    }
    Ok(Exit::Ok)
}

/// What is shown.
struct CheckView<'a> {
    /// Of a sweep that is isolated.
    copied: Option<CopiedWorkdir>,
    frozen: &'a FrozenSweep,
    points: &'a Points,
    count: Count,
    /// Nothing says how many points there are.
    endless: bool,
    previews: Vec<preview::Preview>,
}

impl CheckView<'_> {
    fn text(&self) -> String {
        let spec = &self.frozen.spec;
        let mut out = String::new();
        let _ = writeln!(out, "{}: {}", spec.name, self.counted());
        let _ = writeln!(out, "{}", self.measured());
        if let Some(timeout) = spec.timeout_ms {
            let timeout = number::duration(std::time::Duration::from_millis(timeout));
            let _ = writeln!(out, "timeout {timeout}");
        }
        if let Some(copied) = &self.copied {
            let _ = writeln!(
                out,
                "each slot works in copies of the workdir, two at most: {}, {}",
                number::of(copied.files as u64, "file"),
                number::bytes(copied.bytes)
            );
        }
        let _ = writeln!(out, "\n{}", self.axes().trim_end());
        for expression in &spec.exclude {
            let _ = writeln!(out, "excluded where {}", sanitise::line(expression.source()));
        }
        out.push_str(match self.previews.len() {
            0 if self.frozen.spec.command.is_empty() => "",
            0 => "\nNo trial was found among the first points: look at `exclude`.\n",
            1 => "\nThe first trial:\n",
            _ => "\nThe first trials:\n",
        });
        let unchanging = self.unchanging();
        for preview in &self.previews {
            let _ = writeln!(out, "\n  {}  (index {})", preview.trial.short(), preview.index);
            let _ = writeln!(out, "    {}", preview.command());
            for (name, value) in preview.own_env().filter(|pair| !unchanging.contains(pair)) {
                let _ = writeln!(out, "    {name}={}", sanitise::short(&sanitise::shell(value), 120));
            }
        }
        if self.previews.len() > 1 {
            out.push_str("\n  and each of them\n");
            for (name, value) in &unchanging {
                let _ = writeln!(out, "    {name}={}", sanitise::short(&sanitise::shell(value), 120));
            }
        }
        if let Some(gpus) = precheck::shared_gpus(self.frozen) {
            let _ = writeln!(out, "\n{}", sanitise::line(&gpus));
        }
        let dropped = self.dropped();
        if !dropped.is_empty() {
            let _ = writeln!(
                out,
                "\nNot passed on to trials: {} (list under `secrets:` what they need)",
                sanitise::line(&dropped.join(", "))
            );
        }
        out
    }

    /// Variables that all trials have alike: all that are shown do, and no axis with several values
    /// sets them.
    fn unchanging(&self) -> Vec<&(String, String)> {
        let spec = &self.frozen.spec;
        let varied = spec.axes.iter().enumerate().filter(|(place, axis)| {
            matches!(axis.values, AxisValues::Drawn(_))
                || self.points.axis_len(*place) > 1
                || axis.when.is_some()
        });
        let varied: Vec<&str> = varied.filter_map(|(_, axis)| axis.variable.as_deref()).collect();
        let Some((first, rest)) = self.previews.split_first() else { return Vec::new() };
        if rest.is_empty() {
            return Vec::new();
        }
        let everywhere = |pair: &&(String, String)| rest.iter().all(|other| other.env.contains(pair));
        let is_constant = |pair: &&(String, String)| !varied.contains(&pair.0.as_str()) && everywhere(pair);
        first.own_env().filter(is_constant).collect()
    }

    fn dropped(&self) -> Vec<String> {
        dropped(self.frozen, preview::caller_env())
    }

    fn counted(&self) -> String {
        let (raw, repeats) = (self.points.point_count(), self.points.repeats());
        if self.endless {
            return "as many points as `--count` says, drawn at random".to_owned();
        }
        let trials = self.count.upper();
        let relation = if matches!(self.count, Count::Exact(_)) { "" } else { "at most " };
        let mut text = format!("{relation}{}", number::of(trials, "trial"));
        let excluded = self.points.len() - trials;
        let drawn = self.frozen.spec.sequence;
        // Where some are left out, a reader wants to know how many points there are.
        let left = trials / u64::from(repeats);
        let of = if excluded > 0 && drawn.is_some() {
            format!("{} of ", number::count(left))
        } else {
            String::new()
        };
        let _ = write!(text, " ({of}{}", number::of(raw, "point"));
        if let Some(sequence) = drawn {
            let _ = write!(text, " drawn at random from seed {}", sequence.seed);
        }
        if repeats > 1 {
            let _ = match self.frozen.spec.repeats {
                Repeats::Axis(axis) => {
                    write!(text, " x {repeats} of {}", sanitise::line(&self.frozen.spec.axes[axis].name))
                }
                Repeats::Seeds(_) => write!(text, " x {repeats} repeats"),
            };
        }
        if excluded > 0 {
            let count = number::count(excluded);
            let _ = match drawn {
                Some(_) => {
                    write!(text, "; {} excluded or repeated, and not replaced", number::count(raw - left))
                }
                None => write!(text, ", less {count} excluded"),
            };
        }
        text.push(')');
        if let Some(cap) = self.frozen.spec.run_cap {
            let _ = write!(text, ", {} of them run (run_cap)", number::count(cap.min(trials)));
        }
        text
    }

    fn measured(&self) -> String {
        let spec = &self.frozen.spec;
        let mut text = match &spec.objective {
            None => "no metric is declared: exit 0 is success, and nothing is ranked".to_owned(),
            Some(objective) => {
                let target = objective
                    .target
                    .map_or_else(String::new, |target| format!(", done at {}", number::plain(target)));
                format!("{} {}{target}", objective.goal, sanitise::line(&objective.metric.name))
            }
        };
        if !spec.metrics.is_empty() {
            let names: Vec<&str> = spec.metrics.iter().map(|metric| metric.name.as_str()).collect();
            let _ = write!(text, "; also recorded: {}", sanitise::line(&names.join(", ")));
        }
        text
    }

    fn axes(&self) -> String {
        let mut columns = TableColumns::new(["axis", ">values", "", "variable"]);
        for (place, axis) in self.frozen.spec.axes.iter().enumerate() {
            let mut values = self.some_values(place);
            if let Some(when) = &axis.when {
                let _ = write!(values, "  where {}", when.source());
            }
            let count = match axis.values {
                AxisValues::Drawn(_) => "-".to_owned(),
                _ => number::count(self.points.axis_len(place)),
            };
            columns.row(vec![
                axis.name.clone(),
                count,
                values,
                axis.variable.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        columns.render()
    }

    fn some_values(&self, axis: usize) -> String {
        if let AxisValues::Drawn(drawn) = &self.frozen.spec.axes[axis].values {
            return sanitise::short(&sanitise::line(&drawn.to_string()), 120);
        }
        let len = self.points.axis_len(axis);
        let shown =
            |place: u64| sanitise::short(&rows::shown_value(Some(&self.points.axis_value(axis, place))), 24);
        if len <= VALUES + 1 {
            return (0..len).map(shown).collect::<Vec<_>>().join(", ");
        }
        let first: Vec<String> = (0..VALUES - 2).map(shown).collect();
        format!("{}, ... {}", first.join(", "), shown(len - 1))
    }

    fn json(&self, warnings: &[Diagnostic]) -> Json {
        let spec = &self.frozen.spec;
        let axes: Vec<Json> = spec
            .axes
            .iter()
            .enumerate()
            .map(|(place, axis)| {
                let when = axis.when.as_ref().map(|when| when.source());
                if let AxisValues::Drawn(drawn) = &axis.values {
                    return json!({"name": axis.name, "variable": axis.variable, "count": null, "values": [],
                                  "distribution": drawn.to_string(), "when": when});
                }
                let len = self.points.axis_len(place);
                let values: Vec<_> =
                    (0..len.min(100)).map(|value| self.points.axis_value(place, value)).collect();
                json!({"name": axis.name, "variable": axis.variable, "count": len, "values": values,
                       "when": when})
            })
            .collect();
        let trials: Vec<Json> = self
            .previews
            .iter()
            .map(|preview| {
                let env: serde_json::Map<String, Json> =
                    preview.own_env().map(|(name, value)| (name.clone(), json!(value))).collect();
                json!({"trial": preview.trial, "index": preview.index, "params": preview.params,
                       "command": preview.argv, "env": env})
            })
            .collect();
        let warnings: Vec<Json> = warnings
            .iter()
            .map(|warning| json!({"code": warning.code, "message": warning.message, "help": warning.help}))
            .collect();
        json!({
            "sweep": spec.name,
            "points": self.points.point_count(),
            "repeats": self.points.repeats(),
            "total": self.points.len(),
            "trials": self.count.upper(),
            "exact": matches!(self.count, Count::Exact(_)),
            "objective": spec.objective.as_ref().map(|it| json!({"metric": it.metric.name, "goal": it.goal, "target": it.target})),
            "metrics": spec.metrics.iter().map(|metric| &metric.name).collect::<Vec<_>>(),
            "axes": axes,
            "first_trials": trials,
            "isolate": self.copied.as_ref().map(|copied| json!({
                "files": copied.files, "bytes": copied.bytes, "left_out": copied.left_out,
            })),
            "not_passed_on": self.dropped(),
            "warnings": warnings,
        })
    }
}

/// Shows what a trainer's output would yield. Without the objective in it that is an error.
fn show_log(path: &Path, checked: &CheckedFile, format: TextOrJson) -> Outcome {
    let spec = &checked.spec;
    let patterns = Patterns::new(spec).map_err(|error| Failure::usage("sweep::metric", error.to_string()))?;
    let patterns = Arc::new(patterns);
    let mut extractor = Extractor::new(Arc::clone(&patterns));
    read_log(path, &mut |chunk| extractor.feed(Stream::Stdout, chunk, &|| 0))?;
    let found = extractor.finish(FileReader::new(patterns));
    let shown = path.display().to_string();
    if format == TextOrJson::Json {
        let metrics: serde_json::Map<String, Json> =
            found.metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let spreads: serde_json::Map<String, Json> =
            found.spreads.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        output::json(&json!({
            "log": shown,
            "objective": found.objective.map(gridctl_core::record::MetricValue),
            "metrics": metrics,
            "spreads": spreads,
            "curve_points": found.curve.len(),
            "done": found.done,
            "near_misses": found.near_misses,
            "seen": found.seen.iter().map(|seen| json!({
                "metric": seen.name, "channel": seen.channel, "count": seen.count, "line": seen.line,
                "unreadable": seen.unreadable, "taken": seen.taken,
            })).collect::<Vec<_>>(),
            "doubts": found.doubts,
        }))?;
    } else {
        let mut columns = TableColumns::new(["metric", ">value", ">steps", "seen", ""]);
        for (name, value) in &found.metrics {
            let steps = found.curve.iter().filter(|point| point.name == *name).count();
            let is_objective =
                spec.objective.as_ref().is_some_and(|objective| objective.metric.name == *name);
            let spread = found.spreads.iter().find(|(known, _)| known == name);
            let spread =
                spread.map_or_else(String::new, |(_, std)| format!(" (std {})", number::plain(std.0)));
            columns.row(vec![
                name.clone(),
                number::plain(value.0) + &spread,
                if steps > 0 { steps.to_string() } else { "-".to_owned() },
                seen_where(name, &found.seen),
                if is_objective { "the objective".to_owned() } else { String::new() },
            ]);
        }
        output::text(&columns.render())?;
        for doubt in &found.doubts {
            output::text(&format!("note: {}\n", sentence::doubt(doubt)))?;
        }
        for metric in
            spec.metrics.iter().filter(|metric| !found.seen.iter().any(|seen| seen.name == metric.name))
        {
            let why = why_unseen(path, spec, metric)?.join("; ");
            let name = sanitise::line(&metric.name);
            output::text(&format!("note: `{name}` is not in {shown}: {}\n", sanitise::line(&why)))?;
        }
    }
    match &spec.objective {
        Some(objective) if found.objective.is_none() => {
            let name = &objective.metric.name;
            let mut help = found.near_misses;
            help.push(format!("a trainer says it by printing `::metric {name}=0.5`, or `{name}=0.5`"));
            Err(Failure::error("check::no_metric", format!("the metric `{name}` is not in {shown}"))
                .help(help.join("\n")))
        }
        _ => Ok(Exit::Ok),
    }
}

/// What came close to a metric that a log does not have.
fn why_unseen(path: &Path, spec: &SweepSpec, metric: &MetricSpec) -> Result<Vec<String>, Failure> {
    let goal = spec.objective.as_ref().map_or(Goal::Maximize, |objective| objective.goal);
    let objective = Some(Objective { metric: metric.clone(), goal, target: None });
    let alone = SweepSpec { objective, metrics: Vec::new(), ..spec.clone() };
    let patterns =
        Patterns::new(&alone).map_err(|error| Failure::usage("sweep::metric", error.to_string()))?;
    let mut extractor = Extractor::new(Arc::new(patterns));
    read_log(path, &mut |chunk| extractor.feed(Stream::Stdout, chunk, &|| 0))?;
    let file = FileReader::new(Arc::clone(extractor.patterns()));
    Ok(extractor.finish(file).near_misses)
}

/// How often a metric was seen in a log, in which form, and where last.
fn seen_where(metric: &str, seen: &[Seen]) -> String {
    let ways = seen.iter().filter(|seen| seen.name == metric).map(|seen| {
        let form = if seen.channel == Channel::Protocol { "::metric" } else { "text" };
        let taken = if seen.taken { ", taken" } else { "" };
        format!("{} x {form} to line {}{taken}", seen.count, seen.line)
    });
    ways.collect::<Vec<_>>().join("; ")
}

fn read_log(path: &Path, each: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
    let fail = |error: &std::io::Error| {
        let reason = crate::input::reason(error);
        Failure::usage("check::log", format!("cannot read {}: {reason}", path.display()))
    };
    let metadata = std::fs::metadata(path).map_err(|error| fail(&error))?;
    if !metadata.is_file() {
        return Err(Failure::usage("check::log", format!("{} is not a file", path.display())));
    }
    let mut file = File::open(path).map_err(|error| fail(&error))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(|error| fail(&error))? {
            0 => return Ok(()),
            n => each(&buffer[..n]),
        }
    }
}
