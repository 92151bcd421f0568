//! What is done next, and what answers mean.
//! Invariant: nothing is asked of the cloud that was not recorded before; a launch that is not wanted any more is not asked for
//! again, and stays open until it would have been seen.

use std::collections::BTreeMap;

use super::caps::Alive;
use super::{
    BACKOFF_MS, BATCH, COOL_DOWN_MS, CloudCall, DOOMED_MS, Demand, FleetRecord, Hold, JOIN_MS, LEAVE_MS,
    LOOK_MS, LaunchAnswer, LaunchId, MachineFleet, MachineId, Market, NEVER_JOINED, OpenLaunch, RETIRE_MS,
    SOON_MS, SeenMachine, VISIBLE_MS,
};
use crate::id::Time;

impl Demand {
    fn slots(self) -> u64 {
        self.backlog.min(self.at_once)
    }
}

impl MachineFleet {
    /// What is to be recorded now; to be made durable, applied, and followed by [`Self::calls`].
    #[must_use]
    pub fn decide(&mut self, now: Time, wall_ms: u64, demand: Demand) -> Vec<FleetRecord> {
        self.bill(now);
        let mut records = Vec::new();
        if now >= self.next_bill {
            records.push(FleetRecord::Billed(self.spent_until(wall_ms)));
        }
        self.look_at_the_deadline(wall_ms);
        self.hold = None;
        let missing = demand.slots().saturating_sub(self.slots());
        if missing == 0 {
            return records;
        }
        if self.has_spent_all() {
            self.hold = Some(Hold::Budget);
        } else if self.is_late() {
            self.hold = Some(Hold::Deadline);
        } else if self.never_joined >= NEVER_JOINED {
            self.hold = Some(Hold::NeverJoined);
        } else if let Some((pool, market)) = self.best(now) {
            let alive = Alive { machines: self.alive(), rate: self.price_now() };
            let wanted = missing.div_ceil(self.pools[pool].slots.max(1).into());
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(BATCH);
            let price = self.pools[pool].price(market);
            let launch = self.caps.launch(LaunchId(self.next_launch), (pool, market, price), wanted, alive);
            match launch {
                Some(launch) => records.push(FleetRecord::Intended(launch)),
                None if self.caps.room(alive) == 0 => self.hold = Some(Hold::Machines),
                None => self.hold = Some(Hold::Budget),
            }
        } else {
            self.hold = Some(Hold::Capacity);
        }
        records
    }

    /// Trials at once on what lives or was asked for; what ends or is about to counts no more.
    fn slots(&self) -> u64 {
        let slots = |pool: usize| self.pools.get(pool).map_or(0, |pool| u64::from(pool.slots));
        let machines = self.machines.values();
        let machines = machines.filter(|machine| machine.is_staying());
        let open = self.open.values().map(|open| slots(open.launch.pool) * u64::from(open.launch.count));
        machines.map(|machine| slots(machine.pool)).chain(open).sum()
    }

    /// The cheapest pool that may be asked now, for each trial at once; on demand only where that is allowed.
    fn best(&self, now: Time) -> Option<(usize, Market)> {
        let among = |market: Market| {
            let free = self.usable.iter().copied();
            let free = free.filter(|pool| self.cool.get(&(*pool, market)).is_none_or(|until| *until <= now));
            free.min_by_key(|pool| {
                let pool = &self.pools[*pool];
                u128::from(pool.price(market)) * 1_000 / u128::from(pool.slots.max(1))
            })
            .map(|pool| (pool, market))
        };
        let (spot, on_demand) = self.wanted_markets();
        spot.then(|| among(Market::Spot))
            .flatten()
            .or_else(|| on_demand.then(|| among(Market::OnDemand)).flatten())
    }

    /// What is to be asked of the cloud now.
    #[must_use]
    pub fn calls(&mut self, now: Time, demand: Demand) -> Vec<CloudCall> {
        self.bill(now);
        let over = demand.backlog == 0 || self.has_spent_all() || self.is_late();
        let mut calls = Vec::new();
        let known = self.pools.len();
        let due =
            |open: &&mut OpenLaunch| !over && !open.called && open.next <= now && open.launch.pool < known;
        for open in self.open.values_mut().filter(due) {
            open.called = true;
            open.tried = now;
            let pool = self.pools[open.launch.pool].clone();
            calls.push(CloudCall::Launch(open.launch.clone(), pool));
        }
        let (end, silent) = self.ending(now, demand, over);
        calls.extend(silent.map(CloudCall::Console));
        for id in &end {
            if let Some(machine) = self.machines.get_mut(id) {
                machine.ending = Some(now);
            }
        }
        if !end.is_empty() {
            calls.push(CloudCall::Terminate(end));
            // Whether they are gone is wanted soon.
            self.next_look = self.next_look.min(now.after_ms(SOON_MS));
        }
        if self.looking.is_none() && self.next_look <= now {
            self.looking = Some(now);
            calls.push(CloudCall::Look);
        }
        calls
    }

