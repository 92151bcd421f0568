//! The caps on machines and on money, and the one place where launches are made.
//! Invariant: what was asked for and not answered counts as if it lived; money is rounded up, and kept for the time that ending
//! everything may take.

use super::meter::{HOUR_MS, Meter};
use super::{Launch, LaunchId, Market};

/// Millionths in a dollar.
pub const MICROS: u64 = 1_000_000;

/// Most machines, and most money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    machines: u32,
    /// In millionths of a dollar.
    budget: Option<u64>,
    /// How long ending everything may take, in milliseconds: so much is kept of the budget.
    reserve_ms: u64,
    spent: Meter,
}

/// What lives or may live.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alive {
    /// Machines.
    pub(super) machines: u64,
    /// Millionths of a dollar an hour.
    pub(super) rate: u64,
}

impl Caps {
    /// At most so many machines at once, and so many millionths of a dollar in all, of which enough is kept to end everything
    /// within `reserve_ms`.
    #[must_use]
    pub fn new(machines: u32, budget: Option<u64>, reserve_ms: u64) -> Self {
        Self { machines, budget, reserve_ms, spent: Meter::default() }
    }

    /// What was spent so far, in millionths of a dollar.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.shown()
    }

    /// Most machines.
    pub(super) fn machines(&self) -> u32 {
        self.machines
    }

    /// Other caps from now on; what was spent stays so.
    pub(super) fn set(&mut self, machines: u32, budget: Option<u64>, reserve_ms: u64) {
        (self.machines, self.budget, self.reserve_ms) = (machines, budget, reserve_ms);
    }

    /// At most so many machines from now on.
    pub(super) fn scale(&mut self, machines: u32) {
        self.machines = machines;
    }

    /// For so many milliseconds so many millionths an hour were spent.
    pub(super) fn bill_for(&mut self, ms: u64, rate: u64) {
        self.spent.add(ms, rate);
    }

    /// A journal says that so much was spent.
    pub(super) fn at_least(&mut self, spent: u64) {
        self.spent.at_least(spent);
    }

    /// What the machines cost that live, until all of them are ended.
    fn reserve(&self, rate: u64) -> u64 {
        let parts = u128::from(rate) * u128::from(self.reserve_ms);
        u64::try_from(parts.div_ceil(HOUR_MS)).unwrap_or(u64::MAX)
    }

    /// Whether what lives has to be ended, or the cap on money is passed.
    #[must_use]
    pub(super) fn is_spent(&self, rate: u64) -> bool {
        self.budget.is_some_and(|budget| self.spent().saturating_add(self.reserve(rate)) >= budget)
    }

    /// How many more machines the cap leaves room for.
    #[must_use]
    pub(super) fn room(&self, alive: Alive) -> u32 {
        u32::try_from(u64::from(self.machines).saturating_sub(alive.machines)).unwrap_or(u32::MAX)
    }

    /// A launch of `wanted` machines at `price` an hour, or as many as the caps allow; `None` for none.
    #[must_use]
    pub(super) fn launch(
        &self,
        id: LaunchId,
        (pool, market, price): (usize, Market, u64),
        wanted: u32,
        alive: Alive,
    ) -> Option<Launch> {
        let mut count = wanted.min(self.room(alive));
        if let Some(budget) = self.budget {
            // Each is to be worth a quarter of an hour beyond its end.
            let ahead = |count: u32| {
                let rate = alive.rate.saturating_add(price.saturating_mul(count.into()));
                let kept = u128::from(rate) * u128::from(self.reserve_ms + WORTH_MS);
                u64::try_from(kept.div_ceil(HOUR_MS)).unwrap_or(u64::MAX)
            };
            while count > 0 && self.spent().saturating_add(ahead(count)) >= budget {
                count -= 1;
            }
        }
        (count > 0).then_some(Launch { id, pool, market, count })
    }
}

/// A machine that could work no longer than this is not started, in milliseconds.
const WORTH_MS: u64 = 900_000;
