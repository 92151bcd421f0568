//! `gridctl run` from its master's start to its end: submit, place workers, follow, end.
//! Invariant: every way out drains or ends the workers before the master stops.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use gridctl_core::id::{SweepId, Time};
use gridctl_core::notice::{Notice, ResultsPatience};
use gridctl_core::points::Count;
use gridctl_core::record::Record;
use gridctl_core::sched::{Core, PauseReason, SweepPhase, SweepStatus};
use gridctl_core::spec::Diagnostic;
use gridctl_core::view::{Leaderboard, SubmitRequest, Submitted};
use gridctl_fleet::FleetEvent;
use gridctl_master::{Handle, Master, MasterConfig, Running};
use gridctl_storage::journal::Reader;

use super::changed::{self, ChangedFiles};
use super::interrupt::Interrupts;
use super::last_words;
use super::progress::{self, Progress};
use super::workers::{self, LocalWorkers};
use super::{Hint, ended, failure};
use crate::cli::RunArgs;
use crate::clock;
use crate::commands::{daemon, leaderboard};
use crate::diagnose;
use crate::exit::{Exit, Failure};
use crate::output::sentence::{self, NoticeTeller};
use crate::output::{self, number};
use crate::source::{self, fold};

/// Between two looks where nothing changes.
const LOOK: Duration = Duration::from_millis(500);
/// Records of a sweep that is over must be shipped within this time.
const SHIPMENT: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);

/// What to do.
pub(super) struct RunPlan<'a> {
    pub(super) submit: SubmitRequest,
    pub(super) args: &'a RunArgs,
    pub(super) hint: Hint,
    pub(super) mark: String,
    pub(super) dir: PathBuf,
    /// What to say of parameters that the program may not take as they are given.
    pub(super) unread: Vec<Diagnostic>,
    /// How many trials the grid has.
    pub(super) trials: Count,
    /// So many trials run at once.
    pub(super) slots: u64,
}

impl RunPlan<'_> {
    /// What to say before the first trial, of a version that may be new.
    fn warn_first(&self, new: bool, left: &[String]) {
        if new {
            self.unread.iter().for_each(|warning| diagnose::print(warning, None));
        }
        changed::note_left(left);
    }

    /// Where the sweep stands. What the grid is known not to hold is left out, though the cursor has not come upon it yet.
    fn status(&self, handle: &Handle) -> Result<SweepStatus, Failure> {
        let name = &self.submit.frozen.spec.name;
        Ok(self.without_unseen(handle.status(name).map_err(|error| source::ask_failure(&error))?))
    }

    /// Says where the sweep stands now that everything is recorded.
    fn say_stopped(&self, core: Option<&Core>) {
        let sweep = core.and_then(|core| core.sweep_named(&self.submit.frozen.spec.name));
        let Some(status) = sweep.map(|sweep| self.without_unseen(sweep.status(Time(0)))) else {
            return;
        };
        output::say(format_args!(
            "stopped: {} of {} done; go on with: {}",
            number::count(progress::done(&status)),
            number::of(progress::points(&status), "trial"),
            self.hint.run("")
        ));
    }

    fn without_unseen(&self, mut status: SweepStatus) -> SweepStatus {
        let excluded = status.total.saturating_sub(self.trials.upper());
        let unseen = excluded.saturating_sub(status.excluded);
        let rest = match status.phase {
            SweepPhase::Closed(_) => &mut status.cancelled,
            _ => &mut status.pending,
        };
        let unseen = unseen.min(*rest);
        *rest -= unseen;
        status.excluded += unseen;
        status
    }
}

/// How following a sweep ended.
enum Followed {
    /// It is over, or paused.
    Turned(Box<SweepStatus>),
    /// A person wants it to stop.
    Interrupted,
}

/// What became of the submission.
pub(super) struct SubmittedVersion {
    version: u32,
    new: bool,
    pub(super) known: u64,
}

/// Runs the sweep; returns the exit code, and the leaderboard if there is something to show.
///
/// A question is asked without a master: nobody else should wait for the data directory as long as a person thinks.
pub(super) async fn run(mut plan: RunPlan<'_>) -> Result<(Exit, Option<Leaderboard>), Failure> {
    loop {
        let mut config = MasterConfig::new(&plan.dir);
        config.timing = daemon::timing(plan.args.lease_ttl)?;
        let mut running = Master::start(config).await.map_err(|error| source::master_failure(&error))?;
        running.doubt().iter().for_each(|doubt| output::say(format_args!("note: {doubt}")));
        last_words::say_late(running.handle().shipped_late());
        let served = match serve(&plan, &mut running).await {
            Ok(served) => served,
            Err(failure) => {
                // What was asked of a master that has failed says less than why it has.
                let why = running.failure().await.map(|error| source::master_failure(&error));
                // Whatever else is wrong comes from that.
                drop(running.stop().await);
                return Err(why.unwrap_or(failure));
            }
        };
        match served {
            Served::Ended(exit, board, mut interrupts) => {
                let exit = stop(&plan, running, exit, &mut interrupts).await?;
                return Ok((exit, board));
            }
            Served::Asks(found) => {
                running.stop().await.map_err(|error| source::master_failure(&error))?;
                let asked = tokio::task::spawn_blocking(move || changed::ask(&found)).await;
                let answer = asked.map_err(|error| {
                    let what = format!("the question could not be asked: {error}");
                    Failure::error("run::changed", what)
                })?;
                plan.submit.changed = Some(answer?);
            }
        }
    }
}

