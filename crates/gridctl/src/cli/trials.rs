//! What the commands about trials take.
//! Invariant: what names a trial is not looked up here.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use gridctl_core::record::TrialState;

use crate::commands::lookup;
use crate::output::Format;

/// One trial of a sweep.
#[derive(Debug, Args)]
pub(crate) struct TrialArgs {
    /// A trial: an id or the beginning of one, `best`, or `#3` for a rank
    #[arg(add = ArgValueCompleter::new(lookup::trials))]
    pub(crate) trial: String,
    #[command(flatten)]
    of: NamedSweep,
}

impl TrialArgs {
    /// The best one of this sweep.
    pub(crate) fn best(sweep: Option<PathBuf>) -> Self {
        Self { trial: "best".to_owned(), of: NamedSweep { word: sweep, sweep: None } }
    }

    /// Its sweep, if that was given.
    pub(crate) fn sweep(&self) -> Option<&Path> {
        self.of.named()
    }
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) which: TrialArgs,
    /// Stay while the trial goes on, and show what it prints
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// A sweep's name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
    /// Stay until the sweep is over, and say what happens
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: EventsFormat,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventsFormat {
    /// A line each, for people
    Text,
    /// A JSON object a line: the attempt's record
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrialsCommand {
    /// List the trials that have begun
    Ls(TrialsLsArgs),
    /// Show one trial and its attempts
    Show(TrialsShowArgs),
    /// Show in what two trials differ
    Diff(TrialsDiffArgs),
    /// Try trials again that ended without success; needs a running master
    Retry(SomeTrialsArgs),
    /// End trials that run, and do not try them again; needs a running master
    Cancel(SomeTrialsArgs),
}

/// The states of trials, and what people call the one that is `leased`.
fn states() -> PossibleValuesParser {
    let state = |state: TrialState| PossibleValue::new(state.as_str());
    let with_alias =
        |value: PossibleValue| if value.matches("leased", false) { value.alias("running") } else { value };
    PossibleValuesParser::new(TrialState::ALL.map(state).map(with_alias))
}

#[derive(Debug, Args)]
pub(crate) struct TrialsLsArgs {
    /// A sweep's name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
    /// Only trials in this state
    #[arg(long, value_name = "STATE", value_parser = states())]
    pub(crate) state: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct TrialsShowArgs {
    #[command(flatten)]
    pub(crate) which: TrialArgs,
    /// The command that trains it again, to be pasted into a shell
    #[arg(long, conflicts_with_all = ["env", "json"])]
    pub(crate) command: bool,
    /// Its variables, to be pasted into a shell
    #[arg(long, conflicts_with = "json")]
    pub(crate) env: bool,
    /// Everything that is known of it
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BestArgs {
    /// A sweep's name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// A trial: an id or the beginning of one, `best`, or `#3` for a rank
    #[arg(add = ArgValueCompleter::new(lookup::trials))]
    pub(crate) trial: String,
    /// A directory that is made, or is empty [default: SWEEP-TRIAL here]
    pub(crate) dir: Option<PathBuf>,
    /// Its sweep: a name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(long, value_name = "SWEEP", add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RerunArgs {
    #[command(flatten)]
    pub(crate) which: TrialArgs,
    /// Another seed: GRID_SEED
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Another value of a parameter; once for each
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// A directory for what it writes [default: SWEEP-TRIAL-again here]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, as in lr=0.1")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct TrialsDiffArgs {
    /// A trial: an id or the beginning of one, `best`, or `#3` for a rank
    #[arg(add = ArgValueCompleter::new(lookup::trials))]
    pub(crate) one: String,
    /// Another one
    #[arg(add = ArgValueCompleter::new(lookup::trials))]
    pub(crate) other: String,
    /// Their sweep: a name or a sweep file [default: the latest sweep]
    #[arg(long, value_name = "SWEEP", add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A sweep's name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
    /// A row for each attempt instead of each trial
    #[arg(long, conflicts_with = "curves")]
    pub(crate) attempts: bool,
    /// A row for each step of each metric of the last attempts
    #[arg(long)]
    pub(crate) curves: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "csv")]
    pub(crate) output: ExportFormat,
}

/// What other programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A header and rows
    Csv,
    /// A JSON object a line
    Jsonl,
}

#[derive(Debug, Args)]
pub(crate) struct SomeTrialsArgs {
    /// The trials: ids or the beginnings of some
    #[arg(required = true, add = ArgValueCompleter::new(lookup::trials))]
    pub(crate) trials: Vec<String>,
    /// Their sweep: a name or a sweep file [default: the latest sweep]
    #[arg(long, value_name = "SWEEP", add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
}

/// A sweep, as a second word or by its option.
#[derive(Debug, Args)]
pub(crate) struct NamedSweep {
    /// Its sweep: a name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(value_name = "SWEEP", add = ArgValueCompleter::new(lookup::sweeps))]
    word: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "SWEEP", conflicts_with = "word", add = ArgValueCompleter::new(lookup::sweeps))]
    sweep: Option<PathBuf>,
}

impl NamedSweep {
    /// The sweep that is named.
    pub(crate) fn named(&self) -> Option<&Path> {
        self.word.as_deref().or(self.sweep.as_deref())
    }
}
