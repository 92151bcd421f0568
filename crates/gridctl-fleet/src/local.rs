//! Workers as processes of this machine, each in a process group of its own, with a pipe that ties
//! its life to ours.
//! Invariant: nothing is decided here; what ends, and what is to be started in its place, is the
//! plan's word.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use gridctl_core::fleet::{FleetAction, FleetPlan, UNFIT_EXIT};
use gridctl_core::id::WorkerId;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::{FleetError, FleetEvent};

/// A log that is longer than this when a fleet starts is put aside.
const LONGEST_LOG: u64 = 4 << 20;
/// So much of the log is shown when the fleet gives up.
const TAIL: u64 = 4 << 10;

/// How workers are started: `PROGRAM worker --master M --id ID --data-dir D --parent-pipe ARGS...`.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// The `gridctl` binary, as an absolute path.
    pub program: PathBuf,
    /// Where the master is: `unix:/path` or `http://127.0.0.1:port`.
    pub master: String,
    /// The data directory; workers log to `work/worker.log` in it.
    pub data_dir: PathBuf,
    /// Further arguments: `--slots N`, `--gpus LIST`.
    pub args: Vec<OsString>,
}

impl LocalConfig {
    fn log(&self) -> PathBuf {
        self.data_dir.join("work").join("worker.log")
    }
}

/// Workers on this machine.
#[derive(Debug)]
pub struct LocalFleet {
    config: LocalConfig,
    clock: Clock,
    plan: FleetPlan,
    workers: BTreeMap<WorkerId, WorkerProcess>,
    /// One future for each worker: its end.
    ends: JoinSet<(WorkerId, io::Result<ExitStatus>)>,
    /// How the last worker ended.
    last_end: String,
}

#[derive(Debug)]
struct WorkerProcess {
    #[cfg(test)]
    pid: u32,
    /// Tells the task that waits for the process to kill the process. Once that wait is over, the
    /// process's number may be a stranger's.
    kill: oneshot::Sender<()>,
    /// Closing it ends the worker and all that it runs.
    pipe: Option<ChildStdin>,
}

impl LocalFleet {
    /// A fleet without workers. `end_leftovers` ends what is left of the workers of an earlier one
    /// on this data directory; when this returns, there is none.
    ///
    /// # Errors
    /// [`FleetError::Log`]: the workers' log cannot be written.
    pub fn new(config: LocalConfig, end_leftovers: impl FnOnce()) -> Result<Self, FleetError> {
        end_leftovers();
        let log = config.log();
        prepare_log(&log).map_err(|source| FleetError::Log { path: log, source })?;
        Ok(Self {
            config,
            clock: Clock::start(),
            plan: FleetPlan::default(),
            workers: BTreeMap::new(),
            ends: JoinSet::new(),
            last_end: String::new(),
        })
    }

    /// Starts `count` workers more, and says who they are.
    ///
    /// # Errors
    /// [`FleetError`]: not all of them could be started; those that were go on.
    pub fn launch(&mut self, count: usize) -> Result<Vec<WorkerId>, FleetError> {
        let now = self.clock.now();
        self.plan.want(now, count);
        let mut started = Vec::with_capacity(count);
        while let Some(FleetAction::Start) = self.plan.next(now) {
            started.push(self.start()?);
        }
        Ok(started)
    }

    /// Waits for the next thing that happens. To be called in a loop; nothing is lost if a call is
    /// abandoned.
    pub async fn next_event(&mut self) -> FleetEvent {
        loop {
            match self.plan.next(self.clock.now()) {
                Some(FleetAction::Start) => {
                    return self.start().map_or_else(FleetEvent::GaveUp, FleetEvent::Started);
                }
                Some(FleetAction::GiveUp { deaths }) => {
                    let (log, how) = (self.config.log(), std::mem::take(&mut self.last_end));
                    let tail = tail(&log);
                    return FleetEvent::GaveUp(FleetError::Dying { deaths, how, log, tail });
                }
                Some(FleetAction::NoneLeft) => return FleetEvent::NoneLeft,
                None => {}
            }
            tokio::select! {
                Some(Ok((worker, status))) = self.ends.join_next() => {
                    self.on_end(worker, status);
                    return FleetEvent::Ended(worker);
                }
                () = self.clock.until(self.plan.next_at()) => {}
            }
        }
    }

