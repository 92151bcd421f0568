//! Trials that had ended are tried again, so many in a step.
//! Invariant: who asked hears of it once all of it is decided; what was retried, closed or replaced meanwhile is left.

use roaring::RoaringTreemap;

use super::Core;
use super::event::Event;
use super::phase::SweepPhase;
use super::step::{Answer, Effect, Refusal, Request, TrialPlace};
use super::sweep::Sweep;
use super::trial::Trial;
use crate::id::{SweepId, Time};
use crate::record::TrialState;

/// How many trials one step tries again, and one event tells of.
pub(super) const RETRIED_AN_EVENT: usize = 10_000;

/// What is still to be tried again.
#[derive(Debug)]
pub(super) struct Retrying {
    sweep: SweepId,
    version: u32,
    /// Positions of the walk, of trials that had ended without success when it was asked for.
    positions: RoaringTreemap,
}

impl Retrying {
    pub(super) fn new(sweep: &Sweep, positions: RoaringTreemap) -> Self {
        Self { sweep: sweep.id, version: sweep.version, positions }
    }
}

impl Core {
    /// A person wants trials tried again.
    pub(super) fn retry(&mut self, now: Time, request: Request, id: SweepId, trials: &[TrialPlace]) {
        let answer = self.try_retry(now, id, trials);
        self.answer_once_retried(request, answer);
    }

    fn try_retry(
        &mut self,
        now: Time,
        id: SweepId,
        trials: &[TrialPlace],
    ) -> Result<(Answer, Option<Retrying>), Refusal> {
        let sweep = self.sweeps.get(&id).ok_or(Refusal::UnknownSweep(id))?;
        let positions: Result<RoaringTreemap, _> =
            trials.iter().map(|trial| self.ended_at(sweep, trial)).collect();
        let retrying = Retrying::new(sweep, positions?);
        if sweep.phase.is_closed() {
            self.emit(now, Event::Steered { sweep: id, phase: SweepPhase::Running });
        }
        Ok((Answer::Done(retrying.positions.len()), Some(retrying)))
    }

    /// The position of a trial that has ended without success.
    fn ended_at(&self, sweep: &Sweep, place: &TrialPlace) -> Result<u64, Refusal> {
        let trial = place.trial;
        let index = place.point.as_ref().and_then(|(params, seed)| sweep.points.index_of(params, *seed));
        let known = index.map(|index| sweep.points.pos_of(index)).filter(|pos| sweep.trial_id(*pos) == trial);
        // A trial without a record has begun at most.
        let mut begun = self.leases.values().filter(|(id, _)| *id == sweep.id).map(|(_, pos)| *pos);
        let pos = known.or_else(|| begun.find(|pos| sweep.trial_id(*pos) == trial));
        let Some(pos) = pos else {
            return Err(Refusal::UnknownTrial { name: sweep.name().to_owned(), trial });
        };
        match sweep.trials.get(pos).map(Trial::is_leased) {
            Some(true) => Err(Refusal::NotEnded { trial, state: TrialState::Leased }),
            Some(false) => Err(Refusal::NotEnded { trial, state: TrialState::Pending }),
            None if has_ended(sweep, pos) => Ok(pos),
            None => {
                let state = sweep.trials.settled().state(pos).unwrap_or(TrialState::Pending);
                Err(Refusal::NotEnded { trial, state })
            }
        }
    }

    /// Answers a person, if need be only once the retry is decided to its end.
    pub(super) fn answer_once_retried(
        &mut self,
        request: Request,
        answer: Result<(Answer, Option<Retrying>), Refusal>,
    ) {
        match answer {
            Ok((answer, Some(retrying))) => self.retrying.push_back((request, answer, retrying)),
            Ok((answer, None)) => self.out.effects.push(Effect::Reply(request, Ok(answer))),
            Err(refusal) => self.out.effects.push(Effect::Reply(request, Err(refusal))),
        }
    }

    /// Whether trials of this sweep are still to be tried again.
    pub(super) fn is_retrying(&self, id: SweepId) -> bool {
        self.retrying.iter().any(|(_, _, retrying)| retrying.sweep == id)
    }

    /// Tries the next of them again.
    pub(super) fn retry_some(&mut self, now: Time) {
        let Some((request, mut answer, mut retrying)) = self.retrying.pop_front() else { return };
        let left = &mut retrying.positions;
        let stands = |sweep: &&Sweep| sweep.version == retrying.version && !sweep.phase.is_closed();
        if let Some(sweep) = self.sweeps.get(&retrying.sweep).filter(stands) {
            let some: Vec<u64> = left.iter().take(RETRIED_AN_EVENT).collect();
            left.remove_range(..=some.last().copied().unwrap_or(0));
            let positions: Vec<u64> = some.into_iter().filter(|pos| has_ended(sweep, *pos)).collect();
            if !positions.is_empty() {
                self.emit(now, Event::Retried { sweep: retrying.sweep, positions });
            }
        } else {
            if let Answer::Done(touched) = &mut answer {
                *touched -= left.len();
            }
            left.clear();
        }
        if retrying.positions.is_empty() {
            self.out.effects.push(Effect::Reply(request, Ok(answer)));
        } else {
            self.retrying.push_front((request, answer, retrying));
        }
        self.unfinished |= !self.retrying.is_empty();
    }
}

/// Whether the trial at this position has ended without success.
fn has_ended(sweep: &Sweep, pos: u64) -> bool {
    let state = sweep.trials.settled().state(pos);
    matches!(state, Some(TrialState::Failed | TrialState::Quarantined | TrialState::Cancelled))
}
