//! The workers of `gridctl run`: processes of this same binary, placed by the local fleet.
//! Invariant: they end before the master does, gently if there is time; and what one ran has ended before the master may grant it again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use gridctl_core::id::WorkerId;
use gridctl_fleet::{FleetError, FleetEvent, LocalConfig, LocalFleet};
use gridctl_master::{Handle, Running};
use gridctl_worker::leftovers::{EndedLeftovers, end_dead_and_runs};

use super::interrupt::Interrupts;
use super::supervise::RunPlan;
use crate::datadir;
use crate::exit::Failure;
use crate::source;

/// LocalWorkers that were told to end everything at once get so long.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Between two requests to end.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The workers.
pub(super) struct LocalWorkers {
    fleet: LocalFleet,
    /// The data directory's mark, which their trainers carry.
    mark: String,
    /// LocalWorkers that were started, and of which nobody has ended yet what they may have left.
    unburied: BTreeSet<WorkerId>,
}

impl LocalWorkers {
    /// Ends what an earlier `gridctl run` left behind, tells the master so, and starts the workers.
    pub(super) async fn place(plan: &RunPlan<'_>, running: &Running) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::error("run::worker", format!("cannot find the running binary: {error}"))
        })?;
        let mut args: Vec<OsString> = Vec::new();
        if let Some(slots) = plan.args.machine.slots {
            args.extend(["--slots".into(), slots.to_string().into()]);
        }
        if let Some(gpus) = &plan.args.machine.gpus {
            args.extend(["--gpus".into(), gpus.0.join(",").into()]);
        }
        let master = running.advert().socket_address();
        if let Some(binary) = &plan.args.machine.binary {
            args.extend(["--binary".into(), binary.clone().into_os_string()]);
        }
        args.extend(["--container-disk".into(), format!("{}M", plan.args.machine.container_disk).into()]);
        let config = LocalConfig { program, master, data_dir: plan.dir.clone(), args };
        let work = datadir::slots(&plan.dir);
        let begin = move || {
            let mut left = EndedLeftovers::default();
            let fleet = LocalFleet::new(config, || left = end_dead_and_runs(&work));
            fleet.map(|fleet| (fleet, left))
        };
        let begun = tokio::task::spawn_blocking(begin).await;
        let begun = begun.map_err(|error| unlooked("is left behind", &error))?;
        let (mut fleet, left) = begun.map_err(|error| failure(&error))?;
        if left.processes > 0 {
            crate::output::say(format_args!("ended {} processes that were left behind", left.processes));
        }
        // A `gridctl worker` that lives goes on with what it holds, and is about to connect.
        if left.living == 0 {
            running.handle().orphans_ended().await.map_err(|error| source::ask_failure(&error))?;
        }
        let unburied = fleet.launch(1).map_err(|error| failure(&error))?.into_iter().collect();
        Ok(Self { fleet, mark: plan.mark.clone(), unburied })
    }

    /// Waits for the next thing that happens to a worker; nothing is lost if that is abandoned.
    pub(super) async fn next(&mut self) -> FleetEvent {
        let event = self.fleet.next_event().await;
        if let FleetEvent::Started(worker) = event {
            self.unburied.insert(worker);
        }
        event
    }

    /// Trials succeed: workers can live.
    pub(super) fn on_success(&mut self) {
        self.fleet.on_success();
    }

    /// A worker has ended. Its slots see that and end what they run; where one was killed as well, that is done here. Only then may
    /// the master grant its trials again.
    pub(super) async fn on_worker_ended(&mut self, worker: WorkerId, handle: &Handle) -> Result<(), Failure> {
        end_left_of(&self.mark, worker).await?;
        self.unburied.remove(&worker);
        handle.gone(worker).await.map_err(|error| source::ask_failure(&error))
    }

    /// Lets running trials end within `grace`; a further interrupt ends everything at once.
    pub(super) async fn end(mut self, handle: &Handle, grace: Duration, interrupts: &mut Interrupts) {
        let drained = async {
            let mut asked = tokio::time::interval(ASK_EVERY);
            while self.fleet.workers() > 0 {
                tokio::select! {
                    _ = self.next() => {}
                    // Again and again, for a worker may connect only now. They are ended below whether they could be asked or not.
                    _ = asked.tick() => drop(handle.ask_to_drain(grace).await),
                }
            }
        };
        tokio::select! {
            () = drained => {}
            () = interrupts.next() => {}
            () = tokio::time::sleep(grace + AT_ONCE) => {}
        }
        self.kill().await;
    }

    /// Ends everything at once, and what the last workers left, which may have been killed together with their slots.
    pub(super) async fn kill(self) {
        self.fleet.end(AT_ONCE).await;
        for worker in self.unburied {
            // What cannot be looked for now is looked for by the next start.
            let _ = end_left_of(&self.mark, worker).await;
        }
    }
}

/// Ends what a worker that has ended may have left.
async fn end_left_of(mark: &str, worker: WorkerId) -> Result<(), Failure> {
    let mark = format!("{mark}/{worker}");
    let ended = tokio::task::spawn_blocking(move || gridctl_worker::marks::end_marked(&mark)).await;
    ended.map(drop).map_err(|error| unlooked("a worker left behind", &error))
}

fn unlooked(what: &str, error: &tokio::task::JoinError) -> Failure {
    Failure::error("run::worker", format!("cannot look for what {what}: {error}"))
}

/// Why there are no workers.
pub(super) fn failure(error: &FleetError) -> Failure {
    Failure::error("run::worker", source::chain(error))
}
