//! The options that a program declares with argparse, click and their like.
//! Invariant: only what is surely a declaration counts; of an option that is declared in two ways nothing is known.

/// Bytes before an option within which its declaration begins.
const BEFORE: usize = 400;
/// Bytes behind an option within which its declaration ends.
const BEHIND: usize = 1_000;
/// Words before an option that its declaration may have.
const MOST_WORDS: usize = 6;
/// What ends the name of whatever declares an option: `add_argument`, `click.option`, `typer.Option`.
const DECLARERS: [&str; 2] = ["argument", "option"];
/// Who does this takes options in either spelling.
const RESPELL: [&str; 3] = ["replace('_', '-')", "replace(\"_\", \"-\")", "token_normalize_func"];

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes<'t> {
    /// A value.
    Value,
    /// None: it is there or left out.
    Nothing,
    /// None: there is `--name`, and another for its opposite.
    NothingEither {
        /// The other, where it is not `--no-name`.
        other: Option<&'t str>,
        /// What it is where neither is given.
        default: bool,
    },
    /// A value of argparse's `type=bool`, which takes every text but the empty one for true.
    AnyTextAsTrue,
}

/// Whether a text declares any options.
pub(super) fn any(text: &str) -> bool {
    ["argument(", "option(", "Option("].iter().any(|call| text.contains(call)) && text.contains("--")
}

/// Whether a program turns underscores into dashes itself.
pub(super) fn respells(text: &str) -> bool {
    RESPELL.iter().any(|sign| text.contains(sign))
}

/// What `option` (`--lr`) takes where `texts` declare it; `None` if none does, or they differ.
pub(super) fn declared<'t>(texts: impl Iterator<Item = &'t str>, option: &str) -> Option<Takes<'t>> {
    let mut all = texts.flat_map(|text| {
        text.match_indices(option).filter_map(|(at, _)| takes(text, at, &text[at + option.len()..]))
    });
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// The value of the argument `name` (`default`) where `text` declares `option` (`--lr`), if it stands there as a text, a number
/// or a word.
pub(crate) fn argument_of<'t>(text: &'t str, option: &str, name: &str) -> Option<&'t str> {
    text.match_indices(option).find_map(|(at, _)| {
        let rest = &text[at + option.len()..];
        let quote = quote_before(text, at)?;
        call(tail(&text[..at - quote.len_utf8()], BEFORE)).filter(|_| rest.starts_with(quote))?;
        let (arguments, _) = arguments(head(rest, BEHIND))?;
        let value = values_of(arguments, name).next()?;
        match value.chars().next()? {
            quote @ ('"' | '\'') => value[1..].split(quote).next(),
            _ => value.split([',', ')', '\n', ' ', '#']).next(),
        }
        .filter(|value| !value.is_empty() && !value.contains(['(', '[', '{', '\n']))
    })
}

/// What the option at `at` takes, behind which `rest` stands; `None` if it is not declared there.
fn takes<'t>(text: &'t str, at: usize, rest: &'t str) -> Option<Takes<'t>> {
    let quote = quote_before(text, at)?;
    // `"--shuffle/--no-shuffle"`, as click has it.
    let other = rest.trim_start_matches(' ').strip_prefix('/').map(|other| other.trim_start_matches(' '));
    let other = other.filter(|other| other.starts_with("--")).and_then(|other| other.split(quote).next());
    if other.is_none() && !rest.starts_with(quote) {
        return None;
    }
    let (by, before) = call(tail(&text[..at - quote.len_utf8()], BEFORE))?;
    let (arguments, behind) = arguments(head(rest, BEHIND))?;
    let default = || {
        // What is no plain False may be true.
        let is_false = |value: &str| ["False", "None"].iter().any(|word| value.starts_with(word));
        values_of(arguments, "default").any(|value| !is_false(value))
            || before.contains("True")
            || behind.trim_start().starts_with("] = True")
    };
    if other.is_some() || arguments.contains("BooleanOptionalAction") {
        return Some(Takes::NothingEither { other: other.map(str::trim_end), default: default() });
    }
    let flags = ["\"store_true\"", "'store_true'", "\"store_false\"", "'store_false'"];
    if flags.iter().any(|flag| arguments.contains(flag)) || assigned(arguments, "is_flag", "True") {
        return Some(Takes::Nothing);
    }
    let is_argparse = by.ends_with("argument");
    Some(if is_argparse && assigned(arguments, "type", "bool") { Takes::AnyTextAsTrue } else { Takes::Value })
}

/// The quote before what stands at `at`, if that is no comment.
fn quote_before(text: &str, at: usize) -> Option<char> {
    let line = text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
    let is_comment = line.starts_with('#') || line.starts_with("//");
    text[..at].chars().next_back().filter(|c| !is_comment && matches!(c, '"' | '\''))
}

