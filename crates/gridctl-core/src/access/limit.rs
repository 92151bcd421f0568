//! How often somebody may show what is wrong: a few times at once, then slowly, from one address and from all together.
//! Invariant: what is right costs nothing, and the memory is bounded however many addresses there are.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::id::Time;

/// Failures at once, and milliseconds for each further one, from one address.
const ONE: (u64, u64) = (20, 1_000);
/// The same, from all addresses.
const ALL: (u64, u64) = (500, 20);
/// Addresses that are remembered.
const ADDRESSES: usize = 10_000;
/// Between looks for addresses that may be forgotten, in milliseconds.
const SWEEP_MS: u64 = 1_000;

/// Counts failures.
#[derive(Debug, Default)]
pub struct FailureLimit {
    all: Spent,
    by: HashMap<IpAddr, Spent>,
    /// When forgiven ones were last forgotten.
    swept: Time,
}

/// Failures that are not forgiven yet, in milliseconds that it takes to forgive them.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    ms: u64,
    at: Time,
}

impl Spent {
    fn left(self, now: Time) -> u64 {
        self.ms.saturating_sub(now.ms_since(self.at))
    }

    fn is_over(self, now: Time, (burst, each): (u64, u64)) -> bool {
        self.left(now) > (burst - 1) * each
    }

    fn add(&mut self, now: Time, (_, each): (u64, u64)) {
        *self = Self { ms: self.left(now) + each, at: now };
    }
}

impl FailureLimit {
    /// Whether whoever is at `from` has to wait before anything of theirs is looked at.
    #[must_use]
    pub fn is_over(&self, now: Time, from: IpAddr) -> bool {
        self.all.is_over(now, ALL) || self.by.get(&from).is_some_and(|spent| spent.is_over(now, ONE))
    }

    /// What was shown from `from` was wrong.
    pub fn failed(&mut self, now: Time, from: IpAddr) {
        self.all.add(now, ALL);
        if self.by.len() >= ADDRESSES && now.ms_since(self.swept) >= SWEEP_MS {
            self.swept = now;
            self.by.retain(|_, spent| spent.left(now) > 0);
        }
        if self.by.len() < ADDRESSES || self.by.contains_key(&from) {
            self.by.entry(from).or_default().add(now, ONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_too_often_waits_and_others_do_not() {
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut limit = FailureLimit::default();
        for _ in 0..ONE.0 {
            assert!(!limit.is_over(Time(5), bad));
            limit.failed(Time(5), bad);
        }
        assert!(limit.is_over(Time(5), bad) && !limit.is_over(Time(5), good));
        assert!(!limit.is_over(Time(5 + ONE.1), bad), "one is forgiven");
        limit.failed(Time(5 + ONE.1), bad);
        assert!(limit.is_over(Time(5 + ONE.1), bad));
    }

    #[test]
    fn many_addresses_together_wait_and_are_not_all_remembered() {
        let mut limit = FailureLimit::default();
        for n in 0..100_000_u32 {
            limit.failed(Time(1), IpAddr::from(n.to_be_bytes()));
        }
        assert!(limit.by.len() <= ADDRESSES);
        let new = IpAddr::from([255, 255, 255, 255]);
        assert!(limit.is_over(Time(1), new));
        assert!(!limit.is_over(Time(10_000_000), new));
    }
}
