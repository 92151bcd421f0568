//! How many machines of a cloud there should be, and what is to be done about it: which types in which zones, on the spot market
//! or on demand, when to wait after a failure, when to replace, when to stop.
//! Invariant: no launch passes the caps on machines and money: `caps` alone makes launches, and counts what was asked for and not
//! answered as if it lived. Every launch is recorded before it is asked for, and asked for again under its token until AWS has said
//! what became of it.

mod caps;
mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::caps::{Caps, MICROS};
use crate::id::Time;

/// A pool of one type in one zone is left alone so long after it had no capacity, in milliseconds.
pub const COOL_DOWN_MS: u64 = 180_000;
/// A machine that does no work so long after its start is given up, in milliseconds.
pub const JOIN_MS: u64 = 480_000;
/// So many machines in a row that never worked: no more are started until a person says so.
pub const NEVER_JOINED: u32 = 3;
/// A machine that was said to be taken away and is still there so much later is ended, in milliseconds.
pub const DOOMED_MS: u64 = 600_000;
/// What was just started is not seen by everybody before so many milliseconds.
pub const VISIBLE_MS: u64 = 120_000;
/// Between two looks at what is there, in milliseconds.
pub const LOOK_MS: u64 = 30_000;
/// Between two records of what was spent, in milliseconds.
const BILL_MS: u64 = 30_000;
/// Most machines that one launch starts.
const BATCH: u32 = 20;
/// The first wait after an answer that did not come, and the longest, in milliseconds.
const BACKOFF_MS: (u64, u64) = (2_000, 60_000);

/// A launch's number in its sweep; the cloud is told it as a tag and, hashed, as the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaunchId(pub u64);

/// A machine, as the cloud calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MachineId(pub String);

/// How a machine is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// For less, until somebody else wants it.
    Spot,
    /// For the listed price, for as long as one likes.
    OnDemand,
}

/// Which markets machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Markets {
    /// Spot alone.
    Spot,
    /// On demand where the spot market has none.
    SpotThenOnDemand,
    /// On demand alone.
    OnDemand,
}

/// One type in one zone. Prices are in millionths of a dollar an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The type.
    pub instance: String,
    /// The zone.
    pub zone: String,
    /// Trials at once on one machine, above 0.
    pub slots: u32,
    /// The price on the spot market.
    pub spot: u64,
    /// The price on demand.
    pub on_demand: u64,
}

impl Pool {
    /// What one machine costs an hour.
    #[must_use]
    pub fn price(&self, market: Market) -> u64 {
        match market {
            Market::Spot => self.spot,
            Market::OnDemand => self.on_demand,
        }
    }
}

/// A launch that was recorded: machines of one pool. The caps have allowed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    id: LaunchId,
    pool: usize,
    market: Market,
    count: u32,
}

impl Launch {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> LaunchId {
        self.id
    }

    /// Its pool's place in the list.
    #[must_use]
    pub fn pool(&self) -> usize {
        self.pool
    }

    /// How the machines are paid for.
    #[must_use]
    pub fn market(&self) -> Market {
        self.market
    }

    /// How many machines.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// What became of a launch, in the cloud's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchAnswer {
    /// These were started; fewer than were asked for is normal, and means that there is no more capacity.
    Started(Vec<MachineId>),
    /// There is no capacity in this pool, or no quota for it.
    NoCapacity,
    /// Too many calls: nothing was started, and the same call may be made again.
    Throttled,
    /// No answer came: what became of it is not known.
    Lost,
}

/// A machine that is there, as the cloud says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMachine {
    /// Its id.
    pub id: MachineId,
    /// The launch that its tag names.
    pub launch: LaunchId,
    /// It is on its way out, and paid for no more.
    pub ending: bool,
}

/// What has happened, for the journal: durable before anything that follows from it is asked of the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetRecord {
    /// This will be asked for.
    Intended(Launch),
    /// AWS has said what became of it, or it has been long enough to be seen.
    Settled(LaunchId),
    /// A machine is there.
    Started(MachineId, LaunchId),
    /// A machine is not there any more, or is not paid for.
    Gone(MachineId),
    /// So many millionths of a dollar were spent until this millisecond of the wall's clock.
    Billed {
        /// Millionths of a dollar.
        spent: u64,
        /// Milliseconds since 1970.
        wall_ms: u64,
    },
}

