//! The auditor: holds what the journal says and what workers do against the promises.
//! Invariant: it believes nobody, and knows only what is durable and what was shown.

use std::collections::{BTreeMap, BTreeSet};

use gridctl_core::id::{Epoch, LeaseSeq, SweepId, Token, TrialId, WorkerId};
use gridctl_core::protocol::{MasterUpdate, ToWorker};
use gridctl_core::record::{Class, Record, TrialState};
use gridctl_core::sched::{Core, Ended, Event, Next, Step, Sweep, SweepPhase};

use crate::trainer;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

macro_rules! promise {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(Violation(format!($($said)+)));
        }
    };
}

mod budget;

/// What is durable, and what was seen.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    epoch: Epoch,
    last_lease: u64,
    sweeps: BTreeMap<SweepId, SweepAudit>,
    leases: BTreeSet<LeaseSeq>,
    ended: BTreeMap<LeaseSeq, Class>,
    records: BTreeMap<(u32, TrialId, u32), LeaseSeq>,
    /// Trials whose success was shown to a worker, by the code that was in force.
    acknowledged: BTreeSet<TrialId>,
}

/// What is durable of one sweep.
#[derive(Debug, Default)]
struct SweepAudit {
    /// The version that counts, and the tokens that stand in it.
    version: u32,
    held: BTreeMap<u64, (Token, WorkerId)>,
    settled: BTreeMap<u64, TrialState>,
    phase: SweepPhase,
    budgets: budget::Budgets,
}

impl Auditor {
    /// A batch became durable.
    pub(crate) fn committed(&mut self, step: &Step, core: &Core) -> Result<(), Violation> {
        for (_, event) in &step.events {
            self.event(event)?;
            if let Some(sweep) = event.sweep() {
                let audit = self.sweeps.entry(sweep).or_default();
                audit.event(event)?;
                audit.budgets.event(event)?;
            }
        }
        for outcome in &step.outcomes {
            self.record(&outcome.record)?;
        }
        self.conserved(core)
    }

