//! What a slot is made of, where the host's files are within it, and what its trainers' environment
//! starts from.
//! Invariant: a trainer is told paths as it finds them; the worker itself keeps to the host's.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gridctl_core::protocol::FrozenSweep;

use crate::container::{BINARY, ContainerBody, StagedImage};

/// The program of a slot process: `gridctl slot`, as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotProgram {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

impl SlotProgram {
    /// The command that starts the slot's supervisor, in a process group of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).process_group(0);
        command
    }
}

/// What a slot is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SlotBody {
    /// A process of this machine.
    Process,
    /// A container.
    Container(Arc<ContainerBody>),
}

impl SlotBody {
    /// Where the host's files are within the slot.
    pub(crate) fn mounts(&self) -> Mounts {
        match self {
            Self::Process => Mounts::Identity,
            Self::Container(body) => {
                Mounts::Inside(body.mounts().into_iter().map(|(host, inside, _)| (host, inside)).collect())
            }
        }
    }

    /// What the environment of its trainers starts from.
    pub(crate) fn environment_base(&self) -> EnvironmentBase {
        match self {
            Self::Process => EnvironmentBase::Caller,
            Self::Container(body) => EnvironmentBase::Image(Arc::clone(&body.image)),
        }
    }

    /// What `gridctl` means as the first word of a command; `own` is the file of this process.
    pub(crate) fn gridctl(&self, own: &str) -> String {
        match self {
            Self::Process => own.to_owned(),
            Self::Container(_) => BINARY.to_owned(),
        }
    }

    /// What stands before the command, and what is started where there is none.
    pub(crate) fn own_words(&self, sweep: &FrozenSweep) -> (Vec<String>, Vec<String>) {
        match self {
            Self::Process => (Vec::new(), Vec::new()),
            Self::Container(body) => (body.image.entrypoint(sweep), body.image.own_command(sweep)),
        }
    }
}

/// Maps paths of the host to the same files' paths within a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// A process sees what its host has, where the host has it.
    Identity,
    /// A container sees parts of it elsewhere.
    Inside(Vec<(PathBuf, PathBuf)>),
}

impl Mounts {
    /// The path within the slot, as trainers are told it.
    pub(crate) fn inside(&self, host: &Path) -> String {
        let inside = |(from, to): &(PathBuf, PathBuf)| match host.strip_prefix(from) {
            Ok(below) if below.as_os_str().is_empty() => Some(to.clone()),
            Ok(below) => Some(to.join(below)),
            Err(_) => None,
        };
        let found = match self {
            Self::Identity => None,
            Self::Inside(mounts) => mounts.iter().find_map(inside),
        };
        found.as_deref().unwrap_or(host).to_string_lossy().into_owned()
    }
}

/// Whose variables come before those of the sweep file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EnvironmentBase {
    /// Those that the worker was started with.
    Caller,
    /// The image's.
    Image(Arc<StagedImage>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_the_paths_that_it_sees() {
        let mounts = Mounts::Inside(vec![
            ("/work/c0".into(), "/grid/slot".into()),
            ("/c".into(), "/grid/cache".into()),
        ]);
        assert_eq!(mounts.inside(Path::new("/work/c0/0/output")), "/grid/slot/0/output");
        assert_eq!(mounts.inside(Path::new("/c")), "/grid/cache");
        assert_eq!(mounts.inside(Path::new("/work/c01")), "/work/c01");
        assert_eq!(Mounts::Identity.inside(Path::new("/c")), "/c");
    }
}
