//! What ties axes together: `when`, `exclude`, `zip`, `repeats`, and how many points that makes.
//! Invariant: every name in an expression is an axis, no `when` depends on itself, and the points can be counted in 63 bits.

use std::collections::HashMap;
use std::ops::Range;

use super::axes::Draft;
use super::diagnostic::{Checker, Diagnostic, shown, suggest};
use super::yaml::{Kind, Tree};
use super::{AxisValues, Repeats, limits};
use crate::expr::Expr;
use crate::value::Value;

/// The axes by name.
pub(super) struct Names<'d, 'n> {
    drafts: &'d [Draft<'n>],
    places: HashMap<&'d str, usize>,
}

impl<'d, 'n> Names<'d, 'n> {
    pub(super) fn new(drafts: &'d [Draft<'n>]) -> Self {
        let places = drafts.iter().enumerate().map(|(i, draft)| (draft.name.as_str(), i)).collect();
        Self { drafts, places }
    }

    /// The place of the axis `name`; else the error, at `span`.
    pub(super) fn find(
        &self,
        check: &mut Checker<'_>,
        what: &str,
        name: &str,
        span: &Range<usize>,
    ) -> Option<usize> {
        let place = self.places.get(name).copied();
        if place.is_none() {
            let known = self.drafts.iter().map(|draft| draft.name.as_str());
            check.push(
                Diagnostic::error(
                    "sweep::unknown_parameter",
                    format!("{what} names {}, which is no parameter", shown(name)),
                )
                .at(span)
                .label("not in `parameters`")
                .maybe_help(suggest(name, known)),
            );
        }
        place
    }

    /// The axis of which `name` is the first part, up to a character that no bare name has (`val/loss`, `a-b`).
    fn cut_short(&self, name: &str) -> Option<&str> {
        let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let all = self.drafts.iter().map(|draft| draft.name.as_str());
        all.into_iter()
            .find(|whole| whole.strip_prefix(name).is_some_and(|rest| rest.starts_with(|c| !bare(c))))
    }

    /// Whether the axis draws its values from a distribution.
    fn is_drawn(&self, place: usize) -> bool {
        matches!(self.drafts[place].values, Some(AxisValues::Drawn(_)))
    }

    /// Whether `name` is an axis.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }
}

/// Parses the expression in `tree` and checks its names.
fn expression(check: &mut Checker<'_>, names: &Names<'_, '_>, what: &str, tree: &Tree) -> Option<Expr> {
    let Kind::Str(text) = &tree.kind else {
        check.wrong(what, tree, "an expression in quotes");
        check.help_last("an expression looks like \"optimizer == 'sgd' and lr > 0.01\"".to_owned());
        return None;
    };
    let expr = match Expr::parse(text) {
        Ok(expr) => expr,
        Err(error) => {
            check.push(
                Diagnostic::error("sweep::expression", format!("{what}: {error}"))
                    .at(&within(check, tree, text, &error.span))
                    .maybe_help(error.help),
            );
            return None;
        }
    };
    let mut known = true;
    for (name, span) in expr.names().iter().zip(expr.name_spans()) {
        let span = within(check, tree, text, span);
        if names.find(check, what, name, &span).is_none() {
            known = false;
            if let Some(whole) = names.cut_short(name) {
                check.replace_help(format!("a name with such characters stands in backticks: `{whole}`"));
            }
        }
    }
    known.then_some(expr)
}

/// Where `span` of `text` lies in the file; the whole tree where quoting or folding has changed the text.
fn within(check: &Checker<'_>, tree: &Tree, text: &str, span: &Range<usize>) -> Range<usize> {
    let raw = check.raw(tree);
    let quote = usize::from(raw.starts_with(['"', '\'']));
    if raw.get(quote..quote + text.len()) != Some(text) || span.end > text.len() {
        return tree.span.clone();
    }
    let start = tree.span.start + quote;
    // At the end of the text there is nothing to point at but the last character.
    let end = text.trim_end().len();
    match text[..end].char_indices().next_back() {
        Some((last, _)) if span.start >= end => start + last..start + end,
        _ => start + span.start..start + span.end.max(span.start),
    }
}

