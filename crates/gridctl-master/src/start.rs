//! A master's beginning and end. Invariant: it serves only once its epoch is durable, and at a clean end nothing is left to be shipped
//! that could have been.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use gridctl_core::id::Epoch;
use gridctl_core::sched::driver::Driver;
use gridctl_core::sched::{Core, Event};
use gridctl_storage::journal::{Loaded, Options, Reader, SqliteStore, Store};
use gridctl_storage::owned::OwnedDir;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::advert::{self, Advert};
use crate::clock;
use crate::config::MasterConfig;
use crate::driver::{Own, Shell};
use crate::error::MasterError;
use crate::handle::{Handle, Shared};
use crate::listen;
use crate::message::{Board, INCOMING, Message};
use crate::query::Readers;
use crate::serve;
use crate::ship::{self, Shipper};

/// At the start, who has the results volumes must be known after so long, or the master starts without.
const FIRST_SHIPMENT: Duration = Duration::from_secs(10);
/// At a clean end shipping may take so long.
const LAST_SHIPMENT: Duration = Duration::from_secs(60);
/// Connections get so long to end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Starts masters.
#[derive(Debug)]
pub struct Master;

/// A master that goes on. Dropping it ends it without ceremony, as a crash would.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    advert: Advert,
    /// A directory of its own for the socket, if its path would have been too long.
    socket_dir: Option<OwnedDir>,
    ended: watch::Sender<bool>,
    server: JoinHandle<()>,
    shipping: JoinHandle<()>,
    failures: mpsc::Receiver<MasterError>,
}

impl Master {
    /// Reads the journal, begins an epoch, and serves.
    ///
    /// # Errors
    /// Another master has the data directory, the journal cannot be used, or an address is taken.
    pub async fn start(config: MasterConfig) -> Result<Running, MasterError> {
        Self::start_with(config, |store| Box::new(store)).await
    }

    /// As [`Master::start`], with the store as `wrap` gives it: a test lets it fail.
    pub(crate) async fn start_with(
        config: MasterConfig,
        wrap: impl FnOnce(SqliteStore) -> Box<dyn Store> + Send + 'static,
    ) -> Result<Running, MasterError> {
        let (shell, begun) = blocking(move || open(config, wrap)).await?;
        let Begun { config, handle, inbox, epoch } = begun;
        let (failed, failures) = mpsc::channel(4);
        drive(shell, inbox, failed.clone())?;
        match tokio::time::timeout(FIRST_SHIPMENT, ship::all(&handle)).await {
            Ok(shipped) => shipped?,
            Err(_) => tracing::warn!("a results volume does not answer; records are shipped when it does"),
        }
        let (unix, socket, socket_dir) = listen::unix(&config.data_dir)?;
        let tcp = listen::tcp(config.listen).await?;
        let path = config.data_dir.join(advert::ADVERT_FILE);
        let file = |source| MasterError::File { doing: "write", path: path.clone(), source };
        let advert = Advert {
            pid: std::process::id(),
            epoch,
            socket,
            tcp: tcp.as_ref().and_then(|tcp| tcp.local_addr().ok()),
            token: advert::token().map_err(file)?,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms: clock::unix_ms(),
        };
        let (ended, is_ended) = watch::channel(false);
        let server = serve::serve(handle.clone(), (unix, tcp), advert.token.clone(), is_ended.clone());
        let server = spawn(server);
        advert.write(&config.data_dir).map_err(file)?;
        let shipping = spawn(ship::keep_on(handle.clone(), is_ended, failed));
        Ok(Running { handle, advert, socket_dir, ended, server, shipping, failures })
    }
}

/// What [`open`] hands on beside the loop itself.
struct Begun {
    config: MasterConfig,
    handle: Handle,
    inbox: mpsc::Receiver<Message>,
    epoch: Epoch,
}

/// Opens the journal and begins an epoch; blocks.
fn open(
    mut config: MasterConfig,
    wrap: impl FnOnce(SqliteStore) -> Box<dyn Store>,
) -> Result<(Shell, Begun), MasterError> {
    let store = SqliteStore::open(&config.data_dir, Options { allow_network_fs: config.allow_network_fs })?;
    for warning in store.warnings() {
        tracing::warn!("{warning}");
    }
    let file = |source| MasterError::File { doing: "use", path: config.data_dir.clone(), source };
    config.data_dir = config.data_dir.canonicalize().map_err(file)?;
    let journal = store.journal_id().to_owned();
    let mut store = wrap(store);
    let mut core = restore(&config, store.load()?)?;
    core.begin(clock::now());
    let begun = core.take();
    let events: Vec<_> = begun.events.iter().map(crate::commit::event_row).collect();
    store.append(&gridctl_storage::journal::Group { events: &events, outcomes: &[] })?;
    let reader = Reader::open(&config.data_dir)?;
    let next_outcome = reader.last_outcome()? + 1;
    let now = clock::now();
    let sweeps = core.latest_first().into_iter().filter_map(|sweep| core.status(sweep.id(), now)).collect();
    let (board, seen) = watch::channel(Board { sweeps: Arc::new(sweeps), full: None });
    let (sender, inbox) = mpsc::channel(INCOMING);
    let outcomes = Arc::new(Notify::new());
    let epoch = core.epoch();
    let scratch = config.data_dir.clone();
    let handle = Handle {
        inbox: sender,
        board: seen,
        shared: Arc::new(Shared {
            readers: Readers::new(&config.data_dir),
            shipper: Shipper::new(&journal, epoch, &scratch, Arc::clone(&outcomes)),
            data_dir: config.data_dir.clone(),
            submitting: tokio::sync::Mutex::new(()),
            last_conn: AtomicU64::new(0),
        }),
    };
    let shell = Shell {
        driver: Driver::new(core),
        store,
        reader,
        next_outcome,
        snapshot_every: config.snapshot_every,
        board,
        outcomes,
        own: Own::default(),
    };
    Ok((shell, Begun { config, handle, inbox, epoch }))
}

