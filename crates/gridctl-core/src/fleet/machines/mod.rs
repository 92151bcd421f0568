//! How many machines of a cloud there should be, and what is to be done about it: which types in which zones, on the spot market
//! or on demand, when to wait after a failure, when to replace, when to stop.
//! Invariant: no launch passes the caps on machines and money: `caps` alone makes launches, and counts what was asked for and not
//! answered as if it lived. Every launch is recorded before it is asked for, and asked for again under its token until AWS has said
//! what became of it.

mod call;
mod caps;
mod decide;
mod meter;
mod pace;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::call::{
    Bill, CloudCall, Demand, FleetRecord, FleetSetup, Hold, Launch, LaunchAnswer, LaunchId, MachineId,
    Market, Markets, Pool, SeenMachine,
};
pub use self::caps::{Caps, MICROS};
use self::meter::Meter;
use super::deadline::DeadlineRule;
use crate::id::Time;

/// A pool of one type in one zone is left alone so long after it had no capacity, in milliseconds.
pub const COOL_DOWN_MS: u64 = 180_000;
/// A machine that does no work so long after its start is given up, in milliseconds.
pub const JOIN_MS: u64 = 480_000;
/// So many machines in a row that never worked: no more are started until a person says so.
pub const NEVER_JOINED: u32 = 3;
/// A machine that was said to be taken away and is still there so much later is ended, in milliseconds.
pub const DOOMED_MS: u64 = 600_000;
/// A worker that is to finish gets so long, in milliseconds.
pub const RETIRE_MS: u64 = 300_000;
/// A worker that takes no more has heard of it after so long, in milliseconds.
const LEAVE_MS: u64 = 10_000;
/// What was just started is not seen by everybody before so many milliseconds.
pub const VISIBLE_MS: u64 = 120_000;
/// Between two looks at what is there, in milliseconds.
pub const LOOK_MS: u64 = 30_000;
/// Before a look after machines were ended, in milliseconds.
const SOON_MS: u64 = 3_000;
/// Between two records of what was spent, in milliseconds.
const BILL_MS: u64 = 30_000;
/// Most machines that one launch starts.
const BATCH: u32 = 20;
/// The first wait after an answer that did not come, and the longest, in milliseconds.
const BACKOFF_MS: (u64, u64) = (2_000, 60_000);

/// A machine that lives, as far as is known.
#[derive(Debug, Clone)]
struct Machine {
    launch: LaunchId,
    pool: usize,
    market: Market,
    since: Time,
    /// When its worker was there last; `None`: it has never worked.
    heard: Option<Time>,
    /// Trials run on it.
    busy: bool,
    /// Since when it is said to be taken away.
    doomed: Option<Time>,
    /// Since when its worker is to finish, because there are too many machines.
    retiring: Option<Time>,
    /// Since when its worker takes no more, because the spot market is enough: what runs may end.
    leaving: Option<Time>,
    /// When its end was asked for last.
    ending: Option<Time>,
}

impl Machine {
    /// It counts as one that does trials.
    fn is_staying(&self) -> bool {
        self.ending.is_none() && self.doomed.is_none() && self.retiring.is_none() && self.leaving.is_none()
    }
}

/// A launch that is not settled.
#[derive(Debug, Clone)]
struct OpenLaunch {
    launch: Launch,
    /// When it was asked for last, or a former master may have.
    tried: Time,
    /// When it is asked for next.
    next: Time,
    tries: u32,
    /// A call is on its way.
    called: bool,
}

/// The fleet of machines.
#[derive(Debug, Clone)]
pub struct MachineFleet {
    /// All that were ever named: launches name their places.
    pools: Vec<Pool>,
    /// The places of those that machines may come from.
    usable: Vec<usize>,
    caps: Caps,
    markets: Markets,
    /// What the fleet was told last.
    setup: Option<FleetSetup>,
    on_demand: Meter,
    machine_ms: u64,
    wasted: Meter,
    billed_to: Time,
    machines: BTreeMap<MachineId, Machine>,
    open: BTreeMap<LaunchId, OpenLaunch>,
    next_launch: u64,
    /// When a pool may be asked again.
    cool: BTreeMap<(usize, Market), Time>,
    next_look: Time,
    /// When the look began that is under way.
    looking: Option<Time>,
    /// What the journal has of money: until when, and when that was written.
    billed_wall_ms: Option<u64>,
    next_bill: Time,
    never_joined: u32,
    hold: Option<Hold>,
    deadline: Option<DeadlineRule>,
    /// The deadline has passed.
    is_late: bool,
}

impl Default for MachineFleet {
    /// The fleet of a master that was told of none.
    fn default() -> Self {
        Self::new(Vec::new(), Caps::new(0, None, 0), Markets::Spot)
    }
}

impl MachineFleet {
    /// A fleet without machines, of these pools and within these caps.
    #[must_use]
    pub fn new(pools: Vec<Pool>, caps: Caps, markets: Markets) -> Self {
        Self {
            usable: (0..pools.len()).collect(),
            pools,
            caps,
            markets,
            setup: None,
            on_demand: Meter::default(),
            machine_ms: 0,
            wasted: Meter::default(),
            billed_to: Time(0),
            machines: BTreeMap::new(),
            open: BTreeMap::new(),
            next_launch: 1,
            cool: BTreeMap::new(),
            next_look: Time(0),
            looking: None,
            billed_wall_ms: None,
            next_bill: Time(0),
            never_joined: 0,
            hold: None,
            deadline: None,
            is_late: false,
        }
    }

