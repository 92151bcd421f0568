//! The one place where the command line reads a clock, and it is the monotonic one.
//! Invariant: nothing here depends on the wall clock.

use std::time::Instant;

/// Now, on the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the command line's one clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
