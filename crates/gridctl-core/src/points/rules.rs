//! Which axes a point has (`when`), and which points are none (`exclude`).
//! Invariant: `when`s are held in an order in which each comes after those of the axes that it
//! names.
//!
//! A condition that has no value at some point (a division by zero, say) counts as false there;
//! `check` finds it beforehand.

use std::borrow::Cow;

use super::GridError;
use super::axis::AxisTable;
use super::space::Digit;
use crate::expr::{EvalError, Expr};
use crate::spec::SweepSpec;
use crate::value::Value;

/// The conditions of a sweep.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Axis and condition, in the order of evaluation.
    pub(super) when: Vec<(usize, Bound)>,
    pub(super) exclude: Vec<Bound>,
}

/// A condition whose names are axes.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    expr: Expr,
    /// The axis of each name.
    pub(super) axes: Vec<usize>,
}

/// Axes and digits, as rules see them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) axes: &'a [AxisTable],
    pub(super) digits: &'a [Digit],
    pub(super) digit_of: &'a [usize],
}

impl Bound {
    fn new(expr: &Expr, spec: &SweepSpec) -> Result<Self, GridError> {
        let place = |name: &String| {
            spec.axes.iter().position(|axis| axis.name == *name).ok_or_else(|| GridError::UnknownName {
                name: name.clone(),
                expression: expr.source().to_owned(),
            })
        };
        Ok(Self { expr: expr.clone(), axes: expr.names().iter().map(place).collect::<Result<_, _>>()? })
    }

    fn holds<'a>(&'a self, scope: Scope<'a>, point: &[u64], active: &[bool]) -> Result<bool, EvalError> {
        self.expr.is_true_at(&|place| {
            let axis = self.axes[place];
            if active[axis] {
                scope.axes[axis].value(point[scope.digit_of[axis]])
            } else {
                Cow::Owned(Value::Null)
            }
        })
    }
}

impl Rules {
    pub(super) fn new(spec: &SweepSpec) -> Result<Self, GridError> {
        let bound = |expr| Bound::new(expr, spec);
        let exclude = spec.exclude.iter().map(bound).collect::<Result<_, _>>()?;
        let mut waiting = Vec::new();
        for (axis, expr) in
            spec.axes.iter().enumerate().filter_map(|(i, axis)| Some((i, axis.when.as_ref()?)))
        {
            waiting.push((axis, bound(expr)?));
        }
        let mut when = Vec::new();
        while !waiting.is_empty() {
            let conditional: Vec<usize> = waiting.iter().map(|(axis, _)| *axis).collect();
            let free =
                |(_, bound): &(usize, Bound)| !bound.axes.iter().any(|axis| conditional.contains(axis));
            let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(free);
            if ready.is_empty() {
                let axes = rest.iter().map(|(axis, _)| spec.axes[*axis].name.clone()).collect();
                return Err(GridError::Cycle { axes });
            }
            when.extend(ready);
            waiting = rest;
        }
        Ok(Self { when, exclude })
    }

    /// Whether there is any rule.
    pub(super) fn any(&self) -> bool {
        !(self.when.is_empty() && self.exclude.is_empty())
    }

    /// The length of all conditions, in bytes: evaluating one takes time linear in its source.
    pub(super) fn length(&self) -> u64 {
        let bounds = self.when.iter().map(|(_, bound)| bound).chain(&self.exclude);
        bounds.map(|bound| bound.expr.source().len() as u64).sum()
    }

    /// Writes which axes the point has.
    pub(super) fn active(&self, scope: Scope<'_>, point: &[u64], active: &mut Vec<bool>) {
        active.clear();
        active.resize(scope.axes.len(), true);
        for (axis, bound) in &self.when {
            active[*axis] = bound.holds(scope, point, active).unwrap_or(false);
        }
    }

    /// Whether a digit is not at its first value although none of its axes is there.
    pub(super) fn comes_again(&self, scope: Scope<'_>, point: &[u64], active: &[bool]) -> bool {
        self.when.iter().any(|(axis, _)| {
            let digit = scope.digit_of[*axis];
            point[digit] != 0 && !scope.digits[digit].axes.iter().any(|axis| active[*axis])
        })
    }

    /// Whether a condition excludes the point.
    pub(super) fn excludes(&self, scope: Scope<'_>, point: &[u64], active: &[bool]) -> bool {
        self.exclude.iter().any(|bound| bound.holds(scope, point, active).unwrap_or(false))
    }

    /// The first condition that has no value at the point, and why.
    pub(super) fn trouble(
        &self,
        scope: Scope<'_>,
        point: &[u64],
        active: &[bool],
    ) -> Option<(&Expr, EvalError)> {
        let bounds = self.when.iter().map(|(_, bound)| bound).chain(&self.exclude);
        bounds.into_iter().find_map(|bound| Some((&bound.expr, bound.holds(scope, point, active).err()?)))
    }
}
