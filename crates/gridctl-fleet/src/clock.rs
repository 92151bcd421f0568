//! The clocks of the fleet. Invariant: what is waited for is counted on one that never goes back; the wall's is asked for nothing
//! but dates that machines of a cloud bear.

use gridctl_core::id::Time;
use tokio::time::Instant;

/// Counts from when the fleet was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub(crate) fn now(self) -> Time {
        Time(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Waits until `at`; for ever, if there is nothing to wait for.
    pub(crate) async fn until(self, at: Option<Time>) {
        match at {
            Some(at) => tokio::time::sleep_until(self.0 + std::time::Duration::from_millis(at.0)).await,
            None => std::future::pending().await,
        }
    }
}

/// Seconds since 1970, for the dates that machines bear.
#[cfg(feature = "ec2")]
#[expect(clippy::disallowed_methods, reason = "a date is told by the wall's clock alone")]
pub(crate) fn wall_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
