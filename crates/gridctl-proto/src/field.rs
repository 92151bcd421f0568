//! The one error of the wire, and the small checks that raise it. Invariant: an error names its
//! field and shows what it was given, shortened.

use serde::de::DeserializeOwned;

use crate::limits;

/// A field that does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {problem}")]
pub struct FieldError {
    /// The field, as the `.proto` names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl FieldError {
    /// An error at `field`.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl From<FieldError> for tonic::Status {
    fn from(error: FieldError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

pub(crate) fn present<T>(field: &'static str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or_else(|| FieldError::new(field, "is missing"))
}

pub(crate) fn text(field: &'static str, value: String, limit: usize) -> Result<String, FieldError> {
    if value.len() > limit {
        return Err(FieldError::new(field, format!("has {} bytes, at most {limit} are taken", value.len())));
    }
    Ok(value)
}

pub(crate) fn count<T>(field: &'static str, items: &[T], limit: usize) -> Result<(), FieldError> {
    if items.len() > limit {
        return Err(FieldError::new(field, format!("has {} items, at most {limit} are taken", items.len())));
    }
    Ok(())
}

pub(crate) fn id<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], FieldError> {
    bytes.try_into().map_err(|_| FieldError::new(field, format!("has {} bytes, an id has {N}", bytes.len())))
}

pub(crate) fn json<T: DeserializeOwned>(
    field: &'static str,
    value: &str,
    limit: usize,
) -> Result<T, FieldError> {
    if value.len() > limit {
        return Err(FieldError::new(field, format!("has {} bytes, at most {limit} are taken", value.len())));
    }
    serde_json::from_str(value).map_err(|error| FieldError::new(field, format!("is not understood: {error}")))
}

pub(crate) fn all<T, U>(
    field: &'static str,
    items: Vec<T>,
    limit: usize,
    convert: impl Fn(T) -> Result<U, FieldError>,
) -> Result<Vec<U>, FieldError> {
    count(field, &items, limit)?;
    items.into_iter().map(convert).collect()
}

/// The beginning of a text that is too long for [`limits::MAX_TEXT_BYTES`].
pub(crate) fn clip(mut value: String) -> String {
    value.truncate(value.floor_char_boundary(limits::MAX_TEXT_BYTES));
    value
}

/// The end of a text that is too long.
pub(crate) fn clip_front(value: String, limit: usize) -> String {
    match value.len().checked_sub(limit) {
        None | Some(0) => value,
        Some(excess) => value[value.ceil_char_boundary(excess)..].to_owned(),
    }
}
