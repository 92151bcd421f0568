//! A trial once more, outside of its sweep: as a line to paste, or run here (`gridctl rerun`).
//! Invariant: nothing of it is recorded; what is printed to be pasted is quoted for a shell.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use gridctl_core::launch::{BaseEnv, secret_names};
use gridctl_core::metrics::{self, Extractor, FileReader, Patterns, Stream};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::MetricValue;
use gridctl_core::spec;
use gridctl_core::value::{Params, Value};
use gridctl_core::view::TrialDetails;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::RerunArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::reason;
use crate::output::{self, number, sanitise, sentence};
use crate::settings::Settings;
use crate::source::{DataSource, fold, target};
use crate::submit::preview::{self, Again, Preview};

use super::trials;

/// Runs a trial once more.
pub(crate) fn rerun(args: &RerunArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.which.sweep(), settings)?;
    let details = source.trial(&sweep, &args.which.trial)?;
    trials::say_repeat(&mut source, &details, &args.which.trial);
    let trial = &details.trial;
    let params = changed(&trial.params, &args.set)?;
    let name = || format!("{}-{}-again", details.sweep, trial.trial.short()).into();
    let scratch = settings.cwd.join(args.dir.clone().unwrap_or_else(name));
    let frozen = frozen(&details, &source)?;
    if let Some(image) = &frozen.spec.image {
        let image = sanitise::short(image, 120);
        let message = format!("its trials run in containers of {image}, and `rerun` starts a program here");
        return Err(Failure::usage("rerun::image", message)
            .help("`gridctl trials show` says how it was started, for `docker run`; `gridctl trials retry` tries it again"));
    }
    let base = BaseEnv::new(&frozen, preview::caller_env());
    let again = Again { params, repeat: trial.repeat, seed: args.seed };
    let preview = start(&frozen, &details, again, (&base, &scratch))?;
    prepare(&preview, &scratch)?;
    let Some((program, words)) = preview.argv.split_first() else {
        return Err(Failure::error("rerun", "the command is empty"));
    };
    let env: BTreeMap<&str, &str> =
        base.iter().chain(preview.env.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect();
    output::say(format_args!("{}", preview.command()));
    if let Some(objective) = trial.objective {
        output::say(format_args!("the sweep has {} for this trial", number::metric(objective.0)));
    }
    // Ctrl-C is for the program; this one waits for its end.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(env).current_dir(frozen.sources.start_dir());
    let (status, found) = follow(command, &frozen, &scratch).map_err(|error| {
        Failure::error("rerun", format!("cannot start {}: {}", sanitise::short(program, 80), reason(&error)))
    })?;
    output::say(format_args!(
        "what it left is in {}",
        sanitise::line(&scratch.join("output").display().to_string())
    ));
    if !status.success() {
        return Err(Failure::error("rerun", format!("the program ended with {status}")));
    }
    let is_same = args.set.is_empty() && args.seed.is_none_or(|seed| seed == u64::from(trial.repeat));
    if let (Some(objective), Some(found)) = (&frozen.spec.objective, found) {
        say_compared(&objective.metric.name, (found.objective, trial.objective), is_same);
        found.doubts.iter().for_each(|doubt| output::say(format_args!("note: {}", sentence::doubt(doubt))));
    }
    Ok(Exit::Ok)
}

/// Says whether the number is that of the sweep.
fn say_compared(metric: &str, (here, there): (Option<f64>, Option<MetricValue>), is_same: bool) {
    let metric = sanitise::line(metric);
    let Some(here) = here else {
        output::say(format_args!("`{metric}` was not found in what it printed"));
        return;
    };
    let shown = number::plain(here);
    match there {
        None => {
            output::say(format_args!("`{metric}` is {shown} here, and the sweep has none for this trial"))
        }
        Some(there) if there == MetricValue(here) => {
            output::say(format_args!("`{metric}` is {shown}, as in the sweep"));
        }
        Some(there) => {
            let there = number::plain(there.0);
            let why = if is_same {
                ": the same parameters did not give the same number again"
            } else {
                ", with other parameters or another seed"
            };
            output::say(format_args!("`{metric}` is {shown} here, and {there} in the sweep{why}"));
        }
    }
}

