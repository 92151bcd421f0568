//! `command` and `program`: what a trial starts, and the macros in it.
//! Invariant: every macro is known, names a parameter that exists, and cannot put a value into a shell's or Python's source.

use std::ops::Range;

use super::diagnostic::{Checker, Diagnostic, nearest, shown};
use super::fields::Fields;
use super::relations::Names;
use super::yaml::{Kind, Tree};
use super::{limits, names};

/// Macros without an argument; `true`: it becomes several words, so it stands alone.
const MACROS: &[(&str, bool)] = &[
    ("env", false),
    ("interpreter", false),
    ("program", false),
    ("args", true),
    ("args_no_hyphens", true),
    ("args_no_boolean_flags", true),
    ("args_no_equals", true),
    ("args_dashes", true),
    ("args_dashes_no_boolean_flags", true),
    ("args_json", false),
    ("args_json_file", false),
    ("args_hydra", true),
];

const EXAMPLE: &str = "write `command: [python, train.py, \"${args}\"]`";

/// `command` and `program` of the checked sweep.
pub(super) struct Command {
    pub(super) words: Vec<String>,
    pub(super) program: Option<String>,
    /// What is wrong with a file of W&B's that names neither, for `wandb.agent` to call a function.
    pub(super) missing: Option<Diagnostic>,
}

/// Reads both keys; without `command`, `program` is started as W&B starts it.
pub(super) fn read(check: &mut Checker<'_>, names: &Names<'_, '_>, fields: &Fields<'_>) -> Command {
    let has_program = fields.has("program");
    let elsewhere = fields.has("image") || fields.misspelt("command") || fields.misspelt("program");
    let program = fields.get("program").and_then(|tree| check.text("`program`", tree).map(str::to_owned));
    let words = match (fields.get("command"), &program) {
        (Some(tree), _) => words(check, names, tree, has_program),
        (None, Some(program)) => vec!["python".to_owned(), program.clone(), "${args}".to_owned()],
        (None, None) => {
            if !elsewhere && !has_program {
                let nothing = Diagnostic::error("sweep::no_command", "nothing says what a trial starts")
                    .help(format!("{EXAMPLE} (or with whatever you start by hand)"));
                match fields.has("method") {
                    true => return Command { words: Vec::new(), program: None, missing: Some(nothing) },
                    false => check.push(nothing),
                }
            }
            Vec::new()
        }
    };
    Command { words, program, missing: None }
}

fn words(check: &mut Checker<'_>, names: &Names<'_, '_>, tree: &Tree, has_program: bool) -> Vec<String> {
    if let Kind::Str(text) = &tree.kind {
        one_string(check, tree, text);
        return Vec::new();
    }
    let items = check.some_items("`command`", tree, limits::COMMAND_WORDS).unwrap_or_default();
    let mut words: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        if let Some(name) = brace_map(item) {
            check.push(
                Diagnostic::error("sweep::unquoted_macro", format!("`${{{name}}}` must be quoted here"))
                    .at(&item.span)
                    .help(format!("quote it: \"${{{name}}}\"")),
            );
            continue;
        }
        let Some(word) = check.scalar("a word of `command`", item) else { continue };
        let script = script(&words);
        macros(check, names, (&word, item), script, has_program);
        words.push(word);
    }
    if let (Some(first), Some(item)) = (words.first(), items.first())
        && first.trim().is_empty()
    {
        check.push(
            Diagnostic::error("sweep::empty", "the first word of `command` is empty")
                .at(&item.span)
                .help(EXAMPLE),
        );
    }
    words
}

/// `entrypoint`: words that stand before the command, without macros. An empty list clears the image's own.
pub(super) fn entrypoint(check: &mut Checker<'_>, tree: &Tree, has_image: bool) -> Option<Vec<String>> {
    if !has_image {
        let help = "name the image under `image:`, or say under `command:` what a trial starts";
        let problem =
            Diagnostic::error("sweep::entrypoint", "`entrypoint` stands here, but there is no `image`");
        check.push(problem.at(&tree.span).help(help));
        return None;
    }
    let mut words = Vec::new();
    for item in check.items("`entrypoint`", tree, limits::COMMAND_WORDS)? {
        let word = check.scalar("a word of `entrypoint`", item)?;
        if word.contains("${") || (words.is_empty() && word.trim().is_empty()) {
            let message = format!("`entrypoint` has the word {}", shown(&word));
            let help = "its words are taken as they are: macros belong into `command`, which follows it";
            check.push(Diagnostic::error("sweep::entrypoint", message).at(&item.span).help(help));
            return None;
        }
        words.push(word);
    }
    Some(words)
}

