//! A master's machines on EC2: what its plan asks is carried out beside it, until its sweeps are over and nothing of them is left.
//! Invariant: nothing is decided here but how often a thing is tried again.

use std::path::Path;
use std::time::Duration;

use gridctl_core::cloud::{Scope, Which};
use gridctl_core::fleet::launch::LaunchSpec;
use gridctl_core::sched::FleetOver;
use gridctl_fleet::ec2::{self, CloudError, Ec2, Machines, TeardownEvent};
use gridctl_master::{Advert, AskError, Handle, MasterConfig, MasterError};
use tokio::task::JoinSet;

use super::failure;
use crate::exit::Failure;

/// Between two looks at whether everything is over.
const LOOK: Duration = Duration::from_secs(1);
/// The first wait before AWS is asked again that did not answer, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// At the end everything is looked for until nothing is left, for so long at most.
const TEARDOWN: Duration = Duration::from_secs(600);
/// The master's machine leaves the security group within so long, or `down` deletes the group later.
const LEAVE: Duration = Duration::from_secs(30);

/// Why a fleet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FleetEnd {
    /// It is over, and all machines but the master's own are gone; so many things are left all the same.
    Over {
        /// Why.
        why: FleetOver,
        /// Things that could not be ended.
        left: usize,
    },
    /// The master ends, or a person ended it.
    MasterEnds,
}

/// Runs a master whose fleet is as this file of a launch says, until its sweeps are over.
pub(crate) async fn master(
    config: MasterConfig,
    ready: impl FnOnce(&Advert),
    path: &Path,
) -> Result<Result<(), MasterError>, Failure> {
    let wrong = |what: String| Failure::usage("cloud::launch", format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let spec = LaunchSpec::read(&bytes).map_err(|error| wrong(error.to_string()).help(error.help()))?;
    let ec2 = Ec2::connect(Some(spec.region.clone())).await.map_err(|error| failure(&error))?;
    let ended = gridctl_master::run_beside(config, ready, |handle| drive(handle, spec, ec2)).await;
    Ok(ended.map(|end| tracing::info!(?end, "the fleet has ended")))
}

/// Carries out what the master's fleet wants, until it is over.
pub(crate) async fn drive(handle: Handle, spec: LaunchSpec, ec2: Ec2) -> FleetEnd {
    let machines = prepared(&handle, &spec, ec2).await;
    match work(&handle, &spec, &machines).await {
        Ok(why) => FleetEnd::Over { why, left: tear_down(&spec, &machines).await },
        Err(error) => {
            tracing::info!(%error, "the fleet is left to the next master");
            FleetEnd::MasterEnds
        }
    }
}

/// What machines are made from, once AWS has it.
async fn prepared(handle: &Handle, spec: &LaunchSpec, ec2: Ec2) -> Machines {
    let mut pause = AGAIN.0;
    loop {
        match Machines::prepare(ec2.clone(), spec.clone(), handle.journal()).await {
            Ok(machines) => return machines,
            Err(error) => say_again(&error, pause).await,
        }
        pause = (pause * 2).min(AGAIN.1);
    }
}

async fn say_again(error: &CloudError, pause: Duration) {
    tracing::error!(%error, help = error.help(), "machines cannot be started yet; it is tried again");
    tokio::time::sleep(pause).await;
}

/// Carries out calls until the fleet is over.
async fn work(handle: &Handle, spec: &LaunchSpec, machines: &Machines) -> Result<FleetOver, AskError> {
    let mut calls = handle.begin_fleet(spec.setup()).await?;
    let mut doing = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    let mut renew = tokio::time::interval(Duration::from_secs((spec.expires_after_s / 4).max(1)));
    loop {
        tokio::select! {
            call = calls.next() => {
                let (call, machines, handle) = (call?, machines.clone(), handle.clone());
                doing.spawn(async move {
                    if let Some(said) = machines.carry_out(call).await {
                        // A master that ends asks again when it begins.
                        let _ = handle.fleet(said).await;
                    }
                });
            }
            Some(_) = doing.join_next() => {}
            _ = renew.tick() => {
                let machines = machines.clone();
                doing.spawn(async move {
                    if let Err(error) = machines.renew().await {
                        tracing::warn!(%error, "machines were not told that they may live on; it is tried again");
                    }
                });
            }
            _ = look.tick() => {
                if doing.is_empty() && let Some(why) = handle.fleet_over().await? {
                    return Ok(why);
                }
            }
        }
    }
}

/// Ends what is left of the sweep beside the master's own machine; how much is left then.
async fn tear_down(spec: &LaunchSpec, machines: &Machines) -> usize {
    match tokio::time::timeout(LEAVE, machines.leave_group()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the security group stays until `gridctl down`"),
        Err(_) => tracing::warn!("AWS does not answer; the security group stays until `gridctl down`"),
    }
    let scope = Scope { which: Which::Fleet(spec.sweep.clone()), owner: None };
    let mut tell = |event: TeardownEvent<'_>| match event {
        TeardownEvent::Ending(things) => tracing::info!(things = things.len(), "ending what is left"),
        TeardownEvent::Refused(thing, error) => {
            tracing::warn!(id = thing.id, %error, "this cannot be ended yet");
        }
    };
    match ec2::tear_down(machines.ec2(), &scope, TEARDOWN, &mut tell).await {
        Ok(left) => {
            for thing in &left {
                tracing::error!(
                    id = thing.id,
                    kind = thing.kind.as_str(),
                    "this is left: `gridctl down` ends it"
                );
            }
            left.len()
        }
        Err(error) => {
            tracing::error!(%error, "AWS does not say what is left: `gridctl down` looks again");
            1
        }
    }
}
