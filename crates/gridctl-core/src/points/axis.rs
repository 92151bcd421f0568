//! One axis of the grid: value by place and place by value.
//! Invariant: no two places have the same canonical value, so that each is the inverse of the
//! other; unless the axis is zipped (then `joint` finds the place).
//!
//! Ranges are computed, not stored. A computed float is rounded to 12 significant digits, fewer
//! where its terms cancel, which takes the noise of binary fractions away (`0.1 + 2 * 0.1` is
//! `0.3`, `-0.3 + 3 * 0.1` is `0.0`) and hides how a platform's logarithm rounds. The ends of
//! `min`/`max`/`steps` are the file's own numbers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::GridError;
use crate::spec::{Axis, AxisValues};
use crate::value::Value;

/// Significant digits of a computed float.
const DIGITS: i32 = 12;
/// Significant digits that survive the computation, of its largest term.
const SURVIVING: i32 = 14;
/// Whole floats below this have the canonical form of an integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// An axis, ready for lookups.
#[derive(Debug, Clone)]
pub(super) struct AxisTable {
    pub(super) name: Arc<str>,
    pub(super) len: u64,
    values: AxisValues,
    /// Places by canonical value, for lists; built by the first lookup.
    places: OnceLock<HashMap<String, u64>>,
}

impl AxisTable {
    /// The axis `axis`.
    ///
    /// # Errors
    /// [`GridError`] where it has no value, one out of range, or two that rounding makes the same.
    pub(super) fn new(axis: &Axis) -> Result<Self, GridError> {
        let len = axis.values.count();
        let name = || axis.name.clone();
        if len == 0 {
            return Err(GridError::EmptyAxis { axis: name() });
        }
        if !in_range(&axis.values) {
            return Err(GridError::AxisOutOfRange { axis: name() });
        }
        if too_fine(&axis.values) {
            return Err(GridError::TooFine { axis: name(), count: len });
        }
        Ok(Self {
            name: axis.name.as_str().into(),
            len,
            values: axis.values.clone(),
            places: OnceLock::new(),
        })
    }

    /// All values, by rule.
    pub(super) fn values(&self) -> &AxisValues {
        &self.values
    }

    /// The value at `place`, which is below `len`.
    pub(super) fn value(&self, place: u64) -> Cow<'_, Value> {
        match &self.values {
            AxisValues::List(values) => {
                let value = usize::try_from(place).ok().and_then(|place| values.get(place));
                value.map_or(Cow::Owned(Value::Null), Cow::Borrowed)
            }
            AxisValues::IntRange { min, step, .. } => {
                let value = i128::from(*min) + i128::from(place) * i128::from(*step);
                Cow::Owned(Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
            }
            AxisValues::FloatRange { min, step, .. } => {
                let offset = float(place) * step;
                Cow::Owned(Value::Float(rounded(min + offset, min.abs().max(offset.abs()))))
            }
            AxisValues::Spaced { min, max, count, log } => {
                Cow::Owned(Value::Float(spaced(*min, *max, place, *count, *log)))
            }
            AxisValues::Drawn(drawn) => drawn.value(place),
        }
    }

    /// The place of the value that has the same canonical form as `value`.
    pub(super) fn place_of(&self, value: &Value) -> Option<u64> {
        match &self.values {
            AxisValues::List(values) => {
                let places =
                    self.places.get_or_init(|| (0..).zip(values).map(|(i, v)| (canonical(v), i)).collect());
                places.get(&canonical(value)).copied()
            }
            AxisValues::IntRange { min, step, .. } => {
                let offset = i128::from(whole(value)?) - i128::from(*min);
                let place = u64::try_from(offset.checked_div(i128::from(*step))?).ok()?;
                (offset % i128::from(*step) == 0 && place < self.len).then_some(place)
            }
            AxisValues::FloatRange { min, step, .. } => self.near(value, |v| (v - min) / step),
            AxisValues::Spaced { min, max, log: false, .. } => {
                self.near(value, |v| (v / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0) * float(self.len - 1))
            }
            AxisValues::Spaced { min, max, .. } => {
                self.near(value, |v| (v.ln() - min.ln()) / (max.ln() - min.ln()) * float(self.len - 1))
            }
            // Two draws may have the same value.
            AxisValues::Drawn(_) => None,
        }
    }

