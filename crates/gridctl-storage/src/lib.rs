//! Where gridctl keeps things: the journal (one SQLite file, the truth of a master) and the results volume (what people keep).
//! Invariant: what a call here has acknowledged survives a crash, and what was damaged is reported, never returned as data.

mod clock;
pub mod journal;
pub mod results;
pub mod volume;
