//! What is read from results volumes: a leaderboard without journal or master, from the records that were shipped; and where the
//! files of an attempt are. Invariant: only the newest version counts, and of each trial its newest generation; damaged lines are
//! said, not hidden.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use gridctl_core::id::TrialId;
use gridctl_core::leaderboard::{Board, Brief, Layout, Query};
use gridctl_core::output::VolumeUrl;
use gridctl_core::points::Points;
use gridctl_core::record::{Record, TrialState};
use gridctl_core::s3_url::{BadS3Url, S3Url};
use gridctl_core::spec::{Context, Diagnostic, Goal, SweepSpec};
use gridctl_core::view::{Leaderboard, LeaderboardQuery};
use gridctl_storage::results::{RecordLine, Results};
use gridctl_storage::volume::{self, VolumeError};

use super::fold;
use crate::diagnose;
use crate::exit::Failure;

/// So much of what is damaged is named.
const DAMAGE_SHOWN: usize = 5;

/// The results that have what this attempt published, by the journal in the data directory.
pub(crate) fn of_attempt(dir: Option<&Path>, record: &Record) -> Result<Results, Failure> {
    let unknown =
        || Failure::error("results", "where its results are is not known here").help("use --data-dir DIR");
    let dir = dir.ok_or_else(unknown)?;
    let core = fold::core(dir)?.ok_or_else(unknown)?;
    let name = publisher(record);
    let frozen = core.sweep_named(name).ok_or_else(unknown)?.frozen();
    let volume = volume::open(&frozen.output.volume_in(dir)).map_err(fail)?;
    let results = Results::new(volume, name, &frozen.uuid).map_err(fail)?;
    results.check_claim().map_err(fail)?;
    Ok(results)
}

/// The sweep whose results have what this attempt published: what was known already was computed elsewhere.
pub(crate) fn publisher(record: &Record) -> &str {
    record.known_from.as_ref().map_or(&record.sweep, |(sweep, _)| sweep)
}

fn fail(error: VolumeError) -> Failure {
    Failure::error("results", super::chain(&error)).maybe_help(error.help().map(str::to_owned))
}

/// The results of one sweep in a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResultsPlace {
    /// The volume.
    pub(crate) url: VolumeUrl,
    /// The sweep's name in it.
    pub(crate) sweep: String,
}

impl ResultsPlace {
    /// The results in the directory `dir`.
    pub(crate) fn in_dir(dir: &Path) -> Result<Self, Failure> {
        let dir = dir.canonicalize().map_err(|error| {
            let why = crate::input::reason(&error);
            Failure::error("results", format!("cannot read {}: {why}", dir.display()))
        })?;
        let name = dir.file_name().and_then(|name| name.to_str());
        let (Some(root), Some(name)) = (dir.parent(), name) else {
            return Err(Failure::usage("results", format!("{} is no directory of results", dir.display())));
        };
        Ok(Self { url: VolumeUrl::Dir(root.to_owned()), sweep: name.to_owned() })
    }

    /// The results at an address in S3.
    pub(crate) fn in_s3(address: &str) -> Result<Self, Failure> {
        let url = s3_url(address)?;
        let Some((volume, sweep)) = url.split_last() else {
            return Err(Failure::usage("results", format!("{url} is a whole bucket"))
                .help("the results of a sweep are in <output>/<sweep>: add the sweep's name"));
        };
        Ok(Self { url: VolumeUrl::S3(volume), sweep })
    }
}

impl fmt::Display for ResultsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.of_sweep(&self.sweep).fmt(f)
    }
}

/// The address, as a person wrote it.
pub(crate) fn s3_url(address: &str) -> Result<S3Url, Failure> {
    address.parse().map_err(|error: BadS3Url| {
        let shown = crate::output::sanitise::short(&error.text, 80);
        Failure::usage("s3::address", format!("`{shown}` is no address in S3: {}", error.why))
            .help("addresses look like `s3://my-bucket/some/prefix/`")
    })
}