/// The `when` of each axis, without those that depend on themselves, which are errors.
pub(super) fn whens(check: &mut Checker<'_>, names: &Names<'_, '_>) -> Vec<Option<Expr>> {
    let whens: Vec<Option<Expr>> = names
        .drafts
        .iter()
        .map(|draft| expression(check, names, &format!("`when` of {}", shown(&draft.name)), draft.when?))
        .collect();
    let edges: Vec<Vec<usize>> = whens.iter().map(|when| mentioned(when.as_ref(), &names.places)).collect();
    if let Some(cycle) = cycle(&edges) {
        let round: Vec<String> =
            cycle.iter().chain(cycle.first()).map(|i| shown(&names.drafts[*i].name)).collect();
        let message = format!("`when` goes in a circle: {}", round.join(" depends on "));
        let draft = &names.drafts[cycle[0]];
        let span = draft.when.map_or(&draft.span, |tree| &tree.span);
        check.push(
            Diagnostic::error("sweep::when_cycle", message)
                .at(span)
                .help("an axis exists or not by the values of others: one of these must have no `when`"),
        );
    }
    whens
}

/// The places of the axes that an expression mentions.
pub(super) fn mentioned(expr: Option<&Expr>, places: &HashMap<&str, usize>) -> Vec<usize> {
    expr.map_or_else(Vec::new, |expr| {
        expr.names().iter().filter_map(|name| places.get(name.as_str()).copied()).collect()
    })
}

/// A circle in a graph, if there is one; without recursion, so that its length costs no stack.
pub(super) fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut done = vec![false; edges.len()];
    for start in 0..edges.len() {
        let mut path: Vec<(usize, usize)> = Vec::new();
        let mut on_path = vec![false; if done[start] { 0 } else { edges.len() }];
        if !done[start] {
            path.push((start, 0));
            on_path[start] = true;
        }
        while let Some((tree, next)) = path.last_mut() {
            let tree = *tree;
            let Some(&target) = edges[tree].get(*next) else {
                done[tree] = true;
                on_path[tree] = false;
                path.pop();
                continue;
            };
            *next += 1;
            if on_path[target] {
                let from = path.iter().position(|(on, _)| *on == target).unwrap_or(0);
                return Some(path[from..].iter().map(|(on, _)| *on).collect());
            }
            if !done[target] {
                on_path[target] = true;
                path.push((target, 0));
            }
        }
    }
    None
}

/// Reads `exclude`: a list of expressions, or one.
pub(super) fn exclude(check: &mut Checker<'_>, names: &Names<'_, '_>, tree: &Tree) -> Vec<Expr> {
    if matches!(tree.kind, Kind::Str(_)) {
        return expression(check, names, "`exclude`", tree).into_iter().collect();
    }
    let items = check.items("`exclude`", tree, limits::EXPRESSIONS).unwrap_or_default();
    items.iter().filter_map(|item| expression(check, names, "`exclude`", item)).collect()
}

/// Reads `zip`: groups of axes of equal length.
pub(super) fn zip(check: &mut Checker<'_>, names: &Names<'_, '_>, tree: &Tree) -> Vec<Vec<usize>> {
    let items = check.items("`zip`", tree, limits::AXES).unwrap_or_default();
    if items.iter().any(|item| matches!(item.kind, Kind::Str(_))) {
        let raw = check.raw(tree).to_owned();
        let error =
            Diagnostic::error("sweep::wrong_type", "`zip` is a list of names, not of groups of names");
        check.push(error.at(&tree.span));
        check.help_last(if raw.starts_with('[') {
            format!("write `zip: [{raw}]`")
        } else {
            "write `zip: [[a, b]]`".to_owned()
        });
        return Vec::new();
    }
    let mut seen: HashMap<usize, Range<usize>> = HashMap::new();
    items.iter().filter_map(|item| group(check, names, item, &mut seen)).collect()
}

