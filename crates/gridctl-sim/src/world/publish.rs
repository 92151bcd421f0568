//! What trainers leave and workers publish: the binary's own code, to a volume that fails.
//! Invariant: what a report says to be published is on the volume, whole, before anybody hears it.

use std::fs;
use std::sync::Arc;

use gridctl_core::attempt::StopReason;
use gridctl_core::id::{LeaseSeq, WorkerId};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::{Class, Record, Report};
use gridctl_storage::results::{Limits, Results};
use gridctl_storage::volume::VolumeError;

use super::{Happens, World};
use crate::audit::Violation;
use crate::trainer;

/// The file that a trainer leaves.
const MODEL: &str = "model.txt";
/// Between two tries to publish.
const AGAIN_MS: u64 = 10_000;

/// An attempt that is over, and not reported.
pub(crate) struct Unreported {
    pub(super) sweep: Arc<FrozenSweep>,
    pub(super) report: Report,
}

impl World {
    /// The results of a sweep in the volume.
    pub(super) fn results_of(&self, sweep: &str) -> Result<Results, Violation> {
        let volume = Arc::new(self.volume.clone());
        Results::new(volume, sweep, sweep).map_err(|error| Violation(format!("no results: {error}")))
    }

    /// An attempt is over: its worker publishes what it left, and reports.
    pub(super) fn attempt_over(&mut self, worker: WorkerId, over: Unreported) -> Result<(), Violation> {
        let (token, trial) = (over.report.token, over.report.trial);
        if over.report.exit.is_none() || !trainer::leaves_files(trial) {
            return self.report(worker, over.report);
        }
        let text = trainer::left(trial, token);
        fs::write(self.output.path().join(MODEL), text)
            .map_err(|error| Violation(format!("the machine of this test fails: {error}")))?;
        let results = self.results_of(&over.sweep.spec.name)?;
        let limits = Limits::default();
        let published = results
            .check_claim()
            .and_then(|()| results.publish_attempt((trial, token), self.output.path(), None, &limits));
        let took_ms = self.volume.take_ms();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        match published {
            Ok(manifest) => {
                let files = manifest.files.len() as u64;
                process.publishing.push(Report { files, ..over.report });
                self.queue.after(took_ms, Happens::Published { worker, lease: token.lease });
                Ok(())
            }
            Err(error) if error.is_final() => {
                Err(Violation(format!("what {trial} left can never be published: {error}")))
            }
            Err(error) => {
                process.half.unpublished(token.lease, &error.to_string());
                process.unpublished.push(over);
                self.queue.after(AGAIN_MS, Happens::Publishes { worker });
                Ok(())
            }
        }
    }

    /// The volume has answered that all is published.
    pub(super) fn published(&mut self, worker: WorkerId, lease: LeaseSeq) -> Result<(), Violation> {
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        if process.frozen {
            self.queue.after(500, Happens::Published { worker, lease });
            return Ok(());
        }
        let place = process.publishing.iter().position(|report| report.token.lease == lease);
        let Some(place) = place else { return Ok(()) };
        let report = process.publishing.remove(place);
        self.report(worker, report)?;
        self.work(worker)
    }

    fn report(&mut self, worker: WorkerId, report: Report) -> Result<(), Violation> {
        let now = self.now();
        if let Some(process) = self.workers.get_mut(&worker) {
            process.reported.insert(report.token.lease, report.trial);
            process.half.ended(now, report);
        }
        Ok(())
    }

    /// What waits for the volume is to stop: what is not wanted any more is dropped, and what is to
    /// hurry is given up. False if it does not wait.
    pub(super) fn stop_waiting(
        &mut self,
        worker: WorkerId,
        lease: LeaseSeq,
        stop: Option<StopReason>,
    ) -> bool {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return false };
        if process.publishing.iter().any(|report| report.token.lease == lease) {
            return true;
        }
        let place = process.unpublished.iter().position(|over| over.report.token.lease == lease);
        let Some(place) = place else { return false };
        let class = match stop {
            Some(StopReason::Fenced) => Class::Fenced,
            Some(StopReason::Cancelled) => Class::Cancelled,
            Some(_) => Class::WorkerFault,
            None => return true,
        };
        let Report { token, trial, .. } = process.unpublished.remove(place).report;
        process.reported.insert(lease, trial);
        process.half.ended(now, Report::without_process(token, trial, class, "not published"));
        true
    }

    /// The worker tries again to publish what waits, unless it stands still.
    pub(super) fn publish(&mut self, worker: WorkerId) -> Result<(), Violation> {
        let process = self.workers.get_mut(&worker).filter(|process| !process.frozen);
        let Some(process) = process else { return Ok(()) };
        for over in std::mem::take(&mut process.unpublished) {
            self.attempt_over(worker, over)?;
        }
        self.work(worker)
    }

    /// Promise 31: what a durable record says to be published is there, and is what the attempt
    /// left.
    pub(super) fn is_published(&self, record: &Record) -> Result<(), Violation> {
        let report = &record.report;
        if report.files == 0 {
            return Ok(());
        }
        let fault = self.volume.befall(None);
        let results = self.results_of(&record.sweep)?;
        let found = results.attempt_manifest(report.trial, report.token);
        let path = format!("{}/trials/{}/{}/files/{MODEL}", record.sweep, report.trial, report.token);
        let bytes = self.read(&path);
        self.volume.befall(fault);
        let is_whole = matches!(&found, Ok(Some(manifest)) if manifest.files.len() as u64 == report.files);
        let is_its_own =
            bytes.is_ok_and(|bytes| bytes == trainer::left(report.trial, report.token).as_bytes());
        match is_whole && is_its_own {
            true => Ok(()),
            false => Err(Violation(format!(
                "trial {} is recorded, and what attempt {} left is not published: {found:?}",
                report.trial, report.token
            ))),
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, VolumeError> {
        use gridctl_storage::volume::Volume as _;
        self.volume.get(path, 0..u64::MAX)
    }
}
