//! The one place where the worker and its slots read clocks: time for what they decide, wall time
//! for people to read.
//! Invariant: of what is decided only which files changed meanwhile depends on the wall clock, and
//! the time that a machine sleeps counts.

use std::time::{SystemTime, UNIX_EPOCH};

use gridctl_core::code::FileTime;
use gridctl_core::id::Time;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time since this machine was started, the same for all its processes; a machine that was
/// suspended has slept through its leases, so that counts.
#[must_use]
pub fn now() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    let ms = now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000);
    Time(u64::try_from(ms).unwrap_or(0))
}

/// The clock that stamps files of this machine: nanoseconds since 1970.
pub(crate) fn file_time() -> FileTime {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// The same at its last tick, which is what most file systems stamp with.
pub(crate) fn file_tick() -> FileTime {
    nanoseconds(clock_gettime(ClockId::RealtimeCoarse))
}

fn nanoseconds(now: Timespec) -> FileTime {
    FileTime::from(now.tv_sec) * 1_000_000_000 + FileTime::from(now.tv_nsec)
}

/// Milliseconds since 1970, for people; 0 on a machine whose clock stands before that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the worker's one clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
