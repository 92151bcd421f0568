//! Numbers drawn from a seed: by position, and as a shuffle of a range.
//! Invariant: everything here is a function of its arguments, the same in every release.
//!
//! A stream is `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", 2014), whose n-th number is the finaliser of its key plus n times the golden ratio.
//! The shuffle is a Feistel network over the smallest even number of bits that holds the range,
//! applied again while it leaves the range (Black and Rogaway, "Ciphers with arbitrary finite
//! domains", 2002).

/// 2^64 over the golden ratio, odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Rounds of the network.
const ROUNDS: u64 = 8;

/// A key of its own for each seed and name.
pub(super) fn key(seed: u64, name: &str) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes()).update(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The number at `place` of the stream of `key`, below `radix`.
pub(super) fn draw(key: u64, place: u64, radix: u64) -> u64 {
    let number = mixed(key.wrapping_add(place.wrapping_add(1).wrapping_mul(GOLDEN)));
    ((u128::from(number) * u128::from(radix)) >> 64) as u64
}

/// The finaliser of `SplitMix64`.
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A bijection of `0..len` that looks random.
#[derive(Debug, Clone)]
pub(super) struct Shuffle {
    key: u64,
    len: u64,
    /// Half the bits of the network.
    half: u32,
}

impl Shuffle {
    /// The shuffle of `0..len` that `key` names; `len` is 1 to 2^63.
    pub(super) fn new(key: u64, len: u64) -> Self {
        let bits = u64::BITS - (len - 1).leading_zeros();
        Self { key, len, half: bits.div_ceil(2).max(1) }
    }

    /// What comes at `place`, which is below the length.
    pub(super) fn at(&self, place: u64) -> u64 {
        self.walk(place, |number| {
            let (mut left, mut right) = self.halves(number);
            for round in 0..ROUNDS {
                (left, right) = (right, left ^ self.round(round, right));
            }
            left << self.half | right
        })
    }

    /// The place at which `number` comes.
    pub(super) fn place_of(&self, number: u64) -> u64 {
        self.walk(number, |place| {
            let (mut left, mut right) = self.halves(place);
            for round in (0..ROUNDS).rev() {
                (left, right) = (right ^ self.round(round, left), left);
            }
            left << self.half | right
        })
    }

    /// `step` from `number` until it is within the range again: it is, at the latest where it
    /// began.
    fn walk(&self, number: u64, step: impl Fn(u64) -> u64) -> u64 {
        let mut next = step(number);
        while next >= self.len {
            next = step(next);
        }
        next
    }

    fn halves(&self, number: u64) -> (u64, u64) {
        (number >> self.half, number & self.mask())
    }

    fn round(&self, round: u64, half: u64) -> u64 {
        mixed(self.key ^ mixed(half ^ round.wrapping_mul(GOLDEN))) & self.mask()
    }

    fn mask(&self) -> u64 {
        (1 << self.half) - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_shuffle_is_a_bijection_that_its_inverse_undoes() {
        for len in [1, 2, 3, 6, 17, 64, 1_000, 4_097] {
            let shuffle = Shuffle::new(key(7, "shuffle"), len);
            let all: Vec<u64> = (0..len).map(|place| shuffle.at(place)).collect();
            assert_eq!(all.iter().collect::<HashSet<_>>().len() as u64, len);
            assert!(all.iter().all(|number| *number < len), "{len}");
            assert!((0..len).zip(&all).all(|(place, number)| shuffle.place_of(*number) == place), "{len}");
            assert!(len < 64 || all != (0..len).collect::<Vec<_>>(), "{len} are in order");
        }
        let huge = Shuffle::new(1, (1 << 63) - 25);
        for place in [0, 1, 1 << 40, (1 << 63) - 26] {
            assert_eq!(huge.place_of(huge.at(place)), place);
        }
    }

    #[test]
    fn what_a_seed_draws_is_the_same_for_good() {
        let stream = key(0, "lr");
        let drawn: Vec<u64> = (0..5).map(|place| draw(stream, place, 1_000)).collect();
        assert_eq!(drawn, [958, 582, 795, 555, 411]);
        let shuffle = Shuffle::new(key(0, ""), 10);
        assert_eq!(
            (0..10).map(|place| shuffle.at(place)).collect::<Vec<_>>(),
            [5, 9, 1, 4, 8, 2, 7, 0, 3, 6]
        );
    }
}