/// The best points of the results at `place`, and whether all that was shipped there could be read.
pub(crate) fn leaderboard(
    place: &ResultsPlace,
    query: &LeaderboardQuery,
) -> Result<(Leaderboard, bool), Failure> {
    let name = &place.sweep;
    let volume = volume::open(&place.url).map_err(fail)?;
    let results = Results::of_name(volume, name).map_err(|error| match error {
        VolumeError::NotFound { .. } => {
            Failure::error("results", format!("{place} holds no results of a sweep"))
                .help("the results of a sweep are in <output>/<sweep>")
        }
        error => fail(error),
    })?;
    let kept = [results.versions().map_err(fail)?, results.whole_versions().map_err(fail)?];
    let Some(version) = kept.into_iter().flatten().max() else {
        return Err(Failure::error("results", format!("{place} holds no version of a sweep yet")));
    };
    let text = results.version(version).map_err(fail)?;
    let spec = gridctl_core::spec::parse(text.as_bytes(), &Context { file_stem: name, count: None })
        .map_err(|error| Failure::error("results", format!("versions/v{version}.yaml: {error}")))?
        .spec;
    let query = Query::parse(
        query.k as usize,
        usize::try_from(query.offset).unwrap_or(usize::MAX),
        &query.filter,
        &query.sort,
    )
    .map_err(|error| Failure::usage("leaderboard::query", error.to_string()))?;
    let (newest, damaged) = newest(&results, version, &spec)?;
    let is_whole = damaged.is_empty();
    say_damage(place, &damaged);
    let layout = Layout::of(&spec);
    let (metric, goal) = match layout.objective.clone() {
        Some((metric, goal)) => (Some(metric), goal),
        None => (None, Goal::Maximize),
    };
    let mut board = Board::new(layout, query);
    newest.into_values().for_each(|brief| board.add(brief));
    let page = board.finish().map_err(|error| Failure::usage("leaderboard::query", error.to_string()))?;
    let board = Leaderboard {
        sweep: spec.name,
        version,
        metric,
        goal,
        rows: page.rows,
        total: page.total,
        mixed_code: page.mixed_code,
    };
    Ok((board, is_whole))
}

/// Says what could not be read of the results at `place`.
pub(super) fn say_damage(place: &ResultsPlace, damaged: &[String]) {
    for what in damaged.iter().take(DAMAGE_SHOWN) {
        let message = format!("left out of what {place} holds: {what}");
        diagnose::print(&Diagnostic::warning("results::damaged", message), None);
    }
    if damaged.len() > DAMAGE_SHOWN {
        let message = format!("left out: {} more", damaged.len() - DAMAGE_SHOWN);
        diagnose::print(&Diagnostic::warning("results::damaged", message), None);
    }
}

/// What counts for a version of each trial, its newest generation; and what is damaged.
fn newest(
    results: &Results,
    version: u32,
    spec: &SweepSpec,
) -> Result<(BTreeMap<TrialId, Brief>, Vec<String>), Failure> {
    let standing = results.standing(version).map_err(fail)?;
    let points = Points::new(Arc::new(spec.clone()))
        .map_err(|error| Failure::error("results", format!("versions/v{version}.yaml: {error}")))?;
    let (mut newest, mut damaged) = (BTreeMap::new(), Vec::new());
    let mut add = |line: Result<RecordLine, VolumeError>| {
        let read = line.map_err(|error| super::chain(&error)).and_then(|line| {
            let record = line.record();
            record.map(|record| (record, line)).map_err(|error| super::chain(&error))
        });
        let (record, line) = match read {
            Ok(read) => read,
            Err(what) => return damaged.push(what),
        };
        if matches!(record.state, TrialState::Pending | TrialState::Leased) {
            return;
        }
        let mut brief = Brief::from(&record);
        if record.version != version {
            // It may count for this version too, at another place.
            if !standing.has(&line.journal, line.seq) {
                return;
            }
            let index = points.index_of_near(&brief.params, brief.seed(), Some(brief.index));
            let Some(index) = index else { return };
            (brief.index, brief.generation) = (index, 1);
        }
        let place = newest.entry(brief.trial).or_insert_with(|| brief.clone());
        if place.generation <= brief.generation {
            *place = brief;
        }
    };
    results.records(&mut add).map_err(fail)?;
    Ok((newest, damaged))
}
