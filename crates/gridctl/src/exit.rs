//! How the command ends: exit codes that scripts rely on, and failures that say what to do.
//! Invariant: the numbers are part of the contract; a failure is rendered once, on stderr, by `diagnose`.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use gridctl_core::spec::Diagnostic;

/// What the process returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the target was reached.
    Ok = 0,
    /// Something else went wrong.
    Error = 1,
    /// The command line or the sweep file is wrong.
    Usage = 2,
    /// The person said no.
    Declined = 3,
    /// The master does not let the caller do that.
    NotAllowed = 4,
    /// No master answers.
    Unreachable = 5,
    /// The sweep is finished, and trials failed.
    FailedTrials = 10,
    /// The sweep was cancelled or stopped.
    Cancelled = 12,
    /// The sweep is paused and needs a person; of a worker: its machine does.
    Paused = 13,
    #[cfg(feature = "train")]
    /// Of `gridctl train`: its parameters or data are to blame, and to try again is in vain.
    BadParameters = 64,
    /// Ctrl-C, or SIGTERM.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A text that diagnostics point into, with the name that they show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceText {
    /// The file, as the person named it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the process returns.
    pub(crate) exit: Exit,
    /// What is said; nothing for a reader that went away.
    pub(crate) problems: Vec<Diagnostic>,
    /// What the problems point into.
    pub(crate) source: Option<Arc<SourceText>>,
}

impl Failure {
    /// A failure with one problem.
    pub(crate) fn new(exit: Exit, problem: Diagnostic) -> Self {
        Self { exit, problems: vec![problem], source: None }
    }

    /// A failure that is nobody's mistake in what was typed.
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Error, Diagnostic::error(code, message))
    }

    /// A failure by what was typed or by the sweep file.
    pub(crate) fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, Diagnostic::error(code, message))
    }

    /// The same, with what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(problem) = self.problems.last_mut() {
            problem.help = Some(help.into());
        }
        self
    }

    /// The same, with what to do about it if anything is known.
    pub(crate) fn maybe_help(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// The same, pointing into `source`.
    pub(crate) fn within(mut self, source: &Arc<SourceText>) -> Self {
        self.source = Some(Arc::clone(source));
        self
    }
}

impl From<io::Error> for Failure {
    /// An error of writing to stdout. A reader that went away (`| head`) is none.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Ok, problems: Vec::new(), source: None };
        }
        Self::error("output", format!("cannot write to stdout: {error}"))
    }
}

/// What a command comes to.
pub(crate) type Outcome = Result<Exit, Failure>;
