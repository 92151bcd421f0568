//! Words around a metric's name that say what it was measured on: `train accuracy: 1`, `Val: loss=0.5 accuracy=0.8`.
//! Invariant: a line is looked through once, and a word that is a part of another is none.

use std::sync::LazyLock;

use regex::Regex;

use super::value::{is_blank, is_cjk, number_prefix};

/// What a number was measured on, as far as a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Unsaid,
    Val,
    Test,
    Eval,
    Dev,
    Train,
    Baseline,
}

/// What the words say of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Qualifier {
    split: Split,
    /// It is the best so far.
    best: bool,
}

/// Words, in lower case.
const WORDS: [(&str, Split); 30] = [
    ("train", Split::Train),
    ("training", Split::Train),
    ("val", Split::Val),
    ("valid", Split::Val),
    ("validation", Split::Val),
    ("validating", Split::Val),
    ("test", Split::Test),
    ("testing", Split::Test),
    ("eval", Split::Eval),
    ("evaluation", Split::Eval),
    ("evaluating", Split::Eval),
    ("dev", Split::Dev),
    ("baseline", Split::Baseline),
    ("dummy", Split::Baseline),
    ("majority", Split::Baseline),
    ("random", Split::Baseline),
    ("chance", Split::Baseline),
    ("old", Split::Baseline),
    ("previous", Split::Baseline),
    ("prev", Split::Baseline),
    ("initial", Split::Baseline),
    ("target", Split::Baseline),
    ("required", Split::Baseline),
    ("expected", Split::Baseline),
    ("训练", Split::Train),
    ("訓練", Split::Train),
    ("验证", Split::Val),
    ("検証", Split::Val),
    ("测试", Split::Test),
    ("テスト", Split::Test),
];
/// Words for the best so far.
const BEST: [&str; 3] = ["best", "最佳", "最高"];
/// What may stand between such a word and a name, or the sign that makes a heading of it.
const FILLERS: [&str; 16] = [
    "set",
    "split",
    "data",
    "dataset",
    "results",
    "result",
    "metrics",
    "scores",
    "stats",
    "summary",
    "epoch",
    "step",
    "iter",
    "iteration",
    "batch",
    "集",
];
/// What may stand before a heading.
const BEFORE_HEADING: [&str; 3] = ["final", "epoch", "on"];
/// The most headings of one line.
const MAX_HEADINGS: usize = 64;
/// The longest line that may be a heading alone, in bytes, and the most words of it.
const MAX_HEADING_LINE: usize = 80;
const MAX_HEADING_WORDS: usize = 6;

impl Qualifier {
    /// No word says anything.
    pub(super) const NONE: Self = Self { split: Split::Unsaid, best: false };

    /// How little it is what a name alone means: the lowest is taken.
    pub(super) fn rank(self) -> u8 {
        match (self.split, self.best) {
            (Split::Unsaid, false) => 0,
            (Split::Val | Split::Test | Split::Eval | Split::Dev, false) => 1,
            (Split::Unsaid | Split::Val | Split::Test | Split::Eval | Split::Dev, true) => 2,
            (Split::Train, _) => TRAINING,
            (Split::Baseline, _) => TRAINING + 1,
        }
    }

    /// What parameters are to be chosen by, where there is a choice.
    pub(super) fn is_validation(self) -> bool {
        self.split == Split::Val
    }

    /// A word for it.
    pub(super) fn word(self) -> &'static str {
        match self.split {
            Split::Unsaid => "best",
            Split::Val => "validation",
            Split::Test => "test",
            Split::Eval => "evaluation",
            Split::Dev => "dev",
            Split::Train => "training",
            Split::Baseline => "baseline",
        }
    }

    /// What a single word says.
    pub(super) fn of(word: &str) -> Option<Self> {
        let word = word.trim_matches(is_blank);
        let best = BEST.iter().any(|best| best.eq_ignore_ascii_case(word));
        let split = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, split)| *split);
        (best || split.is_some()).then_some(Self { split: split.unwrap_or(Split::Unsaid), best })
    }

    /// This, and what a word farther from the name says.
    fn and(self, farther: Option<Self>) -> Self {
        let Some(farther) = farther else { return self };
        let split = if self.split == Split::Unsaid { farther.split } else { self.split };
        Self { split, best: self.best || farther.best }
    }
}

/// The rank of what was measured on the data that a model was trained on.
pub(super) const TRAINING: u8 = 3;

/// What is said of the name at a place, and where its words begin.
pub(super) type Said = (Qualifier, usize);

