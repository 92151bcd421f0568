//! How a trial is started: its arguments, its environment, and the files of parameters that go with
//! them. Computed, not carried out.
//! Invariant: a parameter's value is always one whole argument, variable or JSON text; no shell
//! ever reads it.

mod environment;
mod hydra;
mod macros;
mod python;
mod shell;

use crate::protocol::{FrozenSweep, Grant};
use crate::spec::Axis;
use crate::value::Value;

pub use environment::{BaseEnv, dropped, secret_names};
pub use macros::{MACROS, check_command};
pub use shell::{command_line, shell};

/// The longest argument or variable that Linux passes on, with its closing NUL.
const MAX_ARGUMENT: usize = 128 * 1024;

/// Names and values of environment variables.
pub type Variables = Vec<(String, String)>;

/// What a worker settles for one attempt: paths, and the part of the machine that the attempt gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The running binary, which `gridctl` as first word of a command means.
    pub gridctl: String,
    /// What stands before the command: an image's entrypoint.
    pub entrypoint: Vec<String>,
    /// What is started where the sweep names no command: an image's own.
    pub own_command: Vec<String>,
    /// What `${interpreter}` is; `python` unless the machine says otherwise.
    pub interpreter: String,
    /// `GRID_METRICS_FILE`: not there yet, the trainer appends to it.
    pub metrics_file: String,
    /// `GRID_PARAMS_FILE`: the worker writes [`Launch::params_json`] there.
    pub params_file: String,
    /// `WANDB_SWEEP_PARAM_PATH`: the worker writes [`Launch::wandb_yaml`] there.
    pub wandb_params_file: String,
    /// `GRID_OUTPUT_DIR`.
    pub output_dir: String,
    /// `GRID_CHECKPOINT_DIR`.
    pub checkpoint_dir: String,
    /// `GRID_CACHE_DIR`: of the machine, outlives trials.
    pub cache_dir: String,
    /// `GRID_DATA_DIR`, where the sweep has data.
    pub data_dir: Option<String>,
    /// Whole processors, at least 1.
    pub cpus: u32,
    /// MiB of memory; 0: no limit, and `GRID_MEM_MB` is not set.
    pub mem_mib: u64,
    /// The devices of the slot, as `CUDA_VISIBLE_DEVICES` names them.
    pub gpus: Vec<String>,
}

/// Why a trial cannot be started as its sweep file says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// There is nothing to start.
    #[error("the command is empty")]
    Empty,
    /// A whole argument is a macro of no known name.
    #[error("unknown macro `${{{name}}}`")]
    UnknownMacro {
        /// What stands between the braces.
        name: String,
        /// The known one that is most like it.
        similar: Option<&'static str>,
    },
    /// A macro that makes several arguments stands within one.
    #[error("`${{{name}}}` makes several arguments and stands inside one: `{word}`")]
    ListInWord {
        /// The macro.
        name: &'static str,
        /// The argument.
        word: String,
    },
    /// `${program}` without `program:`.
    #[error("`${{program}}` is used, and the sweep file has no `program:`")]
    NoProgram,
    /// `${params.NAME}` with the name of no parameter.
    #[error("`${{params.{name}}}`: the sweep has no parameter `{name}`")]
    NoSuchParam {
        /// The name.
        name: String,
        /// The parameter that is most like it.
        similar: Option<String>,
    },
    /// `${envvar:NAME}` with the name of a variable that the trial does not have.
    #[error("`${{envvar:{name}}}`: the trial has no variable `{name}`")]
    Unset {
        /// The name.
        name: String,
    },
    /// A NUL byte, which neither arguments nor variables can hold.
    #[error("{what} contains a NUL byte, which no argument or variable can hold")]
    Nul {
        /// Which parameter or argument.
        what: String,
    },
    /// Longer than Linux passes on.
    #[error("{what} has {bytes} bytes, and Linux passes on at most {} in one argument or variable", MAX_ARGUMENT - 1)]
    TooLong {
        /// Which argument or variable.
        what: String,
        /// Its length.
        bytes: usize,
    },
    /// A key that Hydra's grammar cannot say.
    #[error("parameter `{name}`: Hydra's grammar has no way to write the key `{key}`")]
    HydraKey {
        /// The parameter.
        name: String,
        /// The key within its value.
        key: String,
    },
}

impl LaunchError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Empty => "give `command:` at least one word, or set `program:`".to_owned(),
            Self::UnknownMacro { similar: Some(similar), .. } => format!("did you mean `${{{similar}}}`?"),
            Self::UnknownMacro { similar: None, .. } => {
                format!(
                    "known macros: {}",
                    macros::known().map(|name| format!("${{{name}}}")).collect::<Vec<_>>().join(" ")
                )
            }
            Self::ListInWord { name, .. } => format!(
                "make \"${{{name}}}\" an element of its own in `command:`; for a shell: [sh, -c, 'train \"$@\"', sh, \"${{{name}}}\"]"
            ),
            Self::NoProgram => "add `program: train.py`, or write the file's name into `command:`".to_owned(),
            Self::NoSuchParam { similar: Some(similar), .. } => {
                format!("did you mean `${{params.{similar}}}`?")
            }
            Self::NoSuchParam { similar: None, .. } => "use a name from `parameters:`".to_owned(),
            Self::Unset { name } => format!(
                "set it for gridctl, or under `env:`; a name that looks like a secret must be listed: `secrets: [{name}]`"
            ),
            Self::Nul { .. } => {
                "read the value from GRID_PARAMS_FILE instead, or leave the byte out".to_owned()
            }
            Self::TooLong { .. } => "put long values into a file and make its name the parameter".to_owned(),
            Self::HydraKey { .. } => "use letters, digits and `_` in keys, or pass `${args_json}`".to_owned(),
        }
    }
}

