//! Axes that are given by a rule: `min`, `max` and `step`, `steps` or nothing (whole numbers).
//! Invariant: a range has between one and 2^53 values, which all differ when they are written with 12 digits.

use super::diagnostic::{Checker, Diagnostic, shown};
use super::fields::Fields;
use super::yaml::{Kind, Tree};
use super::{AxisValues, limits};
use crate::value::Value;

/// Significant digits that tell two values of a range apart.
const DIGITS: i32 = 12;

#[derive(Clone, Copy)]
enum Bound {
    Int(i64),
    Float(f64),
}

impl Bound {
    #[expect(clippy::cast_precision_loss, reason = "a bound beyond 2^53 is written as a float anyway")]
    fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

struct Bounds<'w> {
    what: &'w str,
    min: Bound,
    max: Bound,
}

/// Reads the range in `fields`; with `quantum`, `q` is its step.
pub(super) fn read(
    check: &mut Checker<'_>,
    what: &str,
    fields: &Fields<'_>,
    quantum: bool,
) -> Option<AxisValues> {
    let (min_tree, max_tree) = both(check, what, fields)?;
    let min = bound(check, &format!("{what}: `min`"), min_tree);
    let max = bound(check, &format!("{what}: `max`"), max_tree);
    let step_key = if quantum { "q" } else { "step" };
    if let (Some(first), Some(second)) = (fields.key(step_key), fields.key("steps")) {
        check.push(
            Diagnostic::error("sweep::conflict", format!("{what} has both `{step_key}` and `steps`"))
                .at(second)
                .related(first, "first here")
                .help("`step` is a distance, `steps` a number of values: keep one"),
        );
        return None;
    }
    let log = match fields.get("scale") {
        Some(tree) => check.word(&format!("{what}: `scale`"), tree, &["lin", "linear", "log"])? == "log",
        None => false,
    };
    let bounds = Bounds { what, min: min?, max: max? };
    if bounds.min.float() > bounds.max.float() {
        check.push(
            Diagnostic::error(
                "sweep::empty_range",
                format!(
                    "{what} has `min` {} above `max` {}",
                    shown(check.raw(min_tree)),
                    shown(check.raw(max_tree))
                ),
            )
            .at(&min_tree.span)
            .related(&max_tree.span, "smaller")
            .help("swap the two"),
        );
        return None;
    }
    match (fields.get(step_key), fields.get("steps")) {
        (_, Some(steps)) => spaced(check, &bounds, steps, log),
        (step, None) if log => {
            let tree = step.or(fields.get("scale")).unwrap_or(min_tree);
            let message = format!("{what} has `scale: log`, which needs `steps`");
            check.push(
                Diagnostic::error("sweep::conflict", message)
                    .at(&tree.span)
                    .help("add `steps: 10` (a number of values)"),
            );
            None
        }
        (step, None) if quantum => quantized(check, &bounds, step, max_tree),
        (Some(step), None) => stepped(check, &bounds, step),
        (None, None) => match (bounds.min, bounds.max) {
            (Bound::Int(min), Bound::Int(max)) => int_range(check, &bounds, (min, max, 1), min_tree),
            _ => continuous(check, what, (min_tree, max_tree)),
        },
    }
}

fn both<'n>(check: &mut Checker<'_>, what: &str, fields: &Fields<'n>) -> Option<(&'n Tree, &'n Tree)> {
    match (fields.get("min"), fields.get("max")) {
        (Some(min), Some(max)) => Some((min, max)),
        (min, _) => {
            let missing = if min.is_some() { "max" } else { "min" };
            let near = ["min", "max", "step", "steps", "scale", "q"].iter().find_map(|key| fields.key(key));
            let mut error =
                Diagnostic::error("sweep::missing_key", format!("{what} is a range without `{missing}`"))
                    .help("a range has `min` and `max`, and `step` or `steps`");
            error.span = near.cloned();
            check.push(error);
            None
        }
    }
}

fn bound(check: &mut Checker<'_>, what: &str, tree: &Tree) -> Option<Bound> {
    match tree.kind {
        Kind::Int(value) => Some(Bound::Int(value)),
        _ => check.number(what, tree).map(Bound::Float),
    }
}

