//! Parameters that are drawn at random: the distributions of W&B's sweeps, by their inverse.
//! Invariant: a value is a function of its law and a number between 0 and 1, the same on every machine:
//! what a platform's own logarithm could make different is computed by `libm`, or rounded to 12 digits.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use statrs::function::{beta, erf};

use crate::value::Value;

/// How many different numbers a draw takes: the centres of equal parts of the unit interval.
pub const DRAWS: u64 = 1 << 52;
/// Most values with probabilities of their own.
pub(super) const MOST_WEIGHTED: usize = 1_000;
/// Floats below this stand for whole numbers exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A parameter that is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// How its values are distributed.
    pub law: Law,
    /// Values are rounded to multiples of this: a whole number makes them whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<Value>,
}

/// A distribution, with W&B's meaning of its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Law {
    /// Each value with its probability; they need not sum to 1.
    Categorical {
        /// The values.
        values: Vec<Value>,
        /// As many numbers, none below 0, one above it at least.
        probabilities: Vec<f64>,
    },
    /// Evenly between the bounds.
    Uniform {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },
    /// `exp(x)` for an x evenly between the bounds, which are exponents.
    LogUniform {
        /// The logarithm of the lower bound.
        min: f64,
        /// The logarithm of the upper bound.
        max: f64,
    },
    /// Evenly in the logarithm between the bounds.
    LogUniformValues {
        /// The lower bound, above 0.
        min: f64,
        /// The upper bound.
        max: f64,
    },
    /// `exp(-x)` for an x evenly between the bounds, which are exponents.
    InvLogUniform {
        /// The logarithm of the upper bound's inverse.
        min: f64,
        /// The logarithm of the lower bound's inverse.
        max: f64,
    },
    /// The normal distribution.
    Normal {
        /// Its mean.
        mu: f64,
        /// Its standard deviation.
        sigma: f64,
    },
    /// `exp(x)` for a normal x.
    LogNormal {
        /// The mean of x.
        mu: f64,
        /// The standard deviation of x.
        sigma: f64,
    },
    /// The beta distribution.
    Beta {
        /// Its first shape.
        a: f64,
        /// Its second shape.
        b: f64,
    },
}

impl Drawn {
    /// The value of a draw, which is below [`DRAWS`].
    #[must_use]
    pub fn value(&self, draw: u64) -> Cow<'_, Value> {
        #[expect(clippy::cast_precision_loss, reason = "draws and their halves have 53 bits")]
        let part = (draw as f64 + 0.5) / DRAWS as f64;
        if let Law::Categorical { values, probabilities } = &self.law {
            return weighted(values, probabilities, part);
        }
        let number = self.law.number(part);
        Cow::Owned(self.q.as_ref().map_or(Value::Float(number), |q| quantized(number, q)))
    }

    /// About how many binary digits tell two draws apart; 0 where a repeated value is nothing rare.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let even = matches!(
            self.law,
            Law::Uniform { .. }
                | Law::LogUniform { .. }
                | Law::LogUniformValues { .. }
                | Law::InvLogUniform { .. }
        );
        if !even || self.q.is_some() {
            return 0;
        }
        // A quarter of the draws lies on either side of these.
        let floats = ordered(self.law.number(0.75)).abs_diff(ordered(self.law.number(0.25)));
        floats.max(1).ilog2().min(51) + 1
    }

    /// What keeps it from being drawn, if anything does.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let even = |min: f64, max: f64| min <= max && (max - min).is_finite();
        let sound = match &self.law {
            Law::Categorical { values, probabilities } => {
                let weights = probabilities.iter().all(|p| p.is_finite() && *p >= 0.0);
                let sum: f64 = probabilities.iter().sum();
                let fit = values.len() == probabilities.len() && values.len() <= MOST_WEIGHTED;
                return (!(fit && weights && sum > 0.0 && sum.is_finite() && self.q.is_none()))
                    .then_some("its probabilities do not fit its values");
            }
            Law::Uniform { min, max } | Law::LogUniform { min, max } | Law::InvLogUniform { min, max } => {
                even(*min, *max)
            }
            Law::LogUniformValues { min, max } => *min > 0.0 && even(*min, *max),
            Law::Normal { mu, sigma } | Law::LogNormal { mu, sigma } => {
                mu.is_finite() && sigma.is_finite() && *sigma >= 0.0
            }
            Law::Beta { a, b } => [a, b].iter().all(|shape| (1e-3..=1e4).contains(*shape)),
        };
        let quantum = self.q.as_ref().is_none_or(|q| q.as_f64().is_some_and(|q| q > 0.0 && q.is_finite()));
        let ends = |draw: u64| self.value(draw).as_f64().is_some_and(f64::is_finite);
        match (sound && quantum, sound && quantum && ends(0) && ends(DRAWS - 1)) {
            (false, _) => Some("its numbers are out of range"),
            (true, false) => Some("its values leave the range of numbers"),
            (true, true) => None,
        }
    }
}

