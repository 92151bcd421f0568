//! The trainer's one source of chance: SplitMix64, a few lines, so that a seed means the same draws
//! for ever, whatever version of a random number crate is linked.
//!
//! Invariant: what is drawn depends on the seed and the stream alone, never on what other streams
//! drew.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// The stream that `seed` and `path` name: `[fold, tree]`, say. Different paths give unrelated
    /// streams.
    pub(crate) fn stream(seed: u64, path: &[u64]) -> Self {
        let state = path.iter().fold(mix(seed), |state, step| mix(state ^ mix(step.wrapping_add(1))));
        Self { state }
    }

    /// A number below `bound`, which is at least 1. The bias is below 2^-40 for every bound used
    /// here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let wide = u128::from(mix(self.state)) * bound as u128;
        usize::try_from(wide >> 64).expect("the product's upper half is below the bound, a usize")
    }

    /// Puts `items` in random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_seed_and_path() {
        let draw = |seed, path: &[u64]| {
            let mut rng = Rng::stream(seed, path);
            (0..8).map(|_| rng.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(0, &[0, 1]), draw(0, &[0, 1]));
        assert_ne!(draw(0, &[0, 1]), draw(0, &[1, 0]));
        assert_ne!(draw(0, &[0, 1]), draw(1, &[0, 1]));
        assert_ne!(draw(0, &[0]), draw(0, &[0, 0]));
    }

    #[test]
    fn draws_are_even_and_below_the_bound() {
        let mut rng = Rng::stream(7, &[]);
        let mut seen = [0_u32; 10];
        (0..10_000).for_each(|_| seen[rng.below(10)] += 1);
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::stream(3, &[]).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