fn continuous(check: &mut Checker<'_>, what: &str, (min, max): (&Tree, &Tree)) -> Option<AxisValues> {
    let (low, high) = (check.raw(min).to_owned(), check.raw(max).to_owned());
    let message = format!("{what} is continuous: a grid cannot try every number from {low} to {high}");
    check.push(
        Diagnostic::error("sweep::continuous", message)
            .at(&(min.span.start.min(max.span.start)..min.span.end.max(max.span.end)))
            .help(format!("say how many: `{{min: {low}, max: {high}, steps: 10}}`, with `scale: log` for orders of magnitude")),
    );
    None
}

/// W&B's `q_uniform`: a grid of it stops before `max`, as `numpy.arange` does.
fn quantized(
    check: &mut Checker<'_>,
    bounds: &Bounds<'_>,
    q: Option<&Tree>,
    max: &Tree,
) -> Option<AxisValues> {
    let step = match q {
        Some(tree) => positive(check, &format!("{}: `q`", bounds.what), tree)?,
        None => Bound::Int(1),
    };
    let width = (bounds.max.float() - bounds.min.float()) / step.float();
    let count = counted(check, bounds.what, width.ceil().max(1.0), max)?;
    let values = match (bounds.min, bounds.max, step) {
        (Bound::Int(min), Bound::Int(_), Bound::Int(step)) => AxisValues::IntRange { min, step, count },
        _ => {
            let (low, high, step) = (bounds.min.float(), bounds.max.float(), step.float());
            distinct(check, bounds.what, low.abs().max(high.abs()), (step, count), max)?;
            AxisValues::FloatRange { min: low, step, count }
        }
    };
    if width >= 1.0 && width.fract() == 0.0 {
        let message = format!(
            "{} stops before {}, as W&B's `q_uniform` does in a grid",
            bounds.what,
            shown(check.raw(max))
        );
        check.push(
            Diagnostic::warning("sweep::open_end", message)
                .at(&max.span)
                .help("to include it write `{min: ..., max: ..., step: ...}` without `distribution`"),
        );
    }
    Some(values)
}

fn stepped(check: &mut Checker<'_>, bounds: &Bounds<'_>, tree: &Tree) -> Option<AxisValues> {
    let step = positive(check, &format!("{}: `step`", bounds.what), tree)?;
    stepped_by(check, bounds, step, tree)
}

/// A distance, which is above 0.
fn positive(check: &mut Checker<'_>, what: &str, tree: &Tree) -> Option<Bound> {
    let step = bound(check, what, tree)?;
    if step.float() <= 0.0 {
        let message = format!("{what} is {}: it must be above 0", shown(check.raw(tree)));
        check.push(
            Diagnostic::error("sweep::step", message).at(&tree.span).help("the values go from `min` upwards"),
        );
        return None;
    }
    Some(step)
}

fn stepped_by(check: &mut Checker<'_>, bounds: &Bounds<'_>, step: Bound, tree: &Tree) -> Option<AxisValues> {
    if let (Bound::Int(min), Bound::Int(max), Bound::Int(step)) = (bounds.min, bounds.max, step) {
        return int_range(check, bounds, (min, max, step), tree);
    }
    let (min, max, step) = (bounds.min.float(), bounds.max.float(), step.float());
    let last = ((max - min) / step * (1.0 + f64::EPSILON * 8.0) + 1e-9).floor();
    let count = counted(check, bounds.what, last + 1.0, tree)?;
    distinct(check, bounds.what, min.abs().max(max.abs()), (step, count), tree)?;
    lone(check, bounds, count, tree);
    Some(AxisValues::FloatRange { min, step, count })
}

fn int_range(
    check: &mut Checker<'_>,
    bounds: &Bounds<'_>,
    (min, max, step): (i64, i64, i64),
    tree: &Tree,
) -> Option<AxisValues> {
    let count = (i128::from(max) - i128::from(min)) / i128::from(step) + 1;
    match u64::try_from(count) {
        Ok(count) if count <= limits::AXIS_VALUES => {
            lone(check, bounds, count, tree);
            Some(AxisValues::IntRange { min, step, count })
        }
        _ => too_many(check, bounds.what, tree),
    }
}

/// A step beyond the range leaves one value, which is hardly meant.
fn lone(check: &mut Checker<'_>, bounds: &Bounds<'_>, count: u64, tree: &Tree) {
    if count == 1 && bounds.min.float() < bounds.max.float() {
        check.push(
            Diagnostic::warning(
                "sweep::lone_value",
                format!("{} has one value only, its `min`", bounds.what),
            )
            .at(&tree.span)
            .help("the step is larger than the range"),
        );
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "checked first"
)]
fn counted(check: &mut Checker<'_>, what: &str, count: f64, tree: &Tree) -> Option<u64> {
    if count.is_finite() && (1.0..=limits::AXIS_VALUES as f64).contains(&count) {
        Some(count as u64)
    } else {
        too_many(check, what, tree)
    }
}