/// The words directly before the name at `at`: `best val accuracy`.
pub(super) fn directly(line: &str, at: usize) -> Option<Said> {
    let before = line[..at].trim_end_matches(['"', '\'', '`']);
    if let Some(said) = owner(before) {
        return Some(said);
    }
    let (mut word, mut from) = last_word(before)?;
    if is_filler(word) {
        (word, from) = last_word(&line[..from])?;
    }
    let apart = from + word.len() < before.len() || word.starts_with(is_cjk);
    let nearest = Qualifier::of(word).filter(|_| apart)?;
    let farther = last_word(&line[..from]).and_then(|(word, from)| Some((Qualifier::of(word)?, from)));
    Some((nearest.and(farther.map(|(said, _)| said)), farther.map_or(from, |(_, from)| from)))
}

/// Whose the number is: `valid_0's loss`, as LightGBM has it.
fn owner(before: &str) -> Option<Said> {
    let name = before.trim_end_matches(is_blank).strip_suffix("'s")?;
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    let from = bare.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let joins = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    (!bare[..from].ends_with(joins)).then_some((Qualifier::of(&bare[from..])?, from))
}

/// The word that `text` ends with, blanks aside, and where it begins; none that is a part of a longer name.
fn last_word(text: &str) -> Option<(&str, usize)> {
    let text = text.trim_end_matches(is_blank);
    let last = text.chars().next_back().filter(|c| c.is_alphabetic())?;
    let same = |c: char| c.is_alphabetic() && is_cjk(c) == is_cjk(last);
    let from = text.trim_end_matches(same).len();
    let mut word = &text[from..];
    if is_cjk(last) {
        // Words of these scripts have no blanks between them.
        word = WORDS
            .iter()
            .map(|(known, _)| *known)
            .chain(BEST)
            .chain(FILLERS)
            .find(|known| word.ends_with(known))?;
        return Some((word, text.len() - word.len()));
    }
    let joins = |c: char| c.is_numeric() || "_-./".contains(c);
    (!text[..from].ends_with(joins)).then_some((word, from))
}

fn is_filler(word: &str) -> bool {
    FILLERS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// A word with a sign behind it, which speaks of all that follows: `Val: loss=0.5 accuracy=0.8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heading {
    said: Qualifier,
    from: usize,
}

/// The headings of a line, in their order.
pub(super) fn headings(line: &str) -> Vec<Heading> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() && found.len() < MAX_HEADINGS {
        if !bytes[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let may_be = matches!(bytes[at] | 0x20, b't' | b'v' | b'e' | b'd' | b'b');
        if may_be && let Some(heading) = heading(line, at, end) {
            found.push(heading);
        }
        at = end;
    }
    found
}

/// The last heading before the name at `at`.
pub(super) fn under(headings: &[Heading], at: usize) -> Option<Said> {
    let behind = headings.partition_point(|heading| heading.from < at);
    headings[..behind].last().map(|heading| (heading.said, heading.from))
}

