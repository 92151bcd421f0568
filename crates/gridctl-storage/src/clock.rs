//! The only place of this crate that reads clocks: for the time that a query may take, for the date in the lock file, and for
//! the age of packs.
//! Invariant: no time read here reaches a decision about trials.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, on the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock module")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for people to read; 0 if the clock stands before that.
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock module")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Now, on the wall clock: for the times of files.
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock module")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
