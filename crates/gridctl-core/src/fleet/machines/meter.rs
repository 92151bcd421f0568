//! Money that is spent over time, in millionths of a dollar.
//! Invariant: nothing is lost to rounding, and what is shown is rounded up.

pub(super) const HOUR_MS: u128 = 3_600_000;

/// What was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meter {
    whole: u64,
    /// What makes no millionth yet, in parts of an hour.
    rest: u64,
}

impl Meter {
    /// For so many milliseconds so many millionths an hour were spent.
    pub(super) fn add(&mut self, ms: u64, rate: u64) {
        let parts = u128::from(rate) * u128::from(ms) + u128::from(self.rest);
        self.whole = self.whole.saturating_add(u64::try_from(parts / HOUR_MS).unwrap_or(u64::MAX));
        self.rest = u64::try_from(parts % HOUR_MS).unwrap_or(0);
    }

    /// So much was spent at least.
    pub(super) fn at_least(&mut self, whole: u64) {
        self.whole = self.whole.max(whole);
    }

    pub(super) fn shown(self) -> u64 {
        self.whole.saturating_add(u64::from(self.rest > 0))
    }
}
