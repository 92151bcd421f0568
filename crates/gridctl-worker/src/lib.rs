//! The worker of gridctl: slots, trainers, their metrics, logs and files.
//! Invariant: no trainer outlives the slot that started it, and no slot outlives its worker.

mod address;
mod attempt;
pub mod cgroup;
pub mod client;
pub mod clock;
mod code;
pub mod connection;
pub mod container;
mod event_loop;
pub mod health;
pub mod isolate;
pub mod join;
pub mod leftovers;
mod live;
pub mod marks;
pub mod resources;
pub mod scratch;
pub mod slot;
mod start;
pub mod tls;
mod workdir;

pub use address::{Address, Bearer, JoinAddress, JoinAddressError};
pub use join::{Join, JoinFileError};
pub use start::{MasterPlace, WorkerConfig, WorkerError, run};
