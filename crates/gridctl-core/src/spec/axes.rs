//! `parameters:` to axes: which names, which variables, which values.
//! Invariant: an axis has at least one value, and no value twice unless it is zipped; no two axes share a name or a variable.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::diagnostic::{Checker, Diagnostic, shown, suggest};
use super::drawn::{Drawn, Law};
use super::fields::Fields;
use super::yaml::{Key, Kind, Tree};
use super::{AxisValues, limits, names, random, ranges, unique};
use crate::value::Value;

/// An axis while the file is checked: it keeps its place, and its name even where its values are refused.
pub(super) struct Draft<'n> {
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) variable: Option<String>,
    pub(super) span: Range<usize>,
    pub(super) when: Option<&'n Tree>,
    pub(super) was: Option<Value>,
    pub(super) values: Option<AxisValues>,
}

const KEYS: &[&str] = &[
    "values",
    "value",
    "min",
    "max",
    "step",
    "steps",
    "scale",
    "when",
    "was",
    "distribution",
    "q",
    "probabilities",
    "parameters",
];

const LISTED: &[&str] = &["categorical", "constant", "int_uniform", "q_uniform"];

/// Reads `parameters`; `prefix` is what variables begin with, `zip` says which axes may repeat a value,
/// `random` that values may be drawn.
pub(super) fn read<'n>(
    check: &mut Checker<'_>,
    tree: &'n Tree,
    prefix: &str,
    zip: Option<&Tree>,
    random: bool,
) -> Vec<Draft<'n>> {
    let zipped = zip.map(zipped).unwrap_or_default();
    let (drafts, listed, bytes, overflown) = (Vec::new(), 0, 0, false);
    let mut reader = Reader { check, prefix, zipped, random, drafts, listed, bytes, overflown };
    reader.group(tree, &mut Vec::new());
    let Reader { mut drafts, listed, bytes, .. } = reader;
    check.within("`parameters`", "listed values", (listed, limits::LISTED_VALUES), &tree.span);
    check.within("a point of `parameters`", "bytes", (bytes, limits::POINT_BYTES), &tree.span);
    unique::names(check, &drafts);
    unique::variables(check, &mut drafts);
    drafts
}

/// The names that stand in the groups of `zip`.
fn zipped(zip: &Tree) -> HashSet<&str> {
    fn items(tree: &Tree) -> &[Tree] {
        if let Kind::List(items) = &tree.kind { items } else { &[] }
    }
    fn name(tree: &Tree) -> Option<&str> {
        if let Kind::Str(name) = &tree.kind { Some(name) } else { None }
    }
    items(zip).iter().flat_map(items).filter_map(name).collect()
}

struct Reader<'c, 's, 'n> {
    check: &'c mut Checker<'s>,
    prefix: &'c str,
    zipped: HashSet<&'c str>,
    random: bool,
    drafts: Vec<Draft<'n>>,
    listed: usize,
    bytes: usize,
    overflown: bool,
}

impl<'n> Reader<'_, '_, 'n> {
    /// One map of parameters, which lies at `path` within the nested ones.
    fn group(&mut self, tree: &'n Tree, path: &mut Vec<String>) {
        let Kind::Map(entries) = &tree.kind else {
            self.check.wrong("`parameters`", tree, "a map from names to values");
            self.check.help_last("write `parameters: {lr: {values: [0.1, 0.01]}}`".to_owned());
            return;
        };
        if entries.is_empty() {
            self.check.push(
                Diagnostic::error("sweep::no_parameters", "`parameters` is empty")
                    .at(&tree.span)
                    .help("name at least one: `lr: {values: [0.1, 0.01]}`"),
            );
        }
        for (key, value) in self.check.unique("`parameters`", entries) {
            path.push(key.text.clone());
            self.parameter(key, value, path);
            path.pop();
        }
    }

