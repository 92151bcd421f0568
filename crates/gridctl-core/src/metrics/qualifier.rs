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
const WORDS: [(&str, Split); 37] = [
    ("train", Split::Train),
    ("training", Split::Train),
    ("val", Split::Val),
    ("valid", Split::Val),
    ("validation", Split::Val),
    ("validating", Split::Val),
    ("validate", Split::Val),
    ("validator", Split::Val),
    ("trainer", Split::Train),
    ("fit", Split::Train),
    ("evaluator", Split::Eval),
    ("tester", Split::Test),
    ("holdout", Split::Test),
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
pub(super) const BEFORE_HEADING: [&str; 4] = ["final", "epoch", "on", "the"];
/// The most headings of one line.
const MAX_HEADINGS: usize = 64;

impl Qualifier {
    /// The rank of the best so far.
    pub(super) const BEST_RANK: u8 = 2;
    /// No word says anything.
    pub(super) const NONE: Self = Self { split: Split::Unsaid, best: false };

    /// How little it is what a name alone means: the lowest is taken.
    pub(super) fn rank(self) -> u8 {
        match (self.split, self.best) {
            (Split::Unsaid, false) => 0,
            (Split::Val | Split::Test | Split::Eval | Split::Dev, false) => 1,
            (Split::Unsaid | Split::Val | Split::Test | Split::Eval | Split::Dev, true) => Self::BEST_RANK,
            (Split::Train, _) => TRAINING,
            (Split::Baseline, _) => TRAINING + 1,
        }
    }

    /// What parameters are to be chosen by, where there is a choice.
    pub(super) fn is_validation(self) -> bool {
        self.split == Split::Val
    }

    /// Measured on what is looked at last of all.
    pub(super) fn is_test(self) -> bool {
        self.split == Split::Test
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

    /// Whether a name says the same itself, and no word around it says more: `eval_loss` below `eval metrics`.
    pub(super) fn is_said_by(self, name: &str) -> bool {
        let said = || name.split(['_', '-', '.', '/', ' ']).filter_map(Self::of);
        !self.best && said().any(|said| said.split == self.split)
    }

    /// Whether this and the other say what numbers were measured on, and not the same.
    pub(super) fn contradicts(self, other: Self) -> bool {
        self.split != other.split && other.split != Split::Unsaid
    }

    /// This, and what a word farther from the name says.
    pub(super) fn and(self, farther: Option<Self>) -> Self {
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
pub(super) fn last_word(text: &str) -> Option<(&str, usize)> {
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

pub(super) fn is_filler(word: &str) -> bool {
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

/// Names of what says in a record on what its numbers were measured.
const SPLIT_KEYS: [&str; 8] =
    ["split", "phase", "mode", "stage", "subset", "partition", "dataset", "data_split"];
/// Finds one of them, or what folds and the like are called.
static ANY_WORD: LazyLock<Regex> = LazyLock::new(|| {
    let words = r"(?i-u)split|phase|mode|stage|subset|partition|dataset|fold|seed|repeat|\[cv ";
    Regex::new(words).expect("a pattern of ours is one")
});

/// Whether [`super::peers::peer`] and [`of_record`] may find anything in a line.
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
        let said = Qualifier::of(&value[..value.len() - value.trim_start_matches(part).len()]);
        // `"mode": "random"` is no baseline.
        said.filter(|said| said.split != Split::Baseline)
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
    if let Some(behind) = rest.strip_prefix("...").or_else(|| rest.strip_prefix('…')) {
        return behind.starts_with(is_blank);
    }
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
        ',' => has_filler && behind.starts_with(is_blank),
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
