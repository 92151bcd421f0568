//! The one clock of the master. Invariant: it never goes back, and it goes on while the machine sleeps.

use gridctl_core::id::Time;
use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Now.
pub(crate) fn now() -> Time {
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    Time(seconds.saturating_mul(1000).saturating_add(millis))
}

/// Now, for tokio's timers.
#[expect(clippy::disallowed_methods, reason = "this is the master's clock module")]
pub(crate) fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// Now, for people.
#[expect(clippy::disallowed_methods, reason = "this is the master's clock module")]
pub(crate) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
