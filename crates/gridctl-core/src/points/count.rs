//! How many trials a grid has, without a walk over it.
//! Invariant: only the digits that conditions name are enumerated; every other digit is a factor.
//!
//! Conditions that share no digit, not even through other conditions, are independent: each such
//! part is enumerated by itself.

use std::collections::BTreeMap;
use std::fmt;

use super::GridError;
use super::rules::{Bound, Rules};
use super::space::Space;

/// A number of trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Exactly so many.
    Exact(u64),
    /// So many or fewer: the axes that conditions name have too many combinations to go through.
    AtMost(u64),
}

impl Count {
    /// The number, exact or not.
    #[must_use]
    pub fn upper(self) -> u64 {
        match self {
            Self::Exact(count) | Self::AtMost(count) => count,
        }
    }
}

impl fmt::Display for Count {
    /// The number, after `<=` where it is a bound.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(count) => write!(f, "{count}"),
            Self::AtMost(count) => write!(f, "<={count}"),
        }
    }
}

/// Conditions that are independent of all others, and the digits that they decide about.
#[derive(Default)]
struct Part {
    rules: Rules,
    /// The digits that they name.
    named: Vec<usize>,
    /// The digits that they do not name, all of whose axes have a `when`.
    conditional: Vec<usize>,
}

impl Space {
    /// How many trials of the product of the digits are not excluded, while the axes that `when`
    /// and `exclude` name have at most `budget` combinations; the product must be countable.
    pub(super) fn count(&self, budget: u64) -> Option<u64> {
        let parts = self.parts();
        let mut named = parts.iter().flat_map(|part| &part.named);
        let combinations =
            named.try_fold(1u64, |product, digit| product.checked_mul(self.digits[*digit].radix));
        if combinations.is_none_or(|combinations| combinations > budget) && self.rules.any() {
            return None;
        }
        let decided =
            |digit| parts.iter().any(|part| part.named.contains(&digit) || part.conditional.contains(&digit));
        let free = (0..self.digits.len()).filter(|digit| !decided(*digit));
        let free = free.map(|digit| self.digits[digit].radix).product::<u64>();
        let counts = parts.iter().map(|part| self.count_part(part));
        Some(counts.product::<u64>() * free * u64::from(self.seeds))
    }

    /// How many combinations of a part's digits are not excluded.
    fn count_part(&self, part: &Part) -> u64 {
        let mut sum = 0;
        self.each(part, u64::MAX, |point, active| {
            let scope = self.scope();
            let excluded =
                part.rules.comes_again(scope, point, active) || part.rules.excludes(scope, point, active);
            if !excluded {
                let there = |digit: &&usize| self.digits[**digit].axes.iter().any(|axis| active[*axis]);
                let radices = part.conditional.iter().filter(there).map(|digit| self.digits[*digit].radix);
                sum += radices.product::<u64>();
            }
            true
        });
        sum
    }

    /// Looks for a point at which a condition has no value, at `budget` combinations of the axes
    /// that depend on each other, or fewer.
    ///
    /// # Errors
    /// [`GridError::Evaluation`] for the first that is found.
    pub(super) fn check_combinations(&self, budget: u64) -> Result<(), GridError> {
        let mut found = Ok(());
        for part in self.parts() {
            self.each(&part, budget, |point, active| {
                found = self.check_at(&part.rules, point, active);
                found.is_ok()
            });
        }
        found
    }

    /// # Errors
    /// [`GridError::Evaluation`] if one of `rules` has no value at the point.
    pub(super) fn check_at(&self, rules: &Rules, point: &[u64], active: &[bool]) -> Result<(), GridError> {
        let Some((expr, error)) = rules.trouble(self.scope(), point, active) else { return Ok(()) };
        let values = self.named_values(expr.names(), point, active);
        let expression = expr.source().to_owned();
        Err(GridError::Evaluation { expression, values, error: Box::new(error) })
    }

    /// `name = value` for the axes with these names that are there.
    fn named_values(&self, names: &[String], point: &[u64], active: &[bool]) -> String {
        let shown = names.iter().filter_map(|name| {
            let axis = self.axes.iter().position(|axis| *axis.name == **name)?;
            let value = self.axes[axis].value(point[self.digit_of[axis]]);
            active[axis].then(|| format!("{name} = {value}"))
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The conditions, in independent parts.
    fn parts(&self) -> Vec<Part> {
        let Rules { when, exclude } = &self.rules;
        let label = self.labels();
        let of = |axis: &usize| label[self.digit_of[*axis]];
        let mut parts: BTreeMap<Option<usize>, Part> = BTreeMap::new();
        for (axis, bound) in when {
            parts.entry(Some(of(axis))).or_default().rules.when.push((*axis, bound.clone()));
        }
        for bound in exclude {
            parts.entry(bound.axes.first().map(of)).or_default().rules.exclude.push(bound.clone());
        }
        let bounds = || when.iter().map(|(_, bound)| bound).chain(exclude);
        let has_when = |axis: &usize| when.iter().any(|(conditional, _)| conditional == axis);
        for (digit, label) in label.iter().enumerate() {
            let Some(part) = parts.get_mut(&Some(*label)) else { continue };
            if bounds().flat_map(|bound| &bound.axes).any(|axis| self.digit_of[*axis] == digit) {
                part.named.push(digit);
            } else if self.digits[digit].axes.iter().all(has_when) {
                part.conditional.push(digit);
            }
        }
        parts.into_values().collect()
    }

    /// A label for each digit, the same for two digits that conditions tie together.
    fn labels(&self) -> Vec<usize> {
        let mut label: Vec<usize> = (0..self.digits.len()).collect();
        let mut tie = |axis: Option<usize>, bound: &Bound| {
            let mut tied = axis.iter().chain(&bound.axes).map(|axis| self.digit_of[*axis]);
            let Some(first) = tied.next() else { return };
            for digit in tied {
                let (from, to) = (label[digit], label[first]);
                label.iter_mut().filter(|label| **label == from).for_each(|label| *label = to);
            }
        };
        self.rules.when.iter().for_each(|(axis, bound)| tie(Some(*axis), bound));
        self.rules.exclude.iter().for_each(|bound| tie(None, bound));
        label
    }

    /// Shows each combination of the digits that `part` names, all others at their first value,
    /// while `visit` says so and `budget` lasts.
    fn each(&self, part: &Part, budget: u64, mut visit: impl FnMut(&[u64], &[bool]) -> bool) {
        let mut point = vec![0; self.digits.len()];
        let mut active = Vec::new();
        for _ in 0..budget {
            part.rules.active(self.scope(), &point, &mut active);
            if !visit(&point, &active) {
                return;
            }
            let more = |digit: &usize| point[*digit] + 1 < self.digits[*digit].radix;
            let Some(next) = part.named.iter().rposition(more) else { return };
            point[part.named[next]] += 1;
            for digit in &part.named[next + 1..] {
                point[*digit] = 0;
            }
        }
    }
}