    fn parameter(&mut self, key: &'n Key, tree: &'n Tree, path: &mut Vec<String>) {
        let name = path.join(".");
        if let Err(error) = names::parameter(&name) {
            let diagnostic = Diagnostic::error("sweep::parameter_name", error.problem).at(&key.span);
            self.check.push(diagnostic.maybe_help(error.help));
            return;
        }
        if !matches!(tree.kind, Kind::Map(_)) {
            self.bare(&key.text, tree);
            self.keep(key, path, (None, None), None);
            return;
        }
        let what = format!("parameter {}", shown(&name));
        if !self.random && self.is_drawn(&name, tree) {
            self.check.fields(&what, tree, &[KEYS, random::KEYS].concat());
            self.keep(key, path, (None, None), None);
            return;
        }
        let drawn = if self.random { random::KEYS } else { &[] };
        let Some(fields) = self.check.fields(&what, tree, &[KEYS, drawn].concat()) else { return };
        if let Some(nested) = fields.get("parameters") {
            self.only_nested(&what, &fields, nested);
            self.group(nested, path);
            return;
        }
        self.nested_without_parameters(&key.text, tree);
        let values = self.values(&name, &fields, tree);
        let was = fields.get("was").and_then(|was| self.check.value(&format!("{what}: `was`"), was));
        self.keep(key, path, (fields.get("when"), was), values);
    }

