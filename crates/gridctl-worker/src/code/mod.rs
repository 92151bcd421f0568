//! What a version of a sweep needs on this machine before any of its trials starts: its code,
//! fetched from the master and unpacked once, and its `setup`, run once.
//! Invariant: an attempt is handed to its slot only when all of that is there; while it waits for it,
//! it can be withdrawn at any time.

mod fetch;
mod setup;

use std::collections::{HashMap, HashSet};
use std::fs::DirBuilder;
use std::future::pending;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gridctl_core::id::{CodeHash, LeaseSeq, PackHash, SweepId};
use gridctl_core::protocol::{Code, FrozenSweep};
use gridctl_core::worker::AttemptStart;
use gridctl_storage::pack::{self, PackError};
use gridctl_storage::shared_dirs::{SharedDir, SharedDirs, SharedEntry, VacantDir};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use crate::attempt::WorkerMachine;
use crate::connection::Client;
use crate::container::StagedImage;

/// So many directories of code are kept at most, beside those that are used.
const MOST: usize = 8;
/// Versions that are kept ready though no attempt of theirs runs.
const MOST_IDLE: usize = 4;
/// Between looks at a directory that another worker of this machine prepares.
const LOOK: Duration = Duration::from_millis(200);
/// What another machine or a disk lacked is asked for again after so long, in milliseconds.
const AGAIN_MS: u64 = 30_000;

/// A version of a sweep.
pub(crate) type VersionKey = (SweepId, u32);

/// Why a version cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StagingFault {
    /// For people.
    pub(crate) why: String,
    /// It may be otherwise after so many milliseconds.
    pub(crate) again_ms: Option<u64>,
}

impl StagingFault {
    fn passing(why: impl std::fmt::Display) -> Self {
        Self { why: why.to_string(), again_ms: Some(AGAIN_MS) }
    }

    fn lasting(why: impl std::fmt::Display) -> Self {
        Self { why: why.to_string(), again_ms: None }
    }
}

/// What staging came to, for the attempts that waited for it.
#[derive(Debug)]
pub(crate) struct StagingEnd {
    pub(crate) version: VersionKey,
    pub(crate) waiting: Vec<LeaseSeq>,
    pub(crate) fault: Option<StagingFault>,
}

/// What a version has on this machine.
#[derive(Debug)]
struct StagedCode {
    /// Its code, where that is a directory of ours.
    dir: Option<SharedDir>,
    /// The image that its trials run in.
    image: Option<Arc<StagedImage>>,
}

type Staged = (VersionKey, Result<StagedCode, StagingFault>);

/// The versions that are ready here, or are being made so.
#[derive(Debug)]
pub(crate) struct CodeStager {
    machine: Arc<WorkerMachine>,
    cache: SharedDirs,
    master: watch::Sender<Option<Client>>,
    versions: HashMap<VersionKey, StagedVersion>,
    tasks: JoinSet<Staged>,
}

#[derive(Debug)]
struct StagedVersion {
    /// As the master says it.
    from: Arc<FrozenSweep>,
    state: StagingState,
}

#[derive(Debug)]
enum StagingState {
    Going { waiting: Vec<LeaseSeq> },
    Ready { here: Arc<FrozenSweep>, users: HashSet<LeaseSeq>, staged: StagedCode },
}

