//! Secrets' values in what trainers write: masked, wherever the pieces of it are cut.
//! Invariant: what comes out is the same however the input was cut, and no secret is in it.

use std::borrow::Cow;
use std::sync::Arc;

/// A shorter value is not masked: it would be found in ordinary words.
pub const SHORTEST_SECRET: usize = 8;
/// What stands in the place of a secret, or of several that touch each other.
pub const MASK: &str = "***";

/// Values that nobody is to see.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    values: Vec<Vec<u8>>,
    /// The bytes that one of them begins with.
    first: Vec<u8>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("values", &self.values.len()).finish()
    }
}

impl Secrets {
    /// Those of `values` that are long enough, and each long line of one that has several lines.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = |value: &'a str| std::iter::once(value).chain(value.lines()).map(str::trim);
        let mut values: Vec<Vec<u8>> = values
            .into_iter()
            .flat_map(lines)
            .filter(|value| value.len() >= SHORTEST_SECRET)
            .map(|value| value.as_bytes().to_vec())
            .collect();
        values.sort_unstable();
        values.dedup();
        let mut first: Vec<u8> = values.iter().map(|value| value[0]).collect();
        first.dedup();
        Self { values, first }
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `text` without secrets, and without beginnings of them that are as long as a secret must be:
    /// it may be a line that was cut.
    #[must_use]
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut scan, mut out) = (Scan::default(), Vec::with_capacity(text.len()));
        scan.held.extend_from_slice(text.as_bytes());
        scan.run(&self.first, &mut out, |rest| Some(self.beginning(rest)));
        // A secret that ends in the middle of a character takes all of it.
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// The longest secret that `bytes` begin with, 0 for none; `None` if only what follows can
    /// tell.
    fn whole(&self, bytes: &[u8], is_end: bool) -> Option<usize> {
        let mut longest = 0;
        for value in self.values.iter().filter(|value| value.first() == bytes.first()) {
            if bytes.starts_with(value) {
                longest = longest.max(value.len());
            } else if !is_end && value.starts_with(bytes) {
                return None;
            }
        }
        Some(longest)
    }

    /// How far `bytes` are the beginning of a secret, 0 if that is not far.
    fn beginning(&self, bytes: &[u8]) -> usize {
        let alike = |value: &Vec<u8>| {
            let length = value.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            // Not through a character.
            (0..=length).rev().find(|at| value.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80)).unwrap_or(0)
        };
        let longest = self.values.iter().map(alike).max().unwrap_or(0);
        if longest < SHORTEST_SECRET { 0 } else { longest }
    }
}

/// Masks a stream of bytes that comes in pieces. It holds back what may turn out to be a secret.
#[derive(Debug, Clone, Default)]
pub struct Masker {
    secrets: Arc<Secrets>,
    scan: Scan,
}

impl Masker {
    /// Masks these.
    #[must_use]
    pub fn new(secrets: Arc<Secrets>) -> Self {
        Self { secrets, scan: Scan::default() }
    }

    /// What can be said after one more piece.
    #[must_use]
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        if self.secrets.is_empty() {
            return Cow::Borrowed(bytes);
        }
        self.scan.held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(bytes.len());
        let secrets = &*self.secrets;
        self.scan.run(&secrets.first, &mut out, |rest| secrets.whole(rest, false));
        Cow::Owned(out)
    }

    /// What was held back, when nothing more comes.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let secrets = &*self.secrets;
        self.scan.run(&secrets.first, &mut out, |rest| secrets.whole(rest, true));
        self.scan = Scan::default();
        out
    }
}

/// How far a stream has been looked through.
#[derive(Debug, Clone, Default)]
struct Scan {
    /// Not decided yet.
    held: Vec<u8>,
    /// So many bytes from the front on are a secret's.
    covered: usize,
    /// The last byte was a secret's, for which the mask has been written.
    inside: bool,
}

