//! The master: the pure core, its journal, and everybody who talks to it.
//! Invariant: durable before visible; one master for a data directory; nothing that a client says can end it.

mod access_keeper;
pub mod advert;
pub mod api;
mod begin;
mod clock;
mod commit;
mod compare;
mod config;
mod damage;
mod error;
mod event_loop;
mod fleet;
mod handle;
mod identity;
mod listen;
mod live;
mod message;
mod packs;
mod prior_outcomes;
mod query;
mod reading;
mod rebuild;
mod rescue;
mod serve;
mod ship;
mod soundness;
mod start;
mod submit;
mod tasks;
mod trial;
mod waiting;

pub use advert::{Advert, AdvertError};
pub use config::{Listen, MasterConfig, OperatorQuestion, Secure};
pub use damage::damaged;
pub use error::{AskError, Kept, Lack, MasterError, Rescued, chain};
pub use fleet::CloudCalls;
pub use handle::Handle;
pub use reading::{fold, reading, reading_beside_master};
pub use rebuild::{RebuildFrom, Rebuilt, RebuiltSweep, read_results, rebuild};
pub use start::{Master, Running, Stopped, run, run_beside};
pub use waiting::{Unshipped, waiting};

#[cfg(test)]
mod tests;
