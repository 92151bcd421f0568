//! `gridctl run`: a master here, worker processes of this same binary, and the leaderboard at the end.
//! Invariant: whatever could be found wrong before the first trial was found before anything was written or started; and
//! however it ends, no process is left and the same command goes on.

pub(crate) mod changed;
mod data;
mod failure;
pub(crate) mod interrupt;
mod last_words;
pub(crate) mod progress;
mod supervise;
mod workers;

use std::path::Path;

use gridctl_core::protocol::FrozenSweep;
use gridctl_core::sched::{CloseReason, SweepPhase, SweepStatus};
use gridctl_core::view::Leaderboard;
use gridctl_storage::journal::{self, Reader};
use gridctl_worker::cgroup::CgroupSupport;
use gridctl_worker::resources;

use super::submit::{prepare, request};
use super::{check, leaderboard};
use crate::cli::{CheckArgs, RunArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, Format, number};
use crate::runtime;
use crate::settings::{Setting, Settings};
use crate::source::pointer::LaunchPointer;
use crate::source::{self, fold};
use crate::submit::freeze::RunPlace;
use crate::submit::{self, precheck, preview, reads};
use crate::{datadir, mark};

/// Runs the command.
pub(crate) fn run(args: &RunArgs, settings: &Settings) -> Outcome {
    if settings.master.as_ref().is_some_and(Setting::is_by_flag) {
        return Err(Failure::usage(
            "run::master",
            "`run` has a master of its own, and --master names another",
        )
        .help("`gridctl submit FILE --master URL` gives the sweep to that one"));
    }
    if args.dry_run {
        return check::run(&CheckArgs::of(&args.file, args.count), settings);
    }
    submit::check_again(&args.again)?;
    let checked = submit::check(&args.file, &settings.data_dir, args.count)?;
    checked.show_warnings();
    let dir = settings.data_dir.for_sweep(&checked.file.base)?;
    let frozen = prepare(&checked, &dir, RunPlace::Here, args.machine.binary.clone())?;
    let gpus = args.machine.gpus.clone().map_or_else(resources::gpus, |list| list.0);
    let capacity = resources::capacity(args.machine.slots, &gpus, CgroupSupport::detect().limit());
    precheck::resources(&frozen, &capacity, &checked.file.source)?;
    if let Some(gpus) =
        precheck::shared_gpus(&frozen).filter(|_| capacity.at_once(&frozen.spec.resources) > 1)
    {
        output::say(gpus);
    }
    let hint = Hint::new(args, settings, &dir.journal);
    let declared: Vec<String> = frozen.spec.metrics.iter().map(|metric| metric.name.clone()).collect();
    if let Some(status) = all_known(&dir.journal, &frozen, args)? {
        output::say(known_line(&status, &hint));
        let board = known_board(&dir.journal, &frozen.spec.name, args)?;
        leaderboard::print(&board, Format::Table, args.k)?;
        leaderboard::unseen(&board, &declared);
        leaderboard::doubts(&status.notices);
        return Ok(ended(&status));
    }
    super::daemon::log_to_stderr(settings, "error")?;
    dir.make()?;
    LaunchPointer::remove(&dir.journal);
    let dir = dir.journal.canonicalize().unwrap_or(dir.journal);
    let slots = capacity.at_once(&frozen.spec.resources);
    // It stays here until the last trial has ended.
    let _data = data::stage(&frozen, &dir, args.quiet)?;
    let points = preview::points(&frozen)?;
    let unread = reads::unread(&frozen, &points);
    let trials = preview::count(&points);
    let submit = request(frozen, &args.again);
    let plan = supervise::RunPlan { unread, submit, args, hint, mark: mark::of(&dir), dir, trials, slots };
    let runtime = runtime::shared()?;
    let ended = runtime.block_on(supervise::run(plan));
    // A results volume that hangs must not keep the process.
    runtime.shutdown_background();
    let (exit, board) = ended?;
    if let Some(board) = board {
        // A reader that went away does not change how the sweep ended.
        match leaderboard::print(&board, Format::Table, args.k) {
            Err(failure) if !failure.problems.is_empty() => return Err(failure),
            _ => leaderboard::unseen(&board, &declared),
        }
    }
    Ok(exit)
}

/// What to type to see more.
#[derive(Debug, Clone)]
pub(crate) struct Hint {
    file: String,
    /// ` --data-dir DIR`, or nothing where the directory is found by itself.
    dir: String,
    /// The same for `run`, which finds the directory by its file.
    run_dir: String,
    /// ` --count N`, if that was given: without it the sweep would be another one.
    count: String,
}

