//! A worker process with real slots and trainers under a master that says what the test wants said.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod attempts;
mod kills;
mod support;
