//! Snapshots: the core as text, so that a start reads the journal's tail only. They are a cache: one
//! that is not understood is passed over, and the events make up for it.
//! Invariant: a restored core behaves as one that replayed every event: what concerns connections is
//! not in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::attempt_sums::{LeftOut, MachineFaults, Unsure};
use super::breaker::Breaker;
use super::means::PartialMeans;
use super::observed::Observed;
use super::phase::SweepPhase;
use super::settled::Settled;
use super::sweep::Sweep;
use super::trial::Trial;
use super::trial_table::{SavedTrials, TrialTable};
use super::worker::Worker;
use super::{Core, Timing};
use crate::fleet::machines::FleetRecord;
use crate::id::{Epoch, SweepId, Time, WorkerId};
use crate::points::{GridError, Points};
use crate::protocol::FrozenSweep;

/// The number that every snapshot begins with, as decimal digits in a line of their own. Raise it
/// with every change of what is saved or of what it means.
pub const SNAPSHOT_FORMAT: u32 = 5;

/// A snapshot that is not understood; the events that it stands for make up for it.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It does not begin with the number of the format that is known here.
    #[error("it is of another format than {SNAPSHOT_FORMAT}")]
    Format,
    /// What follows the number is not what that format says.
    #[error("it is not what format {SNAPSHOT_FORMAT} says")]
    Content(#[from] serde_json::Error),
    /// Its sweep is none.
    #[error("it holds a sweep whose points cannot be counted")]
    Grid(#[from] GridError),
    /// It stands for other events than it is kept for.
    #[error("it ends with event {0}")]
    Events(u64),
}

#[derive(Serialize)]
struct SavedRef<'a> {
    epoch: Epoch,
    next_seq: u64,
    next_lease: u64,
    sweeps: Vec<SweepRef<'a>>,
    graces: &'a BTreeMap<WorkerId, u64>,
    /// Workers that are connected: later events name them by id alone.
    connected: Vec<(WorkerId, &'a str)>,
    fleet: Vec<FleetRecord>,
}

#[derive(Serialize)]
struct SweepRef<'a> {
    id: SweepId,
    version: u32,
    frozen: &'a FrozenSweep,
    cursor: u64,
    settled: &'a Settled,
    open: Vec<(u64, &'a Trial)>,
    generations: Vec<(u64, u32)>,
    attempts: &'a BTreeMap<u64, u32>,
    phase: SweepPhase,
    best: Option<(f64, u64)>,
    means: &'a PartialMeans,
    breaker: &'a Breaker,
    failures: u64,
    lost: u64,
    left_out: Option<LeftOut>,
    unsure: &'a Option<Unsure>,
    faults: &'a Option<MachineFaults>,
    observed: &'a Observed,
    doubtful: &'a BTreeMap<WorkerId, Vec<u64>>,
    last_seq: u64,
}

#[derive(Deserialize)]
struct Saved {
    epoch: Epoch,
    next_seq: u64,
    next_lease: u64,
    sweeps: Vec<SavedSweep>,
    graces: BTreeMap<WorkerId, u64>,
    connected: Vec<(WorkerId, String)>,
    fleet: Vec<FleetRecord>,
}

#[derive(Deserialize)]
struct SavedSweep {
    id: SweepId,
    version: u32,
    frozen: Arc<FrozenSweep>,
    cursor: u64,
    settled: Settled,
    open: Vec<(u64, Trial)>,
    generations: Vec<(u64, u32)>,
    attempts: BTreeMap<u64, u32>,
    phase: SweepPhase,
    best: Option<(f64, u64)>,
    means: PartialMeans,
    breaker: Breaker,
    failures: u64,
    lost: u64,
    left_out: Option<LeftOut>,
    unsure: Option<Unsure>,
    faults: Option<MachineFaults>,
    observed: Observed,
    doubtful: BTreeMap<WorkerId, Vec<u64>>,
    last_seq: u64,
}

impl Core {
    /// The core as text for [`Core::restore`]: [`SNAPSHOT_FORMAT`] and a line of JSON.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let sweeps = self.sweeps.values().map(|sweep| SweepRef {
            id: sweep.id,
            version: sweep.version,
            frozen: &sweep.frozen,
            cursor: sweep.cursor,
            settled: sweep.trials.settled(),
            open: sweep.trials.iter().collect(),
            generations: sweep
                .trials
                .generations()
                .iter()
                .map(|(pos, generation)| (*pos, *generation))
                .collect(),
            attempts: sweep.trials.attempts(),
            phase: sweep.phase,
            best: sweep.best,
            means: &sweep.means,
            breaker: &sweep.breaker,
            failures: sweep.failures,
            lost: sweep.lost,
            left_out: sweep.left_out,
            unsure: &sweep.unsure,
            faults: &sweep.faults,
            observed: &sweep.observed,
            doubtful: &sweep.doubtful,
            last_seq: sweep.last_seq,
        });
        let connected = self.workers.iter().filter(|(_, worker)| worker.link.is_some());
        let saved = SavedRef {
            epoch: self.epoch,
            next_seq: self.next_seq,
            next_lease: self.next_lease,
            sweeps: sweeps.collect(),
            graces: &self.graces,
            connected: connected.map(|(id, worker)| (*id, worker.host.as_str())).collect(),
            fleet: self.fleet.as_records(),
        };
        let mut text = format!("{SNAPSHOT_FORMAT}\n").into_bytes();
        serde_json::to_writer(&mut text, &saved).expect("every key is text and every number finite");
        text
    }

    /// The core that made this snapshot after event `seq`; apply the journal's tail to it, then
    /// [`Core::begin`].
    ///
    /// # Errors
    /// [`RestoreError`] if it is not understood.
    pub fn restore(timing: Timing, now: Time, seq: u64, snapshot: &[u8]) -> Result<Self, RestoreError> {
        let number = format!("{SNAPSHOT_FORMAT}\n");
        let json = snapshot.strip_prefix(number.as_bytes()).ok_or(RestoreError::Format)?;
        let saved: Saved = serde_json::from_slice(json)?;
        if saved.next_seq.checked_sub(1) != Some(seq) {
            return Err(RestoreError::Events(saved.next_seq.saturating_sub(1)));
        }
        let mut core = Self::new(timing);
        core.epoch = saved.epoch;
        core.next_seq = saved.next_seq;
        core.next_lease = saved.next_lease;
        core.graces = saved.graces;
        for (id, host) in saved.connected {
            core.workers.insert(id, Worker::new(host, now));
        }
        saved.fleet.iter().for_each(|record| core.fleet.apply(now, record));
        for saved in saved.sweeps {
            core.restore_sweep(now, saved)?;
        }
        Ok(core)
    }

    fn restore_sweep(&mut self, now: Time, saved: SavedSweep) -> Result<(), RestoreError> {
        let points = Points::new(Arc::new(saved.frozen.spec.clone()))?;
        let mut sweep = Sweep::new(saved.id, saved.version, saved.frozen, points);
        sweep.cursor = saved.cursor;
        let SavedSweep { open, settled, generations, attempts, .. } = saved;
        sweep.trials = TrialTable::restore(now, SavedTrials { open, settled, generations, attempts });
        sweep.phase = saved.phase;
        sweep.best = saved.best;
        sweep.means = saved.means;
        sweep.breaker = saved.breaker;
        sweep.failures = saved.failures;
        sweep.lost = saved.lost;
        sweep.left_out = saved.left_out;
        sweep.unsure = saved.unsure;
        sweep.faults = saved.faults;
        sweep.observed = saved.observed;
        sweep.doubtful = saved.doubtful;
        sweep.last_seq = saved.last_seq;
        let id = sweep.id;
        if sweep.is_active() {
            self.active.insert(id);
        }
        let held: Vec<_> = sweep
            .trials
            .iter()
            .filter_map(|(pos, trial)| trial.lease().map(|lease| (pos, lease.clone())))
            .collect();
        self.sweeps.insert(id, sweep);
        for (pos, lease) in held {
            self.leases.insert(lease.token.lease, (id, pos));
            let held = self.held(id, pos, now);
            let worker = self.workers.entry(lease.worker).or_insert_with(|| Worker::new(lease.host, now));
            if let Some(held) = held {
                worker.hold(lease.token.lease, held);
            }
        }
        Ok(())
    }
}
