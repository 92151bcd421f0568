//! `launch.json` in a data directory: the launch whose master is asked from here, while no master runs here.
//! Invariant: it holds no secret; a master that runs on this machine goes before it.

use std::path::Path;

use gridctl_storage::private;
use serde::{Deserialize, Serialize};

use crate::address::{self, MasterAddress};
use crate::exit::Failure;

/// Its name in the data directory.
const FILE: &str = "launch.json";

/// Where the master of a launch is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LaunchPointer {
    /// The sweep.
    pub(crate) sweep: String,
    /// The region.
    pub(crate) region: String,
    /// The account's own bucket.
    pub(crate) bucket: String,
    /// The results volume.
    pub(crate) results: String,
    /// The master's address, once it has one.
    pub(crate) master: Option<String>,
    /// What makes starting it twice the same as starting it once, while it is not known to be started.
    pub(crate) token: Option<LaunchToken>,
}

/// A start that may have been asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchToken {
    /// The token.
    pub(crate) text: String,
    /// When it was made, in seconds since 1970.
    pub(crate) made_s: u64,
}

impl LaunchPointer {
    /// The one in `dir`; `None` if there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, Failure> {
        let path = dir.join(FILE);
        let failed = |why: String| {
            Failure::error("launch::pointer", format!("{}: {why}", path.display()))
                .help("`gridctl attach SWEEP` makes it anew; remove the file to ask nobody elsewhere")
        };
        let Some(text) = private::read_own(&path).map_err(|error| failed(error.to_string()))? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| failed(error.to_string()))
    }

    /// Writes it, in place of another.
    #[cfg(feature = "ec2")]
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join(FILE);
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::error("launch::pointer", error.to_string()))?;
        private::write(&path, &text).map_err(|error| {
            Failure::error("launch::pointer", format!("cannot write {}: {error}", path.display()))
        })
    }

    /// Removes it: whoever runs sweeps here is asked here.
    pub(crate) fn remove(dir: &Path) {
        // It is seldom there, and one that stays is passed over while a master runs.
        let _ = std::fs::remove_file(dir.join(FILE));
    }

    /// The master's address, with the token that is kept for it.
    pub(crate) fn place(&self) -> Result<Option<MasterAddress>, Failure> {
        self.master.as_deref().map(address::named).transpose()
    }
}
