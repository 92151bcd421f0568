//! The one place where the worker and its slots read clocks: time for what they decide, wall time for people to read.
//! Invariant: nothing that is decided depends on the wall clock, and the time that a machine sleeps counts.

use std::time::{SystemTime, UNIX_EPOCH};

use gridctl_core::id::Time;
use rustix::time::{ClockId, clock_gettime};

/// The time since this machine was started, the same for all its processes; a machine that was suspended has slept through
/// its leases, so that counts.
#[must_use]
pub fn now() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    let ms = now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000);
    Time(u64::try_from(ms).unwrap_or(0))
}

/// Milliseconds since 1970, for people; 0 on a machine whose clock stands before that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the worker's one clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
