//! A data directory that no master serves: the same questions, answered by the same code from the journal as it stands.
//! Invariant: nothing is written, and whatever only a master may decide is answered with [`crate::AskError::Ending`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use gridctl_core::sched::{Core, SweepStatus, Timing};
use gridctl_storage::journal::Reader;
use gridctl_storage::pack::PackStore;
use tokio::sync::{mpsc, watch};

use crate::begin::restore;
use crate::clock;
use crate::compare;
use crate::error::MasterError;
use crate::handle::{Handle, Shared};
use crate::live::LiveHub;
use crate::message::{Board, INCOMING, Message};
use crate::query::Readers;
use crate::ship::Shipper;

/// The state that the journal in `dir` holds; beside a living master, as of this moment.
///
/// # Errors
/// There is no journal, or it cannot be read.
pub fn fold(dir: &Path) -> Result<Core, MasterError> {
    let reader = Reader::open(dir).map_err(|error| compare::explain(dir, error))?;
    restore(Timing::default(), |before| reader.load(before))
}

/// The same of a journal that is shorter than it was.
pub(crate) fn fold_as_it_is(dir: &Path) -> Result<Core, MasterError> {
    let reader = Reader::open_as_it_is(dir)?;
    restore(Timing::default(), |before| reader.load(before))
}

/// A handle that answers questions about the journal in `dir`; no master is there to go on with its sweeps.
///
/// # Errors
/// There is no journal, or it cannot be read.
pub fn reading(dir: &Path) -> Result<Handle, MasterError> {
    reading_as(dir, SweepStatus::without_master)
}

/// The same beside a master that lives and does not answer: its sweeps are as it last recorded them.
///
/// # Errors
/// As [`reading`].
pub fn reading_beside_master(dir: &Path) -> Result<Handle, MasterError> {
    reading_as(dir, |status| status)
}

fn reading_as(dir: &Path, show: impl Fn(SweepStatus) -> SweepStatus) -> Result<Handle, MasterError> {
    let core = fold(dir)?;
    let now = clock::now();
    let sweeps = core.latest_first().into_iter().filter_map(|sweep| core.status(sweep.id(), now));
    let sweeps = sweeps.map(show).collect();
    let (_, board) = watch::channel(Board { sweeps: Arc::new(sweeps), full: None });
    let (sender, mut inbox) = mpsc::channel(INCOMING);
    let handle = Handle {
        inbox: sender,
        board,
        shared: Arc::new(Shared {
            readers: Readers::new(dir),
            shipper: Shipper::idle(dir),
            packs: PackStore::new(dir),
            data_dir: dir.to_owned(),
            submitting: tokio::sync::Mutex::new(()),
            last_conn: AtomicU64::new(0),
            live: LiveHub::default(),
            failure: Arc::default(),
        }),
    };
    // Ends when the last handle goes; who asks for anything else finds that nobody answers.
    let answer = move || {
        while let Some(message) = inbox.blocking_recv() {
            if let Message::Look(look) = message {
                look(&core, now);
            }
        }
    };
    let failed = |source| MasterError::NotBegun { part: "reading", source };
    thread::Builder::new().name("gridctl-reading".to_owned()).spawn(answer).map_err(failed)?;
    Ok(handle)
}
