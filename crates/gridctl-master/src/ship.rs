//! Shipping: the journal's outcomes to the results volumes, where people keep them.
//! Invariant: what was shipped is what the volume lists, so a failing volume is only late; a sweep
//! whose claim is gone gets nothing, and neither does one whose results know more than the journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridctl_core::id::{Epoch, LeaseSeq, SweepId};
use gridctl_core::notice::Notice;
use gridctl_core::output::VolumeUrl;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::sched::{Core, Sweep};
use gridctl_storage::journal::{Reader, StoreError};
pub(crate) use gridctl_storage::results::ShipJob;
use gridctl_storage::results::{EpochClaim, Results, ResultsWriter};
use gridctl_storage::volume::{self, VolumeError};
use tokio::sync::{Notify, mpsc, watch};

use crate::compare::{self, Journal, ShipError};
use crate::error::{AskError, Lack, MasterError, chain};
use crate::handle::Handle;

/// Between two shipments.
const EVERY: Duration = Duration::from_secs(2);
/// What is to be shipped, for the master of this data directory.
pub(crate) fn cargo(core: &Core, data_dir: &Path) -> Vec<ShipJob> {
    let cargo = |sweep: &Sweep| ShipJob {
        sweep: sweep.id(),
        version: sweep.version(),
        frozen: Arc::clone(sweep.frozen()),
        volume: sweep.frozen().output.volume_in(data_dir),
    };
    core.sweeps().map(cargo).collect()
}

/// The start of a master, as shipping needs it.
pub(crate) struct Start {
    pub(crate) epoch: Epoch,
    /// What it claims each volume with.
    pub(crate) claim: EpochClaim,
    /// What a new sweep is named after.
    pub(crate) identity: String,
    /// The number of the journal's last outcome.
    pub(crate) last_outcome: u64,
}

type Ways = BTreeMap<SweepId, (VolumeUrl, ResultsWriter)>;

/// Ships.
pub(crate) struct Shipper {
    start: Start,
    data_dir: PathBuf,
    /// With the volume that each writes to.
    ways: Mutex<Ways>,
    problems: Mutex<BTreeMap<SweepId, String>>,
    /// Records from before the start that were shipped since somebody asked, by sweep.
    late: Mutex<BTreeMap<String, u64>>,
    /// There is something to ship.
    wanted: Arc<Notify>,
    /// Shipments that were begun, and the latest that is over.
    begun: AtomicU64,
    over: watch::Sender<u64>,
}

impl Shipper {
    pub(crate) fn new(start: Start, data_dir: &Path, wanted: Arc<Notify>) -> Self {
        Self {
            start,
            data_dir: data_dir.to_owned(),
            ways: Mutex::default(),
            problems: Mutex::default(),
            late: Mutex::default(),
            wanted,
            begun: AtomicU64::new(0),
            over: watch::Sender::new(0),
        }
    }

    /// One that never ships, where no master is.
    pub(crate) fn idle(data_dir: &Path) -> Self {
        let claim = EpochClaim {
            start: String::new(),
            journal: String::new(),
            data_dir: String::new(),
            host: String::new(),
            event: 0,
            chain: 0,
        };
        let start = Start { epoch: Epoch(0), claim, identity: String::new(), last_outcome: 0 };
        Self::new(start, data_dir, Arc::default())
    }

    /// There is something to ship.
    pub(crate) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Waits until all that is known now was shipped, or could not be and is said to wait; not longer
    /// than `enough`.
    pub(crate) async fn up_to_now(&self, enough: Duration) {
        let next = self.begun.load(Ordering::SeqCst) + 1;
        self.wake();
        let mut over = self.over.subscribe();
        // Too late is no matter: the caller goes on with what there is.
        let _ = tokio::time::timeout(enough, over.wait_for(|over| *over >= next)).await;
    }

    /// The uuid of a sweep that is new to the journal. It is not drawn: a master that ends between
    /// its claim and its commit leaves the claim to the next one, for which the sweep is new again.
    pub(crate) fn uuid_of(&self, sweep: &str) -> String {
        format!("{}-{sweep}", self.start.identity)
    }

    /// Makes sure that the sweep's directory is its own, and that no checkpoint from before the
    /// lease `since` counts; blocks.
    pub(crate) fn claim(
        &self,
        frozen: &FrozenSweep,
        is_new: bool,
        since: Option<LeaseSeq>,
    ) -> Result<(), AskError> {
        let url = frozen.output.volume_in(&self.data_dir);
        let results = Results::new(volume::create(&url)?, &frozen.spec.name, &frozen.uuid)?;
        results.claim()?;
        if let Some(&theirs) = results.versions()?.last().filter(|_| is_new) {
            return Err(AskError::Master(Box::new(MasterError::Behind {
                dir: self.data_dir.clone(),
                sweep: frozen.spec.name.clone(),
                volume: url.of_sweep(&frozen.spec.name),
                lack: Lack::Version { theirs, ours: 0 },
            })));
        }
        // It may be a new one: what was wrong before is looked at anew.
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(since.map_or(Ok(()), |since| results.begin_anew(since))?)
    }

