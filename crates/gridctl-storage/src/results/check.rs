//! Whether the results are what the journal says: each record, version and standing is read.
//! Invariant: nothing is written. What is not there yet is no damage: it waits to be shipped.

use gridctl_core::protocol::FrozenSweep;

use super::writer::{SEGMENT, versions};
use super::{RecordLine, Results, ShipJob, ShipSource};
use crate::journal::{OutcomeRow, StoreError};
use crate::volume::VolumeError;

/// A file of the results that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultsDamage {
    /// Its path in the volume.
    pub file: String,
    /// What is wrong.
    pub what: String,
    /// Files of the volume that are written again from the journal once they are removed, if that is
    /// so.
    pub remove: Vec<String>,
}

impl Results {
    /// Calls `each` with all damage that there is in versions, standings and records.
    ///
    /// # Errors
    /// The journal or the volume cannot be read.
    pub fn check<E: From<VolumeError> + From<StoreError>>(
        &self,
        source: &dyn ShipSource,
        job: &ShipJob,
        each: &mut dyn FnMut(ResultsDamage),
    ) -> Result<(), E> {
        self.check_versions::<E>(source, job, each)?;
        self.check_records(source, job, each)
    }

    fn check_versions<E: From<VolumeError> + From<StoreError>>(
        &self,
        source: &dyn ShipSource,
        job: &ShipJob,
        each: &mut dyn FnMut(ResultsDamage),
    ) -> Result<(), E> {
        let newest = self.kept_versions()?.last().copied().unwrap_or(0);
        for (version, frozen) in versions(source, job, 0)?.into_iter().filter(|(it, _)| *it <= newest) {
            let whole = self.path(&format!("versions/v{version}.json"));
            let text = self.path(&format!("versions/v{version}.yaml"));
            let standing = self.standing_path(version, source.journal_id());
            let mut damaged = |file: &String, found: Result<bool, VolumeError>| {
                let Some(what) = difference(found)? else { return Ok::<_, E>(()) };
                // A version is written again, with what stands for it, if its last file is gone.
                let mut remove = vec![file.clone(), whole.clone()];
                remove.dedup();
                each(ResultsDamage { file: file.clone(), what, remove });
                Ok(())
            };
            damaged(&whole, self.whole_version(version).map(|found| says_the_same(&found, &frozen)))?;
            damaged(&text, self.version(version).map(|found| found == frozen.source))?;
            let linked = source.linked(job.sweep, version)?;
            let found = self.standing_of(version, source.journal_id());
            damaged(&standing, found.map(|found| found == linked))?;
        }
        Ok(())
    }

    fn check_records<E: From<VolumeError> + From<StoreError>>(
        &self,
        source: &dyn ShipSource,
        job: &ShipJob,
        each: &mut dyn FnMut(ResultsDamage),
    ) -> Result<(), E> {
        let mut rows =
            Rows { source, job, held: Vec::new().into_iter(), after: 0, passed: 0, is_broken: false };
        let mut failed: Option<E> = None;
        let mut told = String::new();
        self.records(&mut |line| {
            if failed.is_some() {
                return;
            }
            let damage = match line {
                Ok(line) if line.journal == source.journal_id() => {
                    let found = rows.compare(&line).map_err(E::from);
                    found.map(|what| what.map(|what| (self.file_of(&line), what)))
                }
                Ok(_) => Ok(None),
                Err(VolumeError::Damaged { path, what }) => {
                    rows.is_broken = true;
                    // A file that is missing is shipped again.
                    Ok(Some((path, what)).filter(|(path, _)| *path != self.path("records")))
                }
                Err(error) => Err(error.into()),
            };
            match damage {
                Ok(Some((file, what))) if file != told => {
                    told.clone_from(&file);
                    each(of_records(file, what, source.journal_id()));
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The file that holds this record now.
    fn file_of(&self, line: &RecordLine) -> String {
        let segments = super::records::segments(self).unwrap_or_default();
        let mut of_it = segments.get(&line.journal).into_iter().flatten();
        let held = of_it.find(|segment| (segment.first..=segment.last).contains(&line.seq));
        held.map_or_else(|| self.path("records"), |segment| segment.path(self))
    }
}

/// Damage of a file of records, which is written again if this journal wrote it.
fn of_records(file: String, what: String, journal: &str) -> ResultsDamage {
    if file.contains(&format!("/{journal}-")) {
        return ResultsDamage { remove: vec![file.clone()], file, what };
    }
    let what = format!("{what}; another journal wrote it, and `gridctl rebuild` leaves it out");
    ResultsDamage { remove: Vec::new(), file, what }
}

/// Whether both are one version; where its code and data lie may have changed since.
fn says_the_same(one: &FrozenSweep, other: &FrozenSweep) -> bool {
    one.is_same(other) && (&one.source, &one.uuid) == (&other.source, &other.uuid)
}

/// What is wrong with a file that should say what the journal says.
fn difference(found: Result<bool, VolumeError>) -> Result<Option<String>, VolumeError> {
    match found {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some("it does not say what the journal says".to_owned())),
        Err(VolumeError::NotFound { .. }) => Ok(Some("it is not there".to_owned())),
        Err(VolumeError::Damaged { what, .. }) => Ok(Some(what)),
        Err(error) => Err(error),
    }
}

/// The journal's rows of one sweep, read in pieces while their numbers ascend.
struct Rows<'a> {
    source: &'a dyn ShipSource,
    job: &'a ShipJob,
    held: std::vec::IntoIter<OutcomeRow>,
    /// Everything up to this number was read.
    after: u64,
    /// So many rows were passed over since it was asked how many are missing.
    passed: u64,
    /// Damage was named since then, which explains them.
    is_broken: bool,
}

impl Rows<'_> {
    /// What is wrong with a line of this journal, or with what should stand before it.
    fn compare(&mut self, line: &RecordLine) -> Result<Option<String>, StoreError> {
        let row = self.find(line.seq)?;
        if !row.is_some_and(|row| line.holds(&row.record)) {
            return Ok(Some(format!("record {} is another one there", line.seq)));
        }
        let missing = self.missing();
        Ok((missing > 0).then(|| format!("of the records before {}, {missing} are not there", line.seq)))
    }

    /// How many rows were passed over, for no reason that was named.
    fn missing(&mut self) -> u64 {
        let passed = std::mem::take(&mut self.passed);
        if std::mem::take(&mut self.is_broken) { 0 } else { passed }
    }

    /// The row of this number, which is above all that were asked for before.
    fn find(&mut self, seq: u64) -> Result<Option<OutcomeRow>, StoreError> {
        loop {
            while let Some(row) = self.held.next() {
                if row.seq == seq {
                    return Ok(Some(row));
                }
                if row.seq > seq {
                    self.after = seq;
                    self.held = Vec::new().into_iter();
                    return Ok(None);
                }
                self.passed += 1;
            }
            let rows = self.source.outcomes_after(self.after, self.job.sweep, SEGMENT)?;
            let Some(last) = rows.last() else { return Ok(None) };
            self.after = last.seq;
            self.held = rows.into_iter();
        }
    }
}
