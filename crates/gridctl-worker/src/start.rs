//! Starts a worker from its configuration, and ends it: by signals, by its parent's pipe, or
//! because it is done.
//! Invariant: when [`run`] returns, no slot and no trainer of this worker is alive, and its
//! directories are gone. Before it takes a trial, and as long as it works, what dead workers of the
//! same work directory left is ended.

use std::collections::HashSet;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridctl_core::id::WorkerId;
use gridctl_core::worker::{Farewell, WorkerProfile, WorkerProtocol};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::address::{Address, Bearer};
use crate::attempt::{Datasets, KeptPlace, PreparedVersions, WorkerMachine};
use crate::cgroup::CgroupSupport;
use crate::clock;
use crate::container::ContainerSite;
use crate::event_loop::{LoopEnd, MasterSide, Wish, WorkerLoop};
use crate::health;
use crate::join::{self, Join};
use crate::leftovers::{self, Traces};
use crate::live::LiveOutputs;
use crate::resources;
use crate::scratch::WorkDir;
use crate::slot::SlotProgram;
use crate::workdir::Workdirs;

/// Between publications of a checkpoint that goes on changing, in milliseconds.
const CHECKPOINT_EVERY_MS: u64 = 300_000;

/// Between looks for workers that have died. Shorter than any lease: what a dead one left is ended
/// before its trials are granted to another.
const LOOK_FOR_DEAD_EVERY: Duration = Duration::from_secs(5);

/// How a worker finds its master.
#[derive(Clone)]
pub enum MasterPlace {
    /// On this machine.
    Here {
        /// Where.
        address: Address,
        /// What it shows the master, if the master asks for something; never printed.
        token: Option<String>,
    },
    /// Anywhere, by TLS.
    Join(Join),
}

/// What a worker is told when it starts.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Who it is, where a fleet knows beforehand; `None` draws a name.
    pub id: Option<WorkerId>,
    /// Its master.
    pub master: MasterPlace,
    /// The machine's name: two workers on one machine say the same.
    pub host: String,
    /// The machine of a fleet that it is on.
    pub machine: Option<String>,
    /// `<data-dir>/work/slots`: there the worker makes a directory of its own, and removes that at
    /// the end. Of what else is there only the directories of dead workers are removed.
    pub work_dir: PathBuf,
    /// `<data-dir>/datasets`: data that was fetched from S3, stays as long as there is room.
    pub datasets: PathBuf,
    /// `<data-dir>/cache`: `GRID_CACHE_DIR`, stays.
    pub cache_dir: PathBuf,
    /// Exactly so many trials at once; `None`: as many as fit.
    pub slots: Option<u32>,
    /// The GPUs that trials may use, as `CUDA_VISIBLE_DEVICES` names them; `None`: those that are
    /// there.
    pub gpus: Option<Vec<String>>,
    /// What every trainer's `GRID_MARK` begins with; see [`crate::marks`].
    pub mark: String,
    /// Files, by device and inode, that gridctl's own output goes to: no trainer writes them.
    pub own_output: Vec<(u64, u64)>,
    /// How slots are started: the running binary with `slot`.
    pub slot_program: SlotProgram,
    /// The binary that is started in containers; `None`: that of `slot_program`.
    pub carried: Option<PathBuf>,
    /// MiB that a container may write into its own root.
    pub container_disk_mib: u64,
    /// A slot that has work and is asked for a sign has so long before another takes its place.
    pub slot_silence: Duration,
    /// Standard input is a pipe from whoever started it: when that closes, everything ends at once.
    pub parent_pipe: bool,
    /// The process is the worker's alone: it becomes child subreaper, ends what dead slots leave,
    /// and obeys SIGTERM and SIGINT.
    pub own_process: bool,
    /// Says, where somebody can know it, that the machine is about to be taken away, and how long after that was said.
    pub taken: Option<watch::Receiver<Option<Duration>>>,
    /// Hears once that the worker has a master.
    pub joined: Option<watch::Sender<bool>>,
}

/// Why a worker ended otherwise than by being done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It could not begin.
    #[error("cannot {what}: {error}")]
    Begin {
        /// What could not be done.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// The token cannot be sent.
    #[error("the token has characters that cannot be sent: give it in printable ASCII")]
    Token,
    /// It cannot join.
    #[error("cannot join: {0}")]
    Join(String),
    /// Its certificate is of no more use, and it cannot join again.
    #[error(
        "this worker's certificate expired while it had no master, and it cannot join again: {0}. Start it anew with an address that `gridctl token create --role worker` prints, or with --join-file, which lets a worker come back by itself"
    )]
    Expired(String),
    /// The master refused it, and says why.
    #[error("the master does not take this worker: {0}")]
    Refused(String),
    /// No master for too long.
    #[error("no master was to be reached for too long: the trials were ended")]
    Orphaned,
    /// The machine cannot start trainers.
    #[error("this machine could not start a trainer, after several rests: {0}")]
    Unfit(String),
    /// The last reports did not reach the master, which will grant those trials again.
    #[error("the master was not to be reached for the last reports")]
    Unreported,
    /// Told twice to stop, or left by its parent.
    #[error("stopped at once")]
    Stopped,
}