    /// The machines that are to end now, and one of them that never worked.
    fn ending(&mut self, now: Time, demand: Demand, over: bool) -> (Vec<MachineId>, Option<MachineId>) {
        let mut end = Vec::new();
        let mut failed = 0;
        let mut silent = None;
        let mut idle = Vec::new();
        for (id, machine) in &self.machines {
            if machine.ending.is_some_and(|asked| now.ms_since(asked) < 2 * LOOK_MS) {
                continue;
            }
            let late = |since: Time, most: u64| now.ms_since(since) >= most;
            let never_joined = machine.heard.is_none() && late(machine.since, JOIN_MS);
            let is_silent = machine.heard.is_some_and(|heard| late(heard, JOIN_MS));
            let has_finished = !machine.busy && machine.heard.is_some();
            if over
                || machine.ending.is_some()
                || never_joined
                || is_silent
                || machine.retiring.is_some_and(|since| has_finished || late(since, RETIRE_MS))
                || machine.leaving.is_some_and(|since| has_finished && late(since, LEAVE_MS))
                || machine.doomed.is_some_and(|at| late(at, DOOMED_MS))
            {
                if never_joined && !over && machine.ending.is_none() {
                    failed += 1;
                    silent = Some(id);
                }
                end.push(id.clone());
            } else if has_finished && machine.doomed.is_none() {
                idle.push((self.pools[machine.pool].price(machine.market), machine.pool, id.clone()));
            }
        }
        let silent = silent.cloned();
        self.never_joined += failed;
        let mut spare = self.slots().saturating_sub(demand.slots());
        // The dearest first.
        idle.sort_by(|one, other| other.cmp(one));
        for (_, pool, id) in idle {
            let slots = u64::from(self.pools[pool].slots);
            if !over && slots <= spare {
                spare -= slots;
                end.push(id);
            }
        }
        (end, silent)
    }

    /// What the answer to a launch means.
    #[must_use]
    pub fn on_answer(&mut self, now: Time, id: LaunchId, answer: LaunchAnswer) -> Vec<FleetRecord> {
        self.bill(now);
        let known = self.open.get(&id).map(|open| open.launch.clone());
        match answer {
            LaunchAnswer::Started(machines) => {
                if let Some(launch) = known.filter(|launch| machines.len() < launch.count as usize) {
                    self.cool.insert((launch.pool, launch.market), now.after_ms(COOL_DOWN_MS));
                }
                let mut records: Vec<FleetRecord> =
                    machines.into_iter().map(|machine| FleetRecord::Started(machine, id)).collect();
                records.push(FleetRecord::Settled(id));
                records
            }
            LaunchAnswer::NoCapacity => {
                if let Some(launch) = known {
                    self.cool.insert((launch.pool, launch.market), now.after_ms(COOL_DOWN_MS));
                }
                vec![FleetRecord::Settled(id)]
            }
            LaunchAnswer::Throttled | LaunchAnswer::Lost => {
                if let Some(open) = self.open.get_mut(&id) {
                    let wait = BACKOFF_MS.0.saturating_mul(1 << open.tries.min(10)).min(BACKOFF_MS.1);
                    open.tries = open.tries.saturating_add(1);
                    open.next = now.after_ms(wait);
                    open.called = false;
                }
                Vec::new()
            }
        }
    }

    /// What a look means; `None` if no answer came.
    #[must_use]
    pub fn on_look(&mut self, now: Time, seen: Option<Vec<SeenMachine>>, demand: Demand) -> Vec<FleetRecord> {
        self.bill(now);
        self.next_look = now.after_ms(LOOK_MS);
        let (Some(asked), Some(seen)) = (self.looking.take(), seen) else { return Vec::new() };
        let mut records = Vec::new();
        for machine in
            seen.iter().filter(|machine| !machine.ending && !self.machines.contains_key(&machine.id))
        {
            records.push(FleetRecord::Started(machine.id.clone(), machine.launch));
        }
        let shown: BTreeMap<&MachineId, bool> = seen.iter().map(|seen| (&seen.id, seen.ending)).collect();
        for (id, machine) in &self.machines {
            let is_gone = match shown.get(id) {
                Some(ending) => *ending,
                // What was just started is not seen by everybody.
                None => asked.ms_since(machine.since) >= VISIBLE_MS,
            };
            if is_gone {
                records.push(FleetRecord::Gone(id.clone()));
            }
        }
        let over = demand.backlog == 0 || self.has_spent_all() || self.is_late();
        let settled = self
            .open
            .values()
            .filter(|open| over && !open.called && asked.ms_since(open.tried) >= VISIBLE_MS);
        records.extend(settled.map(|open| FleetRecord::Settled(open.launch.id)));
        records
    }
}