/// What is to be asked of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudCall {
    /// Start machines, under the launch's token.
    Launch(Launch),
    /// End machines.
    Terminate(Vec<MachineId>),
    /// Say which machines there are.
    Look,
}

/// Why no machines are started, though some are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The cap on machines is reached.
    Machines,
    /// The cap on money is reached.
    Budget,
    /// No pool has capacity just now.
    Capacity,
    /// Machines start and never work.
    NeverJoined,
}

/// What is wanted, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Trials that wait or run.
    pub backlog: u64,
    /// Trials at once, at most.
    pub at_once: u64,
}

/// A machine that lives, as far as is known.
#[derive(Debug, Clone)]
struct Machine {
    pool: usize,
    market: Market,
    since: Time,
    /// It has worked.
    joined: bool,
    /// Trials run on it.
    busy: bool,
    /// Since when it is said to be taken away.
    doomed: Option<Time>,
    /// When its end was asked for last.
    ending: Option<Time>,
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
    pools: Vec<Pool>,
    caps: Caps,
    markets: Markets,
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
}

impl MachineFleet {
    /// A fleet without machines, of these pools and within these caps.
    #[must_use]
    pub fn new(pools: Vec<Pool>, caps: Caps, markets: Markets) -> Self {
        Self {
            pools,
            caps,
            markets,
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
                self.open.remove(id);
            }
            FleetRecord::Started(id, launch) => {
                let of = self.open.get(launch).map(|open| (open.launch.pool, open.launch.market));
                // What nobody remembers counts as the dearest.
                let (pool, market) = of.unwrap_or((self.dearest(), Market::OnDemand));
                let machine = Machine {
                    pool,
                    market,
                    since: now,
                    joined: false,
                    busy: false,
                    doomed: None,
                    ending: None,
                };
                self.machines.entry(id.clone()).or_insert(machine);
            }
            FleetRecord::Gone(id) => {
                self.machines.remove(id);
            }
            FleetRecord::Billed { spent, wall_ms } => {
                self.caps.at_least(*spent);
                self.billed_wall_ms = Some(*wall_ms);
                self.next_bill = now.after_ms(BILL_MS);
            }
        }
    }

    /// A master begins whose journal has been applied: what lives was paid for meanwhile.
    pub fn resume(&mut self, now: Time, wall_ms: u64) {
        let away = self.billed_wall_ms.map_or(0, |billed| wall_ms.saturating_sub(billed));
        let rate = self.rate();
        self.caps.bill_for(away, rate);
        self.bill(now);
    }

    fn dearest(&self) -> usize {
        (0..self.pools.len()).max_by_key(|pool| self.pools[*pool].on_demand).unwrap_or(0)
    }

    /// What lives was paid for until now.
    fn bill(&mut self, now: Time) {
        let rate = self.rate();
        self.caps.bill(now, rate);
    }

    /// Millionths of a dollar an hour for everything that lives or may live.
    fn rate(&self) -> u64 {
        let price = |pool: usize, market| self.pools.get(pool).map_or(0, |pool| pool.price(market));
        let machines = self.machines.values().map(|machine| price(machine.pool, machine.market));
        let open = self
            .open
            .values()
            .map(|open| price(open.launch.pool, open.launch.market).saturating_mul(open.launch.count.into()));
        machines.chain(open).fold(0, u64::saturating_add)
    }

    /// Everything that lives or may live.
    fn alive(&self) -> u64 {
        let open: u64 = self.open.values().map(|open| u64::from(open.launch.count)).sum();
        open + self.machines.len() as u64
    }

    /// A machine's worker is there; whether trials run on it.
    pub fn on_worker(&mut self, id: &MachineId, busy: bool) {
        if let Some(machine) = self.machines.get_mut(id) {
            machine.joined = true;
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
}
