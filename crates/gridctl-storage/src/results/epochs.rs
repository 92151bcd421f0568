//! `epochs/<n>`: which start of a master began each epoch, and how far its journal was then.
//! Invariant: an epoch is claimed once; who finds a higher one, or its own with another start, must
//! not write.

use gridctl_core::id::Epoch;
use serde::{Deserialize, Serialize};

use super::{Results, SMALL};
use crate::volume::VolumeError;

/// The beginning of a master, as the results have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochClaim {
    /// A text that no other start of a master has.
    pub start: String,
    /// The journal's own name.
    pub journal: String,
    /// Its data directory, for people.
    pub data_dir: String,
    /// The machine, for people.
    pub host: String,
    /// The journal's last event when the epoch had begun.
    pub event: u64,
    /// The chain of checksums after that event.
    pub chain: u32,
}

impl Results {
    /// Says that a master begins this epoch.
    ///
    /// # Errors
    /// [`VolumeError::Conflict`] if another start did: this master must not serve.
    pub fn claim_epoch(&self, epoch: Epoch, claim: &EpochClaim) -> Result<(), VolumeError> {
        let text = serde_json::to_string(claim).expect("a claim is plain text");
        self.volume.put_new(&self.path(&format!("epochs/{epoch}")), text.as_bytes()).map(drop)
    }

    /// Who began this epoch; `None` if nobody did, or if the claim is not understood.
    ///
    /// # Errors
    /// As [`crate::volume::Volume::get`].
    pub fn epoch_claim(&self, epoch: Epoch) -> Result<Option<EpochClaim>, VolumeError> {
        match self.volume.get(&self.path(&format!("epochs/{epoch}")), 0..SMALL) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(VolumeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The highest epoch that a master began.
    ///
    /// # Errors
    /// As [`crate::volume::Volume::list`].
    pub fn highest_epoch(&self) -> Result<Option<Epoch>, VolumeError> {
        Ok(self.numbers("epochs", |name| name.parse().ok())?.last().copied().map(Epoch))
    }
}