impl Law {
    /// The number below which `part` of all draws lie.
    fn number(&self, part: f64) -> f64 {
        let between = |min: f64, max: f64, part: f64| (min * (1.0 - part) + max * part).clamp(min, max);
        match *self {
            Self::Categorical { .. } => f64::NAN,
            Self::Uniform { min, max } => between(min, max, part),
            Self::LogUniform { min, max } => libm::exp(between(min, max, part)),
            Self::InvLogUniform { min, max } => libm::exp(-between(min, max, 1.0 - part)),
            Self::LogUniformValues { min, max } => {
                let (low, high) = (libm::log(min), libm::log(max));
                libm::exp(between(low, high, part)).clamp(min, max)
            }
            Self::Normal { mu, sigma } => rounded(mu + sigma * standard_normal(part)),
            Self::LogNormal { mu, sigma } => rounded(libm::exp(mu + sigma * standard_normal(part))),
            Self::Beta { a, b } => rounded(beta_quantile(a, b, part)),
        }
    }
}

impl fmt::Display for Drawn {
    /// In the file's words: `uniform from 0 to 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.q.is_some() {
            f.write_str("q_")?;
        }
        match &self.law {
            Law::Categorical { values, probabilities } => {
                for (place, (value, probability)) in values.iter().zip(probabilities).enumerate() {
                    write!(f, "{}{value}: {probability}", if place > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
            Law::Uniform { min, max } => write!(f, "uniform from {min:?} to {max:?}"),
            Law::LogUniform { min, max } => write!(f, "log_uniform from exp({min:?}) to exp({max:?})"),
            Law::LogUniformValues { min, max } => write!(f, "log_uniform_values from {min:?} to {max:?}"),
            Law::InvLogUniform { min, max } => {
                write!(f, "inv_log_uniform from exp(-{max:?}) to exp(-{min:?})")
            }
            Law::Normal { mu, sigma } => write!(f, "normal, mu {mu:?}, sigma {sigma:?}"),
            Law::LogNormal { mu, sigma } => write!(f, "log_normal, mu {mu:?}, sigma {sigma:?}"),
            Law::Beta { a, b } => write!(f, "beta, a {a:?}, b {b:?}"),
        }?;
        self.q.as_ref().map_or(Ok(()), |q| write!(f, ", in steps of {q}"))
    }
}

/// The value at `part` of the sum of the probabilities.
fn weighted<'v>(values: &'v [Value], probabilities: &[f64], part: f64) -> Cow<'v, Value> {
    let wanted = part * probabilities.iter().sum::<f64>();
    let mut below = 0.0;
    let mut found = None;
    for (value, probability) in values.iter().zip(probabilities).filter(|(_, weight)| **weight > 0.0) {
        below += probability;
        found = Some(value);
        if wanted < below {
            break;
        }
    }
    found.map_or(Cow::Owned(Value::Null), Cow::Borrowed)
}

/// `round(number / q) * q`, halves to the even side; whole where `q` is.
fn quantized(number: f64, q: &Value) -> Value {
    let step = q.as_f64().unwrap_or(1.0);
    let multiple = (number / step).round_ties_even() * step;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    match q {
        Value::Int(_) if multiple.abs() < EXACT => Value::Int(multiple as i64),
        _ => Value::Float(rounded(multiple)),
    }
}

/// The number below which `part` of the standard normal distribution lies.
fn standard_normal(part: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erf::erfc_inv(2.0 * part)
}

/// The number below which `part` of the beta distribution lies. The quick answer does not converge where a
/// shape is small; then the interval is halved, by its floats.
fn beta_quantile(a: f64, b: f64, part: f64) -> f64 {
    let quick = beta::inv_beta_reg(a, b, part);
    if (0.0..=1.0).contains(&quick) && (beta::beta_reg(a, b, quick) - part).abs() < 1e-13 {
        return quick;
    }
    let (mut low, mut high) = (0, 1f64.to_bits());
    while high - low > 1 {
        let middle = low.midpoint(high);
        if beta::beta_reg(a, b, f64::from_bits(middle)) < part { low = middle } else { high = middle }
    }
    f64::from_bits(high)
}

/// `number` to 12 significant digits.
fn rounded(number: f64) -> f64 {
    if number == 0.0 { 0.0 } else { format!("{number:.11e}").parse().unwrap_or(number) }
}

/// Floats as integers in the same order, neighbours one apart.
fn ordered(number: f64) -> i64 {
    let bits = number.to_bits().cast_signed();
    if bits < 0 { i64::MIN - bits } else { bits }
}

#[cfg(test)]
mod tests;
