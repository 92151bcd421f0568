//! What would go wrong with every trial here, found before any is started: keys that are not served yet, resources
//! that this machine lacks, a command that cannot start.
//! Invariant: only looks; each finding is one error that says what to do.

use std::path::Path;
use std::sync::Arc;

use gridctl_core::launch::{BaseEnv, LaunchError};
use gridctl_core::points::Points;
use gridctl_core::protocol::{Capacity, FrozenSweep};
use gridctl_core::spec::Diagnostic;

use super::freeze::RunPlace;
use super::{at_key, freeze, preview};
use crate::exit::{Exit, Failure, SourceText};

/// Keys without which a trial would not be what its author means.
const REFUSED: [&str; 2] = ["aws", "efs"];

/// Keys that say which machines are started, which only a launch does.
const LAUNCHED: [&str; 2] = ["budget", "workers"];

/// Looks for what `run` cannot do yet. Keys that it can leave out come back as warnings.
pub(crate) fn served(
    frozen: &FrozenSweep,
    place: RunPlace,
    source: &Arc<SourceText>,
) -> Result<Vec<Diagnostic>, Failure> {
    let spec = &frozen.spec;
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    for (key, value) in [("data", &spec.data), ("output", &spec.output)] {
        if !cfg!(feature = "s3") && value.as_ref().is_some_and(|value| value.contains("://")) {
            let message = format!("`{key}` is in S3, and this gridctl was built without it");
            let problem = Diagnostic::error("run::without_s3", message)
                .help("build it with `--features s3`, which is on by default, or name a directory");
            errors.push(at_key(problem, source, key));
        }
    }
    // Nothing gives notice that this machine is taken.
    let idle = spec.preempt_signal.as_ref().map(|_| "preempt_signal");
    for key in spec.unserved.iter().map(|(key, _)| key.as_str()).chain(idle) {
        if REFUSED.contains(&key) {
            let problem = Diagnostic::error("run::not_served", format!("`{key}` is not served yet"))
                .help("take it out of the file");
            errors.push(at_key(problem, source, key));
        } else if place != RunPlace::Launched || !LAUNCHED.contains(&key) {
            let problem = Diagnostic::warning("run::ignored", format!("`{key}` has no effect here yet"));
            warnings.push(at_key(problem, source, key));
        }
    }
    if errors.is_empty() {
        return Ok(warnings);
    }
    Err(Failure { exit: Exit::Usage, problems: errors, source: Some(Arc::clone(source)) })
}

/// Refuses what no worker of this machine can ever hold.
pub(crate) fn resources(
    frozen: &FrozenSweep,
    capacity: &Capacity,
    source: &Arc<SourceText>,
) -> Result<(), Failure> {
    let wanted = &frozen.spec.resources;
    if capacity.could_hold(wanted) {
        return Ok(());
    }
    let cpus = |milli: u32| f64::from(milli) / 1000.0;
    let mut lacks = Vec::new();
    if capacity.slots == 0 && wanted.cpu_milli > capacity.cpu_milli {
        lacks.push(format!(
            "{} processors, and there are {}",
            cpus(wanted.cpu_milli),
            cpus(capacity.cpu_milli)
        ));
    }
    if wanted.mem_mib > capacity.mem_mib {
        lacks.push(format!("{} MiB of memory, and there are {}", wanted.mem_mib, capacity.mem_mib));
    }
    if wanted.gpus > capacity.gpus {
        lacks.push(format!("{} GPUs, and there are {}", wanted.gpus, capacity.gpus));
    }
    let message = format!("no trial can ever start on this machine: one asks for {}", lacks.join("; for "));
    let help = if wanted.gpus > capacity.gpus {
        "ask for less under `resources`; --gpus LIST states GPUs that were not found"
    } else {
        "ask for less under `resources`"
    };
    let problem = Diagnostic::error("run::resources", message).help(help);
    Err(Failure::new(Exit::Usage, at_key(problem, source, "resources")).within(source))
}

