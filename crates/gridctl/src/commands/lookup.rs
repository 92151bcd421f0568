//! What editors, shells and `man` look things up in: the schema of sweep files, completions, manual pages.
//! Invariant: a completion never fails, waits for a master that stands still, or changes anything.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::{CompleteEnv, Shells};
use gridctl_core::record::TrialState;
use gridctl_core::view::{LeaderboardQuery, TrialsQuery};

use crate::cli::{Cli, Global, ManArgs, SchemaOf};
use crate::exit::{Exit, Failure, Outcome};
use crate::input::reason;
use crate::output::{self, sanitise};
use crate::settings::Settings;
use crate::source::DataSource;

/// The variable by which a shell asks for completions.
const ASKED_BY: &str = "GRIDCTL_COMPLETE";
/// Trials that are offered: the best ones, and then those that have begun.
const OFFERED: u32 = 50;

/// Prints a JSON Schema.
pub(crate) fn schema(of: SchemaOf) -> Outcome {
    output::text(match of {
        SchemaOf::Sweep => include_str!("sweep.schema.json"),
        SchemaOf::Api => include_str!("api.schema.json"),
    })?;
    Ok(Exit::Ok)
}

/// Prints the manual page, or writes those of all commands.
pub(crate) fn man(args: &ManArgs, settings: &Settings) -> Outcome {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        output::text(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Ok);
    };
    let dir = settings.cwd.join(dir);
    let shown = sanitise::line(&dir.display().to_string()).into_owned();
    let written = fs::create_dir_all(&dir).and_then(|()| clap_mangen::generate_to(command, &dir));
    written.map_err(|error| {
        Failure::error("man::write", format!("cannot write to {shown}: {}", reason(&error)))
    })?;
    output::say(format_args!("the manual pages are in {shown}; look at one with: man {shown}/gridctl.1"));
    Ok(Exit::Ok)
}

/// Prints what has a shell ask this program for completions.
pub(crate) fn completions(shell: clap_complete::Shell) -> Outcome {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let completer = shells.completer(&name).ok_or_else(|| {
        Failure::usage("completions::shell", format!("there are no completions for {name}"))
    })?;
    let mut script = Vec::new();
    completer.write_registration(ASKED_BY, "gridctl", "gridctl", "gridctl", &mut script)?;
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// Answers a shell that asks for completions, and ends; else does nothing.
pub(crate) fn complete() {
    if std::env::var_os(ASKED_BY).is_some() {
        output::hush();
        CompleteEnv::with_factory(Cli::command).var(ASKED_BY).complete();
    }
}

/// The names of sweeps, and files.
pub(crate) fn sweeps(begun: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = matching(begun, sweep_names().unwrap_or_default());
    found.extend(PathCompleter::any().complete(begun));
    found
}

/// `best`, and the ids of trials of the latest sweep.
pub(crate) fn trials(begun: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = vec![("best".to_owned(), "the first of the leaderboard".to_owned())];
    all.extend(trial_ids().unwrap_or_default());
    matching(begun, all)
}

/// Those that begin as what was typed, with what they are.
fn matching(begun: &OsStr, all: Vec<(String, String)>) -> Vec<CompletionCandidate> {
    let Some(begun) = begun.to_str() else { return Vec::new() };
    let fits = all.into_iter().filter(|(name, _)| name.starts_with(begun));
    fits.map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into()))).collect()
}

fn source() -> Option<DataSource> {
    let settings = Settings::new(Global { data_dir: None, master: None }).ok()?;
    let cwd = settings.cwd.clone();
    DataSource::open(&settings, Path::new(&cwd)).ok()
}

fn sweep_names() -> Option<Vec<(String, String)>> {
    let sweeps = source()?.sweeps().ok()?;
    Some(
        sweeps
            .into_iter()
            .map(|it| (it.sweep, format!("{} trials, {}", it.total, it.state.as_str())))
            .collect(),
    )
}

fn trial_ids() -> Option<Vec<(String, String)>> {
    let mut source = source()?;
    let query = LeaderboardQuery { k: OFFERED, ..LeaderboardQuery::default() };
    let board = source.leaderboard("", &query).ok()?;
    let ranked = board.rows.into_iter().map(|row| {
        let about = row.rank.map_or_else(String::new, |rank| format!("#{rank}"));
        (row.trial.short(), about)
    });
    let mut all: Vec<(String, String)> = ranked.collect();
    for state in [TrialState::Leased, TrialState::Failed] {
        let query = TrialsQuery { state: Some(state), page_size: OFFERED, page_token: String::new() };
        let page = source.trials("", &query).ok()?;
        all.extend(page.trials.into_iter().map(|trial| (trial.trial.short(), state.to_string())));
    }
    Some(all)
}
