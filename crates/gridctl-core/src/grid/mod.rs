//! The grid: the product of a sweep's axes, computed and never stored.
//! Invariant: `index_at` and `pos_of` are inverse bijections of `0..len()`, and `index_of` undoes `trial` wherever it is not excluded.
//!
//! `index` is a trial's place in this version of the sweep: with a number of seeds it is `seed * points + point`, so that more
//! seeds only add at the end; with an axis of repeats it is the plain mixed radix of all axes, the last fastest. `pos` is its
//! position in the walk, which takes the repeats of a point one after another, so that means are complete early (in journals of
//! before it goes through all points with the first repeat, then through all with the second). Axes that are
//! zipped share one digit, which stands where the first of them does.
//!
//! An axis whose `when` is false is absent. A point with an absent axis that is not at its first value is excluded, so that each
//! combination of the values that are there comes once.

mod axis;
mod count;
mod error;
mod joint;
mod rules;
mod walk;

use std::sync::Arc;

use crate::id::TrialId;
use crate::spec::{Repeats, SweepSpec};
use crate::value::{Params, Value};

use axis::Table;
pub use count::Count;
pub use error::GridError;
use joint::Joint;
use rules::{Rules, Scope};
use walk::Walk;

/// Trials of a grid are fewer than this.
pub const MAX_TRIALS: u64 = 1 << 63;

/// The grid of one version of a sweep.
#[derive(Debug, Clone)]
pub struct Grid {
    spec: Arc<SweepSpec>,
    axes: Vec<Table>,
    digits: Vec<Digit>,
    /// The digit of each axis.
    digit_of: Vec<usize>,
    /// The digit that is averaged over.
    repeat_digit: Option<usize>,
    seeds: u32,
    rules: Rules,
    walk: Walk,
    points: u64,
    len: u64,
}

/// What one axis, or axes that are zipped, add to a point.
#[derive(Debug, Clone)]
struct Digit {
    radix: u64,
    /// What one step of it adds to the index.
    weight: u64,
    /// Its axes.
    axes: Vec<usize>,
    /// How its place is found where one axis does not tell it.
    joint: Option<Joint>,
}

/// One trial of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its place in this version.
    pub index: u64,
    /// Its parameters; absent axes are left out.
    pub params: Params,
    /// Which repeat of its point it is: the seed's number, or the place in the axis of repeats.
    pub repeat: u32,
    /// Whether `exclude` or `when` makes it none.
    pub excluded: bool,
}

impl Grid {
    /// The grid of `spec`.
    ///
    /// # Errors
    /// [`GridError`]: too many trials, or something that the check of a sweep file refuses (an axis without values, say).
    pub fn new(spec: Arc<SweepSpec>) -> Result<Self, GridError> {
        let axes = spec.axes.iter().map(Table::new).collect::<Result<Vec<_>, _>>()?;
        let (mut digits, digit_of) = digits(&spec, &axes)?;
        let (seeds, repeat_digit) = match spec.repeats {
            Repeats::Seeds(seeds) => (seeds.max(1), None),
            Repeats::Axis(axis) => {
                (1, Some(*digit_of.get(axis).ok_or(GridError::NoSuchAxis { place: axis })?))
            }
        };
        let raw = digits.iter().rev().try_fold(1u64, |weight, digit| weight.checked_mul(digit.radix));
        let len = raw.and_then(|raw| raw.checked_mul(seeds.into())).filter(|len| *len < MAX_TRIALS);
        let (Some(raw), Some(len)) = (raw, len) else { return Err(error::too_many(&digits, &axes, seeds)) };
        let mut weight = 1;
        for digit in digits.iter_mut().rev() {
            digit.weight = weight;
            weight *= digit.radix;
        }
        let repeats = repeat_digit.map_or(1, |digit| digits[digit].radix);
        if u32::try_from(repeats).is_err() {
            return Err(GridError::TooManyRepeats { repeats });
        }
        let walked: Vec<_> = (0..digits.len()).filter(|digit| Some(*digit) != repeat_digit).collect();
        let walked: Vec<_> = walked.into_iter().map(|digit| (digit, digits[digit].radix)).collect();
        let walk = Walk::new(spec.order, &walked);
        let rules = Rules::new(&spec)?;
        let points = raw / repeats;
        Ok(Self { spec, axes, digits, digit_of, repeat_digit, seeds, rules, walk, points, len })
    }

