//! Slots: what a worker and a slot process say to each other, the loop of that process, and its
//! worker's side: the line of attempts there, and how the worker knows that the slot still answers.
//! Invariant: nothing here waits; whoever steps it says what has happened and what time it is.

mod line;
mod message;
mod supervisor;
mod watchdog;

pub use line::{InLine, LINE_LENGTH, LineTodo, SlotLine, Unanswered};
pub use message::{Ended, Fault, SlotEvent, SlotRequest, Start, Stream};
pub use supervisor::{NotStarted, Reaped, Seen, SlotSupervisor, Todo, Wait};
pub use watchdog::{SILENCE_MS, Watch, Watchdog};
