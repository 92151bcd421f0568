//! How a trial is started and retried: variables, resources, times, exit codes, places.
//! Invariant: no variable has two origins, no exit code two meanings, and no place is a device or the root of everything.

use std::collections::HashMap;
use std::ops::Range;

use super::axes::Draft;
use super::diagnostic::{Checker, Diagnostic, shown};
use super::units::{self, UnitError};
use super::yaml::{Kind, Tree};
use super::{Resources, Retry, limits, names};

/// What stands before parameters' names unless the file says otherwise.
pub(super) const DEFAULT_PREFIX: &str = "HP_";
/// Exit code that always asks for another try at no cost.
const EX_TEMPFAIL: i32 = 75;

/// Takes the verdict of [`units`] about the text of `tree`.
pub(super) fn unit<T>(
    check: &mut Checker<'_>,
    what: &str,
    tree: &Tree,
    result: Result<T, UnitError>,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let message = format!("{what} is {}: {}", shown(check.raw(tree)), error.problem);
            check.push(Diagnostic::error("sweep::unit", message).at(&tree.span).help(error.help));
            None
        }
    }
}

/// `timeout` and `deadline`.
pub(super) fn duration(check: &mut Checker<'_>, what: &str, tree: &Tree) -> Option<u64> {
    let text = check.scalar(what, tree)?;
    unit(check, what, tree, units::duration_ms(&text))
}

/// `env_prefix`.
pub(super) fn env_prefix(check: &mut Checker<'_>, tree: Option<&Tree>) -> String {
    let Some(tree) = tree else { return DEFAULT_PREFIX.to_owned() };
    let prefix = match &tree.kind {
        Kind::Str(text) => text,
        _ => {
            check.wrong("`env_prefix`", tree, "text");
            return DEFAULT_PREFIX.to_owned();
        }
    };
    if let Some(problem) = bad_prefix(prefix) {
        check.push(
            Diagnostic::error("sweep::env_prefix", format!("`env_prefix` is {}: {problem}", shown(prefix)))
                .at(&tree.span)
                .help("letters, digits and `_`, as in `HP_`; \"\" for none"),
        );
        return DEFAULT_PREFIX.to_owned();
    }
    prefix.clone()
}

/// What is wrong with a prefix, if anything.
pub(super) fn bad_prefix(prefix: &str) -> Option<&'static str> {
    if prefix.len() > limits::PREFIX_BYTES {
        Some("it is too long")
    } else if prefix.starts_with(|c: char| c.is_ascii_digit()) {
        Some("no variable begins with a digit")
    } else if !prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Some("it holds a character that no variable has")
    } else if !prefix.is_empty() && names::denied(&format!("{prefix}X")) {
        Some("such variables mean something else")
    } else {
        None
    }
}

/// `env` and `secrets`, as [`super::SweepSpec`] has them.
pub(super) type Variables = (Vec<(String, Option<String>)>, Vec<String>);

