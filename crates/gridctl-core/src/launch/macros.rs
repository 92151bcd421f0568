//! The macros of `command:`, expanded to whole arguments.
//! Invariant: a macro for several arguments is an argument of its own; what a value contains is
//! never looked at for macros again.

use crate::spec::SweepSpec;
use crate::value::Value;

use super::{BaseEnv, Launch, LaunchError, fits, hydra, python};

/// A macro within a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Macro<'a> {
    /// One without an argument.
    Plain(Plain),
    /// `${envvar:NAME}`.
    EnvVar(&'a str),
    /// `${params.NAME}`.
    Param(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Env,
    Interpreter,
    Program,
    Args,
    ArgsNoHyphens,
    ArgsNoBooleanFlags,
    ArgsNoEquals,
    ArgsDashes,
    ArgsDashesNoBooleanFlags,
    ArgsHydra,
    ArgsJson,
    ArgsJsonFile,
}

/// Names as they are written, and whether they make several arguments.
const PLAIN: [(&str, Plain, bool); 12] = [
    ("env", Plain::Env, false),
    ("interpreter", Plain::Interpreter, false),
    ("program", Plain::Program, false),
    ("args", Plain::Args, true),
    ("args_no_hyphens", Plain::ArgsNoHyphens, true),
    ("args_no_boolean_flags", Plain::ArgsNoBooleanFlags, true),
    ("args_no_equals", Plain::ArgsNoEquals, true),
    ("args_dashes", Plain::ArgsDashes, true),
    ("args_dashes_no_boolean_flags", Plain::ArgsDashesNoBooleanFlags, true),
    ("args_hydra", Plain::ArgsHydra, true),
    ("args_json", Plain::ArgsJson, false),
    ("args_json_file", Plain::ArgsJsonFile, false),
];

/// What each macro becomes, for people.
pub const MACROS: [(&str, &str); 14] = [
    ("args", "a word for each parameter: --lr=0.1 --use_amp=true"),
    ("args_dashes", "the same with dashes for underscores: --use-amp=true"),
    ("args_no_equals", "two words for each: --lr 0.1 --use_amp true"),
    ("args_no_boolean_flags", "true is a flag alone, false is left out: --lr=0.1 --use_amp"),
    ("args_dashes_no_boolean_flags", "both: --lr=0.1 --use-amp"),
    ("args_no_hyphens", "for Hydra and its like: lr=0.1 use_amp=true"),
    ("args_hydra", "the same, quoted for Hydra, in a run directory of its own"),
    ("args_json", "all parameters as one JSON object, in one word"),
    ("args_json_file", "the path of a file that holds that object"),
    ("params.NAME", "one parameter, also within a word: --lr=${params.lr}"),
    ("envvar:NAME", "a variable of the trial's environment, GRID_* included"),
    ("program", "what `program:` says"),
    ("interpreter", "python"),
    ("env", "/usr/bin/env"),
];

/// The names of all macros.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    PLAIN.iter().map(|(name, ..)| *name).chain(["envvar:NAME", "params.NAME"])
}

/// A stretch of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MacroPiece<'a> {
    Text(&'a str),
    Macro(Macro<'a>),
}

impl<'a> Macro<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        if let Some(name) = name.strip_prefix("envvar:") {
            return Some(Self::EnvVar(name));
        }
        if let Some(name) = name.strip_prefix("params.") {
            return Some(Self::Param(name));
        }
        PLAIN.iter().find(|(known, ..)| *known == name).map(|(_, plain, _)| Self::Plain(*plain))
    }

    /// The macro's name, if it makes several arguments.
    fn list_name(self) -> Option<&'static str> {
        PLAIN.iter().find(|(_, plain, list)| *list && Self::Plain(*plain) == self).map(|(name, ..)| *name)
    }
}

fn is_list(plain: Plain) -> bool {
    Macro::Plain(plain).list_name().is_some()
}