/// What is still to come of a program's output once it has ended: a process that it left behind may hold it open.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// Starts the command, passes on what it prints, and waits for its end; also what its metrics are.
fn follow(
    mut command: Command,
    frozen: &FrozenSweep,
    scratch: &Path,
) -> std::io::Result<(ExitStatus, Option<metrics::Outcome>)> {
    let Some(patterns) = Patterns::new(&frozen.spec).ok().map(Arc::new) else {
        return Ok((command.status()?, None));
    };
    let file = scratch.join("metrics.jsonl");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let extractor = Arc::new(Mutex::new(Some(Extractor::new(Arc::clone(&patterns)))));
    let (done, ended) = mpsc::channel();
    let out = child.stdout.take().map(|pipe| (Stream::Stdout, Box::new(pipe) as Box<dyn Read + Send>));
    let err = child.stderr.take().map(|pipe| (Stream::Stderr, Box::new(pipe) as Box<dyn Read + Send>));
    let pipes: Vec<_> = out.into_iter().chain(err).collect();
    let count = pipes.len();
    for (stream, pipe) in pipes {
        let (extractor, done, file) = (Arc::clone(&extractor), done.clone(), file.clone());
        std::thread::spawn(move || {
            pass_on(stream, pipe, (&extractor, &file));
            let _ = done.send(());
        });
    }
    let status = child.wait()?;
    for _ in 0..count {
        if ended.recv_timeout(REST_WITHIN).is_err() {
            break;
        }
    }
    let extractor = extractor.lock().ok().and_then(|mut extractor| extractor.take());
    let mut reader = FileReader::new(patterns);
    if let Ok(text) = fs::read(&file) {
        reader.feed(&text);
    }
    Ok((status, extractor.map(|extractor| extractor.finish(reader))))
}

/// Passes on what comes by a pipe, and reads metrics in it, up to its end.
fn pass_on(stream: Stream, mut pipe: impl Read, (extractor, file): (&Mutex<Option<Extractor>>, &Path)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = pipe.read(&mut buffer) {
        let bytes = &buffer[..read];
        // A reader that went away does not end the program.
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
        if let Ok(mut extractor) = extractor.lock()
            && let Some(extractor) = extractor.as_mut()
        {
            extractor.feed(stream, bytes, &|| fs::metadata(file).map_or(0, |meta| meta.len()));
        }
    }
}

/// The parameters with those changed that `set` names.
fn changed(params: &Params, set: &[(String, String)]) -> Result<Params, Failure> {
    let mut pairs: Vec<(Arc<str>, Value)> =
        params.iter().map(|(name, value)| (name.into(), value.clone())).collect();
    for (name, text) in set {
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::Str(text.clone()));
        match pairs.iter_mut().find(|(known, _)| **known == **name) {
            Some((_, old)) => *old = value,
            None => {
                let known: Vec<&str> = pairs.iter().map(|(name, _)| &**name).collect();
                let shown = sanitise::short(name, 60);
                let failure = Failure::usage("rerun::set", format!("the trial has no parameter `{shown}`"));
                return Err(match spec::nearest(name, known.iter().copied()) {
                    Some(near) => failure.help(format!("did you mean `{near}`?")),
                    None => failure.help(format!("it has {}", known.join(", "))),
                });
            }
        }
    }
    Ok(Params::new(pairs))
}

/// Makes the directories and files that the trial finds.
fn prepare(preview: &Preview, scratch: &Path) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        let shown = sanitise::line(&scratch.display().to_string()).into_owned();
        Failure::error("rerun::dir", format!("cannot write to {shown}: {}", reason(&error)))
    };
    for name in preview::SCRATCH_DIRS {
        fs::create_dir_all(scratch.join(name)).map_err(fail)?;
    }
    // Metrics of another run are none of this one's.
    if let Err(error) = fs::remove_file(scratch.join("metrics.jsonl"))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(fail(error));
    }
    preview.files.iter().try_for_each(|(path, text)| fs::write(path, text).map_err(fail))
}

