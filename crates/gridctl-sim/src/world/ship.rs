//! The master ships what is durable to the results volume, and the results are held against the
//! journal.
//! Invariant: whatever befalls volume and master, the results hold a record as the journal has it,
//! or not yet.

use std::collections::BTreeMap;

use gridctl_core::id::SweepId;
use gridctl_core::output::VolumeUrl;
use gridctl_core::sched::Sweep;
use gridctl_storage::journal::StoreError;
use gridctl_storage::results::{EpochClaim, Results, ResultsWriter, ShipJob, ShipSource};
use gridctl_storage::volume::VolumeError;

use super::{Happens, World};
use crate::audit::Violation;

/// Between two shipments.
pub(super) const EVERY_MS: u64 = 2_000;

/// Why nothing is shipped for now, or what is wrong.
enum ShipFault {
    /// It is tried again.
    Volume,
    Broken(Violation),
}

impl From<VolumeError> for ShipFault {
    fn from(error: VolumeError) -> Self {
        let broken = || Self::Broken(Violation(format!("records can never be shipped: {error}")));
        if error.is_final() { broken() } else { Self::Volume }
    }
}

impl From<StoreError> for ShipFault {
    fn from(error: StoreError) -> Self {
        Self::Broken(Violation(format!("the journal cannot be read: {error}")))
    }
}

impl World {
    /// The master ships, unless it stands still or commits.
    pub(super) fn ship(&mut self, life: u32) -> Result<(), Violation> {
        let now = self.now();
        let Some(master) = self.master.as_mut().filter(|_| life == self.lives) else { return Ok(()) };
        let is_busy = master.stalled_until > now.0 || master.driver.underway().is_some();
        if !is_busy {
            self.ship_all()?;
        }
        let took_ms = self.volume.take_ms();
        self.queue.after(if is_busy { 100 } else { EVERY_MS + took_ms }, Happens::Ships { life });
        Ok(())
    }

    /// Ships all that there is; false if the volume did not take it.
    fn ship_all(&mut self) -> Result<bool, Violation> {
        let Some(master) = self.master.as_mut() else { return Ok(true) };
        let job = |sweep: &Sweep| ShipJob {
            sweep: sweep.id(),
            version: sweep.version(),
            frozen: sweep.frozen().clone(),
            volume: VolumeUrl::Dir("/results".into()),
        };
        let jobs: Vec<ShipJob> = master.driver.core().sweeps().map(job).collect();
        let mut writers = std::mem::take(&mut master.writers);
        let mut is_done = true;
        for job in &jobs {
            let before = writers.remove(&job.sweep);
            match before.map_or_else(|| self.open_results(job), Ok).and_then(|mut writer| {
                writer.ship::<ShipFault>(&self.store, job, &mut |_| {})?;
                Ok(writer)
            }) {
                Ok(writer) => _ = writers.insert(job.sweep, writer),
                Err(ShipFault::Volume) => is_done = false,
                Err(ShipFault::Broken(violation)) => return Err(violation),
            }
        }
        if let Some(master) = self.master.as_mut() {
            master.writers = writers;
        }
        Ok(is_done)
    }

    /// As a master finds the results: its own, and not ahead of the journal.
    fn open_results(&self, job: &ShipJob) -> Result<ResultsWriter, ShipFault> {
        let results = self.results_of(&job.frozen.spec.name).map_err(ShipFault::Broken)?;
        results.check_claim()?;
        let ahead = |what: &str| Err(ShipFault::Broken(Violation(format!("results know {what}"))));
        if results.shipped(self.store.journal_id())?.last > self.store.last_outcome()? {
            return ahead("more records than the journal");
        }
        if results.versions()?.last().is_some_and(|theirs| *theirs > job.version) {
            return ahead("a later version than the journal");
        }
        let epoch = self.master.as_ref().map(|master| master.driver.core().epoch()).unwrap_or_default();
        let claim = EpochClaim {
            start: format!("life {}", self.lives),
            journal: self.store.journal_id().to_owned(),
            data_dir: String::new(),
            host: String::new(),
            event: 0,
            chain: 0,
        };
        results.claim_epoch(epoch, &claim)?;
        ResultsWriter::open(results, (&self.store, job.sweep), self.output.path(), &mut |_| {})
    }

    /// At the end nothing is left to be shipped, and all of it is as it was recorded.
    pub(super) fn ship_the_rest(&mut self) -> Result<(), Violation> {
        if !self.ship_all()? {
            return Err(Violation("a sound volume takes no records".to_owned()));
        }
        let shipped = self.compare_results()?;
        let durable = self.store.last_outcome().unwrap_or_default();
        match shipped == durable {
            true => Ok(()),
            false => Err(Violation(format!("{shipped} of {durable} records are shipped"))),
        }
    }

    /// Holds the results against the journal, as a reader finds them now. Returns how many records
    /// they hold.
    pub(super) fn compare_results(&self) -> Result<u64, Violation> {
        let fault = self.volume.befall(None);
        let rows: BTreeMap<u64, _> = self.store.outcomes().into_iter().map(|row| (row.seq, row)).collect();
        let mut shipped = 0;
        for name in self.names() {
            let results: Results = self.results_of(&name)?;
            let mut wrong = Vec::new();
            let each = &mut |line: Result<gridctl_storage::results::RecordLine, VolumeError>| {
                let Ok(line) = line else { return wrong.push(format!("{line:?}")) };
                let is_its = |row: &gridctl_storage::journal::OutcomeRow| {
                    line.holds(&row.record) && name == super::person::name(row.sweep as usize - 1)
                };
                if !rows.get(&line.seq).is_some_and(is_its) {
                    wrong.push(format!("record {} is another than was recorded", line.seq));
                }
                shipped += 1;
            };
            results.records(each).map_err(|error| Violation(format!("no records: {error}")))?;
            if let Some(wrong) = wrong.pop() {
                return Err(Violation(format!("in the results of {name}: {wrong}")));
            }
        }
        self.volume.befall(fault);
        match self.volume.rewritten().pop() {
            None => Ok(shipped),
            Some(path) => Err(Violation(format!("{path} in the results got other content"))),
        }
    }

    fn names(&self) -> Vec<String> {
        (0..self.plan.sweeps).map(super::person::name).collect()
    }
}

/// The writers of a master, by sweep.
pub(crate) type Writers = BTreeMap<SweepId, ResultsWriter>;