/// The name of the call that `before` is the beginning of, and its arguments so far: texts, words, numbers.
fn call(before: &str) -> Option<(&str, &str)> {
    let mut rest = before;
    for _ in 0..MOST_WORDS {
        rest = rest.trim_end_matches(|c: char| c.is_whitespace() || c == ',');
        if let Some(name) = rest.strip_suffix('(') {
            let name_in_lower = name.to_ascii_lowercase();
            let is_declarer = DECLARERS.iter().any(|end| name_in_lower.ends_with(end));
            return is_declarer.then(|| (name, &before[rest.len()..]));
        }
        rest = match rest.chars().next_back()? {
            quote @ ('"' | '\'') => rest[..rest.len() - 1].rsplit_once(quote)?.0,
            c if c.is_ascii_alphanumeric() || c == '.' => {
                rest.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "._".contains(c))
            }
            _ => return None,
        };
    }
    None
}

/// What stands up to the parenthesis that closes the call, and what stands behind it.
fn arguments(rest: &str) -> Option<(&str, &str)> {
    let (mut open, mut quote, mut escaped) = (0_usize, None, false);
    // The option itself ends with its quote, which begins no text.
    let from = rest.find(['"', '\''])? + 1;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at < from) {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => open += 1,
            (None, ')') if open == 0 => return Some((&rest[from..at], &rest[at + 1..])),
            (None, ')') => open -= 1,
            (None, _) => {}
        }
    }
    None
}

/// Whether `name=value` stands in `text`, with blanks or without.
fn assigned(text: &str, name: &str, value: &str) -> bool {
    values_of(text, name)
        .any(|behind| behind.strip_prefix(value).is_some_and(|rest| !rest.starts_with(joins)))
}

/// What stands behind each `name=` in `text`, with blanks or without.
fn values_of<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    text.match_indices(name).filter_map(move |(at, name)| {
        let behind = text[at + name.len()..].trim_start().strip_prefix('=').map(str::trim_start);
        behind.filter(|_| !text[..at].ends_with(joins))
    })
}

fn joins(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// The last bytes of `text`, whole characters of it.
fn tail(text: &str, bytes: usize) -> &str {
    let from = (text.len().saturating_sub(bytes)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[from.unwrap_or(text.len())..]
}

/// The first bytes of `text`, whole characters of it.
fn head(text: &str, bytes: usize) -> &str {
    let to = (0..=text.len().min(bytes)).rev().find(|at| text.is_char_boundary(*at));
    &text[..to.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_takes_what_its_own_declaration_says() {
        use Takes::{AnyTextAsTrue, Nothing, NothingEither, Value};
        let text = r#"
p.add_argument('--amp', action='store_true')
p.add_argument("--lr", type=float, help="rate (of learning), see store_true")
p.add_argument(
    "-b",
    '--use-bn',
    help="it's (a) help",
    action = "store_true",
)
p.add_argument("--nesterov", type=bool, default=False)
p.add_argument("--both", default=True, action=argparse.BooleanOptionalAction)
# p.add_argument("--gone", action="store_true")
subprocess.run(["other", "--passed"])
p.add_argument("--warm", default=DEFAULTS.warm, action=argparse.BooleanOptionalAction)
p.add_argument("--cold", default=False, action=argparse.BooleanOptionalAction)
@click.option("--shuffle/--no-shuffle", default=True)
@click.option("--plain / --no-plain")
@click.option("--quick", "-q", is_flag=True, type=bool)
@click.option("--real", type=bool)
fast: bool = typer.Option(True, "--fast/--slow")
slim: Annotated[bool, typer.Option("--slim/--no-slim")] = True
p.add_argument("--twice", action="store_true")
p.add_argument("--twice", type=str2bool)
p.add_argument("--open", action="store_true"
"#;
        let either = |other, default| Some(NothingEither { other, default });
        for (option, expected) in [
            ("--amp", Some(Nothing)),
            ("--lr", Some(Value)),
            ("--use-bn", Some(Nothing)),
            ("--nesterov", Some(AnyTextAsTrue)),
            ("--both", either(None, true)),
            ("--warm", either(None, true)),
            ("--cold", either(None, false)),
            ("--gone", None),
            ("--passed", None),
            ("--shuffle", either(Some("--no-shuffle"), true)),
            ("--plain", either(Some("--no-plain"), false)),
            ("--quick", Some(Nothing)),
            ("--real", Some(Value)),
            ("--fast", either(Some("--slow"), true)),
            ("--slim", either(Some("--no-slim"), true)),
            ("--twice", None),
            ("--open", None),
            ("--a", None),
        ] {
            assert_eq!(declared([text].into_iter(), option), expected, "{option}");
        }
        let argument = |option, name| argument_of(text, option, name);
        assert_eq!((argument("--lr", "type"), argument("--both", "default")), (Some("float"), Some("True")));
        assert_eq!((argument("--lr", "default"), argument("--gone", "action")), (None, None));
        let long = format!("p.add_argument(\"--x\", help='{}', action='store_true')", "é".repeat(900));
        assert_eq!(declared([long.as_str()].into_iter(), "--x"), None);
    }
}