fn group(
    check: &mut Checker<'_>,
    names: &Names<'_, '_>,
    tree: &Tree,
    seen: &mut HashMap<usize, Range<usize>>,
) -> Option<Vec<usize>> {
    let items = check.some_items("a group of `zip`", tree, limits::AXES)?;
    let mut group: Vec<(usize, &Tree)> = Vec::with_capacity(items.len());
    for item in items {
        let name = check.scalar("a name in `zip`", item)?;
        let place = names.find(check, "`zip`", &name, &item.span)?;
        if let Some(before) = seen.insert(place, item.span.clone()) {
            let message = format!("`zip` names {} twice", shown(&name));
            let error =
                Diagnostic::error("sweep::zip", message).at(&item.span).related(&before, "first here");
            check.push(error.help("an axis walks with one group: join the groups, or remove it from one"));
            return None;
        }
        group.push((place, item));
    }
    if group.len() < 2 {
        let error =
            Diagnostic::error("sweep::zip", "a group of `zip` has one axis: it takes two to walk together");
        check.push(error.at(&tree.span));
        return None;
    }
    if let Some((place, item)) = group.iter().find(|(place, _)| names.is_drawn(*place)) {
        drawn(check, &names.drafts[*place].name, "walks with no other", item);
        return None;
    }
    let (first, first_tree) = group[0];
    for (place, item) in &group[1..] {
        same_length(check, names, (first, first_tree), (*place, item));
        same_when(check, names, (first, first_tree), (*place, item));
    }
    let places: Vec<usize> = group.into_iter().map(|(place, _)| place).collect();
    tuples(check, names, &places, tree);
    Some(places)
}

/// An axis without places of its own cannot be tied to others.
fn drawn(check: &mut Checker<'_>, name: &str, problem: &str, tree: &Tree) {
    check.push(
        Diagnostic::error(
            "sweep::drawn",
            format!("{} is drawn from a distribution: it {problem}", shown(name)),
        )
        .at(&tree.span)
        .help("list its `values`, or give it `step` or `steps`"),
    );
}

/// Values that walk together come together once only.
fn tuples(check: &mut Checker<'_>, names: &Names<'_, '_>, group: &[usize], tree: &Tree) {
    let lists: Vec<&[Value]> = group
        .iter()
        .filter_map(|place| match names.drafts[*place].values.as_ref()? {
            AxisValues::List(values) => Some(values.as_slice()),
            _ => None,
        })
        .collect();
    // Values of a range all differ.
    let Some(len) = lists.first().map(|list| list.len()) else { return };
    if lists.len() < group.len() || lists.iter().any(|list| list.len() != len) {
        return;
    }
    if let Some((before, again)) = first_repeated(&lists, len) {
        let shown: Vec<String> = lists.iter().map(|list| list[again].to_string()).collect();
        let message = format!(
            "values {} and {} of this group are the same: {}",
            before + 1,
            again + 1,
            shown.join(", ")
        );
        check.push(
            Diagnostic::error("sweep::duplicate_value", message)
                .at(&tree.span)
                .help("each point is tried once: remove one of the two from each axis"),
        );
    }
}

/// The first place of lists side by side whose values have come before, and where they have.
pub(super) fn first_repeated(lists: &[&[Value]], len: usize) -> Option<(usize, usize)> {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(len);
    for place in 0..len {
        let mut canonical = String::new();
        for list in lists {
            list.get(place)?.canonical(&mut canonical);
            canonical.push('\n');
        }
        if let Some(before) = seen.insert(canonical, place) {
            return Some((before, place));
        }
    }
    None
}

fn same_length(check: &mut Checker<'_>, names: &Names<'_, '_>, a: (usize, &Tree), b: (usize, &Tree)) {
    let count = |place: usize| names.drafts[place].values.as_ref().map(AxisValues::count);
    let (Some(first), Some(second)) = (count(a.0), count(b.0)) else { return };
    if first == second {
        return;
    }
    let [one, other] = [a.0, b.0].map(|place| &names.drafts[place]);
    check.push(
        Diagnostic::error(
            "sweep::zip",
            format!(
                "{} has {first} values and {} has {second}: axes that walk together have equally many",
                shown(&one.name),
                shown(&other.name)
            ),
        )
        .at(&b.1.span)
        .related(&one.span, format!("{first} values"))
        .related(&other.span, format!("{second} values")),
    );
}

/// Axes that walk together exist together.
fn same_when(check: &mut Checker<'_>, names: &Names<'_, '_>, a: (usize, &Tree), b: (usize, &Tree)) {
    let text = |place: usize| match names.drafts[place].when.map(|tree| &tree.kind) {
        Some(Kind::Str(text)) => Some(text.trim()),
        _ => None,
    };
    if text(a.0) != text(b.0) {
        let [one, other] = [a.0, b.0].map(|place| shown(&names.drafts[place].name));
        check.push(
            Diagnostic::error("sweep::zip", format!("{one} and {other} walk together, but `when` differs"))
                .at(&b.1.span)
                .help("give both the same `when`"),
        );
    }
}

