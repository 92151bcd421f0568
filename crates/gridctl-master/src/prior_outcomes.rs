//! Reads from the journal what may be known of a sweep before it starts, and logs again where metrics are read in another way now.
//! Invariant: it shows all that may count; the core chooses. A log that is not all there is as none.

use std::path::Path;
use std::sync::Arc;

use gridctl_core::id::SweepId;
use gridctl_core::leaderboard::Brief;
use gridctl_core::metrics::{Outcome, Patterns, read_again};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::Record;
use gridctl_core::sched::{LookedUp, PriorOutcome, PriorOutcomes, PriorRow, RowTells, Submission};
use gridctl_storage::journal::{OutcomeRow, Reader, StoreError};
use gridctl_storage::results::Results;
use gridctl_storage::volume;

use crate::error::AskError;
use crate::handle::Handle;

/// The most bytes of logs that are read again for one sweep.
const MOST: u64 = 4 << 30;
/// So many outcomes may be left for the master's loop to look at.
const LEFT: u64 = 1_000;
/// So often what came meanwhile is looked at beside the loop.
const PASSES: u32 = 4;

impl Handle {
    /// Looks up what may be known of the submission, beside the loop that goes on; `None` if nothing has to be known.
    ///
    /// # Errors
    /// The journal cannot be read, or the master is ending.
    pub(crate) async fn look_up(&self, submission: &Submission) -> Result<Option<LookedUp>, AskError> {
        let mut submission = submission.clone();
        let candidates = self.look(move |core, _| PriorOutcomes::of(core, &mut submission));
        let Some(mut candidates) = candidates.await? else { return Ok(None) };
        let data_dir = self.shared.data_dir.clone();
        let looked_up = self.read(move |reader| {
            for _ in 0..PASSES {
                look_up(&mut candidates, reader, &data_dir)?;
                if reader.last_outcome()? <= candidates.upto() + LEFT {
                    break;
                }
            }
            Ok(candidates.looked_up())
        });
        looked_up.await.map(Some)
    }
}

/// Shows `candidates` what the journal of `data_dir` holds beyond what they have seen.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn look_up(
    candidates: &mut PriorOutcomes,
    reader: &Reader,
    data_dir: &Path,
) -> Result<(), StoreError> {
    let (after, upto) = (candidates.upto(), reader.last_outcome()?);
    let (code, sweep, others) = (candidates.code(), candidates.sweep(), candidates.others());
    note_links(candidates, reader)?;
    let patterns = candidates.patterns();
    let mut left = MOST;
    let results = candidates.before().and_then(|frozen| results(frozen, data_dir));
    let mut note = |row: OutcomeRow| {
        if row.seq > upto || candidates.note_row(&prior(&row)) == RowTells::Enough {
            return;
        }
        let Ok(brief) = serde_json::from_str::<Brief>(&row.record) else { return };
        let again = match &patterns {
            Some(patterns) if candidates.is_to_be_read_again(&brief) => {
                again(&row.record, results.as_ref(), patterns, &mut left)
            }
            _ => None,
        };
        candidates.note(PriorOutcome { seq: row.seq, at: (SweepId(row.sweep), row.version), brief, again });
    };
    if after < upto {
        for other in others {
            reader.known((code, other.0), after, &mut note)?;
        }
        if let Some(sweep) = sweep {
            reader.all_of(sweep.0, after, &mut note)?;
        }
    }
    candidates.looked_upto(upto);
    Ok(())
}

/// Shows what is linked for the sweep's versions.
fn note_links(candidates: &mut PriorOutcomes, reader: &Reader) -> Result<(), StoreError> {
    let Some(sweep) = candidates.sweep() else { return Ok(()) };
    for version in candidates.versions_to_note() {
        let pieces = reader.standings((sweep.0, version))?;
        let Some(since) = pieces.first().map(|piece| piece.since) else { continue };
        let mut links = Vec::new();
        for piece in &pieces {
            links.extend(reader.links_of(piece)?);
        }
        candidates.note_links(version, since, links);
    }
    Ok(())
}

/// What a row says without its record.
fn prior(row: &OutcomeRow) -> PriorRow<'_> {
    PriorRow {
        seq: row.seq,
        at: (SweepId(row.sweep), row.version),
        index: row.index,
        trial: row.trial,
        point: row.point,
        repeat: row.repeat,
        code: row.code,
        state: row.state,
        objective: row.objective,
        read_by: &row.read_by,
    }
}

/// The sweep's own results, where long logs are.
fn results(frozen: &FrozenSweep, data_dir: &Path) -> Option<Results> {
    let volume = volume::open(&frozen.output.volume_in(data_dir)).ok()?;
    Results::new(volume, &frozen.spec.name, &frozen.uuid).ok()
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
