//! Workers as processes of this machine, each in a process group of its own, with a pipe that ties its life to ours.
//! Invariant: a worker that ends by itself is replaced, later and later, and after [`FAST_DEATHS`] quick ends in a row, without work
//! done between them, no more.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use gridctl_core::id::WorkerId;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock;
use crate::{Fleet, FleetError, FleetEvent, Placed};

/// A worker that lives shorter than this was not able to live.
const FAST: Duration = Duration::from_secs(10);
/// After so many quick ends in a row the fleet gives up.
const FAST_DEATHS: u32 = 5;
/// The first replacement waits so long, each further one twice as long, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
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
    workers: BTreeMap<WorkerId, Worker>,
    /// One future for each worker: its end.
    ends: JoinSet<(WorkerId, io::Result<ExitStatus>)>,
    fast_deaths: u32,
    /// So many workers are to be started at this time, in the place of others.
    owed: Option<(usize, Instant)>,
    gave_up: bool,
}

#[derive(Debug)]
struct Worker {
    pid: u32,
    /// Tells the task that waits for the process to kill the process. Once that wait is over, the
    /// process's number may be a stranger's.
    kill: oneshot::Sender<()>,
    started: Instant,
    /// Closing it ends the worker and all that it runs.
    pipe: Option<ChildStdin>,
    /// It was asked to end: nobody takes its place.
    dismissed: bool,
}

impl LocalFleet {
    /// A fleet without workers. `end_leftovers` ends what is left of the workers of an earlier one on this data directory;
    /// when this returns, there is none.
    ///
    /// # Errors
    /// [`FleetError::Log`]: the workers' log cannot be written.
    pub fn new(config: LocalConfig, end_leftovers: impl FnOnce()) -> Result<Self, FleetError> {
        end_leftovers();
        let log = config.log();
        prepare_log(&log).map_err(|source| FleetError::Log { path: log, source })?;
        Ok(Self {
            config,
            workers: BTreeMap::new(),
            ends: JoinSet::new(),
            fast_deaths: 0,
            owed: None,
            gave_up: false,
        })
    }

    /// Waits for the next thing that happens. To be called in a loop; nothing is lost if a call is abandoned.
    pub async fn next_event(&mut self) -> FleetEvent {
        loop {
            let replace_at = self.owed.map(|(_, at)| at);
            tokio::select! {
                Some(ended) = self.ends.join_next() => {
                    if let Some(event) = self.ended(ended) {
                        return event;
                    }
                }
                () = sleep_until(replace_at) => match self.replace() {
                    Ok(Some(worker)) => return FleetEvent::Replaced(worker),
                    Ok(None) => {}
                    Err(error) => {
                        self.gave_up = true;
                        return FleetEvent::GaveUp(error);
                    }
                },
            }
        }
    }

    /// A worker has done what workers are for: they can live here, and whatever ended some of them is not counted any more.
    pub fn has_worked(&mut self) {
        self.fast_deaths = 0;
    }

    /// Lets go of every worker, and waits until all have ended; those that have not after `at_most` are killed, which leaves the
    /// ending of what they ran to their slots.
    pub async fn end(mut self, at_most: Duration) {
        self.owed = None;
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        workers.into_iter().for_each(|worker| self.dismiss(worker));
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

    /// Closes a worker's pipe: it ends everything that it runs, and itself.
    fn dismiss(&mut self, worker: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.dismissed = true;
            worker.pipe = None;
        }
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
        self.workers.insert(id, Worker { pid, kill, started: clock::now(), pipe, dismissed: false });
        self.ends.spawn(end_of(id, child, killed));
        tracing::debug!(worker = %id, pid, "a worker was started");
        Ok(id)
    }

    fn no_spawn(&self, source: io::Error) -> FleetError {
        FleetError::Spawn { program: self.config.program.clone(), source }
    }

    /// A worker has ended, asked or not.
    fn ended(
        &mut self,
        ended: Result<(WorkerId, io::Result<ExitStatus>), tokio::task::JoinError>,
    ) -> Option<FleetEvent> {
        let (id, status) = ended.ok()?;
        let worker = self.workers.remove(&id)?;
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if worker.dismissed {
            return Some(FleetEvent::Gone(id));
        }
        tracing::warn!(worker = %id, how, "a worker ended by itself");
        let lived = clock::now().saturating_duration_since(worker.started);
        self.fast_deaths = if lived < FAST { self.fast_deaths + 1 } else { 0 };
        if self.fast_deaths >= FAST_DEATHS {
            if self.gave_up {
                return Some(FleetEvent::Gone(id));
            }
            (self.gave_up, self.owed) = (true, None);
            let log = self.config.log();
            let tail = tail(&log);
            return Some(FleetEvent::GaveUp(FleetError::Dying { deaths: self.fast_deaths, how, log, tail }));
        }
        let wait = BACKOFF.0.saturating_mul(1 << self.fast_deaths.min(10)).min(BACKOFF.1);
        let owed = self.owed.map_or(0, |(owed, _)| owed) + 1;
        self.owed = Some((owed, clock::now() + wait));
        Some(FleetEvent::Gone(id))
    }

    fn replace(&mut self) -> Result<Option<WorkerId>, FleetError> {
        let Some((owed, at)) = self.owed.take() else { return Ok(None) };
        let worker = self.start()?;
        self.owed = (owed > 1).then_some((owed - 1, at));
        Ok(Some(worker))
    }
}

impl Fleet for LocalFleet {
    fn launch(&mut self, count: usize) -> Result<Vec<WorkerId>, FleetError> {
        (0..count).map(|_| self.start()).collect()
    }

    fn terminate(&mut self, worker: WorkerId) {
        self.dismiss(worker);
    }

    fn describe(&self) -> Vec<Placed> {
        self.workers.iter().map(|(id, worker)| Placed { worker: *id, pid: worker.pid }).collect()
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

/// For ever, if there is nothing to wait for.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
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
