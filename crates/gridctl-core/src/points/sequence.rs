//! A sequence: points drawn at random, each a function of the seed and its position alone.
//! Invariant: a longer sequence begins with a shorter one, and no point is in it twice: one that
//! repeats an earlier point is excluded.
//!
//! Where every parameter has finitely many values, all equally likely and there always, the
//! sequence is a shuffle of their product: nothing repeats, and a point's position is found by
//! undoing the shuffle. Else each axis draws from a stream of its own, named after it, so that a
//! new axis changes no other. There a repeat is either so unlikely that it is not looked for (50
//! binary digits tell draws apart), or the sequence ends at a million positions, which are
//! remembered as far as they have been looked at.
//!
//! `index` and `pos` are the same: the point's position times the repeats, plus the repeat.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::count::Count;
use super::shuffle::{Shuffle, draw, key};
use super::space::{Space, small};
use super::{GridError, MAX_TRIALS};
use crate::id::TrialId;
use crate::spec::{AxisValues, SequenceSpec, SweepSpec};
use crate::value::Params;

/// How many positions are gone through at most, to find a point or its repeats.
const REMEMBERED: u64 = 1_000_000;
/// So many binary digits make a repeat too unlikely to be looked for.
const ENOUGH_BITS: u32 = 50;
/// What it costs to draw a point and to look whether it has come before, beside an evaluation's
/// cost.
const COST_OF_MEMORY: u64 = 200;
/// Of how many combinations that a grid may go through one position may be gone through here.
const COMBINATIONS_A_POSITION: u64 = 500;

/// The points of one version of a sweep that draws them.
#[derive(Debug, Clone)]
pub struct Sequence {
    space: Space,
    /// Positions, repeats not counted.
    points: u64,
    source: DrawSource,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Clone)]
enum DrawSource {
    Shuffled(Shuffle),
    Drawn {
        /// The stream of each digit.
        keys: Vec<u64>,
        /// Points may repeat.
        repeats: bool,
    },
}

/// Where points come first, for all positions below `upto`.
#[derive(Debug, Default)]
struct Memory {
    first: HashMap<TrialId, u32>,
    upto: u64,
}