/// One attempt's start.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    frozen: &'a FrozenSweep,
    grant: &'a Grant,
    site: &'a Site,
}

impl<'a> Launch<'a> {
    /// The start of `grant`, a trial of `frozen`, at `site`.
    #[must_use]
    pub fn new(frozen: &'a FrozenSweep, grant: &'a Grant, site: &'a Site) -> Self {
        Self { frozen, grant, site }
    }

    /// The program and its arguments. The program may be a bare name: who starts it looks it up in
    /// `PATH`.
    ///
    /// # Errors
    /// Every [`LaunchError`]: the command or a value cannot be passed on as it is written.
    pub fn argv(&self, base: &BaseEnv) -> Result<Vec<String>, LaunchError> {
        self.argv_and_env(base).map(|(argv, _)| argv)
    }

    /// [`Launch::argv`] together with [`Launch::trial_env`], computed once.
    ///
    /// # Errors
    /// As [`Launch::argv`].
    pub fn argv_and_env(&self, base: &BaseEnv) -> Result<(Vec<String>, Variables), LaunchError> {
        let trial = self.trial_env();
        let argv = self.argv_with(base, &trial)?;
        Ok((argv, trial))
    }

    /// [`Launch::argv`] for a trial whose own variables are `trial`.
    ///
    /// # Errors
    /// As [`Launch::argv`].
    pub fn argv_with(&self, base: &BaseEnv, trial: &Variables) -> Result<Vec<String>, LaunchError> {
        for (name, value) in trial {
            fits(name, value)?;
        }
        macros::expand(self, trial, base)
    }

    /// What the trial has beyond the sweep's [`BaseEnv`], and over it.
    #[must_use]
    pub fn trial_env(&self) -> Vec<(String, String)> {
        environment::trial_env(self)
    }

    /// The whole environment, sorted by name, each name once.
    #[must_use]
    pub fn env(&self, base: &BaseEnv) -> Vec<(String, String)> {
        base.overlaid(self.trial_env())
    }

    /// The parameters as one JSON object, nested as the sweep file nests them: `GRID_PARAMS`, and
    /// the content of `GRID_PARAMS_FILE`.
    #[must_use]
    pub fn params_json(&self) -> String {
        self.nested().to_json()
    }

    /// The parameters as W&B's reader expects them at `WANDB_SWEEP_PARAM_PATH`.
    #[must_use]
    pub fn wandb_yaml(&self) -> String {
        let mut out = String::from("wandb_version: 1\n\n");
        if let Value::Map(entries) = self.nested() {
            for (name, value) in &entries {
                python::yaml_string(name, &mut out);
                out.push_str(": {\"value\": ");
                python::yaml(value, &mut out);
                out.push_str("}\n");
            }
        }
        out
    }

    /// The parameters with nested ones in maps of their own. A path that another parameter's plain
    /// value blocks stays flat.
    fn nested(&self) -> Value {
        let mut root = Vec::new();
        for (axis, name, value) in self.params() {
            match axis.map(|axis| axis.path.as_slice()) {
                Some(path @ [_, _, ..]) if insert(&mut root, path, value) => {}
                _ => root.push((name.to_owned(), value.clone())),
            }
        }
        Value::Map(root)
    }

    /// The parameters with their axes. They come in the order of the axes, absent ones left out, so
    /// the search goes on where it was.
    fn params(&self) -> impl Iterator<Item = (Option<&'a Axis>, &'a str, &'a Value)> {
        let axes = &self.frozen.spec.axes;
        let mut from = 0;
        self.grant.params.iter().map(move |(name, value)| {
            let ahead = axes[from..].iter().position(|axis| axis.name == name).map(|ahead| from + ahead);
            let place = ahead.or_else(|| axes.iter().position(|axis| axis.name == name));
            from = place.map_or(from, |place| place + 1);
            (place.map(|place| &axes[place]), name, value)
        })
    }
}

/// Puts `value` at `path` below `map`; `false`, and nothing put, if something else than a map is in
/// its way.
fn insert(map: &mut Vec<(String, Value)>, path: &[String], value: &Value) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    let place = map.iter().position(|(name, _)| name == first);
    match (place, rest.is_empty()) {
        (None, true) => {
            map.push((first.clone(), value.clone()));
            true
        }
        (None, false) => {
            let mut inner = Vec::new();
            let put = insert(&mut inner, rest, value);
            map.push((first.clone(), Value::Map(inner)));
            put
        }
        (Some(place), false) => match &mut map[place].1 {
            Value::Map(inner) => insert(inner, rest, value),
            _ => false,
        },
        (Some(_), true) => false,
    }
}

/// Whether Linux can pass `value` on; `what` is for the error.
fn fits(what: &str, value: &str) -> Result<(), LaunchError> {
    if value.contains('\0') {
        return Err(LaunchError::Nul { what: format!("`{what}`") });
    }
    let bytes = what.len() + 1 + value.len();
    if bytes >= MAX_ARGUMENT {
        return Err(LaunchError::TooLong { what: format!("`{what}`"), bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
