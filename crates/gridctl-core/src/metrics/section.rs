//! Lines that are headings alone, and speak of the lines below: `val:`, `"val": {`, `=== Validation ===`.
//! Invariant: what most lines are, none, is seen at once; a heading speaks until the next one at the latest.

use super::line::is_border;
use super::qualifier::{BEFORE_HEADING, Qualifier, is_filler};
use super::value::is_blank;

/// The longest line that may be a heading alone, in bytes, and the most words of it.
pub(super) const MAX_HEADING_LINE: usize = 80;
const MAX_HEADING_WORDS: usize = 8;
/// Words of a heading that say that something has ended, and so nothing of what follows.
const ENDINGS: [&str; 9] =
    ["complete", "completed", "done", "finished", "over", "ended", "end", "after", "took"];

/// What a heading says of the lines below.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub(super) said: Qualifier,
    indent: usize,
    reach: Reach,
}

/// Which lines a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Those that are set in farther.
    Indented,
    /// Those that are set in farther, if the next one is, and else all up to the next heading.
    Open,
    /// All up to the next heading.
    Flat,
}

impl Section {
    /// The section that a line of a stream is in, or begins.
    pub(super) fn next(before: Option<Self>, line: &str) -> Option<Self> {
        if before.is_none() && !may_be_heading(line) {
            return None;
        }
        let line = line.trim_end();
        let text = line.trim_start();
        let indent = line.len() - text.len();
        match heading_line(text) {
            Some((Some(said), reach)) => return Some(Self { said, indent, reach }),
            Some((None, _)) if before.is_some_and(|before| before.ends_at_heading(indent)) => return None,
            _ => {}
        }
        let before = before?;
        let is_inner = indent > before.indent;
        match before.reach {
            Reach::Indented => is_inner.then_some(before),
            Reach::Open if is_inner => Some(Self { reach: Reach::Indented, ..before }),
            Reach::Open | Reach::Flat => Some(Self { reach: Reach::Flat, ..before }),
        }
    }

    fn ends_at_heading(self, indent: usize) -> bool {
        self.reach != Reach::Indented && indent <= self.indent
    }
}

/// Whether a line looks like a heading: most are none, which is seen at once.
fn may_be_heading(line: &str) -> bool {
    let bytes = line.trim_ascii().as_bytes();
    let [first, .., last] = bytes else { return false };
    let is_short = bytes.len() <= MAX_HEADING_LINE && !last.is_ascii_digit();
    let is_decorated = !first.is_ascii_alphanumeric();
    let is_key = matches!(last, b':' | b'{') || !last.is_ascii();
    is_short
        && (is_decorated || memchr::memchr(b'=', bytes).is_none())
        && (is_decorated || is_key || bytes.len() <= MAX_HEADING_LINE / 2)
}

/// What a line that is a heading alone says, if anything, and of which lines; `None` if it is none.
fn heading_line(text: &str) -> Option<(Option<Qualifier>, Reach)> {
    if !may_be_heading(text) {
        return None;
    }
    let last = text.chars().next_back()?;
    let key = text.strip_suffix('{').map(|key| key.trim_end().strip_suffix(':').unwrap_or_default());
    if let Some(key) = key {
        let said = Qualifier::of(key.trim_matches(['"', '\'']));
        return said.map(|said| (Some(said), Reach::Indented));
    }
    let is_decoration = |c: char| "=-*#_~+|[]<>".contains(c) || ('\u{2500}'..='\u{257f}').contains(&c);
    let bare = text.trim_matches(|c: char| is_decoration(c) || is_blank(c));
    let before = text.len() - text.trim_start_matches(is_decoration).len();
    let is_banner = before > 1 || text.starts_with('#') || text.starts_with('[') && last == ']';
    let is_key = last == ':' || last == '：';
    let bare = bare.trim_end_matches([':', '：', '.', '…', '!']);
    let has_value = |(at, sign): (usize, &str)| {
        bare[at + sign.len()..]
            .trim_start_matches(is_blank)
            .starts_with(|c: char| c.is_ascii_digit() || c == '-')
    };
    // A name and its number in the cells of a table.
    let is_row =
        bare.contains(is_border) && bare.ends_with(|c: char| c.is_ascii_digit()) && bare.contains('.');
    if is_row
        || !bare.contains(char::is_alphabetic)
        || bare.contains(['=', '%', ','])
        || bare.match_indices([':', '：']).any(has_value)
    {
        return None;
    }
    let said = of_words(bare, !is_banner && !is_key);
    let reach = if is_key && !is_banner { Reach::Open } else { Reach::Flat };
    (is_banner || is_key || said.is_some()).then_some((said, reach))
}

/// What the words of a heading say; nothing, if two of them say different things, or if there is
/// another word and there must be none.
fn of_words(text: &str, is_strict: bool) -> Option<Qualifier> {
    let mut said: Option<Qualifier> = None;
    let mut is_counted = false;
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for (nth, word) in words.enumerate() {
        if nth == MAX_HEADING_WORDS || ENDINGS.iter().any(|ending| ending.eq_ignore_ascii_case(word)) {
            return None;
        }
        if let Some(of_word) = Qualifier::of(word) {
            if said.is_some_and(|said: Qualifier| said.contradicts(of_word)) {
                return None;
            }
            said = Some(said.map_or(of_word, |said| said.and(Some(of_word))));
            is_counted = false;
        } else if word.bytes().all(|byte| byte.is_ascii_digit()) {
            if is_strict && !is_counted {
                return None;
            }
        } else {
            is_counted = is_filler(word);
            if is_strict
                && !is_counted
                && !BEFORE_HEADING.iter().any(|known| known.eq_ignore_ascii_case(word))
            {
                return None;
            }
        }
    }
    said
}