impl Sequence {
    /// The sequence of `spec`.
    ///
    /// # Errors
    /// [`GridError`]: too many trials, or a space that is broken.
    pub(super) fn new(spec: Arc<SweepSpec>, wanted: SequenceSpec) -> Result<Self, GridError> {
        let space = Space::new(spec)?;
        let SequenceSpec { seed, points } = wanted;
        let (points, source) = match product(&space) {
            Some(product) => {
                (points.min(product), DrawSource::Shuffled(Shuffle::new(key(seed, ""), product)))
            }
            None => {
                let named = |axes: &[usize]| key(seed, &space.axes[axes[0]].name);
                let keys = space.digits.iter().map(|digit| named(&digit.axes)).collect();
                let repeats = bits(&space) < ENOUGH_BITS;
                let points = if repeats { points.min(REMEMBERED) } else { points };
                (points, DrawSource::Drawn { keys, repeats })
            }
        };
        let repeats = space.repeats();
        match points.checked_mul(repeats.into()).filter(|len| (1..MAX_TRIALS).contains(len)) {
            Some(_) => Ok(Self { space, points, source, memory: Arc::default() }),
            None => Err(GridError::TooManyRepeated { points, repeats }),
        }
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn len(&self) -> u64 {
        self.points * u64::from(self.space.repeats())
    }

    /// What it costs to look whether a position is excluded.
    pub(super) fn cost(&self) -> u64 {
        self.space.cost() + if self.repeats() { COST_OF_MEMORY } else { 0 }
    }

    pub(super) fn point_of(&self, index: u64) -> (u64, u32) {
        let repeat = index % u64::from(self.space.repeats());
        (index % self.len() - repeat, small(repeat))
    }

    /// The digits of the trial at `index`, and its seed.
    pub(super) fn decode(&self, index: u64) -> (Vec<u64>, u64) {
        let (first, repeat) = self.point_of(index);
        let mut point = self.digits(first / u64::from(self.space.repeats()));
        match self.space.repeat_digit {
            Some(digit) => {
                point[digit] = repeat.into();
                (point, 0)
            }
            None => (point, repeat.into()),
        }
    }

    pub(super) fn is_excluded(&self, index: u64) -> bool {
        self.excludes(index % self.len() / u64::from(self.space.repeats()))
    }

    /// The index of the trial with these parameters and this seed: at the position that `near` is
    /// of, if it is there, by undoing the shuffle, or among the first million positions.
    pub(super) fn index_of(&self, params: &Params, seed: u32, near: Option<u64>) -> Option<u64> {
        let mut repeat = u64::from(seed);
        if seed >= self.space.seeds {
            return None;
        }
        for (axis, digit) in self.space.axes.iter().zip(&self.space.digit_of) {
            if Some(*digit) == self.space.repeat_digit {
                repeat = axis.place_of(params.get(&axis.name)?)?;
            }
        }
        let step = match &self.source {
            DrawSource::Shuffled(shuffle) => {
                let (point, _) = self.space.point_with(params)?;
                shuffle.place_of(self.encode(&point))
            }
            DrawSource::Drawn { .. } => {
                let known = |(name, _): (&str, _)| self.space.axes.iter().any(|axis| *axis.name == *name);
                if !params.iter().all(known) {
                    return None;
                }
                let point = TrialId::of(&self.without_repeat(params), 0);
                let there = near.map(|near| near / u64::from(self.space.repeats()));
                let there = there.filter(|step| *step < self.points && self.id_at(*step) == point);
                there.filter(|step| !self.excludes(*step)).or_else(|| self.find(point))?
            }
        };
        let there = step < self.points && !self.excludes(step);
        there.then(|| step * u64::from(self.space.repeats()) + repeat)
    }

    pub(super) fn count(&self, budget: u64) -> Count {
        if self.space.rules.exclude.is_empty() && !self.repeats() {
            return Count::Exact(self.len());
        }
        if self.points > budget / COMBINATIONS_A_POSITION {
            return Count::AtMost(self.len());
        }
        let there = (0..self.points).filter(|step| !self.excludes(*step)).count() as u64;
        Count::Exact(there * u64::from(self.space.repeats()))
    }

    pub(super) fn check_conditions(&self, budget: u64) -> Result<(), GridError> {
        let tried = if self.space.rules.any() { budget / 10 } else { 0 };
        (0..tried.min(self.points)).try_for_each(|step| {
            let point = self.digits(step);
            self.space.check_at(&self.space.rules, &point, &self.space.active(&point))
        })
    }

    fn repeats(&self) -> bool {
        matches!(self.source, DrawSource::Drawn { repeats: true, .. })
    }

    fn excludes(&self, step: u64) -> bool {
        let rules = &self.space.rules;
        let by_rule = !rules.exclude.is_empty() && {
            let point = self.digits(step);
            rules.excludes(self.space.scope(), &point, &self.space.active(&point))
        };
        by_rule || (self.repeats() && self.find(self.id_at(step)).is_some_and(|first| first < step))
    }

    /// The digits at a position, that of the repeats at its first value.
    fn digits(&self, step: u64) -> Vec<u64> {
        let digits = self.space.digits.iter().enumerate();
        let varies = |place: usize| Some(place) != self.space.repeat_digit;
        match &self.source {
            DrawSource::Drawn { keys, .. } => {
                let place =
                    |place: usize, radix| if varies(place) { draw(keys[place], step, radix) } else { 0 };
                digits.map(|(at, digit)| place(at, digit.radix)).collect()
            }
            DrawSource::Shuffled(shuffle) => {
                let mut rest = shuffle.at(step);
                let mut place = |radix| {
                    let place = rest % radix;
                    rest /= radix;
                    place
                };
                digits.map(|(at, digit)| if varies(at) { place(digit.radix) } else { 0 }).collect()
            }
        }
    }

    /// What the shuffle has at these digits.
    fn encode(&self, point: &[u64]) -> u64 {
        let digits = self.space.digits.iter().zip(point).enumerate();
        let varied = digits.filter(|(place, _)| Some(*place) != self.space.repeat_digit);
        let (number, _) = varied.fold((0, 1), |(number, weight), (_, (digit, place))| {
            (number + place * weight, weight * digit.radix)
        });
        number
    }

    fn id_at(&self, step: u64) -> TrialId {
        self.space.point_id(&self.digits(step))
    }

    fn without_repeat(&self, params: &Params) -> Params {
        let averaged = |name: &str| {
            let mut axes = self.space.axes.iter().zip(&self.space.digit_of);
            axes.any(|(axis, digit)| *axis.name == *name && Some(*digit) == self.space.repeat_digit)
        };
        let kept = params.iter().filter(|(name, _)| !averaged(name));
        Params::new(kept.map(|(name, value)| (name.into(), value.clone())).collect())
    }

    /// The first position of a point, among the first million.
    fn find(&self, point: TrialId) -> Option<u64> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let upto = self.points.min(REMEMBERED);
        loop {
            if let Some(first) = memory.first.get(&point) {
                return Some((*first).into());
            }
            let step = memory.upto;
            if step >= upto {
                return None;
            }
            let id = self.id_at(step);
            memory.first.entry(id).or_insert(small(step));
            memory.upto += 1;
        }
    }
}

/// How many points there are, where all come equally often: finitely many values, and no `when`.
fn product(space: &Space) -> Option<u64> {
    let drawn = space.spec.axes.iter().any(|axis| matches!(axis.values, AxisValues::Drawn(_)));
    if drawn || !space.rules.when.is_empty() {
        return None;
    }
    let digits = space.digits.iter().enumerate().filter(|(place, _)| Some(*place) != space.repeat_digit);
    let product = digits.map(|(_, digit)| digit.radix).try_fold(1u64, u64::checked_mul);
    product.filter(|product| *product < MAX_TRIALS)
}

/// About how many binary digits tell two points apart, as far as their axes are always there.
fn bits(space: &Space) -> u32 {
    let digits = space.digits.iter().enumerate().filter(|(place, _)| Some(*place) != space.repeat_digit);
    let of_digit = |digit: &super::space::Digit| {
        let first = &space.spec.axes[digit.axes[0]];
        match &first.values {
            _ if first.when.is_some() => 0,
            AxisValues::Drawn(drawn) => drawn.bits(),
            _ => digit.radix.ilog2(),
        }
    };
    digits.map(|(_, digit)| of_digit(digit)).sum()
}

#[cfg(test)]
mod tests;
