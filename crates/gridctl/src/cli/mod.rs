//! The command line as clap reads it.
//! Invariant: what comes out of here is within its range; texts that are no UTF-8 are refused except as paths.

mod args;
mod cloud;
mod launch;
mod network;
mod serve;
mod start;
mod trials;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use args::*;
pub(crate) use cloud::*;
pub(crate) use launch::*;
pub(crate) use network::*;
pub(crate) use serve::*;
pub(crate) use start::*;
pub(crate) use trials::*;

/// A distributed hyperparameter grid-search coordinator.
#[derive(Debug, Parser)]
#[command(name = "gridctl", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 ok, 1 error, 2 usage or bad sweep file, 3 declined, 4 not allowed, \
                  5 master not reachable, \
    10 finished with failed trials, 12 cancelled, 13 paused, 130 interrupted.\n\n\
    Settings: flags go before GRIDCTL_* variables, those before the nearest gridctl.toml upwards from here, and that before \
    ~/.config/gridctl/config.toml. `gridctl doctor` shows what is set, and by what.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Where journal and results are [env: GRIDCTL_DATA_DIR] [default: gridctl-data, sought upwards]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The master to ask: gridctl://HOST:PORT?pin=PIN, or unix:PATH [env: GRIDCTL_MASTER] [default: the data directory's]
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) master: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Begin a sweep: from a template, or drafted for your program: `gridctl init -- python train.py`
    Init(InitArgs),
    /// Show what a sweep file means: points, axes, the first trials; mistakes with their place
    Check(CheckArgs),
    /// Say what a sweep would cost on machines of EC2, from prices that ship with gridctl
    Plan(PlanArgs),
    /// Run a sweep here; the same command resumes it
    Run(RunArgs),
    /// Show the best points
    Leaderboard(LeaderboardArgs),
    /// Show how far a sweep is
    Status(StatusArgs),
    /// Show what a trial printed
    Logs(LogsArgs),
    /// List trials, show one, or try some again
    #[command(subcommand)]
    Trials(TrialsCommand),
    /// Say what happened in a sweep, in order: how each attempt ended, and what followed
    Events(EventsArgs),
    /// Say how a trial ended, why, and why it was not tried again
    Why(TrialArgs),
    /// Run a trial once more here, outside of its sweep: `gridctl rerun best --seed 7 --set lr=0.1`
    Rerun(RerunArgs),
    /// Copy a trial's files, its model for example, into a directory
    Fetch(FetchArgs),
    /// Answer requests over HTTP with the model that a trial has kept
    Serve(ServeArgs),
    /// Make an image of the model that a trial has kept, which answers wherever it is taken
    Package(PackageArgs),
    /// Print every trial for other programs: parameters, metrics, states
    Export(ExportArgs),
    /// The same as `trials ls`
    #[command(hide = true)]
    Ls(TrialsLsArgs),
    /// The same as `trials show`
    #[command(hide = true)]
    Show(TrialsShowArgs),
    /// The same as `trials show best`
    #[command(hide = true)]
    Best(BestArgs),
    /// The same as `--version`
    #[command(hide = true)]
    Version,
    /// Submit a sweep to a running master; its workers run it
    Submit(SubmitArgs),
    /// Start no more trials of a sweep; those that are running finish
    Pause(SweepArg),
    /// Go on with a paused sweep
    Resume(SweepArg),
    /// Let running trials of a sweep finish, then close it
    Stop(SweepArg),
    /// End a sweep now, running trials included
    Cancel(SweepArg),
    /// List the workers of a running master, end them, or shut one out
    #[command(subcommand)]
    Workers(WorkersCommand),
    /// Say what a launch has cost, what it saves, and what it will come to
    Cost(CostArgs),
    /// Make, list and take back the tokens by which others come to a running master
    #[command(subcommand)]
    Token(TokenCommand),
    /// Serve sweeps: the daemon that workers and the commands above talk to
    Master(MasterArgs),
    /// Work for a master: the daemon that starts trials on this machine
    Worker(WorkerArgs),
    /// Start trainers for a worker (not for people)
    #[command(hide = true)]
    Slot(SlotArgs),
    /// Train a model that ships with gridctl: a trainer like any other
    #[cfg(feature = "train")]
    Train(gridctl_trainer::TrainArgs),
    /// Make a lost journal again from results
    Rebuild(RebuildArgs),
    /// Say what this machine can do for trials, and what it lacks
    Doctor(DoctorArgs),
    /// Kill workers of a running master now and then, or take them away, to see that nothing is lost
    Chaos(ChaosArgs),
    /// Say whether the master and the workers of the data directory answer: exit 0, or 5
    Health(HealthArgs),
    /// Set up an account of AWS for launches, or undo that
    #[command(subcommand)]
    Aws(AwsCommand),
    /// Run a sweep on machines of EC2: one for the master, and a fleet that works
    Launch(LaunchArgs),
    /// Find the master of a launch, from any machine with the account's credentials, and follow its sweep
    Attach(AttachArgs),
    /// Be a machine of a launch (not for people)
    #[command(subcommand, hide = true)]
    Machine(MachineCommand),
    /// End what a sweep has on EC2, look again, and print what is left
    Down(DownArgs),
    /// End what is on EC2 beyond its time: what any crash left behind
    Gc(GcArgs),
    /// Print a completion script for a shell: commands, options, sweeps, trials
    Completions(CompletionsArgs),
    /// Print the JSON Schema of sweep files, by which editors complete and check them, or of what a master answers
    Schema(SchemaArgs),
    /// Print the manual page, or write one for each command into a directory
    Man(ManArgs),
}
