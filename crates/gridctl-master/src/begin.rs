//! A master's first steps: the journal is read, compared with the results, and an epoch begins.
//! Invariant: until the comparison nothing is written, so that a journal which is refused stays as
//! it is.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gridctl_core::id::{Epoch, Time};
use gridctl_core::sched::commit_pipeline::CommitPipeline;
use gridctl_core::sched::{Core, Event, Timing};
use gridctl_storage::journal::{EventRow, Group, Loaded, Options, Reader, SqliteStore, Store, StoreError};
use gridctl_storage::pack::PackStore;
use gridctl_storage::results::EpochClaim;
use tokio::sync::{Notify, mpsc, watch};

use crate::clock;
use crate::compare::{self, Journal};
use crate::config::MasterConfig;
use crate::error::{MasterError, chain};
use crate::event_loop::{MasterLoop, Own};
use crate::handle::{Handle, Shared};
use crate::live::LiveHub;
use crate::message::{Board, INCOMING, Message};
use crate::query::Readers;
use crate::ship::{self, Shipper};

/// The results volumes must answer within this time, or the master starts without.
const COMPARISON: Duration = Duration::from_secs(10);

/// What there is beside the loop itself.
pub(crate) struct Begun {
    pub(crate) config: MasterConfig,
    pub(crate) handle: Handle,
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) epoch: Epoch,
    /// The journal was not closed as it should be.
    pub(crate) needs_check: bool,
    /// Why it cannot be told whether the journal is whole.
    pub(crate) doubt: Option<String>,
}

/// Reads the journal, compares it with the results, and begins an epoch.
///
/// # Errors
/// As [`crate::Master::start`].
pub(crate) async fn begin(
    config: MasterConfig,
    wrap: impl FnOnce(SqliteStore) -> Box<dyn Store> + Send + 'static,
) -> Result<(MasterLoop, Begun), MasterError> {
    let opened = blocking(move || open(config)).await?;
    let opened = compared(opened).await?;
    blocking(move || begin_epoch(opened, wrap)).await
}

/// A journal that was read, and not yet written.
struct Opened {
    config: MasterConfig,
    store: SqliteStore,
    core: Core,
}

/// Reads the journal; blocks.
fn open(mut config: MasterConfig) -> Result<Opened, MasterError> {
    let options = Options { allow_network_fs: config.allow_network_fs };
    let mut store = SqliteStore::open(&config.data_dir, options)
        .map_err(|error| compare::explain(&config.data_dir, error))?;
    for warning in store.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(doubt) = store.doubt() {
        tracing::warn!("{doubt}");
    }
    let file = |source| MasterError::File { doing: "use", path: config.data_dir.clone(), source };
    config.data_dir = config.data_dir.canonicalize().map_err(file)?;
    let core = restore(config.timing, |before| store.load(before))?;
    compare::check_home(store.home(), &config.data_dir, &ship::cargo(&core, &config.data_dir))?;
    Ok(Opened { config, store, core })
}

/// Compares the journal with the results volumes, as far as they answer in time.
async fn compared(opened: Opened) -> Result<Opened, MasterError> {
    let Opened { config, store, core } = &opened;
    let (data_dir, name, epoch) = (config.data_dir.clone(), store.journal_id().to_owned(), core.epoch());
    let cargo = ship::cargo(core, &data_dir);
    let compare = move || {
        let reader = Reader::open(&data_dir)?;
        let journal = Journal { name: &name, data_dir: &data_dir, epoch, reader: &reader };
        compare::all(&journal, &cargo)
    };
    match tokio::time::timeout(COMPARISON, blocking(compare)).await {
        Ok(compared) => compared?,
        Err(_) => tracing::warn!("a results volume does not answer; it is compared when it does"),
    }
    Ok(opened)
}

