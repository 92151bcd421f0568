//! Reads from the journal what may be known of a sweep before it starts. Invariant: it shows all that may count; the core chooses.

use gridctl_core::id::SweepId;
use gridctl_core::sched::{Candidates, Found};
use gridctl_storage::journal::{OutcomeRow, Reader, StoreError};

/// Shows `candidates` what the journal holds.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn look_up(candidates: &mut Candidates<'_>, reader: &Reader) -> Result<(), StoreError> {
    let (code, versions) = (candidates.code(), candidates.versions());
    let mut note = |row: OutcomeRow| {
        if let Ok(brief) = serde_json::from_str(&row.record) {
            candidates.note(Found { seq: row.seq, at: (SweepId(row.sweep), row.version), brief });
        }
    };
    reader.known(code, &mut note)?;
    for (sweep, version) in versions {
        reader.successes((sweep.0, version), &mut note)?;
        reader.failures((sweep.0, version), &mut note)?;
    }
    Ok(())
}
