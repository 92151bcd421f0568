//! The space that a sweep's points lie in: axes, the digits that they form, and the rules about
//! them.
//! Invariant: a point is one place for each digit, below its radix; axes that are zipped share one
//! digit, which stands where the first of them does.

use std::sync::Arc;

use super::GridError;
use super::axis::AxisTable;
use super::joint::Joint;
use super::rules::{Rules, Scope};
use crate::id::TrialId;
use crate::spec::{Repeats, SweepSpec};
use crate::value::Params;

/// Axes, digits and rules of a sweep.
#[derive(Debug, Clone)]
pub(super) struct Space {
    pub(super) spec: Arc<SweepSpec>,
    pub(super) axes: Vec<AxisTable>,
    pub(super) digits: Vec<Digit>,
    /// The digit of each axis.
    pub(super) digit_of: Vec<usize>,
    /// The digit that is averaged over.
    pub(super) repeat_digit: Option<usize>,
    pub(super) seeds: u32,
    pub(super) rules: Rules,
}

/// What one axis, or axes that are zipped, add to a point.
#[derive(Debug, Clone)]
pub(super) struct Digit {
    pub(super) radix: u64,
    /// What one step of it adds to the index of a grid.
    pub(super) weight: u64,
    /// Its axes.
    pub(super) axes: Vec<usize>,
    /// How its place is found where one axis does not tell it.
    joint: Option<Joint>,
}

impl Space {
    /// The space of `spec`; the weights of its digits are still open.
    ///
    /// # Errors
    /// [`GridError`] where the axes have no values, or do not fit each other.
    pub(super) fn new(spec: Arc<SweepSpec>) -> Result<Self, GridError> {
        let axes = spec.axes.iter().map(AxisTable::new).collect::<Result<Vec<_>, _>>()?;
        let (digits, digit_of) = digits(&spec, &axes)?;
        let (seeds, repeat_digit) = match spec.repeats {
            Repeats::Seeds(seeds) => (seeds.max(1), None),
            Repeats::Axis(axis) => {
                (1, Some(*digit_of.get(axis).ok_or(GridError::NoSuchAxis { place: axis })?))
            }
        };
        let repeats = repeat_digit.map_or(1, |digit| digits[digit].radix);
        if u32::try_from(repeats).is_err() {
            return Err(GridError::TooManyRepeats { repeats });
        }
        let rules = Rules::new(&spec)?;
        Ok(Self { spec, axes, digits, digit_of, repeat_digit, seeds, rules })
    }

    /// How often each point is tried.
    pub(super) fn repeats(&self) -> u32 {
        self.repeat_digit.map_or(self.seeds, |digit| small(self.digits[digit].radix))
    }

    /// The repeat of a point with this seed.
    pub(super) fn repeat_of(&self, point: &[u64], seed: u64) -> u32 {
        small(self.repeat_digit.map_or(seed, |digit| point[digit]))
    }

    /// What it costs to evaluate the rules at a point: 1, and the length of each condition in
    /// bytes.
    pub(super) fn cost(&self) -> u64 {
        1 + self.rules.length()
    }

    pub(super) fn trial_id(&self, point: &[u64], seed: u64) -> TrialId {
        TrialId::of(&self.params(point, None), small(seed))
    }

    pub(super) fn point_id(&self, point: &[u64]) -> TrialId {
        TrialId::of(&self.params(point, self.repeat_digit), 0)
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { axes: &self.axes, digits: &self.digits, digit_of: &self.digit_of }
    }

    /// Which axes the point has.
    pub(super) fn active(&self, point: &[u64]) -> Vec<bool> {
        let mut active = Vec::new();
        self.rules.active(self.scope(), point, &mut active);
        active
    }

    /// The values that are there, less those of the digit `without`.
    pub(super) fn params(&self, point: &[u64], without: Option<usize>) -> Params {
        let active = self.active(point);
        let there = |(axis, digit): (usize, &usize)| {
            let table = &self.axes[axis];
            (active[axis] && Some(*digit) != without)
                .then(|| (table.name.clone(), table.value(point[*digit]).into_owned()))
        };
        Params::new(self.digit_of.iter().enumerate().filter_map(there).collect())
    }

    /// The point with these parameters, and which axes it has: those that `params` gives a value,
    /// and no others. Digits none of whose axes are there are at their first value.
    pub(super) fn point_with(&self, params: &Params) -> Option<(Vec<u64>, Vec<bool>)> {
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
                let axes: Vec<&AxisTable> = digit.axes.iter().map(|axis| &self.axes[*axis]).collect();
                *place = Some(joint.place_of(&axes, params)?);
            }
        }
        let point: Vec<u64> = places.into_iter().map(Option::unwrap_or_default).collect();
        let active = self.active(&point);
        let has = |(axis, active): (&AxisTable, &bool)| *active == params.get(&axis.name).is_some();
        let same_axes = found == params.len() && self.axes.iter().zip(&active).all(has);
        same_axes.then_some((point, active))
    }
}

/// The digits of the axes, weights still open, and each axis's digit.
fn digits(spec: &SweepSpec, axes: &[AxisTable]) -> Result<(Vec<Digit>, Vec<usize>), GridError> {
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
        let members: Vec<&AxisTable> = digit.axes.iter().map(|axis| &axes[*axis]).collect();
        digit.joint = Joint::needed(&members);
    }
    Ok((digits, digit_of))
}

/// A number that is known to be below 2^32.
pub(super) fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
