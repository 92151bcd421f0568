//! What one trial would get: its arguments and variables, computed as a worker computes them.
//! Invariant: nothing is started or written; paths that only a worker knows are shown in angle brackets.

use std::sync::Arc;

use gridctl_core::id::{Epoch, Fingerprint, LeaseSeq, SweepId, Token, TrialId};
use gridctl_core::launch::{BaseEnv, Launch, LaunchError, Site, command_line};
use gridctl_core::points::{Count, Points};
use gridctl_core::protocol::{FrozenSweep, Grant};
use gridctl_core::value::Params;

/// Combinations of the axes that conditions name which are gone through for an exact count.
const COUNTED: u64 = 10_000_000;
/// Positions looked at for trials that are not excluded.
const LOOKED_AT: u64 = 10_000;

/// A trial as it would be started.
#[derive(Debug)]
pub(crate) struct Preview {
    /// Its id.
    pub(crate) trial: TrialId,
    /// Its place.
    pub(crate) index: u64,
    /// Its parameters.
    pub(crate) params: Params,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// What it has beyond its sweep's variables.
    pub(crate) env: Vec<(String, String)>,
    /// The files that it finds, with what is in them.
    pub(crate) files: Vec<(String, String)>,
}

impl Preview {
    /// The trial's command line, fit for a shell.
    pub(crate) fn command(&self) -> String {
        command_line(&self.argv)
    }

    /// Only the variables that say what this trial is.
    pub(crate) fn own_env(&self) -> impl Iterator<Item = &(String, String)> {
        let is_own = |(name, value): &&(String, String)| {
            !value.contains('<')
                && !matches!(name.as_str(), "CUDA_VISIBLE_DEVICES" | "PYTHONUNBUFFERED")
                && !name.ends_with("_NUM_THREADS")
                && !name.ends_with("_MAXIMUM_THREADS")
        };
        self.env.iter().filter(is_own)
    }
}

/// How many trials there are.
pub(crate) fn count(points: &Points) -> Count {
    points.count(COUNTED)
}

/// The first trials that are not excluded, in the order of the walk.
pub(crate) fn first(points: &Points, most: usize) -> Vec<u64> {
    let indices = (0..points.len().min(LOOKED_AT)).map(|pos| points.index_at(pos));
    indices.filter(|index| !points.is_excluded(*index)).take(most).collect()
}

/// The trial at `index` as it would be started here.
pub(crate) fn of(
    frozen: &FrozenSweep,
    points: &Points,
    index: u64,
    base: &BaseEnv,
) -> Result<Preview, LaunchError> {
    let trial = points.trial(index);
    let again = Again { params: trial.params, repeat: trial.repeat, seed: None };
    start(frozen, (points.trial_id(index), index), again, (base, "<scratch>"))
}

/// What is started again.
pub(crate) struct Again {
    /// The parameters.
    pub(crate) params: Params,
    /// The repeat.
    pub(crate) repeat: u32,
    /// The seed, if it is another than the repeat's.
    pub(crate) seed: Option<u64>,
}

/// A trial as it would be started here, with its files in the directory `scratch`.
pub(crate) fn start(
    frozen: &FrozenSweep,
    (trial, index): (TrialId, u64),
    again: Again,
    (base, scratch): (&BaseEnv, &str),
) -> Result<Preview, LaunchError> {
    let grant = Grant {
        token: Token { epoch: Epoch(1), lease: LeaseSeq(1), attempt: 1 },
        sweep: SweepId(1),
        version: 1,
        trial,
        index,
        params: again.params,
        repeat: again.repeat,
        fingerprint: Fingerprint::of(trial, frozen.code),
        resources: frozen.spec.resources,
    };
    let site = site(frozen, scratch);
    let launch = Launch::new(frozen, &grant, &site);
    let mut env = launch.trial_env();
    if let (Some(seed), Some((_, value))) = (again.seed, env.iter_mut().find(|(name, _)| name == "GRID_SEED"))
    {
        *value = seed.to_string();
    }
    let argv = launch.argv_with(base, &env)?;
    let files = vec![
        (site.params_file.clone(), launch.params_json()),
        (site.wandb_params_file.clone(), launch.wandb_yaml()),
    ];
    Ok(Preview { trial, index, argv, env, files, params: grant.params })
}

/// The directories that a trial finds in its scratch directory.
pub(crate) const SCRATCH_DIRS: [&str; 3] = ["output", "checkpoint", "cache"];

fn site(frozen: &FrozenSweep, scratch: &str) -> Site {
    let this = std::env::current_exe().unwrap_or_default();
    let beside = |name: &str| format!("{scratch}/{name}");
    let resources = &frozen.spec.resources;
    Site {
        entrypoint: frozen.spec.entrypoint.clone().unwrap_or_default(),
        own_command: vec!["<the image's own command>".to_owned()],
        gridctl: this.to_str().unwrap_or("gridctl").to_owned(),
        interpreter: "python".to_owned(),
        metrics_file: beside("metrics.jsonl"),
        params_file: beside("params.json"),
        wandb_params_file: beside("wandb.yaml"),
        output_dir: beside("output"),
        checkpoint_dir: beside("checkpoint"),
        cache_dir: beside("cache"),
        data_dir: frozen.sources.data.clone(),
        cpus: resources.cpu_milli.div_ceil(1000).max(1),
        mem_mib: resources.mem_mib,
        gpus: (0..resources.gpus).map(|gpu| format!("<gpu {gpu}>")).collect(),
    }
}

/// The points of a sweep. The check of the file has seen to it that they can be counted.
pub(crate) fn points(frozen: &FrozenSweep) -> Result<Points, crate::exit::Failure> {
    Points::new(Arc::new(frozen.spec.clone()))
        .map_err(|error| crate::exit::Failure::usage("sweep::grid", error.to_string()))
}

/// The caller's variables, as far as they are UTF-8: others cannot be passed on.
pub(crate) fn caller_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
