//! The one clock of the fleet. Invariant: it never goes back.

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
