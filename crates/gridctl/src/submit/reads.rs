//! Whether anything reads the parameters as they are given: the command's macros, a file of the code that names a variable of
//! theirs, the options that the program declares.
//! Invariant: only looks, at files of bounded size and number; where it cannot see the code it says nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gridctl_core::code::{NamedFiles, is_source};
use gridctl_core::points::Points;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::spec::{Axis, Diagnostic, SweepSpec};

use super::{declarations, options};
use crate::workdir;

/// Bytes looked at, of one file and of all.
const FILE_BYTES: u64 = 4 << 20;
const ALL_BYTES: u64 = 64 << 20;
/// Words of whoever reads all parameters at once.
const READERS: [&str; 4] = ["GRID_PARAMS", "WANDB_SWEEP_PARAM_PATH", "wandb.config", "wandb.init"];

/// Warns of parameters that nothing reads, and of options that are given otherwise than they are declared.
pub(crate) fn unread(frozen: &FrozenSweep, points: &Points) -> Vec<Diagnostic> {
    let spec = &frozen.spec;
    if spec.command.first().is_some_and(|first| first == "gridctl") {
        return Vec::new();
    }
    let code = match frozen.sources.workdir() {
        Some(dir) => texts(Path::new(dir)),
        // All of the program is in the command.
        None if spec.command.iter().any(|word| word == "-c") => Texts { all: Vec::new(), cut: false },
        None => return Vec::new(),
    };
    let mut warnings = unexpanded(spec);
    let program = code.of_program(spec);
    let varied: Vec<&Axis> = spec.axes.iter().filter(|axis| axis.values.count() > 1).collect();
    if !code.cut
        && !passes_all(&spec.command)
        && !code.has_any(&READERS)
        && !prefixed(&code, &spec.env_prefix)
    {
        let code_names = |axis: &Axis| {
            let variable = axis.variable.as_deref();
            variable.is_some_and(|variable| code.all.iter().any(|(_, text)| says(text, variable)))
        };
        let unread = |axis: &&&Axis| !names(&spec.command, axis) && !code_names(axis);
        let axes: Vec<&&Axis> = varied.iter().filter(unread).collect();
        let words = if is_hydra(&program) { "${args_hydra}" } else { "${args}" };
        warnings.extend(warning(&axes, words));
    }
    if is_hydra(&program) {
        warnings.extend(options_to_hydra(spec));
    } else {
        warnings.extend(options::warnings(points, &program));
    }
    warnings
}

/// Whether the program is an application of Hydra's, which takes `lr=1` and no option `--lr`.
fn is_hydra(program: &[&str]) -> bool {
    program.iter().any(|text| text.contains("@hydra.main") || text.contains("hydra.main("))
}

/// Warns of a macro that gives options to an application of Hydra's.
fn options_to_hydra(spec: &SweepSpec) -> Option<Diagnostic> {
    let gives_options = |word: &&String| {
        let fits = ["${args_hydra}", "${args_no_hyphens}", "${args_json}", "${args_json_file}"];
        word.starts_with("${args") && !fits.contains(&word.as_str())
    };
    let word = spec.command.iter().find(gives_options)?;
    let message =
        format!("the program is a Hydra application, which takes `name=value`, and `{word}` gives it");
    Some(Diagnostic::warning("check::option", format!("{message} otherwise")).help("write \"${args_hydra}\""))
}

