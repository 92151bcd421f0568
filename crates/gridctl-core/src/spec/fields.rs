//! Reading maps, lists and scalars of the tree, with an error that says what was expected for whatever is something else.
//! Invariant: a key is read once, by a name from the list of what is allowed there; an unknown or repeated key is an error.

use std::collections::HashMap;
use std::ops::Range;

use super::diagnostic::{Checker, Diagnostic, list, nearest, shown};
use super::limits;
use super::yaml::{Key, Kind, Tree};
use crate::value::Value;

/// What people write where the sweep file says something else.
const SYNONYMS: &[(&str, &str)] = &[
    ("params", "parameters"),
    ("param", "parameters"),
    ("hyperparameters", "parameters"),
    ("search_space", "parameters"),
    ("grid", "parameters"),
    ("axes", "parameters"),
    ("objective", "metric"),
    ("cmd", "command"),
    ("run", "command"),
    ("script", "program"),
    ("environment", "env"),
    ("envs", "env"),
    ("constraints", "exclude"),
    ("skip", "exclude"),
    ("filter", "exclude"),
    ("seeds", "repeats"),
    ("repeat", "repeats"),
    ("replicates", "repeats"),
    ("dataset", "data"),
    ("results", "output"),
    ("max_trials", "run_cap"),
    ("time_limit", "timeout"),
    ("retries", "retry"),
    ("memory", "mem"),
    ("ram", "mem"),
    ("cpus", "cpu"),
    ("cores", "cpu"),
    ("gpus", "gpu"),
    ("num", "steps"),
    ("count", "steps"),
    ("choices", "values"),
    ("options", "values"),
    ("low", "min"),
    ("high", "max"),
    ("start", "min"),
    ("stop", "max"),
    ("end", "max"),
    ("if", "when"),
    ("condition", "when"),
    ("direction", "goal"),
    ("mode", "goal"),
];

/// The entries of a map, each key one of those allowed there.
pub(super) struct Fields<'n> {
    entries: HashMap<&'n str, (&'n Key, &'n Tree)>,
    misspelt: Vec<String>,
    strange: bool,
}

impl<'n> Fields<'n> {
    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&'n Tree> {
        self.entries.get(key).map(|(_, tree)| *tree)
    }

    /// The place of `key`.
    pub(super) fn key(&self, key: &str) -> Option<&'n Range<usize>> {
        self.entries.get(key).map(|(key, _)| &key.span)
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether there are unknown keys, which have been reported.
    pub(super) fn strange(&self) -> bool {
        self.strange
    }

    /// Whether `key` is there under another name, which has been reported.
    pub(super) fn misspelt(&self, key: &str) -> bool {
        self.misspelt.iter().any(|meant| meant == key)
    }
}

/// What to write for a call of Python's that lists numbers; `None` for a text that is none.
fn called(text: &str) -> Option<String> {
    let (name, arguments) = text.strip_suffix(')')?.split_once('(')?;
    let numbers: Option<Vec<i64>> = arguments.split(',').map(|number| number.trim().parse().ok()).collect();
    let name = name.rsplit('.').next().unwrap_or(name);
    let (min, end, step) = match numbers.as_deref() {
        Some([end]) => (0, *end, 1),
        Some([min, end]) => (*min, *end, 1),
        Some([min, end, step]) => (*min, *end, *step),
        _ => (0, 0, 0),
    };
    let span = end.checked_sub(min).filter(|span| *span > 0 && step > 0);
    let Some(span) = span.filter(|_| ["range", "arange"].contains(&name)) else {
        let scale = if name.contains("log") || name.contains("geom") { ", scale: log" } else { "" };
        return Some(format!("`{{min: 1, max: 10, steps: 5{scale}}}` with your own numbers"));
    };
    let last = min + (span - 1) / step * step;
    Some(format!("`{{min: {min}, max: {last}, step: {step}}}`"))
}

