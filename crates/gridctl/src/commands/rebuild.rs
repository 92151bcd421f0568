//! `gridctl rebuild`: the journal of a data directory, made again from results.
//! Invariant: decides nothing; what did not come back is said, and told by the exit code.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::s3_url::{S3Url, SCHEME};
use gridctl_master::{RebuildFrom, RebuiltSweep};
use gridctl_storage::journal::Options;
use gridctl_storage::results::{CLAIM, Results};
use gridctl_storage::volume::{self, Volume, VolumeError};

use crate::cli::RebuildArgs;
use crate::datadir::DataDir;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::reason;
use crate::output;
use crate::settings::Settings;
use crate::source;

/// Runs the command.
pub(crate) fn run(args: &RebuildArgs, settings: &Settings) -> Outcome {
    let dir = settings.data_dir.for_sweep(&settings.cwd)?;
    let mut from = Vec::new();
    for place in &args.from {
        from.append(&mut results_in(place, &dir)?);
    }
    from.sort_by(|one, other| (&one.url, &one.sweep).cmp(&(&other.url, &other.sweep)));
    from.dedup();
    if let Some(twice) = from.iter().find(|it| from.iter().any(|other| is_rival(it, other))) {
        return Err(Failure::usage("rebuild::from", format!("`{}` is in two of them", twice.sweep))
            .help("a journal has one sweep of a name: name one of the directories"));
    }
    dir.make()?;
    let rebuilt = gridctl_master::rebuild(&dir.journal, &from, Options::default())
        .map_err(|error| source::master_failure(&error))?;
    if let Some(aside) = &rebuilt.set_aside {
        output::say(format_args!("the journal that was there is in {}", aside.display()));
    }
    for sweep in &rebuilt.sweeps {
        output::say(format_args!(
            "{}: {} of {} came back, and epoch {} has begun",
            sweep.name,
            output::number::of(sweep.records, "record"),
            output::number::of(sweep.versions, "version"),
            rebuilt.epoch
        ));
    }
    left_out(&rebuilt.sweeps)
}

fn is_rival(one: &RebuildFrom, other: &RebuildFrom) -> bool {
    one.sweep == other.sweep && one.url != other.url
}

/// What did not come back, as a failure.
fn left_out(sweeps: &[RebuiltSweep]) -> Outcome {
    let left_out: u64 = sweeps.iter().map(|sweep| sweep.left_out).sum();
    if left_out == 0 {
        return Ok(Exit::Ok);
    }
    for sweep in sweeps.iter().filter(|sweep| sweep.left_out > 0) {
        for reason in &sweep.reasons {
            output::say(format_args!("{}: left out: {}", sweep.name, output::sanitise::line(reason)));
        }
        let more = sweep.left_out - sweep.reasons.len() as u64;
        if more > 0 {
            output::say(format_args!("{}: left out: {more} more", sweep.name));
        }
    }
    let message =
        format!("the journal is whole again but for {left_out} that could not be read or did not fit");
    Err(Failure::error("rebuild::left_out", message)
        .help("`gridctl run FILE` tries again the trials that have no outcome now"))
}

/// The sweeps whose results are in `place`: a results volume, or one sweep's directory in it.
fn results_in(place: &Path, dir: &DataDir) -> Result<Vec<RebuildFrom>, Failure> {
    let shown = output::sanitise::short(&place.display().to_string(), 200);
    let none = || {
        Failure::usage("rebuild::from", format!("{shown} holds no results of a sweep")).help(
            "results are in <output>/<sweep>, by default gridctl-data/results/<sweep>: name either directory",
        )
    };
    if let Some(address) = place.to_str().filter(|text| text.starts_with(SCHEME)) {
        return results_in_s3(address, none);
    }
    let fail = |error: std::io::Error| {
        Failure::usage("rebuild::from", format!("cannot read {shown}: {}", reason(&error)))
    };
    let place = place.canonicalize().map_err(fail)?;
    let has_claim = |dir: &Path| dir.join(CLAIM).is_file();
    let sweeps: Vec<PathBuf> = if has_claim(&place) {
        vec![place]
    } else {
        let entries = fs::read_dir(&place).map_err(fail)?;
        entries.flatten().map(|entry| entry.path()).filter(|path| has_claim(path)).collect()
    };
    let from = |path: PathBuf| {
        let (root, sweep) = (path.parent()?.to_owned(), path.file_name()?.to_str()?.to_owned());
        let is_default = dir.results.canonicalize().is_ok_and(|results| results == root);
        root.to_str()?;
        let url = VolumeUrl::Dir(root);
        let output = if is_default { dir.output() } else { Output::At(url.clone()) };
        Some(RebuildFrom { output, url, sweep })
    };
    let found: Option<Vec<RebuildFrom>> = sweeps.into_iter().map(from).collect();
    found.filter(|found| !found.is_empty()).ok_or_else(none)
}

/// The same, of an address in S3.
fn results_in_s3(address: &str, none: impl Fn() -> Failure) -> Result<Vec<RebuildFrom>, Failure> {
    let url = source::results::s3_url(address)?;
    let failed = |error: VolumeError| {
        Failure::error("rebuild::from", source::chain(&error)).maybe_help(error.help().map(str::to_owned))
    };
    let from = |volume: VolumeUrl, sweep: String| RebuildFrom {
        output: Output::At(volume.clone()),
        url: volume,
        sweep,
    };
    let volume = |url: &S3Url| volume::open(&VolumeUrl::S3(url.clone())).map_err(failed);
    let has_claim = |open: &Arc<dyn Volume>, sweep: &str| match Results::of_name(Arc::clone(open), sweep) {
        Ok(_) => Ok(true),
        Err(VolumeError::NotFound { .. } | VolumeError::BadPath { .. }) => Ok(false),
        Err(error) => Err(failed(error)),
    };
    if let Some((above, sweep)) = url.split_last()
        && has_claim(&volume(&above)?, &sweep)?
    {
        return Ok(vec![from(VolumeUrl::S3(above), sweep)]);
    }
    let open = volume(&url)?;
    let mut found = Vec::new();
    for entry in open.list("").map_err(failed)?.into_iter().filter(|entry| entry.is_dir) {
        if has_claim(&open, &entry.name)? {
            found.push(from(VolumeUrl::S3(url.clone()), entry.name));
        }
    }
    Some(found).filter(|found| !found.is_empty()).ok_or_else(none)
}