/// What to say of GPUs that trials share, where there are some and the file says nothing of them.
pub(crate) fn shared_gpus(frozen: &FrozenSweep) -> Option<String> {
    const VARIABLE: &str = "CUDA_VISIBLE_DEVICES";
    let own = frozen.env.iter().any(|(name, _)| name == VARIABLE);
    if !frozen.spec.shares_gpus || own {
        return None;
    }
    let seen = match std::env::var(VARIABLE) {
        Ok(seen) => format!("{VARIABLE}={seen}"),
        Err(_) if gridctl_worker::resources::gpus().is_empty() => return None,
        Err(_) => "every GPU of the machine".to_owned(),
    };
    Some(format!(
        "Trials share {seen}: `resources: {{gpu: 1}}` gives each a GPU of its own, `gpu: 0` hides them"
    ))
}

/// Refuses a command that cannot start, as far as that can be seen from the first trial.
pub(crate) fn command(
    frozen: &FrozenSweep,
    points: &Points,
    source: &Arc<SourceText>,
) -> Result<(), Failure> {
    let base = BaseEnv::new(frozen, preview::caller_env());
    let Some(index) = preview::first(points, 1).first().copied() else { return Ok(()) };
    let key = if frozen.spec.program.is_some() { "program" } else { "command" };
    let secrets = base.secrets(frozen);
    let failure = |problem: Diagnostic| {
        let help = problem.help.as_ref().map(|help| secrets.mask(help).into_owned());
        let problem = Diagnostic { message: secrets.mask(&problem.message).into_owned(), help, ..problem };
        Failure::new(Exit::Usage, at_key(problem, source, key)).within(source)
    };
    let preview = match preview::of(frozen, points, index, &base) {
        // It may be one of the image's.
        Err(LaunchError::Unset { .. }) if frozen.spec.image.is_some() => return Ok(()),
        Err(error) => {
            return Err(failure(Diagnostic::error("run::command", error.to_string()).help(error.help())));
        }
        Ok(preview) => preview,
    };
    // It may make what is not there yet.
    if frozen.spec.setup.is_some() {
        return Ok(());
    }
    let cwd = Path::new(frozen.sources.start_dir());
    let own = preview.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
    let path = own.or_else(|| base.get("PATH")).unwrap_or_default();
    let words = words_after_env(&preview.argv);
    // Programs of an image are looked for in it.
    let here = if frozen.spec.image.is_some() { Vec::new() } else { vec![preview.argv.as_slice(), words] };
    for argv in here {
        let Some(program) = argv.first() else { continue };
        if let Some(why) = gridctl_worker::slot::foresee(program, cwd, path) {
            return Err(failure(explained("run::command", &why)));
        }
    }
    let has_code = frozen.spec.image.is_none() || frozen.sources.code.is_some();
    match missing_script(words, cwd).filter(|_| has_code) {
        Some(problem) => Err(failure(above(problem, frozen))),
        None => Ok(()),
    }
}

/// A reason of the form `what is wrong; what to do`, as message and help.
fn explained(code: &'static str, why: &str) -> Diagnostic {
    match why.split_once(": run `").map(|(what, to_do)| (what, format!("run `{to_do}"))) {
        Some((what, to_do)) => Diagnostic::error(code, what).help(to_do),
        None => Diagnostic::error(code, why),
    }
}

/// The words that `env` would start, if the command begins with it.
fn words_after_env(argv: &[String]) -> &[String] {
    let is_env =
        argv.first().is_some_and(|word| Path::new(word).file_name().is_some_and(|name| name == "env"));
    if !is_env || argv.get(1).is_some_and(|word| word.starts_with('-')) {
        return argv;
    }
    let skip = argv.iter().skip(1).take_while(|word| word.contains('=')).count();
    &argv[1 + skip..]
}

