//! The worker of gridctl: slots, trainers, their metrics, logs and files.
//! Invariant: no trainer outlives the slot that started it, and no slot outlives its worker.

pub mod cgroup;
pub mod clock;
pub mod handle;
pub mod marks;
pub mod resources;
pub mod scratch;
pub mod slot;
