//! The environment of a trial: what it inherits from the caller, once for a sweep, and what is its
//! own.
//! Invariant: nothing that looks like a secret, and none of gridctl's or AWS's own settings, gets
//! in unless the sweep file names it.

use std::collections::BTreeMap;

use crate::attempt::mix;
use crate::protocol::FrozenSweep;
use crate::secrets::Secrets;

use super::{Launch, Site};

/// Names that every trial gets of its own, so that one started by another trial's trainer does not
/// see that one's.
const OWN: [&str; 17] = [
    "GRID_ATTEMPT",
    "GRID_CACHE_DIR",
    "GRID_CHECKPOINT_DIR",
    "GRID_CPUS",
    "GRID_DATA_DIR",
    "GRID_GPUS",
    "GRID_MEM_MB",
    "GRID_METRICS_FILE",
    "GRID_OUTPUT_DIR",
    "GRID_PARAMS",
    "GRID_PARAMS_FILE",
    "GRID_REPEAT",
    "GRID_SEED",
    "GRID_SWEEP",
    "GRID_TRIAL",
    "GRID_TRIAL_INDEX",
    "WANDB_SWEEP_PARAM_PATH",
];

/// Variables that tell libraries how many threads to start.
const THREADS: [&str; 7] = [
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// What all trials of a sweep inherit on one machine: the caller's variables less what is dropped,
/// then `secrets:`, then `env:`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseEnv(BTreeMap<String, String>);

impl BaseEnv {
    /// The base for trials of `frozen`, from the caller's variables; computed once per sweep and
    /// machine.
    pub fn new(frozen: &FrozenSweep, caller: impl Iterator<Item = (String, String)>) -> Self {
        let mut vars: BTreeMap<String, String> = caller
            .filter(|(name, _)| {
                frozen.spec.secrets.contains(name) || !(is_dropped(name) || is_own(frozen, name))
            })
            .collect();
        vars.extend(frozen.env.iter().cloned());
        Self(vars)
    }

    /// The base for trials of `frozen` in containers of an image, from the image's variables; of the
    /// caller's those alone get in that the sweep file declares as secrets.
    pub fn in_image(
        frozen: &FrozenSweep,
        image: impl Iterator<Item = (String, String)>,
        caller: impl Iterator<Item = (String, String)>,
    ) -> Self {
        let mut vars: BTreeMap<String, String> = image.filter(|(name, _)| !is_own(frozen, name)).collect();
        vars.extend(caller.filter(|(name, _)| frozen.spec.secrets.contains(name)));
        vars.extend(frozen.env.iter().cloned());
        Self(vars)
    }

    /// The values of the variables that nobody is to see, as far as trials of `frozen` have them.
    #[must_use]
    pub fn secrets(&self, frozen: &FrozenSweep) -> Secrets {
        Secrets::new(secret_names(frozen).filter_map(|name| self.get(name)))
    }

    /// The same base to be shown to people: in the place of each value that nobody is to see, what
    /// `show` makes of its name.
    #[must_use]
    pub fn shown(mut self, frozen: &FrozenSweep, show: impl Fn(&str) -> String) -> Self {
        for name in secret_names(frozen) {
            if let Some(value) = self.0.get_mut(name) {
                *value = show(name);
            }
        }
        self
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// This base with `over` on top, sorted by name.
    pub(super) fn overlaid(&self, over: Vec<(String, String)>) -> Vec<(String, String)> {
        let mut vars = self.0.clone();
        vars.extend(over);
        vars.into_iter().collect()
    }
}

/// The names of the variables whose values nobody is to see: `secrets:`, and what `env:` passes on
/// under a secret's name.
pub fn secret_names(frozen: &FrozenSweep) -> impl Iterator<Item = &str> {
    let passed_on = frozen.spec.env.iter().filter(|(name, value)| value.is_none() && names_a_secret(name));
    frozen.spec.secrets.iter().chain(passed_on.map(|(name, _)| name)).map(String::as_str)
}

/// The caller's variables that trials do not get and that `check` names: gridctl's, AWS's, and
/// undeclared secrets. Sorted.
pub fn dropped(frozen: &FrozenSweep, caller: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let declared = |name: &String| {
        frozen.spec.secrets.contains(name) || frozen.env.iter().any(|(known, _)| known == name)
    };
    let mut names: Vec<String> =
        caller.map(|(name, _)| name).filter(|name| is_dropped(name) && !declared(name)).collect();
    names.sort_unstable();
    names
}

/// Whether a variable of this name stays behind unless it is declared.
fn is_dropped(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.starts_with("GRIDCTL_") || upper.starts_with("AWS_") || names_a_secret(name)
}

/// Whether this is the name of a secret, as people name them.
fn names_a_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    ["_KEY", "_TOKEN", "_SECRET"].iter().any(|end| upper.ends_with(end)) || upper.contains("PASSWORD")
}

/// Whether the trial alone decides about this name: an absent or null parameter is an unset
/// variable, whatever the caller has.
fn is_own(frozen: &FrozenSweep, name: &str) -> bool {
    OWN.contains(&name) || frozen.spec.axes.iter().any(|axis| axis.variable.as_deref() == Some(name))
}

/// See [`Launch::trial_env`]. What `env:` sets goes before the defaults here, never before
/// parameters and `GRID_*`.
pub(super) fn trial_env(launch: &Launch<'_>) -> Vec<(String, String)> {
    let Launch { frozen, grant, site } = *launch;
    let mut vars = Vec::with_capacity(32 + grant.params.len());
    let cpus = site.cpus.max(1).to_string();
    let defaults = THREADS
        .into_iter()
        .map(|name| (name, cpus.clone()))
        .chain([("PYTHONUNBUFFERED", "1".to_owned())])
        .chain((!frozen.spec.shares_gpus).then(|| ("CUDA_VISIBLE_DEVICES", site.gpus.join(","))));
    vars.extend(
        defaults
            .filter(|(name, _)| !frozen.env.iter().any(|(set, _)| set == name))
            .map(|(name, value)| (name.to_owned(), value)),
    );
    parameters(launch, &mut vars);
    identity(launch, &mut vars);
    places(site, &mut vars);
    vars.push(("GRID_CPUS".to_owned(), cpus));
    if !frozen.spec.shares_gpus {
        vars.push(("GRID_GPUS".to_owned(), site.gpus.len().to_string()));
    }
    if site.mem_mib > 0 {
        vars.push(("GRID_MEM_MB".to_owned(), site.mem_mib.to_string()));
    }
    vars
}

/// `HP_<NAME>` and its like, without those that are null.
fn parameters(launch: &Launch<'_>, vars: &mut Vec<(String, String)>) {
    for (axis, _, value) in launch.params() {
        if let (Some(variable), Some(text)) = (axis.and_then(|axis| axis.variable.clone()), value.to_text()) {
            vars.push((variable, text));
        }
    }
}

fn identity(launch: &Launch<'_>, vars: &mut Vec<(String, String)>) {
    let grant = launch.grant;
    vars.extend([
        ("GRID_PARAMS".to_owned(), launch.params_json()),
        ("GRID_SWEEP".to_owned(), launch.frozen.spec.name.clone()),
        ("GRID_TRIAL".to_owned(), grant.trial.to_string()),
        ("GRID_TRIAL_INDEX".to_owned(), grant.index.to_string()),
        ("GRID_ATTEMPT".to_owned(), grant.token.attempt.to_string()),
        ("GRID_REPEAT".to_owned(), grant.repeat.to_string()),
        ("GRID_SEED".to_owned(), seed(grant.repeat).to_string()),
    ]);
}

fn places(site: &Site, vars: &mut Vec<(String, String)>) {
    let dirs = [
        ("GRID_PARAMS_FILE", &site.params_file),
        ("WANDB_SWEEP_PARAM_PATH", &site.wandb_params_file),
        ("GRID_METRICS_FILE", &site.metrics_file),
        ("GRID_OUTPUT_DIR", &site.output_dir),
        ("GRID_CHECKPOINT_DIR", &site.checkpoint_dir),
        ("GRID_CACHE_DIR", &site.cache_dir),
    ];
    vars.extend(dirs.into_iter().map(|(name, path)| (name.to_owned(), path.clone())));
    if let Some(data) = &site.data_dir {
        vars.push(("GRID_DATA_DIR".to_owned(), data.clone()));
    }
}

/// The seed of a repeat: the same for every point, so that points are compared pairwise; fits a
/// signed 32-bit number.
fn seed(repeat: u32) -> u64 {
    mix(u64::from(repeat)) >> 33
}
