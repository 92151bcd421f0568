//! Values in the grammar of Hydra's overrides.
//! Invariant: Hydra reads the value back with its type; nothing in it is taken for an
//! interpolation, a choice of several, or a function.

use crate::value::Value;

use super::LaunchError;

/// `name=value`, the value quoted where it has to be.
pub(super) fn over(name: &str, value: &Value) -> Result<String, LaunchError> {
    let mut out = format!("{name}=");
    element(name, value, &mut out)?;
    Ok(out)
}

fn element(name: &str, value: &Value, out: &mut String) -> Result<(), LaunchError> {
    match value {
        Value::Str(text) if is_plain(text) => out.push_str(text),
        Value::Str(text) => quoted(text, out),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                element(name, item, out)?;
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                if !is_plain(key) {
                    return Err(LaunchError::HydraKey { name: name.to_owned(), key: key.clone() });
                }
                out.push_str(key);
                out.push(':');
                element(name, value, out)?;
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => out.push_str(&value.to_json()),
    }
    Ok(())
}

/// Whether `text` without quotes is this very text: begins like an identifier, and is no word that
/// stands for a value.
fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !["true", "false", "null", "inf", "nan"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Text in single quotes. Backslashes stand for themselves, except right before a quote, the
/// closing one included, or an interpolation.
fn quoted(text: &str, out: &mut String) {
    out.push('\'');
    let mut backslashes = 0;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let special = c == '\'' || (c == '$' && rest.peek() == Some(&'{'));
        if special {
            out.push_str(&"\\".repeat(backslashes + 1));
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        out.push(c);
    }
    out.push_str(&"\\".repeat(backslashes));
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_only_where_hydra_would_read_them_otherwise() {
        let cases = [
            ("0.001", "x=0.001"),
            ("null", "x=null"),
            ("true", "x=true"),
            (r#""true""#, "x='true'"),
            (r#""1""#, "x='1'"),
            (r#""adam""#, "x=adam"),
            (r#""models/resnet-50.pt""#, "x=models/resnet-50.pt"),
            (r#""""#, "x=''"),
            (r#""a,b""#, "x='a,b'"),
            (r#""it's""#, r"x='it\'s'"),
            (r#""a\\""#, r"x='a\\'"),
            (r#""a\\b c""#, r"x='a\b c'"),
            (r#""a\\'b""#, r"x='a\\\'b'"),
            (r#""${oc.env:HOME}""#, r"x='\${oc.env:HOME}'"),
            (r#""choice(1,2)""#, "x='choice(1,2)'"),
            (r#"[1,"a b",[true]]"#, "x=[1,'a b',[true]]"),
            (r#"{"a":1,"b":"c d"}"#, "x={a:1,b:'c d'}"),
        ];
        for (json, expected) in cases {
            assert_eq!(over("x", &serde_json::from_str(json).unwrap()), Ok(expected.to_owned()), "{json}");
        }
        let odd = serde_json::from_str(r#"{"a b":1}"#).unwrap();
        assert_eq!(over("x", &odd), Err(LaunchError::HydraKey { name: "x".into(), key: "a b".into() }));
    }
}