    /// How many trials there are, excluded ones included: points times repeats.
    #[expect(clippy::len_without_is_empty, reason = "a grid has a trial at least")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many points there are, excluded ones included, repeats not counted.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.points
    }

    /// How often each point is tried: the number of seeds, or the length of the axis of repeats.
    #[must_use]
    pub fn repeats(&self) -> u32 {
        self.repeat_digit.map_or(self.seeds, |digit| small(self.digits[digit].radix))
    }

    /// The sweep.
    #[must_use]
    pub fn spec(&self) -> &Arc<SweepSpec> {
        &self.spec
    }

    /// How many values the axis has that is the `axis`th of the sweep; 0 if there is none.
    #[must_use]
    pub fn axis_len(&self, axis: usize) -> u64 {
        self.axes.get(axis).map_or(0, |axis| axis.len)
    }

    /// The value at `place` of the axis that is the `axis`th of the sweep; null if there is none.
    #[must_use]
    pub fn axis_value(&self, axis: usize, place: u64) -> Value {
        match self.axes.get(axis) {
            Some(axis) if place < axis.len => axis.value(place).into_owned(),
            _ => Value::Null,
        }
    }

    /// The index of the trial at `pos` of the walk; `pos` is below [`Self::len`] (or taken modulo it).
    #[must_use]
    pub fn index_at(&self, pos: u64) -> u64 {
        let pos = pos % self.len;
        let repeats = u64::from(self.repeats());
        let (repeat, step) = match self.spec.point_by_point {
            true => (pos % repeats, pos / repeats),
            false => (pos / self.points, pos % self.points),
        };
        let mut point = vec![0; self.digits.len()];
        self.walk.digits(step, &mut point);
        match self.repeat_digit {
            Some(digit) => point[digit] = repeat,
            None => return repeat * self.points + self.encode(&point),
        }
        self.encode(&point)
    }

    /// The position in the walk of the trial at `index`, which is below [`Self::len`] (or taken modulo it).
    #[must_use]
    pub fn pos_of(&self, index: u64) -> u64 {
        let (point, seed) = self.decode(index);
        let repeat = self.repeat_digit.map_or(seed, |digit| point[digit]);
        let step = self.walk.step(&point);
        match self.spec.point_by_point {
            true => step * u64::from(self.repeats()) + repeat,
            false => repeat * self.points + step,
        }
    }

    /// Which point the trial at `index` tries, and with which repeat: the index of the point's first repeat names it, and orders
    /// points as the file does.
    #[must_use]
    pub fn point_of(&self, index: u64) -> (u64, u32) {
        let (mut point, seed) = self.decode(index);
        match self.repeat_digit {
            Some(digit) => {
                let repeat = std::mem::take(&mut point[digit]);
                (self.encode(&point), small(repeat))
            }
            None => (self.encode(&point), small(seed)),
        }
    }

    /// The index of a point's trial with this repeat.
    #[must_use]
    pub fn index_of_repeat(&self, point: u64, repeat: u32) -> u64 {
        let weight = self.repeat_digit.map_or(self.points, |digit| self.digits[digit].weight);
        (point + u64::from(repeat) * weight) % self.len
    }

    /// The trial at `index`, which is below [`Self::len`] (or taken modulo it).
    #[must_use]
    pub fn trial(&self, index: u64) -> Trial {
        let (point, seed) = self.decode(index);
        let active = self.active(&point);
        let repeat = small(self.repeat_digit.map_or(seed, |digit| point[digit]));
        let excluded = self.rules.excludes(self.scope(), &point, &active);
        Trial { index: index % self.len, params: self.params(&point, &active, None), repeat, excluded }
    }

    /// Whether the trial at `index` is none; cheaper than [`Self::trial`].
    #[must_use]
    pub fn is_excluded(&self, index: u64) -> bool {
        if !self.rules.any() {
            return false;
        }
        let (point, _) = self.decode(index);
        self.rules.excludes(self.scope(), &point, &self.active(&point))
    }

    /// What it costs to look whether a trial is excluded: 1, and the length of each condition in bytes.
    #[must_use]
    pub fn cost(&self) -> u64 {
        1 + self.rules.length()
    }

    /// The id of the trial at `index`: the hash of all its parameters, the axis of repeats included, and the seed.
    #[must_use]
    pub fn trial_id(&self, index: u64) -> TrialId {
        let (point, seed) = self.decode(index);
        TrialId::of(&self.params(&point, &self.active(&point), None), small(seed))
    }

    /// The id that the repeats of a point share: the hash of its parameters less the axis of repeats (and what is zipped with it).
    #[must_use]
    pub fn point_id(&self, index: u64) -> TrialId {
        let (point, _) = self.decode(index);
        TrialId::of(&self.params(&point, &self.active(&point), self.repeat_digit), 0)
    }

    /// The index of the trial with these parameters and this seed (0 where the repeats are an axis), if it is in this grid and
    /// not excluded. Parameters may stand in any order; numbers that are equal are the same (`1`, `1.0`).
    #[must_use]
    pub fn index_of(&self, params: &Params, seed: u32) -> Option<u64> {
        if seed >= self.seeds {
            return None;
        }
        let mut places: Vec<Option<u64>> = vec![None; self.digits.len()];
        let mut found = 0;
        let mut in_order = params.iter().peekable();
        for (axis, digit) in self.axes.iter().zip(&self.digit_of) {
            let next = in_order.next_if(|(name, _)| *name == &*axis.name).map(|(_, value)| value);
            let Some(value) = next.or_else(|| params.get(&axis.name)) else { continue };
            found += 1;
            if self.digits[*digit].joint.is_some() {
                continue;
            }
            let place = axis.place_of(value)?;
            if places[*digit].is_some_and(|known| known != place) {
                return None;
            }
            places[*digit] = Some(place);
        }
        for (digit, place) in self.digits.iter().zip(&mut places) {
            if let Some(joint) = &digit.joint {
                let axes: Vec<&Table> = digit.axes.iter().map(|axis| &self.axes[*axis]).collect();
                *place = Some(joint.place_of(&axes, params)?);
            }
        }
        let point: Vec<u64> = places.into_iter().map(Option::unwrap_or_default).collect();
        let active = self.active(&point);
        let same_axes = found == params.len()
            && self
                .axes
                .iter()
                .zip(&active)
                .all(|(axis, active)| *active == params.get(&axis.name).is_some());
        let there = same_axes && !self.rules.excludes(self.scope(), &point, &active);
        there.then(|| u64::from(seed) * self.points + self.encode(&point))
    }

    /// The digits of the trial at `index`, and its seed.
    fn decode(&self, index: u64) -> (Vec<u64>, u64) {
        let index = index % self.len;
        let point = self.digits.iter().map(|digit| index / digit.weight % digit.radix).collect();
        (point, if self.repeat_digit.is_some() { 0 } else { index / self.points })
    }

    /// The index of a point, its seed apart.
    fn encode(&self, point: &[u64]) -> u64 {
        self.digits.iter().zip(point).map(|(digit, place)| digit.weight * place).sum()
    }

    fn scope(&self) -> Scope<'_> {
        Scope { axes: &self.axes, digits: &self.digits, digit_of: &self.digit_of }
    }

    fn active(&self, point: &[u64]) -> Vec<bool> {
        let mut active = Vec::new();
        self.rules.active(self.scope(), point, &mut active);
        active
    }

    /// The values that are there, less those of the digit `without`.
    fn params(&self, point: &[u64], active: &[bool], without: Option<usize>) -> Params {
        let there = |(axis, digit): (usize, &usize)| {
            let table = &self.axes[axis];
            (active[axis] && Some(*digit) != without)
                .then(|| (table.name.clone(), table.value(point[*digit]).into_owned()))
        };
        Params::new(self.digit_of.iter().enumerate().filter_map(there).collect())
    }
}

