//! What the machines of a master have cost. Money is in dollars, and what was spent is rounded up.

use serde::{Deserialize, Serialize};

use crate::fleet::machines::Hold;

/// What a fleet of machines costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostView {
    /// Spent so far: machine-seconds times price, the master's machine included.
    pub spent: f64,
    /// What the same machines would have cost on demand.
    pub on_demand: f64,
    /// The difference.
    pub saved: f64,
    /// Of what was spent: attempts that ended with their machines.
    pub wasted: f64,
    /// Dollars an hour just now.
    pub per_hour: f64,
    /// Hours of workers' machines.
    pub machine_hours: f64,
    /// Machines that live.
    pub machines: u64,
    /// Of these: so many have worked.
    pub working: u64,
    /// Most machines at once.
    pub most: u32,
    /// Most that may be spent.
    pub budget: Option<f64>,
    /// Trials that have succeeded.
    pub succeeded: u64,
    /// What one of them has cost.
    pub per_trial: Option<f64>,
    /// What will have been spent at the end, as the last trials suggest.
    pub at_end: Option<f64>,
    /// Why no machines are started, though some are missing.
    pub hold: Option<Hold>,
    /// What the cloud, or the machines, said last that went wrong.
    pub trouble: Option<String>,
}
