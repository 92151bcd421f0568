//! The lines of `GRID_METRICS_FILE`: JSON objects, as Python's `json` writes them.
//! Invariant: a line is an object of names and values or it is malformed; nothing in it is guessed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::value::{Value, as_step, whole_value};

/// One line: its names and what their values say, in its order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct JsonLine<'l> {
    pub(super) fields: Vec<(Cow<'l, str>, Value)>,
}

impl JsonLine<'_> {
    /// The step that it names.
    pub(super) fn step(&self) -> Option<i64> {
        let step_of = |wanted: &str| {
            let mut named = self.fields.iter().filter(|(name, _)| name == wanted);
            named.find_map(|(_, value)| match value {
                Value::Number(value) => Some(as_step(*value)),
                _ => None,
            })
        };
        step_of("step").flatten().or_else(|| step_of("epoch").flatten())
    }
}

/// Reads a line; `None` if it is no JSON object.
pub(super) fn parse(line: &str) -> Option<JsonLine<'_>> {
    if let Ok(parsed) = serde_json::from_str(line) {
        return Some(parsed);
    }
    let quoted = quoted_words(line)?;
    let parsed: JsonLine<'_> = serde_json::from_str(&quoted).ok()?;
    let owned = |(name, value): (Cow<'_, str>, Value)| (Cow::Owned(name.into_owned()), value);
    Some(JsonLine { fields: parsed.fields.into_iter().map(owned).collect() })
}

/// What the line has at a nested key, within the keys `around` it.
pub(super) fn at_path(line: &str, around: &[String], key: &str) -> Option<Value> {
    let read = |line: &str| {
        let mut json = serde_json::Deserializer::from_str(line);
        At { around, key }.deserialize(&mut json).ok().flatten()
    };
    read(line).or_else(|| read(&quoted_words(line)?))
}

/// A key within others.
#[derive(Clone, Copy)]
struct At<'k> {
    around: &'k [String],
    key: &'k str,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Text(name)) = map.next_key()? {
            match self.around.split_first() {
                Some((first, around)) if *first == name => {
                    found = map.next_value_seed(At { around, ..self })?.or(found);
                }
                None if *name == *self.key => found = Some(map.next_value::<Read>()?.0),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

impl<'de: 'l, 'l> Deserialize<'de> for JsonLine<'l> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = JsonLine<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonLine<'de>, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some((Text(name), Read(value))) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(JsonLine { fields })
    }
}

/// A name, copied only if it has escapes.
struct Text<'l>(Cow<'l, str>);

impl<'de: 'l, 'l> Deserialize<'de> for Text<'l> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl<'de> Visitor<'de> for Name {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// What a value says.
struct Read(Value);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Read, E> {
        Ok(Read(Value::Number(value)))
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
    fn visit_u64<E>(self, value: u64) -> Result<Read, E> {
        Ok(Read(Value::Number(value as f64)))
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
    fn visit_i64<E>(self, value: i64) -> Result<Read, E> {
        Ok(Read(Value::Number(value as f64)))
    }

    fn visit_str<E>(self, word: &str) -> Result<Read, E> {
        Ok(Read(whole_value(word)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Read, E> {
        Ok(Read(Value::Prose))
    }

    /// `null`: not measured here.
    fn visit_unit<E>(self) -> Result<Read, E> {
        Ok(Read(Value::Null))
    }

    /// A list of one value is that value.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Read, A::Error> {
        let first = items.next_element()?.unwrap_or(Read(Value::Unreadable));
        let mut is_single = true;
        while items.next_element::<IgnoredAny>()?.is_some() {
            is_single = false;
        }
        Ok(if is_single { first } else { Read(Value::Unreadable) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Read(Value::Unreadable))
    }
}

/// The line with Python's words for what JSON has no number for put into quotes, where they stand outside of text;
/// `None` if it has none.
fn quoted_words(line: &str) -> Option<String> {
    if !line.contains("NaN") && !line.contains("Infinity") {
        return None;
    }
    let mut out = String::with_capacity(line.len() + 16);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' => text_length(rest),
            _ => match ["NaN", "Infinity", "-Infinity"].iter().find(|word| rest.starts_with(**word)) {
                Some(word) => {
                    out.push('"');
                    out.push_str(word);
                    out.push('"');
                    rest = &rest[word.len()..];
                    continue;
                }
                None => c.len_utf8(),
            },
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Some(out)
}

/// The length of the JSON text that `rest` begins with, both quotes included.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    });
    end.map_or(rest.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_python_writes_them() {
        type Told = (Option<i64>, Vec<(String, f64)>, Vec<String>);
        let told = |line: JsonLine<'_>| -> Told {
            let (mut numbers, mut others) = (Vec::new(), Vec::new());
            for (name, value) in &line.fields {
                match value {
                    Value::Number(value) => numbers.push((name.to_string(), *value)),
                    Value::Null => {}
                    other => {
                        assert_eq!(*other == Value::Unreadable, name.len() == 1, "{name}");
                        others.push(name.to_string());
                    }
                }
            }
            (line.step(), numbers, others)
        };
        let line = |step, numbers: &[(&str, f64)], others: &[&str]| -> Told {
            let numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), *value));
            (step, numbers.collect(), others.iter().map(|name| (*name).to_owned()).collect())
        };
        let inf = f64::INFINITY;
        let cases = [
            (r#"{"step":3,"loss":0.41}"#, Some(line(Some(3), &[("step", 3.0), ("loss", 0.41)], &[]))),
            (r#"{"epoch":2,"a":1}"#, Some(line(Some(2), &[("epoch", 2.0), ("a", 1.0)], &[]))),
            (r#"{"epoch":2.5,"a":1}"#, Some(line(None, &[("epoch", 2.5), ("a", 1.0)], &[]))),
            (r#"{"a":Infinity,"b":-Infinity}"#, Some(line(None, &[("a", inf), ("b", -inf)], &[]))),
            (r#"{"a \"NaN\" NaN":Infinity}"#, Some(line(None, &[(r#"a "NaN" NaN"#, inf)], &[]))),
            (r#"{"a":"Infinity"}"#, Some(line(None, &[("a", inf)], &[]))),
            (
                r#"{"a":"0.5","bo":true,"c":null,"d":[1],"e":{},"f":[],"g":"95%","hi":"x","i":"1,234"}"#,
                Some(line(None, &[("a", 0.5), ("d", 1.0)], &["bo", "e", "f", "g", "hi", "i"])),
            ),
            (r#"{"a":1,"a":2,"\u0062":3}"#, Some(line(None, &[("a", 1.0), ("a", 2.0), ("b", 3.0)], &[]))),
            (
                r#"{"a":[[0.5]],"b":[1,{"c":[2]}],"step":9007199254740993}"#,
                Some(line(None, &[("a", 0.5), ("step", 9_007_199_254_740_992.0)], &["b"])),
            ),
            (r#"{}"#, Some(line(None, &[], &[]))),
            (r#"{"a":0.5"#, None),
            (r#"{'a':0.5}"#, None),
            (r#"{"a":NaN"#, None),
            (r#"{"a":1e999}"#, None),
            (r#"[1]"#, None),
            (r#""NaN"#, None),
            ("NaN", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).map(told), expected, "{text}");
        }
        let diverged = parse(r#"{"loss":NaN}"#).unwrap();
        assert!(matches!(diverged.fields[0].1, Value::Number(value) if value.is_nan()));
        assert_eq!(parse(&"[".repeat(60_000)), None);
        assert_eq!(parse(&format!("{}NaN", "[".repeat(60_000))), None);
    }
}
