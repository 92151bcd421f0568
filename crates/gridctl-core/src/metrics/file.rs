//! The lines of `GRID_METRICS_FILE`: JSON objects, as Python's `json` writes them.
//! Invariant: a line is an object of names and values or it is malformed; nothing in it is guessed.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::value::{Value as Read, as_step, whole_value};

/// One line: its step and its numbers, in its order. What is neither a number nor a word for one is in `others`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct JsonLine {
    pub(super) step: Option<i64>,
    pub(super) numbers: Vec<(String, f64)>,
    /// Names whose value begins like a number and is none: a list, a map, text such as `95%`.
    pub(super) unreadable: Vec<String>,
    /// Names whose value is other text, or a truth value.
    pub(super) others: Vec<String>,
}

/// Reads a line; `None` if it is no JSON object.
pub(super) fn parse(line: &str) -> Option<JsonLine> {
    let object: Map<String, Value> =
        serde_json::from_str(line).or_else(|_| serde_json::from_str(&quoted_words(line))).ok()?;
    let mut parsed = JsonLine::default();
    for (name, value) in object {
        match read(&value) {
            Read::Number(value) => parsed.numbers.push((name, value)),
            Read::Unreadable => parsed.unreadable.push(name),
            Read::Prose | Read::Label => parsed.others.push(name),
            Read::Null => {}
        }
    }
    let step_of = |wanted: &str| {
        parsed.numbers.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| as_step(*value))
    };
    parsed.step = step_of("step").or_else(|| step_of("epoch"));
    Some(parsed)
}

fn read(value: &Value) -> Read {
    match value {
        Value::Number(number) => number.as_f64().map_or(Read::Unreadable, Read::Number),
        Value::String(word) => whole_value(word),
        Value::Array(items) => match items.as_slice() {
            [item] => read(item),
            _ => Read::Unreadable,
        },
        Value::Object(_) => Read::Unreadable,
        Value::Bool(_) => Read::Prose,
        // Not measured here.
        Value::Null => Read::Null,
    }
}

/// The line with Python's words for what JSON has no number for put into quotes, where they stand outside of text.
fn quoted_words(line: &str) -> Cow<'_, str> {
    if !line.contains("NaN") && !line.contains("Infinity") {
        return Cow::Borrowed(line);
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
    Cow::Owned(out)
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
        let line = |step, numbers: &[(&str, f64)], others: &[&str]| JsonLine {
            step,
            numbers: numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            unreadable: others.iter().filter(|name| name.len() == 1).map(|name| (*name).to_owned()).collect(),
            others: others.iter().filter(|name| name.len() > 1).map(|name| (*name).to_owned()).collect(),
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
            (r#"{}"#, Some(JsonLine::default())),
            (r#"{"a":0.5"#, None),
            (r#"{'a':0.5}"#, None),
            (r#"{"a":NaN"#, None),
            (r#"{"a":1e999}"#, None),
            (r#"[1]"#, None),
            (r#""NaN"#, None),
            ("NaN", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
        let diverged = parse(r#"{"loss":NaN}"#).unwrap();
        assert!(diverged.numbers[0].1.is_nan());
        assert_eq!(parse(&"[".repeat(60_000)), None);
        assert_eq!(parse(&format!("{}NaN", "[".repeat(60_000))), None);
    }
}