impl Checker<'_> {
    /// The tree's own text, as it stands in the file.
    pub(super) fn raw(&self, tree: &Tree) -> &str {
        &self.source[tree.span.clone()]
    }

    /// The map `what`, whose keys are among `allowed`; without the keys that are not, which are errors.
    pub(super) fn fields<'n>(&mut self, what: &str, tree: &'n Tree, allowed: &[&str]) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &tree.kind else {
            let shape =
                allowed.first().map_or_else(String::new, |first| format!(", as in `{{{first}: ...}}`"));
            self.wrong(what, tree, &format!("a map{shape}"));
            return None;
        };
        let mut fields =
            Fields { entries: HashMap::with_capacity(entries.len()), misspelt: Vec::new(), strange: false };
        for (key, value) in self.unique(what, entries) {
            if allowed.contains(&key.text.as_str()) {
                fields.entries.insert(&key.text, (key, value));
            } else {
                fields.strange = true;
                fields.misspelt.extend(self.unknown_key(what, key, allowed));
            }
        }
        Some(fields)
    }

    /// Reports `key`; returns the key that was probably meant.
    fn unknown_key(&mut self, what: &str, key: &Key, allowed: &[&str]) -> Option<String> {
        let lower = key.text.to_lowercase().replace('-', "_");
        let synonym = SYNONYMS.iter().find(|(word, meant)| *word == lower && allowed.contains(meant));
        let near = synonym.map(|(_, meant)| *meant).or_else(|| nearest(&lower, allowed.iter().copied()));
        let known = list(allowed.iter().copied()).map_or_else(String::new, |(_, text)| text);
        let mut error =
            Diagnostic::error("sweep::unknown_key", format!("{what} has no key {}", shown(&key.text)))
                .at(&key.span)
                .help(match near {
                    Some(near) => format!("did you mean {}? known here: {known}", shown(near)),
                    None => format!("known here: {known}"),
                });
        error.label = Some("not known here".to_owned());
        self.push(error);
        near.map(str::to_owned)
    }

    /// The entries without those whose key has come before, which are errors.
    pub(super) fn unique<'n>(&mut self, what: &str, entries: &'n [(Key, Tree)]) -> Vec<(&'n Key, &'n Tree)> {
        let mut first: HashMap<&str, &Key> = HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match first.get(key.text.as_str()) {
                None => {
                    first.insert(&key.text, key);
                    kept.push((key, value));
                }
                Some(before) => self.push(
                    Diagnostic::error(
                        "sweep::duplicate_key",
                        format!("{what} has the key {} twice", shown(&key.text)),
                    )
                    .at(&key.span)
                    .label("again here")
                    .related(&before.span, "first here")
                    .help("keep one of the two"),
                ),
            }
        }
        kept
    }

    /// `what` is not `expected`.
    pub(super) fn wrong(&mut self, what: &str, tree: &Tree, expected: &str) {
        let got = self.describe(tree);
        let mut error =
            Diagnostic::error("sweep::wrong_type", format!("{what} is {got}, not {expected}")).at(&tree.span);
        if matches!(tree.kind, Kind::Null) {
            error.message = format!("{what} has no value: {expected} was expected");
            error.help = Some("give it a value, or remove the line".to_owned());
        }
        self.push(error.label(format!("expected {expected}")));
    }

    fn describe(&self, tree: &Tree) -> String {
        match &tree.kind {
            Kind::Null => "null".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Int(_) | Kind::Float(_) | Kind::Huge => format!("the number {}", shown(self.raw(tree))),
            Kind::Str(text) => format!("the text {}", shown(text)),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }

    /// Text that is neither empty nor too long and can be passed to a process.
    pub(super) fn text<'n>(&mut self, what: &str, tree: &'n Tree) -> Option<&'n str> {
        match &tree.kind {
            Kind::Str(text) if text.trim().is_empty() => {
                self.push(Diagnostic::error("sweep::empty", format!("{what} is empty")).at(&tree.span));
                None
            }
            Kind::Str(text) => self.passable(what, text, tree).then_some(text),
            _ => {
                self.wrong(what, tree, "text");
                None
            }
        }
    }

    /// Text, or a number or boolean as it stands in the file.
    pub(super) fn scalar(&mut self, what: &str, tree: &Tree) -> Option<String> {
        match &tree.kind {
            Kind::Str(text) => self.passable(what, text, tree).then(|| text.clone()),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Huge => Some(self.raw(tree).to_owned()),
            _ => {
                self.wrong(what, tree, "text");
                None
            }
        }
    }

    fn passable(&mut self, what: &str, text: &str, tree: &Tree) -> bool {
        if text.contains('\0') {
            self.push(
                Diagnostic::error(
                    "sweep::nul",
                    format!("{what} holds a NUL character, which no process can be given"),
                )
                .at(&tree.span),
            );
            return false;
        }
        self.within(what, "bytes", (text.len(), limits::TEXT_BYTES), &tree.span)
    }

    /// Whether `count` is within its limit.
    pub(super) fn within(
        &mut self,
        what: &str,
        unit: &str,
        (count, most): (usize, usize),
        span: &Range<usize>,
    ) -> bool {
        if count > most {
            self.push(
                Diagnostic::error("sweep::limit", format!("{what} has {count} {unit}: the limit is {most}"))
                    .at(span),
            );
        }
        count <= most
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, what: &str, tree: &Tree) -> Option<bool> {
        if let Kind::Bool(value) = tree.kind {
            return Some(value);
        }
        self.wrong(what, tree, "true or false");
        None
    }

    /// One of `words`, in any case.
    pub(super) fn word(&mut self, what: &str, tree: &Tree, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(what, tree)?;
        let lower = text.trim().to_lowercase();
        let found = words.iter().find(|word| **word == lower).copied();
        if found.is_none() {
            let near = nearest(text, words.iter().copied());
            let known = list(words.iter().copied()).map_or_else(String::new, |(_, text)| text);
            self.push(
                Diagnostic::error("sweep::unknown_word", format!("{what} cannot be {}", shown(text)))
                    .at(&tree.span)
                    .help(match near {
                        Some(near) => format!("did you mean `{near}`? it is one of {known}"),
                        None => format!("it is one of {known}"),
                    }),
            );
        }
        found
    }

    /// The items of a list that is neither empty nor longer than `most`.
    pub(super) fn some_items<'n>(&mut self, what: &str, tree: &'n Tree, most: usize) -> Option<&'n [Tree]> {
        let items = self.items(what, tree, most)?;
        if items.is_empty() {
            self.push(Diagnostic::error("sweep::empty", format!("{what} is an empty list")).at(&tree.span));
            return None;
        }
        Some(items)
    }

    /// The items of a list that is not longer than `most`.
    pub(super) fn items<'n>(&mut self, what: &str, tree: &'n Tree, most: usize) -> Option<&'n [Tree]> {
        let Kind::List(items) = &tree.kind else {
            self.wrong(what, tree, "a list");
            if matches!(tree.kind, Kind::Str(_) | Kind::Int(_) | Kind::Float(_) | Kind::Bool(_)) {
                let raw = self.raw(tree).to_owned();
                let key = what.rsplit(['`', '.']).find(|part| !part.is_empty()).unwrap_or(what);
                self.help_last(match called(&raw) {
                    Some(example) => format!("a sweep file is no program: write {example}"),
                    None => format!("write `{key}: [{raw}]`"),
                });
            }
            return None;
        };
        self.within(what, "items", (items.len(), most), &tree.span).then_some(items.as_slice())
    }

    /// Any value that can be a parameter.
    pub(super) fn value(&mut self, what: &str, tree: &Tree) -> Option<Value> {
        Some(match &tree.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => Value::Int(*value),
            Kind::Float(_) => Value::Float(self.float(what, tree)?),
            Kind::Huge => {
                self.huge(what, tree);
                return None;
            }
            Kind::Str(text) => {
                if !self.passable(what, text, tree) {
                    return None;
                }
                Value::Str(text.clone())
            }
            Kind::List(items) => {
                let values: Vec<_> = items.iter().map(|item| self.value(what, item)).collect();
                Value::List(values.into_iter().collect::<Option<_>>()?)
            }
            Kind::Map(entries) => {
                let mut values = Vec::with_capacity(entries.len());
                for (key, value) in self.unique(what, entries) {
                    values.push((key.text.clone(), self.value(what, value)?));
                }
                Value::Map(values)
            }
        })
    }
}
