//! Slots in containers: an image is made ready once, then each slot is a long-lived container of it with
//! our supervisor in it.
//! Invariant: what a trainer sees of the host is what is listed here; it has no capability, no way to
//! gain one, no key and no socket of ours that answers it.

#[cfg(not(feature = "docker"))]
mod absent;
#[cfg(feature = "docker")]
mod engine;
mod error;
#[cfg(feature = "docker")]
mod image;
#[cfg(feature = "docker")]
mod login;
#[cfg(feature = "docker")]
mod setup;
#[cfg(feature = "docker")]
mod site;
#[cfg(feature = "docker")]
mod start;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::protocol::FrozenSweep;

use crate::scratch::{ContainerDirs, Owner};

#[cfg(not(feature = "docker"))]
pub use absent::examine;
#[cfg(not(feature = "docker"))]
pub(crate) use absent::{ContainerSite, SlotContainer};
pub use error::ContainerError;
#[cfg(feature = "docker")]
pub use image::examine;
#[cfg(feature = "docker")]
pub(crate) use site::ContainerSite;
#[cfg(feature = "docker")]
pub(crate) use start::SlotContainer;

/// Our binary, as a container sees it.
pub(crate) const BINARY: &str = "/grid/gridctl";
/// What only the worker writes: the slot's socket, files of parameters.
const RUN: &str = "/grid/run";
/// What the slot's trainers write.
const SLOT: &str = "/grid/slot";
/// `GRID_CACHE_DIR`.
const CACHE: &str = "/grid/cache";
/// Above the sweep's data.
const DATA: &str = "/grid/data";

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// What stands before each command.
    pub entrypoint: Vec<String>,
    /// What is started where nobody names a command.
    pub command: Vec<String>,
    /// Where it starts.
    pub workdir: String,
}

/// An image that is here and in which our supervisor has been started once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedImage {
    /// As the sweep file names it.
    pub name: String,
    /// `name@sha256:...` where a registry has it, else its id.
    pub pin: String,
    /// What it says.
    pub config: ImageConfig,
    /// What containers start from: its id, or that of what `setup` has made of it.
    pub(crate) id: String,
    /// Whose processes run in it.
    pub(crate) owner: Owner,
    /// As whom containers are started; `None`: as the image says.
    pub(crate) user: Option<String>,
    /// `HOME` there.
    pub(crate) home: String,
    /// `TMPDIR`, where the usual one is not to be written.
    pub(crate) tmp: Option<String>,
    /// What `${interpreter}` is there.
    pub(crate) interpreter: &'static str,
}

impl StagedImage {
    /// The words before the command of `frozen`.
    #[must_use]
    pub fn entrypoint(&self, frozen: &FrozenSweep) -> Vec<String> {
        frozen.spec.entrypoint.clone().unwrap_or_else(|| self.config.entrypoint.clone())
    }

    /// What is started if `frozen` names no command: nothing of the image's behind another entrypoint.
    #[must_use]
    pub fn own_command(&self, frozen: &FrozenSweep) -> Vec<String> {
        if frozen.spec.entrypoint.is_some() { Vec::new() } else { self.config.command.clone() }
    }

    /// The variables that its trainers start from.
    pub(crate) fn env(&self) -> impl Iterator<Item = (String, String)> {
        let set = |name: &str| self.config.env.iter().any(|(known, _)| known == name);
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let cache = |name: &str| format!("{CACHE}/{name}");
        let own = [
            ("PATH", Some(path.to_owned())),
            ("HF_HOME", Some(cache("huggingface"))),
            ("TORCH_HOME", Some(cache("torch"))),
            ("XDG_CACHE_HOME", Some(CACHE.to_owned())),
            ("USER", self.user.as_ref().map(|_| "gridctl".to_owned())),
            ("TMPDIR", self.tmp.clone()),
        ];
        let own = own.into_iter().filter(|(name, _)| !set(name));
        let own: Vec<_> = own.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let others = self.config.env.iter().filter(|(name, _)| name != "HOME").cloned();
        others.chain(own).chain([("HOME".to_owned(), self.home.clone())])
    }
}

