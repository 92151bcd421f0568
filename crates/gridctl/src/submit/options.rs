//! Options that the command gives otherwise than the program declares them: with a value where it takes none, or in other letters.
//! Invariant: each warning says what to write instead, of which nothing else here would warn.

use gridctl_core::points::Points;
use gridctl_core::spec::{Axis, Diagnostic};
use gridctl_core::value::Value;

use super::declarations::{self, Takes};

/// The most options that are named in one warning.
const MOST_NAMED: usize = 4;

/// A word of the command that gives an option for each parameter.
#[derive(Debug, Clone, Copy)]
struct Giving {
    word: &'static str,
    /// With dashes for the underscores of names.
    dashes: bool,
    /// True as a flag alone, false not at all.
    flags: bool,
}

const GIVING: [Giving; 5] = [
    Giving { word: "${args}", dashes: false, flags: false },
    Giving { word: "${args_no_boolean_flags}", dashes: false, flags: true },
    Giving { word: "${args_dashes}", dashes: true, flags: false },
    Giving { word: "${args_dashes_no_boolean_flags}", dashes: true, flags: true },
    Giving { word: "${args_no_equals}", dashes: false, flags: false },
];

impl Giving {
    fn spell(self, name: &str) -> String {
        format!("--{}", if self.dashes { name.replace('_', "-") } else { name.to_owned() })
    }
}

/// An option that the program declares, of a parameter.
#[derive(Debug)]
struct Declared<'a> {
    axis: &'a Axis,
    option: String,
    takes: Takes<'a>,
    /// False is among the values of the parameter; true is.
    values: [bool; 2],
}

/// Warns of them, where `program` is what declares the options.
pub(super) fn warnings(points: &Points, program: &[&str]) -> Vec<Diagnostic> {
    let spec = points.spec();
    let declared: Vec<Declared<'_>> = spec
        .axes
        .iter()
        .enumerate()
        .filter_map(|(place, axis)| declared(program, axis, booleans(points, place)))
        .collect();
    let is_there = |giving: &Giving| spec.command.iter().any(|word| word == giving.word);
    let Some(giving) = GIVING.into_iter().find(is_there) else {
        let given: Vec<&Declared<'_>> =
            declared.iter().filter(|option| gives_value(&spec.command, option)).collect();
        return with_values(&given, "`command`", "${args_no_boolean_flags}");
    };
    let misspelt = misspelt(&declared, giving, program);
    let needs_flag = |option: &&Declared<'_>| {
        option.values != [false; 2]
            && matches!(option.takes, Takes::Nothing | Takes::NothingEither { default: false, .. })
    };
    let flags = giving.flags || declared.iter().any(|option| needs_flag(&option));
    let dashes = giving.dashes ^ !misspelt.is_empty();
    let instead = GIVING.iter().find(|other| (other.dashes, other.flags) == (dashes, flags));
    let instead = instead.map_or(giving.word, |other| other.word);
    let mut warnings: Vec<Diagnostic> = spelling(&misspelt, &declared, giving, instead).into_iter().collect();
    let all: Vec<&Declared<'_>> = declared.iter().collect();
    if giving.flags {
        warnings.extend(left_out(&all, giving.word));
    } else {
        warnings.extend(with_values(&all, &format!("`{}`", giving.word), instead));
    }
    warnings
}

/// The option of a parameter, in the spelling that is declared.
fn declared<'a>(program: &[&'a str], axis: &'a Axis, values: [bool; 2]) -> Option<Declared<'a>> {
    let spelt = [axis.name.clone(), axis.name.replace('_', "-")].map(|name| format!("--{name}"));
    spelt.into_iter().find_map(|option| {
        let takes = declarations::declared(program.iter().copied(), &option)?;
        Some(Declared { axis, option, takes, values })
    })
}

/// Whether false is among the values of an axis, and whether true is.
fn booleans(points: &Points, axis: usize) -> [bool; 2] {
    let has = |wanted: bool| {
        let is = |value: &Value| *value == Value::Bool(wanted);
        match points.spec().axes[axis].values.listed() {
            Some(values) => values.iter().any(is),
            None => (0..points.axis_len(axis).min(4)).any(|place| is(&points.axis_value(axis, place))),
        }
    };
    [has(false), has(true)]
}

/// Whether a word of the command gives the option, and the parameter as its value.
fn gives_value(command: &[String], option: &Declared<'_>) -> bool {
    let (name, value) = (&option.option, format!("${{params.{}}}", option.axis.name));
    let whole = format!("{name}={value}");
    command.contains(&whole) || command.windows(2).any(|pair| pair[0] == *name && pair[1] == value)
}

