//! The policy of gridctl: sweep spec, grid, trials, leases, leaderboard. Pure and synchronous.
//! Invariant: no async, no clock, no randomness, no I/O; time comes in as an argument, effects go out as values.

pub mod attempt;
pub mod capacity;
pub mod code;
pub mod expr;
pub mod fleet;

pub mod id;
pub mod launch;
pub mod leaderboard;
pub mod machine;
pub mod metrics;
pub mod notice;
pub mod points;
pub mod protocol;
pub mod record;
pub mod sched;
pub mod secrets;
pub mod slot;
pub mod spec;
pub mod trials;
pub mod value;
pub mod view;
pub mod worker;