    fn keep(
        &mut self,
        key: &Key,
        path: &[String],
        (when, was): (Option<&'n Tree>, Option<Value>),
        values: Option<AxisValues>,
    ) {
        if self.drafts.len() < limits::AXES {
            let (name, path, span) = (path.join("."), path.to_vec(), key.span.clone());
            let variable = Some(names::variable_of(self.prefix, &name));
            self.drafts.push(Draft { name, path, variable, span, when, was, values });
        } else if !self.overflown {
            self.overflown = true;
            let message = format!("there are more than {} parameters", limits::AXES);
            self.check.push(Diagnostic::error("sweep::limit", message).at(&key.span));
        }
    }

    /// `lr: 0.1` and `lr: [0.1, 0.2]`.
    fn bare(&mut self, name: &str, tree: &Tree) {
        let raw = self.check.raw(tree).trim();
        let short = raw.len() <= 60 && !raw.contains('\n');
        let (got, inner) = match &tree.kind {
            Kind::List(_) if short && raw.starts_with('[') => ("a list", format!("values: {raw}")),
            Kind::List(_) => ("a list", "values: [...]".to_owned()),
            Kind::Null => ("empty", "value: null".to_owned()),
            _ if short => ("a single value", format!("value: {raw}")),
            _ => ("a single value", "value: ...".to_owned()),
        };
        let message = format!("parameter {} is {got}, not a map that says what its values are", shown(name));
        self.check.push(
            Diagnostic::error("sweep::bare_parameter", message)
                .at(&tree.span)
                .help(format!("write `{name}: {{{inner}}}`")),
        );
    }

    /// Whether the parameter is drawn at random, which is an error that says what to write for a grid.
    fn is_drawn(&mut self, name: &str, tree: &Tree) -> bool {
        let Kind::Map(entries) = &tree.kind else { return false };
        let find = |wanted: &str| entries.iter().find(|(key, _)| key.text == wanted).map(|(_, value)| value);
        let Some(distribution) = find("distribution") else { return false };
        let Kind::Str(text) = &distribution.kind else { return false };
        let lower = text.to_lowercase();
        if !random::LAWS.contains(&lower.as_str()) {
            return false;
        }
        let bound = |wanted, default: &str| {
            find(wanted).map_or(default.to_owned(), |tree| self.check.raw(tree).to_owned())
        };
        let scale = if lower.contains("log") { ", scale: log" } else { "" };
        let (min, max) = (bound("min", "0.1"), bound("max", "1.0"));
        let exponents = lower.starts_with("log_uniform") && !lower.ends_with("values");
        let note = if exponents { " (with the bounds themselves, not their logarithms)" } else { "" };
        self.check.push(
            Diagnostic::error(
                "sweep::random",
                format!(
                    "parameter {} is drawn at random ({}): a grid needs a number of values",
                    shown(name),
                    shown(text)
                ),
            )
            .at(&distribution.span)
            .help(format!(
                "for a grid write `{{min: {min}, max: {max}, steps: 10{scale}}}`{note}, or list `values`; `method: random` draws it"
            )),
        );
        true
    }

    /// `parameters` beside other keys.
    fn only_nested(&mut self, what: &str, fields: &Fields<'_>, nested: &Tree) {
        if let Some(other) = KEYS.iter().find(|key| **key != "parameters" && fields.has(key)) {
            let diagnostic =
                Diagnostic::error("sweep::conflict", format!("{what} has both `parameters` and `{other}`"))
                    .at(fields.key(other).unwrap_or(&nested.span))
                    .help("nested parameters have values of their own; put this key beside those");
            self.check.push(diagnostic);
        }
    }

    /// Maps below a parameter that are no key of ours are probably nested parameters without `parameters`.
    fn nested_without_parameters(&mut self, name: &str, tree: &Tree) {
        let Kind::Map(entries) = &tree.kind else { return };
        let inner = entries
            .iter()
            .find(|(key, value)| !KEYS.contains(&key.text.as_str()) && matches!(value.kind, Kind::Map(_)));
        if let Some((key, _)) = inner {
            let help = format!(
                "nested parameters stand below `parameters`: `{name}: {{parameters: {{{}: ...}}}}`",
                key.text
            );
            self.check.replace_help(help);
        }
    }

    fn values(&mut self, name: &str, fields: &Fields<'n>, tree: &Tree) -> Option<AxisValues> {
        let what = &*format!("parameter {}", shown(name));
        if let Some(probabilities) = fields.get("probabilities") {
            return self.weighted(what, fields, probabilities, self.zipped.contains(name));
        }
        if let Some(drawn) = self.random.then(|| random::law(self.check, what, fields)).flatten() {
            self.bytes += 24;
            return drawn;
        }
        let families = [
            ("values", fields.has("values")),
            ("value", fields.has("value")),
            ("min", ["min", "max", "step", "steps", "scale", "q"].iter().any(|key| fields.has(key))),
        ];
        let mut present = families.iter().filter(|(_, there)| *there).map(|(name, _)| *name);
        let (first, second) = (present.next(), present.next());
        if let (Some(a), Some(b)) = (first, second) {
            let b = [b, "max", "step", "steps", "scale", "q"]
                .into_iter()
                .find(|key| fields.has(key))
                .unwrap_or(b);
            self.check.push(
                Diagnostic::error("sweep::conflict", format!("{what} has both `{a}` and `{b}`"))
                    .at(fields.key(b).unwrap_or(&tree.span))
                    .related(fields.key(a).unwrap_or(&tree.span), "first here")
                    .help("keep one: `values`, `value`, or a range with `min` and `max`"),
            );
            return None;
        }
        let quantum = self.distribution(what, fields, first)?;
        match first {
            Some("values") => self.listed(what, fields.get("values")?, self.zipped.contains(name)),
            Some("value") => {
                let value = self.check.value(what, fields.get("value")?)?;
                self.size(what, value.to_json().len(), fields.get("value")?)
                    .then(|| AxisValues::List(vec![value]))
            }
            Some(_) => {
                self.bytes += 24;
                ranges::read(self.check, what, fields, quantum)
            }
            None if fields.strange() => None,
            None => {
                self.check.push(
                    Diagnostic::error("sweep::no_values", format!("{what} has no values"))
                        .at(&tree.span)
                        .help(
                            "give it `values: [...]`, `value: ...`, or a range: `min: 0, max: 1, steps: 5`",
                        ),
                );
                None
            }
        }
    }

    /// Checks that `distribution` fits the keys; returns whether `q` is the step of a range. `None` is an error.
    fn distribution(&mut self, what: &str, fields: &Fields<'n>, family: Option<&str>) -> Option<bool> {
        let Some(tree) = fields.get("distribution") else {
            if let Some(q) = fields.key("q") {
                let diagnostic = Diagnostic::error(
                    "sweep::conflict",
                    format!("{what} has `q` without `distribution: q_uniform`"),
                )
                .at(q)
                .help("the distance between values is `step`");
                self.check.push(diagnostic);
                return None;
            }
            return Some(false);
        };
        let Kind::Str(text) = &tree.kind else {
            self.check.wrong(&format!("{what}: `distribution`"), tree, "text");
            return None;
        };
        let needed = match text.to_lowercase().as_str() {
            "categorical" | "categorical_w_probabilities" => "values",
            "constant" => "value",
            "int_uniform" | "q_uniform" => "min",
            _ => {
                self.check.push(
                    Diagnostic::error(
                        "sweep::unknown_word",
                        format!("{what} has the unknown distribution {}", shown(text)),
                    )
                    .at(&tree.span)
                    .maybe_help(suggest(text, LISTED.iter().copied())),
                );
                return None;
            }
        };
        if family != Some(needed) {
            let wants = if needed == "min" { "`min` and `max`" } else { &format!("`{needed}`") };
            self.check.push(
                Diagnostic::error("sweep::conflict", format!("{what}: `distribution: {text}` needs {wants}"))
                    .at(&tree.span)
                    .help("or leave `distribution` out: the other keys say what is meant"),
            );
            return None;
        }
        Some(text.eq_ignore_ascii_case("q_uniform"))
    }

    /// The values of a list, each once; an axis that is zipped keeps what it has twice.
    fn listed(&mut self, what: &str, tree: &Tree, zipped: bool) -> Option<AxisValues> {
        let items = self.check.some_items(&format!("{what}: `values`"), tree, limits::LISTED_VALUES)?;
        self.listed += items.len();
        let mut first: HashMap<String, usize> = HashMap::with_capacity(items.len());
        let mut values = Vec::with_capacity(items.len());
        let (mut sound, mut largest) = (true, 0);
        let mut again = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let Some(value) = self.check.value(what, item) else {
                sound = false;
                continue;
            };
            let mut canonical = String::new();
            value.canonical(&mut canonical);
            largest = largest.max(canonical.len());
            match first.get(&canonical) {
                Some(before) if !zipped => again.push((&items[*before], item)),
                known => {
                    let new = known.is_none();
                    values.push(value);
                    if new {
                        first.insert(canonical, i);
                    }
                }
            }
        }
        self.twice(what, &again);
        (self.size(what, largest, tree) && sound).then_some(AxisValues::List(values))
    }

