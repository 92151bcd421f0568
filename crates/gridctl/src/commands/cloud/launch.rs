//! `gridctl launch` and `gridctl attach`: a sweep is put into the account's bucket, one machine is started that holds its master,
//! and that master is found again, from here or from anywhere with the account's credentials.
//! Invariant: whatever can be found wrong is found before anything costs money, and nobody is charged who has not said yes.

mod attach;
mod binary;
mod fleet_plan;
mod follow;
mod start;

use gridctl_core::view::SweepStatus;
use serde::{Deserialize, Serialize};

pub(crate) use self::attach::{attach, last_report, look_again};
pub(crate) use self::start::launch;

/// Where everything of launches lies in the account's bucket.
const CONTROL: &str = "control";
/// Names beside those of sweeps.
const OTHERS: [&str; 2] = ["binary", "operators"];
/// Operators' tokens live so long, in seconds.
const OPERATOR_S: u64 = 30 * 86_400;

/// The key of something that belongs to a launch.
pub(super) fn key(sweep: &str, name: &str) -> String {
    format!("{CONTROL}/{sweep}/{name}")
}

/// The key of what is known of an operator's token with this hash.
pub(super) fn operator_key(hash: &str) -> String {
    format!("{CONTROL}/operators/{hash}")
}

/// What is known of an operator's token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Operator {
    /// Until when it is good, in seconds since 1970.
    pub(super) expires_s: u64,
}

/// How a launch stands, as its master wrote it last: for those who find no master.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LaunchReport {
    /// When it was written, in seconds since 1970.
    pub(crate) written_s: u64,
    /// The sweep, if the master knows it.
    pub(crate) status: Option<SweepStatus>,
    /// Why the launch ended before its sweep did.
    pub(crate) problem: Option<String>,
    /// The launch is over.
    pub(crate) over: bool,
}