/// What a slot's container is made of. Another one takes its place as soon as this differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerBody {
    pub(crate) image: Arc<StagedImage>,
    /// MiB; 0: no limit.
    pub(crate) mem_mib: u64,
    /// The host's names of the GPUs that it sees.
    pub(crate) gpus: Vec<String>,
    /// The sweep's data.
    pub(crate) data: Option<PathBuf>,
    pub(crate) cache: PathBuf,
    pub(crate) dirs: ContainerDirs,
}

impl ContainerBody {
    /// Directories and files of the host that it sees, where, and whether it may write there.
    pub(crate) fn mounts(&self) -> Vec<(PathBuf, PathBuf, bool)> {
        let mount = |host: &Path, inside: &str, writes| (host.to_owned(), PathBuf::from(inside), writes);
        let mut mounts = vec![
            mount(&self.dirs.run, RUN, false),
            mount(&self.dirs.slot, SLOT, true),
            mount(&self.cache, CACHE, true),
        ];
        mounts.extend(self.data.as_ref().map(|data| (data.clone(), data_inside(data), false)));
        mounts
    }

    /// The GPUs as its trainers see them: those alone are there that are the slot's.
    pub(crate) fn gpus_inside(&self) -> Vec<String> {
        let inside = |(place, name): (usize, &String)| match name.parse::<u32>() {
            Ok(_) => place.to_string(),
            Err(_) => name.clone(),
        };
        self.gpus.iter().enumerate().map(inside).collect()
    }
}

/// Where the data at `host` is, inside.
fn data_inside(host: &Path) -> PathBuf {
    Path::new(DATA).join(host.file_name().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> StagedImage {
        StagedImage {
            name: "env".to_owned(),
            pin: "sha256:0".to_owned(),
            config: ImageConfig {
                env: [("PATH", "/opt/bin"), ("HOME", "/nowhere"), ("TORCH_HOME", "/t")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
                ..ImageConfig::default()
            },
            id: String::new(),
            owner: Owner { uid: 1, gid: 2 },
            user: Some("1:2".to_owned()),
            home: "/grid/slot/home".to_owned(),
            tmp: None,
            interpreter: "python",
        }
    }

    #[test]
    fn the_images_own_variables_stand_and_what_must_be_written_can_be() {
        let env: std::collections::BTreeMap<_, _> = image().env().collect();
        let get = |name: &str| env.get(name).map(String::as_str);
        assert_eq!((get("PATH"), get("TORCH_HOME")), (Some("/opt/bin"), Some("/t")));
        assert_eq!((get("HOME"), get("HF_HOME")), (Some("/grid/slot/home"), Some("/grid/cache/huggingface")));
        assert_eq!((get("USER"), get("TMPDIR")), (Some("gridctl"), None));
    }

    #[test]
    fn a_container_sees_its_own_directories_and_gpus_counted_from_zero() {
        let dirs = ContainerDirs { slot: "/w/c0".into(), run: "/m/c0".into() };
        let body = ContainerBody {
            image: Arc::new(image()),
            mem_mib: 0,
            gpus: vec!["3".to_owned(), "GPU-5d".to_owned()],
            data: Some("/home/me/wine.csv".into()),
            cache: "/c".into(),
            dirs,
        };
        assert_eq!(body.gpus_inside(), ["0", "GPU-5d"]);
        let mounts = body.mounts();
        let writable: Vec<_> = mounts.iter().filter(|(.., writes)| *writes).map(|(_, to, _)| to).collect();
        assert_eq!(writable, [Path::new(SLOT), Path::new(CACHE)]);
        assert!(mounts.contains(&("/home/me/wine.csv".into(), "/grid/data/wine.csv".into(), false)));
    }
}
