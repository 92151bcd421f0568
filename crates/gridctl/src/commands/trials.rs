//! `gridctl trials`: lists trials, shows one, prints what trains it again.
//! Invariant: what is printed to be pasted is quoted for a shell.

use std::path::Path;

use gridctl_core::id::{Epoch, LeaseSeq};
use gridctl_core::record::{CurvePoint, Exit as End, Record, Report, TrialState};
use gridctl_core::sched::Core;
use gridctl_core::trials::TrialLine;
use gridctl_core::view::{TrialDetails, TrialsQuery};
use serde_json::json;
use signal_hook::consts::SIGXFSZ;

use crate::cli::{BestArgs, SomeTrialsArgs, TrialArgs, TrialsCommand, TrialsLsArgs, TrialsShowArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::curve as drawn;
use crate::output::table::TableColumns;
use crate::output::{self, Format, csv, number, rows, sanitise, sentence};
use crate::settings::Settings;
use crate::source::{DataSource, fold, results, target};

use super::{again, live_curve};

/// Curves that are drawn of a trial.
const CURVES: usize = 4;
/// Trials asked for at once.
const PAGE: u32 = 5_000;

/// Runs the command.
pub(crate) fn run(command: &TrialsCommand, settings: &Settings) -> Outcome {
    match command {
        TrialsCommand::Ls(args) => list(args, settings),
        TrialsCommand::Show(args) => show(args, settings),
        TrialsCommand::Diff(args) => super::diff::run(args, settings),
        TrialsCommand::Retry(args) => retry(args, settings),
        TrialsCommand::Cancel(args) => cancel(args, settings),
    }
}

/// Shows the best trial.
pub(crate) fn best(args: BestArgs, settings: &Settings) -> Outcome {
    let which = TrialArgs::best(args.sweep);
    show(&TrialsShowArgs { which, command: false, env: false, json: false }, settings)
}

/// What is done with a page of trials.
pub(crate) type OnPage<'a> = &'a mut dyn FnMut(&mut DataSource, Vec<TrialLine>) -> Result<(), Failure>;

/// Calls `each` with the trials that have begun, those in this state if one is given, page by page.
pub(crate) fn pages(
    source: &mut DataSource,
    (sweep, state): (&str, Option<TrialState>),
    each: OnPage<'_>,
) -> Result<(), Failure> {
    let mut query = TrialsQuery { state, page_size: PAGE, page_token: String::new() };
    loop {
        let page = source.trials(sweep, &query)?;
        each(source, page.trials)?;
        if page.next.is_empty() {
            return Ok(());
        }
        query.page_token = page.next;
    }
}

fn list(args: &TrialsLsArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.sweep.as_deref(), settings)?;
    let state = args.state.as_deref().filter(|word| !word.is_empty()).map(state).transpose()?;
    let mut all = Vec::new();
    pages(&mut source, (&sweep, state), &mut |_, trials| {
        if args.output == Format::Jsonl {
            output::jsonl(&trials)?;
        } else {
            all.extend(trials);
        }
        Ok(())
    })?;
    match args.output {
        Format::Jsonl => {}
        Format::Json => output::json(&all)?,
        Format::Yaml => output::yaml(&all)?,
        Format::Csv => {
            let (header, cells) = flat(&all);
            csv::print(&header, cells)?;
        }
        Format::Table | Format::Wide if all.is_empty() => output::say("no such trial has begun yet"),
        Format::Table | Format::Wide => output::text(&table(&all, args.output == Format::Wide))?,
    }
    Ok(Exit::Ok)
}

/// Names of parameters, in the order of their first appearance.
pub(crate) fn names(trials: &[TrialLine], only_differing: bool) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in trials.iter().flat_map(|trial| trial.params.iter()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    if only_differing && trials.len() > 1 {
        names.retain(|name| trials.iter().any(|trial| trial.params.get(name) != trials[0].params.get(name)));
    }
    names
}

fn table(trials: &[TrialLine], wide: bool) -> String {
    let params = names(trials, !wide);
    let has_error = trials.iter().any(|trial| trial.error.is_some());
    let mut headings = vec!["trial", "state", "last end", ">objective", ">attempts", ">duration"];
    let shown: Vec<String> = params.iter().map(|name| format!(">{name}")).collect();
    headings.extend(shown.iter().map(String::as_str));
    if wide {
        headings.extend([">index", "host", "worker"]);
    }
    if has_error {
        headings.push("error");
    }
    let mut columns = TableColumns::new(headings).whole(wide);
    let dash = || "-".to_owned();
    for trial in trials {
        let mut cells = vec![trial.trial.short(), trial.state.to_string()];
        cells.push(trial.class.map_or_else(dash, |class| class.to_string()));
        let latest = trial.objective.or(trial.progress.map(|(_, value)| value));
        cells.push(latest.map_or_else(dash, |value| number::metric(value.0)));
        cells.push(trial.attempts.to_string());
        cells.push(trial.duration_s.map_or_else(dash, number::seconds));
        cells.extend(params.iter().map(|name| rows::shown_value(trial.params.get(name))));
        if wide {
            cells.push(trial.index.to_string());
            cells.push(trial.host.clone().unwrap_or_else(dash));
            cells.push(trial.worker.map_or_else(dash, |worker| worker.to_string()));
        }
        if has_error {
            cells.push(trial.error.clone().unwrap_or_default());
        }
        columns.row(cells);
    }
    columns.render()
}

