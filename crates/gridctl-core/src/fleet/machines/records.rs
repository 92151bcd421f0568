//! Records change the fleet: the one way in, live and on replay; and a fleet as the records that make it again.
//! Invariant: applying cannot fail.

use super::{
    BILL_MS, Bill, FleetRecord, FleetSetup, Launch, LaunchId, Machine, MachineFleet, Market, OpenLaunch, Pool,
};
use crate::id::Time;

impl MachineFleet {
    /// Takes in a record, of now or of a journal; it cannot fail.
    pub fn apply(&mut self, now: Time, record: &FleetRecord) {
        self.bill(now);
        match record {
            FleetRecord::Intended(launch) => {
                self.next_launch = self.next_launch.max(launch.id.0.saturating_add(1));
                let open =
                    OpenLaunch { launch: launch.clone(), tried: now, next: now, tries: 0, called: false };
                self.open.insert(launch.id, open);
            }
            FleetRecord::Settled(id) => {
                self.next_launch = self.next_launch.max(id.0.saturating_add(1));
                self.open.remove(id);
            }
            FleetRecord::Started(id, launch) => {
                let of = self.open.get(launch).map(|open| (open.launch.pool, open.launch.market));
                // What nobody remembers counts as the dearest.
                let (pool, market) = of.unwrap_or((self.dearest(), Market::OnDemand));
                let machine = Machine {
                    launch: *launch,
                    pool,
                    market,
                    since: now,
                    heard: None,
                    busy: false,
                    doomed: None,
                    retiring: None,
                    leaving: None,
                    ending: None,
                };
                self.machines.entry(id.clone()).or_insert(machine);
            }
            FleetRecord::Gone(id) => {
                self.machines.remove(id);
            }
            FleetRecord::Billed(bill) => {
                self.caps.at_least(bill.spent);
                self.on_demand.at_least(bill.on_demand);
                self.wasted.at_least(bill.wasted);
                self.machine_ms = self.machine_ms.max(bill.machine_ms);
                self.billed_wall_ms = Some(bill.wall_ms);
                self.next_bill = now.after_ms(BILL_MS);
            }
            FleetRecord::Set(setup) => self.set(setup),
            FleetRecord::Scaled(machines) => self.caps.scale(*machines),
        }
    }

    /// Pools keep their places for ever; those that are not named any more are used no more.
    fn set(&mut self, setup: &FleetSetup) {
        let FleetSetup { pools, markets, machines, budget, reserve_ms, .. } = setup;
        let mut place = |pool: &Pool| {
            self.pools.iter().position(|known| known == pool).unwrap_or_else(|| {
                self.pools.push(pool.clone());
                self.pools.len() - 1
            })
        };
        self.usable = pools.iter().map(&mut place).collect();
        self.markets = *markets;
        self.caps.set(*machines, *budget, *reserve_ms);
        self.set_deadline(setup.deadline_wall_ms);
        self.setup = Some(setup.clone());
    }

    /// A master begins whose journal has been applied: what lives was paid for meanwhile.
    pub fn resume(&mut self, now: Time, wall_ms: u64) {
        let away = self.billed_wall_ms.map_or(0, |billed| wall_ms.saturating_sub(billed));
        self.bill_for(away);
        self.bill(now);
    }

    /// What was spent so far, as a journal keeps it.
    #[must_use]
    pub fn spent_until(&self, wall_ms: u64) -> Bill {
        let (spent, on_demand, wasted) = (self.spent(), self.on_demand.shown(), self.wasted.shown());
        Bill { spent, on_demand, machine_ms: self.machine_ms, wasted, wall_ms }
    }

    /// Records that make the same fleet, as far as a journal knows it.
    #[must_use]
    pub fn as_records(&self) -> Vec<FleetRecord> {
        let Some(setup) = &self.setup else { return Vec::new() };
        // Places of pools first.
        let named = FleetSetup { pools: self.pools.clone(), ..setup.clone() };
        let mut records = vec![FleetRecord::Set(named), FleetRecord::Set(setup.clone())];
        records.push(FleetRecord::Scaled(self.caps.machines()));
        records.extend(self.billed_wall_ms.map(|wall_ms| FleetRecord::Billed(self.spent_until(wall_ms))));
        for (id, machine) in &self.machines {
            let Machine { launch, pool, market, .. } = *machine;
            records.push(FleetRecord::Intended(Launch { id: launch, pool, market, count: 1 }));
            records.push(FleetRecord::Started(id.clone(), launch));
            records.push(FleetRecord::Settled(launch));
        }
        records.extend(self.open.values().map(|open| FleetRecord::Intended(open.launch.clone())));
        let last = LaunchId(self.next_launch.saturating_sub(1));
        if !self.open.contains_key(&last) {
            records.push(FleetRecord::Settled(last));
        }
        records
    }
}
