//! A journal made again from what a results volume holds: versions and records become the events
//! that they tell of.
//! Invariant: state changes by events alone, through the same `apply`; a record that does not fit
//! makes none. What was not recorded (pauses, backoffs, leases) is not made up.

use std::sync::Arc;

use super::Core;
use super::end::{ended, follow};
use super::event::{Event, Next};
use super::known::{JoinedOutcome, LinkSource, Reading};
use super::known_trials::{KnownTrials, LinkSum};
use super::phase::{CloseReason, PauseReason, SweepPhase};
use super::trial::Lease;
use crate::id::{Epoch, SweepId, Time, TrialId};
use crate::leaderboard::Brief;
use crate::points::{GridError, Points};
use crate::protocol::FrozenSweep;
use crate::record::{Record, TrialState};

/// Tokens have smaller numbers than this, so that the next ones follow.
const LARGEST_LEASE: u64 = 1 << 60;
const LARGEST_ATTEMPT: u32 = 1 << 30;
const LARGEST_EPOCH: u32 = 1 << 30;
/// A trial is not tried again more often than this.
const LARGEST_GENERATION: u32 = 10_000;
/// So many positions are looked at that are no points; beyond, the next master goes on.
const PASSED: u64 = 1 << 20;
const PASSED_AN_EVENT: u64 = 10_000;

/// A record that does not fit what it is said to be of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordMisfit {
    /// Its sweep is in another version, or in none.
    #[error("it is of version {0}, which is not the one that is read")]
    Version(u32),
    /// The version has another trial there.
    #[error("its version has no trial {trial} at {index}")]
    Place {
        /// The trial.
        trial: TrialId,
        /// Its place, as the record says.
        index: u64,
    },
    /// No master grants such a token, and no trial has so many generations.
    #[error("its token or its generation is out of range")]
    Range,
    /// An attempt does not end so.
    #[error("no attempt leaves a trial {0}")]
    State(TrialState),
    /// Another record has ended the trial.
    #[error("generation {0} of its trial has ended with another record")]
    Ended(u32),
}

impl Core {
    /// A version of a sweep, after the version before it.
    ///
    /// # Errors
    /// [`GridError`]: its points cannot be counted.
    pub fn rebuild_version(
        &mut self,
        now: Time,
        sweep: SweepId,
        version: u32,
        frozen: FrozenSweep,
    ) -> Result<(), GridError> {
        Points::new(Arc::new(frozen.spec.clone()))?;
        self.emit(now, Event::Submitted { sweep, version, frozen: Arc::new(frozen) });
        Ok(())
    }

    /// Records of earlier versions that stand for the sweep's newest one, each with its outcome's
    /// number: they are linked.
    /// Returns how many fit no trial that is left.
    pub fn rebuild_links(&mut self, now: Time, id: SweepId, links: &[JoinedOutcome]) -> u64 {
        let all = links.len() as u64;
        all - self.join(now, id, links).known
    }

    /// What a record of an earlier version is linked as for the sweep's newest one, under its
    /// outcome's number `seq`; `None` if that has no such trial.
    #[must_use]
    pub fn link_of(&self, id: SweepId, record: &Record, seq: u64) -> Option<JoinedOutcome> {
        let sweep = self.sweeps.get(&id).filter(|sweep| record.version < sweep.version)?;
        let ends =
            matches!(record.state, TrialState::Succeeded | TrialState::Failed | TrialState::Quarantined);
        let seed = Brief::from(record).seed();
        let index = sweep.points.index_of_near(&record.params, seed, Some(record.index)).filter(|_| ends)?;
        let objective = record.report.objective.map(|value| value.0);
        let link = Some(LinkSource { version: record.version, code: record.code });
        let pos = sweep.points.pos_of(index);
        Some(JoinedOutcome { seq, index, pos, state: record.state, objective, reading: Reading::Same, link })
    }

