//! Shipping: the journal's outcomes to the results volumes, where people keep them.
//! Invariant: what was shipped is what the volume lists, so a failing volume is only late; a sweep whose claim is gone gets nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridctl_core::id::{Epoch, LeaseSeq, SweepId};
use gridctl_core::notice::Notice;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::sched::Sweep;
use gridctl_storage::journal::Reader;
use gridctl_storage::results::{self, Results};
use gridctl_storage::volume::{DirVolume, VolumeError};
use tokio::sync::{Notify, mpsc, watch};

use crate::error::MasterError;
use crate::handle::Handle;

/// Between two shipments.
const EVERY: Duration = Duration::from_secs(2);
/// Records of one shipment's segment.
const SEGMENT: u64 = 2_048;

/// What is to be shipped for one sweep.
struct Cargo {
    sweep: SweepId,
    version: u32,
    frozen: Arc<FrozenSweep>,
}

/// Ships.
pub(crate) struct Shipper {
    /// The journal's name, by which its records are told from another one's.
    journal: String,
    epoch: Epoch,
    /// A text that no other start of a master has.
    who: String,
    scratch: PathBuf,
    ways: Mutex<BTreeMap<SweepId, Way>>,
    problems: Mutex<BTreeMap<SweepId, String>>,
    /// There is something to ship.
    wanted: Arc<Notify>,
}

/// The way to one sweep's results.
#[derive(Debug)]
struct Way {
    output: String,
    shipper: results::Shipper,
    results: Results,
    /// The versions up to this one are kept.
    version: u32,
    /// There is nothing unshipped up to this outcome.
    upto: u64,
}

impl Shipper {
    pub(crate) fn new(journal: &str, epoch: Epoch, scratch: &Path, wanted: Arc<Notify>) -> Self {
        Self {
            journal: journal.to_owned(),
            epoch,
            who: format!("{} process {}", uuid::Uuid::now_v7(), std::process::id()),
            scratch: scratch.to_owned(),
            ways: Mutex::default(),
            problems: Mutex::default(),
            wanted,
        }
    }

    /// There is something to ship.
    pub(crate) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// The uuid of a sweep that is new to the journal. It is not drawn: a master that ends between its claim and its commit leaves the
    /// claim to the next one, for which the sweep is new again.
    pub(crate) fn uuid_of(&self, sweep: &str) -> String {
        format!("{}-{sweep}", self.journal)
    }

    /// Makes sure that the sweep's directory is its own, and that no checkpoint from before the lease `since` counts; blocks.
    pub(crate) fn claim(&self, frozen: &FrozenSweep, since: Option<LeaseSeq>) -> Result<(), VolumeError> {
        let volume = DirVolume::create(Path::new(&frozen.output))?;
        let results = Results::new(Arc::new(volume), &frozen.spec.name, &frozen.uuid)?;
        results.claim()?;
        // It may be a new one: what was wrong before is looked at anew.
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clear();
        since.map_or(Ok(()), |since| results.begin_anew(since))
    }

