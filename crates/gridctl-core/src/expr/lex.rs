//! Text to tokens. Invariant: spans are byte ranges of the source, on character boundaries, in
//! rising order.

use std::ops::Range;

use super::{ExprError, Problem};
use crate::value::Value;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LexToken {
    Name(String),
    Literal(Value),
    /// `and`, `or`, `not`, `in`.
    Word(&'static str),
    /// An operator, parenthesis, bracket or comma.
    Sign(&'static str),
    End,
}

/// A token and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub(super) token: LexToken,
    pub(super) span: Range<usize>,
}

const WORDS: [&str; 4] = ["and", "or", "not", "in"];

/// Longer signs stand before their own beginnings.
const SIGNS: [&str; 17] =
    ["**", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ","];

/// What other languages write, and what to write instead; tried before [`SIGNS`].
const FOREIGN: [(&str, &str); 14] = [
    ("===", "write `==`"),
    ("!==", "write `!=`"),
    ("=~", "there is no matching by pattern; compare with `==` or `in [..]`"),
    ("=>", "write `>=`"),
    ("=<", "write `<=`"),
    ("<>", "write `!=`"),
    ("<<", "write `<` or `* 2 **`"),
    (">>", "write `>` or `/ 2 **`"),
    ("//", "write `/`; the result keeps its fraction"),
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("&", "write `and`"),
    ("|", "write `or`"),
    ("^", "write `**` for a power"),
];

/// The tokens of `source`, the last of them [`LexToken::End`].
pub(super) fn lex(source: &str) -> Result<Vec<Lexeme>, ExprError> {
    let mut lexemes = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (token, len) = next(source, at, c)?;
        lexemes.push(Lexeme { token, span: at..at + len });
        at += len;
    }
    lexemes.push(Lexeme { token: LexToken::End, span: at..at });
    Ok(lexemes)
}

/// The token at `at`, where `first` stands, and its length.
fn next(source: &str, at: usize, first: char) -> Result<(LexToken, usize), ExprError> {
    let rest = &source[at..];
    match first {
        '\'' | '"' => text(rest, at, first),
        '`' => quoted_name(rest, at),
        '0'..='9' => number(rest, at),
        '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest, at),
        _ if is_name_start(first) => Ok(word(rest)),
        _ => sign(rest, at, first),
    }
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A name (dots included while a part of a name follows them), a word of the language or a
/// constant.
fn word(rest: &str) -> (LexToken, usize) {
    let mut len = 0;
    loop {
        len += rest[len..].find(|c| !is_name_part(c)).unwrap_or(rest.len() - len);
        if !(rest[len..].starts_with('.') && rest[len + 1..].starts_with(is_name_part)) {
            break;
        }
        len += 1;
    }
    let text = &rest[..len];
    let token = match text {
        "true" | "True" => LexToken::Literal(Value::Bool(true)),
        "false" | "False" => LexToken::Literal(Value::Bool(false)),
        "null" | "None" => LexToken::Literal(Value::Null),
        _ => match WORDS.iter().find(|word| **word == text) {
            Some(word) => LexToken::Word(word),
            None => LexToken::Name(text.to_owned()),
        },
    };
    (token, len)
}

fn quoted_name(rest: &str, at: usize) -> Result<(LexToken, usize), ExprError> {
    match rest[1..].find('`') {
        None => {
            Err(ExprError::new(at..at + 1, Problem::Unclosed('`'))
                .help("close the name with another backtick"))
        }
        Some(0) => Err(ExprError::new(at..at + 2, Problem::EmptyName)),
        Some(len) => Ok((LexToken::Name(rest[1..=len].to_owned()), len + 2)),
    }
}

/// Text in quotes; `\\`, `\'`, `\"`, `\n` and `\t` as in Python, any other backslash is one.
fn text(rest: &str, at: usize, quote: char) -> Result<(LexToken, usize), ExprError> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Ok((LexToken::Literal(Value::Str(out)), i + 1));
        }
        let escaped = match (c, chars.peek()) {
            ('\\', Some((_, next @ ('\\' | '\'' | '"')))) => Some(*next),
            ('\\', Some((_, 'n'))) => Some('\n'),
            ('\\', Some((_, 't'))) => Some('\t'),
            _ => None,
        };
        if escaped.is_some() {
            chars.next();
        }
        out.push(escaped.unwrap_or(c));
    }
    Err(ExprError::new(at..at + 1, Problem::Unclosed(quote))
        .help(format!("close the text with another {quote}")))
}

fn number(rest: &str, at: usize) -> Result<(LexToken, usize), ExprError> {
    let len = number_len(rest);
    let written = &rest[..len];
    let bad = |help: &str| Err(ExprError::new(at..at + len, Problem::Number(written.to_owned())).help(help));
    let digits = written.bytes().all(|b| b.is_ascii_digit());
    if written.contains('_') {
        return bad("write the number without `_`");
    }
    if digits && len > 1 && written.starts_with('0') {
        return bad("write the number without leading zeros, or as text in quotes");
    }
    if digits {
        return match written.parse() {
            Ok(value) => Ok((LexToken::Literal(Value::Int(value)), len)),
            Err(_) => bad("whole numbers go up to 9223372036854775807; write `1e19` for more"),
        };
    }
    match written.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((LexToken::Literal(Value::Float(value)), len)),
        Ok(_) => bad("the largest number is about 1.8e308"),
        Err(_) if written.starts_with("0x") || written.starts_with("0b") || written.starts_with("0o") => {
            bad("write the number in decimal")
        }
        Err(_) => bad("write a number as `10`, `0.5` or `1e-3`, and text in quotes"),
    }
}

/// How much of `rest` looks like one number: letters and all, so that `10k` is one mistake and not
/// two tokens.
fn number_len(rest: &str) -> usize {
    let hex = rest.starts_with("0x");
    let mut before = ' ';
    for (i, c) in rest.char_indices() {
        let exponent_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !hex;
        if !(is_name_part(c) || c == '.' || exponent_sign) {
            return i;
        }
        before = c;
    }
    rest.len()
}

fn sign(rest: &str, at: usize, first: char) -> Result<(LexToken, usize), ExprError> {
    if let Some((found, help)) = FOREIGN.iter().find(|(found, _)| rest.starts_with(found)) {
        return Err(foreign(found, at, help));
    }
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((LexToken::Sign(sign), sign.len()));
    }
    Err(match first {
        '=' => foreign("=", at, "write `==` to compare"),
        '!' => foreign("!", at, "write `not`"),
        other => {
            let error = ExprError::new(at..at + other.len_utf8(), Problem::Character(other));
            match other {
                '“' | '”' | '„' | '‘' | '’' | '´' => {
                    error.help("write text in straight quotes: 'adam'")
                }
                '$' | '{' | '}' => error.help("names stand by themselves: write `lr`, not `${lr}`"),
                '≤' => error.help("write `<=`"),
                '≥' => error.help("write `>=`"),
                '≠' => error.help("write `!=`"),
                _ => error,
            }
        }
    })
}

fn foreign(found: &str, at: usize, help: &str) -> ExprError {
    ExprError::new(at..at + found.len(), Problem::ForeignOperator(found.to_owned())).help(help)
}