    /// A record of the sweep's version, in the order in which attempts ended.
    ///
    /// # Errors
    /// [`RecordMisfit`]: the record is of something else. Nothing was changed.
    pub fn rebuild_record(&mut self, now: Time, id: SweepId, record: &Record) -> Result<(), RecordMisfit> {
        let pos = self.place(id, record)?;
        let Some(sweep) = self.sweeps.get(&id) else { return Err(RecordMisfit::Version(record.version)) };
        let generation = sweep.trials.generation(pos);
        if sweep.trials.settled().state(pos).is_some() && record.generation <= generation {
            return Err(RecordMisfit::Ended(generation));
        }
        let is_known = record.known_from.is_some() && record.state != TrialState::Pending;
        if is_known && record.generation == 1 && sweep.trials.get(pos).is_none() {
            let objective = record.report.objective.map(|value| value.0);
            let known = KnownTrials::of(sweep, &[(pos, record.state, objective)]);
            let (version, links) = (record.version, LinkSum::default());
            self.emit(now, Event::Known { sweep: id, version, known, links });
            return Ok(());
        }
        for _ in generation..record.generation {
            self.emit(now, Event::Retried { sweep: id, positions: vec![pos] });
        }
        let (worker, token) = (record.worker, record.report.token);
        if self.workers.get(&worker).is_none_or(|known| known.host != record.host) {
            self.emit(now, Event::Joined { worker, host: record.host.clone() });
        }
        self.emit(now, Event::Leased { sweep: id, pos, token, worker });
        let Some(sweep) = self.must_have(id) else { return Ok(()) };
        let lease = Lease { token, worker, host: record.host.clone() };
        let next = match (record.state, follow(sweep, pos, &lease, &record.report)) {
            (TrialState::Pending, Next::Again { tally, avoid, .. }) => {
                Next::Again { tally, delay_ms: 0, avoid }
            }
            // It was decided otherwise: a budget was given back, say.
            (TrialState::Pending, Next::Done(_)) => {
                let tally = sweep.trials.get(pos).map(|trial| trial.tally).unwrap_or_default();
                Next::Again { tally, delay_ms: 0, avoid: None }
            }
            (state, _) => Next::Done(state),
        };
        let event = ended((id, pos), &record.report, next);
        self.emit(now, event);
        Ok(())
    }

    /// All records of a sweep's newest version were told: where it stands now. With trials left it
    /// waits for a person.
    pub fn rebuild_end(&mut self, now: Time, id: SweepId) {
        let mut left = PASSED;
        while let Some(ahead) = self.sweeps.get(&id).and_then(|sweep| sweep.look_ahead(PASSED_AN_EVENT)) {
            let upto = ahead.upto;
            self.emit(now, Event::Passed { sweep: id, upto, excluded: ahead.excluded });
            left = left.saturating_sub(ahead.looked_at);
            if ahead.found || left == 0 {
                break;
            }
        }
        let Some(sweep) = self.must_have(id) else { return };
        let objective = sweep.frozen.spec.objective.as_ref();
        let reached = objective.is_some_and(|objective| {
            let is_good = |target, best| best == target || objective.goal.better(best, target);
            objective.target.zip(sweep.best).is_some_and(|(target, (best, _))| is_good(target, best))
        });
        let is_done = sweep.trials.len() == 0 && !sweep.has_fresh();
        let phase = match () {
            () if reached => SweepPhase::Closed(CloseReason::TargetReached),
            () if !sweep.trials.settled().cancelled.is_empty() => SweepPhase::Closed(CloseReason::Cancelled),
            () if is_done && sweep.cursor >= sweep.points.len() => SweepPhase::Closed(CloseReason::Finished),
            () if is_done => SweepPhase::Closed(CloseReason::CapReached),
            () => SweepPhase::Paused(PauseReason::Rebuilt),
        };
        self.emit(now, Event::Steered { sweep: id, phase });
    }

    /// Everything was told: an epoch above `highest`, the highest that is known of, has begun.
    pub fn rebuild_epoch(&mut self, now: Time, highest: Epoch) {
        self.emit(now, Event::Began { epoch: Epoch(highest.0.min(LARGEST_EPOCH) + 1) });
    }

    /// The position of the record's trial.
    fn place(&self, id: SweepId, record: &Record) -> Result<u64, RecordMisfit> {
        let (token, trial, index) = (record.report.token, record.report.trial, record.index);
        let of_version = self.sweeps.get(&id).filter(|sweep| sweep.version == record.version);
        let sweep = of_version.ok_or(RecordMisfit::Version(record.version))?;
        if index >= sweep.points.len() || sweep.points.trial_id(index) != trial {
            return Err(RecordMisfit::Place { trial, index });
        }
        let is_token = token.lease.0 < LARGEST_LEASE
            && token.attempt < LARGEST_ATTEMPT
            && token.epoch.0 <= LARGEST_EPOCH;
        if !is_token || !(1..=LARGEST_GENERATION).contains(&record.generation) {
            return Err(RecordMisfit::Range);
        }
        match record.state {
            TrialState::Leased | TrialState::Excluded => Err(RecordMisfit::State(record.state)),
            _ => Ok(sweep.points.pos_of(index)),
        }
    }
}
