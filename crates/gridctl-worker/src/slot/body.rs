//! What a slot is made of, where the host's files are within it, and what its trainers' environment
//! starts from.
//! Invariant: a trainer is told paths as it finds them; the worker itself keeps to the host's.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of a slot process: `gridctl slot`, as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotProgram {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What a slot is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotBody {
    /// A process of this machine, in a process group of its own.
    Process(SlotProgram),
}

impl SlotBody {
    /// The command that starts the slot's supervisor.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Process(program) => {
                let mut command = Command::new(&program.path);
                command.args(&program.args).process_group(0);
                command
            }
        }
    }

    /// The file on the host that is started.
    pub(crate) fn program(&self) -> &Path {
        match self {
            Self::Process(program) => &program.path,
        }
    }

    /// Where the host's files are within the slot.
    pub(crate) fn mounts(&self) -> Mounts {
        match self {
            Self::Process(_) => Mounts::Identity,
        }
    }

    /// What the environment of its trainers starts from.
    pub(crate) fn environment_base(&self) -> EnvironmentBase {
        match self {
            Self::Process(_) => EnvironmentBase::Caller,
        }
    }
}

/// Maps paths of the host to the same files' paths within a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// A process sees what its host has, where the host has it.
    Identity,
}

impl Mounts {
    /// The path within the slot, as trainers are told it.
    pub(crate) fn inside(self, host: &Path) -> String {
        match self {
            Self::Identity => host.to_string_lossy().into_owned(),
        }
    }
}

/// Whose variables come before those of the sweep file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnvironmentBase {
    /// Those that the worker was started with.
    Caller,
}