fn too_many<T>(check: &mut Checker<'_>, what: &str, tree: &Tree) -> Option<T> {
    let message = format!("{what} has more than 2^53 values");
    check.push(
        Diagnostic::error("sweep::limit", message)
            .at(&tree.span)
            .help("take a larger step, or a smaller range"),
    );
    None
}

/// Values closer than 12 significant digits of the `largest` would be written alike.
fn distinct(
    check: &mut Checker<'_>,
    what: &str,
    largest: f64,
    (step, count): (f64, u64),
    tree: &Tree,
) -> Option<()> {
    if count > 1 && step < largest * 10_f64.powi(1 - DIGITS) {
        let message =
            format!("{what} has values so close that they are equal when written with {DIGITS} digits");
        check.push(
            Diagnostic::error("sweep::duplicate_value", message).at(&tree.span).help("take fewer values"),
        );
        return None;
    }
    Some(())
}

fn spaced(check: &mut Checker<'_>, bounds: &Bounds<'_>, tree: &Tree, log: bool) -> Option<AxisValues> {
    let what = bounds.what;
    let steps = check.whole(&format!("{what}: `steps`"), tree, 1..=limits::AXIS_VALUES.cast_signed())?;
    let count = steps.unsigned_abs();
    let (min, max) = (bounds.min.float(), bounds.max.float());
    let problem = if log && min <= 0.0 {
        Some(("`scale: log` needs a `min` above 0", "a logarithm of zero or less does not exist"))
    } else if !(max - min).is_finite() {
        Some(("the range is wider than a number can say", "take nearer bounds"))
    } else if count == 1 && min < max {
        Some((
            "one step leaves out `max`",
            "write `value: ...` for a single value, or `steps: 2` for both ends",
        ))
    } else if count > 1 && min == max {
        Some(("`min` and `max` are equal, so that all values are", "write `value: ...`"))
    } else {
        None
    };
    if let Some((problem, help)) = problem {
        check.push(Diagnostic::error("sweep::range", format!("{what}: {problem}")).at(&tree.span).help(help));
        return None;
    }
    if let Some(whole) = whole_steps(bounds, count, log) {
        return Some(whole);
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
    let gaps = (count - 1).max(1) as f64;
    if log {
        distinct(check, what, 1.0, (((max / min).ln() / gaps).exp_m1(), count), tree)?;
    } else {
        distinct(check, what, min.abs().max(max.abs()), ((max - min) / gaps, count), tree)?;
    }
    if let (Bound::Int(low), Bound::Int(high)) = (bounds.min, bounds.max) {
        check.push(
            Diagnostic::warning(
                "sweep::fractions",
                format!("{what} goes from {low} to {high} in {count} steps, not all of them whole"),
            )
            .at(&tree.span)
            .help("its values are written with a point (`1.0`); for whole ones use `step`, or list `values`"),
        );
    }
    Some(AxisValues::Spaced { min, max, count, log })
}

/// The values of a range with whole bounds, where all of them are whole: `1..=100` in 4 steps, `1..=1000` in 4 by factors of 10.
fn whole_steps(bounds: &Bounds<'_>, count: u64, log: bool) -> Option<AxisValues> {
    let (Bound::Int(min), Bound::Int(max)) = (bounds.min, bounds.max) else { return None };
    let gaps = i128::from(count - 1);
    if gaps == 0 {
        return Some(AxisValues::List(vec![Value::Int(min)]));
    }
    if !log {
        let span = i128::from(max) - i128::from(min);
        let step = i64::try_from(span / gaps).ok().filter(|_| span % gaps == 0)?;
        return Some(AxisValues::IntRange { min, step, count });
    }
    let exponent = u32::try_from(gaps).ok().filter(|gaps| *gaps <= 63)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float beyond the range becomes its end, and is then found wrong"
    )]
    let factor = (bounds.max.float() / bounds.min.float()).powf(1.0 / f64::from(exponent)).round() as i64;
    let end = factor.checked_pow(exponent).and_then(|power| power.checked_mul(min))?;
    (end == max && factor > 1)
        .then(|| AxisValues::List((0..=exponent).map(|i| Value::Int(min * factor.pow(i))).collect()))
}
