//! Where gridctl keeps things: the journal (one SQLite file, the truth of a master) and the results volume (what people keep).
//! Invariant: what a call here has acknowledged survives a crash, and what was damaged is reported, never returned as data.

mod clock;
pub mod dataset;
mod durable;
pub mod journal;
pub mod owned;
pub mod pack;
pub mod private;
pub mod results;
pub mod shared_dirs;
mod sparse;
pub mod volume;

/// Says loudly that a test does not find what it needs; where everything must be there, that is a failure.
#[cfg(test)]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
}