    /// The place of `value` among the places next to `guess` of it: rounding moves a value by less
    /// than a step.
    fn near(&self, value: &Value, guess: impl Fn(f64) -> f64) -> Option<u64> {
        let wanted = number(value)?;
        let about = guess(wanted).round();
        let about = if about.is_nan() { 0 } else { clamped(about) };
        let last = about.saturating_add(2).min(self.len - 1);
        (about.saturating_sub(2)..=last).find(|place| number(&self.value(*place)) == Some(wanted))
    }
}

/// Whether the first and the last value can be computed.
fn in_range(values: &AxisValues) -> bool {
    match values {
        AxisValues::List(_) | AxisValues::Drawn(_) => true,
        AxisValues::IntRange { min, step, count } => {
            let last = i128::from(*min) + i128::from(count - 1) * i128::from(*step);
            *step != 0 && i64::try_from(last).is_ok()
        }
        AxisValues::FloatRange { min, step, count } => {
            (*step != 0.0 || *count == 1) && min.is_finite() && (min + float(count - 1) * step).is_finite()
        }
        AxisValues::Spaced { min, max, log, .. } => {
            min.is_finite() && max.is_finite() && (!log || (*min > 0.0 && *max > 0.0))
        }
    }
}

/// Whether neighbours may be the same after rounding: closer together than a unit of the last
/// digit.
fn too_fine(values: &AxisValues) -> bool {
    let finest = 10f64.powi(1 - DIGITS);
    match values {
        AxisValues::FloatRange { min, step, count } if *count > 1 => {
            let last = min + float(count - 1) * step;
            step.abs() < finest * min.abs().max(last.abs())
        }
        AxisValues::Spaced { min, max, count, log } if *count > 1 => {
            let steps = float(count - 1);
            if *log {
                ((max.ln() - min.ln()) / steps).abs() < finest
            } else {
                (max / steps - min / steps).abs() < finest * min.abs().max(max.abs()) || max == min
            }
        }
        _ => false,
    }
}

fn spaced(min: f64, max: f64, place: u64, count: u64, log: bool) -> f64 {
    if place == 0 {
        return min;
    }
    if place + 1 == count {
        return max;
    }
    let part = float(place) / float(count - 1);
    if log {
        let value = (min.ln() * (1.0 - part) + max.ln() * part).exp();
        return rounded(value, value);
    }
    let (low, high) = (min * (1.0 - part), max * part);
    rounded(low + high, low.abs().max(high.abs()))
}

/// `value` to 12 significant digits, or to as many as survived in a sum whose largest term was
/// `largest`.
fn rounded(value: f64, largest: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = DIGITS.min(SURVIVING - (exponent(largest) - exponent(value)));
    match usize::try_from(digits - 1) {
        Ok(after_point) => format!("{value:.after_point$e}").parse().unwrap_or(value),
        Err(_) => 0.0,
    }
}

/// The decimal exponent of a number that is not 0.
#[expect(clippy::cast_possible_truncation, reason = "the exponent of a float has three digits")]
fn exponent(value: f64) -> i32 {
    value.abs().log10().floor() as i32
}

#[expect(
    clippy::cast_precision_loss,
    reason = "axes of floats are too fine long before their places are inexact"
)]
fn float(place: u64) -> f64 {
    place as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, and the neighbourhood of the place is searched"
)]
fn clamped(place: f64) -> u64 {
    place as u64
}

/// The value as a float, where equal floats mean equal canonical forms.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|float| matches!(value, Value::Float(_)) || float.abs() < EXACT)
}

/// The value as an integer, where equal integers mean equal canonical forms.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Float(value) if value.fract() == 0.0 && value.abs() < EXACT => Some(*value as i64),
        _ => None,
    }
}

pub(super) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    value.canonical(&mut out);
    out
}
