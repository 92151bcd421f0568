//! The master: the pure core, its journal, and everybody who talks to it.
//! Invariant: durable before visible; one master for a data directory; nothing that a client says can end it.

pub mod advert;
pub mod api;
mod clock;
mod commit;
mod config;
mod driver;
mod error;
mod handle;
mod know;
mod listen;
mod message;
mod query;
mod reading;
mod serve;
mod ship;
mod start;
mod submit;
mod tasks;
mod trial;

pub use advert::{Advert, AdvertError};
pub use config::MasterConfig;
pub use error::{AskError, MasterError};
pub use handle::Handle;
pub use reading::{fold, reading, reading_beside_master};
pub use start::{Master, Running, run};

#[cfg(test)]
mod tests;
