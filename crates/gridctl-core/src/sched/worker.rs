//! A worker as the master sees it: what it can hold, what it holds, until when its leases stand.
//! Invariant: a worker has one deadline for all its leases, so that every leased trial has exactly one timer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::breaker::WorkerBreaker;
use super::step::Conn;
use crate::capacity::Used;
use crate::fleet::machines::MachineId;
use crate::id::{LeaseSeq, SweepId, Time, WorkerId};
use crate::machine::MachineHealth;
use crate::protocol::{CannotRun, Capacity, MAX_HELD};
use crate::spec::Resources;

/// A worker that is connected, or whose leases have not expired.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) host: String,
    /// The machine of the fleet that it is on.
    pub(super) machine: Option<MachineId>,
    /// `None`: it is away.
    pub(super) link: Option<Link>,
    pub(super) deadline: Time,
    /// It has made itself known in this epoch.
    pub(super) joined: bool,
    pub(super) leases: BTreeMap<LeaseSeq, Held>,
    pub(super) used: Used,
    /// Leases that suffer no other beside them.
    pub(super) alone: u32,
    pub(super) draining: bool,
    pub(super) health: MachineHealth,
    /// Versions that it cannot run.
    pub(super) cannot_run: Vec<CannotRun>,
    pub(super) breaker: WorkerBreaker,
}

/// A connected worker.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) conn: Conn,
    pub(super) capacity: Capacity,
    pub(super) prefetch: u32,
    /// Versions that it has been told of on this connection.
    pub(super) told: BTreeSet<(SweepId, u32)>,
}

/// What a lease is on, and what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) sweep: SweepId,
    pub(super) pos: u64,
    pub(super) resources: Resources,
    /// Nothing else may be granted to the worker meanwhile.
    pub(super) alone: bool,
    /// When it was granted, or this master began.
    pub(super) since: Time,
}

impl Worker {
    pub(super) fn new(host: String, deadline: Time) -> Self {
        Self {
            host,
            machine: None,
            link: None,
            deadline,
            joined: false,
            leases: BTreeMap::new(),
            used: Used::default(),
            alone: 0,
            draining: false,
            health: MachineHealth::Fit,
            cannot_run: Vec::new(),
            breaker: WorkerBreaker::default(),
        }
    }

    pub(super) fn hold(&mut self, lease: LeaseSeq, mut held: Held) {
        if let Some(known) = self.leases.get(&lease) {
            held.since = known.since;
        }
        if self.leases.insert(lease, held).is_none() {
            self.used.add(&held.resources);
            self.alone += u32::from(held.alone);
        }
    }

    pub(super) fn unhold(&mut self, lease: LeaseSeq) {
        if let Some(held) = self.leases.remove(&lease) {
            self.used.remove(&held.resources);
            self.alone -= u32::from(held.alone);
        }
    }

    /// Whether it takes new trials at all.
    pub(super) fn is_open(&self) -> bool {
        let is_willing = !self.draining && self.health.is_fit();
        self.link.is_some() && is_willing && self.alone == 0 && self.leases.len() < MAX_HELD
    }

    /// Whether one more attempt that takes `wanted` may be granted: it fits beside the others, or waits as one of the few
    /// that the worker holds in advance.
    pub(super) fn fits(&self, wanted: &Resources) -> bool {
        self.link.as_ref().is_some_and(|link| link.capacity.admits(&self.used, wanted, link.prefetch))
    }

    /// Why it cannot run this version, if it cannot.
    pub(super) fn why_not(&self, sweep: SweepId, version: u32) -> Option<&str> {
        let found = self.cannot_run.iter().find(|it| (it.sweep, it.version) == (sweep, version));
        found.map(|it| it.why.as_str())
    }

    /// Whether an attempt that takes `wanted` could be granted to it when it holds nothing.
    pub(super) fn could_ever_hold(&self, wanted: &Resources) -> bool {
        self.link.as_ref().is_some_and(|link| link.capacity.could_hold(wanted))
    }
}

/// A worker as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its id.
    pub worker: WorkerId,
    /// Its machine.
    pub host: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it takes no new trials.
    pub draining: bool,
    /// The machine of the fleet that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Trials that it holds.
    pub leased: usize,
    /// What it can hold; `None` while it is away.
    pub capacity: Option<Capacity>,
}
