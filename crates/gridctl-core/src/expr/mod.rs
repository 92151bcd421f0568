//! The small language of `exclude`, `when` and `--filter`: comparison, `and or not`, `in [..]`,
//! arithmetic, literals.
//! Invariant: an `Expr` has been parsed, is within the limits below, and takes time linear in its
//! source to evaluate.
//!
//! Names are parameters (or metrics): letters, digits, `_` and dots, as in `model.lr`; a name with
//! any other character stands in backticks. Operators bind as they do in Python, comparisons chain
//! (`0 < x < 1`), `/` is true division.

mod eval;
mod lex;
mod parse;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::Value;

pub use eval::EvalError;

/// Longest source, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// Deepest nesting of parentheses, lists and prefix operators.
pub const MAX_DEPTH: usize = 64;
/// Most operators, names and literals in one expression, list items apart.
pub const MAX_NODES: usize = 1000;
/// Most items in one list.
pub const MAX_LIST: usize = 1000;

/// A parsed expression; serialised as its source text, checked again when it is read.
#[derive(Clone)]
pub struct Expr(Arc<Program>);

/// A parsed expression in the order of its evaluation.
pub(crate) struct Program {
    source: String,
    names: Vec<String>,
    spans: Vec<Range<usize>>,
    code: Vec<eval::Op>,
}

impl Expr {
    /// Parses `source`.
    ///
    /// # Errors
    /// [`ExprError`] says what is wrong, where in `source`, and, where it can be guessed, what to
    /// write instead.
    pub fn parse(source: &str) -> Result<Self, ExprError> {
        parse::program(source).map(|program| Self(Arc::new(program)))
    }

    /// The text that was parsed.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The names in it, each once, in the order in which they first stand there.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Where each of [`Self::names`] first stands in the source, in bytes; backticks included.
    #[must_use]
    pub fn name_spans(&self) -> &[Range<usize>] {
        &self.0.spans
    }

    /// The value under `lookup`, which gives a name's value; a name without one is null.
    ///
    /// # Errors
    /// [`EvalError`]: arithmetic on something that is no number, division by zero, a result out of range.
    pub fn eval(&self, lookup: &dyn Fn(&str) -> Option<Value>) -> Result<Value, EvalError> {
        let by_place =
            |place: usize| lookup(&self.0.names[place]).map_or(Cow::Owned(Value::Null), Cow::Owned);
        eval::eval(&self.0.code, &by_place).map(Cow::into_owned)
    }

    /// Whether the value under `lookup` is true; null counts as false.
    ///
    /// # Errors
    /// As [`Self::eval`], and [`EvalError::NotBool`] where the value is neither true, false nor
    /// null.
    pub fn is_true(&self, lookup: &dyn Fn(&str) -> Option<Value>) -> Result<bool, EvalError> {
        eval::truth(&self.eval(lookup)?)
    }

    /// As [`Self::is_true`], by the place of a name in [`Self::names`], without copying values.
    pub(crate) fn is_true_at<'a>(
        &'a self,
        lookup: &dyn Fn(usize) -> Cow<'a, Value>,
    ) -> Result<bool, EvalError> {
        eval::truth(&*eval::eval(&self.0.code, lookup)?)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expr {}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source())
    }
}

impl std::str::FromStr for Expr {
    type Err = ExprError;

    fn from_str(source: &str) -> Result<Self, ExprError> {
        Self::parse(source)
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A text that is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ExprError {
    /// Where, in bytes of the expression's text.
    pub span: Range<usize>,
    /// What is wrong.
    pub problem: Problem,
    /// What to do about it.
    pub help: Option<String>,
}

impl ExprError {
    fn new(span: Range<usize>, problem: Problem) -> Self {
        Self { span, problem, help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What is wrong with an expression's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing is there.
    #[error("the expression is empty")]
    Empty,
    /// Longer than [`MAX_SOURCE`].
    #[error("the expression has {bytes} bytes, more than {MAX_SOURCE}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More parts than [`MAX_NODES`].
    #[error("more than {MAX_NODES} operators, names and literals")]
    TooManyNodes,
    /// A list longer than [`MAX_LIST`].
    #[error("a list of more than {MAX_LIST} items")]
    ListTooLong,
    /// A character that begins nothing.
    #[error("unexpected character `{}`", .0.escape_debug())]
    Character(char),
    /// An operator of another language.
    #[error("`{0}` is not an operator here")]
    ForeignOperator(String),
    /// A number that cannot be read, or is too large.
    #[error("`{0}` is not a number that can be used here")]
    Number(String),
    /// A quote, backtick, parenthesis or bracket that is never closed.
    #[error("`{0}` is never closed")]
    Unclosed(char),
    /// Backticks around nothing.
    #[error("an empty name")]
    EmptyName,
    /// Something else was due here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What may stand here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
}

#[cfg(test)]
mod tests;