    fn event(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Began { epoch } => {
                promise!(epoch.0 == self.epoch.0 + 1, "epoch {epoch} follows {}", self.epoch);
                self.epoch = *epoch;
            }
            Event::Leased { token, .. } => {
                promise!(
                    token.lease.0 > self.last_lease,
                    "lease {} follows {}",
                    token.lease,
                    self.last_lease
                );
                promise!(token.epoch == self.epoch, "a lease of epoch {} in {}", token.epoch, self.epoch);
                self.last_lease = token.lease.0;
                self.leases.insert(token.lease);
            }
            Event::Ended(Ended { lease, class, .. }) => {
                promise!(self.ended.insert(*lease, *class).is_none(), "lease {lease} ends twice");
            }
            _ => {}
        }
        Ok(())
    }

    /// A worker is about to say that its machine could not begin this attempt.
    pub(crate) fn not_begun(&mut self, lease: LeaseSeq) {
        self.sweeps.values_mut().for_each(|audit| audit.budgets.not_begun(lease));
    }

    /// How many failures of bad machines were given back.
    pub(crate) fn excused(&self) -> u64 {
        self.sweeps.values().map(|audit| audit.budgets.excused).sum()
    }

    fn record(&mut self, record: &Record) -> Result<(), Violation> {
        let token = record.report.token;
        promise!(
            self.leases.contains(&token.lease),
            "a record under lease {}, which was never granted",
            token.lease
        );
        let class = self.ended.get(&token.lease);
        promise!(
            class == Some(&record.report.class),
            "the record of lease {} says {}, its event {class:?}",
            token.lease,
            record.report.class
        );
        let pays = record.report.unbegun && self.has_paid(token.lease);
        promise!(!pays, "trial {} pays for what a machine could not begin", record.report.trial);
        if record.state == TrialState::Pending {
            return Ok(());
        }
        let key = (record.version, record.report.trial, record.generation);
        let before = self.records.insert(key, token.lease);
        promise!(
            before.is_none(),
            "trial {} has two terminal records in one generation",
            record.report.trial
        );
        if record.report.class == Class::Succeeded {
            let value = record.report.objective.map(|value| value.0);
            promise!(
                value == Some(trainer::objective(record.report.trial)),
                "trial {} has another's result",
                record.report.trial
            );
        }
        Ok(())
    }

    fn conserved(&self, core: &Core) -> Result<(), Violation> {
        core.sweeps().try_for_each(|sweep| self.sweep_conserved(sweep))
    }

    fn has_paid(&self, lease: LeaseSeq) -> bool {
        self.sweeps.values().any(|audit| audit.budgets.has_paid(lease))
    }

    fn sweep_conserved(&self, sweep: &Sweep) -> Result<(), Violation> {
        let status = sweep.status(gridctl_core::id::Time(0));
        let phase = self.sweeps.get(&sweep.id()).map(|audit| audit.phase);
        let sum = status.pending
            + status.leased
            + status.succeeded
            + status.failed
            + status.quarantined
            + status.cancelled
            + status.excluded;
        promise!(
            sum == sweep.points().len(),
            "the states of {} trials add up to {sum}: {status:?}",
            sweep.points().len()
        );
        promise!(
            Some(status.phase) == phase,
            "the sweep is {phase:?} by its events, and is shown as {:?}",
            status.phase
        );
        Ok(())
    }

    /// A message is about to leave the master.
    pub(crate) fn shown(&mut self, message: &ToWorker) -> Result<(), Violation> {
        let ToWorker::Update(MasterUpdate { grants, recorded, .. }) = message else { return Ok(()) };
        for grant in grants {
            promise!(
                self.leases.contains(&grant.token.lease),
                "lease {} is shown before it is durable",
                grant.token.lease
            );
        }
        for lease in recorded {
            promise!(
                self.ended.contains_key(lease),
                "lease {lease} is acknowledged before its end is durable"
            );
        }
        Ok(())
    }

    /// A worker hears that its attempt's report is recorded.
    pub(crate) fn acknowledged(&mut self, lease: LeaseSeq, trial: TrialId) {
        if self.ended.get(&lease) == Some(&Class::Succeeded) {
            self.acknowledged.insert(trial);
        }
    }

    /// A worker starts an attempt.
    pub(crate) fn started(&self, trial: TrialId) -> Result<(), Violation> {
        promise!(
            !self.acknowledged.contains(&trial),
            "trial {trial} starts again after its success was acknowledged"
        );
        Ok(())
    }
}

impl SweepAudit {
    fn event(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Submitted { version, .. } => {
                promise!(*version == self.version + 1, "version {version} follows {}", self.version);
                self.version = *version;
                self.settled.clear();
                // Positions mean something else now: what is held is looked up again when it ends.
                self.held.clear();
                self.phase = SweepPhase::Running;
            }
            Event::Leased { pos, token, worker, .. } => {
                let before = self.held.insert(*pos, (*token, *worker));
                promise!(before.is_none(), "position {pos} is leased twice: {before:?}, then {token:?}");
                promise!(!self.settled.contains_key(pos), "position {pos} is leased after it was settled");
            }
            Event::Ended(Ended { pos, lease, next, .. }) => {
                if let Some((token, _)) = self.held.remove(pos) {
                    promise!(
                        token.lease == *lease,
                        "lease {lease} ends, but {} holds position {pos}",
                        token.lease
                    );
                }
                if let Next::Done(state) = next {
                    let before = self.settled.insert(*pos, *state);
                    promise!(before.is_none(), "position {pos} is settled twice: {before:?}, then {state}");
                }
            }
            Event::Known { known, .. } => {
                for (pos, state) in known.states() {
                    let before = self.settled.insert(pos, state);
                    promise!(before.is_none(), "position {pos} was settled before it was known");
                }
            }
            Event::Retried { positions, .. } => positions.iter().for_each(|pos| {
                self.settled.remove(pos);
            }),
            Event::Steered { phase, .. } => {
                if !phase.is_closed() && self.phase.is_closed() {
                    self.settled.retain(|_, state| *state != TrialState::Cancelled);
                }
                self.phase = *phase;
            }
            Event::Began { .. }
            | Event::Joined { .. }
            | Event::Fleet(_)
            | Event::Located { .. }
            | Event::Passed { .. }
            | Event::Distrusted { .. }
            | Event::Excused { .. }
            | Event::Observed { .. } => {}
        }
        Ok(())
    }
}
