//! `method: random`: how many points are drawn, and from which distributions.
//! Invariant: a law that comes out of here has its numbers in range, and W&B's meaning of them.

use super::check::Context;
use super::diagnostic::{Checker, Diagnostic, shown, suggest};
use super::drawn::{Drawn, Law};
use super::fields::Fields;
use super::yaml::{Kind, Tree};
use super::{AxisValues, SequenceSpec};
use crate::value::Value;

/// Keys of a parameter that only a distribution has.
pub(super) const KEYS: &[&str] = &["mu", "sigma", "a", "b"];

/// Distributions of W&B's whose values only a random search can draw.
pub(super) const LAWS: &[&str] = &[
    "uniform",
    "log_uniform",
    "log_uniform_values",
    "inv_log_uniform",
    "inv_log_uniform_values",
    "q_log_uniform",
    "q_log_uniform_values",
    "normal",
    "q_normal",
    "log_normal",
    "q_log_normal",
    "beta",
    "q_beta",
];

/// Whether `method` is `random`, or most like it; what is neither that nor a grid is refused with what to
/// write instead.
pub(super) fn is_random(check: &mut Checker<'_>, fields: &Fields<'_>) -> bool {
    let Some(tree) = fields.get("method") else { return false };
    let Some(text) = check.text("`method`", tree) else { return false };
    match text.trim().to_lowercase().as_str() {
        "grid" => return false,
        "random" => return true,
        "bayes" => {
            let message =
                "`method: bayes` is not served: gridctl tries every point of a grid, or draws at random";
            check.push(Diagnostic::error("sweep::method", message).at(&tree.span).help(
                "write `method: random` and `trials: 100`; or `method: grid`, with `steps: 10` for continuous parameters",
            ));
            // Its parameters are those of a random search: what else is wrong with them is said at once.
            return true;
        }
        _ => {
            let message = format!("`method` cannot be {}: it is `grid` or `random`", shown(text));
            let known = ["grid", "random"];
            let error = Diagnostic::error("sweep::method", message).at(&tree.span);
            check.push(error.maybe_help(suggest(text, known.into_iter())));
        }
    }
    false
}

/// Whether `method` is W&B's search that is not served.
pub(super) fn is_bayes(fields: &Fields<'_>) -> bool {
    let Some(Kind::Str(text)) = fields.get("method").map(|tree| &tree.kind) else { return false };
    text.trim().eq_ignore_ascii_case("bayes")
}

/// What a file says of the number of its points.
pub(super) struct Amount {
    pub(super) sequence: Option<SequenceSpec>,
    /// At most so many trials of them.
    pub(super) run_cap: Option<u64>,
    /// Why no trial can be started, though all that may be drawn is known.
    pub(super) missing: Option<Diagnostic>,
}

/// Reads `trials`, `seed` and `run_cap`; a count that is given beside the file stands in for `trials`.
pub(super) fn amount(
    check: &mut Checker<'_>,
    fields: &Fields<'_>,
    context: &Context<'_>,
    random: bool,
) -> Amount {
    let mut whole = |key: &str, least| {
        let tree = fields.get(key)?;
        check.whole(&format!("`{key}`"), tree, least..=i64::MAX).map(i64::unsigned_abs)
    };
    let (run_cap, trials, seed) = (whole("run_cap", 1), whole("trials", 1), whole("seed", 0));
    let mut error = |message: String, key: &str, help: &str| {
        let mut error = Diagnostic::error("sweep::count", message).help(help);
        error.span = fields.key(key).cloned();
        check.push(error);
    };
    if !random {
        for key in ["trials", "seed"].into_iter().filter(|key| fields.has(key)) {
            error(
                format!("`{key}` belongs to `method: random`: a grid tries all its points"),
                key,
                "`run_cap: 100` bounds the trials of a grid; a parameter named `seed` stands in `parameters`",
            );
        }
        if context.count.is_some() {
            error(
                "`--count` says how many points `method: random` draws: a grid tries all its points"
                    .to_owned(),
                "method",
                "`run_cap: 100` in the file bounds the trials of a grid",
            );
        }
        return Amount { sequence: None, run_cap, missing: None };
    }
    let said = ["trials", "run_cap"].into_iter().find(|key| fields.has(key));
    if let (Some(key), Some(count)) = (said, context.count) {
        error(
            format!("`--count {count}` and `{key}` both say how many points there are"),
            key,
            "leave `--count` out, or take the key out of the file",
        );
    }
    let points = trials.or(run_cap).or(context.count);
    let missing = points.is_none().then(|| {
        let mut missing = Diagnostic::error(NO_COUNT, "nothing says how many points to draw")
            .help("write `trials: 100` (or W&B's `run_cap: 100`), or run it with `--count 100`");
        missing.span = fields.key("method").cloned();
        missing
    });
    Amount {
        sequence: Some(SequenceSpec { seed: seed.unwrap_or(0), points: points.unwrap_or(UNSAID) }),
        run_cap: run_cap.filter(|_| trials.is_some()),
        missing,
    }
}