/// Begins an epoch; blocks.
fn begin_epoch(
    Opened { config, store, mut core }: Opened,
    wrap: impl FnOnce(SqliteStore) -> Box<dyn Store>,
) -> Result<(MasterLoop, Begun), MasterError> {
    let data_dir = config.data_dir.clone();
    let (needs_check, doubt) = (store.needs_check(), store.doubt().map(str::to_owned));
    let journal = store.journal_id().to_owned();
    core.begin(clock::now());
    let begun = core.take();
    let events: Vec<_> = begun.events.iter().map(crate::commit::event_row).collect();
    let mut store = wrap(store);
    store.append(&Group { events: &events, outcomes: &[], standings: &[] })?;
    let reader = Reader::open(&data_dir)?;
    let last_outcome = reader.last_outcome()?;
    let now = clock::now();
    let sweeps = core.latest_first().into_iter().filter_map(|sweep| core.status(sweep.id(), now)).collect();
    let (board, seen) = watch::channel(Board { sweeps: Arc::new(sweeps), full: None });
    let (sender, inbox) = mpsc::channel(INCOMING);
    let (outcomes, failure) = (Arc::new(Notify::new()), Arc::new(OnceLock::new()));
    let epoch = core.epoch();
    let event = core.seq() - 1;
    let claim = EpochClaim {
        start: uuid::Uuid::now_v7().to_string(),
        journal,
        data_dir: data_dir.display().to_string(),
        host: compare::hostname(),
        event,
        chain: reader.chain_at(event)?.unwrap_or_default(),
    };
    let start = ship::Start { epoch, claim, identity: reader.identity()?, last_outcome };
    let handle = Handle {
        inbox: sender,
        board: seen,
        shared: Arc::new(Shared {
            readers: Readers::new(&data_dir),
            shipper: Shipper::new(start, &data_dir, Arc::clone(&outcomes)),
            packs: PackStore::new(&data_dir),
            data_dir: data_dir.clone(),
            submitting: tokio::sync::Mutex::new(()),
            last_conn: AtomicU64::new(0),
            live: LiveHub::default(),
            failure: Arc::clone(&failure),
        }),
    };
    let shell = MasterLoop {
        pipeline: CommitPipeline::new(core),
        store,
        reader,
        next_outcome: last_outcome + 1,
        snapshot_every: config.snapshot_every,
        board,
        outcomes,
        data_dir,
        failure,
        own: Own::default(),
    };
    Ok((shell, Begun { config, handle, inbox, epoch, needs_check, doubt }))
}

/// The core as the journal has it: the newest snapshot that is understood and what follows, by the
/// one `apply`. `load` is [`Store::load`] or [`Reader::load`].
pub(crate) fn restore(
    timing: Timing,
    mut load: impl FnMut(u64) -> Result<Loaded, StoreError>,
) -> Result<Core, MasterError> {
    let now = clock::now();
    let mut loaded = load(u64::MAX)?;
    if loaded.damaged_snapshots > 0 {
        tracing::warn!(
            "{} damaged snapshots were passed over; the events make up for them",
            loaded.damaged_snapshots
        );
    }
    let core = loop {
        let Some((seq, bytes)) = loaded.snapshot.take() else { break Core::new(timing) };
        match Core::restore(timing, now, seq, &bytes) {
            Ok(core) => break core,
            Err(error) => {
                let why = chain(&error);
                tracing::warn!(
                    "the snapshot after event {seq} was passed over: {why}; the events make up for it"
                );
            }
        }
        loaded = load(seq)?;
    };
    replayed(core, now, &loaded.tail)
}

fn replayed(mut core: Core, now: Time, tail: &[EventRow]) -> Result<Core, MasterError> {
    for row in tail {
        let event: Event = serde_json::from_slice(&row.payload)
            .map_err(|error| MasterError::Event { seq: row.seq, problem: error.to_string() })?;
        core.apply(now, &event);
    }
    Ok(core)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MasterError> + Send + 'static,
) -> Result<T, MasterError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| MasterError::Broken { part: "start", why: error.to_string() })?
}
