//! What each command takes.
//! Invariant: numbers have their range here, so that no command checks them again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use gridctl_core::id::{IdError, WorkerId};
use gridctl_core::spec::mebibytes;
use gridctl_core::view;

use crate::commands::lookup;
use crate::output::{Format, TextOrJson};

/// Most trials that one worker holds at once.
const MOST_SLOTS: i64 = 4_096;
/// Most points that a random search draws.
pub(super) const MOST_POINTS: u64 = 1 << 62;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The sweep file
    #[arg(required_unless_present = "macros")]
    pub(crate) file: Option<PathBuf>,
    /// Explain the macros of `command`
    #[arg(long, conflicts_with_all = ["file", "log"])]
    pub(crate) macros: bool,
    /// Show which metrics a trainer's saved output would yield, instead of the grid
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How many points a random search draws, where the file does not say it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_POINTS))]
    pub(crate) count: Option<u64>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

impl CheckArgs {
    /// Everything that `check` says of a sweep file.
    pub(crate) fn of(file: &Path, count: Option<u64>) -> Self {
        Self { file: Some(file.to_owned()), macros: false, log: None, count, output: TextOrJson::Text }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The sweep file
    pub(crate) file: PathBuf,
    /// Only show what would be tried, as `gridctl check` does
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How many points a random search draws, where the file does not say it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_POINTS))]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) again: AgainArgs,
    /// Rows of the leaderboard at the end; 0 for all
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub(crate) k: u32,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How long a silent worker keeps its trials before others are granted them
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = lease_ttl, hide = true)]
    pub(crate) lease_ttl: Duration,
    /// How long results may wait to be published before the sweep is paused, where nobody watches
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = slot_silence, hide = true)]
    pub(crate) results_patience: Duration,
}

/// What of this machine trials may use.
#[derive(Debug, Clone, Args)]
pub(crate) struct MachineArgs {
    /// This many trials at once [default: as many as fit the processors]
    #[arg(long, short_alias = 'j', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_SLOTS))]
    pub(crate) slots: Option<u32>,
    /// The GPUs to use, as CUDA_VISIBLE_DEVICES names them: 0,1 [default: all that the driver shows]
    #[arg(long, value_name = "LIST", value_parser = gpu_list)]
    pub(crate) gpus: Option<GpuList>,
    /// The gridctl that is started in containers: of `cargo portable`, where this one is not fit for it [default: this one]
    #[arg(long, value_name = "FILE", env = "GRIDCTL_BINARY")]
    pub(crate) binary: Option<PathBuf>,
    /// How much a trial's container may write into its own root
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = size_mib)]
    pub(crate) container_disk: u64,
}

/// Names of GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GpuList(pub(crate) Vec<String>);

/// What to do with trials that have an outcome.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgainArgs {
    /// If the code has changed since outcomes were recorded: what they are worth
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) changed: Option<Changed>,
    /// Try trials again that ended without success
    #[arg(long)]
    pub(crate) retry_failed: bool,
    /// Try every trial again, whatever is known
    #[arg(long)]
    pub(crate) rerun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Changed {
    /// Keep every outcome as it is
    Keep,
    /// Keep the successes, try the others again
    Failed,
    /// Try everything again
    All,
}

