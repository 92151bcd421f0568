//! Slots: what a worker and a slot process say to each other, the loop of that process, and its
//! worker's side: the line of attempts there, and how the worker knows that the slot still answers.
//! Invariant: nothing here waits; whoever steps it says what has happened and what time it is.

mod line;
mod message;
mod supervisor;
mod watchdog;

pub use line::{InLine, LINE_LENGTH, LineTodo, SlotLine, Unanswered};
pub use message::{OutputStream, SlotEvent, SlotRequest, StartFault, TrainerExit, TrainerStart};
pub use supervisor::{NotStarted, ReapedTrainer, SlotSupervisor, SlotWait, SupervisorTodo, WaitOutcome};
pub use watchdog::{SILENCE_MS, Watch, Watchdog};