/// Cuts `word` into text and macros. `${X}` of another name is left to a shell within a longer
/// word, and an error as a whole one.
fn pieces(word: &str) -> Result<Vec<MacroPiece<'_>>, LaunchError> {
    let mut found = Vec::new();
    let (mut text_from, mut from) = (0, 0);
    while let Some(open) = word[from..].find("${").map(|at| from + at) {
        let Some(close) = word[open..].find('}').map(|at| open + at) else { break };
        let name = &word[open + 2..close];
        from = match Macro::parse(name) {
            Some(known) => {
                if text_from < open {
                    found.push(MacroPiece::Text(&word[text_from..open]));
                }
                found.push(MacroPiece::Macro(known));
                text_from = close + 1;
                text_from
            }
            None if open == 0 && close + 1 == word.len() => return Err(unknown(name)),
            None => open + 2,
        };
    }
    if text_from < word.len() || found.is_empty() {
        found.push(MacroPiece::Text(&word[text_from..]));
    }
    if let [_, _, ..] = found.as_slice() {
        for piece in &found {
            if let MacroPiece::Macro(inner) = piece
                && let Some(name) = inner.list_name()
            {
                return Err(LaunchError::ListInWord { name, word: word.to_owned() });
            }
        }
    }
    Ok(found)
}

fn unknown(name: &str) -> LaunchError {
    let similar = known()
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known);
    LaunchError::UnknownMacro { name: name.to_owned(), similar }
}

/// Checks the macros of `spec.command` as far as that can be done before there is a trial.
///
/// # Errors
/// A macro or parameter of no known name, a macro for several arguments within one, `${program}`
/// without `program:`.
pub fn check_command(spec: &SweepSpec) -> Result<(), LaunchError> {
    for word in &spec.command {
        for piece in pieces(word)? {
            match piece {
                MacroPiece::Macro(Macro::Plain(Plain::Program)) if spec.program.is_none() => {
                    return Err(LaunchError::NoProgram);
                }
                MacroPiece::Macro(Macro::Param(name)) => is_param(spec, name)?,
                MacroPiece::Macro(_) | MacroPiece::Text(_) => {}
            }
        }
    }
    Ok(())
}

fn is_param(spec: &SweepSpec, name: &str) -> Result<(), LaunchError> {
    if spec.axes.iter().any(|axis| axis.name == name) {
        return Ok(());
    }
    let similar = spec
        .axes
        .iter()
        .map(|axis| (strsim::jaro_winkler(&axis.name, name), &axis.name))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone());
    Err(LaunchError::NoSuchParam { name: name.to_owned(), similar })
}

/// The arguments of `launch`, of which `trial` is the own environment.
pub(super) fn expand(
    launch: &Launch<'_>,
    trial: &[(String, String)],
    base: &BaseEnv,
) -> Result<Vec<String>, LaunchError> {
    let mut argv = launch.site.entrypoint.clone();
    if launch.frozen.spec.command.is_empty() {
        argv.extend(launch.site.own_command.iter().cloned());
    }
    let expansion = Expansion { launch, trial, base };
    for word in &launch.frozen.spec.command {
        match pieces(word)?.as_slice() {
            [MacroPiece::Macro(Macro::Plain(plain))] if is_list(*plain) => {
                expansion.list(*plain, &mut argv)?;
                if *plain == Plain::ArgsHydra && !names_run_dir(launch) {
                    let dir = Value::Str(launch.site.output_dir.clone());
                    argv.push(hydra::over("hydra.run.dir", &dir)?);
                }
            }
            pieces => argv.extend(expansion.word(pieces)?),
        }
    }
    let Some(first) = argv.first_mut() else { return Err(LaunchError::Empty) };
    if first == "gridctl" {
        first.clone_from(&launch.site.gridctl);
    }
    for (place, word) in argv.iter().enumerate() {
        fits(&format!("argument {place}"), word)?;
    }
    Ok(argv)
}

/// Whether the command or a parameter says where Hydra is to run. What else it would make of the time, trials that begin within
/// one second would share.
fn names_run_dir(launch: &Launch<'_>) -> bool {
    let names = |text: &str| text.contains("hydra.run") || text.contains("hydra.sweep");
    let words = launch.site.entrypoint.iter().chain(&launch.frozen.spec.command);
    words.map(String::as_str).any(names) || launch.grant.params.iter().any(|(name, _)| names(name))
}