/// Reads `serve`: the words of its command, in which no macro is expanded.
pub(super) fn serve(check: &mut Checker<'_>, tree: &Tree) -> Vec<String> {
    let Some(fields) = check.fields("`serve`", tree, &["command"]) else { return Vec::new() };
    let Some(command) = fields.get("command") else {
        let nothing = Diagnostic::error("sweep::no_command", "`serve` does not say what answers");
        check.push(nothing.at(&tree.span).help("write `serve: {command: [python3, predict.py]}`"));
        return Vec::new();
    };
    if let Kind::Str(text) = &command.kind {
        one_string(check, command, text);
        return Vec::new();
    }
    let items = check.some_items("`serve.command`", command, limits::COMMAND_WORDS).unwrap_or_default();
    items.iter().filter_map(|item| check.scalar("a word of `serve.command`", item)).collect()
}

/// `{args}` without its dollar, which YAML reads as a map with one empty key.
fn brace_map(tree: &Tree) -> Option<&str> {
    let Kind::Map(entries) = &tree.kind else { return None };
    let [(key, value)] = entries.as_slice() else { return None };
    matches!(value.kind, Kind::Null).then_some(key.text.as_str())
}

fn one_string(check: &mut Checker<'_>, tree: &Tree, text: &str) {
    let shell =
        text.contains(['|', '&', ';', '<', '>', '`', '\n', '*']) || text.replace("${", "").contains('$');
    let help = if shell {
        "a command is started without a shell; for a shell write `command: [sh, -c, '...']` and read the parameters from its environment (`$HP_LR`)".to_owned()
    } else {
        let words: Vec<String> = text.split_whitespace().map(quoted).collect();
        format!("write `command: [{}]`", words.join(", "))
    };
    check.push(
        Diagnostic::error("sweep::command_string", "`command` is one text, not a list of words")
            .at(&tree.span)
            .label("expected a list")
            .help(help),
    );
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '=');
    if word.chars().all(plain) { word.to_owned() } else { format!("\"{}\"", word.replace(['"', '\''], "")) }
}

/// Whose source the next word is, after `sh -c` and the like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Not,
    Shell,
    Other,
}

fn script(before: &[String]) -> Script {
    let Some(flag) = before.last() else { return Script::Not };
    let letters = flag.strip_prefix('-').unwrap_or("");
    if !letters.ends_with('c') || letters.len() > 4 || !letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return Script::Not;
    }
    let base = |word: &String| word.rsplit('/').next().unwrap_or(word).to_owned();
    for name in before.iter().map(base) {
        if matches!(name.as_str(), "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" | "fish") {
            return Script::Shell;
        }
        if name.starts_with("python") || name == "${interpreter}" {
            return Script::Other;
        }
    }
    Script::Not
}

/// A macro in a word: its bytes, and what stands between the braces; without an end for an unclosed one.
fn found(word: &str) -> Vec<(Range<usize>, Option<&str>)> {
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(at) = word[from..].find("${").map(|at| from + at) {
        let end = word[at..].find('}').map(|close| at + close);
        out.push((at..end.map_or(word.len(), |end| end + 1), end.map(|end| &word[at + 2..end])));
        from = end.map_or(word.len(), |end| end + 1);
    }
    out
}

