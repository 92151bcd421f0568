//! What stands before a start: the sweep's environment, empty directories, the checkpoint, the
//! files of parameters.
//! Invariant: what is the same for all trials of a version of a sweep is made once for all of them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gridctl_core::launch::{BaseEnv, Launch, Site};
use gridctl_core::metrics::{PatternError, Patterns};
use gridctl_core::output::Output;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::secrets::Secrets;
use gridctl_core::worker;
use gridctl_storage::dataset::StagedDataset;
use tokio::task::spawn_blocking;

use super::WorkerMachine;
use super::program;
use super::publish::{self, RestoredCheckpoint};
use super::report::AttemptFault;
use crate::container::{ContainerBody, StagedImage};
use crate::isolate::Contents;
use crate::marks::MARK_VARIABLE;
use crate::scratch::Scratch;
use crate::slot::{EnvironmentBase, SlotBody, TrainerStart};

/// PreparedVersions of sweeps that are kept ready.
const MOST_VERSIONS: usize = 16;

/// What the trials of one version of a sweep have in common.
#[derive(Debug)]
pub(crate) struct PreparedVersion {
    frozen: Arc<FrozenSweep>,
    pub(super) patterns: Arc<Patterns>,
    /// The values that are masked in what trainers print.
    pub(crate) secrets: Arc<Secrets>,
    base: BaseEnv,
    interpreter: &'static str,
}

impl PreparedVersion {
    fn new(
        frozen: &Arc<FrozenSweep>,
        from: &EnvironmentBase,
        caller: &[(String, String)],
    ) -> Result<Self, PatternError> {
        let base = match from {
            EnvironmentBase::Caller => BaseEnv::new(frozen, caller.iter().cloned()),
            EnvironmentBase::Image(image) => BaseEnv::in_image(frozen, image.env(), caller.iter().cloned()),
        };
        let patterns = Arc::new(Patterns::new(&frozen.spec)?);
        let secrets = Arc::new(base.secrets(frozen));
        let interpreter = match from {
            EnvironmentBase::Caller => interpreter(base.get("PATH")),
            EnvironmentBase::Image(image) => image.interpreter,
        };
        Ok(Self { frozen: Arc::clone(frozen), patterns, secrets, interpreter, base })
    }

    /// The environment that all its trials build upon, with the mark of the slot.
    pub(crate) fn environment(&self, mark: &str) -> Vec<(String, String)> {
        let own = |name: &str| name != MARK_VARIABLE;
        let inherited = self.base.iter().filter(|(name, _)| own(name));
        let mut env: Vec<_> = inherited.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        env.push((MARK_VARIABLE.to_owned(), mark.to_owned()));
        env
    }
}

/// `python`, as everywhere; `python3` on a machine that has only that.
fn interpreter(path: Option<&str>) -> &'static str {
    let dirs = || path.unwrap_or_default().split(':').filter(|dir| !dir.is_empty());
    let there = |name: &str| dirs().any(|dir| Path::new(dir).join(name).is_file());
    if !there("python") && there("python3") { "python3" } else { "python" }
}

/// The versions that are ready.
#[derive(Debug)]
pub(crate) struct PreparedVersions {
    /// The caller's environment.
    caller: Vec<(String, String)>,
    ready: Mutex<Vec<Arc<PreparedVersion>>>,
}

impl PreparedVersions {
    /// None yet; variables that are not text are left out.
    pub(crate) fn new(caller: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { caller: caller.filter_map(text).collect(), ready: Mutex::new(Vec::new()) }
    }

    pub(crate) fn get(
        &self,
        frozen: &Arc<FrozenSweep>,
        base: EnvironmentBase,
    ) -> Result<Arc<PreparedVersion>, PatternError> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = ready.iter().find(|version| Arc::ptr_eq(&version.frozen, frozen)) {
            return Ok(Arc::clone(version));
        }
        let version = Arc::new(PreparedVersion::new(frozen, &base, &self.caller)?);
        if ready.len() >= MOST_VERSIONS {
            ready.remove(0);
        }
        ready.push(Arc::clone(&version));
        Ok(version)
    }
}