    /// What keeps a sweep's records from being shipped, if something does.
    pub(crate) fn notice(&self, sweep: SweepId) -> Option<Notice> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.get(&sweep).map(|error| Notice::RecordsNotShipped { error: error.clone() })
    }

    /// Ships what there is; blocks. What fails is said, and tried again with the next call.
    ///
    /// # Errors
    /// [`MasterError::Superseded`]: another master has taken over.
    fn ship(&self, cargo: &[Cargo], reader: &Reader) -> Result<(), MasterError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        for cargo in cargo {
            let result = self.ship_one(&mut ways, cargo, reader);
            let problem = match result {
                Ok(()) => None,
                Err(Trouble::Superseded(theirs)) => {
                    let sweep = cargo.frozen.spec.name.clone();
                    return Err(MasterError::Superseded { sweep, ours: self.epoch, theirs });
                }
                Err(Trouble::Volume(error)) => {
                    // The volume may be another one when it comes back: look again.
                    ways.remove(&cargo.sweep);
                    Some(error.to_string())
                }
                Err(Trouble::Store(error)) => Some(error.to_string()),
            };
            self.note(cargo, problem);
        }
        Ok(())
    }

    fn note(&self, cargo: &Cargo, problem: Option<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let before = problems.remove(&cargo.sweep);
        let Some(problem) = problem else { return };
        if before.as_ref() != Some(&problem) {
            tracing::warn!(
                sweep = cargo.frozen.spec.name,
                problem,
                "records wait to be shipped; it is tried again"
            );
        }
        problems.insert(cargo.sweep, problem);
    }

    fn ship_one(
        &self,
        ways: &mut BTreeMap<SweepId, Way>,
        cargo: &Cargo,
        reader: &Reader,
    ) -> Result<(), Trouble> {
        if ways.get(&cargo.sweep).is_none_or(|way| way.output != cargo.frozen.output) {
            ways.insert(cargo.sweep, self.find_way(cargo)?);
        }
        let Some(way) = ways.get_mut(&cargo.sweep) else { return Ok(()) };
        if way.version < cargo.version {
            way.results.put_version(cargo.version, &cargo.frozen.source)?;
            way.version = cargo.version;
        }
        let upto = reader.last_outcome()?;
        loop {
            let from = way.shipper.shipped().max(way.upto);
            if from >= upto {
                return Ok(());
            }
            let rows = reader.after(from, Some(cargo.sweep.0), SEGMENT)?;
            if rows.is_empty() {
                way.upto = upto;
                return Ok(());
            }
            let records: Vec<(u64, String)> = rows.into_iter().map(|row| (row.seq, row.record)).collect();
            way.shipper.ship(&records)?;
        }
    }

    /// Opens a sweep's results, makes sure that they are its own, and says that this master's epoch has begun.
    fn find_way(&self, cargo: &Cargo) -> Result<Way, Trouble> {
        let frozen = &cargo.frozen;
        // It was made and claimed when the sweep was submitted. If that is gone, a disk may not be mounted: nothing is made anew.
        let volume = DirVolume::open(Path::new(&frozen.output))?;
        let results = Results::new(Arc::new(volume), &frozen.spec.name, &frozen.uuid)?;
        results.check_claim()?;
        if let Some(theirs) = results.highest_epoch()?
            && theirs > self.epoch
        {
            return Err(Trouble::Superseded(theirs));
        }
        match results.claim_epoch(self.epoch, &self.who) {
            Ok(()) => {}
            Err(VolumeError::Conflict { .. }) => return Err(Trouble::Superseded(self.epoch)),
            Err(error) => return Err(error.into()),
        }
        let shipper = results::Shipper::open(&results, &self.journal, &self.scratch)?;
        let version = results.versions()?.last().copied().unwrap_or(0);
        Ok(Way { output: cargo.frozen.output.clone(), shipper, results, version, upto: 0 })
    }
}

/// Ships what there is for every sweep. What fails for now is said in the sweep's status, and tried again.
///
/// # Errors
/// [`MasterError::Superseded`].
pub(crate) async fn all(handle: &Handle) -> Result<(), MasterError> {
    let cargo = handle
        .look(|core, _| {
            let cargo = |sweep: &Sweep| Cargo {
                sweep: sweep.id(),
                version: sweep.version(),
                frozen: Arc::clone(sweep.frozen()),
            };
            core.sweeps().map(cargo).collect::<Vec<_>>()
        })
        .await;
    // While the disk is full nothing new is recorded, so there is nothing to ship.
    let Ok(cargo) = cargo else { return Ok(()) };
    let shared = Arc::clone(&handle.shared);
    let ship = move || {
        let reader = Reader::open(&shared.data_dir)?;
        shared.shipper.ship(&cargo, &reader)
    };
    match tokio::task::spawn_blocking(ship).await.map_err(|_| MasterError::Broken("shipping"))? {
        Err(error) if !matches!(error, MasterError::Superseded { .. }) => {
            tracing::warn!(%error, "records wait to be shipped; it is tried again");
            Ok(())
        }
        result => result,
    }
}

/// Ships when there is something to ship, not too often.
pub(crate) async fn keep_on(
    handle: Handle,
    mut ended: watch::Receiver<bool>,
    failed: mpsc::Sender<MasterError>,
) {
    loop {
        tokio::select! {
            () = handle.shared.shipper.wanted.notified() => {}
            // What failed is tried again, asked for or not.
            () = tokio::time::sleep(EVERY) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        if let Err(error) = all(&handle).await {
            // The first failure is enough.
            let _ = failed.try_send(error);
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
    }
}

enum Trouble {
    Volume(VolumeError),
    Store(gridctl_storage::journal::StoreError),
    Superseded(Epoch),
}

impl From<VolumeError> for Trouble {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl From<gridctl_storage::journal::StoreError> for Trouble {
    fn from(error: gridctl_storage::journal::StoreError) -> Self {
        Self::Store(error)
    }
}