/// `env` and `secrets`; neither may set what the other, or a parameter, sets.
pub(super) fn variables(
    check: &mut Checker<'_>,
    env: Option<&Tree>,
    secrets: Option<&Tree>,
    drafts: &[Draft<'_>],
) -> Variables {
    let mut seen: HashMap<String, (Range<usize>, String)> = drafts
        .iter()
        .filter_map(|draft| {
            let origin = (draft.span.clone(), format!("the parameter {}", shown(&draft.name)));
            Some((draft.variable.clone()?, origin))
        })
        .collect();
    let env = env.map(|tree| env_entries(check, tree, &mut seen)).unwrap_or_default();
    let secrets = secrets.map(|tree| secret_names(check, tree, &mut seen)).unwrap_or_default();
    (env, secrets)
}

type Seen = HashMap<String, (Range<usize>, String)>;

fn env_entries(check: &mut Checker<'_>, tree: &Tree, seen: &mut Seen) -> Vec<(String, Option<String>)> {
    let Kind::Map(entries) = &tree.kind else {
        check.wrong("`env`", tree, "a map");
        check.help_last(
            "write `env: {MODE: fast, HF_TOKEN: }` (without a value: passed on from the caller)".to_owned(),
        );
        return Vec::new();
    };
    if !check.within("`env`", "variables", (entries.len(), limits::VARIABLES), &tree.span) {
        return Vec::new();
    }
    let mut env = Vec::with_capacity(entries.len());
    for (key, value) in check.unique("`env`", entries) {
        if !variable(check, "`env`", &key.text, &key.span, seen) {
            continue;
        }
        let text = match &value.kind {
            Kind::Null => None,
            _ => match check.scalar(&format!("`env`: {}", shown(&key.text)), value) {
                Some(text) => Some(text),
                None => continue,
            },
        };
        if text.as_ref().is_some_and(|text| !text.is_empty()) && names::secret(&key.text) {
            check.push(
                Diagnostic::warning(
                    "sweep::secret_in_file",
                    format!("the value of {} stands in the file, and will in the journal", shown(&key.text)),
                )
                .at(&key.span)
                .help(format!(
                    "if it is a secret, write `secrets: [{}]` and set it where you start gridctl",
                    key.text
                )),
            );
        }
        env.push((key.text.clone(), text));
    }
    env
}

fn secret_names(check: &mut Checker<'_>, tree: &Tree, seen: &mut Seen) -> Vec<String> {
    if matches!(tree.kind, Kind::Map(_)) {
        check.wrong("`secrets`", tree, "a list of names");
        check.help_last(
            "write the names alone, `secrets: [WANDB_API_KEY]`: values come from your environment".to_owned(),
        );
        return Vec::new();
    }
    let items = check.items("`secrets`", tree, limits::VARIABLES).unwrap_or_default();
    let mut secrets = Vec::with_capacity(items.len());
    for item in items {
        let Some(name) = check.text("a name in `secrets`", item) else { continue };
        if variable(check, "`secrets`", name, &item.span, seen) {
            secrets.push(name.to_owned());
        }
    }
    secrets
}

fn variable(check: &mut Checker<'_>, what: &str, name: &str, span: &Range<usize>, seen: &mut Seen) -> bool {
    if let Err(error) = names::variable(name) {
        let diagnostic = Diagnostic::error("sweep::variable", format!("{what}: {}", error.problem)).at(span);
        check.push(diagnostic.maybe_help(error.help));
        return false;
    }
    if let Some((before, origin)) = seen.get(name) {
        check.push(
            Diagnostic::error(
                "sweep::variable_collision",
                format!("{what} sets {}, as {origin} does", shown(name)),
            )
            .at(span)
            .related(before, "first here")
            .help("keep one of the two"),
        );
        return false;
    }
    seen.insert(name.to_owned(), (span.clone(), what.to_owned()));
    true
}

/// `resources`; one processor, no memory limit and no GPU by default.
pub(super) fn resources(check: &mut Checker<'_>, tree: Option<&Tree>) -> Resources {
    let mut resources = Resources { cpu_milli: 1_000, mem_mib: 0, gpus: 0 };
    let Some(fields) = tree.and_then(|tree| check.fields("`resources`", tree, &["cpu", "mem", "gpu"])) else {
        return resources;
    };
    if let Some(tree) = fields.get("cpu") {
        resources.cpu_milli = cpu(check, tree).unwrap_or(resources.cpu_milli);
    }
    if let Some(tree) = fields.get("mem")
        && !matches!(tree.kind, Kind::Int(0))
    {
        let size = check.scalar("`resources.mem`", tree);
        let mib = size.and_then(|text| unit(check, "`resources.mem`", tree, units::mebibytes(&text)));
        resources.mem_mib = mib.unwrap_or(0);
    }
    if let Some(tree) = fields.get("gpu") {
        let gpus = check.whole("`resources.gpu`", tree, 0..=i64::from(limits::GPUS));
        resources.gpus = gpus.and_then(|gpus| u32::try_from(gpus).ok()).unwrap_or(0);
    }
    resources
}

/// Whether `resources` says how many GPUs a trial gets.
pub(super) fn says_gpus(tree: Option<&Tree>) -> bool {
    let Some(Kind::Map(entries)) = tree.map(|tree| &tree.kind) else { return false };
    entries.iter().any(|(key, _)| key.text == "gpu")
}

/// `1`, `0.5`, or `500m` as Kubernetes writes it.
fn cpu(check: &mut Checker<'_>, tree: &Tree) -> Option<u32> {
    let milli = match &tree.kind {
        Kind::Str(text) => text.strip_suffix('m').and_then(|milli| milli.parse::<u32>().ok()),
        _ => None,
    };
    let cpus = match milli {
        Some(milli) => f64::from(milli) / 1_000.0,
        None => check.number("`resources.cpu`", tree)?,
    };
    unit(check, "`resources.cpu`", tree, units::cpu_milli(cpus))
}

/// `retry`; two retries by default.
pub(super) fn retry(check: &mut Checker<'_>, tree: Option<&Tree>) -> Retry {
    let mut retry = Retry { max_failures: 2, on_exit_codes: Vec::new(), fatal_exit_codes: Vec::new() };
    let keys = ["max_failures", "on_exit_codes", "fatal_exit_codes"];
    let Some(fields) = tree.and_then(|tree| check.fields("`retry`", tree, &keys)) else { return retry };
    if let Some(tree) = fields.get("max_failures") {
        let most = check.whole("`retry.max_failures`", tree, 0..=i64::from(limits::MAX_FAILURES));
        retry.max_failures = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(2);
    }
    let mut seen: HashMap<i32, Range<usize>> = HashMap::new();
    for (key, codes) in
        [("on_exit_codes", &mut retry.on_exit_codes), ("fatal_exit_codes", &mut retry.fatal_exit_codes)]
    {
        if let Some(tree) = fields.get(key) {
            *codes = exit_codes(check, key, tree, &mut seen);
        }
    }
    retry
}

fn exit_codes(
    check: &mut Checker<'_>,
    key: &str,
    tree: &Tree,
    seen: &mut HashMap<i32, Range<usize>>,
) -> Vec<i32> {
    let what = format!("`retry.{key}`");
    let items = check.items(&what, tree, 255).unwrap_or_default();
    let mut codes = Vec::with_capacity(items.len());
    for item in items {
        let Some(code) = check.whole(&what, item, 1..=255).and_then(|code| i32::try_from(code).ok()) else {
            continue;
        };
        if code == EX_TEMPFAIL && key == "fatal_exit_codes" {
            check.push(
                Diagnostic::error(
                    "sweep::exit_code",
                    format!("{what} holds {code}, which always asks for another try"),
                )
                .at(&item.span)
                .help("let the trainer exit with another code"),
            );
        } else if let Some(before) = seen.insert(code, item.span.clone()) {
            check.push(
                Diagnostic::error("sweep::exit_code", format!("the exit code {code} is listed twice"))
                    .at(&item.span)
                    .label("again here")
                    .related(&before, "first here")
                    .help("a code either asks for another try or is final"),
            );
        } else {
            codes.push(code);
        }
    }
    codes
}

/// Signals that a sweep file may name, with their numbers on Linux (signal(7)).
const SIGNALS: [(&str, i32); 10] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGCONT", 18),
    ("SIGURG", 23),
    ("SIGWINCH", 28),
];