struct Expansion<'a> {
    launch: &'a Launch<'a>,
    trial: &'a [(String, String)],
    base: &'a BaseEnv,
}

impl Expansion<'_> {
    /// A word of text and macros for single values; none at all where it names a parameter that
    /// this trial does not have.
    fn word(&self, pieces: &[MacroPiece<'_>]) -> Result<Option<String>, LaunchError> {
        let mut word = String::new();
        for piece in pieces {
            match piece {
                MacroPiece::Text(text) => word.push_str(text),
                MacroPiece::Macro(Macro::EnvVar(name)) => word.push_str(self.variable(name)?),
                MacroPiece::Macro(Macro::Param(name)) => match self.launch.grant.params.get(name) {
                    Some(value) => word.push_str(&self.text(value)),
                    None => {
                        is_param(&self.launch.frozen.spec, name)?;
                        return Ok(None);
                    }
                },
                MacroPiece::Macro(Macro::Plain(plain)) => word.push_str(&self.single(*plain)?),
            }
        }
        Ok(Some(word))
    }

    fn variable(&self, name: &str) -> Result<&str, LaunchError> {
        let own = self.trial.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        own.or_else(|| self.base.get(name)).ok_or_else(|| LaunchError::Unset { name: name.to_owned() })
    }

    fn prints_python(&self) -> bool {
        self.launch.frozen.spec.program.is_some()
    }

    fn text(&self, value: &Value) -> String {
        if self.prints_python() { python::text(value) } else { value.to_string() }
    }

    fn single(&self, plain: Plain) -> Result<String, LaunchError> {
        let Launch { frozen, site, .. } = *self.launch;
        Ok(match plain {
            Plain::Env => "/usr/bin/env".to_owned(),
            Plain::Interpreter => site.interpreter.clone(),
            Plain::Program => frozen.spec.program.clone().ok_or(LaunchError::NoProgram)?,
            Plain::ArgsJson => self.launch.params_json(),
            Plain::ArgsJsonFile => site.params_file.clone(),
            // `pieces` lets macros for several arguments stand alone only.
            Plain::Args
            | Plain::ArgsNoHyphens
            | Plain::ArgsNoBooleanFlags
            | Plain::ArgsNoEquals
            | Plain::ArgsDashes
            | Plain::ArgsDashesNoBooleanFlags
            | Plain::ArgsHydra => String::new(),
        })
    }

    /// A macro that is a word of its own and makes an argument for each parameter, or two, or none.
    fn list(&self, plain: Plain, argv: &mut Vec<String>) -> Result<(), LaunchError> {
        for (name, value) in self.launch.grant.params.iter() {
            // Null is an unset variable, and so an unset option; W&B's programs expect to see
            // `None`.
            if *value == Value::Null && plain != Plain::ArgsHydra && !self.prints_python() {
                continue;
            }
            let dashed = name.replace('_', "-");
            match (plain, value) {
                (Plain::ArgsHydra, value) => argv.push(hydra::over(name, value)?),
                (Plain::ArgsNoBooleanFlags | Plain::ArgsDashesNoBooleanFlags, Value::Bool(false)) => {}
                (Plain::ArgsDashesNoBooleanFlags, Value::Bool(true)) => argv.push(format!("--{dashed}")),
                (Plain::ArgsNoBooleanFlags, Value::Bool(true)) => argv.push(format!("--{name}")),
                (Plain::ArgsNoHyphens, value) => argv.push(format!("{name}={}", self.text(value))),
                (Plain::ArgsNoEquals, value) => argv.extend([format!("--{name}"), self.text(value)]),
                (Plain::ArgsDashes | Plain::ArgsDashesNoBooleanFlags, value) => {
                    argv.push(format!("--{dashed}={}", self.text(value)));
                }
                (_, value) => argv.push(format!("--{name}={}", self.text(value))),
            }
        }
        Ok(())
    }
}