/// Warns of variables in words of the command that no shell reads.
fn unexpanded(spec: &SweepSpec) -> Vec<Diagnostic> {
    // Behind `-c` stands what a shell, or another interpreter, reads itself.
    let is_read =
        |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with(['c', 'e']);
    if spec.command.iter().any(is_read) {
        return Vec::new();
    }
    let named = |name: &str| {
        spec.command
            .iter()
            .any(|word| word.contains(&format!("${{{name}}}")) || says(word, &format!("${name}")))
    };
    let warn = |word: &str, help: String| {
        let message = format!("`{word}` in `command` is not expanded: no shell reads it");
        Diagnostic::warning("check::unexpanded", message).help(help)
    };
    let axes = spec.axes.iter().filter_map(|axis| Some((axis, axis.variable.as_deref()?)));
    let axes = axes.filter(|(_, variable)| named(variable));
    let mut warnings: Vec<Diagnostic> = axes
        .map(|(axis, variable)| warn(&format!("${variable}"), format!("write \"${{params.{}}}\"", axis.name)))
        .collect();
    let grid = spec.command.iter().find(|word| word.contains("$GRID_") || word.contains("${GRID_"));
    warnings.extend(
        grid.map(|word| warn(word, "let the program read the variable, or start it with `sh -c`".to_owned())),
    );
    warnings
}

fn warning(axes: &[&&Axis], words: &str) -> Option<Diagnostic> {
    let first = axes.first()?;
    let names: Vec<String> = axes.iter().map(|axis| format!("`{}`", axis.name)).collect();
    let message = format!("nothing seems to read {}: every trial would do the same", names.join(", "));
    let variable = first.variable.as_deref().unwrap_or("GRID_PARAMS");
    Some(Diagnostic::warning("check::unread", message).help(format!(
        "no macro of `command` passes it on and no file of the code names {variable} or GRID_PARAMS: add \"{words}\" to \
         `command`, or read the variable"
    )))
}

/// Whether a word of the command stands for all parameters.
fn passes_all(command: &[String]) -> bool {
    command.iter().any(|word| word.contains("${args") || READERS.iter().any(|reader| word.contains(reader)))
}

/// Whether a word of the command names the parameter or its variable.
fn names(command: &[String], axis: &Axis) -> bool {
    let param = format!("${{params.{}}}", axis.name);
    let variable = axis.variable.as_deref();
    command.iter().any(|word| word.contains(&param) || variable.is_some_and(|name| says(word, name)))
}

/// Whether this name stands in the text, and not merely the beginning of a longer one.
fn says(text: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(name).any(|(at, _)| ends(&text[at + name.len()..]))
}

/// Whether the code makes variables' names out of their prefix (`"HP_" + name`).
fn prefixed(code: &Texts, prefix: &str) -> bool {
    !prefix.is_empty() && code.all.iter().any(|(_, text)| says(text, prefix))
}

/// What the files of the code say.
struct Texts {
    /// Their paths within the workdir, and what is in them.
    all: Vec<(PathBuf, String)>,
    /// There is more than was looked at.
    cut: bool,
}

impl Texts {
    fn has_any(&self, words: &[&str]) -> bool {
        self.all.iter().any(|(_, text)| words.iter().any(|word| text.contains(word)))
    }

    /// What declares the program's options: the files that the command names, or all of the code where they declare none;
    /// nothing where the command names no file of it.
    fn of_program(&self, spec: &SweepSpec) -> Vec<&str> {
        let (named, modules) = (NamedFiles::of(spec), modules(&spec.command));
        let is_named = |path: &Path| {
            modules.iter().any(|module| path == module) || path.to_str().is_some_and(|path| named.has(path))
        };
        let texts = |all: bool| {
            let files =
                self.all.iter().filter(move |(path, _)| if all { is_code(path) } else { is_named(path) });
            files.map(|(_, text)| text.as_str()).collect::<Vec<_>>()
        };
        let program = texts(false);
        if program.is_empty() || program.iter().any(|text| declarations::any(text)) {
            program
        } else {
            texts(true)
        }
    }
}

/// The files that `python -m NAME` may mean.
fn modules(command: &[String]) -> Vec<PathBuf> {
    let names = command.windows(2).filter(|pair| pair[0] == "-m").map(|pair| pair[1].replace('.', "/"));
    names.flat_map(|name| [format!("{name}.py").into(), format!("{name}/__main__.py").into()]).collect()
}

fn is_code(path: &Path) -> bool {
    path.to_str().is_some_and(is_source)
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
            let path = path.strip_prefix(dir).unwrap_or(&path).to_owned();
            all.push((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Texts { all, cut: false }
}
