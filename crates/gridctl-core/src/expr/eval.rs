//! The stack machine that evaluates an expression.
//! Invariant: jumps go forward only, so evaluation is linear in the code; no result is NaN or
//! infinite.
//!
//! What is absent is null. Null and values of different kinds are never equal and never in order;
//! arithmetic with null is null.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::value::Value;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    /// Pushes a literal.
    Literal(Value),
    /// Pushes the value of the name at this place.
    Name(usize),
    /// Makes one list of so many values.
    List(usize),
    Not,
    Negate,
    /// A `+` before a number.
    Plus,
    Arith(Arith),
    Compare(Compare),
    /// A comparison with more chained to it: goes on with its right side, or pushes false and
    /// jumps.
    Link {
        compare: Compare,
        to: usize,
    },
    /// Pops a truth value; where it is `when`, it is the result, and evaluation goes on at `to`.
    Decide {
        when: bool,
        to: usize,
    },
    /// Makes the value true or false.
    Truth,
}

/// Arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arith {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Power,
}

impl fmt::Display for Arith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
            Self::Power => "**",
        })
    }
}

/// Comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// An expression that has no value for the values of its names.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A truth value was due.
    #[error("`{0}` is neither true nor false; compare it with something")]
    NotBool(Value),
    /// Arithmetic on something that is no number.
    #[error("`{op}` needs numbers, not `{value}`")]
    NotNumber {
        /// The operator.
        op: String,
        /// The operand.
        value: Value,
    },
    /// `in` something that is no list.
    #[error("`in` needs a list, not `{0}`")]
    NotList(Value),
    /// Division, or remainder, by zero.
    #[error("division by zero in `{left} {op} 0`")]
    DivisionByZero {
        /// What was divided.
        left: Value,
        /// The operator.
        op: String,
    },
    /// A result that is no finite number.
    #[error("`{left} {op} {right}` is out of range")]
    OutOfRange {
        /// The left operand.
        left: Value,
        /// The operator.
        op: String,
        /// The right operand.
        right: Value,
    },
}

const WELL_FORMED: &str = "the parser emits an operator after its operands";

/// The value of `code`, names looked up by place.
pub(super) fn eval<'a>(
    code: &'a [Op],
    lookup: &dyn Fn(usize) -> Cow<'a, Value>,
) -> Result<Cow<'a, Value>, EvalError> {
    let mut stack: Vec<Cow<'a, Value>> = Vec::with_capacity(4);
    let mut at = 0;
    while let Some(op) = code.get(at) {
        at += 1;
        match op {
            Op::Literal(value) => stack.push(Cow::Borrowed(value)),
            Op::Name(place) => stack.push(lookup(*place)),
            Op::List(items) => {
                let items = stack.split_off(stack.len().saturating_sub(*items));
                stack.push(Cow::Owned(Value::List(items.into_iter().map(Cow::into_owned).collect())));
            }
            Op::Decide { when, to } => {
                if truth(&stack.pop().expect(WELL_FORMED))? == *when {
                    stack.push(Cow::Owned(Value::Bool(*when)));
                    at = *to;
                }
            }
            Op::Link { compare, to } => {
                let right = stack.pop().expect(WELL_FORMED);
                let left = stack.pop().expect(WELL_FORMED);
                if compare.holds(&left, &right)? {
                    stack.push(right);
                } else {
                    stack.push(Cow::Owned(Value::Bool(false)));
                    at = *to;
                }
            }
            Op::Arith(_) | Op::Compare(_) => {
                let right = stack.pop().expect(WELL_FORMED);
                let left = stack.pop().expect(WELL_FORMED);
                stack.push(Cow::Owned(binary(op, &left, &right)?));
            }
            Op::Not | Op::Truth | Op::Negate | Op::Plus => {
                let value = stack.pop().expect(WELL_FORMED);
                stack.push(Cow::Owned(unary(op, &value)?));
            }
        }
    }
    Ok(stack.pop().expect(WELL_FORMED))
}

