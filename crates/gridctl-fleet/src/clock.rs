//! The one clock of the fleet. Invariant: it never goes back.

use tokio::time::Instant;

/// Now.
pub(crate) fn now() -> Instant {
    Instant::now()
}
