//! `gridctl workers`: who works for a master, and how to end that.
//! Invariant: draining costs no trial its failure budget.

use serde_json::Value as Json;

use crate::cli::WorkersCommand;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, Format, number};
use crate::settings::Settings;
use crate::source::DataSource;

/// Runs the command.
pub(crate) fn run(command: &WorkersCommand, settings: &Settings) -> Outcome {
    let mut master = DataSource::master(settings, &settings.cwd)?;
    match command {
        WorkersCommand::Ls(args) => {
            print(&master.workers()?, args.output)?;
        }
        WorkersCommand::Drain(args) => {
            master.drain(args.grace)?;
            output::say("every worker was asked to end; what they run is tried again by others");
        }
        WorkersCommand::Scale(args) => {
            master.scale(args.machines)?;
            let machines = number::of(u64::from(args.machines), "machine");
            output::say(format_args!(
                "{machines} at most from now on; what runs on others is finished first"
            ));
        }
        WorkersCommand::Revoke(args) => {
            let worker = args.worker;
            if master.revoke_worker(worker)?.touched == 0 {
                output::say(format_args!("no worker {worker} is there; it is shut out all the same"));
            } else {
                output::say(format_args!("worker {worker} is shut out; its trials are granted to others"));
            }
        }
    }
    Ok(Exit::Ok)
}

fn print(workers: &[Json], format: Format) -> Result<(), Failure> {
    let empty = "no worker is connected; `gridctl worker` starts one";
    output::list(workers, format, (COLUMNS, cells), empty)
}

const COLUMNS: [&str; 5] = ["worker", "host", "connected", "draining", ">leased"];

fn cells(worker: &Json) -> Vec<String> {
    let cell = |column: &str| match &worker[column.trim_start_matches('>')] {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        Json::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
    };
    COLUMNS.map(cell).to_vec()
}
