//! The state that a journal holds, read without a master: for what a sweep says, and whether all of it is known.
//! Invariant: nothing is written; what comes out is what a master would start from.

use std::path::Path;

use gridctl_core::sched::Core;
use gridctl_master::MasterError;
use gridctl_storage::journal::StoreError;

use super::chain;
use crate::exit::Failure;

/// The state of a journal; `None` where there is none yet.
pub(crate) fn core(dir: &Path) -> Result<Option<Core>, Failure> {
    match gridctl_master::fold(dir) {
        Ok(core) => Ok(Some(core)),
        Err(MasterError::Store(StoreError::NoJournal { .. })) => Ok(None),
        Err(error) => Err(super::master_failure(&error)),
    }
}

/// Why the journal cannot be read.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    Failure::error("journal", chain(error)).maybe_help(error.help())
}