/// Options that `giving` spells as the program does not.
fn misspelt<'d, 'a>(declared: &'d [Declared<'a>], giving: Giving, program: &[&str]) -> Vec<&'d Declared<'a>> {
    if program.iter().any(|text| declarations::respells(text)) {
        return Vec::new();
    }
    let is_misspelt = |option: &&Declared<'_>| {
        let given = giving.spell(&option.axis.name);
        option.option != given && !program.iter().any(|text| text.contains(&given))
    };
    declared.iter().filter(is_misspelt).collect()
}

fn spelling(
    misspelt: &[&Declared<'_>],
    declared: &[Declared<'_>],
    giving: Giving,
    instead: &str,
) -> Option<Diagnostic> {
    let first = misspelt.first()?;
    let message = format!(
        "the program declares {}, and `{}` gives `{}`",
        named(misspelt),
        giving.word,
        giving.spell(&first.axis.name)
    );
    let is_as_given = |option: &Declared<'_>| {
        option.axis.name.contains('_') && option.option == giving.spell(&option.axis.name)
    };
    // No macro spells some with dashes and others without.
    let help = if declared.iter().any(is_as_given) {
        let named: Vec<String> = declared.iter().filter_map(as_option).take(MOST_NAMED).collect();
        format!(
            "name the parameters as the program's options, {}, and write \"{}\"",
            named.join(", "),
            plain(instead)
        )
    } else {
        format!("write \"{instead}\"")
    };
    Some(Diagnostic::warning("check::option", message).help(help))
}

/// The name of a parameter by which a macro without dashes gives its option, if it has another one.
fn as_option(option: &Declared<'_>) -> Option<String> {
    let name = option.option.trim_start_matches('-');
    (name != option.axis.name).then(|| format!("`{name}` for `{}`", option.axis.name))
}

/// The macro that leaves names as they are.
fn plain(word: &str) -> String {
    word.replace("args_dashes", "args")
}

/// Warns of options that are given values by `word`, and take none or cannot tell them apart.
fn with_values(given: &[&Declared<'_>], word: &str, instead: &str) -> Vec<Diagnostic> {
    let boolean = given.iter().copied().filter(|option| option.values != [false; 2]);
    let (mut flags, mut either, mut blind) = (Vec::new(), Vec::new(), Vec::new());
    for option in boolean {
        match option.takes {
            Takes::Nothing | Takes::NothingEither { default: false, .. } => flags.push(option),
            Takes::NothingEither { .. } => either.push(option),
            Takes::AnyTextAsTrue if option.values[0] => blind.push(option),
            Takes::AnyTextAsTrue | Takes::Value => {}
        }
    }
    let warn = |options: &[&Declared<'_>], help: String| {
        let is = if options.len() == 1 { "is declared as a flag" } else { "are declared as flags" };
        let message = format!("{} {is} without a value, and {word} gives one", named(options));
        Diagnostic::warning("check::flag", message).help(help)
    };
    let mut warnings = Vec::new();
    if !flags.is_empty() {
        warnings
            .push(warn(&flags, format!("write \"{instead}\": true is the flag alone, false leaves it out")));
    }
    if let Some(first) = either.first() {
        warnings.push(warn(&either, by_name(first)));
    }
    if let Some(first) = blind.first() {
        let message =
            format!("`{}` is declared with `type=bool`, which takes `false` for true", first.option);
        let help = "every text but the empty one is true to Python: declare it with `type=lambda text: text.lower() == \"true\"`";
        warnings.push(Diagnostic::warning("check::flag", message).help(help));
    }
    warnings
}

/// Warns of an option that is true where it is left out, as `word` leaves it out for false.
fn left_out(declared: &[&Declared<'_>], word: &str) -> Option<Diagnostic> {
    let is_lost = |option: &&&Declared<'_>| {
        option.values[0] && matches!(option.takes, Takes::NothingEither { default: true, .. })
    };
    let first = declared.iter().find(is_lost)?;
    let option = &first.option;
    let message = format!("`{word}` leaves `{option}` out for false, and left out it is true, or may be");
    Some(Diagnostic::warning("check::flag", message).help(by_name(first)))
}

/// How a parameter chooses between an option and its opposite.
fn by_name(option: &Declared<'_>) -> String {
    let bare = option.option.trim_start_matches('-');
    let opposite = match option.takes {
        Takes::NothingEither { other: Some(other), .. } => other.trim_start_matches('-').to_owned(),
        _ => format!("no-{bare}"),
    };
    let name = &option.axis.name;
    format!(
        "write `{name}: {{values: [{bare}, {opposite}]}}`, and in `command` a word for each parameter, as \"--${{params.{name}}}\""
    )
}

/// Their names, for people.
fn named(options: &[&Declared<'_>]) -> String {
    let names: Vec<String> =
        options.iter().take(MOST_NAMED).map(|option| format!("`{}`", option.option)).collect();
    let more = options.len() - names.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &rest
}