impl CodeStager {
    /// None yet.
    pub(crate) fn new(machine: Arc<WorkerMachine>) -> Self {
        Self {
            cache: SharedDirs::new(machine.code.clone()),
            machine,
            master: watch::Sender::new(None),
            versions: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Where the master can be asked from now on, if it can be.
    pub(crate) fn set_master(&self, client: Option<Client>) {
        self.master.send_replace(client);
    }

    /// Whether the attempt may be handed to its slot, with its sweep as it is found here. If not, it
    /// waits until [`Self::next`] says what became of it.
    pub(crate) fn admit(&mut self, start: &mut AttemptStart) -> bool {
        let spec = &start.sweep.spec;
        let is_plain = start.sweep.sources.pack().is_none() && spec.setup.is_none() && spec.image.is_none();
        if is_plain && missing(&self.machine, &start.sweep).is_none() {
            return true;
        }
        let (version, lease) = ((start.grant.sweep, start.grant.version), start.grant.token.lease);
        if self.versions.get(&version).is_some_and(|known| known.from.sources != start.sweep.sources) {
            self.versions.remove(&version);
        }
        match self.versions.get_mut(&version).map(|known| &mut known.state) {
            Some(StagingState::Ready { here, users, .. }) => {
                users.insert(lease);
                start.sweep = Arc::clone(here);
                true
            }
            Some(StagingState::Going { waiting }) => {
                waiting.push(lease);
                false
            }
            None => {
                let (cache, master) = (self.cache.clone(), self.master.subscribe());
                let (machine, sweep) = (Arc::clone(&self.machine), Arc::clone(&start.sweep));
                self.tasks.spawn(async move {
                    let staged = match missing(&machine, &sweep) {
                        Some(what) => Err(StagingFault::passing(what)),
                        None => stage(cache, master, (machine, sweep)).await,
                    };
                    (version, staged)
                });
                let state = StagingState::Going { waiting: vec![lease] };
                self.versions.insert(version, StagedVersion { from: Arc::clone(&start.sweep), state });
                false
            }
        }
    }

    /// The image in which trials of a version that is ready run, if they run in one.
    pub(crate) fn image(&self, version: VersionKey) -> Option<Arc<StagedImage>> {
        match &self.versions.get(&version)?.state {
            StagingState::Ready { staged, .. } => staged.image.clone(),
            StagingState::Going { .. } => None,
        }
    }

    /// Whether the attempt waited here, which it does no more.
    pub(crate) fn withdraw(&mut self, lease: LeaseSeq) -> bool {
        self.versions.values_mut().any(|version| match &mut version.state {
            StagingState::Going { waiting } => {
                let place = waiting.iter().position(|waits| *waits == lease);
                place.map(|place| waiting.swap_remove(place)).is_some()
            }
            StagingState::Ready { .. } => false,
        })
    }

    /// The attempt is over.
    pub(crate) fn ended(&mut self, lease: LeaseSeq) {
        for version in self.versions.values_mut() {
            if let StagingState::Ready { users, .. } = &mut version.state {
                users.remove(&lease);
            }
        }
    }

    /// Gives up whatever is being made ready.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// What staging came to next; never, while nothing is staged.
    pub(crate) async fn next(&mut self) -> StagingEnd {
        loop {
            let (version, staged) = match self.tasks.join_next().await {
                Some(Ok(staged)) => staged,
                Some(Err(error)) => resume_unwind(error.into_panic()),
                None => return pending().await,
            };
            if let Some(end) = self.settle(version, staged) {
                return end;
            }
        }
    }

    fn settle(
        &mut self,
        version: VersionKey,
        staged: Result<StagedCode, StagingFault>,
    ) -> Option<StagingEnd> {
        // It may have moved meanwhile, and then is staged again.
        let known = self.versions.get_mut(&version)?;
        let StagingState::Going { waiting } = &mut known.state else { return None };
        let waiting = std::mem::take(waiting);
        let fault = match staged {
            Ok(staged) => {
                let files = staged.dir.as_ref().filter(|_| known.from.sources.pack().is_some());
                let here = match files {
                    Some(dir) => Arc::new(found_in(&known.from, &dir.files())),
                    None => Arc::clone(&known.from),
                };
                known.state = StagingState::Ready { here, users: HashSet::new(), staged };
                self.forget_idle(version);
                None
            }
            Err(fault) => {
                self.versions.remove(&version);
                Some(fault)
            }
        };
        Some(StagingEnd { version, waiting, fault })
    }

    /// Lets go of versions that nothing runs of, if there are many; but for the newest.
    fn forget_idle(&mut self, newest: VersionKey) {
        let is_idle = |version: &StagedVersion| matches!(&version.state, StagingState::Ready { users, .. } if users.is_empty());
        let idle = self.versions.iter().filter(|(key, version)| **key != newest && is_idle(version));
        let idle: Vec<VersionKey> = idle.map(|(key, _)| *key).collect();
        for key in idle.iter().skip(MOST_IDLE) {
            self.versions.remove(key);
        }
    }
}

/// The version with its code in the directory `files`, of which each attempt gets a copy.
fn found_in(frozen: &FrozenSweep, files: &Path) -> FrozenSweep {
    let mut here = frozen.clone();
    here.sources.code = Some(Code::Dir(files.to_string_lossy().into_owned()));
    here.spec.isolate = true;
    here
}

/// What a version names that is not on this machine. On the master's own, whatever is missing there
/// is its trials' to find.
fn missing(machine: &WorkerMachine, sweep: &FrozenSweep) -> Option<String> {
    let sources = &sweep.sources;
    // In an image trials need no directory of the sweep file's, unless it is their code's.
    let needs_dir = sources.pack().is_none() && (sweep.spec.image.is_none() || sources.code.is_some());
    let dir = needs_dir.then(|| sources.start_dir());
    let dir = dir.filter(|dir| machine.is_elsewhere && !Path::new(dir).is_dir());
    if let Some(dir) = dir {
        return Some(format!(
            "it has no directory {dir}: submit the sweep by GRIDCTL_MASTER, so that its code travels, or share \
             the directory"
        ));
    }
    let data = sources.data.as_ref().filter(|data| machine.is_elsewhere && !Path::new(data).exists());
    data.map(|data| format!("it does not have the data {data}: copy it there, or share it"))
}

/// The name of the directory in which a version is made ready: equal content has an equal one.
fn name_of(sweep: &FrozenSweep) -> String {
    let pack = sweep.sources.pack().map(|pack| pack.to_string()).unwrap_or_default();
    // With an image the setup is a thing of the image's.
    let Some(setup) = sweep.spec.setup.as_ref().filter(|_| sweep.spec.image.is_none()) else { return pack };
    // Machines that share the directory have an environment each.
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let here = if pack.is_empty() { sweep.sources.start_dir() } else { "" };
    let files: &[(String, String)] = if pack.is_empty() { &sweep.files } else { &[] };
    let texts = [&pack, here, setup, &machine];
    let pairs = sweep.env.iter().chain(files).flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    let texts: Vec<&str> = texts.into_iter().chain(pairs).collect();
    format!("{}-setup", CodeHash::of(&texts))
}

/// Makes a version ready, once for all workers that share the directory.
async fn stage(
    cache: SharedDirs,
    master: watch::Receiver<Option<Client>>,
    (machine, sweep): (Arc<WorkerMachine>, Arc<FrozenSweep>),
) -> Result<StagedCode, StagingFault> {
    let name = name_of(&sweep);
    let dir = match name.is_empty() {
        true => None,
        false => Some(stage_dir(cache, master, (&machine, &sweep), name).await?),
    };
    if sweep.spec.image.is_none() {
        return Ok(StagedCode { dir, image: None });
    }
    let code = match sweep.sources.pack() {
        Some(_) => dir.as_ref().map(SharedDir::files),
        None => sweep.sources.workdir().map(PathBuf::from),
    };
    match machine.containers.stage(&sweep, code.as_deref()).await {
        Ok(image) => Ok(StagedCode { dir, image: Some(Arc::new(image)) }),
        Err(error) => {
            let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
            let why = format!("{error}{help}");
            Err(if error.is_passing() { StagingFault::passing(why) } else { StagingFault::lasting(why) })
        }
    }
}

/// Makes the directory of this name ready, in which the version's code is.
async fn stage_dir(
    cache: SharedDirs,
    master: watch::Receiver<Option<Client>>,
    (machine, sweep): (&Arc<WorkerMachine>, &Arc<FrozenSweep>),
    name: String,
) -> Result<SharedDir, StagingFault> {
    let mut vacant = match enter(&cache, name.clone()).await? {
        Ok(ready) => return Ok(ready),
        Err(vacant) => vacant,
    };
    let mut dir = PathBuf::from(sweep.sources.start_dir());
    if let Some(pack) = sweep.sources.pack() {
        vacant = unpack(master, pack, vacant).await?;
        dir = vacant.files();
    }
    if let Some(command) = sweep.spec.setup.as_ref().filter(|_| sweep.spec.image.is_none()) {
        setup::run(machine, sweep, (command, &dir, &name)).await?;
    }
    let finished = spawn_blocking(move || {
        let dir = vacant.finish(b"");
        clear(&cache);
        dir
    });
    let finished = finished.await.map_err(StagingFault::passing)?;
    finished.map_err(|error| StagingFault::passing(format!("its code cannot be kept: {error}")))
}

/// Removes what nobody uses beyond [`MOST`], the longest unused first.
fn clear(cache: &SharedDirs) {
    let names = cache.by_use();
    for name in &names[..names.len().saturating_sub(MOST)] {
        if let Err(error) = cache.remove(name) {
            tracing::warn!("a directory of code is not removed: {error}");
        }
    }
}

/// Fetches the code of a pack, and unpacks it.
async fn unpack(
    master: watch::Receiver<Option<Client>>,
    pack: PackHash,
    vacant: VacantDir,
) -> Result<VacantDir, StagingFault> {
    tracing::info!("fetching the code {pack}");
    let mut draft = fetch::fetch(master, pack, &vacant.draft()).await?;
    let unpacked = spawn_blocking(move || {
        let files = vacant.files();
        let (file, size) = draft.verify(pack)?;
        let made = DirBuilder::new().mode(0o755).create(&files);
        made.map_err(|source| PackError::Io { path: files.clone(), source })?;
        pack::unpack(file, &files)?;
        Ok((vacant, size))
    });
    let unpacked: Result<_, PackError> = unpacked.await.map_err(StagingFault::passing)?;
    let (vacant, size) = unpacked.map_err(|error| match error.is_disk() {
        true => StagingFault::passing(format!("its code cannot be unpacked: {error}")),
        false => StagingFault::lasting(format!("its code is not unpacked: {error}")),
    })?;
    tracing::info!("the code {pack} is here: {} files, {} bytes", size.files, size.bytes);
    Ok(vacant)
}

/// The directory of this name, once nobody else prepares it: ready, or to be prepared.
async fn enter(cache: &SharedDirs, name: String) -> Result<Result<SharedDir, VacantDir>, StagingFault> {
    loop {
        let (cache, name) = (cache.clone(), name.clone());
        let entry = spawn_blocking(move || cache.enter(&name)).await.map_err(StagingFault::passing)?;
        let entry =
            entry.map_err(|error| StagingFault::passing(format!("no directory for its code: {error}")))?;
        match entry {
            SharedEntry::Ready(dir) => return Ok(Ok(dir)),
            SharedEntry::Vacant(vacant) => return Ok(Err(vacant)),
            SharedEntry::Busy => tokio::time::sleep(LOOK).await,
        }
    }
}