    /// Why no machines are started, though some are missing.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// How many machines there are, those that end included.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.machines.len()
    }

    /// What was spent so far, in millionths of a dollar.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.caps.spent()
    }

    /// Nothing lives, and nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.open.is_empty()
    }

    fn dearest(&self) -> usize {
        (0..self.pools.len()).max_by_key(|pool| self.pools[*pool].on_demand).unwrap_or(0)
    }

    /// What lives was paid for until now.
    fn bill(&mut self, now: Time) {
        let ms = now.ms_since(self.billed_to);
        self.billed_to = Time(self.billed_to.0.max(now.0));
        self.bill_for(ms);
    }

    /// For so many milliseconds what lives was paid for.
    fn bill_for(&mut self, ms: u64) {
        if ms > 0 {
            self.caps.bill_for(ms, self.price_now());
            self.on_demand.add(ms, self.rate_at(|pool, _| pool.on_demand));
            self.machine_ms = self.machine_ms.saturating_add(ms.saturating_mul(self.alive()));
        }
    }

    /// Millionths of a dollar an hour for everything that lives or may live, the master's own machine among it.
    #[must_use]
    pub fn price_now(&self) -> u64 {
        self.rate_at(Pool::price)
    }

    fn rate_at(&self, price: impl Fn(&Pool, Market) -> u64) -> u64 {
        let price = |pool: usize, market| self.pools.get(pool).map_or(0, |pool| price(pool, market));
        let machines = self.machines.values().map(|machine| price(machine.pool, machine.market));
        let open = self
            .open
            .values()
            .map(|open| price(open.launch.pool, open.launch.market).saturating_mul(open.launch.count.into()));
        let master = self.setup.as_ref().map_or(0, |setup| setup.master_price);
        machines.chain(open).fold(master, u64::saturating_add)
    }

    /// What lives, the master's own machine among it, has to be ended, or the cap on money is passed.
    #[must_use]
    pub fn has_spent_all(&self) -> bool {
        self.caps.is_spent(self.price_now())
    }

    /// Everything that lives or may live.
    fn alive(&self) -> u64 {
        let open: u64 = self.open.values().map(|open| u64::from(open.launch.count)).sum();
        open + self.machines.len() as u64
    }

    /// No trials run anywhere, but where [`Self::on_worker`] says so next.
    pub fn all_idle(&mut self) {
        self.machines.values_mut().for_each(|machine| machine.busy = false);
    }

    /// A machine has a worker, which was heard now or is away; whether trials run on it.
    pub fn on_worker(&mut self, heard: Option<Time>, id: &MachineId, busy: bool) {
        if let Some(machine) = self.machines.get_mut(id) {
            machine.heard = heard.or(machine.heard);
            machine.busy = busy;
            self.never_joined = 0;
        }
    }

    /// A machine is said to be taken away soon; only the first word counts.
    pub fn on_notice(&mut self, now: Time, id: &MachineId) {
        if let Some(machine) = self.machines.get_mut(id) {
            machine.doomed.get_or_insert(now);
        }
    }

    /// A person has looked at why machines never work.
    pub fn on_resume(&mut self) {
        self.never_joined = 0;
    }

    /// Attempts that ran for so many milliseconds of one slot in all ended with their machine.
    pub fn on_wasted(&mut self, id: &MachineId, slot_ms: u64) {
        let Some(machine) = self.machines.get(id) else { return };
        let pool = &self.pools[machine.pool];
        self.wasted.add(slot_ms / u64::from(pool.slots.max(1)), pool.price(machine.market));
    }

    /// Machines whose workers are to finish what they run now, because there are more than the cap allows.
    #[must_use]
    pub fn retire(&mut self, now: Time) -> Vec<MachineId> {
        let stays = |machine: &Machine| machine.ending.is_none() && machine.doomed.is_none();
        let mut by_use: Vec<_> = self.machines.iter().filter(|(_, machine)| stays(machine)).collect();
        let surplus = by_use.len().saturating_sub(self.caps.machines() as usize);
        // Those that are to finish already, then the idle, then the dearest.
        by_use.sort_by_key(|(id, machine)| {
            let price = self.pools[machine.pool].price(machine.market);
            (machine.retiring.is_none(), machine.busy, std::cmp::Reverse(price), (*id).clone())
        });
        let chosen: Vec<MachineId> = by_use.into_iter().take(surplus).map(|(id, _)| id.clone()).collect();
        let mut new = Vec::new();
        for id in chosen {
            if let Some(machine) = self.machines.get_mut(&id)
                && machine.retiring.is_none()
            {
                machine.retiring = Some(now);
                new.push(id);
            }
        }
        new
    }

    /// What the fleet may do, as it was told last; `None` where there is no fleet.
    #[must_use]
    pub fn setup(&self) -> Option<&FleetSetup> {
        self.setup.as_ref()
    }

    /// How many machines there are that do trials, and how many may be at most.
    #[must_use]
    pub fn working(&self) -> (u64, u32) {
        let working = self.machines.values().filter(|machine| machine.heard.is_some()).count();
        (working as u64, self.caps.machines())
    }

    /// Trials at once on this machine.
    #[must_use]
    pub fn slots_of(&self, id: &MachineId) -> usize {
        self.machines.get(id).map_or(0, |machine| self.pools[machine.pool].slots as usize)
    }

    /// Machines on demand.
    #[must_use]
    pub fn on_demand_machines(&self) -> u64 {
        self.machines.values().filter(|machine| machine.market == Market::OnDemand).count() as u64
    }
}
