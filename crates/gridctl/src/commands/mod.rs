//! One module for each command: settings in, one call, output.
//! Invariant: a command decides nothing that the core or a master decides.

pub(crate) mod again;
pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod cloud;
pub(crate) mod cost;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod leaderboard;
mod live_curve;
pub(crate) mod logs;
pub(crate) mod lookup;
pub(crate) mod package;
pub(crate) mod plan;
pub(crate) mod rebuild;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod steer;
pub(crate) mod submit;
pub(crate) mod token;
pub(crate) mod trials;
pub(crate) mod why;
pub(crate) mod workers;
