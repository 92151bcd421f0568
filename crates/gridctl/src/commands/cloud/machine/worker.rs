//! A machine that runs trials: joins by what the bucket has, and leaves when EC2 says that the machine is taken.
//! Invariant: whatever ends the worker ends the machine; what only failed is tried again by the service.

use std::path::Path;
use std::time::Duration;

use gridctl_fleet::ec2::{self, Metadata, Warned};
use gridctl_storage::private;
use gridctl_worker::{Join, MasterPlace, WorkerConfig, WorkerError};
use tokio::sync::watch;

use super::{Machine, Never, renew_timer, shut_down};
use crate::cli::BootArgs;
use crate::commands::daemon;
use crate::exit::{Exit, Failure, Outcome};
use crate::source::chain;

/// Between two looks at whether the machine is taken.
const LOOK: Duration = Duration::from_secs(2);
/// A machine that was said to be taken away, and is still there so much later, ends itself.
const TAKEN_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks for the first token to join by, and for the next one.
const JOIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Runs until the machine is not needed any more.
pub(super) async fn run(args: &BootArgs) -> Outcome {
    let machine = Machine::find(args).await?;
    let path = machine.dir.join("join");
    let (taken, is_taken) = watch::channel(None);
    let (joined, has_joined) = watch::channel(false);
    let config = WorkerConfig {
        host: machine.facts.instance.clone(),
        machine: Some(machine.facts.instance.clone()),
        taken: Some(is_taken),
        joined: Some(joined),
        ..daemon::worker_config(MasterPlace::Join(Join::File(path.clone())), &machine.dir)?
    };
    let was_taken = taken.subscribe();
    let result = tokio::select! {
        result = gridctl_worker::run(config) => result,
        never = keep_join_file(&machine, &path) => match never {},
        never = watch_notices(&machine.metadata, taken) => match never {},
        never = renew_when(has_joined) => match never {},
    };
    match result {
        Ok(()) => {
            if was_taken.borrow().is_some() {
                // What EC2 takes within its first hour costs nothing, and what ends itself does.
                tracing::info!("waiting for EC2 to take this machine");
                tokio::time::sleep(TAKEN_WITHIN).await;
            }
            shut_down("its worker has nothing to do any more").await
        }
        Err(error @ (WorkerError::Begin { .. } | WorkerError::Join(_) | WorkerError::Token)) => {
            Err(Failure::error("worker", chain(&error)))
        }
        // Told twice to stop: the machine goes down already, or a person is here.
        Err(WorkerError::Stopped) => Ok(Exit::Interrupted),
        Err(error) => shut_down(&chain(&error)).await,
    }
}

/// Fetches what workers join by: it is replaced every few minutes, and says where the master is now.
async fn keep_join_file(machine: &Machine, path: &Path) -> Never {
    let key = machine.key("join");
    let mut known = Vec::new();
    let mut told = String::new();
    loop {
        match machine.bucket.get(&key).await {
            Ok(Some(text)) if text == known => {}
            Ok(Some(text)) => match private::write(path, &String::from_utf8_lossy(&text)) {
                Ok(()) => known = text,
                Err(error) => tracing::warn!("{}: {error}", path.display()),
            },
            Ok(None) => {}
            Err(error) => {
                let why = chain(&error);
                if told != why {
                    tracing::warn!("{why}; trying on");
                    told = why;
                }
            }
        }
        tokio::time::sleep(if known.is_empty() { JOIN.0 } else { JOIN.1 }).await;
    }
}

/// Says once that the machine is taken. What cannot be asked is not "no": it is asked again.
async fn watch_notices(metadata: &Metadata, taken: watch::Sender<Option<Duration>>) -> Never {
    let (mut at_risk, mut silent) = (false, false);
    loop {
        match metadata.warned().await {
            // The first word counts.
            Ok(Warned::Taken { at_ms }) if taken.borrow().is_none() => {
                let lead_ms = at_ms.map_or(0, |at| at.saturating_sub(ec2::now_s().saturating_mul(1_000)));
                tracing::warn!("EC2 takes this machine away in {} s", lead_ms / 1_000);
                taken.send_replace(Some(Duration::from_millis(lead_ms)));
            }
            Ok(Warned::AtRisk) if !at_risk => {
                at_risk = true;
                tracing::info!("EC2 says that this machine may be taken away");
            }
            Ok(_) => silent = false,
            Err(error) if !silent => {
                silent = true;
                tracing::warn!("{error}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A machine that never comes to a master keeps the time that it had at its start.
async fn renew_when(mut joined: watch::Receiver<bool>) -> Never {
    if joined.wait_for(|joined| *joined).await.is_err() {
        return std::future::pending().await;
    }
    renew_timer().await
}
