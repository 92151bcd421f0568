//! The order in which points are tried: a bijection between steps and points, both ways in time
//! linear in the axes.
//! Invariant: `step(digits(s)) == s` for every step; the same sweep walks the same way on every
//! machine and in every release.
//!
//! A step is written in mixed radix, the longest axis fastest. Digit `i` of the point is
//! `stride_i * digit_i + floor(radix_i * frac(alpha_i * below_i))`, modulo its radix, where
//! `below_i` is the step modulo the product of the faster radices. It depends on faster digits
//! only, so it is undone one digit after the other. While a step is below that product, `below_i`
//! is the step itself and the axis follows a Kronecker sequence: every prefix of the walk holds
//! each value about equally often, and the axes together fill the grid evenly. The stride, about
//! radix over the golden ratio, does the same for the fastest axis and moves the pattern on each
//! time it starts again.
//!
//! The `alpha_i` are the fractional parts of the square roots of the primes (Richtmyer 1951;
//! Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods", 1992, chapter 3), which
//! with 1 are linearly independent over the rationals: what Weyl's theorem asks for joint
//! equidistribution. Those near 0 or 1 are left out, since an axis that follows them keeps one
//! value for long. Fractions are 64-bit fixed point, and a square root is exact to the last bit
//! everywhere.

use crate::spec::Order;

/// Fractional parts that move an axis on at nearly every step.
const LIVELY: std::ops::Range<f64> = 0.2..0.8;
/// 2^64.
const ONE: f64 = 18_446_744_073_709_551_616.0;
/// 2^64 over the golden ratio.
const GOLDEN: u128 = 0x9E37_79B9_7F4A_7C15;

/// A walk over the digits of a point.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    /// The fastest digit first.
    dims: Vec<Dim>,
}

#[derive(Debug, Clone)]
struct Dim {
    /// The place of the digit in the point.
    digit: usize,
    radix: u64,
    stride: u64,
    /// The inverse of `stride` modulo `radix`.
    inverse: u64,
    /// A fraction, times 2^64; 0 in the file's order.
    alpha: u64,
}

impl Walk {
    /// The walk over `digits`: places and radices, in the file's order.
    pub(super) fn new(order: Order, digits: &[(usize, u64)]) -> Self {
        let mut digits: Vec<_> = digits.iter().copied().filter(|(_, radix)| *radix > 1).collect();
        let dims = match order {
            Order::File => digits
                .iter()
                .rev()
                .map(|&(digit, radix)| Dim { digit, radix, stride: 1, inverse: 1, alpha: 0 })
                .collect(),
            Order::Spread => {
                digits.sort_by_key(|(_, radix)| std::cmp::Reverse(*radix));
                let spread = |((digit, radix), alpha): ((usize, u64), u64)| {
                    let (stride, inverse) = stride(radix);
                    Dim { digit, radix, stride, inverse, alpha }
                };
                digits.into_iter().zip(alphas()).map(spread).collect()
            }
        };
        Self { dims }
    }

    /// Writes the digits of the point at `step`; digits of one value stay as they are.
    pub(super) fn digits(&self, step: u64, out: &mut [u64]) {
        let (mut rest, mut below, mut product) = (step, 0, 1);
        for dim in &self.dims {
            let digit = rest % dim.radix;
            rest /= dim.radix;
            out[dim.digit] = dim.add(dim.times(digit, dim.stride), dim.offset(below));
            below += digit * product;
            product *= dim.radix;
        }
    }

    /// The step at which the point with these digits comes.
    pub(super) fn step(&self, digits: &[u64]) -> u64 {
        let (mut below, mut product) = (0, 1);
        for dim in &self.dims {
            let shifted = dim.add(digits[dim.digit], dim.radix - dim.offset(below));
            below += dim.times(shifted, dim.inverse) * product;
            product *= dim.radix;
        }
        below
    }
}

impl Dim {
    fn offset(&self, below: u64) -> u64 {
        high(u128::from(self.alpha.wrapping_mul(below)) * u128::from(self.radix))
    }

    fn add(&self, a: u64, b: u64) -> u64 {
        (a + b) % self.radix
    }

    #[expect(clippy::cast_possible_truncation, reason = "the result is below the radix")]
    fn times(&self, a: u64, b: u64) -> u64 {
        match a.checked_mul(b) {
            Some(product) => product % self.radix,
            None => (u128::from(a) * u128::from(b) % u128::from(self.radix)) as u64,
        }
    }
}

fn high(value: u128) -> u64 {
    (value >> 64) as u64
}

/// The step nearest below `radix` over the golden ratio that is coprime to it, and its inverse.
fn stride(radix: u64) -> (u64, u64) {
    let start = high(GOLDEN * u128::from(radix)).max(1);
    (1..=start).rev().find_map(|stride| Some((stride, inverse(stride, radix)?))).unwrap_or((1, 1))
}

/// The inverse of `value` modulo `radix`, if they are coprime: Euclid's algorithm, extended.
fn inverse(value: u64, radix: u64) -> Option<u64> {
    let (mut old, mut new) = ((i128::from(value), 1i128), (i128::from(radix), 0i128));
    while new.0 != 0 {
        let quotient = old.0 / new.0;
        (old, new) = (new, (old.0 - quotient * new.0, old.1 - quotient * new.1));
    }
    if old.0 != 1 {
        return None;
    }
    u64::try_from(old.1.rem_euclid(i128::from(radix))).ok()
}

/// The lively fractional parts of the square roots of the primes, times 2^64, without end.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction times 2^64 fits")]
fn alphas() -> impl Iterator<Item = u64> {
    let prime = |n: &u32| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    let roots = (2u32..).filter(prime).map(|prime| f64::from(prime).sqrt().fract());
    roots.filter(|root| LIVELY.contains(root)).map(|root| (root * ONE) as u64)
}
