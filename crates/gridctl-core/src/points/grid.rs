//! The grid: the product of a sweep's axes, computed and never stored.
//! Invariant: `index_at` and `pos_of` are inverse, and `index_of` finds what `decode` and the
//! space's parameters say of an index that is not excluded.
//!
//! With a number of seeds `index` is `seed * points + point`, so that more seeds only add at the
//! end; with an axis of repeats it is the plain mixed radix of all axes, the last fastest. The walk
//! takes the repeats of a point one after another, so that means are complete early (in journals of
//! before it goes through all points with the first repeat, then through all with the second).
//!
//! An axis whose `when` is false is absent. A point with an absent axis that is not at its first
//! value is excluded, so that each combination of the values that are there comes once.

use std::sync::Arc;

use super::space::{Space, small};
use super::walk::Walk;
use super::{GridError, MAX_TRIALS, error};
use crate::spec::SweepSpec;
use crate::value::Params;

/// The grid of one version of a sweep.
#[derive(Debug, Clone)]
pub struct Grid {
    space: Space,
    walk: Walk,
    points: u64,
    len: u64,
}

impl Grid {
    /// The grid of `spec`.
    ///
    /// # Errors
    /// [`GridError`]: too many trials, or a space that is broken.
    pub(super) fn new(spec: Arc<SweepSpec>) -> Result<Self, GridError> {
        let mut space = Space::new(spec)?;
        let raw = space.digits.iter().rev().try_fold(1u64, |weight, digit| weight.checked_mul(digit.radix));
        let len = raw.and_then(|raw| raw.checked_mul(space.seeds.into())).filter(|len| *len < MAX_TRIALS);
        let (Some(raw), Some(len)) = (raw, len) else {
            return Err(error::too_many(&space.digits, &space.axes, space.seeds));
        };
        let mut weight = 1;
        for digit in space.digits.iter_mut().rev() {
            digit.weight = weight;
            weight *= digit.radix;
        }
        let walked = (0..space.digits.len()).filter(|digit| Some(*digit) != space.repeat_digit);
        let walked: Vec<_> = walked.map(|digit| (digit, space.digits[digit].radix)).collect();
        let walk = Walk::new(space.spec.order, &walked);
        let points = raw / space.repeat_digit.map_or(1, |digit| space.digits[digit].radix);
        Ok(Self { space, walk, points, len })
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn index_at(&self, pos: u64) -> u64 {
        let pos = pos % self.len;
        let repeats = u64::from(self.space.repeats());
        let (repeat, step) = match self.space.spec.point_by_point {
            true => (pos % repeats, pos / repeats),
            false => (pos / self.points, pos % self.points),
        };
        let mut point = vec![0; self.space.digits.len()];
        self.walk.digits(step, &mut point);
        match self.space.repeat_digit {
            Some(digit) => point[digit] = repeat,
            None => return repeat * self.points + self.encode(&point),
        }
        self.encode(&point)
    }

    pub(super) fn pos_of(&self, index: u64) -> u64 {
        let (point, seed) = self.decode(index);
        let repeat = self.space.repeat_digit.map_or(seed, |digit| point[digit]);
        let step = self.walk.step(&point);
        match self.space.spec.point_by_point {
            true => step * u64::from(self.space.repeats()) + repeat,
            false => repeat * self.points + step,
        }
    }

    pub(super) fn point_of(&self, index: u64) -> (u64, u32) {
        let (mut point, seed) = self.decode(index);
        match self.space.repeat_digit {
            Some(digit) => {
                let repeat = std::mem::take(&mut point[digit]);
                (self.encode(&point), small(repeat))
            }
            None => (self.encode(&point), small(seed)),
        }
    }

    pub(super) fn index_of_repeat(&self, point: u64, repeat: u32) -> u64 {
        let weight = self.space.repeat_digit.map_or(self.points, |digit| self.space.digits[digit].weight);
        (point + u64::from(repeat) * weight) % self.len
    }

    pub(super) fn is_excluded(&self, index: u64) -> bool {
        if !self.space.rules.any() {
            return false;
        }
        let (point, _) = self.decode(index);
        self.excludes(&point, &self.space.active(&point))
    }

    pub(super) fn index_of(&self, params: &Params, seed: u32) -> Option<u64> {
        if seed >= self.space.seeds {
            return None;
        }
        let (point, active) = self.space.point_with(params)?;
        (!self.excludes(&point, &active)).then(|| u64::from(seed) * self.points + self.encode(&point))
    }

    /// The digits of the trial at `index`, and its seed.
    pub(super) fn decode(&self, index: u64) -> (Vec<u64>, u64) {
        let index = index % self.len;
        let point = self.space.digits.iter().map(|digit| index / digit.weight % digit.radix).collect();
        (point, if self.space.repeat_digit.is_some() { 0 } else { index / self.points })
    }

    /// The index of a point, its seed apart.
    fn encode(&self, point: &[u64]) -> u64 {
        self.space.digits.iter().zip(point).map(|(digit, place)| digit.weight * place).sum()
    }

    /// Whether the point is none: by a condition, or because it comes already with its absent axes
    /// at their first value.
    fn excludes(&self, point: &[u64], active: &[bool]) -> bool {
        let space = &self.space;
        space.rules.comes_again(space.scope(), point, active)
            || space.rules.excludes(space.scope(), point, active)
    }
}

#[cfg(test)]
mod tests;