/// A line that is a heading alone, and speaks of the lines below: `val:`, `"val": {`,
/// `=== Validation ===`.
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
    if !bare.contains(char::is_alphabetic)
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
        if nth == MAX_HEADING_WORDS {
            return None;
        }
        if let Some(of_word) = Qualifier::of(word) {
            if said.is_some_and(|said| said.split != of_word.split && of_word.split != Split::Unsaid) {
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

/// Words before a number that say that others like it follow: `fold 3`.
const PEERS: [&str; 4] = ["fold", "split", "seed", "repeat"];
/// How far before a name they are looked for, in bytes.
const NEAR_NAME: usize = 120;

/// Whether numbers of this name tell values apart that stand side by side.
pub(super) fn is_peer(name: &str) -> bool {
    PEERS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The number of the fold, or the like, that the end of `before` names.
pub(super) fn peer(before: &str) -> Option<u64> {
    let from = before.ceil_char_boundary(before.len().saturating_sub(NEAR_NAME));
    let mut text = &before[from..];
    loop {
        text = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let digits = &text[text.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        if digits.is_empty() {
            return None;
        }
        text = &text[..text.len() - digits.len()];
        let word = text.trim_end_matches([' ', '"', '\'', ':', '=', '#', '_', '-', '[', '(']);
        let word = &word[word.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len()..];
        if is_peer(word) {
            return digits.parse().ok();
        }
    }
}

/// The number of the fold that a line speaks of which is a heading alone: `Fold 3/5`, `=== Fold 3 ===`.
pub(super) fn peer_of_heading(line: &str) -> Option<u64> {
    let first = line.bytes().find(u8::is_ascii_alphanumeric)?;
    if line.len() > MAX_HEADING_LINE || !b"fsrFSR".contains(&first) || line.contains('.') {
        return None;
    }
    let text = line.trim_matches(|c: char| !c.is_alphanumeric());
    let word = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let is_peer = is_peer(&text[..word]);
    let counter = text[word..].trim_start_matches([' ', '#', ':', '_', '-']);
    let digits = counter.bytes().take_while(u8::is_ascii_digit).count();
    let rest = counter[digits..].trim_start_matches(|c: char| c.is_ascii_digit() || " /of".contains(c));
    (is_peer && digits > 0 && rest.is_empty()).then(|| counter[..digits].parse().ok())?
}

/// Words before a name that say nothing of whose it is.
const NEUTRAL: [&str; 44] = [
    "the",
    "a",
    "an",
    "and",
    "with",
    "final",
    "overall",
    "mean",
    "average",
    "avg",
    "total",
    "epoch",
    "step",
    "current",
    "this",
    "its",
    "our",
    "my",
    "your",
    "model",
    "got",
    "has",
    "is",
    "result",
    "results",
    "score",
    "metric",
    "metrics",
    "info",
    "debug",
    "new",
    "last",
    "latest",
    "reported",
    "computed",
    "cv",
    "cross",
    "validated",
    "median",
    "global",
    "running",
    "batch",
    "iteration",
    "at",
];

/// Words directly before a name that may say whose number it is, as `Random forest accuracy: 0.9`.
pub(super) fn owner_words(before: &str) -> Option<&str> {
    let from = before.ceil_char_boundary(before.len().saturating_sub(NEAR_NAME));
    let near = before[from..].trim_end_matches(['"', '\'', '`']).trim_end_matches(is_blank);
    let words = near.trim_end_matches(|c: char| c.is_alphabetic() || c == ' ' || c == '-');
    let words = near[words.len()..].trim_start_matches([' ', '-']);
    let is_apart = near.len() < before.len() && !words.is_empty();
    let says = words.split([' ', '-']).filter(|word| !word.is_empty());
    let is_neutral = says.clone().all(|word| NEUTRAL.iter().any(|known| known.eq_ignore_ascii_case(word)));
    let is_summary = words.split([' ', '-']).any(is_summary);
    (is_apart && !is_neutral && !is_summary).then_some(words)
}

/// Whether a word says that a number is made of others.
fn is_summary(word: &str) -> bool {
    ["final", "overall", "mean", "average", "avg", "total", "median"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a name's number is made of others: `mean accuracy: 0.8`.
pub(super) fn is_of_all(before: &str) -> bool {
    last_word(before).is_some_and(|(word, _)| is_summary(word))
}

/// Names of what says in a record on what its numbers were measured.
const SPLIT_KEYS: [&str; 8] =
    ["split", "phase", "mode", "stage", "subset", "partition", "dataset", "data_split"];
/// Finds one of them, or what folds and the like are called.
static ANY_WORD: LazyLock<Regex> = LazyLock::new(|| {
    let words = "(?i-u)split|phase|mode|stage|subset|partition|dataset|fold|seed|repeat";
    Regex::new(words).expect("a pattern of ours is one")
});

/// Whether [`peer`] and [`of_record`] may find anything in a line.
pub(super) fn may_say_more(line: &str) -> bool {
    ANY_WORD.is_match(line)
}

/// Whether a record says under this name on what its numbers were measured.
pub(super) fn is_split_key(name: &str) -> bool {
    SPLIT_KEYS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What a field of the record around `at` says: `{"split": "val", "loss": 0.5}`, `split=val loss=0.5`.
pub(super) fn of_record(line: &str, at: usize) -> Option<Qualifier> {
    let from = line[..at].rfind('{').map_or(0, |open| open + 1);
    let to = line[at..].find('}').map_or(line.len(), |close| at + close);
    let record = &line[from..to];
    let quotes = |c: char| is_blank(c) || c == '"' || c == '\'';
    memchr::memchr2_iter(b'=', b':', record.as_bytes()).take(MAX_HEADINGS).find_map(|sign| {
        let key = record[..sign].trim_end_matches(quotes);
        let part = |c: char| c.is_alphanumeric() || "_-./".contains(c);
        let name = &key[key.trim_end_matches(part).len()..];
        if !is_split_key(name) {
            return None;
        }
        let value = record[sign + 1..].trim_start_matches(quotes);
        Qualifier::of(&value[..value.len() - value.trim_start_matches(part).len()])
    })
}

/// What stands in brackets behind a name, `(val)`, and its length.
pub(super) fn behind(rest: &str) -> Option<(Qualifier, usize)> {
    let open = rest.trim_start_matches(is_blank);
    let close = if open.starts_with('(') { ')' } else { ']' };
    let inner = open.strip_prefix(['(', '['])?;
    let (word, _) = inner.get(..inner.len().min(24)).unwrap_or(inner).split_once(close)?;
    let length = rest.len() - inner.len() + word.len() + close.len_utf8();
    Some((Qualifier::of(word)?, length))
}

fn heading(line: &str, from: usize, end: usize) -> Option<Heading> {
    let said = Qualifier::of(&line[from..end])?;
    let (before, rest) = (&line[..from], &line[end..]);
    if before.ends_with(|c: char| c.is_alphanumeric() || "_-./".contains(c)) || !is_headed(rest) {
        return None;
    }
    let before = before.trim_end_matches(|c| is_blank(c) || "\"'([{<".contains(c));
    let token = &before[before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '/').len()..];
    let said_before = Qualifier::of(token);
    let begins = token.is_empty()
        || token.starts_with(|c: char| c.is_ascii_digit())
        || !token.contains(char::is_lowercase)
        || BEFORE_HEADING.iter().any(|word| word.eq_ignore_ascii_case(token));
    let from = if said_before.is_some() { before.len() - token.len() } else { from };
    (begins || said_before.is_some()).then_some(Heading { said: said.and(said_before), from })
}

/// Whether what follows a word makes a heading of it.
fn is_headed(rest: &str) -> bool {
    if rest.starts_with(|c: char| c.is_alphanumeric() || "_-./=".contains(c)) {
        return false;
    }
    let next = rest.trim_start_matches(is_blank);
    let word = next.len() - next.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
    let has_filler = word > 0 && is_filler(&next[..word]);
    if word > 0 && !has_filler {
        return false;
    }
    let next = next[word..].trim_start_matches(is_blank);
    let counter = next.trim_start_matches(|c: char| c.is_ascii_digit() || c == '/');
    let is_counted = counter.len() < next.len();
    let next = counter.trim_start_matches(is_blank);
    let Some(sign) = next.chars().next() else { return false };
    let behind = &next[sign.len_utf8()..];
    match sign {
        // `train: 0.3` is a name and its number.
        ':' if !has_filler && !is_counted => {
            let value = behind.trim_start_matches(is_blank);
            number_prefix(value).is_none_or(|(_, end)| value[end..].starts_with(['%', '/']))
        }
        '-' | '–' | '—' => behind.starts_with(|c: char| is_blank(c) || c == '>'),
        sign => ":：|│])>[({".contains(sign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str, name: &str) -> Option<(Split, bool)> {
        let at = line.rfind(name).unwrap();
        let said = directly(line, at).or_else(|| under(&headings(line), at));
        said.map(|(said, _)| (said.split, said.best))
    }

    #[test]
    fn words_before_a_name_and_headings_say_what_it_was_measured_on() {
        use Split::{Baseline, Dev, Eval, Test, Train, Unsaid, Val};
        for (line, expected) in [
            ("train loss: 1", Some((Train, false))),
            ("epoch 3 Training  loss: 1", Some((Train, false))),
            ("best val loss=1", Some((Val, true))),
            ("BEST loss=1", Some((Unsaid, true))),
            ("test set loss=1", Some((Test, false))),
            ("acc=1, dev loss=1", Some((Dev, false))),
            ("eval 'loss': 1", Some((Eval, false))),
            ("baseline loss: 1", Some((Baseline, false))),
            ("验证loss：0.5", Some((Val, false))),
            ("第3轮 训练集 loss：0.5", Some((Train, false))),
            ("Val: acc=1 loss=1", Some((Val, false))),
            ("Train: acc=1 | Val: acc=1 loss=1", Some((Val, false))),
            ("[train] acc=1, loss=1", Some((Train, false))),
            ("epoch 3/10 - train - acc: 1 - loss: 1", Some((Train, false))),
            ("INFO train | loss 1 | loss: 1", Some((Train, false))),
            ("Train Epoch: 1 [0/60 (0%)] loss: 1", Some((Train, false))),
            ("Test set: Average loss: 1", Some((Test, false))),
            ("val {'acc': 1, 'loss': 1}", Some((Val, false))),
            ("train: 100%|███| 5/5 [00:00<00:00, loss=1]", Some((Train, false))),
            ("best val: acc=1 loss=1", Some((Val, true))),
            ("[10]\ttraining's l2: 1\tvalid_0's loss: 1", Some((Val, false))),
            ("old loss: 1", Some((Baseline, false))),
            ("Test 3: loss=1", Some((Test, false))),
            ("loss=1", None),
            ("trained loss: 1", None),
            ("pre-training loss: 1", None),
            ("model_train loss: 1", None),
            ("train_acc: 1 loss: 1", None),
            ("train: 0.3, val: 0.5, loss: 1", None),
            ("done training; loss: 1", None),
            ("after training: loss: 1", None),
            ("Training finished in 3s - loss: 1", None),
            ("test=3 loss=1", None),
            ("latest: loss=1", None),
        ] {
            assert_eq!(said(line, "loss"), expected, "{line}");
        }
    }
}
