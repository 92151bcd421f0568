//! Which of the trials that a worker holds start now, in which slot, on which GPUs; and how many it asks for in advance.
//! Invariant: what is started fits into the capacity, and no slot and no GPU serves two attempts at once.

use super::{Action, Held, Start, Worker};
use crate::id::{LeaseSeq, Time};

/// Work that a worker likes to hold in advance, in microseconds: more than a commit and a round trip take.
const AHEAD_US: u64 = 50_000;
/// Attempts that take longer are not held in advance: the round trip does not matter then.
const LONG_US: u64 = 1_000_000;
/// The most that is held in advance for one slot.
const MOST_AHEAD: u64 = 64;

impl Worker {
    /// Starts what fits, in the order of the leases; what does not fit lets smaller ones pass. After half a lease without a
    /// word from the master nothing is started: it may be another's by now.
    pub(super) fn admit(&mut self, now: Time) {
        if self.draining.is_some() || now.ms_since(self.confirmed) > self.ttl_ms / 2 {
            return;
        }
        let waiting: Vec<LeaseSeq> =
            self.held.iter().filter(|(_, held)| held.place.is_none()).map(|(lease, _)| *lease).collect();
        for lease in waiting {
            let Some(held) = self.held.get(&lease) else { continue };
            let resources = held.grant.resources;
            if !self.config.capacity.admits(&self.used, &resources, 0) {
                continue;
            }
            self.used.add(&resources);
            let slot = lowest_free(&self.slots);
            self.slots.insert(slot);
            let mut gpus = Vec::new();
            for _ in 0..resources.gpus {
                let gpu = lowest_free(&self.gpus);
                self.gpus.insert(gpu);
                gpus.push(gpu);
            }
            if let Some(held) = self.held.get_mut(&lease) {
                held.place = Some((slot, gpus.clone()));
                let start = Start {
                    grant: held.grant.clone(),
                    sweep: std::sync::Arc::clone(&held.sweep),
                    slot,
                    gpus,
                };
                self.out.push(Action::Start(Box::new(start)));
            }
        }
    }

    pub(super) fn vacate(&mut self, held: &Held) {
        if let Some((slot, gpus)) = &held.place {
            self.used.remove(&held.grant.resources);
            self.slots.remove(slot);
            for gpu in gpus {
                self.gpus.remove(gpu);
            }
        }
    }

    /// Learns from an attempt's duration how many trials to hold in advance: enough to keep the slots busy while the
    /// master commits, few enough that a lost worker delays little.
    pub(super) fn learn(&mut self, duration_ms: u64) {
        let us = duration_ms.saturating_mul(1000).max(500);
        let pace = self.pace_us.map_or(us, |pace| (pace.saturating_mul(7).saturating_add(us)) / 8);
        self.pace_us = Some(pace);
        let each =
            if pace >= LONG_US { 0 } else { (AHEAD_US / pace).clamp(1, MOST_AHEAD).next_power_of_two() };
        let capacity = &self.config.capacity;
        let slots = if capacity.slots > 0 { capacity.slots } else { (capacity.cpu_milli / 1000).max(1) };
        self.prefetch = u32::try_from(each).unwrap_or(0).saturating_mul(slots).min(256);
    }
}

fn lowest_free(taken: &std::collections::BTreeSet<u32>) -> u32 {
    (0..).find(|number| !taken.contains(number)).unwrap_or(0)
}
