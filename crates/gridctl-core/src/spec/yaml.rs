//! From the file's bytes to a tree in which every tree knows its bytes: strict YAML 1.2, of which JSON is a part.
//! Invariant: only decimal numbers are numbers (`no`, `on`, `010`, `0o17`, `0x1f`, `1_000`, `1:30` and dates are text), and
//! the tree is bounded in size and depth whatever the bytes are.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};

use super::diagnostic::{Diagnostic, SpecErrors, shown};
use super::{limits, syntax};

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

/// What a tree is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    /// Also NaN and infinite: whoever wants a number refuses these.
    Float(f64),
    /// A whole number beyond 64 bits.
    Huge,
    Str(String),
    List(Vec<Tree>),
    /// With duplicate keys, which are refused where the map is read.
    Map(Vec<(Key, Tree)>),
}

/// A map's key and its place.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

/// Checks that the bytes are a text; returns it with the length of a byte order mark that was left out in front.
pub(super) fn decode(bytes: &[u8]) -> Result<(&str, usize), SpecErrors> {
    encoding(bytes).map_or(Ok(()), |error| Err(SpecErrors(vec![error])))?;
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        let message = format!("the sweep file is not UTF-8: byte {at} is 0x{byte:02x}");
        SpecErrors(vec![Diagnostic::error("sweep::encoding", message).help("save it as UTF-8")])
    })?;
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let text = &text[bom..];
    let stray =
        text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'));
    if let Some((at, c)) = stray {
        let message = format!("the file holds the control character {}", shown(&c.to_string()));
        let error = Diagnostic::error("sweep::control_character", message)
            .at(&(bom + at..bom + at + c.len_utf8()))
            .help("remove it; in a value, write it in double quotes as an escape, such as \"\\t\"");
        return Err(SpecErrors(vec![error]));
    }
    Ok((text, bom))
}

/// What is wrong with bytes that are too many, or no UTF-8 from the start.
fn encoding(bytes: &[u8]) -> Option<Diagnostic> {
    if bytes.len() > limits::FILE_BYTES {
        let message =
            format!("the sweep file has {} bytes: at most {} are read", bytes.len(), limits::FILE_BYTES);
        let help =
            "a sweep file names axes, it does not hold data: use `min`, `max` and `step` for a long range";
        return Some(Diagnostic::error("sweep::too_large", message).help(help));
    }
    let utf16 = bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || matches!(bytes, [first, second, ..] if (*first == 0) != (*second == 0));
    utf16.then(|| {
        Diagnostic::error("sweep::encoding", "the sweep file is UTF-16, not UTF-8")
            .help("save it as UTF-8 (`iconv -f UTF-16 -t UTF-8 old.yaml > new.yaml`)")
    })
}

/// Parses `text` as one document.
pub(super) fn parse(text: &str) -> Result<Tree, SpecErrors> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: limits::DEPTH,
            flow_nesting_limit: limits::DEPTH + 1,
            max_nodes: limits::VALUES,
            max_anchors: limits::ANCHORS,
            max_aliases: limits::ANCHORS,
            max_recorded_anchor_events: limits::VALUES,
            max_recorded_anchor_bytes: limits::ALIAS_BYTES,
            max_total_scalar_bytes: limits::ALIAS_BYTES,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::VALUES,
            max_replay_stack_depth: limits::DEPTH,
        },
        emit_comments: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Merge,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<RawKind>>(text, options) {
        Ok(raw) => {
            let mut root = Tree::from(raw);
            settle(&mut root, text);
            Ok(root)
        }
        Err(error) => Err(SpecErrors(vec![syntax::refused(error.without_snippet(), text)])),
    }
}

struct RawKind(Kind);

impl From<Spanned<RawKind>> for Tree {
    fn from(raw: Spanned<RawKind>) -> Self {
        Self { span: bytes(raw.defined), kind: raw.value.0 }
    }
}

pub(super) fn bytes(location: serde_saphyr::Location) -> Range<usize> {
    let number = |value: Option<u64>| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(0);
    let start = number(location.span().byte_offset());
    start..start + number(location.span().byte_len())
}

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor).map(RawKind)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(i64::try_from(value).map_or(Kind::Huge, Kind::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<RawKind>>()? {
            items.push(Tree::from(item));
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<RawKind>>()?;
            entries.push((Key { span: bytes(key.defined), text: key.value }, Tree::from(value)));
        }
        Ok(Kind::Map(entries))
    }
}