fn flat(trials: &[TrialLine]) -> (Vec<String>, Vec<Vec<String>>) {
    let params = names(trials, false);
    let fixed = ["trial", "index", "state", "class", "objective", "attempts", "duration_s", "host", "error"];
    let mut header: Vec<String> = fixed.map(str::to_owned).to_vec();
    header.extend(params.iter().map(|name| format!("param_{name}")));
    let cells = trials.iter().map(|trial| {
        let mut cells = vec![trial.trial.to_string(), trial.index.to_string(), trial.state.to_string()];
        cells.push(trial.class.map_or_else(String::new, |class| class.to_string()));
        cells.push(trial.objective.map_or_else(String::new, |value| value.0.to_string()));
        cells.push(trial.attempts.to_string());
        cells.push(trial.duration_s.map_or_else(String::new, |seconds| seconds.to_string()));
        cells.push(trial.host.clone().unwrap_or_default());
        cells.push(trial.error.clone().unwrap_or_default());
        let text = |name: &String| trial.params.get(name).and_then(gridctl_core::value::Value::to_text);
        cells.extend(params.iter().map(|name| text(name).unwrap_or_default()));
        cells
    });
    (header, cells.collect())
}

fn retry(args: &SomeTrialsArgs, settings: &Settings) -> Outcome {
    let (sweep, from) = target::sweep(args.sweep.as_deref(), settings)?;
    let mut master = DataSource::master(settings, &from).map_err(|failure| {
        failure.help("`gridctl run FILE --retry-failed` tries all failed trials again without one")
    })?;
    let touched = master.retry(&sweep, &args.trials)?.touched;
    output::say(format_args!("{} to be tried again", number::of(touched, "trial")));
    Ok(Exit::Ok)
}

fn cancel(args: &SomeTrialsArgs, settings: &Settings) -> Outcome {
    let (sweep, from) = target::sweep(args.sweep.as_deref(), settings)?;
    let mut master = DataSource::master(settings, &from)
        .map_err(|failure| failure.help("without a master no trial runs: there is nothing to cancel"))?;
    let touched = master.cancel_trials(&sweep, &args.trials)?.touched;
    output::say(format_args!(
        "{} cancelled; `gridctl trials retry` tries again what was",
        number::of(touched, "trial")
    ));
    Ok(Exit::Ok)
}

/// Says which trial a rank stands for, where points have repeats.
pub(crate) fn say_repeat(source: &mut DataSource, details: &TrialDetails, name: &str) {
    let Some(record) = details.attempts.last().filter(|_| name == "best" || name.starts_with('#')) else {
        return;
    };
    let repeats = source.status(&details.sweep).map_or(0, |status| status.repeats);
    if repeats > 1 {
        output::say(format_args!(
            "`{}` has {repeats} repeats: this is the best of them, repeat {}",
            sanitise::line(name),
            record.repeat
        ));
    }
}

fn show(args: &TrialsShowArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.which.sweep(), settings)?;
    let details = source.trial(&sweep, &args.which.trial)?;
    say_repeat(&mut source, &details, &args.which.trial);
    if args.json {
        let mut value = json!({"sweep": details.sweep});
        value["trial"] = json!(details.trial);
        value["attempts"] = json!(details.attempts);
        output::json(&value)?;
    } else if args.command || args.env {
        output::text(&again::pasted_line(&details, &source, (settings, args.env))?)?;
    } else {
        let live = live_curve::of(&mut source, &details);
        let dir = source.dir.as_deref();
        let known = dir.and_then(|dir| Some((dir, fold::core(dir).ok()??)));
        let volume = |record: &Record| known.as_ref().and_then(|(dir, core)| volume(record, dir, core));
        output::text(&text(&details, &live, &volume))?;
    }
    Ok(Exit::Ok)
}

/// What is known of a trial that runs.
pub(crate) fn now(trial: &TrialLine) -> String {
    let host = trial.host.as_deref().map_or_else(String::new, |host| format!(" on {}", sanitise::line(host)));
    let value = trial.progress.map_or_else(String::new, |(step, value)| {
        format!("; the objective is {} at step {step}", number::plain(value.0))
    });
    format!(
        "\nnow\n  attempt {} runs{host}{value}\n  gridctl logs -f {} shows what it prints\n",
        trial.attempts.max(1),
        trial.trial.short()
    )
}

/// The state that `word` names.
fn state(word: &str) -> Result<TrialState, Failure> {
    let word = if word == "running" { TrialState::Leased.as_str() } else { word };
    TrialState::named(word).ok_or_else(|| {
        let words = TrialState::ALL.map(TrialState::as_str).join(", ");
        let shown = sanitise::short(word, 40);
        Failure::usage("trials::state", format!("`{shown}` is not a state: {words}"))
    })
}