/// Stops the master. Records of a sweep that is over are shipped first, if that can be done in
/// time.
async fn stop(
    plan: &RunPlan<'_>,
    running: Running,
    exit: Exit,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let sweep = plan.submit.frozen.spec.name.as_str();
    let is_over = !matches!(exit, Exit::Interrupted | Exit::Paused);
    let enough = async {
        let patience = if is_over { SHIPMENT } else { Duration::ZERO };
        tokio::select! {
            () = tokio::time::sleep(patience) => {}
            () = interrupts.next() => {}
        }
    };
    let stopped = running.stop_when(sweep, enough).await.map_err(|error| source::master_failure(&error))?;
    let core = fold::core(&plan.dir).ok().flatten();
    if exit == Exit::Interrupted {
        plan.say_stopped(core.as_ref());
    }
    core.iter().for_each(|core| last_words::say_left(core, sweep));
    last_words::say_late(stopped.shipped_late);
    let Some(left) = stopped.unshipped.into_iter().find(|left| left.sweep == sweep) else { return Ok(exit) };
    let message = format!(
        "{} of `{sweep}` could not be shipped to {}: {}",
        sentence::lack(&left),
        left.volume,
        left.why
    );
    let help = format!(
        "the journal in {} has them: put the volume right, and the next `{}` ships them",
        plan.dir.display(),
        plan.hint.run("")
    );
    let failure = Failure::error("run::unshipped", message).help(help);
    if !is_over {
        failure.problems.iter().for_each(|problem| output::say(format_args!("note: {}", problem.message)));
        return Ok(exit);
    }
    diagnose::failure(&failure);
    Ok(Exit::Error)
}

/// What a master's time came to.
enum Served {
    /// There is nothing left to do, or somebody wants it to stop: the exit code, and what to show.
    Ended(Exit, Option<Leaderboard>, Interrupts),
    /// Outcomes of other code are there, and nobody has said what they are worth.
    Asks(ChangedFiles),
}

async fn serve(plan: &RunPlan<'_>, running: &mut Running) -> Result<Served, Failure> {
    let handle = running.handle().clone();
    let name = plan.submit.frozen.spec.name.clone();
    let answer = handle.submit(plan.submit.clone()).await.map_err(|error| source::ask_failure(&error))?;
    let stands = match answer {
        Submitted::Stands { version, new, known, read_again, lost, unread, left, .. } => {
            plan.warn_first(new, &left);
            changed::note_reading(read_again, lost, unread);
            SubmittedVersion { version, new, known }
        }
        Submitted::CodeChanged { version, lines, succeeded, failed, disturbed } => {
            let found = ChangedFiles { sweep: name, version, lines, succeeded, failed, disturbed };
            return Ok(Served::Asks(found));
        }
    };
    handle.set_aside(&name).await.map_err(|error| source::ask_failure(&error))?;
    // Until here Ctrl-C simply ends the process.
    let mut interrupts = Interrupts::listen()?;
    let first = plan.status(&handle)?;
    announce(&first, &stands, plan.trials);
    let objective = plan.submit.frozen.spec.objective.as_ref();
    let metric = objective.map_or_else(String::new, |objective| objective.metric.name.clone());
    let mut progress = Progress::new(plan.args.quiet, &metric, plan.slots);
    let notices = NoticeTeller::default();
    let mut watch = RunWatch { reader: None, seen: 0, told: false, notices, metric, sweep: first.id };
    let mut fleet = None;
    if first.phase.is_active() {
        watch.begin(plan)?;
        fleet = Some(LocalWorkers::place(plan, running).await?);
    }
    let followed = match &mut fleet {
        Some(fleet) => follow(plan, running, (&mut progress, &mut watch), &mut interrupts, fleet).await,
        None => Ok(Followed::Turned(Box::new(first))),
    };
    progress.clear();
    let exit = match followed {
        Ok(Followed::Turned(status)) => {
            if let Some(fleet) = fleet {
                fleet.end(&handle, GRACE, &mut interrupts).await;
            }
            // What was running when it turned has ended now.
            let status = plan.status(&handle).unwrap_or(*status);
            last_words::conclude(&status, &stands, &progress, (&plan.hint, &watch.notices));
            ended(&status)
        }
        Ok(Followed::Interrupted) => {
            output::say("stopping: running trials get SIGTERM and 10 s; Ctrl-C again to stop at once");
            if let Some(fleet) = fleet {
                fleet.end(&handle, GRACE, &mut interrupts).await;
            }
            return Ok(Served::Ended(Exit::Interrupted, None, interrupts));
        }
        Err(failure) => {
            if let Some(fleet) = fleet {
                fleet.kill().await;
            }
            return Err(failure);
        }
    };
    let board = handle
        .leaderboard(&name, leaderboard::asked(plan.args.k))
        .await
        .map_err(|error| source::ask_failure(&error))?;
    Ok(Served::Ended(exit, Some(board), interrupts))
}

