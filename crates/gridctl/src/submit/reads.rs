//! Whether anything reads the parameters: the command's macros, or a file of the code that names a variable of theirs.
//! Invariant: only looks, at files of bounded size and number; where it cannot see the code it says nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use gridctl_core::points::Points;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::spec::{Axis, Diagnostic};
use gridctl_core::value::Value;

use crate::workdir;

/// Bytes looked at, of one file and of all.
const FILE_BYTES: u64 = 4 << 20;
const ALL_BYTES: u64 = 64 << 20;
/// Words of whoever reads all parameters at once.
const READERS: [&str; 4] = ["GRID_PARAMS", "WANDB_SWEEP_PARAM_PATH", "wandb.config", "wandb.init"];
/// What a flag that takes no value is declared with.
const FLAGS: [&str; 3] = ["store_true", "store_false", "is_flag"];
/// Letters after an option's name within which its declaration says that it is a flag.
const DECLARATION: usize = 240;

/// Warns of parameters that nothing reads, and of values for flags that take none.
pub(crate) fn unread(frozen: &FrozenSweep, points: &Points) -> Vec<Diagnostic> {
    let spec = &frozen.spec;
    if spec.command.first().is_some_and(|first| first == "gridctl") {
        return Vec::new();
    }
    let code = match &frozen.workdir {
        Some(dir) => texts(Path::new(dir)),
        // All of the program is in the command.
        None if spec.command.iter().any(|word| word == "-c") => Texts { all: Vec::new(), cut: false },
        None => return Vec::new(),
    };
    let varied: Vec<&Axis> = spec.axes.iter().filter(|axis| axis.values.count() > 1).collect();
    let mut warnings = Vec::new();
    if !code.cut
        && !passes_all(&spec.command)
        && !code.has_any(&READERS)
        && !prefixed(&code, &spec.env_prefix)
    {
        let unread = |axis: &&&Axis| !names(&spec.command, axis) && !code.has_any(&variable(axis));
        let axes: Vec<&&Axis> = varied.iter().filter(unread).collect();
        warnings.extend(warning(&axes));
    }
    let with_values = ["${args}", "${args_dashes}"];
    if let Some(word) = spec.command.iter().find(|word| with_values.contains(&word.as_str())) {
        let booleans = spec.axes.iter().enumerate().filter(|(place, _)| takes_booleans(points, *place));
        let flags: Vec<&str> =
            booleans.map(|(_, axis)| axis.name.as_str()).filter(|name| code.declares_flag(name)).collect();
        warnings.extend(flag(&flags, word));
    }
    warnings
}

fn warning(axes: &[&&Axis]) -> Option<Diagnostic> {
    let first = axes.first()?;
    let names: Vec<String> = axes.iter().map(|axis| format!("`{}`", axis.name)).collect();
    let message = format!("nothing seems to read {}: every trial would do the same", names.join(", "));
    let variable = first.variable.as_deref().unwrap_or("GRID_PARAMS");
    Some(Diagnostic::warning("check::unread", message).help(format!(
        "no macro of `command` passes it on and no file of the code names {variable} or GRID_PARAMS: add \"${{args}}\" to \
         `command`, or read the variable"
    )))
}

/// `word` is the macro that gives each parameter a value.
fn flag(names: &[&str], word: &str) -> Option<Diagnostic> {
    let dashes = word == "${args_dashes}";
    let first = if dashes { names.first()?.replace('_', "-") } else { (*names.first()?).to_owned() };
    let message = format!("`--{first}` is declared as a flag without a value, and `{word}` gives it one");
    let instead = if dashes { "${args_dashes_no_boolean_flags}" } else { "${args_no_boolean_flags}" };
    let help = format!("write \"{instead}\": true is the flag alone, false leaves it out");
    Some(Diagnostic::warning("check::flag", message).help(help))
}

/// Whether a word of the command stands for all parameters.
fn passes_all(command: &[String]) -> bool {
    command.iter().any(|word| word.contains("${args") || READERS.iter().any(|reader| word.contains(reader)))
}

/// Whether a word of the command names the parameter or its variable.
fn names(command: &[String], axis: &Axis) -> bool {
    let param = format!("${{params.{}}}", axis.name);
    let variable = axis.variable.as_deref();
    command.iter().any(|word| word.contains(&param) || variable.is_some_and(|name| word.contains(name)))
}

fn variable(axis: &Axis) -> Vec<&str> {
    axis.variable.as_deref().into_iter().collect()
}

/// Whether the code makes variables' names out of their prefix (`"HP_" + name`).
fn prefixed(code: &Texts, prefix: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    !prefix.is_empty()
        && code
            .all
            .iter()
            .any(|text| text.match_indices(prefix).any(|(at, _)| ends(&text[at + prefix.len()..])))
}

fn takes_booleans(points: &Points, axis: usize) -> bool {
    if let Some(values) = points.spec().axes[axis].values.listed() {
        return values.iter().any(|value| matches!(value, Value::Bool(_)));
    }
    let most = points.axis_len(axis).min(4);
    (0..most).any(|place| matches!(points.axis_value(axis, place), Value::Bool(_)))
}

/// What the files of the code say.
struct Texts {
    all: Vec<String>,
    /// There is more than was looked at.
    cut: bool,
}

impl Texts {
    fn has_any(&self, words: &[&str]) -> bool {
        self.all.iter().any(|text| words.iter().any(|word| text.contains(word)))
    }

    /// Whether an option of this name is declared to be a flag.
    fn declares_flag(&self, name: &str) -> bool {
        let quoted = [name.to_owned(), name.replace('_', "-")].map(|name| format!("--{name}"));
        self.all.iter().any(|text| quoted.iter().any(|option| declares(text, option)))
    }
}

fn declares(text: &str, option: &str) -> bool {
    text.match_indices(option).any(|(at, _)| {
        let rest = &text[at + option.len()..];
        let end = rest.char_indices().nth(DECLARATION).map_or(rest.len(), |(end, _)| end);
        let rest = &rest[..end];
        let declaration = rest.split("add_argument").next().unwrap_or(rest);
        rest.starts_with(['"', '\'']) && FLAGS.iter().any(|word| declaration.contains(word))
    })
}

fn texts(dir: &Path) -> Texts {
    let (mut all, mut left) = (Vec::new(), ALL_BYTES);
    for path in workdir::code_files(dir) {
        if left == 0 {
            return Texts { all, cut: true };
        }
        let Ok(file) = File::open(&path) else { continue };
        let mut bytes = Vec::new();
        if file.take(FILE_BYTES.min(left)).read_to_end(&mut bytes).is_ok() {
            left -= bytes.len() as u64;
            all.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Texts { all, cut: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_known_by_its_own_declaration() {
        let text = "p.add_argument('--amp', action='store_true')\np.add_argument(\"--lr\", type=float)\np.add_argument('--use-bn',\n    help='x',\n    action=\"store_true\")";
        for (option, expected) in [("--amp", true), ("--lr", false), ("--use-bn", true), ("--a", false)] {
            assert_eq!(declares(text, option), expected, "{option}");
        }
    }
}
