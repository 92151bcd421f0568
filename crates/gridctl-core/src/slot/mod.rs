//! Slots: what a worker and a slot process say to each other, the loop of that process, and how its worker knows that it
//! still answers.
//! Invariant: nothing here waits; whoever steps it says what has happened and what time it is.

mod message;
mod supervisor;
mod watchdog;

pub use message::{Ended, Fault, SlotEvent, SlotRequest, Start, Stream};
pub use supervisor::{NotStarted, Reaped, Seen, SlotSupervisor, Todo, Wait};
pub use watchdog::{SILENCE_MS, Watch, Watchdog};
