//! Parameter values and the parameters of one trial, with the one canonical form that ids are
//! hashed from.
//! Invariant: two numbers that are equal have the same canonical form (`1`, `1.0`; `0`, `-0.0`),
//! and no value is NaN or infinite.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// One parameter's value, typed as the sweep file typed it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`: JSON null, and an unset environment variable.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number that was written with a point or an exponent, or computed.
    Float(f64),
    /// Text.
    Str(String),
    /// A list, passed on as JSON.
    List(Vec<Value>),
    /// A map in the file's order, passed on as JSON.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value as a number, if it is one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "comparison of parameters is in f64, as the file's numbers are"
    )]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Appends the canonical form: JSON with sorted keys, in which a whole float is written as an
    /// integer.
    pub fn canonical(&self, out: &mut String) {
        match self {
            Self::Float(value) => match whole(*value) {
                Some(int) => out.push_str(&int.to_string()),
                None => out.push_str(&format!("{value:?}")),
            },
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.canonical(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                let mut sorted: Vec<_> = entries.iter().map(|(name, value)| (name.as_str(), value)).collect();
                sorted.sort_by_key(|(name, _)| *name);
                canonical_map(sorted.into_iter(), out);
            }
            other => out.push_str(&other.to_json()),
        }
    }

    /// The value as JSON text: floats keep their point (`1.0`), in the shortest form that reads
    /// back as the same number.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("keys are strings and no float is NaN or infinite")
    }

    /// The value as an environment variable or argument has it: text as it is, everything else as
    /// JSON; `None` for null.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Str(text) => Some(text.clone()),
            other => Some(other.to_json()),
        }
    }
}

/// `value` as an integer, if it is whole and small enough for a float to hold it exactly.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}

fn canonical_map<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut String) {
    out.push('{');
    for (i, (name, value)) in entries.enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(name).expect("a string is JSON"));
        out.push(':');
        value.canonical(out);
    }
    out.push('}');
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text().unwrap_or_else(|| "null".to_owned()))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => serializer.collect_map(entries.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a finite number, text, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Int)
            .map_err(|_| E::custom(format!("{value} is too large for a whole number (at most 2^63 - 1)")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        if value.is_finite() {
            Ok(Value::Float(value))
        } else {
            Err(E::custom(format!("{value} is not a finite number")))
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if entries.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom(format!("duplicate key `{name}`")));
            }
            entries.push((name, value));
        }
        Ok(Value::Map(entries))
    }
}

/// The parameters of one point, in the sweep file's order of axes. Axes that a `when` makes absent
/// are not in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params(Vec<(Arc<str>, Value)>);

impl Params {
    /// Parameters from (name, value) pairs; the caller sees to it that no name comes twice.
    #[must_use]
    pub fn new(entries: Vec<(Arc<str>, Value)>) -> Self {
        Self(entries)
    }

    /// The value of the parameter `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
    }

    /// Names and values, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// How many parameters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The canonical form that the trial's id is hashed from.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_by_key(|(name, _)| *name);
        let mut out = String::new();
        canonical_map(sorted.into_iter(), &mut out);
        out
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Map(entries) => {
                Ok(Self(entries.into_iter().map(|(name, value)| (name.into(), value)).collect()))
            }
            other => Err(de::Error::custom(format!("parameters are a map, not {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_canonical_form_and_keys_are_sorted() {
        let cases = [
            (r#"{"b":1,"a":1.0}"#, r#"{"a":1,"b":1}"#),
            (r#"{"x":-0.0}"#, r#"{"x":0}"#),
            (r#"{"x":1e-5,"y":0.1}"#, r#"{"x":1e-5,"y":0.1}"#),
            (r#"{"x":{"z":[1.0,null,true],"a":"q\"t"}}"#, r#"{"x":{"a":"q\"t","z":[1,null,true]}}"#),
        ];
        for (json, canonical) in cases {
            let params: Params = serde_json::from_str(json).unwrap();
            assert_eq!(params.canonical(), canonical, "{json}");
        }
    }

    #[test]
    fn text_keeps_the_point_of_a_float_and_has_none_for_null() {
        let text = |json: &str| serde_json::from_str::<Value>(json).unwrap().to_text();
        assert_eq!(text("1.0").as_deref(), Some("1.0"));
        assert_eq!(text("1").as_deref(), Some("1"));
        assert_eq!(text("\"a b\"").as_deref(), Some("a b"));
        assert_eq!(text("[1,\"a\"]").as_deref(), Some("[1,\"a\"]"));
        assert_eq!(text("null"), None);
    }
}