    /// A trial has succeeded: workers can live here.
    pub fn on_success(&mut self) {
        self.plan.on_success();
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.plan.workers()
    }

    /// Lets go of every worker, and waits until all have ended; those that have not after `at_most`
    /// are killed, which leaves the ending of what they ran to their slots.
    pub async fn end(mut self, at_most: Duration) {
        self.plan.dismiss_all();
        // A worker whose pipe closes ends everything that it runs, and itself.
        self.workers.values_mut().for_each(|worker| worker.pipe = None);
        let all = async { while self.ends.join_next().await.is_some() {} };
        if tokio::time::timeout(at_most, all).await.is_ok() {
            return;
        }
        tracing::warn!("workers did not end in time and are killed");
        for (_, worker) in std::mem::take(&mut self.workers) {
            // One that has just ended is past being killed.
            let _ = worker.kill.send(());
        }
        while self.ends.join_next().await.is_some() {}
    }

    fn start(&mut self) -> Result<WorkerId, FleetError> {
        let id = new_id().map_err(|source| self.no_spawn(source))?;
        let log = self.config.log();
        let open = || open_log(&log);
        let no_log = |source| FleetError::Log { path: log.clone(), source };
        let (out, err) = (open().map_err(no_log)?, open().map_err(no_log)?);
        let mut child = Command::new(&self.config.program)
            .arg("worker")
            .args(["--master", &self.config.master])
            .args(["--id", &id.to_string()])
            .arg("--data-dir")
            .arg(&self.config.data_dir)
            .arg("--parent-pipe")
            .args(&self.config.args)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|source| self.no_spawn(source))?;
        let pid = child.id().unwrap_or(0);
        let (kill, killed) = oneshot::channel();
        let pipe = child.stdin.take();
        let process = WorkerProcess {
            #[cfg(test)]
            pid,
            kill,
            pipe,
        };
        self.workers.insert(id, process);
        self.plan.on_started(self.clock.now(), id);
        self.ends.spawn(end_of(id, child, killed));
        tracing::debug!(worker = %id, pid, "a worker was started");
        Ok(id)
    }

    fn no_spawn(&self, source: io::Error) -> FleetError {
        FleetError::Spawn { program: self.config.program.clone(), source }
    }

    /// A worker has ended, asked or not.
    fn on_end(&mut self, worker: WorkerId, status: io::Result<ExitStatus>) {
        self.workers.remove(&worker);
        if status.as_ref().is_ok_and(|status| status.code() == Some(i32::from(UNFIT_EXIT))) {
            self.plan.on_unfit(worker);
            return;
        }
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if self.plan.on_ended(self.clock.now(), worker) {
            tracing::warn!(%worker, how, "a worker ended by itself");
        }
        self.last_end = how;
    }
}

async fn end_of(
    id: WorkerId,
    mut child: Child,
    killed: oneshot::Receiver<()>,
) -> (WorkerId, io::Result<ExitStatus>) {
    tokio::select! {
        status = child.wait() => return (id, status),
        Ok(()) = killed => {}
    }
    if let Err(error) = child.start_kill() {
        tracing::warn!(worker = %id, %error, "a worker cannot be killed");
    }
    (id, child.wait().await)
}

fn new_id() -> io::Result<WorkerId> {
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(WorkerId(bytes))
}

/// Puts a long log aside, and makes sure that it can be written.
fn prepare_log(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > LONGEST_LOG) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    open_log(path).map(drop)
}

fn open_log(path: &Path) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_follow).open(path)
}

/// The end of the log, from the beginning of a line.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        if len > TAIL
            && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
        {
            bytes.drain(..=end);
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(error) => format!("(it cannot be read: {error})"),
    }
}

#[cfg(test)]
mod tests;
