//! Values as Python prints them, for programs that W&B's way of passing arguments was made for, and
//! as PyYAML reads them.
//! Invariant: `eval` of a nested value gives it back; PyYAML's safe loader reads the YAML with the
//! types that the sweep file gave.

use std::fmt::Write as _;

use crate::value::Value;

/// What Python's `str` gives: text as it is, and what is nested in lists and maps as `repr` gives
/// it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => {
            let mut out = String::new();
            repr(other, &mut out);
            out
        }
    }
}

fn repr(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(int) => push_display(out, int),
        Value::Float(float) => out.push_str(&float_repr(*float)),
        Value::Str(text) => string_repr(text, out),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (i, (name, value)) in entries.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                string_repr(name, out);
                out.push_str(": ");
                repr(value, out);
            }
            out.push('}');
        }
    }
}

/// The shortest digits that read back as the same number; an exponent below 1e-4 and from 1e16 on,
/// with two digits at least.
fn float_repr(value: f64) -> String {
    let shortest = format!("{value:e}");
    let Some((mantissa, exponent)) = shortest.split_once('e') else { return shortest };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Text in quotes as `repr` chooses them.
fn string_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() && u32::from(c) < 0x100 => {
                push_escape(out, format_args!("\\x{:02x}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// The value in the flow style of YAML 1.1, in ASCII, which is what PyYAML reads: there `1e-5` is
/// text and `1.0e-05` a number.
pub(super) fn yaml(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => push_display(out, flag),
        Value::Int(int) => push_display(out, int),
        Value::Float(float) => {
            let text = float_repr(*float);
            out.push_str(&if text.contains('.') { text } else { text.replacen('e', ".0e", 1) });
        }
        Value::Str(text) => yaml_string(text, out),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                yaml(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (i, (name, value)) in entries.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                yaml_string(name, out);
                out.push_str(": ");
                yaml(value, out);
            }
            out.push('}');
        }
    }
}

/// Text in double quotes, everything but printable ASCII escaped.
pub(super) fn yaml_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match (c, u32::from(c)) {
            ('"' | '\\', _) => {
                out.push('\\');
                out.push(c);
            }
            (_, 0x20..0x7f) => out.push(c),
            (_, code @ 0..0x1_0000) => push_escape(out, format_args!("\\u{code:04x}")),
            (_, code) => push_escape(out, format_args!("\\U{code:08x}")),
        }
    }
    out.push('"');
}

fn push_display(out: &mut String, value: &impl std::fmt::Display) {
    push_escape(out, format_args!("{value}"));
}

fn push_escape(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes what is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_python_prints_them() {
        let cases = [
            ("true", "True"),
            ("null", "None"),
            ("1", "1"),
            ("1.0", "1.0"),
            ("0.1", "0.1"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("-2.5e-7", "-2.5e-07"),
            ("1e15", "1000000000000000.0"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("1e16", "1e+16"),
            ("1e300", "1e+300"),
            ("-0.0", "-0.0"),
            (r#""a b""#, "a b"),
            (r#"[1,"a",true,null,1.5]"#, "[1, 'a', True, None, 1.5]"),
            (r#"{"k":"it's","q":"\"","n":"a\nb"}"#, r#"{'k': "it's", 'q': '"', 'n': 'a\nb'}"#),
        ];
        for (json, python) in cases {
            assert_eq!(text(&serde_json::from_str(json).unwrap()), python, "{json}");
        }
    }

    #[test]
    fn numbers_stay_numbers_for_pyyaml_and_text_stays_text() {
        let cases = [
            ("1e-5", "1.0e-05"),
            ("2.5e-7", "2.5e-07"),
            ("1e16", "1.0e+16"),
            ("0.5", "0.5"),
            (r#""yes""#, r#""yes""#),
            (r#"["é","\u0085","🎲"]"#, r#"["\u00e9", "\u0085", "\U0001f3b2"]"#),
            (r#"{"a":{"b":null}}"#, r#"{"a": {"b": null}}"#),
        ];
        for (json, expected) in cases {
            let mut out = String::new();
            yaml(&serde_json::from_str(json).unwrap(), &mut out);
            assert_eq!(out, expected, "{json}");
        }
    }
}