/// The digits of the axes, weights still open, and each axis's digit.
fn digits(spec: &SweepSpec, axes: &[Table]) -> Result<(Vec<Digit>, Vec<usize>), GridError> {
    let mut group_of = vec![None; axes.len()];
    for (group, members) in spec.zip.iter().enumerate() {
        for &place in members {
            let known = group_of.get_mut(place).ok_or(GridError::NoSuchAxis { place })?;
            if known.replace(group).is_some() {
                return Err(GridError::ZippedTwice { axis: spec.axes[place].name.clone() });
            }
        }
    }
    let mut digits: Vec<Digit> = Vec::new();
    let mut digit_of = Vec::with_capacity(axes.len());
    let mut digit_of_group = vec![None; spec.zip.len()];
    for (place, axis) in axes.iter().enumerate() {
        let known = group_of[place].and_then(|group: usize| digit_of_group[group]);
        let digit: usize = known.unwrap_or(digits.len());
        if known.is_none() {
            digits.push(Digit { radix: axis.len, weight: 1, axes: Vec::new(), joint: None });
        }
        if let Some(group) = group_of[place] {
            digit_of_group[group] = Some(digit);
        }
        if digits[digit].radix != axis.len {
            let first = &axes[digits[digit].axes[0]];
            return Err(GridError::ZipLengths {
                first: first.name.to_string(),
                first_len: first.len,
                second: axis.name.to_string(),
                second_len: axis.len,
            });
        }
        digits[digit].axes.push(place);
        digit_of.push(digit);
    }
    for digit in &mut digits {
        let members: Vec<&Table> = digit.axes.iter().map(|axis| &axes[*axis]).collect();
        digit.joint = Joint::needed(&members);
    }
    Ok((digits, digit_of))
}

/// A number that is known to be below 2^32.
fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