/// The number of the signal that a checked sweep names as its `preempt_signal`.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// `preempt_signal`, as `SIGUSR1`.
pub(super) fn signal(check: &mut Checker<'_>, tree: &Tree) -> Option<String> {
    let text = check.text("`preempt_signal`", tree)?;
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if signal_number(&name).is_some() {
        return Some(name);
    }
    let why = if matches!(name.as_str(), "SIGKILL" | "SIGSTOP") {
        "which no trainer can catch"
    } else {
        "which is no signal to send"
    };
    check.push(
        Diagnostic::error("sweep::unknown_word", format!("`preempt_signal` is {}, {why}", shown(text)))
            .at(&tree.span)
            .help("`SIGUSR1` is the usual one"),
    );
    None
}

/// `workdir`: a directory on this machine.
pub(super) fn workdir(check: &mut Checker<'_>, tree: &Tree) -> Option<String> {
    let path = path(check, "`workdir`", tree)?;
    if path.contains("://") {
        let message = format!("`workdir` is {}: it is a directory on this machine", shown(&path));
        check.push(
            Diagnostic::error("sweep::path", message)
                .at(&tree.span)
                .help("an address can be `data` or `output`"),
        );
        return None;
    }
    Some(path)
}

/// `data` and `output`: a path, or an `s3://` address.
pub(super) fn place(check: &mut Checker<'_>, what: &str, tree: &Tree) -> Option<String> {
    let place = path(check, what, tree)?;
    if place.starts_with("s3://") {
        return super::cloud::s3(check, what, &place, tree).then_some(place);
    }
    let problem = if place.contains("://") {
        Some(("paths and `s3://` addresses are read", "copy it to a path or a bucket"))
    } else if forbidden(&place) {
        Some(("trials have no business there", "name a directory of your own"))
    } else {
        None
    };
    if let Some((problem, help)) = problem {
        let message = format!("{what} is {}: {problem}", shown(&place));
        check.push(Diagnostic::error("sweep::path", message).at(&tree.span).help(help));
        return None;
    }
    Some(place)
}

/// The root, the kernel's file systems, and sockets that hand out the machine.
fn forbidden(path: &str) -> bool {
    if !path.starts_with('/') {
        return false;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.is_empty()
        || matches!(parts[0], "proc" | "sys" | "dev") && parts.get(..2) != Some(&["dev", "shm"])
        || parts.last().is_some_and(|last| last.ends_with(".sock"))
}

fn path(check: &mut Checker<'_>, what: &str, tree: &Tree) -> Option<String> {
    let text = check.scalar(what, tree)?;
    if text.trim().is_empty() || text.contains(char::is_control) || text.len() > 4_096 {
        let message = format!("{what} is {}, which is no path", shown(&text));
        check.push(Diagnostic::error("sweep::path", message).at(&tree.span));
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_numbers_of_linux_and_no_other_names() {
        for (name, number) in [
            ("SIGUSR1", Some(10)),
            ("SIGUSR2", Some(12)),
            ("SIGTERM", Some(15)),
            ("SIGNONE", None),
            ("99", None),
        ] {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
