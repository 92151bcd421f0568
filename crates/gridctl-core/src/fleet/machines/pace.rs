//! What a deadline changes about the plan: which markets machines come from now, and which machines on demand are let go again.
//! Invariant: machines on demand are started only where the setup allows them; with a deadline only while it needs them.

use super::super::deadline::{DeadlineRule, Pace, WorkLeft};
use super::{MachineFleet, MachineId, Market, Markets};
use crate::id::Time;

impl MachineFleet {
    /// The deadline that holds from now on; what is known of the same one stays known.
    pub(super) fn set_deadline(&mut self, at: Option<u64>) {
        if self.deadline.as_ref().map(DeadlineRule::at) != at {
            self.deadline = at.map(DeadlineRule::new);
            self.is_late = false;
        }
    }

    /// Whether anything waits for [`Self::on_work_left`].
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        self.deadline.is_some()
    }

    /// The deadline has passed: everything ends.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.is_late
    }

    pub(super) fn look_at_the_deadline(&mut self, wall_ms: u64) {
        self.is_late = self.deadline.as_ref().is_some_and(|rule| rule.at() <= wall_ms);
    }

    /// So much work is left at this moment, in milliseconds since 1970.
    pub fn on_work_left(&mut self, wall_ms: u64, work: &WorkLeft) {
        if let Some(rule) = &mut self.deadline {
            rule.step(wall_ms, work);
        }
    }

    /// What the deadline wants; without one, or before anything is known of the work, the spot market is enough.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.deadline.as_ref().map_or(Pace::Ahead, DeadlineRule::pace)
    }

    /// Whether machines may come from the spot market now, and whether from the other where that has none.
    pub(super) fn wanted_markets(&self) -> (bool, bool) {
        match (self.markets, self.pace()) {
            (Markets::Spot, _) => (true, false),
            (Markets::OnDemand, _) => (false, true),
            (Markets::SpotThenOnDemand, _) if self.deadline.is_none() => (true, true),
            (Markets::SpotThenOnDemand, Pace::Ahead) => (true, false),
            (Markets::SpotThenOnDemand, Pace::Behind) => (true, true),
            (Markets::SpotThenOnDemand, Pace::ToTheEnd) => (false, true),
        }
    }

    /// Machines on demand whose workers are to take no more, because the spot market is enough for the deadline: what runs there may
    /// end, and then they do.
    #[must_use]
    pub fn leave(&mut self, now: Time) -> Vec<MachineId> {
        let is_enough = self.deadline.is_some()
            && self.markets == Markets::SpotThenOnDemand
            && self.pace() == Pace::Ahead;
        for machine in self.machines.values_mut().filter(|machine| machine.market == Market::OnDemand) {
            if is_enough && machine.is_staying() && machine.heard.is_some() {
                machine.leaving = Some(now);
            }
        }
        let leaving = self.machines.iter().filter(|(_, machine)| machine.leaving.is_some());
        leaving.map(|(id, _)| id.clone()).collect()
    }
}
