//! `gridctl health`: whether master and workers of a data directory answer, for a container's or a service's health check.
//! Invariant: only asks, and ends within seconds, whatever hangs.

use std::path::Path;
use std::time::Duration;

use gridctl_core::spec::Diagnostic;
use gridctl_storage::journal::living_master;
use gridctl_worker::health::{self, WorkersHealth};

use crate::address::MasterAddress;
use crate::cli::HealthArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, number};
use crate::settings::Settings;
use crate::source::api::{self, ApiClient};
use crate::{address, datadir, runtime};

/// Each of them must answer within this time.
const WITHIN: Duration = Duration::from_secs(3);

/// Runs the command. It is about this machine: a master that was named elsewhere is not asked.
pub(crate) fn run(args: &HealthArgs, settings: &Settings) -> Outcome {
    let dir = settings.data_dir.find(&settings.cwd)?;
    let work = datadir::work_dir(args.work_dir.as_deref(), &dir);
    let place = address::advertised(&dir)?;
    let (master, workers) = runtime::single()?.block_on(async {
        let master = async {
            match &place {
                Some(place) => Some(answers(place).await),
                None => None,
            }
        };
        tokio::join!(master, health::ask(&work, WITHIN))
    });
    // What a killed master left is no master.
    let master = master.filter(|answers| *answers || living_master(&dir).is_some());
    tell(master, workers, &dir)
}

/// Whether a master answers what only its loop knows.
async fn answers(place: &MasterAddress) -> bool {
    let asked = async {
        let mut client = ApiClient::connect(place).await?;
        client.get::<serde_json::Value>(&api::route(&["workers"]), &()).await
    };
    tokio::time::timeout(WITHIN, asked).await.is_ok_and(|answer| answer.is_ok())
}

fn tell(master: Option<bool>, workers: WorkersHealth, dir: &Path) -> Outcome {
    let unwell = |message: String| Failure::new(Exit::Unreachable, Diagnostic::error("health", message));
    let count = |workers: usize| number::of(u64::try_from(workers).unwrap_or(u64::MAX), "worker");
    let WorkersHealth { answering, silent } = workers;
    if master == Some(false) {
        return Err(unwell(format!("the master of {} does not answer", dir.display())));
    }
    if silent > 0 {
        return Err(unwell(format!(
            "of {} in {}, {silent} silent",
            count(answering + silent),
            dir.display()
        )));
    }
    match (master, answering) {
        (None, 0) => Err(unwell(format!("neither a master nor a worker is there for {}", dir.display()))
            .help("one that is starting is there once the master serves, or once the worker has joined")),
        (Some(_), 0) => Ok(said("the master answers")),
        (None, _) => Ok(said(&format!("{} there", count(answering)))),
        (Some(_), _) => Ok(said(&format!("the master answers; {} there", count(answering)))),
    }
}

fn said(what: &str) -> Exit {
    output::say(what);
    Exit::Ok
}