/// The code of what is wrong where nothing says how many points there are.
pub const NO_COUNT: &str = "sweep::no_count";
/// So many points stand for a number that nothing says.
const UNSAID: u64 = 1 << 40;

/// Reads a parameter that a distribution draws; `None` if it is one that a grid has as well.
pub(super) fn law(check: &mut Checker<'_>, what: &str, fields: &Fields<'_>) -> Option<Option<AxisValues>> {
    let word = word(fields)?;
    let (quantized, plain) = match word.strip_prefix("q_") {
        Some(plain) => (true, plain),
        None => (false, word.as_str()),
    };
    let numbers: [(&str, Option<f64>); 2] = match plain {
        "normal" | "log_normal" => [("mu", Some(0.0)), ("sigma", Some(1.0))],
        "beta" => [("a", Some(1.0)), ("b", Some(1.0))],
        _ => [("min", None), ("max", None)],
    };
    let others = ["values", "value", "min", "max", "step", "steps", "q", "probabilities"];
    let mut strange = others.into_iter().chain(KEYS.iter().copied());
    let known = |key: &str| numbers.iter().any(|(known, _)| *known == key) || (quantized && key == "q");
    if let Some(key) = strange.find(|key| fields.has(key) && !known(key)) {
        let mut error =
            Diagnostic::error("sweep::conflict", format!("{what} is `{word}`, which has no `{key}`"))
                .help(format!("it has `{}` and `{}`", numbers[0].0, numbers[1].0));
        error.span = fields.key(key).cloned();
        check.push(error);
        return Some(None);
    }
    let mut number = |(key, default): (&str, Option<f64>)| match (fields.get(key), default) {
        (Some(tree), _) => check.number(&format!("{what}: `{key}`"), tree),
        (None, Some(default)) => Some(default),
        (None, None) if fields.misspelt(key) => None,
        (None, None) => {
            let mut error = Diagnostic::error("sweep::missing_key", format!("{what} has no `{key}`"))
                .help(format!("`{word}` needs `min` and `max`"));
            error.span = fields.key("distribution").or(fields.key("min")).or(fields.key("max")).cloned();
            check.push(error);
            None
        }
    };
    let (first, second) = (number(numbers[0]), number(numbers[1]));
    let whole_log = !fields.has("distribution") && plain == "log_uniform_values" && whole_bounds(fields);
    let q = match fields.get("q").filter(|_| quantized) {
        Some(tree) => Some(step(check, what, tree)),
        None => (quantized || whole_log).then_some(Some(Value::Int(1))),
    };
    let (Some(first), Some(second)) = (first, second) else { return Some(None) };
    if q == Some(None) {
        return Some(None);
    }
    let drawn = Drawn { law: named(plain, first, second), q: q.flatten() };
    Some(checked(check, what, fields, (&word, first, second), drawn))
}

/// The distribution that is meant; none where the values are those of a grid.
fn word(fields: &Fields<'_>) -> Option<String> {
    let whole_range = fields.has("step") || fields.has("steps");
    match fields.get("distribution") {
        Some(tree) => {
            let Kind::Str(text) = &tree.kind else { return None };
            let word = text.trim().to_lowercase();
            (LAWS.contains(&word.as_str()) || word == "q_uniform").then_some(word)
        }
        None if !(fields.has("min") && fields.has("max")) || whole_range || fields.has("q") => None,
        None => match fields.get("scale").map(|tree| &tree.kind) {
            Some(Kind::Str(scale)) if scale.eq_ignore_ascii_case("log") => {
                Some("log_uniform_values".to_owned())
            }
            _ => (!whole_bounds(fields)).then(|| "uniform".to_owned()),
        },
    }
}