/// What a slot needs to start an attempt, and what the attempt begins with.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) version: Arc<PreparedVersion>,
    pub(super) restored: RestoredCheckpoint,
    pub(super) start: TrainerStart,
    /// The file that is started, or the interpreter that it names.
    pub(super) program: Option<String>,
    /// Its data, where that was fetched.
    pub(super) data: Option<Arc<StagedDataset>>,
}

/// Empty directories, but for the newest published checkpoint, files of parameters, and what to
/// start under the name `id`. The inner error is for people: the sweep file asks for what cannot be
/// started.
pub(super) async fn prepare(
    (machine, body): (&WorkerMachine, &SlotBody),
    (id, start, data): (u64, &worker::AttemptStart, Option<Arc<StagedDataset>>),
    scratch: &mut Scratch,
) -> Result<Result<Prepared, String>, AttemptFault> {
    let version = machine.versions.get(&start.sweep, body.environment_base());
    let version = version.map_err(AttemptFault::version)?;
    if !scratch.is_there() {
        machine.work.renew().map_err(AttemptFault::scratch)?;
    }
    scratch.clean().map_err(AttemptFault::scratch)?;
    let restored = publish::restore(&start.sweep, &start.grant, &scratch.checkpoint).await;
    let restored = restored.map_err(AttemptFault::restore)?;
    if Scratch::is_used(&scratch.checkpoint) {
        scratch.give(&scratch.checkpoint).map_err(AttemptFault::scratch)?;
    }
    let site = site((machine, body), start, (&version, data.as_deref()), scratch);
    let launch = Launch::new(&start.sweep, &start.grant, &site);
    let (argv, env) = match launch.argv_and_env(&version.base) {
        Ok(both) => both,
        Err(error) => return Ok(Err(format!("{error}; {}", error.help()))),
    };
    let written = scratch.write_params(&launch.params_json(), &launch.wandb_yaml());
    written.map_err(AttemptFault::scratch)?;
    let cwd = start_dir((machine, body), &start.sweep, scratch).await.map_err(AttemptFault::scratch)?;
    // What is in an image is not seen from here.
    let program = match body {
        SlotBody::Process => {
            argv.first().and_then(|name| program::started(name, Path::new(&cwd), version.base.get("PATH")))
        }
        SlotBody::Container(_) => None,
    };
    let start = TrainerStart { id, argv, env, cwd, by_ms: start.by.0 };
    Ok(Ok(Prepared { version, restored, start, program, data }))
}

/// The directory of the code, where trials start.
pub(super) fn workdir(sweep: &FrozenSweep) -> &str {
    sweep.sources.start_dir()
}

/// The results volume, where it is a directory: no part of any workdir.
pub(super) fn output_dir(sweep: &FrozenSweep) -> Vec<PathBuf> {
    match &sweep.output {
        Output::At(url) => url.local_dir().map(PathBuf::from).into_iter().collect(),
        Output::InDataDir => Vec::new(),
    }
}

/// Where the attempt starts, as it sees it: in the workdir, or a copy of it; in an image that has the
/// code, where the image starts.
async fn start_dir(
    (machine, body): (&WorkerMachine, &SlotBody),
    sweep: &FrozenSweep,
    scratch: &mut Scratch,
) -> io::Result<String> {
    let dir = match body {
        SlotBody::Container(body) if sweep.sources.code.is_none() => {
            return Ok(body.image.config.workdir.clone());
        }
        SlotBody::Process if !sweep.spec.isolate => PathBuf::from(workdir(sweep)),
        SlotBody::Process | SlotBody::Container(_) => isolated((machine, body), sweep, scratch).await?,
    };
    Ok(body.mounts().inside(&dir))
}