impl Scan {
    /// Decides about each byte in turn, as long as `found` can tell how many bytes of a secret
    /// begin there. A secret begins with one of the bytes `first`.
    fn run(&mut self, first: &[u8], out: &mut Vec<u8>, found: impl Fn(&[u8]) -> Option<usize>) {
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            let plain = rest.iter().take_while(|byte| !first.contains(byte)).count();
            if at >= self.covered && plain > 0 {
                out.extend_from_slice(&rest[..plain]);
                self.inside = false;
                at += plain;
                continue;
            }
            let Some(found) = found(rest) else { break };
            self.covered = self.covered.max(at + found);
            if at >= self.covered {
                self.inside = false;
                out.push(self.held[at]);
            } else if !std::mem::replace(&mut self.inside, true) {
                out.extend_from_slice(MASK.as_bytes());
            }
            at += 1;
        }
        self.held.drain(..at);
        self.covered = self.covered.saturating_sub(at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &Secrets, pieces: &[&[u8]]) -> Vec<u8> {
        let mut masker = Masker::new(Arc::new(secrets.clone()));
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| masker.push(piece).into_owned()).collect();
        out.extend(masker.finish());
        out
    }

    /// The whole text at once, as plainly as it can be said.
    fn plainly(secrets: &Secrets, text: &[u8]) -> Vec<u8> {
        let mut covered = vec![false; text.len()];
        for value in &secrets.values {
            for at in 0..text.len() {
                if text[at..].starts_with(value) {
                    covered[at..at + value.len()].fill(true);
                }
            }
        }
        let mut out = Vec::new();
        for at in 0..text.len() {
            match covered[at] {
                false => out.push(text[at]),
                true if at > 0 && covered[at - 1] => {}
                true => out.extend_from_slice(MASK.as_bytes()),
            }
        }
        out
    }

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let secrets =
            Secrets::new(["hunter2hunter2", "short", "  spaced-out \n", "first line\nsecond one\nc"]);
        for (text, expected) in [
            ("", ""),
            ("nothing here, short or hunter2", "nothing here, short or hunter2"),
            ("key=hunter2hunter2;", "key=***;"),
            ("hunter2hunter2hunter2hunter2", "***"),
            ("hunter2hunter2hunter2", "***"),
            ("spaced-out!", "***!"),
            ("first line\nsecond one\nc", "***"),
            ("\u{e9}hunter2hunter2\u{e9}", "\u{e9}***\u{e9}"),
        ] {
            assert_eq!(secrets.mask(text), expected, "{text:?}");
            assert_eq!(masked(&secrets, &[text.as_bytes()]), expected.as_bytes(), "{text:?}");
        }
        assert_eq!(
            masked(&secrets, &[b"hunter2hunter"]),
            b"hunter2hunter",
            "it does not go on as the secret does"
        );
        for (cut, expected) in
            [("saw `hunter2hunt`", "saw `***`"), ("hunter2", "hunter2"), ("hunter2h!", "***!")]
        {
            assert_eq!(secrets.mask(cut), expected, "a line that was cut");
        }
        let accents = Secrets::new(["\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"]);
        assert_eq!(accents.mask("\u{e9}\u{e9}\u{e9}\u{e9}\u{ea}"), "***\u{ea}");
        assert!(Secrets::new(["short", ""]).is_empty());
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out_and_no_secret_is_in_it(
            values in prop::collection::vec("[ab]{6,12}|[ab]{3,6}\n[ab]{8,9}", 0..4),
            parts in prop::collection::vec((any::<prop::sample::Index>(), 0..14_usize, "[abc\n]{0,4}"), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let secrets = Secrets::new(values.iter().map(String::as_str));
            let mut text = String::new();
            for (value, length, between) in &parts {
                text.push_str(between);
                if !values.is_empty() {
                    text.extend(value.get(&values).chars().take(*length));
                }
            }
            let text = text.into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let out = masked(&secrets, &pieces);
            prop_assert_eq!(&out, &plainly(&secrets, &text));
            for value in &secrets.values {
                prop_assert!(!out.windows(value.len()).any(|window| window == value));
            }
        }
    }
}