fn macros(
    check: &mut Checker<'_>,
    names: &Names<'_, '_>,
    (word, tree): (&str, &Tree),
    script: Script,
    has_program: bool,
) {
    for (range, inner) in found(word) {
        let span = place(check, tree, word, &range);
        let Some(inner) = inner else {
            if script == Script::Not {
                let message = format!("{} does not end: `}}` is missing", shown(&word[range]));
                check.push(Diagnostic::error("sweep::macro", message).at(&span));
            }
            continue;
        };
        let known = known(inner);
        if script != Script::Not {
            if known {
                check.push(in_script(inner, script).at(&span));
            } else if script == Script::Other {
                unknown(check, names, inner, &span);
            }
            continue;
        }
        let alone = range.len() == word.len();
        if !alone && is_hydras(inner) {
            continue;
        }
        if !known {
            unknown(check, names, inner, &span);
        } else if !alone && MACROS.iter().any(|(name, several)| *name == inner && *several) {
            let message = format!("`${{{inner}}}` becomes several words, so it must stand alone");
            let help = format!(
                "make it a word of its own: `\"${{{inner}}}\"`, or use `${{params.NAME}}` for one value"
            );
            check.push(Diagnostic::error("sweep::macro", message).at(&span).help(help));
        } else if inner == "program" && !has_program {
            let message = "`${program}` stands here, but there is no `program`";
            check.push(
                Diagnostic::error("sweep::macro", message)
                    .at(&span)
                    .help("add `program: train.py`, or write its name here"),
            );
        } else {
            argument(check, names, inner, &span);
        }
    }
}

fn known(inner: &str) -> bool {
    MACROS.iter().any(|(name, _)| *name == inner)
        || inner.starts_with("envvar:")
        || inner.starts_with("params.")
}

/// Whether Hydra resolves it itself: a macro's start that is passed on as it is written.
fn is_hydras(inner: &str) -> bool {
    ["now:", "oc.", "hydra:", "hydra."].iter().any(|resolver| inner.starts_with(resolver))
}

/// Checks NAME of `${params.NAME}` and `${envvar:NAME}`.
fn argument(check: &mut Checker<'_>, names: &Names<'_, '_>, inner: &str, span: &Range<usize>) {
    if let Some(name) = inner.strip_prefix("params.")
        && !names.has(name)
    {
        names.find(check, &format!("`${{{inner}}}`"), name, span);
    }
    if let Some(name) = inner.strip_prefix("envvar:") {
        let own = name.starts_with("GRID_");
        if let Err(error) = names::variable(name)
            && !own
        {
            check.push(Diagnostic::error("sweep::macro", error.problem).at(span).maybe_help(error.help));
        }
    }
}

fn unknown(check: &mut Checker<'_>, names: &Names<'_, '_>, inner: &str, span: &Range<usize>) {
    let macros = MACROS.iter().map(|(name, _)| *name).chain(["envvar:NAME", "params.NAME"]);
    let upper =
        !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let help = if names.has(inner) {
        Some(format!("for the parameter write \"${{params.{inner}}}\""))
    } else if upper {
        Some(format!("for an environment variable write \"${{envvar:{inner}}}\""))
    } else if let Some(rest) = inner.strip_prefix("param.").or_else(|| inner.strip_prefix("parameters.")) {
        Some(format!("did you mean `${{params.{rest}}}`?"))
    } else {
        nearest(inner, macros.clone()).map(|near| format!("did you mean `${{{near}}}`?")).or_else(|| {
            let all: Vec<String> = macros.map(|name| format!("`${{{name}}}`")).collect();
            Some(format!("the macros are {}", all.join(", ")))
        })
    };
    check.push(
        Diagnostic::error(
            "sweep::unknown_macro",
            format!("there is no macro {}", shown(&format!("${{{inner}}}"))),
        )
        .at(span)
        .maybe_help(help),
    );
}

/// Values are never pasted into source text, where they could be taken for code.
fn in_script(inner: &str, script: Script) -> Diagnostic {
    let error = Diagnostic::error(
        "sweep::macro_in_script",
        format!("`${{{inner}}}` stands within a script, where a value could be taken for code"),
    );
    match script {
        Script::Shell => error.help(
            "read the variables that carry the parameters (`\"$HP_LR\"`), or pass words on: `[sh, -c, 'python train.py \"$@\"', sh, \"${args}\"]`",
        ),
        _ => error.help("read the variables that carry the parameters (`os.environ[\"HP_LR\"]`), or put the macro into a word of its own"),
    }
}

/// Where `range` of `word` lies in the file.
fn place(check: &Checker<'_>, tree: &Tree, word: &str, range: &Range<usize>) -> Range<usize> {
    let raw = check.raw(tree);
    raw.find(word).map_or_else(
        || tree.span.clone(),
        |at| tree.span.start + at + range.start..tree.span.start + at + range.end,
    )
}
