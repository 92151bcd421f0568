//! Breakers: what stops a sweep whose trainer is broken, and a machine that fails whatever it is given.
//! Invariant: a breaker that a person has overruled (by resuming) does not trip again in a version
//! that has had a success; where none has succeeded yet, it counts anew.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::phase::PauseReason;
use crate::id::SweepId;
use crate::record::{Class, TrialState};

/// An attempt that failed within so many milliseconds failed fast.
pub(super) const FAST_MS: u64 = 5_000;
/// So many trials that were granted first stop the sweep if all of them fail before any succeeds.
const FIRST_FAILURES: usize = 3;
/// The second look comes when so many trials are settled.
const FIRST_SETTLED: u32 = 50;
/// A worker with so many fast failures in a row, of [`FIRST_FAILURES`] different trials, is drained.
const WORKER_FAILURES: usize = 5;

/// Watches the beginning of a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Breaker {
    disarmed: bool,
    succeeded: bool,
    /// The trials that were granted first: many that fail fast do not outvote those of them that still run.
    first: Vec<u64>,
    /// Those of them that failed fast, or without the metric, while none has succeeded.
    failed: BTreeSet<u64>,
    hosts: BTreeSet<String>,
    settled: u32,
    settled_badly: u32,
}

impl Breaker {
    /// A person goes on after a pause. Where nothing has succeeded so far, it counts anew.
    pub(super) fn overrule(&mut self, has_succeeded: bool) {
        let disarmed = self.disarmed || self.succeeded || has_succeeded;
        *self = Self { disarmed, ..Self::default() };
    }

    /// Whether nothing has succeeded so far, so that the first trials say most of all.
    pub(super) fn is_undecided(&self) -> bool {
        !self.disarmed && !self.succeeded
    }

    /// A trial is granted.
    pub(super) fn granted(&mut self, pos: u64) {
        if !self.disarmed && self.first.len() < FIRST_FAILURES && !self.first.contains(&pos) {
            self.first.push(pos);
        }
    }

    /// Takes note of an attempt's end.
    pub(super) fn ended(&mut self, pos: u64, end: &End<'_>) {
        if self.disarmed {
            return;
        }
        if end.class == Class::Succeeded {
            self.succeeded = true;
            self.failed.clear();
            self.hosts.clear();
        } else if !self.succeeded && end.is_the_programs() {
            if self.first.contains(&pos) {
                self.failed.insert(pos);
            }
            self.hosts.insert(end.host.to_owned());
        }
        if let Some(state) = end.settled.filter(|_| self.settled < FIRST_SETTLED) {
            self.settled += 1;
            self.settled_badly += u32::from(state == TrialState::Failed);
        }
    }

    /// Why the sweep should pause now, if it should. `hosts`: machines that are connected.
    pub(super) fn trip(&self, hosts: usize) -> Option<PauseReason> {
        if self.failed.len() >= FIRST_FAILURES && self.hosts.len() >= hosts.min(2) {
            let failed = u32::try_from(self.failed.len()).unwrap_or(u32::MAX);
            return Some(PauseReason::FirstTrialsFailed { failed });
        }
        (self.settled == FIRST_SETTLED && self.settled_badly * 2 > FIRST_SETTLED)
            .then_some(PauseReason::MostTrialsFailed { failed: self.settled_badly, of: FIRST_SETTLED })
    }
}

/// An attempt's end, as breakers see it.
pub(super) struct End<'a> {
    pub(super) class: Class,
    pub(super) fast: bool,
    pub(super) host: &'a str,
    pub(super) settled: Option<TrialState>,
}

impl End<'_> {
    /// Whether the program seems to be at fault, whatever the parameters: without its metric however long
    /// that took.
    fn is_the_programs(&self) -> bool {
        self.class == Class::NoMetric || self.fast && self.class == Class::Failed
    }
}

/// Watches one worker.
#[derive(Debug, Clone, Default)]
pub(super) struct WorkerBreaker {
    /// Its fast ends without a success in between.
    row: Vec<Fast>,
    /// So many of them are in doubt already.
    doubted: usize,
}

/// An attempt that ended badly as soon as it had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fast {
    /// Sweep, version, position.
    at: (SweepId, u32, u64),
    class: Class,
}

impl WorkerBreaker {
    /// Takes note of an attempt's end; true if the machine itself seems to be at fault.
    pub(super) fn ended(&mut self, at: (SweepId, u32, u64), class: Class, fast: bool) -> bool {
        if !matches!(class, Class::NoMetric | Class::Failed | Class::WorkerFault) || !fast {
            *self = Self::default();
            return false;
        }
        self.row.push(Fast { at, class });
        let distinct: BTreeSet<_> = self.row.iter().map(|fast| fast.at).collect();
        self.row.len() >= WORKER_FAILURES && distinct.len() >= FIRST_FAILURES
    }

    /// The positions of its failures that are not in doubt yet, by sweep and version; from now on they are.
    pub(super) fn doubt(&mut self) -> BTreeMap<(SweepId, u32), Vec<u64>> {
        let mut failures: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for fast in self.row.iter().skip(self.doubted).filter(|fast| fast.class != Class::WorkerFault) {
            let (sweep, version, pos) = fast.at;
            failures.entry((sweep, version)).or_default().push(pos);
        }
        self.doubted = self.row.len();
        failures
    }
}