/// Gives lists and maps their ends, keeps spans within the text, and makes text of numbers that are not decimal.
fn settle(tree: &mut Tree, text: &str) {
    clamp(&mut tree.span, text);
    let last = match &mut tree.kind {
        Kind::List(items) => {
            items.iter_mut().for_each(|item| settle(item, text));
            items.last().map(|item| item.span.end)
        }
        Kind::Map(entries) => {
            for (key, value) in entries.iter_mut() {
                clamp(&mut key.span, text);
                settle(value, text);
                if matches!(value.kind, Kind::Null) && value.span.is_empty() {
                    value.span = key.span.clone();
                }
            }
            entries.last().map(|(key, value)| key.span.end.max(value.span.end))
        }
        scalar => {
            retype(scalar, &text[tree.span.clone()]);
            return;
        }
    };
    let start = tree.span.start;
    let mut end = tree.span.end.max(last.unwrap_or(start));
    if matches!(text.as_bytes().get(start), Some(b'[' | b'{')) {
        let rest = &text[end..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', ',']).len();
        if rest[blank..].starts_with([']', '}']) {
            end += blank + 1;
        }
    }
    tree.span = start..end;
}

fn clamp(span: &mut Range<usize>, text: &str) {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.floor_char_boundary(span.end.min(text.len())).max(start);
    let kept = text[start..end].trim_end_matches(['\n', '\r', ' ', '\t']).len();
    *span = start..start + kept;
}

/// Radix prefixes make text; a run of digits beyond 64 bits is no float in disguise.
fn retype(kind: &mut Kind, raw: &str) {
    if !matches!(kind, Kind::Int(_) | Kind::Float(_) | Kind::Huge) {
        return;
    }
    let digits = raw.trim_start_matches(['+', '-']);
    let second = digits.as_bytes().get(1).map(u8::to_ascii_lowercase);
    if digits.starts_with('0') && matches!(second, Some(b'o' | b'x' | b'b')) {
        *kind = Kind::Str(raw.to_owned());
    } else if matches!(kind, Kind::Float(_))
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
    {
        *kind = Kind::Huge;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(value: &str) -> Kind {
        let Kind::Map(mut entries) = parse(&format!("v: {value}\n")).unwrap().kind else { panic!("{value}") };
        entries.remove(0).1.kind
    }

    #[test]
    fn s24_only_decimal_numbers_are_numbers_and_only_true_and_false_are_booleans() {
        for text in
            ["no", "on", "yes", "off", "010", "0o17", "0x1F", "0b11", "1_000", "1:30", "2026-01-02", "n"]
        {
            assert!(matches!(kind(text), Kind::Str(got) if got == text), "{text}");
        }
        for (text, value) in
            [("1e-3", 1e-3), (".5", 0.5), ("1.0", 1.0), ("1e3", 1e3), ("-.5", -0.5), ("5.", 5.0)]
        {
            assert!(matches!(kind(text), Kind::Float(got) if got == value), "{text}: {:?}", kind(text));
        }
        for (text, value) in [("12", 12), ("-3", -3), ("0", 0), ("+4", 4)] {
            assert!(matches!(kind(text), Kind::Int(got) if got == value), "{text}");
        }
        assert!(matches!(kind("9223372036854775808"), Kind::Huge));
        assert!(matches!(kind("-9223372036854775809"), Kind::Huge));
        assert!(matches!(kind("99999999999999999999999999"), Kind::Huge));
        assert!(matches!(kind("1e309"), Kind::Float(got) if got.is_infinite()));
        assert!(matches!(kind(".nan"), Kind::Float(got) if got.is_nan()));
        assert!(
            matches!(kind("~"), Kind::Null)
                && matches!(kind("null"), Kind::Null)
                && matches!(kind(""), Kind::Null)
        );
        assert!(matches!(kind("true"), Kind::Bool(true)) && matches!(kind("\"1\""), Kind::Str(_)));
    }

    #[test]
    fn every_value_knows_its_bytes() {
        let text = "é: [1, \"two\", {a: b}]\nlist:\n  - x\n  - 3.5 # no\nend: z\n";
        let Kind::Map(entries) = parse(text).unwrap().kind else { panic!() };
        let of = |tree: &Tree| text[tree.span.clone()].to_owned();
        assert_eq!(&text[entries[0].0.span.clone()], "é");
        assert_eq!(of(&entries[0].1), "[1, \"two\", {a: b}]");
        let Kind::List(items) = &entries[0].1.kind else { panic!() };
        assert_eq!(items.iter().map(of).collect::<Vec<_>>(), ["1", "\"two\"", "{a: b}"]);
        assert_eq!(of(&entries[1].1).split_whitespace().collect::<Vec<_>>().join(" "), "- x - 3.5");
        assert_eq!(of(&entries[2].1), "z");
    }
}
