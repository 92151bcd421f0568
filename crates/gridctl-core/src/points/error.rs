//! What keeps a sweep from having a grid, and what to do about it.
//! Invariant: every message names the axis or condition at fault, and every error has a remedy.

use super::axis::AxisTable;
use super::space::Digit;
use crate::expr::EvalError;

/// A sweep that has no grid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GridError {
    /// The product of the axes is out of range.
    #[error("the grid has about {magnitude} trials ({product}), more than 2^63 - 1")]
    TooManyTrials {
        /// The longest factors.
        product: String,
        /// The product.
        magnitude: String,
    },
    /// Points times repeats of a sequence are out of range.
    #[error("{points} points with {repeats} repeats are no number of trials between 1 and 2^63 - 1")]
    TooManyRepeated {
        /// Its points.
        points: u64,
        /// How often each is tried.
        repeats: u32,
    },
    /// An axis without values.
    #[error("axis `{axis}` has no values")]
    EmptyAxis {
        /// The axis.
        axis: String,
    },
    /// A range that leaves the numbers, or has no step.
    #[error("the range of axis `{axis}` cannot be computed: its step is 0 or an end is out of range")]
    AxisOutOfRange {
        /// The axis.
        axis: String,
    },
    /// Values that rounding to 12 digits would make the same.
    #[error("the {count} values of axis `{axis}` lie closer together than 12 significant digits tell apart")]
    TooFine {
        /// The axis.
        axis: String,
        /// How many values it has.
        count: u64,
    },
    /// Zipped axes of different lengths.
    #[error("`{first}` has {first_len} values and `{second}`, zipped with it, has {second_len}")]
    ZipLengths {
        /// An axis.
        first: String,
        /// Its values.
        first_len: u64,
        /// Another of the group.
        second: String,
        /// Its values.
        second_len: u64,
    },
    /// An axis in two groups.
    #[error("axis `{axis}` is zipped twice")]
    ZippedTwice {
        /// The axis.
        axis: String,
    },
    /// A place that no axis has.
    #[error("there is no axis number {place}")]
    NoSuchAxis {
        /// The place.
        place: usize,
    },
    /// An axis of repeats that is too long.
    #[error("{repeats} repeats are more than 2^32 - 1")]
    TooManyRepeats {
        /// Its length.
        repeats: u64,
    },
    /// A condition about something that is no axis.
    #[error("`{name}` in `{expression}` is not a parameter")]
    UnknownName {
        /// The name.
        name: String,
        /// The condition.
        expression: String,
    },
    /// Conditions that wait for each other.
    #[error("`when` goes round in a circle through {}", .axes.join(", "))]
    Cycle {
        /// The axes that wait for each other, or for one of these.
        axes: Vec<String>,
    },
    /// A condition without a value at some point.
    #[error("`{expression}` has no value where {values}: {error}")]
    Evaluation {
        /// The condition.
        expression: String,
        /// The values there of the parameters that it names.
        values: String,
        /// Why.
        error: Box<EvalError>,
    },
}

impl GridError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::TooManyTrials { .. } => "give some axes fewer values, or zip those that belong together",
            Self::TooManyRepeated { .. } => "draw fewer points",
            Self::EmptyAxis { .. } => "give it a value, or take it out",
            Self::AxisOutOfRange { .. } => "choose ends and a step within the range of numbers",
            Self::TooFine { .. } => "choose fewer steps, or ends further apart",
            Self::ZipLengths { .. } => "zipped axes need equally many values",
            Self::ZippedTwice { .. } => "put all axes that walk together into one group",
            Self::NoSuchAxis { .. } | Self::UnknownName { .. } => "name one of the parameters",
            Self::TooManyRepeats { .. } => "average over fewer repeats",
            Self::Cycle { .. } => "let one of them be there always",
            Self::Evaluation { .. } => "ask first, as in `b != 0 and a / b > 1`",
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown as a power of ten")]
/// The error that the product of these is out of range.
pub(super) fn too_many(digits: &[Digit], axes: &[AxisTable], seeds: u32) -> GridError {
    let several = digits.iter().filter(|digit| digit.radix > 1);
    let mut factors: Vec<_> =
        several.map(|digit| (axes[digit.axes[0]].name.to_string(), digit.radix)).collect();
    if seeds > 1 {
        factors.push(("repeats".to_owned(), seeds.into()));
    }
    let magnitude = factors.iter().map(|(_, len)| (*len as f64).log10()).sum::<f64>();
    factors.sort_by_key(|(_, len)| std::cmp::Reverse(*len));
    let shown = factors.iter().take(6).map(|(name, len)| format!("{name} {len}"));
    let mut product = shown.collect::<Vec<_>>().join(" x ");
    if factors.len() > 6 {
        product.push_str(&format!(" x {} more", factors.len() - 6));
    }
    GridError::TooManyTrials { product, magnitude: format!("10^{magnitude:.0}") }
}