fn announce(status: &SweepStatus, stands: &SubmittedVersion, trials: Count) {
    let relation = if matches!(trials, Count::Exact(_)) { "" } else { "at most " };
    let mut text = format!("{}: {relation}{}", status.sweep, number::of(trials.upper(), "trial"));
    if stands.version > 1 {
        text = format!("{text}, version {}", stands.version);
    }
    let done = if stands.new { stands.known } else { progress::done(status) };
    if done > 0 {
        let what = if stands.new { "known" } else { "done already" };
        text = format!("{text}, {} {what}", number::count(done));
    }
    output::say(text);
}

/// Follows the sweep until it is over, paused, or somebody wants it to stop.
async fn follow(
    plan: &RunPlan<'_>,
    running: &mut Running,
    (progress, watch): (&mut Progress, &mut RunWatch),
    interrupts: &mut Interrupts,
    fleet: &mut LocalWorkers,
) -> Result<Followed, Failure> {
    let mut handle = running.handle().clone();
    let mut succeeded = u64::MAX;
    let began = clock::now();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut patience = ResultsPatience::new(millis(plan.args.results_patience));
    let is_watched = std::io::stderr().is_terminal();
    loop {
        let status = plan.status(&handle)?;
        if status.succeeded > succeeded {
            fleet.on_success();
        }
        succeeded = status.succeeded;
        watch.look(&status, progress, &plan.hint)?;
        // What runs when a person pauses a sweep goes on to its end.
        let waits = status.leased > 0 && status.phase == SweepPhase::Paused(PauseReason::Person);
        if !status.phase.is_active() && !waits {
            return Ok(Followed::Turned(Box::new(status)));
        }
        progress.update(&status);
        watch.notices.due(&status.notices).iter().for_each(|line| progress.say(line));
        if patience.is_over(Time(millis(began.elapsed())), &status.notices) && !is_watched {
            pause(&handle, PauseReason::ResultsFull).await?;
            continue;
        }
        // Every worker is on this machine: what one cannot prepare, none can.
        let cannot_run = |notice: &Notice| matches!(notice, Notice::CannotRun { .. });
        if status.phase.is_running() && status.leased == 0 && status.notices.iter().any(cannot_run) {
            pause(&handle, PauseReason::NoFitMachine).await?;
            continue;
        }
        let mut fleet_event = None;
        tokio::select! {
            changed = handle.changed(LOOK) => changed.map_err(|error| source::ask_failure(&error))?,
            () = interrupts.next() => return Ok(Followed::Interrupted),
            error = running.failed() => return Err(source::master_failure(&error)),
            event = fleet.next() => fleet_event = Some(event),
        }
        // Outside of the select, so that nothing else can make it be forgotten.
        match fleet_event {
            Some(FleetEvent::Ended(worker)) => fleet.on_worker_ended(worker, &handle).await?,
            Some(FleetEvent::NoneLeft) => pause(&handle, PauseReason::NoFitMachine).await?,
            Some(FleetEvent::GaveUp(error)) => return Err(workers::failure(&error)),
            Some(FleetEvent::Started(_)) | None => {}
        }
    }
}

async fn pause(handle: &Handle, reason: PauseReason) -> Result<(), Failure> {
    handle.pause_all(reason).await.map_err(|error| source::ask_failure(&error))
}

/// Looks for the first failure, and says notices.
struct RunWatch {
    notices: NoticeTeller,
    reader: Option<Reader>,
    seen: u64,
    told: bool,
    metric: String,
    sweep: Option<SweepId>,
}

impl RunWatch {
    /// From here on failures are new.
    fn begin(&mut self, plan: &RunPlan<'_>) -> Result<(), Failure> {
        let reader = Reader::open(&plan.dir).map_err(|error| fold::store_failure(&error))?;
        self.seen = reader.last_outcome().map_err(|error| fold::store_failure(&error))?;
        self.reader = Some(reader);
        Ok(())
    }

    /// Shows the first failure, once.
    fn look(&mut self, status: &SweepStatus, progress: &Progress, hint: &Hint) -> Result<(), Failure> {
        let Some(reader) = self.reader.as_ref().filter(|_| !self.told && status.failures > 0) else {
            return Ok(());
        };
        let rows = reader
            .after(self.seen, self.sweep.map(|id| id.0), 64)
            .map_err(|error| fold::store_failure(&error))?;
        for row in rows {
            self.seen = row.seq;
            let Ok(record) = serde_json::from_str::<Record>(&row.record) else { continue };
            if failure::counts(&record) {
                self.told = true;
                progress.say(&failure::describe(&record, &self.metric, hint));
                return Ok(());
            }
        }
        Ok(())
    }
}
