//! `gridctl machine`: what runs on the machines of a launch, as their service.
//! Invariant: a machine that has nothing to do any more shuts itself down, and one whose gridctl hangs or cannot start is shut down
//! by its timer: only what works renews that.

mod master;
mod worker;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gridctl_fleet::ec2::{MachineFacts, Metadata};
use gridctl_storage::volume::s3::AccountBucket;
use tokio::process::Command;

use super::failure;
use crate::cli::{BootArgs, MachineCommand};
use crate::commands::daemon;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use crate::runtime;
use crate::settings::Settings;

/// Where a machine has its files.
const DIR: &str = "/var/lib/gridctl";
/// The timer that ends the machine.
const TIMER: &str = "gridctl-expire.timer";
/// Between two renewals of the timer.
const RENEW: Duration = Duration::from_secs(600);

/// What a machine knows of itself, and of its launch.
struct Machine {
    metadata: Metadata,
    facts: MachineFacts,
    bucket: AccountBucket,
    sweep: String,
    dir: PathBuf,
}

/// Runs `gridctl machine`.
pub(crate) fn machine(command: &MachineCommand, settings: &Settings) -> Outcome {
    daemon::log_to_stderr(settings, "info")?;
    match command {
        MachineCommand::Master(args) => runtime::shared()?.block_on(master::run(args)),
        MachineCommand::Worker(args) => runtime::single()?.block_on(worker::run(args)),
    }
}

impl Machine {
    /// Asks who this machine is.
    async fn find(args: &BootArgs) -> Result<Self, Failure> {
        let region = std::env::var("AWS_REGION").ok().filter(|region| !region.is_empty());
        let region = region.ok_or_else(|| {
            Failure::usage("machine", "AWS_REGION is not set")
                .help("`gridctl launch` starts machines that have it")
        })?;
        let dir = PathBuf::from(DIR);
        make_private(&dir)?;
        let metadata = Metadata::new();
        let facts = metadata.facts().await.map_err(|error| failure(&error))?;
        let bucket = AccountBucket::new(&args.bucket, &region).await;
        tracing::info!(instance = facts.instance, address = facts.private_address, "this machine");
        Ok(Self { metadata, facts, bucket, sweep: args.sweep.clone(), dir })
    }

    /// The key of something that belongs to the launch.
    fn key(&self, name: &str) -> String {
        super::launch::key(&self.sweep, name)
    }
}

/// What goes on for ever.
enum Never {}

/// Gives the machine its whole time again, and once more before it is over, for ever.
async fn renew_timer() -> Never {
    loop {
        if let Err(why) = quietly("systemctl", &["restart", TIMER]).await {
            tracing::warn!("this machine's time is not renewed: {why}");
        }
        tokio::time::sleep(RENEW).await;
    }
}

/// Ends the machine. If that cannot be, the service ends with an error, is started again, and comes here again.
async fn shut_down(why: &str) -> Outcome {
    output::say(format_args!("this machine ends: {why}"));
    match quietly("shutdown", &["-h", "now"]).await {
        Ok(()) => Ok(Exit::Ok),
        Err(why) => Err(Failure::error("machine", format!("this machine cannot be shut down: {why}"))),
    }
}

async fn quietly(program: &str, args: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    let ended = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).status().await;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Makes a directory that is this user's alone.
fn make_private(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Failure::error("machine", format!("cannot make {}: {error}", dir.display())))
}
