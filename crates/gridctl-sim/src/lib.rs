//! Master, workers and network in one process, under virtual time, one seed and injected faults.
//! Invariant: nothing here decides what master or worker would: the very types that the binaries
//! step are stepped.

pub mod audit;
mod cloud;
mod durable;
pub mod plan;
mod queue;
pub mod replay;
mod trainer;
mod world;

pub use audit::Violation;
pub use cloud::{CloudReport, simulate_cloud};
pub use plan::{Fault, Plan};
pub use world::{Report, simulate};
