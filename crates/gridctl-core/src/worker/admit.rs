//! Which of the trials that a worker holds start now, in which slot, on which GPUs; and how many it
//! asks for in advance.
//! Invariant: what is started fits into the capacity, and no slot and no GPU serves two attempts at
//! once.

use std::sync::Arc;

use super::{AttemptStart, HeldAttempt, WaitingLine, WorkerAction, WorkerProtocol};
use crate::id::{LeaseSeq, Time};

/// Work that a worker likes to hold in advance, in microseconds: more than a commit and a round
/// trip take.
const AHEAD_US: u64 = 50_000;
/// Attempts that take longer are not held in advance: the round trip does not matter then.
const LONG_US: u64 = 1_000_000;
/// A slot is given its next attempt in advance where they are not longer than this, in
/// microseconds: for longer ones the time between two is no loss.
const SHORT_US: u64 = 20_000;
/// The most that is held in advance for one slot.
const MOST_AHEAD: u64 = 64;

impl WorkerProtocol {
    /// Until when a trainer may be started: after half a lease without a word from the master its
    /// trial may be another's.
    fn may_start_by(&self) -> Time {
        self.confirmed.after_ms(self.ttl_ms / 2)
    }

    /// Gives to slots what fits, in the order of the leases; what does not fit lets smaller ones
    /// pass.
    pub(super) fn admit(&mut self, now: Time) {
        let takes = self.draining.is_none() && self.machine.is_fit() && self.unpublished.is_empty();
        if !takes || now > self.may_start_by() {
            return;
        }
        let mut placed = Vec::new();
        // What did not fit, lest the same be tried for each of many.
        let mut refused = None;
        for (lease, held) in self.held.iter().filter(|(_, held)| held.place.is_none()) {
            let resources = held.grant.resources;
            if refused == Some(resources) {
                continue;
            }
            if !self.config.capacity.admits(&self.used, &resources, 0) {
                refused = Some(resources);
                continue;
            }
            self.used.add(&resources);
            let slot = lowest_free(|slot| self.slots.contains_key(&slot));
            self.slots.insert(slot, WaitingLine { front: *lease, behind: None });
            let mut gpus = Vec::new();
            for _ in 0..resources.gpus {
                let gpu = lowest_free(|gpu| self.gpus.contains(&gpu));
                self.gpus.insert(gpu);
                gpus.push(gpu);
            }
            placed.push((*lease, slot, gpus));
        }
        for (lease, slot, gpus) in placed {
            self.start(now, lease, (slot, gpus));
        }
        self.place_behind(now);
        self.recall_what_fits();
    }

    /// Where attempts are short, a slot gets its next one in advance, lest it wait for a round
    /// trip. Only where memory is not limited: whose a kill for memory was is told by when the
    /// slot's count of them is read. Not in containers either: what an attempt leaves there is
    /// looked at before the next one's directories are made.
    fn place_behind(&mut self, now: Time) {
        if self.pace_us.is_none_or(|pace| pace > SHORT_US) {
            return;
        }
        let open: Vec<_> =
            self.slots.iter().filter(|(_, line)| line.behind.is_none()).map(|(slot, _)| *slot).collect();
        for slot in open {
            let Some(line) = self.slots.get_mut(&slot) else { continue };
            let Some(front) = self.held.get(&line.front) else { continue };
            let resources = front.grant.resources;
            let is_contained = |held: &HeldAttempt| held.sweep.spec.image.is_some();
            let lines_up = resources.mem_mib == 0 && !is_contained(front);
            let Some((_, gpus)) = front.place.clone().filter(|_| lines_up) else { continue };
            let fits = |held: &HeldAttempt| {
                held.place.is_none() && held.grant.resources == resources && !is_contained(held)
            };
            let Some((lease, _)) = self.held.iter().find(|(_, held)| fits(held)) else { continue };
            let lease = *lease;
            line.behind = Some(lease);
            self.start(now, lease, (slot, gpus));
        }
    }

    fn start(&mut self, now: Time, lease: LeaseSeq, (slot, gpus): (u32, Vec<u32>)) {
        let by = self.may_start_by();
        let Some(held) = self.held.get_mut(&lease) else { return };
        (held.place, held.placed) = (Some((slot, gpus.clone())), now);
        let (grant, sweep) = (held.grant.clone(), Arc::clone(&held.sweep));
        self.out.push(WorkerAction::Start(Box::new(AttemptStart { grant, sweep, slot, gpus, by })));
    }

    /// When there is room, nothing shall wait behind what may take longer than was thought. One
    /// that was asked back and did not come has begun, since the one before it merely publishes;
    /// others may still wait.
    fn recall_what_fits(&mut self) {
        let Self { slots, held, config, used, .. } = self;
        let mut behind = slots.values().filter_map(|line| line.behind);
        let fits = |held: &HeldAttempt| config.capacity.admits(used, &held.grant.resources, 0);
        let waits = |lease: &LeaseSeq| held.get(lease).is_some_and(|held| !held.recalled && fits(held));
        if let Some(held) = behind.find(waits).and_then(|lease| self.held.get_mut(&lease)) {
            held.recalled = true;
            self.out.push(WorkerAction::Recall(held.grant.token.lease));
        }
    }

    /// `held` leaves its slot, which the one behind it takes over as it is.
    pub(super) fn vacate(&mut self, held: &HeldAttempt) {
        let Some((slot, gpus)) = &held.place else { return };
        let Some(line) = self.slots.get_mut(slot) else { return };
        let behind = line.behind.take();
        if line.front != held.grant.token.lease {
            return;
        }
        if let Some(next) = behind {
            line.front = next;
            return;
        }
        self.slots.remove(slot);
        self.used.remove(&held.grant.resources);
        for gpu in gpus {
            self.gpus.remove(gpu);
        }
    }

    /// Learns from an attempt's duration how many trials to hold in advance: enough to keep the
    /// slots busy while the master commits, few enough that a lost worker delays little.
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

fn lowest_free(is_taken: impl Fn(u32) -> bool) -> u32 {
    (0..).find(|number| !is_taken(*number)).unwrap_or(0)
}