/// Reads `repeats`: a number of seeds, or the name of an axis.
pub(super) fn repeats(check: &mut Checker<'_>, names: &Names<'_, '_>, tree: &Tree) -> Option<Repeats> {
    match &tree.kind {
        Kind::Str(name) => {
            let place = names.find(check, "`repeats`", name, &tree.span)?;
            if names.is_drawn(place) {
                drawn(check, name, "cannot be averaged over", tree);
                return None;
            }
            Some(Repeats::Axis(place))
        }
        Kind::Int(_) | Kind::Huge => {
            let seeds = check.whole("`repeats`", tree, 1..=i64::from(limits::SEEDS))?;
            u32::try_from(seeds).ok().map(Repeats::Seeds)
        }
        _ => {
            check.wrong("`repeats`", tree, "a number of seeds or the name of an axis");
            None
        }
    }
}

/// The axis of the repeats is averaged over, so nothing may depend on which of its values a point has.
pub(super) fn repeats_axis(
    check: &mut Checker<'_>,
    names: &Names<'_, '_>,
    place: usize,
    (zip, whens, exclude): (&[Vec<usize>], &[Option<Expr>], &[Expr]),
    tree: &Tree,
) {
    let draft = &names.drafts[place];
    let name = draft.name.as_str();
    let mentions = |expr: &Expr| expr.names().iter().any(|known| known == name);
    let problem = if zip.iter().any(|group| group.contains(&place)) {
        Some("it is in `zip`".to_owned())
    } else if draft.when.is_some() {
        Some("it has a `when`".to_owned())
    } else if let Some(i) = whens.iter().position(|when| when.as_ref().is_some_and(mentions)) {
        Some(format!("`when` of {} depends on it", shown(&names.drafts[i].name)))
    } else {
        exclude
            .iter()
            .find(|expr| mentions(expr))
            .map(|expr| format!("`exclude` depends on it: {}", shown(expr.source())))
    };
    if let Some(problem) = problem {
        check.push(
            Diagnostic::error(
                "sweep::repeats",
                format!("`repeats: {name}` averages over {}, but {problem}", shown(name)),
            )
            .at(&tree.span)
            .related(&draft.span, "the axis")
            .help("every point must have all of the repeats, or their means could not be compared"),
        );
    }
}

/// How many points there are, excluded ones and repeats counted; `None` beyond 63 bits.
pub(super) fn points(counts: &[u64], zip: &[Vec<usize>], repeats: Repeats) -> Option<u64> {
    let follows = |place: usize| zip.iter().any(|group| group[1..].contains(&place));
    let mut seeds = match repeats {
        Repeats::Seeds(seeds) => u64::from(seeds),
        Repeats::Axis(_) => 1,
    };
    let follower: Vec<bool> =
        if zip.is_empty() { Vec::new() } else { (0..counts.len()).map(follows).collect() };
    for (place, count) in counts.iter().enumerate() {
        if !follower.get(place).copied().unwrap_or(false) {
            seeds = seeds.checked_mul(*count).filter(|points| *points < limits::POINTS)?;
        }
    }
    Some(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_and_a_long_chain_is_none() {
        assert_eq!(cycle(&[vec![1], vec![2], vec![]]), None);
        assert_eq!(cycle(&[vec![1, 2], vec![2], vec![1]]), Some(vec![1, 2]));
        assert_eq!(cycle(&[vec![0]]), Some(vec![0]));
        let chain: Vec<Vec<usize>> = (0..1_000).map(|i| if i < 999 { vec![i + 1] } else { vec![] }).collect();
        assert_eq!(cycle(&chain), None);
    }

    #[test]
    fn s19_the_product_is_counted_without_overflow() {
        assert_eq!(points(&[100; 10], &[], Repeats::Seeds(1)), None);
        assert_eq!(points(&[10; 18], &[], Repeats::Seeds(1)), Some(10_u64.pow(18)));
        assert_eq!(points(&[3, 4, 3], &[vec![0, 2]], Repeats::Seeds(5)), Some(60));
        assert_eq!(points(&[1 << 53, 1 << 9], &[], Repeats::Seeds(2)), None);
    }
}