/// `python trian.py`: the script that an interpreter is to read is not there.
fn missing_script(argv: &[String], cwd: &Path) -> Option<Diagnostic> {
    let program = Path::new(argv.first()?).file_name()?.to_str()?;
    let plain = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let extensions: &[&str] = match plain {
        "python" | "pypy" => &["py", "pyz"],
        "sh" | "bash" | "dash" | "zsh" => &["sh", "bash"],
        "Rscript" => &["R", "r"],
        "julia" => &["jl"],
        "node" => &["js", "mjs", "cjs"],
        "perl" => &["pl"],
        "ruby" => &["rb"],
        _ => return None,
    };
    let place = argv.iter().skip(1).position(|word| !word.starts_with('-'))? + 1;
    // After `-c`, `-e` or `-m` stands a program, or a module's name.
    if argv[1..place].iter().any(|option| option.ends_with(['c', 'e', 'm'])) {
        return None;
    }
    let script = &argv[place];
    let extension = Path::new(script).extension()?.to_str()?;
    if !extensions.contains(&extension) || cwd.join(script).exists() {
        return None;
    }
    let problem = Diagnostic::error("run::command", format!("there is no `{script}` in {}", cwd.display()));
    Some(match neighbour(&cwd.join(script)) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem
            .help("paths in the command are relative to `workdir`, by default the sweep file's directory"),
    })
}

/// The problem, with `workdir: ..` where the command's file stands in a directory above the sweep file's.
fn above(problem: Diagnostic, frozen: &FrozenSweep) -> Diagnostic {
    const LEVELS: usize = 4;
    if frozen.spec.workdir.is_some() {
        return problem;
    }
    let above = Path::new(&frozen.sources.base).ancestors().skip(1).take(LEVELS);
    let found = above.enumerate().find(|(_, dir)| freeze::names_a_file_of(&frozen.spec, dir));
    match found {
        Some((level, dir)) => {
            let up = vec![".."; level + 1].join("/");
            problem.help(format!("it is in {}: write `workdir: {up}`", dir.display()))
        }
        None => problem,
    }
}

/// The file beside `missing` whose name is most like it, or that ends alike if it is the only one.
fn neighbour(missing: &Path) -> Option<String> {
    let wanted = missing.file_name()?.to_str()?;
    let names = std::fs::read_dir(missing.parent()?).ok()?.flatten().take(10_000);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let same_kind: Vec<String> =
        names.filter(|name| Path::new(name).extension() == missing.extension()).collect();
    let far = (wanted.chars().count() / 3).max(1);
    let near = same_kind.iter().map(|name| (strsim::osa_distance(wanted, name), name));
    let near = near.filter(|(distance, _)| *distance <= far).min().map(|(_, name)| name.clone());
    near.or_else(|| match same_kind.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_env_starts_is_found() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (argv, expected) in [
            (words(&["/usr/bin/env", "A=1", "python", "x.py"]), "python"),
            (words(&["python", "x.py"]), "python"),
            (words(&["env", "-i", "python"]), "env"),
        ] {
            assert_eq!(words_after_env(&argv)[0], expected);
        }
        assert!(words_after_env(&words(&["env"])).is_empty());
    }

    #[test]
    fn a_script_that_is_not_there_is_found_out_with_the_name_that_was_meant() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("train.py"), "").unwrap();
        let argv = |script: &str| vec!["python3.12".to_owned(), "-u".to_owned(), script.to_owned()];
        let problem = missing_script(&argv("trian.py"), dir.path()).unwrap();
        assert_eq!(problem.help.unwrap(), "did you mean `train.py`?");
        assert_eq!(missing_script(&argv("train.py"), dir.path()), None);
        assert_eq!(missing_script(&argv("module"), dir.path()), None);
        for words in
            [["sh", "-c", "nice ./trian.sh"], ["bash", "-euc", "cd x; sh y.sh"], ["python", "-m", "a.py"]]
        {
            assert_eq!(missing_script(&words.map(str::to_owned), dir.path()), None, "{words:?}");
        }
    }
}