impl Hint {
    fn new(args: &RunArgs, settings: &Settings, dir: &Path) -> Self {
        let stated = settings.data_dir.stated.as_ref().filter(|dir| dir.is_by_flag());
        let run_dir = stated.map_or_else(String::new, |dir| flag(&dir.value));
        let dir = if stated.is_some() { run_dir.clone() } else { data_dir_flag(dir, settings) };
        let count = args.count.map_or_else(String::new, |count| format!(" --count {count}"));
        Self { file: args.file.display().to_string(), dir, run_dir, count }
    }

    /// `gridctl run FILE` with these flags.
    pub(crate) fn run(&self, flags: &str) -> String {
        let file = output::sanitise::shell(&self.file);
        let space = if flags.is_empty() { "" } else { " " };
        format!("gridctl run {file}{}{space}{flags}{}", self.count, self.run_dir)
    }

    /// `gridctl WORDS` with where the data directory is.
    pub(crate) fn command(&self, words: &str) -> String {
        format!("gridctl {words}{}", self.dir)
    }
}

fn data_dir_flag(dir: &Path, settings: &Settings) -> String {
    let found = settings.data_dir.find(&settings.cwd).is_ok_and(|found| found == dir);
    let beside = || settings.cwd.join(datadir::NAME) == dir;
    if found || (settings.data_dir.stated.is_none() && beside()) {
        return String::new();
    }
    flag(dir.strip_prefix(&settings.cwd).unwrap_or(dir))
}

fn flag(dir: &Path) -> String {
    format!(" --data-dir {}", output::sanitise::shell(&dir.display().to_string()))
}

/// The status of a sweep of which everything is known already, so that nothing has to be started.
fn all_known(dir: &Path, frozen: &FrozenSweep, args: &RunArgs) -> Result<Option<SweepStatus>, Failure> {
    if args.again.rerun || !dir.is_dir() {
        return Ok(None);
    }
    let Some(core) = fold::core(dir)? else { return Ok(None) };
    let Some(sweep) = core.sweep_named(&frozen.spec.name) else { return Ok(None) };
    let Some(status) = core.status(sweep.id(), gridctl_core::id::Time(0)) else { return Ok(None) };
    let to_retry = args.again.retry_failed && status.failed + status.quarantined > 0;
    let finished = [CloseReason::Finished, CloseReason::CapReached, CloseReason::TargetReached];
    let finished = finished.map(SweepPhase::Closed).contains(&status.phase);
    let stands = sweep.frozen().is_same(frozen) && sweep.frozen().is_in_the_places_of(frozen);
    let known = finished && stands && !to_retry;
    Ok(if known && !needs_master(dir, &frozen.spec.name)? { Some(status) } else { None })
}

/// Whether there is something to do for a master that none is doing: records wait to be shipped, or
/// the journal was not closed as it should be and is to be checked.
fn needs_master(dir: &Path, sweep: &str) -> Result<bool, Failure> {
    if journal::living_master(dir).is_some() {
        return Ok(false);
    }
    let reader = Reader::open(dir).map_err(|error| fold::store_failure(&error))?;
    reader.check_numbers().map_err(|error| fold::store_failure(&error))?;
    let waiting =
        || gridctl_master::waiting(dir, Some(sweep)).map_err(|error| source::master_failure(&error));
    Ok(!Reader::was_closed(dir) || !waiting()?.is_empty())
}

fn known_line(status: &SweepStatus, hint: &Hint) -> String {
    let failed = status.failed + status.quarantined;
    let how = match status.phase {
        SweepPhase::Closed(CloseReason::TargetReached) => "the target was reached",
        _ => "everything is known",
    };
    let text = format!(
        "{}: {how}, {} of version {}",
        status.sweep,
        number::of(status.succeeded + failed, "trial"),
        status.version
    );
    if failed == 0 {
        return format!("{text}; --rerun tries them again");
    }
    format!("{text}; {} failed, `{}` tries them again", number::count(failed), hint.run("--retry-failed"))
}

/// The exit code of a sweep that stands so.
fn ended(status: &SweepStatus) -> Exit {
    match status.phase {
        SweepPhase::Paused(_) => Exit::Paused,
        SweepPhase::Closed(CloseReason::Cancelled | CloseReason::Stopped) => Exit::Cancelled,
        SweepPhase::Closed(CloseReason::TargetReached) => Exit::Ok,
        _ if status.failed + status.quarantined > 0 => Exit::FailedTrials,
        _ => Exit::Ok,
    }
}

fn known_board(dir: &Path, sweep: &str, args: &RunArgs) -> Result<Leaderboard, Failure> {
    let runtime = runtime::shared()?;
    let handle = gridctl_master::reading(dir).map_err(|error| source::master_failure(&error))?;
    let board = runtime.block_on(handle.leaderboard(sweep, leaderboard::asked(args.k)));
    board.map_err(|error| source::ask_failure(&error))
}
