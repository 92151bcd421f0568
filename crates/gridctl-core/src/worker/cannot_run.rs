//! Versions of sweeps that a worker cannot run: what stands before a start fails there, whatever the
//! trial.
//! Invariant: a trial that is given back for it costs no budget, and the master hears why before or
//! with that.

use std::collections::VecDeque;

use super::WorkerProtocol;
use crate::attempt::StopReason;
use crate::id::{LeaseSeq, SweepId, Time};
use crate::protocol::{CannotRun, MAX_CANNOT_RUN};
use crate::record::Class;

/// What a trial's report says of it.
const WHY: &str = "the worker cannot run this sweep";

/// The last ones, each with the time from which on it is tried again.
#[derive(Debug, Default)]
pub(super) struct UnrunnableVersions(VecDeque<(CannotRun, Option<Time>)>);

impl UnrunnableVersions {
    /// All of them, for the master.
    pub(super) fn list(&self) -> Vec<CannotRun> {
        self.0.iter().map(|(version, _)| version.clone()).collect()
    }

    pub(super) fn has(&self, version: (SweepId, u32)) -> bool {
        self.0.iter().any(|(known, _)| (known.sweep, known.version) == version)
    }

    /// Forgets those that may be tried again.
    pub(super) fn tick(&mut self, now: Time) {
        self.0.retain(|(_, until)| until.is_none_or(|until| now < until));
    }

    /// It is said anew what the version is, and may be another thing.
    pub(super) fn forget(&mut self, version: (SweepId, u32)) {
        self.0.retain(|(known, _)| (known.sweep, known.version) != version);
    }

    fn insert(&mut self, version: CannotRun, until: Option<Time>) {
        self.0.retain(|(known, _)| (known.sweep, known.version) != (version.sweep, version.version));
        self.0.truncate(MAX_CANNOT_RUN - 1);
        self.0.push_front((version, until));
    }
}

impl WorkerProtocol {
    /// What stands before a start of this version has failed. Its trials go back, those that were
    /// given to a slot and wait for it, `waiting`, too; it is tried again after so many milliseconds,
    /// if at all.
    pub fn cannot_run(&mut self, now: Time, version: CannotRun, again_ms: Option<u64>, waiting: &[LeaseSeq]) {
        let key = (version.sweep, version.version);
        self.unrunnable.insert(version, again_ms.map(|ms| now.after_ms(ms)));
        let held = self.held.iter();
        let back = held.filter(|(lease, held)| {
            let is_its = (held.grant.sweep, held.grant.version) == key;
            is_its && (held.place.is_none() || waiting.contains(lease))
        });
        for lease in back.map(|(lease, _)| *lease).collect::<Vec<_>>() {
            let Some(held) = self.held.remove(&lease) else { continue };
            self.vacate(&held);
            if held.stopping != Some(StopReason::Fenced) {
                let class = held.stopping.map_or(Class::Drained, StopReason::class);
                self.not_started(&held.grant, class, WHY);
            }
        }
        self.admit(now);
    }

    /// Why a trial of this version is given back as soon as it comes, if it is.
    pub(super) fn refusal(&self, version: (SweepId, u32)) -> Option<(Class, &'static str)> {
        self.unrunnable.has(version).then_some((Class::Drained, WHY))
    }
}
