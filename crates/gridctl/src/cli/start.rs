//! What the commands take that help to begin, and to type less.
//! Invariant: the words behind `--` are the program's own and are never read here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write: a directory that is made if it is not there [default: here]
    pub(crate) dir: Option<PathBuf>,
    /// What to begin with [default: python]
    #[arg(long, value_enum, conflicts_with = "command")]
    pub(crate) template: Option<Template>,
    /// The name of the sweep file
    #[arg(long, value_name = "NAME", default_value = "sweep.yaml")]
    pub(crate) file: PathBuf,
    /// Your own program: it is run once with `--help`, and its options become axes
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// What a new sweep begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// A Python program with arguments, which needs nothing beside Python
    Python,
    /// The models that ship with gridctl: no program of your own
    Linfa,
    /// A shell script with variables
    Shell,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Of what
    #[arg(value_enum, default_value = "sweep")]
    pub(crate) of: SchemaOf,
}

/// What schemas there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Sweep files
    Sweep,
    /// What a master answers, and `-o json` prints
    Api,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// A directory for a page for each command [default: the one of gridctl itself, printed]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
