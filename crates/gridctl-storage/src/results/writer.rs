//! Takes what a journal holds of one sweep to the sweep's results: versions with what stands for
//! them, and records.
//! Invariant: what was shipped is what the volume lists; a writer that failed is thrown away, and
//! the next one looks again.

use std::path::Path;
use std::sync::Arc;

use gridctl_core::id::SweepId;
use gridctl_core::output::VolumeUrl;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::sched::Event;

use super::records::Shipper;
use super::{RecordRanges, Results};
use crate::journal::{EventRow, OutcomeRow, Reader, StoreError};
use crate::volume::VolumeError;

/// Records of one shipment's segment.
pub(super) const SEGMENT: u64 = 2_048;

/// A journal, as far as its records are shipped from it.
pub trait ShipSource {
    /// The journal's own name.
    fn journal_id(&self) -> &str;

    /// The number of the last outcome; 0 if there is none.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn last_outcome(&self) -> Result<u64, StoreError>;

    /// Outcomes of a sweep after number `seq`, oldest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn outcomes_after(&self, seq: u64, sweep: SweepId, limit: u64) -> Result<Vec<OutcomeRow>, StoreError>;

    /// The events whose text begins with `prefix`, oldest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn events_beginning(&self, prefix: &str) -> Result<Vec<EventRow>, StoreError>;

    /// The numbers of the outcomes that are linked for a version.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn linked(&self, sweep: SweepId, version: u32) -> Result<RecordRanges, StoreError>;
}

impl ShipSource for Reader {
    fn journal_id(&self) -> &str {
        Self::journal_id(self)
    }

    fn last_outcome(&self) -> Result<u64, StoreError> {
        Self::last_outcome(self)
    }

    fn outcomes_after(&self, seq: u64, sweep: SweepId, limit: u64) -> Result<Vec<OutcomeRow>, StoreError> {
        self.after(seq, Some(sweep.0), limit)
    }

    fn events_beginning(&self, prefix: &str) -> Result<Vec<EventRow>, StoreError> {
        Self::events_beginning(self, prefix)
    }

    fn linked(&self, sweep: SweepId, version: u32) -> Result<RecordRanges, StoreError> {
        let mut records = RecordRanges::default();
        for piece in self.standings((sweep.0, version))? {
            self.links_of(&piece)?.into_iter().for_each(|(seq, _)| records.push(seq));
        }
        Ok(records)
    }
}

/// What is to be shipped for one sweep.
#[derive(Debug, Clone)]
pub struct ShipJob {
    /// The sweep.
    pub sweep: SweepId,
    /// Its newest version.
    pub version: u32,
    /// What that says.
    pub frozen: Arc<FrozenSweep>,
    /// The results volume.
    pub volume: VolumeUrl,
}

/// Writes one sweep's results, which are its own and not ahead of the journal.
#[derive(Debug)]
pub struct ResultsWriter {
    shipper: Shipper,
    results: Results,
    /// The versions up to this one are kept.
    version: u32,
    /// There is nothing unshipped up to this outcome.
    upto: u64,
}

/// Hears of records that were shipped.
pub type OnShipped<'a> = &'a mut dyn FnMut(&[(u64, String)]);

impl ResultsWriter {
    /// Looks at what was shipped, and ships again what is missing in between. A file that is merged
    /// lies in the directory `scratch` meanwhile.
    ///
    /// # Errors
    /// The journal cannot be read, or the results not written.
    pub fn open<E: From<VolumeError> + From<StoreError>>(
        results: Results,
        (source, sweep): (&dyn ShipSource, SweepId),
        scratch: &Path,
        on_shipped: OnShipped<'_>,
    ) -> Result<Self, E> {
        let mut shipper = Shipper::open(&results, source.journal_id(), scratch)?;
        for (mut first, last) in shipper.gaps() {
            while first <= last {
                let records = records_after(source, (first - 1, last), sweep)?;
                let is_full = records.len() as u64 == SEGMENT;
                let upto = records.last().filter(|_| is_full).map_or(last, |(seq, _)| *seq);
                shipper.fill((first, upto), &records)?;
                on_shipped(&records);
                first = upto + 1;
            }
        }
        let kept = results.kept_versions()?;
        let version = kept.iter().zip(1..).take_while(|(kept, all)| **kept == *all).count();
        let version = u32::try_from(version).unwrap_or(u32::MAX);
        Ok(Self { shipper, results, version, upto: 0 })
    }

    /// Ships what there is.
    ///
    /// # Errors
    /// As [`ResultsWriter::open`].
    pub fn ship<E: From<VolumeError> + From<StoreError>>(
        &mut self,
        source: &dyn ShipSource,
        job: &ShipJob,
        on_shipped: OnShipped<'_>,
    ) -> Result<(), E> {
        for (version, frozen) in versions(source, job, self.version)? {
            put_standing::<E>(&self.results, source, (job.sweep, version))?;
            self.results.put_version(version, &frozen)?;
            self.version = version;
        }
        let upto = source.last_outcome()?;
        loop {
            let from = self.shipper.shipped().max(self.upto);
            if from >= upto {
                return Ok(());
            }
            let records = records_after(source, (from, u64::MAX), job.sweep)?;
            if records.is_empty() {
                self.upto = upto;
                return Ok(());
            }
            self.shipper.ship(&records)?;
            on_shipped(&records);
        }
    }
}

/// The versions of a sweep after number `after`, with what they say: those that were never the
/// newest one for long are in the journal alone.
pub(super) fn versions(
    source: &dyn ShipSource,
    job: &ShipJob,
    after: u32,
) -> Result<Vec<(u32, Arc<FrozenSweep>)>, StoreError> {
    let mut versions = Vec::new();
    if after + 1 < job.version {
        let prefix = format!("{{\"submitted\":{{\"sweep\":{},", job.sweep.0);
        for row in source.events_beginning(&prefix)? {
            match serde_json::from_slice(&row.payload) {
                Ok(Event::Submitted { version, frozen, .. }) if version > after => {
                    versions.push((version, frozen));
                }
                _ => {}
            }
        }
        versions.retain(|(version, _)| *version < job.version);
    }
    if after < job.version {
        versions.push((job.version, Arc::clone(&job.frozen)));
    }
    Ok(versions)
}

/// Keeps which records stand for a version beside its own. Where none do that is kept too, so that
/// a file which is lost is missed.
///
/// # Errors
/// As [`ResultsWriter::open`].
pub fn put_standing<E: From<VolumeError> + From<StoreError>>(
    results: &Results,
    source: &dyn ShipSource,
    (sweep, version): (SweepId, u32),
) -> Result<(), E> {
    let records = source.linked(sweep, version)?;
    Ok(results.put_standing(version, source.journal_id(), &records)?)
}

/// Records of a sweep after one number, up to another one: at most those of one segment.
///
/// # Errors
/// The journal cannot be read.
pub fn records_after(
    source: &dyn ShipSource,
    (after, upto): (u64, u64),
    sweep: SweepId,
) -> Result<Vec<(u64, String)>, StoreError> {
    let rows = source.outcomes_after(after, sweep, SEGMENT)?.into_iter();
    Ok(rows.take_while(|row| row.seq <= upto).map(|row| (row.seq, row.record)).collect())
}
