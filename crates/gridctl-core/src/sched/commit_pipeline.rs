//! The master's loop without its waiting: one commit at a time, everything that came meanwhile is the next one.
//! Invariant: no effect leaves before the events of its batch, and of all batches before, are durable.

use std::collections::VecDeque;

use super::Core;
use super::prior_outcomes::PriorOutcomes;
use super::step::{Conn, Effect, Input, Step};
use crate::id::Time;

/// The core, and the batches around it.
#[derive(Debug)]
pub struct CommitPipeline {
    core: Core,
    inbox: VecDeque<Input>,
    /// Stepped, and being made durable.
    underway: Option<Step>,
}

impl CommitPipeline {
    /// The pipeline of a core that has begun its epoch; the beginning is the first batch.
    #[must_use]
    pub fn new(core: Core) -> Self {
        Self { core, inbox: VecDeque::new(), underway: None }
    }

    /// The core, for questions. What it says may not be durable yet.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Something happened; it is stepped with the next batch.
    pub fn push(&mut self, input: Input) {
        self.inbox.push_back(input);
    }

    /// Inputs that wait for the commit that is underway.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Steps everything that waits. The result is to be made durable, if it has events at all, and then
    /// [`CommitPipeline::committed`] called. `None` while a commit is underway.
    ///
    /// A submission is always the first of its batch, so that `look_up` can read from the journal what may be known of it:
    /// every outcome that this master has ever decided is durable then. What was looked up before is not looked up again.
    pub fn batch(&mut self, now: Time, look_up: &mut dyn FnMut(&mut PriorOutcomes)) -> Option<&Step> {
        if self.underway.is_some() {
            return None;
        }
        let mut is_first = true;
        while let Some(mut input) =
            self.inbox.pop_front_if(|input| is_first || !matches!(input, Input::Submit(..)))
        {
            if let Input::Submit(_, submission) = &mut input
                && let Some(mut candidates) = PriorOutcomes::of(&self.core, submission)
            {
                look_up(&mut candidates);
                submission.known = candidates.chosen();
            }
            self.core.step(now, input);
            is_first = false;
        }
        self.core.settle(now);
        self.underway = Some(self.core.take());
        self.underway.as_ref()
    }

    /// The batch that is being made durable.
    #[must_use]
    pub fn underway(&self) -> Option<&Step> {
        self.underway.as_ref()
    }

    /// The batch is durable: its effects may go out.
    #[must_use]
    pub fn committed(&mut self) -> Vec<Effect> {
        self.underway.take().map(|step| step.effects).unwrap_or_default()
    }

    /// The batch cannot be made durable for now (no space left): workers that speak meanwhile keep their leases.
    pub fn hold_out(&mut self, now: Time) {
        let speaking: Vec<Conn> = self
            .inbox
            .iter()
            .filter_map(|input| match input {
                Input::Said(conn, _) => Some(*conn),
                _ => None,
            })
            .collect();
        for conn in speaking {
            self.core.renew(now, conn);
        }
    }
}