impl From<Changed> for view::Changed {
    fn from(changed: Changed) -> Self {
        match changed {
            Changed::Keep => Self::Keep,
            Changed::Failed => Self::Failed,
            Changed::All => Self::All,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LeaderboardArgs {
    /// A sweep's name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
    /// Rows; 0 for all
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub(crate) k: u32,
    /// Only rows for which this is true: "lr < 0.1 and optimizer == 'sgd'"; the rank stays that among all
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// By this metric or parameter, -NAME for the other way round; the rank stays the objective's [default: the objective]
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) sort: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A sweep's name, a sweep file, or a results directory [default: the latest sweep]
    #[arg(add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: Option<PathBuf>,
    /// Every sweep
    #[arg(short, long, conflicts_with = "sweep")]
    pub(crate) all: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
    /// Show it again every two seconds until the sweep is over
    #[arg(short, long, conflicts_with = "all")]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The sweep file
    pub(crate) file: PathBuf,
    /// How many points a random search draws, where the file does not say it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_POINTS))]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) again: AgainArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArg {
    /// A sweep's name or a sweep file
    #[arg(add = ArgValueCompleter::new(lookup::sweeps))]
    pub(crate) sweep: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the workers that are connected or hold trials
    Ls(WorkersLsArgs),
    /// End every worker; what they run is tried again elsewhere, at no cost to its failure budget
    Drain(DrainArgs),
    /// Allow a launch so many machines at most; those that are too many finish what they run first
    Scale(ScaleArgs),
    /// Shut a worker out: its connection ends, and its trials are granted to others
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Machines
    #[arg(value_name = "N")]
    pub(crate) machines: u32,
}

#[derive(Debug, Args)]
pub(crate) struct CostArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct WorkersLsArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The worker, as `gridctl workers ls` shows it
    #[arg(value_parser = worker_id)]
    pub(crate) worker: WorkerId,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// How long running trials get from SIGTERM to SIGKILL
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = grace)]
    pub(crate) grace: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// A results volume, or one sweep's directory in it; once for each; `s3://` addresses as well
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) from: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look at the account of AWS: credentials, region, image, network, what gridctl has there
    #[arg(long)]
    pub(crate) aws: bool,
    /// A region of AWS [default: AWS_REGION, else the profile's]
    #[arg(long, value_name = "REGION", requires = "aws", value_parser = super::cloud::region)]
    pub(crate) region: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// This many workers at a time, drawn by lot
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) kill: u32,
    /// Take so many away instead, as AWS takes a spot machine back: with a notice, on which their trials move
    #[arg(long, value_name = "N", conflicts_with = "kill", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) interrupt: Option<u32>,
    /// Time from one to the next
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = chaos_every)]
    pub(crate) every: Duration,
    /// End after so many times [default: when interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) times: Option<u32>,
}

fn chaos_every(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), Duration::from_secs(86_400))
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Where slots have their directories, if the worker was told with its --work-dir
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
}

fn worker_id(text: &str) -> Result<WorkerId, String> {
    text.parse().map_err(|error: IdError| error.to_string())
}

/// A lease's length: three heartbeats at least, an hour at most.
pub(super) fn lease_ttl(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(3), Duration::from_secs(3_600))
}

/// A slot's time to answer: a second at least, an hour at most.
pub(super) fn slot_silence(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1), Duration::from_secs(3_600))
}

/// A time to end.
fn grace(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, Duration::from_secs(86_400))
}

/// `1500ms`, `30s`, `2m`, `1.5h`, within a range.
pub(super) fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = duration(text).ok_or("expected a number and a unit: 500ms, 30s, 2m, 1.5h")?;
    if duration < least || duration > most {
        let shown = crate::output::number::duration;
        return Err(format!("must be from {} to {}", shown(least), shown(most)));
    }
    Ok(duration)
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value: f64 = if plain { number.parse().ok()? } else { return None };
    let seconds = match unit {
        "ms" => value / 1000.0,
        "s" => value,
        "m" | "min" => value * 60.0,
        "h" => value * 3_600.0,
        "d" => value * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// MiB.
fn size_mib(text: &str) -> Result<u64, String> {
    mebibytes(text).map_err(|error| format!("{error}: {}", error.help()))
}

fn gpu_list(text: &str) -> Result<GpuList, String> {
    if text.trim().is_empty() {
        return Ok(GpuList::default());
    }
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let is_name = |name: &String| {
        !name.is_empty()
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_/:.".contains(c))
    };
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        return Err(format!("`{bad}` is not a GPU: write numbers or UUIDs with commas between, as in 0,1"));
    }
    let mut seen = std::collections::BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("`{twice}` is listed twice")),
        None => Ok(GpuList(names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c02_durations_have_a_unit_and_a_range() {
        for text in ["0s", "999y", "NaN", "-5s", "5", "1e3s", "", "s", "2h", "99999999999999999999d"] {
            assert!(lease_ttl(text).is_err(), "{text}");
        }
        assert_eq!(lease_ttl("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(lease_ttl("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(grace("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn gpus_are_names_with_commas_between() {
        assert_eq!(gpu_list("0, 1").unwrap().0, ["0", "1"]);
        assert_eq!(gpu_list("").unwrap().0, Vec::<String>::new());
        for text in ["0,,1", "0,0", "a b", "0;1", "$(id)"] {
            assert!(gpu_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        use clap::CommandFactory as _;
        crate::cli::Cli::command().debug_assert();
    }
}
