//! What fits on a worker: the one rule that master and worker both go by.
//! Invariant: what does not fit on an empty worker is never granted to it, in advance neither.

use crate::protocol::Capacity;
use crate::spec::Resources;

/// The sum of what is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    count: u64,
    cpu_milli: u64,
    mem_mib: u64,
    gpus: u64,
}

impl Used {
    /// One more attempt is held.
    pub fn add(&mut self, resources: &Resources) {
        self.count += 1;
        self.cpu_milli += u64::from(resources.cpu_milli);
        self.mem_mib += resources.mem_mib;
        self.gpus += u64::from(resources.gpus);
    }

    /// An attempt that was added is held no more.
    pub fn remove(&mut self, resources: &Resources) {
        self.count -= 1;
        self.cpu_milli -= u64::from(resources.cpu_milli);
        self.mem_mib -= resources.mem_mib;
        self.gpus -= u64::from(resources.gpus);
    }
}

impl Capacity {
    /// Whether one attempt that takes `wanted` fits when nothing else is held.
    #[must_use]
    pub fn could_hold(&self, wanted: &Resources) -> bool {
        (self.slots > 0 || wanted.cpu_milli <= self.cpu_milli)
            && wanted.mem_mib <= self.mem_mib
            && wanted.gpus <= self.gpus
    }

    /// How many attempts that take `wanted` fit at once; as many as one likes, if they take
    /// nothing.
    #[must_use]
    pub fn at_once(&self, wanted: &Resources) -> u64 {
        let fit = |all: u64, one: u64| all.checked_div(one).unwrap_or(u64::MAX);
        let places = match self.slots {
            0 => fit(self.cpu_milli.into(), wanted.cpu_milli.into()),
            slots => slots.into(),
        };
        places.min(fit(self.mem_mib, wanted.mem_mib)).min(fit(self.gpus.into(), wanted.gpus.into()))
    }

    /// Whether one more attempt that takes `wanted` fits beside what is used, or is one of the
    /// `ahead` that may wait for room.
    #[must_use]
    pub fn admits(&self, used: &Used, wanted: &Resources, ahead: u32) -> bool {
        let ahead = u64::from(ahead);
        let fits = |used: u64, one: u64, all: u64| {
            one == 0 || used + one <= all.saturating_add(ahead.saturating_mul(one))
        };
        let places = if self.slots > 0 {
            used.count < u64::from(self.slots) + ahead
        } else {
            fits(used.cpu_milli, u64::from(wanted.cpu_milli), u64::from(self.cpu_milli))
        };
        self.could_hold(wanted)
            && places
            && fits(used.mem_mib, wanted.mem_mib, self.mem_mib)
            && fits(used.gpus, u64::from(wanted.gpus), u64::from(self.gpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_what_fits_and_a_few_in_advance() {
        let plain = Capacity { cpu_milli: 2000, mem_mib: 1000, gpus: 1, slots: 0 };
        let one = Resources { cpu_milli: 1000, mem_mib: 0, gpus: 0 };
        let cases = [
            ("two processors, two trials", plain, 0, one, 2),
            ("one more in advance", plain, 1, one, 3),
            ("memory binds", plain, 0, Resources { mem_mib: 600, ..one }, 1),
            ("a gpu is not shared", plain, 0, Resources { gpus: 1, ..one }, 1),
            (
                "what is too large is never admitted, in advance neither",
                plain,
                5,
                Resources { gpus: 2, ..one },
                0,
            ),
            ("stated slots go before processors", Capacity { slots: 4, ..plain }, 0, one, 4),
        ];
        for (name, capacity, ahead, wanted, expected) in cases {
            let mut used = Used::default();
            let mut admitted = 0;
            while capacity.admits(&used, &wanted, ahead) && admitted < 100 {
                admitted += 1;
                used.add(&wanted);
            }
            assert_eq!(admitted, expected, "{name}");
            if ahead == 0 {
                assert_eq!(capacity.at_once(&wanted), expected, "{name}");
            }
        }
    }
}