/// The directory of the results that have what the attempt published, by the journal in `dir`.
fn volume(record: &Record, dir: &Path, core: &Core) -> Option<String> {
    let sweep = results::publisher(record);
    Some(core.sweep_named(sweep)?.frozen().output.volume_in(dir).of_sweep(sweep))
}

fn text(details: &TrialDetails, live: &[CurvePoint], volume: &dyn Fn(&Record) -> Option<String>) -> String {
    use std::fmt::Write as _;
    let TrialDetails { trial, attempts, .. } = details;
    let mut out = format!(
        "{} of {}: {}, index {}, repeat {}\n",
        trial.trial, details.sweep, trial.state, trial.index, trial.repeat
    );
    if let Some((sweep, version)) = &trial.known_from {
        let _ = writeln!(out, "known from version {version} of {}", sanitise::line(sweep));
    }
    out.push_str("\nparameters\n");
    for (name, value) in trial.params.iter() {
        let _ = writeln!(out, "  {} = {}", sanitise::line(name), sanitise::short(&value.to_json(), 200));
    }
    if !trial.metrics.is_empty() {
        out.push_str("\nmetrics\n");
    }
    for (name, value) in &trial.metrics {
        let _ = writeln!(out, "  {} = {}", sanitise::line(name), number::plain(value.0));
    }
    if trial.state == TrialState::Leased {
        out.push_str(&now(trial));
    }
    let ended = attempts.last().map_or(&[][..], |record| &record.report.curve);
    let runs = trial.state == TrialState::Leased;
    out.push_str(&curves(if runs { live } else { ended }));
    if !attempts.is_empty() {
        out.push_str("\nattempts\n");
    }
    let of = |record: &Record| (record.version, record.generation);
    let again = attempts.iter().any(|record| of(record) != of(&attempts[0]));
    for record in attempts {
        let report = &record.report;
        let time = match of(record) {
            (version, 1) if again => format!("version {version}, attempt "),
            (version, generation) if again => {
                format!("version {version}, retry {}, attempt ", generation - 1)
            }
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "  {time}{}: {}{}, {}",
            report.token.attempt,
            report.class,
            report.exit.map_or_else(String::new, |end| format!(" ({})", exit(end))),
            spent(report, &sanitise::line(&record.host)),
        );
        if let Some(error) = &report.error {
            let _ = writeln!(out, "     {}", sanitise::short(error, 200));
        }
        if report.files > 0 {
            let (Epoch(epoch), LeaseSeq(lease)) = (report.token.epoch, report.token.lease);
            let _ = writeln!(
                out,
                "     {} in {}/trials/{}/{epoch}-{lease}",
                number::of(report.files, "file"),
                sanitise::line(volume(record).as_deref().unwrap_or("the results")),
                record.files_of()
            );
        }
        if report.left_out > 0 {
            let _ = writeln!(
                out,
                "     {} not kept: too many, too large or no ordinary files; manifest.json there says which",
                number::of(report.left_out, "file")
            );
        }
        out.push_str(&doubts(report));
    }
    out
}

/// The curves of an attempt, as pictures.
fn curves(curve: &[CurvePoint]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for point in curve {
        if !names.contains(&point.name.as_str()) {
            names.push(&point.name);
        }
    }
    let width = output::terminal_width(std::io::stdout()).unwrap_or(80);
    let draw = |name: &&str| {
        let points: Vec<_> =
            curve.iter().filter(|it| it.name == **name).map(|it| (it.step, it.value.0)).collect();
        Some(format!("\n{}\n{}", sanitise::line(name), drawn::draw(&points, width)?))
    };
    names.iter().filter_map(draw).take(CURVES).collect()
}

/// What there is to doubt of what an attempt printed, and what came close.
fn doubts(report: &Report) -> String {
    let doubts = report.doubts.iter().map(sentence::doubt);
    let misses = report.near_misses.iter().map(|miss| sanitise::short(miss, 300));
    doubts.chain(misses).map(|line| format!("     {line}\n")).collect()
}

/// Where and when an attempt ran, and what it took; of one that did not begin, where it was.
pub(crate) fn spent(report: &Report, host: &str) -> String {
    if report.started_unix_ms == 0 {
        return format!("on {host}");
    }
    format!(
        "{} on {host}, {}, {} of processor time, {} MiB at most{}",
        number::duration(std::time::Duration::from_millis(report.duration_ms)),
        number::unix_ms(report.started_unix_ms),
        number::duration(std::time::Duration::from_millis(report.cpu_ms)),
        report.peak_rss_kib / 1024,
        report
            .program
            .as_ref()
            .map_or_else(String::new, |program| format!(", by {}", sanitise::short(program, 200)))
    )
}

/// How a process ended, in words.
pub(crate) fn exit(end: End) -> String {
    match end {
        End::Code(code) => format!("exit {code}"),
        End::Signal(SIGXFSZ) => format!("signal {SIGXFSZ}: a file became longer than `ulimit -f` allows"),
        End::Signal(signal) => format!("signal {signal}"),
        End::NotStarted => "not started".to_owned(),
    }
}
