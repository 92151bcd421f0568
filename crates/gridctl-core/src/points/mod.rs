//! The points of a sweep: computed from their place, never stored.
//! Invariant: `index_at` and `pos_of` are inverse bijections of `0..len()`, and `index_of` undoes
//! `trial` wherever it is not excluded.
//!
//! `index` is a trial's place in its version of the sweep, `pos` its position in the walk. What
//! needs positions alone knows [`Points`] and nothing of what they are made of.

mod axis;
mod count;
mod error;
mod grid;
mod joint;
mod rules;
mod sequence;
mod shuffle;
mod space;
mod walk;

use std::sync::Arc;

use crate::id::TrialId;
use crate::spec::{Axis, SweepSpec};
use crate::value::{Params, Value};

pub use count::Count;
pub use error::GridError;
pub use grid::Grid;
pub use sequence::Sequence;

use space::Space;

/// Whether this is one of the axis's values, drawn ones apart.
pub(crate) fn has_value(axis: &Axis, value: &Value) -> bool {
    axis::AxisTable::new(axis).is_ok_and(|table| table.place_of(value).is_some())
}

/// Trials of a version are fewer than this.
pub const MAX_TRIALS: u64 = 1 << 63;

/// The points of one version of a sweep, each with its repeats.
#[derive(Debug, Clone)]
pub enum Points {
    /// The product of the axes.
    Grid(Grid),
    /// Drawn at random, from a seed.
    Sequence(Sequence),
}

/// One trial: a point and a repeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its place in this version.
    pub index: u64,
    /// Its parameters; absent axes are left out.
    pub params: Params,
    /// Which repeat of its point it is: the seed's number, or the place in the axis of repeats.
    pub repeat: u32,
    /// Whether it is none: by `exclude` or `when`, or since it repeats an earlier one.
    pub excluded: bool,
}

impl Points {
    /// The points of `spec`.
    ///
    /// # Errors
    /// [`GridError`]: too many trials, or something that the check of a sweep file refuses (an axis
    /// without values, say).
    pub fn new(spec: Arc<SweepSpec>) -> Result<Self, GridError> {
        match spec.sequence {
            Some(wanted) => Sequence::new(spec, wanted).map(Self::Sequence),
            None => Grid::new(spec).map(Self::Grid),
        }
    }

    fn space(&self) -> &Space {
        match self {
            Self::Grid(grid) => grid.space(),
            Self::Sequence(sequence) => sequence.space(),
        }
    }

