//! Trials that run are ended because a person wants them no more.
//! Invariant: all that were named are ended, or none; a trial that has ended keeps its outcome.

use super::Core;
use super::step::{Answer, Effect, Refusal, Request};
use crate::id::{SweepId, Time, TrialId};
use crate::record::{Class, TrialState};

impl Core {
    /// A person wants trials ended that run. They are not tried again, unless somebody asks for it.
    pub(super) fn cancel_trials(&mut self, now: Time, request: Request, id: SweepId, trials: &[TrialId]) {
        let answer = self.try_cancel_trials(now, id, trials);
        self.out.effects.push(Effect::Reply(request, answer));
    }

    fn try_cancel_trials(&mut self, now: Time, id: SweepId, trials: &[TrialId]) -> Result<Answer, Refusal> {
        let sweep = self.sweeps.get(&id).ok_or(Refusal::UnknownSweep(id))?;
        let held: Vec<(TrialId, u64)> = self
            .leases
            .values()
            .filter(|(of, _)| *of == id)
            .map(|(_, pos)| (sweep.trial_id(*pos), *pos))
            .collect();
        let mut positions = Vec::with_capacity(trials.len());
        for trial in trials {
            let pos = held.iter().find(|(held, _)| held == trial).map(|(_, pos)| *pos);
            positions.push(pos.ok_or(Refusal::NotRunning { trial: *trial })?);
        }
        positions.sort_unstable();
        positions.dedup();
        for pos in &positions {
            self.tell_to_stop(id, *pos);
            self.end_as(now, id, *pos, Class::Cancelled);
            let state = self.sweeps.get(&id).and_then(|sweep| sweep.trials.settled().state(*pos));
            if state != Some(TrialState::Cancelled) {
                self.broken("a trial was cancelled and is not settled so");
            }
        }
        Ok(Answer::Done(positions.len() as u64))
    }
}
