//! Journal and results volumes, compared before either is written: whether the results hold what
//! the journal lacks.
//! Invariant: nothing is written. A volume that cannot be read refuses nothing: what it lacks is
//! shipped when it is back, after another comparison.

use std::collections::BTreeSet;
use std::path::Path;

use gridctl_core::id::Epoch;
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_storage::journal::{Home, Reader, StoreError};
use gridctl_storage::results::{EpochClaim, Results};
use gridctl_storage::volume::{self, VolumeError};

use crate::error::{Kept, Lack, MasterError};
use crate::ship::ShipJob;

/// The journal that is compared.
pub(crate) struct Journal<'a> {
    pub(crate) name: &'a str,
    pub(crate) data_dir: &'a Path,
    /// The last epoch that began.
    pub(crate) epoch: Epoch,
    pub(crate) reader: &'a Reader,
}

/// Why a sweep's records are not shipped.
#[derive(Debug)]
pub(crate) enum ShipError {
    /// Perhaps later.
    Volume(VolumeError),
    /// Perhaps later.
    Store(StoreError),
    /// Never: this master must not write there.
    Refused(Box<MasterError>),
}

impl From<VolumeError> for ShipError {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl From<StoreError> for ShipError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Compares the journal with the volume of each sweep.
///
/// # Errors
/// [`MasterError::Behind`], [`MasterError::Superseded`].
pub(crate) fn all(journal: &Journal<'_>, cargo: &[ShipJob]) -> Result<(), MasterError> {
    for cargo in cargo {
        match open(cargo).map_err(ShipError::from).and_then(|results| one(journal, cargo, &results)) {
            Err(ShipError::Refused(error)) => return Err(*error),
            Err(ShipError::Store(error)) => return Err(error.into()),
            Err(ShipError::Volume(error)) => {
                tracing::debug!(sweep = cargo.frozen.spec.name, %error, "not compared with its results");
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// A sweep's results, if they are there and its own. It was made and claimed when the sweep was
/// submitted. If that is gone, a disk may not be mounted: nothing is made anew.
pub(crate) fn open(cargo: &ShipJob) -> Result<Results, VolumeError> {
    let results = Results::new(volume::open(&cargo.volume)?, &cargo.frozen.spec.name, &cargo.frozen.uuid)?;
    results.check_claim()?;
    Ok(results)
}

/// Compares the journal with one sweep's results.
pub(crate) fn one(journal: &Journal<'_>, cargo: &ShipJob, results: &Results) -> Result<(), ShipError> {
    let refuse = |lack| Err(ShipError::Refused(Box::new(behind(journal, cargo, lack))));
    if let Some(theirs) = results.highest_epoch()? {
        let claim = results.epoch_claim(theirs)?;
        if theirs > journal.epoch {
            return match claim {
                Some(claim) if is_ours(journal, &claim) => {
                    refuse(Lack::Epoch { theirs, ours: journal.epoch })
                }
                claim => Err(superseded(journal.epoch, cargo, theirs, claim.as_ref())),
            };
        }
        if let Some(claim) = claim.filter(|claim| claim.journal == journal.name)
            && journal.reader.chain_at(claim.event)? != Some(claim.chain)
        {
            return refuse(Lack::Event { epoch: theirs, event: claim.event });
        }
    }
    let shipped = results.shipped(journal.name)?;
    let ends = journal.reader.last_outcome()?;
    if shipped.last > ends {
        return refuse(Lack::Records { last: shipped.last, ends });
    }
    if let Some(line) = shipped.line {
        let rows = journal.reader.after(line.seq.saturating_sub(1), Some(cargo.sweep.0), 1)?;
        if !rows.first().is_some_and(|row| row.seq == line.seq && line.holds(&row.record)) {
            return refuse(Lack::Record { seq: line.seq });
        }
    }
    match results.versions()?.last() {
        Some(&theirs) if theirs > cargo.version => refuse(Lack::Version { theirs, ours: cargo.version }),
        _ => Ok(()),
    }
}

/// Another master has an epoch that is higher than this one's, or the same.
pub(crate) fn superseded(
    ours: Epoch,
    cargo: &ShipJob,
    theirs: Epoch,
    claim: Option<&EpochClaim>,
) -> ShipError {
    let by = claim.map(|claim| format!("{} on {}", claim.data_dir, claim.host));
    let sweep = cargo.frozen.spec.name.clone();
    ShipError::Refused(Box::new(MasterError::Superseded { sweep, ours, theirs, by }))
}

/// A copy of a data directory must not write into results that the original goes on with.
///
/// # Errors
/// [`MasterError::Copied`].
pub(crate) fn check_home(home: &Home, data_dir: &Path, cargo: &[ShipJob]) -> Result<(), MasterError> {
    let Home::CopyOf(original) = home else { return Ok(()) };
    match cargo.iter().find(|cargo| cargo.frozen.output != Output::InDataDir) {
        None => Ok(()),
        Some(cargo) => Err(MasterError::Copied {
            dir: data_dir.to_owned(),
            original: original.clone(),
            sweep: cargo.frozen.spec.name.clone(),
            volume: cargo.volume.to_string(),
        }),
    }
}

/// The error of a journal that is shorter than it was, with where the records lie that it lacks.
pub(crate) fn explain(data_dir: &Path, error: StoreError) -> MasterError {
    let StoreError::Behind { journal, outcomes: (ends, _), .. } = &error else { return error.into() };
    let kept: Vec<Kept> = places(data_dir)
        .into_iter()
        .filter_map(|(url, sweep)| {
            let results = Results::of_name(volume::open(&url).ok()?, &sweep).ok()?;
            let last = results.shipped(journal).ok()?.last;
            let volume = url.of_sweep(&sweep);
            (last > *ends).then_some(Kept { first: ends + 1, last, volume })
        })
        .collect();
    if kept.is_empty() { error.into() } else { MasterError::Lost { source: error, kept } }
}

/// Where results may lie of the sweeps in `data_dir`: by what its journal still says, and by
/// default.
fn places(data_dir: &Path) -> BTreeSet<(VolumeUrl, String)> {
    let mut places = BTreeSet::new();
    if let Ok(core) = crate::reading::fold_as_it_is(data_dir) {
        let place = |cargo: ShipJob| (cargo.volume, cargo.frozen.spec.name.clone());
        places.extend(crate::ship::cargo(&core, data_dir).into_iter().map(place));
    }
    let default = Output::InDataDir.volume_in(data_dir);
    let entries = default.local_dir().and_then(|root| std::fs::read_dir(root).ok());
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name().into_string());
    places.extend(names.filter_map(|name| Some((default.clone(), name.ok()?))));
    places
}

/// Whether the claim was made here, by this journal or by one that was in its place.
fn is_ours(journal: &Journal<'_>, claim: &EpochClaim) -> bool {
    let is_here = claim.journal == journal.name || claim.host == hostname();
    is_here && Path::new(&claim.data_dir) == journal.data_dir
}

/// The machine's name, for people.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn behind(journal: &Journal<'_>, cargo: &ShipJob, lack: Lack) -> MasterError {
    MasterError::Behind {
        dir: journal.data_dir.to_owned(),
        sweep: cargo.frozen.spec.name.clone(),
        volume: cargo.volume.of_sweep(&cargo.frozen.spec.name),
        lack,
    }
}