fn whole_bounds(fields: &Fields<'_>) -> bool {
    ["min", "max"].iter().all(|key| matches!(fields.get(key).map(|tree| &tree.kind), Some(Kind::Int(_))))
}

/// `q`, which is above 0.
fn step(check: &mut Checker<'_>, what: &str, tree: &Tree) -> Option<Value> {
    let step = match tree.kind {
        Kind::Int(step) => Value::Int(step),
        _ => Value::Float(check.number(&format!("{what}: `q`"), tree)?),
    };
    if step.as_f64().is_some_and(|step| step > 0.0) {
        return Some(step);
    }
    let message = format!("{what}: `q` is {}: it must be above 0", shown(check.raw(tree)));
    check.push(
        Diagnostic::error("sweep::step", message)
            .at(&tree.span)
            .help("values are rounded to multiples of it"),
    );
    None
}

/// The law of this name, which is one of [`LAWS`] without `q_`, or `uniform`.
fn named(name: &str, first: f64, second: f64) -> Law {
    let (min, max) = (first, second);
    match name {
        "log_uniform" => Law::LogUniform { min, max },
        // Both say that the logarithm is spread evenly between those of the bounds.
        "log_uniform_values" | "inv_log_uniform_values" => Law::LogUniformValues { min, max },
        "inv_log_uniform" => Law::InvLogUniform { min, max },
        "normal" => Law::Normal { mu: first, sigma: second },
        "log_normal" => Law::LogNormal { mu: first, sigma: second },
        "beta" => Law::Beta { a: first, b: second },
        _ => Law::Uniform { min, max },
    }
}

/// The axis, unless its numbers are out of range; exponents that look like bounds get a warning.
fn checked(
    check: &mut Checker<'_>,
    what: &str,
    fields: &Fields<'_>,
    (word, first, second): (&str, f64, f64),
    drawn: Drawn,
) -> Option<AxisValues> {
    let exponents = matches!(drawn.law, Law::LogUniform { .. } | Law::InvLogUniform { .. });
    let at = |mut diagnostic: Diagnostic| {
        let keys = ["min", "mu", "a", "distribution"];
        diagnostic.span = keys.iter().find_map(|key| fields.key(key)).cloned();
        diagnostic
    };
    let is_range = fields.has("min");
    if is_range && first > second {
        let message = format!("{what} has `min` {first:?} above `max` {second:?}");
        check.push(at(Diagnostic::error("sweep::empty_range", message).help("swap the two")));
        return None;
    }
    if let Some(problem) = drawn.problem() {
        let help = match drawn.law {
            Law::LogUniformValues { .. } => {
                "a logarithm of zero or less does not exist: take a `min` above 0"
            }
            Law::LogUniform { .. } | Law::InvLogUniform { .. } => {
                "the bounds of `log_uniform` are exponents of e; `log_uniform_values` takes the bounds themselves"
            }
            Law::Beta { .. } => "`a` and `b` are between 0.001 and 10000",
            Law::Normal { .. } | Law::LogNormal { .. } => "`sigma` is 0 or more, and what is drawn is finite",
            _ => "take nearer bounds",
        };
        let message = format!("{what} ({word}): {problem}");
        check.push(at(Diagnostic::error("sweep::range", message).help(help)));
        return None;
    }
    if exponents && first > 0.0 && second <= 1.0 {
        let (low, high) = (drawn.value(0).to_string(), drawn.value(super::DRAWS - 1).to_string());
        let message = format!(
            "{what}: the bounds of `{word}` are exponents of e, so that its values lie between {low} and {high}"
        );
        let help = "if the bounds themselves are meant, write `distribution: log_uniform_values`";
        check.push(at(Diagnostic::warning("sweep::exponents", message).help(help)));
    }
    Some(AxisValues::Drawn(drawn))
}