/// Whether `value` is true; null counts as false.
pub(super) fn truth(value: &Value) -> Result<bool, EvalError> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Null => Ok(false),
        other => Err(EvalError::NotBool(other.clone())),
    }
}

fn unary(op: &Op, value: &Value) -> Result<Value, EvalError> {
    match op {
        Op::Not => truth(value).map(|truth| Value::Bool(!truth)),
        Op::Negate => arith(Arith::Sub, &Value::Int(0), value),
        Op::Plus => arith(Arith::Add, &Value::Int(0), value),
        _ => truth(value).map(Value::Bool),
    }
}

fn binary(op: &Op, left: &Value, right: &Value) -> Result<Value, EvalError> {
    match op {
        Op::Compare(compare) => compare.holds(left, right).map(Value::Bool),
        Op::Arith(op) => arith(*op, left, right),
        _ => Ok(Value::Null),
    }
}

impl Compare {
    fn holds(self, left: &Value, right: &Value) -> Result<bool, EvalError> {
        let ordered = |accept: fn(Ordering) -> bool| order(left, right).is_some_and(accept);
        Ok(match self {
            Self::Eq => same(left, right),
            Self::Ne => !same(left, right),
            Self::Lt => ordered(Ordering::is_lt),
            Self::Le => ordered(Ordering::is_le),
            Self::Gt => ordered(Ordering::is_gt),
            Self::Ge => ordered(Ordering::is_ge),
            Self::In => contains(right, left)?,
            Self::NotIn => !contains(right, left)?,
        })
    }
}

fn contains(list: &Value, item: &Value) -> Result<bool, EvalError> {
    match list {
        Value::List(items) => Ok(items.iter().any(|known| same(known, item))),
        Value::Null => Ok(false),
        other => Err(EvalError::NotList(other.clone())),
    }
}

/// Equality: numbers by value, null equals null, lists and maps by their parts.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => left.as_f64() == right.as_f64(),
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, a)| b.iter().any(|(other, b)| name == other && same(a, b)))
        }
        _ => left == right,
    }
}

/// The order of two numbers or two texts; of nothing else.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Whole numbers as long as they fit, floats beyond; `%` has the sign of its right side, as in
/// Python.
fn arith(op: Arith, left: &Value, right: &Value) -> Result<Value, EvalError> {
    if matches!(left, Value::Null) || matches!(right, Value::Null) {
        return Ok(Value::Null);
    }
    let number = |value: &Value| {
        value.as_f64().ok_or_else(|| EvalError::NotNumber { op: op.to_string(), value: value.clone() })
    };
    let (a, b) = (number(left)?, number(right)?);
    if matches!(op, Arith::Div | Arith::Rem) && b == 0.0 {
        return Err(EvalError::DivisionByZero { left: left.clone(), op: op.to_string() });
    }
    if let (Value::Int(a), Value::Int(b)) = (left, right)
        && let Some(exact) = whole(op, *a, *b)
    {
        return Ok(Value::Int(exact));
    }
    let result = match op {
        Arith::Add => a + b,
        Arith::Sub => a - b,
        Arith::Mul => a * b,
        Arith::Div => a / b,
        Arith::Rem => a - (a / b).floor() * b,
        Arith::Power => a.powf(b),
    };
    if result.is_finite() {
        return Ok(Value::Float(result));
    }
    Err(EvalError::OutOfRange { left: left.clone(), op: op.to_string(), right: right.clone() })
}

/// The result in whole numbers, where there is one; `right` is not 0 for `%`.
fn whole(op: Arith, left: i64, right: i64) -> Option<i64> {
    match op {
        Arith::Add => left.checked_add(right),
        Arith::Sub => left.checked_sub(right),
        Arith::Mul => left.checked_mul(right),
        Arith::Div => None,
        Arith::Rem => {
            let rest = left.checked_rem(right)?;
            Some(if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest })
        }
        Arith::Power => left.checked_pow(u32::try_from(right).ok()?),
    }
}