/// A copy of the workdir that is this attempt's alone.
async fn isolated(
    (machine, body): (&WorkerMachine, &SlotBody),
    sweep: &FrozenSweep,
    scratch: &mut Scratch,
) -> io::Result<PathBuf> {
    let dir = PathBuf::from(workdir(sweep));
    let data = sweep.sources.data.as_ref().map(PathBuf::from);
    let apart = [machine.workdirs.apart(), &output_dir(sweep)].concat();
    let inside = data.as_ref().map(|data| PathBuf::from(body.mounts().inside(data)));
    let mut copy = scratch.take_copy();
    let made = spawn_blocking(move || {
        let made = Contents::of(&dir, &apart, data.as_deref()).and_then(|mut contents| {
            if let (Some(data), Some(inside)) = (&data, &inside) {
                contents.lead(data, inside);
            }
            copy.refresh(&dir, &contents)
        });
        (copy, made)
    });
    let (copy, made) = made.await.map_err(io::Error::other)?;
    let root = scratch.put_copy(copy);
    made.map(|()| root)
}

fn site(
    (machine, body): (&WorkerMachine, &SlotBody),
    start: &worker::AttemptStart,
    (version, data): (&PreparedVersion, Option<&StagedDataset>),
    scratch: &Scratch,
) -> Site {
    let mounts = body.mounts();
    let text = |path: &Path| mounts.inside(path);
    let resources = start.grant.resources;
    let (entrypoint, own_command) = body.own_words(&start.sweep);
    let (cache, gpus) = match body {
        SlotBody::Process => (machine.cache.as_path(), gpus(machine, start)),
        SlotBody::Container(body) => (body.cache.as_path(), body.gpus_inside()),
    };
    Site {
        entrypoint,
        own_command,
        gridctl: body.gridctl(&machine.gridctl),
        interpreter: version.interpreter.to_owned(),
        metrics_file: text(&scratch.metrics),
        params_file: text(&scratch.params),
        wandb_params_file: text(&scratch.wandb),
        output_dir: text(&scratch.output),
        checkpoint_dir: text(&scratch.checkpoint),
        cache_dir: text(cache),
        data_dir: data
            .map(StagedDataset::path)
            .or(start.sweep.sources.data.as_deref().map(Path::new))
            .map(text),
        cpus: resources.cpu_milli.div_ceil(1000),
        mem_mib: resources.mem_mib,
        gpus,
    }
}

/// The GPUs that the attempt may use, as this machine names them.
fn gpus(machine: &WorkerMachine, start: &worker::AttemptStart) -> Vec<String> {
    let known = |place: &u32| machine.gpus.get(usize::try_from(*place).ok()?).cloned();
    start.gpus.iter().filter_map(known).collect()
}

/// What the slot of this number is made of for the attempt, and where its directories are.
pub(super) fn body(
    machine: &WorkerMachine,
    number: u32,
    (start, image): (&worker::AttemptStart, Option<&Arc<StagedImage>>),
    data: Option<&StagedDataset>,
) -> io::Result<SlotBody> {
    let Some(image) = image else { return Ok(SlotBody::Process) };
    let data = data.map(StagedDataset::path).or(start.sweep.sources.data.as_deref().map(Path::new));
    // Users of images have caches apart from each other, and from this one's.
    let cache = machine.cache.join(format!("images-{}", image.owner.uid));
    DirBuilder::new().recursive(true).mode(0o700).create(&cache)?;
    image.owner.give(&cache)?;
    Ok(SlotBody::Container(Arc::new(ContainerBody {
        image: Arc::clone(image),
        mem_mib: start.grant.resources.mem_mib,
        gpus: gpus(machine, start),
        data: data.map(Path::to_owned),
        cache,
        dirs: machine.work.container(number, image.owner)?,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_is_meant_unless_there_is_only_python3() {
        let temp = tempfile::tempdir().unwrap();
        let path = format!("/nonexistent::{}", temp.path().display());
        assert_eq!(interpreter(Some(&path)), "python");
        std::fs::write(temp.path().join("python3"), "").unwrap();
        assert_eq!(interpreter(Some(&path)), "python3");
        std::fs::write(temp.path().join("python"), "").unwrap();
        assert_eq!(interpreter(Some(&path)), "python");
        assert_eq!(interpreter(None), "python");
    }
}
