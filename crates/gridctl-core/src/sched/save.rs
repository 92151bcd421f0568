//! Snapshots: the core as text, so that a start reads the journal's tail only.
//! Invariant: a restored core behaves as one that replayed every event: what concerns connections is not in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use super::left_out::{LeftOut, Unsure};
use super::means::PartialMeans;
use super::phase::SweepPhase;
use super::settled::Settled;
use super::sweep::Sweep;
use super::trial::Trial;
use super::worker::Worker;
use super::{Core, Timing};
use crate::id::{Epoch, SweepId, Time, WorkerId};
use crate::points::{GridError, Points};
use crate::protocol::FrozenSweep;

/// A snapshot that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is not a snapshot.
    #[error("the snapshot is not one that this version of gridctl wrote")]
    Format(#[from] serde_json::Error),
    /// Its sweep is none.
    #[error("the snapshot holds a sweep whose points cannot be counted")]
    Grid(#[from] GridError),
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
    #[serde(default)]
    attempts: BTreeMap<u64, u32>,
    phase: SweepPhase,
    best: Option<(f64, u64)>,
    #[serde(default)]
    means: PartialMeans,
    breaker: Breaker,
    failures: u64,
    lost: u64,
    #[serde(default)]
    left_out: Option<LeftOut>,
    #[serde(default)]
    unsure: Option<Unsure>,
    #[serde(default)]
    doubtful: BTreeMap<WorkerId, Vec<u64>>,
    #[serde(default)]
    last_seq: u64,
}

impl Core {
    /// The core as JSON, for [`Core::restore`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let sweeps = self.sweeps.values().map(|sweep| SweepRef {
            id: sweep.id,
            version: sweep.version,
            frozen: &sweep.frozen,
            cursor: sweep.cursor,
            settled: &sweep.settled,
            open: sweep.open.iter().map(|(pos, trial)| (*pos, trial)).collect(),
            generations: sweep.generations.iter().map(|(pos, generation)| (*pos, *generation)).collect(),
            attempts: &sweep.attempts,
            phase: sweep.phase,
            best: sweep.best,
            means: &sweep.means,
            breaker: &sweep.breaker,
            failures: sweep.failures,
            lost: sweep.lost,
            left_out: sweep.left_out,
            unsure: &sweep.unsure,
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
        };
        serde_json::to_vec(&saved).expect("every key is text and every number finite")
    }

    /// The core that made this snapshot; apply the journal's tail to it, then [`Core::begin`].
    ///
    /// # Errors
    /// [`RestoreError`] if it is no snapshot.
    pub fn restore(timing: Timing, now: Time, snapshot: &[u8]) -> Result<Self, RestoreError> {
        let saved: Saved = serde_json::from_slice(snapshot)?;
        let mut core = Self::new(timing);
        core.epoch = saved.epoch;
        core.next_seq = saved.next_seq;
        core.next_lease = saved.next_lease;
        core.graces = saved.graces;
        for (id, host) in saved.connected {
            core.workers.insert(id, Worker::new(host, now));
        }
        for saved in saved.sweeps {
            core.put_back(now, saved)?;
        }
        Ok(core)
    }

    fn put_back(&mut self, now: Time, saved: SavedSweep) -> Result<(), RestoreError> {
        let points = Points::new(Arc::new(saved.frozen.spec.clone()))?;
        let mut sweep = Sweep::new(saved.id, saved.version, saved.frozen, points);
        sweep.cursor = saved.cursor;
        sweep.settled = saved.settled;
        sweep.open = saved.open.into_iter().collect::<BTreeMap<_, _>>();
        sweep.generations = saved.generations.into_iter().collect();
        sweep.attempts = saved.attempts;
        sweep.phase = saved.phase;
        sweep.best = saved.best;
        sweep.means = saved.means;
        sweep.breaker = saved.breaker;
        sweep.failures = saved.failures;
        sweep.lost = saved.lost;
        sweep.left_out = saved.left_out;
        sweep.unsure = saved.unsure;
        sweep.doubtful = saved.doubtful;
        sweep.last_seq = saved.last_seq;
        sweep.requeue(now);
        let id = sweep.id;
        if sweep.is_active() {
            self.active.insert(id);
        }
        let held: Vec<_> = sweep
            .open
            .iter()
            .filter_map(|(pos, trial)| trial.lease().map(|lease| (*pos, lease.clone())))
            .collect();
        self.sweeps.insert(id, sweep);
        for (pos, lease) in held {
            self.leases.insert(lease.token.lease, (id, pos));
            let held = self.held(id, pos);
            let worker = self.workers.entry(lease.worker).or_insert_with(|| Worker::new(lease.host, now));
            if let Some(held) = held {
                worker.hold(lease.token.lease, held);
            }
        }
        Ok(())
    }
}
