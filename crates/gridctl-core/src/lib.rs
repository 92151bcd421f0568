//! The policy of gridctl: sweep spec, grid, trials, leases, leaderboard. Pure and synchronous.
//! Invariant: no async, no clock, no randomness, no I/O; time comes in as an argument, effects go
//! out as values.
//!
//! What is what, from the sweep file to the record:
//!
//! - [`spec::SweepSpec`]: a checked sweep file. It cannot exist unchecked, whoever wrote it.
//! - [`points::Points`]: its trials by index and by position of the walk, computed and never kept.
//! - [`protocol::FrozenSweep`]: a version: a spec with its code's mark and its environment. Compared
//!   by content; its [`protocol::Sources`] and its [`output::Output`] are places, never compared.
//! - [`sched::Sweep`]: the state of a sweep's newest version, and its [`sched::SweepPhase`]; beside it
//!   [`notice::Notice`]s, what a person should know.
//! - [`points::Trial`]: a point and a repeat, named by a [`id::TrialId`], the hash of both.
//! - [`id::Token`]: a lease, a worker's timed hold on a trial; it names an attempt, one try.
//! - [`worker::WorkerProtocol`]: what a worker holds; [`slot::SlotLine`]: what waits in one of its
//!   slots; [`slot::SlotSupervisor`]: the loop of the slot's own process.
//! - [`attempt::Evidence`]: how a trainer ended; [`record::Class`]: the one class that it makes of the
//!   attempt; [`record::Report`]: what the worker says of it; [`record::Record`]: what is kept.
//! - [`leaderboard`] and [`view`]: what people see of it.
//! - [`access::Peer`]: who asks, and what they may do.

pub mod access;
pub mod attempt;
pub mod capacity;
pub mod cloud;
pub mod code;
pub mod cost;
pub mod expr;
pub mod fleet;

pub mod id;
pub mod launch;
pub mod leaderboard;
pub mod live;
pub mod machine;
pub mod metrics;
pub mod notice;
pub mod output;
pub mod points;
pub mod protocol;
pub mod record;
pub mod s3_url;
pub mod sched;
pub mod secrets;
pub mod slot;
pub mod spec;
pub mod trials;
pub mod value;
pub mod view;
pub mod worker;
