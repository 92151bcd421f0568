//! Settled positions of a walk, by state.
//! Invariant: a position is in one set at most, and finished stretches are ranges that take no memory to speak of.

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::record::TrialState;

/// Settled positions by state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Settled {
    pub(super) succeeded: RoaringTreemap,
    pub(super) failed: RoaringTreemap,
    pub(super) quarantined: RoaringTreemap,
    pub(super) cancelled: RoaringTreemap,
    pub(super) excluded: RoaringTreemap,
}

impl Settled {
    pub(super) fn all(&self) -> [(TrialState, &RoaringTreemap); 5] {
        [
            (TrialState::Succeeded, &self.succeeded),
            (TrialState::Failed, &self.failed),
            (TrialState::Quarantined, &self.quarantined),
            (TrialState::Cancelled, &self.cancelled),
            (TrialState::Excluded, &self.excluded),
        ]
    }

    pub(super) fn state(&self, pos: u64) -> Option<TrialState> {
        self.all().into_iter().find(|(_, set)| set.contains(pos)).map(|(state, _)| state)
    }

    pub(super) fn insert(&mut self, pos: u64, state: TrialState) {
        match state {
            TrialState::Succeeded => self.succeeded.insert(pos),
            TrialState::Failed => self.failed.insert(pos),
            TrialState::Quarantined => self.quarantined.insert(pos),
            TrialState::Excluded => self.excluded.insert(pos),
            TrialState::Cancelled | TrialState::Pending | TrialState::Leased => self.cancelled.insert(pos),
        };
    }

    pub(super) fn remove(&mut self, pos: u64) {
        for set in [&mut self.succeeded, &mut self.failed, &mut self.quarantined, &mut self.cancelled] {
            set.remove(pos);
        }
    }

    /// Finished stretches become ranges, which take no memory to speak of.
    pub(super) fn optimize(&mut self) {
        for set in [&mut self.succeeded, &mut self.failed, &mut self.cancelled, &mut self.excluded] {
            set.optimize();
        }
    }
}
