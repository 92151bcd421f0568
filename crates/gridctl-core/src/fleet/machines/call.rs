//! What is asked of a cloud, what it answers, and what the journal keeps of that.
//! Invariant: a launch is made by the caps alone, so its parts are private to the plan.

use serde::{Deserialize, Serialize};

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
    pub(super) id: LaunchId,
    pub(super) pool: usize,
    pub(super) market: Market,
    pub(super) count: u32,
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
    /// So much was spent.
    Billed(Bill),
    /// What the fleet may do from now on, in the place of what was said before.
    Set(FleetSetup),
    /// A person wants so many machines at most from now on.
    Scaled(u32),
}

/// What was spent until some moment. Money is in millionths of a dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bill {
    /// Money, the master's machine included; what was asked for and not answered counts as if it lived.
    pub spent: u64,
    /// What the same machines would have cost on demand.
    pub on_demand: u64,
    /// Milliseconds of workers' machines.
    pub machine_ms: u64,
    /// Of `spent`: attempts that ended with their machines.
    pub wasted: u64,
    /// The moment, in milliseconds since 1970.
    pub wall_ms: u64,
}

/// What a fleet may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSetup {
    /// Where machines may come from.
    pub pools: Vec<Pool>,
    /// The markets that they may come from.
    pub markets: Markets,
    /// Most machines.
    pub machines: u32,
    /// Most that may be spent, in millionths of a dollar.
    pub budget: Option<u64>,
    /// Ending everything may take so long, in milliseconds: so much is kept of the budget.
    pub reserve_ms: u64,
    /// What the master's machine costs, in millionths of a dollar an hour.
    pub master_price: u64,
    /// When everything is to be done, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_wall_ms: Option<u64>,
    /// What a trial takes, in milliseconds, as far as that was known before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_ms: Option<u64>,
}

/// What is to be asked of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudCall {
    /// Start machines of this pool, under the launch's token.
    Launch(Launch, Pool),
    /// End machines.
    Terminate(Vec<MachineId>),
    /// Say which machines there are.
    Look,
    /// Keep what this machine had to say: it is ended without ever having worked.
    Console(MachineId),
}

/// Why no machines are started, though some are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The deadline has passed.
    Deadline,
}

/// What is wanted, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Trials that wait or run.
    pub backlog: u64,
    /// Trials at once, at most.
    pub at_once: u64,
}