/// What the sweep starts, where that is known.
pub(super) fn frozen(details: &TrialDetails, source: &DataSource) -> Result<Arc<FrozenSweep>, Failure> {
    let unknown = || {
        Failure::error("trials::command", "what the sweep starts is not known here")
            .help("use the data directory: --data-dir DIR")
    };
    let core = source.dir.as_deref().map(fold::core).transpose()?.flatten().ok_or_else(unknown)?;
    Ok(Arc::clone(core.sweep_named(&details.sweep).ok_or_else(unknown)?.frozen()))
}

fn start(
    frozen: &FrozenSweep,
    details: &TrialDetails,
    again: Again,
    (base, scratch): (&BaseEnv, &Path),
) -> Result<Preview, Failure> {
    let place = (details.trial.trial, details.trial.index);
    let scratch = scratch.to_str().ok_or_else(|| {
        Failure::usage("trials::command", "this directory's name is not UTF-8").help("go to another one")
    })?;
    preview::start(frozen, place, again, (base, scratch))
        .map_err(|error| Failure::error("trials::command", error.to_string()).help(error.help()))
}

/// What trains the trial again, for a shell.
pub(crate) fn pasted_line(
    details: &TrialDetails,
    source: &DataSource,
    (settings, env): (&Settings, bool),
) -> Result<String, Failure> {
    let frozen = frozen(details, source)?;
    let trial = &details.trial;
    // A secret that is not set here can be referred to all the same.
    let unset = secret_names(&frozen).map(|name| (name.to_owned(), String::new()));
    let base = BaseEnv::new(&frozen, unset.chain(preview::caller_env())).shown(&frozen, reference);
    let again = Again { params: trial.params.clone(), repeat: trial.repeat, seed: None };
    let scratch = settings.cwd.join(format!("{}-{}-again", details.sweep, trial.trial.short()));
    let preview = start(&frozen, details, again, (&base, &scratch))?;
    let names: Vec<&str> = secret_names(&frozen).collect();
    let shared = frozen.env.iter().map(|(name, value)| (name, base.get(name).unwrap_or(value)));
    let own = preview.own_env().map(|(name, value)| (name, value.as_str()));
    let set: Vec<String> =
        shared.chain(own).map(|(name, value)| format!("{name}={}", pasted(value, &names))).collect();
    let dirs = preview::SCRATCH_DIRS.map(|name| sanitise::shell(&scratch.join(name).to_string_lossy()));
    let mut first = format!("mkdir -p {}", dirs.join(" "));
    for (path, text) in &preview.files {
        let lines: Vec<String> = text.lines().map(sanitise::shell).collect();
        first.push_str(&format!(" && printf '%s\\n' {} >{}", lines.join(" "), sanitise::shell(path)));
    }
    if env {
        let lines = set.iter().map(|pair| format!("export {pair}\n"));
        return Ok(std::iter::once(format!("{first}\n")).chain(lines).collect());
    }
    let dir = sanitise::shell(frozen.sources.start_dir());
    let words: Vec<String> = preview.argv.iter().map(|word| pasted(word, &names)).collect();
    Ok(format!("{first} && cd {dir} && env {} {}\n", set.join(" "), words.join(" ")))
}

/// What stands for the value of the variable `name` until it is known where in a word it stands.
fn reference(name: &str) -> String {
    format!("\u{f0000}{name}\u{f0001}")
}

/// A word for a shell, in which the shell itself puts the values of these variables.
fn pasted(word: &str, names: &[&str]) -> String {
    let (mut out, mut rest) = (String::new(), word);
    let next = |rest: &str| {
        let places = names.iter().filter_map(|name| Some((rest.find(&reference(name))?, *name)));
        places.min()
    };
    while let Some((at, name)) = next(rest) {
        if at > 0 {
            out.push_str(&sanitise::shell(&rest[..at]));
        }
        out.push_str(&format!("\"${name}\""));
        rest = &rest[at + reference(name).len()..];
    }
    if !rest.is_empty() || word.is_empty() {
        out.push_str(&sanitise::shell(rest));
    }
    out
}
