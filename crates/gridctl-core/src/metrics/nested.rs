//! Keys within maps within maps, of a line that holds JSON, a dictionary of Python's or the like.
//! Invariant: a line is walked through once; what is no such text has no nested keys, and nothing fails.

/// The deepest maps that are told apart.
const MAX_DEPTH: usize = 32;
/// The most keys of one name that are found in a line.
const MAX_FOUND: usize = 1_024;

/// A key that stands in a map within another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nested {
    /// Where it begins, its quote aside.
    pub(super) at: usize,
    /// The keys of the maps around it, outermost first.
    pub(super) path: Vec<String>,
}

/// The parts of a metric's name that is the path to a nested key: `val.loss`, `val/loss`.
pub(super) fn parts(name: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    (parts.len() > 1 && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// The keys `name` of `line` that are nested, in their order.
pub(super) fn keys(line: &str, name: &str) -> Vec<Nested> {
    let mut found = Vec::new();
    let bytes = line.as_bytes();
    let Some(first) = memchr::memchr(b'{', bytes) else { return found };
    if memchr::memchr(b'{', &bytes[first + 1..]).is_none() {
        return found;
    }
    let mut maps: Vec<&str> = Vec::new();
    let (mut too_deep, mut at) = (0_usize, first);
    // What may be a key, and where it begins; and the key whose value begins.
    let (mut token, mut key): (Option<(usize, &str)>, &str) = (None, "");
    while let Some(&byte) = bytes.get(at) {
        let mut next = at + 1;
        match byte {
            b'{' | b'[' if maps.len() == MAX_DEPTH => too_deep += 1,
            b'{' | b'[' => {
                maps.push(std::mem::take(&mut key));
                token = None;
            }
            b'}' | b']' => {
                if too_deep > 0 {
                    too_deep -= 1;
                } else {
                    maps.pop();
                }
                (token, key) = (None, "");
            }
            b',' => (token, key) = (None, ""),
            b':' => {
                if let Some((at, text)) = token.take() {
                    key = text;
                    let is_nested = maps.iter().any(|map| !map.is_empty()) && too_deep == 0;
                    if text == name && is_nested && found.len() < MAX_FOUND {
                        let path = maps.iter().filter(|map| !map.is_empty());
                        found.push(Nested { at, path: path.map(|map| (*map).to_owned()).collect() });
                    }
                }
            }
            b'"' | b'\'' => {
                let Some(end) = text_end(bytes, at) else { return found };
                token = Some((at + 1, &line[at + 1..end]));
                next = end + 1;
            }
            byte if is_word(byte) => {
                let length = bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
                next = at + length;
                token = Some((at, &line[at..next]));
            }
            _ => {}
        }
        at = next;
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.' | b'/')
}

/// Where the text ends that the quote at `at` begins.
fn text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = bytes[at];
    let mut place = at + 1;
    loop {
        place += memchr::memchr2(quote, b'\\', &bytes[place..])?;
        if bytes[place] == quote {
            return Some(place);
        }
        place += 2;
        if place > bytes.len() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_keys_are_found_with_the_keys_around_them() {
        for (line, expected) in [
            (r#"{"val":{"loss":0.5},"train":{"loss":0.1}}"#, vec!["val", "train"]),
            (r#"{"loss":1,"a":{"b":{"loss":0.5}}}"#, vec!["a.b"]),
            ("x {'val': {'loss': 0.5, 'n': 1}, 'loss': 2}", vec!["val"]),
            ("Stats { val: Part { loss: 0.5 }, train: Part { loss: 0.1 } }", vec!["val", "train"]),
            (r#"{"folds":[{"loss":1},{"loss":2}]}"#, vec!["folds", "folds"]),
            (r#"{"a":{"b":"loss: {","loss":1}}"#, vec!["a"]),
            (r#"{"a":{"b":"\"loss\":1"}}"#, vec![]),
            (r#"{"loss":1}"#, vec![]),
            ("loss: 1 {loss: 2}", vec![]),
            ("{{loss: 1}}", vec![]),
            ("it's {a: {'loss: 1", vec![]),
            ("{\"a\": {\"\\", vec![]),
        ] {
            let found = keys(line, "loss");
            let paths: Vec<String> = found.iter().map(|nested| nested.path.join(".")).collect();
            assert_eq!(paths, expected, "{line}");
            assert!(found.iter().all(|nested| line[nested.at..].starts_with("loss")), "{line}");
        }
        assert_eq!(parts("val.loss"), Some(vec!["val", "loss"]));
        assert_eq!(parts("a/b.c"), Some(vec!["a", "b", "c"]));
        assert_eq!((parts("loss"), parts("loss."), parts("a..b")), (None, None, None));
    }
}