    /// What keeps a sweep's records from being shipped, if something does.
    pub(crate) fn notice(&self, sweep: SweepId) -> Option<Notice> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.get(&sweep).map(|error| Notice::RecordsNotShipped { error: error.clone() })
    }

    /// What keeps each sweep's records.
    pub(crate) fn problems(&self) -> BTreeMap<SweepId, String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The journal's name.
    pub(crate) fn journal(&self) -> &str {
        &self.start.claim.journal
    }

    /// Records from before this master's start that have been shipped since the last call, by
    /// sweep.
    pub(crate) fn take_late(&self) -> Vec<(String, u64)> {
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        late.into_iter().collect()
    }

    /// Ships what there is; blocks. What fails is said, and tried again with the next call.
    ///
    /// # Errors
    /// This master must not write to one of the volumes: [`MasterError::Superseded`],
    /// [`MasterError::Behind`].
    fn ship(&self, cargo: &[ShipJob], reader: &Reader) -> Result<(), MasterError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        for cargo in cargo {
            let problem = match self.ship_one(&mut ways, cargo, reader) {
                Ok(()) => None,
                Err(ShipError::Refused(error)) => return Err(*error),
                Err(ShipError::Volume(error)) => {
                    // The volume may be another one when it comes back: look again.
                    ways.remove(&cargo.sweep);
                    Some(chain(&error))
                }
                Err(ShipError::Store(error)) => Some(chain(&error)),
            };
            self.note(cargo, problem);
        }
        Ok(())
    }

    fn note(&self, cargo: &ShipJob, problem: Option<String>) {
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

    fn ship_one(&self, ways: &mut Ways, cargo: &ShipJob, reader: &Reader) -> Result<(), ShipError> {
        let is_there = |way: &(VolumeUrl, ResultsWriter)| way.0 == cargo.volume;
        if !ways.get(&cargo.sweep).is_some_and(is_there) {
            let writer = self.open(cargo, reader)?;
            ways.insert(cargo.sweep, (cargo.volume.clone(), writer));
        }
        let Some((_, writer)) = ways.get_mut(&cargo.sweep) else { return Ok(()) };
        writer.ship(reader, cargo, &mut |records| self.note_late(cargo, records))
    }

    fn note_late(&self, cargo: &ShipJob, records: &[(u64, String)]) {
        let late = records.iter().filter(|(seq, _)| *seq <= self.start.last_outcome).count() as u64;
        if late > 0 {
            tracing::info!(sweep = cargo.frozen.spec.name, late, "shipped records from before this start");
            let mut all = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            *all.entry(cargo.frozen.spec.name.clone()).or_default() += late;
        }
    }

    /// Opens a sweep's results, makes sure that they are its own and that the journal is not behind
    /// them, says that this master's epoch has begun, and fills in what is missing.
    fn open(&self, cargo: &ShipJob, reader: &Reader) -> Result<ResultsWriter, ShipError> {
        let Start { epoch, claim, .. } = &self.start;
        let results = compare::open(cargo)?;
        let journal = Journal { name: &claim.journal, data_dir: &self.data_dir, epoch: *epoch, reader };
        compare::one(&journal, cargo, &results)?;
        match results.claim_epoch(*epoch, claim) {
            Ok(()) => {}
            Err(VolumeError::Conflict { .. }) => {
                let theirs = results.epoch_claim(*epoch)?;
                return Err(compare::superseded(*epoch, cargo, *epoch, theirs.as_ref()));
            }
            Err(error) => return Err(error.into()),
        }
        let on_shipped = &mut |records: &[(u64, String)]| self.note_late(cargo, records);
        ResultsWriter::open(results, (reader, cargo.sweep), &self.data_dir, on_shipped)
    }
}

/// Ships what there is for every sweep. What fails for now is said in the sweep's status, and tried
/// again.
///
/// # Errors
/// This master must not write to one of the volumes.
pub(crate) async fn all(handle: &Handle) -> Result<(), MasterError> {
    let shipper = &handle.shared.shipper;
    let this = shipper.begun.fetch_add(1, Ordering::SeqCst) + 1;
    let shipped = with_cargo(handle, |shipper, cargo, reader| shipper.ship(cargo, reader)).await?;
    shipper.over.send_modify(|over| *over = this.max(*over));
    // While the disk is full nothing new is recorded, so there is nothing to ship.
    shipped.unwrap_or(Ok(()))
}

/// Does something with all cargo, off the threads that serve; `None` if it cannot be asked for now.
pub(crate) async fn with_cargo<T: Send + 'static>(
    handle: &Handle,
    work: impl FnOnce(&Shipper, &[ShipJob], &Reader) -> T + Send + 'static,
) -> Result<Option<T>, MasterError> {
    let data_dir = handle.shared.data_dir.clone();
    let Ok(cargo) = handle.look(move |core, _| cargo(core, &data_dir)).await else { return Ok(None) };
    let shared = Arc::clone(&handle.shared);
    let work = move || {
        let reader = Reader::open(&shared.data_dir)?;
        Ok::<T, StoreError>(work(&shared.shipper, &cargo, &reader))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(Some(done)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "records wait to be shipped; it is tried again");
            Ok(None)
        }
        Err(error) => Err(MasterError::Broken { part: "shipping", why: error.to_string() }),
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
