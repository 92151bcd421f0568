//! The one place where the worker reads clocks: monotonic time for what it decides, wall time for people to read.
//! Invariant: nothing that is decided depends on the wall clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gridctl_core::id::Time;

/// The worker's monotonic clock: milliseconds since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the worker's one clock")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now, by this clock.
    #[must_use]
    pub fn now(self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Milliseconds since 1970, for people; 0 on a machine whose clock stands before that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the worker's one clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
