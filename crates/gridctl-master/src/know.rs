//! Reads from the journal what may be known of a sweep before it starts, and logs again where metrics are read in another way now.
//! Invariant: it shows all that may count; the core chooses. A log that is not all there is as none.

use std::path::Path;
use std::sync::Arc;

use gridctl_core::id::SweepId;
use gridctl_core::leaderboard::Brief;
use gridctl_core::metrics::{Outcome, Patterns, read_again};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::Record;
use gridctl_core::sched::{Candidates, Found};
use gridctl_storage::journal::{OutcomeRow, Reader, StoreError};
use gridctl_storage::results::Results;
use gridctl_storage::volume::DirVolume;

/// The most bytes of logs that are read again for one sweep.
const MOST: u64 = 4 << 30;

/// Shows `candidates` what the journal of `data_dir` holds.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn look_up(
    candidates: &mut Candidates<'_>,
    reader: &Reader,
    data_dir: &Path,
) -> Result<(), StoreError> {
    let (code, versions) = (candidates.code(), candidates.versions());
    let patterns = candidates.patterns();
    let mut left = MOST;
    let results = candidates.before().and_then(|frozen| results(frozen, data_dir));
    let mut note = |row: OutcomeRow| {
        let Ok(brief) = serde_json::from_str::<Brief>(&row.record) else { return };
        let again = match &patterns {
            Some(patterns) if candidates.is_to_be_read_again(&brief) => {
                again(&row.record, results.as_ref(), patterns, &mut left)
            }
            _ => None,
        };
        candidates.note(Found { seq: row.seq, at: (SweepId(row.sweep), row.version), brief, again });
    };
    reader.known(code, &mut note)?;
    for (sweep, version) in versions {
        reader.successes((sweep.0, version), &mut note)?;
        reader.failures((sweep.0, version), &mut note)?;
    }
    Ok(())
}

/// The sweep's own results, where long logs are.
fn results(frozen: &FrozenSweep, data_dir: &Path) -> Option<Results> {
    let output = frozen.volume_in(data_dir.to_str()?);
    let volume = DirVolume::open(Path::new(&output)).ok()?;
    Results::new(Arc::new(volume), &frozen.spec.name, &frozen.uuid).ok()
}

/// What the log of an attempt says, if all of it is kept: in its record, or in the results.
fn again(
    record: &str,
    results: Option<&Results>,
    patterns: &Arc<Patterns>,
    left: &mut u64,
) -> Option<Outcome> {
    let record: Record = serde_json::from_str(record).ok()?;
    let report = &record.report;
    if report.log_runs.is_empty() {
        return None;
    }
    *left = left.checked_sub(report.log_bytes)?;
    if report.log.len() as u64 == report.log_bytes {
        return read_again(report, report.log.as_bytes(), patterns);
    }
    let (trial, token) = (report.trial, report.token);
    // It is what the manifest says that it is.
    let length = results?.check_log(trial, token).ok()?.filter(|length| *length == report.log_bytes)?;
    let log = results?.attempt_log(trial, token, 0..length).ok()?;
    read_again(report, &log, patterns)
}
