//! `gridctl fetch`: the files of a trial, copied from the results and compared with their hashes.
//! Invariant: nothing that is there already is changed.

use std::fs;
use std::path::{Path, PathBuf};

use gridctl_core::record::{Class, Record};
use gridctl_core::view::TrialDetails;
use gridctl_storage::results::{Manifest, Results};

use crate::cli::FetchArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::reason;
use crate::output::{self, number, sanitise};
use crate::settings::Settings;
use crate::source::{DataSource, chain, results, target};

use super::trials;

/// Runs the command.
pub(crate) fn run(args: &FetchArgs, settings: &Settings) -> Outcome {
    let (sweep, mut source) = target::open(args.sweep.as_deref(), settings)?;
    let details = source.trial(&sweep, &args.trial)?;
    trials::say_repeat(&mut source, &details, &args.trial);
    let (trial, sweep) = (details.trial.trial, &details.sweep);
    let published = published(&source, &details)?;
    let name = || PathBuf::from(format!("{sweep}-{}", trial.short()));
    let dir = settings.cwd.join(args.dir.clone().unwrap_or_else(name));
    make_empty(&dir)?;
    published.copy(&dir)?;
    output::say(format_args!(
        "{} of trial {} of {}, {} bytes: in {}",
        number::of(published.manifest.files.len() as u64, "file"),
        trial.short(),
        sanitise::line(sweep),
        number::count(published.manifest.bytes()),
        sanitise::line(&dir.display().to_string())
    ));
    Ok(Exit::Ok)
}

/// What a trial has left in the results.
pub(super) struct PublishedFiles {
    results: Results,
    manifest: Manifest,
}

impl PublishedFiles {
    /// Copies them into `dir`, which is empty.
    pub(super) fn copy(&self, dir: &Path) -> Result<(), Failure> {
        self.results.fetch_attempt(&self.manifest, dir).map_err(failed)
    }
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::error("fetch", chain(&error))
}

/// The files of a trial.
pub(super) fn published(source: &DataSource, details: &TrialDetails) -> Result<PublishedFiles, Failure> {
    let (trial, sweep) = (details.trial.trial, &details.sweep);
    let record = newest(&details.attempts).ok_or_else(|| {
        let message = format!("trial {} of {sweep} has left no files", trial.short());
        Failure::error("fetch::no_files", message).help(
            "a trainer leaves what it writes below $GRID_OUTPUT_DIR; `gridctl logs` shows what it printed",
        )
    })?;
    let results = results::of_attempt(source.dir.as_deref(), record)?;
    let manifest = results
        .attempt_manifest(record.files_of(), record.report.token)
        .map_err(failed)?
        .ok_or_else(|| {
            Failure::error(
                "fetch::no_files",
                format!("the files of trial {} are not in its results", trial.short()),
            )
        })?;
    Ok(PublishedFiles { results, manifest })
}

/// The newest attempt that left files; of those that succeeded, if any did.
fn newest(attempts: &[Record]) -> Option<&Record> {
    let with_files = attempts.iter().rev().filter(|record| record.report.files > 0);
    with_files.clone().find(|record| record.report.class == Class::Succeeded).or(with_files.clone().next())
}

pub(super) fn make_empty(dir: &Path) -> Result<(), Failure> {
    let shown = sanitise::line(&dir.display().to_string()).into_owned();
    let fail = |error: std::io::Error| {
        Failure::error("fetch::dir", format!("cannot make {shown}: {}", reason(&error)))
    };
    fs::create_dir_all(dir).map_err(fail)?;
    if fs::read_dir(dir).map_err(fail)?.next().is_some() {
        return Err(Failure::usage("fetch::dir", format!("{shown} is not empty"))
            .help("name another directory, which is not there yet"));
    }
    Ok(())
}