    /// How many trials there are, excluded ones included: points times repeats.
    #[expect(clippy::len_without_is_empty, reason = "there is a trial at least")]
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Grid(grid) => grid.len(),
            Self::Sequence(sequence) => sequence.len(),
        }
    }

    /// How many points there are, excluded ones included, repeats not counted.
    #[must_use]
    pub fn point_count(&self) -> u64 {
        self.len() / u64::from(self.repeats())
    }

    /// How often each point is tried: the number of seeds, or the length of the axis of repeats.
    #[must_use]
    pub fn repeats(&self) -> u32 {
        self.space().repeats()
    }

    /// The sweep.
    #[must_use]
    pub fn spec(&self) -> &Arc<SweepSpec> {
        &self.space().spec
    }

    /// How many values the axis has that is the `axis`th of the sweep; 0 if there is none.
    #[must_use]
    pub fn axis_len(&self, axis: usize) -> u64 {
        self.space().axes.get(axis).map_or(0, |axis| axis.len)
    }

    /// The value at `place` of the axis that is the `axis`th of the sweep; null if there is none.
    #[must_use]
    pub fn axis_value(&self, axis: usize, place: u64) -> Value {
        match self.space().axes.get(axis) {
            Some(axis) if place < axis.len => axis.value(place).into_owned(),
            _ => Value::Null,
        }
    }

    /// The index of the trial at `pos` of the walk; `pos` is below [`Self::len`] (or taken modulo
    /// it).
    #[must_use]
    pub fn index_at(&self, pos: u64) -> u64 {
        match self {
            Self::Grid(grid) => grid.index_at(pos),
            Self::Sequence(sequence) => pos % sequence.len(),
        }
    }

    /// The position in the walk of the trial at `index`, which is below [`Self::len`] (or taken
    /// modulo it).
    #[must_use]
    pub fn pos_of(&self, index: u64) -> u64 {
        match self {
            Self::Grid(grid) => grid.pos_of(index),
            Self::Sequence(sequence) => index % sequence.len(),
        }
    }

    /// Which point the trial at `index` tries, and with which repeat: the index of the point's
    /// first repeat names it, and orders points as the file does.
    #[must_use]
    pub fn point_of(&self, index: u64) -> (u64, u32) {
        match self {
            Self::Grid(grid) => grid.point_of(index),
            Self::Sequence(sequence) => sequence.point_of(index),
        }
    }

    /// The index of a point's trial with this repeat.
    #[must_use]
    pub fn index_of_repeat(&self, point: u64, repeat: u32) -> u64 {
        match self {
            Self::Grid(grid) => grid.index_of_repeat(point, repeat),
            Self::Sequence(sequence) => (point + u64::from(repeat)) % sequence.len(),
        }
    }

    /// The trial at `index`, which is below [`Self::len`] (or taken modulo it).
    #[must_use]
    pub fn trial(&self, index: u64) -> Trial {
        let (point, seed) = self.decode(index);
        let space = self.space();
        let (params, repeat) = (space.params(&point, None), space.repeat_of(&point, seed));
        Trial { index: index % self.len(), params, repeat, excluded: self.is_excluded(index) }
    }

    /// Whether the trial at `index` is none; cheaper than [`Self::trial`].
    #[must_use]
    pub fn is_excluded(&self, index: u64) -> bool {
        match self {
            Self::Grid(grid) => grid.is_excluded(index),
            Self::Sequence(sequence) => sequence.is_excluded(index),
        }
    }

    /// What it costs to look whether a trial is excluded: 1, and the length of each condition in
    /// bytes; more where it must be looked for among those that came before.
    #[must_use]
    pub fn cost(&self) -> u64 {
        match self {
            Self::Grid(grid) => grid.space().cost(),
            Self::Sequence(sequence) => sequence.cost(),
        }
    }

    /// The id of the trial at `index`: the hash of all its parameters, the axis of repeats
    /// included, and the seed.
    #[must_use]
    pub fn trial_id(&self, index: u64) -> TrialId {
        let (point, seed) = self.decode(index);
        self.space().trial_id(&point, seed)
    }

    /// The id that the repeats of a point share: the hash of its parameters less the axis of
    /// repeats (and what is zipped with it).
    #[must_use]
    pub fn point_id(&self, index: u64) -> TrialId {
        let (point, _) = self.decode(index);
        self.space().point_id(&point)
    }

    /// The index of the trial with these parameters and this seed (0 where the repeats are an
    /// axis), if it is here and not excluded. Parameters may stand in any order; numbers that are
    /// equal are the same (`1`, `1.0`). Of a sequence that draws continuous values only the first
    /// million points are gone through.
    #[must_use]
    pub fn index_of(&self, params: &Params, seed: u32) -> Option<u64> {
        self.index_of_near(params, seed, None)
    }

    /// The same, of a trial that had the index `near` in another version: the same sequence has it
    /// there still, however long it is.
    #[must_use]
    pub fn index_of_near(&self, params: &Params, seed: u32, near: Option<u64>) -> Option<u64> {
        match self {
            Self::Grid(grid) => grid.index_of(params, seed),
            Self::Sequence(sequence) => sequence.index_of(params, seed, near),
        }
    }

    /// How many trials are not excluded: exact while what has to be gone through for it is within
    /// `budget`.
    #[must_use]
    pub fn count(&self, budget: u64) -> Count {
        match self {
            Self::Grid(grid) => grid.space().count(budget).map_or(Count::AtMost(self.len()), Count::Exact),
            Self::Sequence(sequence) => sequence.count(budget),
        }
    }

    /// Looks for a point at which a condition has no value, at `budget` combinations of values or
    /// fewer.
    ///
    /// # Errors
    /// [`GridError::Evaluation`] for the first that is found. Such a condition counts as false
    /// there.
    pub fn check_conditions(&self, budget: u64) -> Result<(), GridError> {
        match self {
            Self::Grid(grid) => grid.space().check_combinations(budget),
            Self::Sequence(sequence) => sequence.check_conditions(budget),
        }
    }

    /// The digits of the trial at `index`, and its seed.
    fn decode(&self, index: u64) -> (Vec<u64>, u64) {
        match self {
            Self::Grid(grid) => grid.decode(index),
            Self::Sequence(sequence) => sequence.decode(index),
        }
    }
}
