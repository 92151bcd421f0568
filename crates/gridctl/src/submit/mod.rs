//! From a sweep file to what a master takes: resolved paths and variables, the code's hash, and a look at whether it can start here.
//! Invariant: everything that can be found wrong without starting a trial is found before anything is started or written.

pub(crate) mod declarations;
pub(crate) mod freeze;
pub(crate) mod image;
pub(crate) mod naming;
mod options;
pub(crate) mod pack;
pub(crate) mod precheck;
pub(crate) mod preview;
pub(crate) mod reads;

use std::ops::Range;
use std::sync::Arc;

use gridctl_core::points::{Count, Points};
use gridctl_core::spec::{Diagnostic, Parsed, SweepSpec};

use crate::cli::{AgainArgs, Changed};
use crate::datadir::DataDirChoice;
use crate::diagnose;
use crate::exit::{Exit, Failure, SourceText};
use crate::output;
use crate::sweepfile::SweepFile;

/// A sweep file that was read and checked.
#[derive(Debug)]
pub(crate) struct CheckedFile {
    /// The file.
    pub(crate) file: SweepFile,
    /// What it says.
    pub(crate) spec: SweepSpec,
    /// What its author should know.
    pub(crate) warnings: Vec<Diagnostic>,
    /// What there is to know of its name, where it is new.
    pub(crate) note: Option<String>,
    /// Why no trial of it can be started, though its grid is known.
    pub(crate) unstartable: Option<Diagnostic>,
}

/// Refuses flags that ask for two things at once.
pub(crate) fn check_again(again: &AgainArgs) -> Result<(), Failure> {
    let (flag, means, worth) = match (again.changed, again.retry_failed) {
        _ if !again.rerun => return Ok(()),
        (Some(Changed::Keep), _) => {
            ("--changed keep", "keeps every outcome, though the code has changed", "keep them")
        }
        (Some(Changed::Failed), _) => {
            ("--changed failed", "keeps the successes, though the code has changed", "keep those")
        }
        (Some(Changed::All), _) => {
            ("--changed all", "does so only where the code has changed", "do so only then")
        }
        (None, true) => {
            ("--retry-failed", "tries only those again that ended without success", "try only those")
        }
        (None, false) => return Ok(()),
    };
    Err(Failure::usage("run::again", format!("--rerun and {flag} are two different things")).help(format!(
        "--rerun tries every trial again, whatever is known: leave {flag} out for that; {flag} {means}: leave --rerun out to {worth}"
    )))
}

/// Reads and checks a sweep file, whose sweep is or will be in the data directory that is `wanted`; `count`
/// points are drawn, where it is a random search that does not say how many.
pub(crate) fn check(
    path: &std::path::Path,
    wanted: &DataDirChoice,
    count: Option<u64>,
) -> Result<CheckedFile, Failure> {
    let file = SweepFile::read(path)?;
    let context = gridctl_core::spec::Context { file_stem: &file.stem(), count };
    let parsed = gridctl_core::spec::parse(&file.bytes, &context).map_err(|errors| Failure {
        exit: Exit::Usage,
        problems: errors.0,
        source: Some(Arc::clone(&file.source)),
    })?;
    let Parsed { mut spec, warnings, named, unstartable } = parsed;
    let mut note = None;
    if !named {
        let found = naming::of(&file, &wanted.for_sweep(&file.base)?);
        spec.name = found.name;
        note = found.note;
    }
    check_points(&spec, &file)?;
    Ok(CheckedFile { file, spec, warnings, note, unstartable })
}

/// Refuses a sweep that has no trial.
fn check_points(spec: &SweepSpec, file: &SweepFile) -> Result<(), Failure> {
    let Ok(points) = Points::new(Arc::new(spec.clone())) else { return Ok(()) };
    if preview::count(&points) != Count::Exact(0) {
        return Ok(());
    }
    let problem = Diagnostic::error("sweep::no_points", "no point is left: every one is excluded")
        .help("`exclude` leaves out the points for which one of its conditions is true");
    let problem = at_key(problem, &file.source, "exclude");
    Err(Failure { exit: Exit::Usage, problems: vec![problem], source: Some(Arc::clone(&file.source)) })
}

impl CheckedFile {
    /// Shows the warnings on stderr.
    pub(crate) fn show_warnings(&self) {
        for warning in &self.warnings {
            diagnose::print(warning, Some(&self.file.source));
        }
        self.note.iter().for_each(output::say);
    }
}

/// Where a key of the file's top level stands, as far as it can be found.
pub(crate) fn key_span(source: &SourceText, key: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let is_key = line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(' ').starts_with(':'));
        if is_key {
            return Some(start..start + key.len());
        }
        start += line.len();
    }
    None
}

/// The diagnostic, at a key of the file if that can be found.
pub(crate) fn at_key(problem: Diagnostic, source: &SourceText, key: &str) -> Diagnostic {
    match key_span(source, key) {
        Some(span) => problem.at(&span),
        None => problem,
    }
}
