//! What people keep of a sweep: `<output>/<sweep>/` with its claim, its versions with all that they
//! say, the epochs of its masters, records of every attempt, files of attempts, and checkpoints.
//! Invariant: the directory belongs to one sweep, by its uuid; nothing in it is ever changed, only added and, once replaced, removed.

pub mod attempt;
mod check;
pub mod checkpoint;
mod collect;
mod epochs;
mod manifest;
pub mod records;
mod shipped;
mod standing;
mod writer;

use std::sync::Arc;

use gridctl_core::protocol::FrozenSweep;
use serde::{Deserialize, Serialize};

pub use attempt::{Limits, copy_files};
pub use check::ResultsDamage;
pub use checkpoint::{Checkpoint, Restored};
pub use epochs::EpochClaim;
pub use manifest::{FileEntry, Manifest, Skipped};
pub use records::{RecordLine, Shipper};
pub use shipped::Shipped;
pub use standing::{RecordRanges, VersionRecords};
pub use writer::{OnShipped, ResultsWriter, ShipJob, ShipSource, put_standing, records_after};

use crate::volume::{Put, Volume, VolumeError, check_path};

/// Nothing small that is read whole is longer.
const SMALL: u64 = 4 << 20;
/// What a version says names every file of its code.
const LARGEST_VERSION: u64 = 256 << 20;
/// The file that says whose directory it is.
pub const CLAIM: &str = "sweep.json";

/// Who has the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The format of everything beneath: 1.
    pub format: u32,
    /// The sweep's name.
    pub name: String,
    /// The sweep's uuid.
    pub uuid: String,
}

/// The results of one sweep in a volume.
#[derive(Clone)]
pub struct Results {
    volume: Arc<dyn Volume>,
    sweep: String,
    uuid: String,
}

impl std::fmt::Debug for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Results")
            .field("sweep", &self.sweep)
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

impl Results {
    /// The results of the sweep of this name and uuid; nothing is read or written yet.
    ///
    /// # Errors
    /// [`VolumeError::BadPath`] if the name cannot be that of a directory.
    pub fn new(volume: Arc<dyn Volume>, sweep: &str, uuid: &str) -> Result<Self, VolumeError> {
        check_path(sweep)?;
        if sweep.contains('/') {
            return Err(VolumeError::BadPath { path: sweep.to_owned(), why: "it has a slash" });
        }
        Ok(Self { volume, sweep: sweep.to_owned(), uuid: uuid.to_owned() })
    }

    /// The results of the sweep of this name, whoever has claimed them: for reading without a master.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`] if there are none.
    pub fn of_name(volume: Arc<dyn Volume>, sweep: &str) -> Result<Self, VolumeError> {
        let mut results = Self::new(volume, sweep, "")?;
        let not_found = || VolumeError::NotFound { path: results.path(CLAIM) };
        results.uuid = results.claimed()?.ok_or_else(not_found)?.uuid;
        Ok(results)
    }

    /// The sweep's name.
    #[must_use]
    pub fn sweep(&self) -> &str {
        &self.sweep
    }

    /// The sweep's uuid.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Who has the directory, if anybody has.
    ///
    /// # Errors
    /// [`VolumeError::Damaged`] if the claim cannot be read.
    pub fn claimed(&self) -> Result<Option<Claim>, VolumeError> {
        let path = self.path(CLAIM);
        let bytes = match self.volume.get(&path, 0..SMALL) {
            Ok(bytes) => bytes,
            Err(VolumeError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let claim = serde_json::from_slice(&bytes);
        claim.map(Some).map_err(|error| VolumeError::Damaged { path, what: error.to_string() })
    }

    /// Takes the directory for this sweep, or finds that it has it.
    ///
    /// # Errors
    /// [`VolumeError::Claimed`] if another sweep has it.
    pub fn claim(&self) -> Result<(), VolumeError> {
        if self.claimed()?.is_none() {
            let claim = Claim { format: 1, name: self.sweep.clone(), uuid: self.uuid.clone() };
            let text = serde_json::to_string(&claim).expect("a claim is plain text");
            match self.volume.put_new(&self.path(CLAIM), text.as_bytes()) {
                Ok(_) | Err(VolumeError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.check_claim()
    }

    /// Whether the directory is still this sweep's: a volume that was unmounted meanwhile has no claim in it.
    ///
    /// # Errors
    /// [`VolumeError::Claimed`] if another sweep has it, [`VolumeError::NotFound`] if nobody has.
    pub fn check_claim(&self) -> Result<(), VolumeError> {
        match self.claimed()? {
            Some(claim) if claim.uuid == self.uuid => Ok(()),
            Some(claim) => Err(VolumeError::Claimed { sweep: self.sweep.clone(), by: claim.uuid }),
            None => Err(VolumeError::NotFound { path: self.path(CLAIM) }),
        }
    }

    /// Keeps a version: the text of its sweep file, and then all that it says, so that a journal can
    /// be made again from these results.
    ///
    /// # Errors
    /// [`VolumeError::Conflict`] if that version had another text or said something else.
    pub fn put_version(&self, version: u32, frozen: &FrozenSweep) -> Result<Put, VolumeError> {
        let path = |end| self.path(&format!("versions/v{version}.{end}"));
        self.volume.put_new(&path("yaml"), frozen.source.as_bytes())?;
        let text = serde_json::to_string(frozen).expect("a sweep has text keys and finite numbers");
        self.volume.put_new(&path("json"), text.as_bytes())
    }

    /// The versions of which all is kept that they say, ascending.
    ///
    /// # Errors
    /// As [`Volume::list`].
    pub fn whole_versions(&self) -> Result<Vec<u32>, VolumeError> {
        self.numbers("versions", |name| name.strip_prefix('v')?.strip_suffix(".json")?.parse().ok())
    }

    /// The versions that are kept in both ways, ascending.
    ///
    /// # Errors
    /// As [`Volume::list`].
    pub fn kept_versions(&self) -> Result<Vec<u32>, VolumeError> {
        let texts = self.versions()?;
        Ok(self.whole_versions()?.into_iter().filter(|version| texts.contains(version)).collect())
    }

    /// All that a version says.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`]; [`VolumeError::Damaged`] if it is not what a version says.
    pub fn whole_version(&self, version: u32) -> Result<FrozenSweep, VolumeError> {
        let path = self.path(&format!("versions/v{version}.json"));
        let bytes = self.volume.get(&path, 0..LARGEST_VERSION)?;
        let frozen = serde_json::from_slice(&bytes);
        frozen.map_err(|error| VolumeError::Damaged { path, what: error.to_string() })
    }

    /// The versions whose sweep files are kept, ascending.
    ///
    /// # Errors
    /// As [`Volume::list`].
    pub fn versions(&self) -> Result<Vec<u32>, VolumeError> {
        let parse = |name: &str| name.strip_prefix('v')?.strip_suffix(".yaml")?.parse().ok();
        self.numbers("versions", parse)
    }

    /// The text of a version's sweep file.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`].
    pub fn version(&self, version: u32) -> Result<String, VolumeError> {
        let bytes = self.volume.get(&self.path(&format!("versions/v{version}.yaml")), 0..SMALL)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn numbers(&self, below: &str, parse: impl Fn(&str) -> Option<u32>) -> Result<Vec<u32>, VolumeError> {
        let entries = self.volume.list(&self.path(below))?;
        let mut numbers: Vec<u32> = entries.iter().filter_map(|entry| parse(&entry.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.sweep)
    }
}

#[cfg(test)]
mod tests;
