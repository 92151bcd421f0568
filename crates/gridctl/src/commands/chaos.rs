//! `gridctl chaos`: kills workers now and then, or takes them away, so that a person sees that nothing is lost.
//! Invariant: only workers are hit, by themselves, and only because a master was asked who may be; a
//! master that is away is waited for.

use gridctl_core::id::WorkerId;
use serde_json::Value as Json;

use crate::cli::ChaosArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use crate::settings::Settings;
use crate::source::{DataSource, MasterSource};

/// A worker that can be hit.
struct Victim {
    id: WorkerId,
    host: String,
    leased: u64,
}

/// Runs the command.
pub(crate) fn run(args: &ChaosArgs, settings: &Settings) -> Outcome {
    // Whoever cannot ask at all is told at once.
    DataSource::master(settings, &settings.cwd)?.workers()?;
    let mut left = args.times;
    while left != Some(0) {
        std::thread::sleep(args.every);
        let struck = DataSource::master(settings, &settings.cwd).and_then(|master| strike(master, args));
        match struck {
            Err(failure) if failure.exit == Exit::Unreachable => output::say("no master answers; trying on"),
            struck => struck?,
        }
        left = left.map(|left| left - 1);
    }
    Ok(Exit::Ok)
}

/// Hits as many workers as was asked for, or as there are.
fn strike(mut master: MasterSource, args: &ChaosArgs) -> Result<(), Failure> {
    let (count, verb, past) = match args.interrupt {
        Some(count) => (count, "interrupted", "holds"),
        None => (args.kill, "killed", "held"),
    };
    let mut there: Vec<Victim> = master.workers()?.iter().filter_map(victim).collect();
    if there.is_empty() {
        output::say("no worker is there");
    }
    for _ in 0..count {
        let Some(Victim { id, host, leased }) = drawn(&mut there)? else { break };
        if master.strike(id, args.interrupt.is_some())?.touched > 0 {
            output::text(&format!("{verb} worker {id} on {host}, which {past} {leased}\n"))?;
        }
    }
    Ok(())
}

/// A connected worker, as the master lists it.
fn victim(worker: &Json) -> Option<Victim> {
    let is_there = worker["connected"].as_bool()?;
    is_there.then_some(())?;
    let id = worker["worker"].as_str()?.parse().ok()?;
    let host = output::sanitise::line(worker["host"].as_str()?).to_string();
    Some(Victim { id, host, leased: worker["leased"].as_u64()? })
}

/// One of them, by lot.
fn drawn(there: &mut Vec<Victim>) -> Result<Option<Victim>, Failure> {
    let Ok(count @ 1..) = u64::try_from(there.len()) else { return Ok(None) };
    let lot = getrandom::u64()
        .map_err(|error| Failure::error("chaos", format!("cannot draw a worker by lot: {error}")))?;
    let index = usize::try_from(lot % count).unwrap_or(0);
    Ok(Some(there.swap_remove(index)))
}
