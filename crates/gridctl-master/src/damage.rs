//! What is damaged in the results of a data directory's sweeps, by its journal.
//! Invariant: nothing is written.

use std::path::Path;

use gridctl_storage::journal::Reader;
use gridctl_storage::results::ResultsDamage;
use gridctl_storage::volume::VolumeError;

use crate::compare::{self, Journal, ShipError};
use crate::error::{MasterError, chain};
use crate::{reading, ship};

/// Calls `each` with the results volume and the damage, for all that the results of the sweeps in
/// `dir` hold and that is not what the journal says, or that keeps a master from them.
///
/// # Errors
/// The journal cannot be read.
pub fn damaged(dir: &Path, each: &mut dyn FnMut(&str, ResultsDamage)) -> Result<(), MasterError> {
    let core = reading::fold(dir)?;
    let reader = Reader::open(dir)?;
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let journal = Journal { name: reader.journal_id(), data_dir: &dir, epoch: core.epoch(), reader: &reader };
    for job in ship::cargo(&core, &dir) {
        let volume = job.volume.to_string();
        let mut each = |damage| each(&volume, damage);
        let looked = compare::open(&job).map_err(ShipError::from).and_then(|results| {
            compare::one(&journal, &job, &results)?;
            results.check(&reader, &job, &mut each)
        });
        let (file, what, remove) = match looked {
            Ok(()) => continue,
            Err(ShipError::Store(error)) => return Err(error.into()),
            Err(ShipError::Refused(error)) => (job.frozen.spec.name.clone(), chain(&*error), Vec::new()),
            Err(ShipError::Volume(VolumeError::Damaged { path, what })) => (path.clone(), what, vec![path]),
            Err(ShipError::Volume(error)) => (job.frozen.spec.name.clone(), chain(&error), Vec::new()),
        };
        each(ResultsDamage { file, what, remove });
    }
    Ok(())
}
