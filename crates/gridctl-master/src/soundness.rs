//! The check of a journal that was not closed as it should be, beside the master that goes on with
//! it.
//! Invariant: a master that ends before the check leaves it to the next one.

use std::path::Path;
use std::time::Duration;

use gridctl_storage::journal::{Reader, Stopper, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::MasterError;

/// A master that ends waits so long for the check: a million outcomes take about that.
const LONGEST: Duration = Duration::from_secs(10);

/// The check that goes on.
#[derive(Debug)]
pub(crate) struct SoundnessCheck {
    stopper: Stopper,
    verdict: JoinHandle<Option<bool>>,
}

impl SoundnessCheck {
    /// Begins to check the journal in `dir`; what does not fit is a failure of the master.
    pub(crate) fn begin(dir: &Path, failed: mpsc::Sender<MasterError>) -> Result<Self, StoreError> {
        let reader = Reader::open(dir)?;
        let stopper = reader.stopper();
        let check = move || match reader.check() {
            Ok(outcomes) => outcomes.map(|_| true),
            Err(error @ StoreError::Corrupt { .. }) => {
                // The first failure is enough.
                let _ = failed.try_send(error.into());
                Some(false)
            }
            Err(error) => {
                tracing::warn!(%error, "the journal was not checked: the next start does it");
                None
            }
        };
        Ok(Self { stopper, verdict: tokio::task::spawn_blocking(check) })
    }

    /// Whether the journal is known to be sound; waits for the verdict, but not for ever.
    pub(crate) async fn finish(&mut self) -> Option<bool> {
        let verdict = tokio::time::timeout(LONGEST, &mut self.verdict).await;
        self.stopper.stop();
        verdict.ok()?.ok()?
    }
}

impl Drop for SoundnessCheck {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}