fn begin(what: impl Into<String>) -> impl FnOnce(io::Error) -> WorkerError {
    let what = what.into();
    |error| WorkerError::Begin { what, error }
}

/// Works for a master until it is done, drained, refused or stopped. Wants a Tokio runtime with
/// everything enabled; one thread is enough.
///
/// # Errors
/// See [`WorkerError`].
pub async fn run(config: WorkerConfig) -> Result<(), WorkerError> {
    if config.own_process {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own))
            .map_err(|error| begin("become child subreaper")(error.into()))?;
    }
    let (wish, mut wishes) = mpsc::unbounded_channel();
    let mut watchers = JoinSet::new();
    if config.own_process {
        watch_signals(&mut watchers, &wish).map_err(begin("watch for signals"))?;
    }
    if config.parent_pipe {
        watch_parent(&mut watchers, &wish).map_err(begin("watch standard input, which must be a pipe"))?;
    }
    if let Some(taken) = config.taken.clone() {
        watchers.spawn(watch_machine(taken, wish.clone()));
    }
    let (mut id, mut master) = tokio::select! {
        found = master(&config) => found?,
        wish = wishes.recv() => {
            return if wish == Some(Wish::Stop) { Err(WorkerError::Stopped) } else { Ok(()) };
        }
    };
    if let Some(joined) = &config.joined {
        joined.send_replace(true);
    }
    watchers.spawn(look_for_dead(config.work_dir.clone()));
    loop {
        return match work((id, master), &config, (wish.clone(), &mut wishes)).await? {
            LoopEnd::Farewell(Farewell::Drained) => Ok(()),
            LoopEnd::Farewell(Farewell::Unfit(fault)) => Err(WorkerError::Unfit(fault)),
            LoopEnd::Farewell(Farewell::Unreported) => Err(WorkerError::Unreported),
            LoopEnd::Farewell(Farewell::Orphaned) => Err(WorkerError::Orphaned),
            LoopEnd::Farewell(Farewell::Refused(why)) => Err(WorkerError::Refused(why)),
            LoopEnd::Expired(why) => Err(WorkerError::Expired(why)),
            LoopEnd::Joined(other, side) => {
                (id, master) = (other, *side);
                continue;
            }
            LoopEnd::Stopped => Err(WorkerError::Stopped),
        };
    }
}

/// Works as this worker, with a directory of its own, until that has an end.
async fn work(
    (id, master): (WorkerId, MasterSide),
    config: &WorkerConfig,
    (wish, wishes): (UnboundedSender<Wish>, &mut UnboundedReceiver<Wish>),
) -> Result<LoopEnd, WorkerError> {
    let gpus = config.gpus.clone().unwrap_or_else(resources::gpus);
    let machine = machine(config, id, gpus)?;
    machine.containers.end_orphans().await;
    let mut health = JoinSet::new();
    match health::listen(machine.work.path()) {
        Ok(listener) => drop(health.spawn(health::answer(listener))),
        // A path that is too long for a socket, say: nothing else depends on it.
        Err(error) => tracing::debug!("`gridctl health` will not find this worker: {error}"),
    }
    let capacity = resources::capacity(config.slots, &machine.gpus, machine.cgroups.limit());
    let release = env!("CARGO_PKG_VERSION").to_owned();
    let (host, of_fleet) = (config.host.clone(), config.machine.clone());
    let worker = WorkerProfile { worker: id, host, machine: of_fleet, release, capacity };
    let worker = WorkerProtocol::new(worker, clock::now());
    let driver = WorkerLoop::new(Arc::new(machine), master, (worker, wish));
    Ok(driver.drive(wishes).await)
}

/// Where the master is, and who the worker is to it: where it has to join, it tries until it has, or is told that it never will.
async fn master(config: &WorkerConfig) -> Result<(WorkerId, MasterSide), WorkerError> {
    let join = match &config.master {
        MasterPlace::Here { address, token } => {
            let bearer = Bearer::new(token.as_deref()).map_err(|_| WorkerError::Token)?;
            let id = config.id.map_or_else(|| random_id().map(WorkerId), Ok)?;
            return Ok((id, MasterSide::here(address.clone(), bearer)));
        }
        MasterPlace::Join(join) => join,
    };
    let (address, identity) = join::joined(join).await.map_err(WorkerError::Join)?;
    Ok((identity.worker, MasterSide::joined(address, identity, join.clone())))
}

