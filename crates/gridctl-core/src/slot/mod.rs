//! Slots: what a worker and a slot process say to each other, and how a worker knows that a slot still answers.
//! Invariant: nothing here waits; whoever steps it says what has happened and what time it is.

mod message;
mod watchdog;

pub use message::{Ended, Fault, SlotEvent, SlotRequest, Start, Stream};
pub use watchdog::{SILENCE_MS, Watch, Watchdog};