    /// Values with a probability each, which a grid has no use for.
    fn weighted(
        &mut self,
        what: &str,
        fields: &Fields<'n>,
        weights: &Tree,
        zipped: bool,
    ) -> Option<AxisValues> {
        let others = ["value", "min", "max", "step", "steps", "scale", "q"]
            .into_iter()
            .chain(random::KEYS.iter().copied());
        let (other, values) = (others.into_iter().find(|key| fields.has(key)), fields.get("values"));
        let (Some(values), None) = (values, other) else {
            let diagnostic = Diagnostic::error(
                "sweep::conflict",
                format!("{what} has `probabilities` beside no `values` alone"),
            )
            .at(&weights.span)
            .help("write `{values: [a, b], probabilities: [0.9, 0.1]}`");
            self.check.push(diagnostic);
            return None;
        };
        if !self.random {
            let message = format!("{what} has `probabilities`, which have no effect in a grid");
            self.check.push(Diagnostic::warning("sweep::no_effect", message).at(&weights.span));
            return self.listed(what, values, zipped);
        }
        // Each value keeps its own probability, even where it is listed twice.
        let AxisValues::List(values) = self.listed(what, values, true)? else { return None };
        let items =
            self.check.some_items(&format!("{what}: `probabilities`"), weights, limits::LISTED_VALUES)?;
        let number = |item| self.check.number(&format!("{what}: `probabilities`"), item);
        let probabilities = items.iter().map(number).collect::<Option<Vec<f64>>>()?;
        let (many, few) = (values.len(), probabilities.len());
        let drawn = Drawn { law: Law::Categorical { values, probabilities }, q: None };
        if let Some(problem) = drawn.problem() {
            let message = format!("{what}: {problem} ({many} values, {few} probabilities)");
            let help = "give each value one, none below 0, of a thousand values at most";
            self.check.push(Diagnostic::error("sweep::range", message).at(&weights.span).help(help));
            return None;
        }
        Some(AxisValues::Drawn(drawn))
    }

    /// Says that values are listed twice, at the first of them.
    fn twice(&mut self, what: &str, again: &[(&Tree, &Tree)]) {
        let Some((before, item)) = again.first() else { return };
        let (a, b) = (self.check.raw(before), self.check.raw(item));
        let same = if a == b { String::new() } else { format!(" ({} and {} are equal)", shown(a), shown(b)) };
        let more = match again.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more so"),
        };
        let message = format!("{what} has the value {} twice{same}{more}: it is kept once", shown(b));
        let diagnostic = Diagnostic::warning("sweep::duplicate_value", message)
            .at(&item.span)
            .label("again here")
            .related(&before.span, "first here")
            .help("remove one; for several tries of each point use `repeats`");
        self.check.push(diagnostic);
    }

    fn size(&mut self, what: &str, bytes: usize, tree: &Tree) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let fits = self.check.within(
            &format!("a value of {what}"),
            "bytes",
            (bytes, limits::VALUE_BYTES),
            &tree.span,
        );
        if !fits {
            self.check.help_last("put it into a file, and the file's name here".to_owned());
        }
        fits
    }
}
