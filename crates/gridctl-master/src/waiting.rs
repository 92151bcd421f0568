//! What the results lack of a journal, with a master and without one.
//! Invariant: nothing is written; where the results cannot be read, they lack every record.

use std::path::Path;

use gridctl_storage::journal::{Reader, StoreError};
use gridctl_storage::results::Shipped;

use crate::compare;
use crate::error::{MasterError, chain};
use crate::handle::Handle;
use crate::reading;
use crate::ship::{self, ShipJob};

/// What a sweep's results lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unshipped {
    /// The sweep.
    pub sweep: String,
    /// So many records.
    pub records: u64,
    /// So many of its versions.
    pub versions: u64,
    /// The results volume.
    pub volume: String,
    /// What keeps them from it.
    pub why: String,
}

/// What the results of the sweeps in `dir` lack, by its journal; of one sweep, if one is named.
///
/// # Errors
/// The journal cannot be read.
pub fn waiting(dir: &Path, sweep: Option<&str>) -> Result<Vec<Unshipped>, MasterError> {
    let core = reading::fold(dir)?;
    let reader = Reader::open(dir)?;
    let cargo = ship::cargo(&core, dir);
    let wanted = cargo.iter().filter(|cargo| sweep.is_none_or(|sweep| sweep == cargo.frozen.spec.name));
    let lacking = |cargo| lacking(cargo, reader.journal_id(), &reader, None);
    Ok(wanted.map(lacking).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// What a master could not ship.
///
/// # Errors
/// A part of the master has failed.
pub(crate) async fn unshipped(handle: &Handle) -> Result<Vec<Unshipped>, MasterError> {
    let left = ship::with_cargo(handle, |shipper, cargo, reader| {
        let problems = shipper.problems();
        let stuck = cargo.iter().filter_map(|cargo| Some((cargo, problems.get(&cargo.sweep)?.clone())));
        let lacking = |(cargo, why)| lacking(cargo, shipper.journal(), reader, Some(why));
        stuck.map(lacking).collect::<Result<Vec<_>, _>>()
    });
    Ok(left.await?.transpose()?.unwrap_or_default().into_iter().flatten().collect())
}

/// What may be missing in results that do not answer: nothing is known of them.
///
/// # Errors
/// A part of the master has failed.
pub(crate) async fn unanswered(handle: &Handle) -> Result<Vec<Unshipped>, MasterError> {
    let left = ship::with_cargo(handle, |_, cargo, reader| {
        let one = |cargo: &ShipJob| {
            let sweep = cargo.frozen.spec.name.clone();
            let records = reader.count_after(0, cargo.sweep.0)?;
            Ok(Unshipped {
                sweep,
                records,
                versions: 0,
                volume: cargo.volume.to_string(),
                why: "it does not answer".to_owned(),
            })
        };
        cargo.iter().map(one).collect::<Result<Vec<_>, StoreError>>()
    });
    Ok(left.await?.transpose()?.unwrap_or_default())
}

/// What one sweep's results lack.
fn lacking(
    cargo: &ShipJob,
    journal: &str,
    reader: &Reader,
    why: Option<String>,
) -> Result<Option<Unshipped>, StoreError> {
    let shipped = compare::open(cargo).and_then(|results| {
        let kept = results.kept_versions()?.into_iter().filter(|version| *version <= cargo.version).count();
        Ok((results.shipped(journal)?, u64::from(cargo.version) - kept as u64))
    });
    let count = |after| reader.count_after(after, cargo.sweep.0);
    let (records, versions, found) = match shipped {
        Ok((Shipped { last, gaps, .. }, versions)) => {
            let mut records = count(last)?;
            for (first, last) in gaps {
                records += count(first - 1)? - count(last)?;
            }
            (records, versions, "no master has shipped them since".to_owned())
        }
        Err(error) => (count(0)?, 0, chain(&error)),
    };
    let sweep = cargo.frozen.spec.name.clone();
    let volume = cargo.volume.to_string();
    let why = why.unwrap_or(found);
    Ok((records + versions > 0).then_some(Unshipped { sweep, records, versions, volume, why }))
}
