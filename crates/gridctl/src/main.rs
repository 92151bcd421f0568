//! The `gridctl` command: clap, settings, one call, output.
//! Invariant: stdout carries data only; whatever happens, the process ends with a code of the contract and no backtrace.

mod address;
mod cli;
mod clock;
mod commands;
mod datadir;
mod diagnose;
mod exit;
mod input;
mod mark;
mod output;
mod own_output;
mod runtime;
mod settings;
mod source;
mod submit;
mod sweepfile;
mod workdir;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use gridctl_core::sched::Steer;

use crate::cli::{Cli, Command, TrialsCommand};
use crate::exit::{Exit, Outcome};
use crate::settings::Settings;

fn main() -> ExitCode {
    survive_file_limit();
    commands::lookup::complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Command::Slot(args) = cli.command {
        return gridctl_worker::slot::main(args.into());
    }
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            diagnose::failure(&failure);
            failure.exit.into()
        }
    }
}

/// Writing beyond `ulimit -f` fails from now on, as on a full disk, and does not kill. A program that this one starts
/// has the default again, as a handler ends where another program begins.
fn survive_file_limit() {
    // The flag is not looked at: the write itself fails. Without a handler all is as the system has it.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Help, or what is wrong with the command line. What was typed may hold what a terminal would act on: then it is shown plainly.
fn usage(error: &clap::Error) -> ExitCode {
    let hostile = |arg: std::ffi::OsString| arg.to_string_lossy().chars().any(output::sanitise::is_hostile);
    if error.use_stderr() && std::env::args_os().any(hostile) {
        output::say(output::sanitise::lines(&error.render().to_string()));
    } else {
        // Nobody is left to be told if the stream is gone.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn dispatch(cli: Cli) -> Outcome {
    // Not for all: a trainer or a completion must not fail by a file that it does not need.
    let settings = || Settings::new(cli.global);
    match cli.command {
        Command::Init(args) => commands::init::run(&args, &settings()?),
        Command::Check(args) => commands::check::run(&args, &settings()?),
        Command::Plan(args) => commands::plan::run(&args, &settings()?),
        Command::Run(args) => commands::run::run(&args, &settings()?),
        Command::Leaderboard(args) => commands::leaderboard::run(&args, &settings()?),
        Command::Status(args) => commands::status::run(&args, &settings()?),
        Command::Logs(args) => commands::logs::run(&args, &settings()?),
        Command::Trials(command) => commands::trials::run(&command, &settings()?),
        Command::Events(args) => commands::events::run(&args, &settings()?),
        Command::Why(which) => commands::why::run(&which, &settings()?),
        Command::Rerun(args) => commands::again::rerun(&args, &settings()?),
        Command::Serve(args) => commands::serve::run(&args, &settings()?),
        Command::Package(args) => commands::package::run(&args, &settings()?),
        Command::Fetch(args) => commands::fetch::run(&args, &settings()?),
        Command::Export(args) => commands::export::run(&args, &settings()?),
        Command::Ls(args) => commands::trials::run(&TrialsCommand::Ls(args), &settings()?),
        Command::Show(args) => commands::trials::run(&TrialsCommand::Show(args), &settings()?),
        Command::Best(args) => commands::trials::best(args, &settings()?),
        Command::Version => {
            output::text(&Cli::command().render_version())?;
            Ok(Exit::Ok)
        }
        Command::Submit(args) => commands::submit::run(&args, &settings()?),
        Command::Pause(args) => commands::steer::run(&args, Steer::Pause, &settings()?),
        Command::Resume(args) => commands::steer::run(&args, Steer::Resume, &settings()?),
        Command::Stop(args) => commands::steer::run(&args, Steer::Stop, &settings()?),
        Command::Cancel(args) => commands::steer::run(&args, Steer::Cancel, &settings()?),
        Command::Cost(args) => commands::cost::run(&args, &settings()?),
        Command::Workers(command) => commands::workers::run(&command, &settings()?),
        Command::Token(command) => commands::token::run(&command, &settings()?),
        Command::Master(args) => commands::daemon::master(&args, &settings()?),
        Command::Worker(args) => commands::daemon::worker(&args, &settings()?),
        // `main` has started it already.
        Command::Slot(_) => Ok(Exit::Ok),
        #[cfg(feature = "train")]
        Command::Train(args) => train(&args),
        Command::Rebuild(args) => commands::rebuild::run(&args, &settings()?),
        Command::Doctor(args) => commands::doctor::run(&args, &settings()?),
        Command::Chaos(args) => commands::chaos::run(&args, &settings()?),
        Command::Health(args) => commands::health::run(&args, &settings()?),
        Command::Aws(command) => commands::cloud::aws(&command),
        Command::Launch(args) => commands::cloud::launch(&args, &settings()?),
        Command::Attach(args) => commands::cloud::attach(&args, &settings()?),
        Command::Machine(command) => commands::cloud::machine(&command, &settings()?),
        Command::Down(args) => commands::cloud::down(&args),
        Command::Gc(args) => commands::cloud::gc(&args),
        Command::Completions(args) => commands::lookup::completions(args.shell),
        Command::Schema(args) => commands::lookup::schema(args.of),
        Command::Man(args) => commands::lookup::man(&args, &settings()?),
    }
}

/// A trainer's own messages are its own, and so is its exit code.
#[cfg(feature = "train")]
fn train(args: &gridctl_trainer::TrainArgs) -> Outcome {
    match gridctl_trainer::run(args) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => {
            output::say(output::sanitise::lines(&format!("error: {}", source::chain(&error))));
            if let Some(help) = error.help() {
                output::say(format_args!("  help: {help}"));
            }
            Ok(if error.exit_code() == 64 { Exit::BadParameters } else { Exit::Error })
        }
    }
}