/// The core as the journal has it: the newest snapshot and what follows, by the one `apply`.
pub(crate) fn restore(config: &MasterConfig, loaded: Loaded) -> Result<Core, MasterError> {
    let now = clock::now();
    if loaded.damaged_snapshots > 0 {
        tracing::warn!(
            "{} damaged snapshots were passed over; the events make up for them",
            loaded.damaged_snapshots
        );
    }
    let mut core = match loaded.snapshot {
        None => Core::new(config.timing),
        Some((seq, bytes)) => Core::restore(config.timing, now, &bytes)
            .map_err(|source| MasterError::Snapshot { seq, source })?,
    };
    for row in loaded.tail {
        let event: Event = serde_json::from_slice(&row.payload)
            .map_err(|error| MasterError::Event { seq: row.seq, problem: error.to_string() })?;
        core.apply(now, &event);
    }
    Ok(core)
}

/// Starts the loop on a thread of its own, which it may block.
fn drive(
    shell: Shell,
    inbox: mpsc::Receiver<Message>,
    failed: mpsc::Sender<MasterError>,
) -> Result<(), MasterError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let broken = |_| MasterError::Broken("loop");
    let runtime = runtime.map_err(broken)?;
    let driver = move || {
        let last_word = LastWord(failed);
        if let Err(error) = runtime.block_on(shell.go(inbox)) {
            // Whoever runs the master ends the process.
            let _ = last_word.0.try_send(error);
        }
    };
    thread::Builder::new().name("gridctl-master".to_owned()).spawn(driver).map(drop).map_err(broken)
}

/// Says that the loop has ended, even if it panicked. After a clean end nobody listens.
struct LastWord(mpsc::Sender<MasterError>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let _ = self.0.try_send(MasterError::Broken("loop"));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MasterError> + Send + 'static,
) -> Result<T, MasterError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| MasterError::Broken("start"))?
}

/// The handle is kept by [`Running`], which looks at its end.
#[expect(clippy::disallowed_methods, reason = "the handle is kept and looked at")]
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

impl Running {
    /// How to ask it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How others reach it.
    #[must_use]
    pub fn advert(&self) -> &Advert {
        &self.advert
    }

    /// Waits until the master cannot go on, and says why: the process must end, with an error, and acknowledge nothing more.
    pub async fn failed(&mut self) -> MasterError {
        tokio::select! {
            failure = self.failures.recv() => failure.unwrap_or(MasterError::Broken("loop")),
            _ = &mut self.server => MasterError::Broken("server"),
        }
    }

    /// Ends it: hangs up, ships what is left, keeps a snapshot, and tidies up. Workers that were not drained go on, and connect
    /// to the next master.
    ///
    /// # Errors
    /// Something could not be made durable; what was acknowledged is.
    pub async fn stop(mut self) -> Result<(), MasterError> {
        Advert::remove(&self.handle.shared.data_dir);
        // Nobody listens if everything has ended already.
        let _ = self.ended.send(true);
        if !self.server.is_finished() && tokio::time::timeout(LAST_WORDS, &mut self.server).await.is_err() {
            self.server.abort();
        }
        // Connections that ended meanwhile have said so; now everything is recorded that will be.
        let last = async {
            if !self.shipping.is_finished() {
                let _ = (&mut self.shipping).await;
            }
            ship::all(&self.handle).await
        };
        let shipped = tokio::time::timeout(LAST_SHIPMENT, last).await;
        if !matches!(shipped, Ok(Ok(()))) {
            tracing::warn!("records are left to be shipped: the next master on this data directory does it");
        }
        let (done, is_done) = oneshot::channel();
        let ended = match self.handle.tell(Message::Stop(done)).await {
            Ok(()) => is_done.await.is_ok(),
            Err(_) => false,
        };
        self.tidy();
        if ended {
            return Ok(());
        }
        Err(self.failures.try_recv().unwrap_or(MasterError::Broken("loop")))
    }

    fn tidy(&mut self) {
        // They may be gone; what stays behind is removed by the next master.
        let _ = advert::remove(&self.advert.socket);
        if let Some(dir) = self.socket_dir.take() {
            let _ = dir.remove();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
        self.shipping.abort();
    }
}

/// A master as a daemon: until SIGTERM or SIGINT, or until it cannot go on.
///
/// # Errors
/// It could not start, or could not go on: the process must end with an error.
pub async fn run(config: MasterConfig, ready: impl FnOnce(&Advert)) -> Result<(), MasterError> {
    use tokio::signal::unix::{SignalKind, signal};
    listen::raise_open_files();
    let signals = |_| MasterError::Broken("signal handling");
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut running = Master::start(config).await?;
    ready(running.advert());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = running.failed() => return Err(error),
    }
    running.stop().await
}