fn machine(config: &WorkerConfig, id: WorkerId, gpus: Vec<String>) -> Result<WorkerMachine, WorkerError> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(begin(format!("find the directory {}", path.display())))
    };
    let (work_dir, cache) = (absolute(&config.work_dir)?, absolute(&config.cache_dir)?);
    let datasets = Arc::new(Datasets::new(&absolute(&config.datasets)?));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&cache)
        .map_err(begin(format!("make the cache directory {}", cache.display())))?;
    let name = id.to_string();
    let cgroups = CgroupSupport::detect();
    if let CgroupSupport::None { why } = &cgroups {
        tracing::info!("{why}");
    }
    end_dead(&work_dir, &mut HashSet::new());
    let kept = KeptPlace::new(&work_dir);
    kept.clear();
    let mark = format!("{}/{name}", config.mark);
    let traces = Traces {
        worker: name.clone(),
        mark: mark.clone(),
        cgroups: cgroups.parent().map(Path::to_owned),
        of_a_run: config.parent_pipe,
    };
    let work = WorkDir::create(&work_dir, &name, &traces.to_note());
    let work = work.map_err(begin("make the worker's directory"))?;
    let code = work_dir.parent().unwrap_or(&work_dir).join("code");
    let carried = config.carried.clone().unwrap_or_else(|| config.slot_program.path.clone());
    let carried = absolute(&carried)?;
    let place = work_dir.clone();
    let apart = [Some(work_dir), cache.parent().map(Path::to_owned)].into_iter().flatten().collect();
    Ok(WorkerMachine {
        workdirs: Arc::new(Workdirs::new(apart, config.own_output.clone())),
        gridctl: config.slot_program.path.to_string_lossy().into_owned(),
        program: config.slot_program.clone(),
        containers: ContainerSite::new(carried, (&config.mark, &name), &place, config.container_disk_mib),
        cache,
        code,
        datasets,
        is_elsewhere: matches!(config.master, MasterPlace::Join(_)),
        gpus,
        mark,
        cgroups,
        name,
        work,
        kept,
        versions: PreparedVersions::new(std::env::vars_os()),
        adopts: config.own_process,
        checkpoint_every_ms: CHECKPOINT_EVERY_MS,
        slot_silence_ms: u64::try_from(config.slot_silence.as_millis()).unwrap_or(u64::MAX),
        live: LiveOutputs::default(),
        slots: Mutex::new(Vec::new()),
    })
}

/// Ends what dead workers left, and says so; what cannot be removed is said once.
fn end_dead(work_dir: &Path, told: &mut HashSet<PathBuf>) {
    let ended = leftovers::end_dead(work_dir);
    if ended.processes > 0 {
        tracing::warn!("ended {} processes that a dead worker had left", ended.processes);
    }
    for (dir, error) in ended.stuck {
        if told.insert(dir.clone()) {
            tracing::warn!("cannot remove {}, which a dead worker left: {error}", dir.display());
        }
    }
}

/// A worker beside this one may be killed together with its slots.
async fn look_for_dead(work_dir: PathBuf) {
    let mut told = HashSet::new();
    loop {
        tokio::time::sleep(LOOK_FOR_DEAD_EVERY).await;
        let work_dir = work_dir.clone();
        let look = tokio::task::spawn_blocking(move || {
            end_dead(&work_dir, &mut told);
            told
        });
        // What it cannot do now is done at the next look.
        told = look.await.unwrap_or_default();
    }
}

fn random_id() -> Result<[u8; 5], WorkerError> {
    let mut id = [0; 5];
    getrandom::fill(&mut id).map_err(|error| begin("draw a name")(io::Error::other(error)))?;
    Ok(id)
}

/// The first signal drains, the second one stops.
fn watch_signals(watchers: &mut JoinSet<()>, wish: &UnboundedSender<Wish>) -> io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let wish = wish.clone();
    watchers.spawn(async move {
        let mut next = Wish::Drain;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if wish.send(next).is_err() {
                return;
            }
            next = Wish::Stop;
        }
    });
    Ok(())
}

/// When the machine is about to be taken away, everything on it ends. The first word counts: one that is taken back comes too
/// late for those who have heard it.
async fn watch_machine(mut taken: watch::Receiver<Option<Duration>>, wish: UnboundedSender<Wish>) {
    let lead = taken.wait_for(Option::is_some).await.ok().and_then(|taken| *taken);
    if let Some(lead) = lead {
        let lead_ms = u64::try_from(lead.as_millis()).unwrap_or(u64::MAX);
        // The loop is at its end already if nobody listens.
        let _ = wish.send(Wish::Leave { lead_ms });
    }
}

/// When the parent's end of standard input closes, everything stops.
fn watch_parent(watchers: &mut JoinSet<()>, wish: &UnboundedSender<Wish>) -> io::Result<()> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut parent = pipe::Receiver::from_owned_fd(stdin)?;
    let wish = wish.clone();
    watchers.spawn(async move {
        let mut ignored = [0; 256];
        while matches!(parent.read(&mut ignored).await, Ok(1..)) {}
        // The loop is at its end already if nobody listens.
        let _ = wish.send(Wish::Stop);
    });
    Ok(())
}
