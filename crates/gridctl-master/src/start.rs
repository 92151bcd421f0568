//! A master's beginning and end. Invariant: it serves only once its epoch is durable, and at a clean end nothing is left to be shipped
//! that could have been.

use std::thread;
use std::time::Duration;

use gridctl_storage::journal::{SqliteStore, Store};
use gridctl_storage::owned::OwnedDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::advert::{self, Advert};
use crate::begin::{self, Begun};
use crate::clock;
use crate::config::MasterConfig;
use crate::error::MasterError;
use crate::event_loop::MasterLoop;
use crate::handle::Handle;
use crate::listen;
use crate::message::Message;
use crate::serve::{self, Listeners};
use crate::ship;
use crate::soundness::SoundnessCheck;
use crate::waiting::{self, Unshipped};

/// At the start, who has the results volumes must be known after so long, or the master starts without.
const FIRST_SHIPMENT: Duration = Duration::from_secs(10);
/// At a clean end a shipment may take so long.
const LAST_SHIPMENT: Duration = Duration::from_secs(30);
/// At a clean end a shipment that failed is tried again after so long.
const SHIP_AGAIN: Duration = Duration::from_secs(1);
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
    /// The check of a journal that was not closed as it should be.
    check: Option<SoundnessCheck>,
    failures: mpsc::Receiver<MasterError>,
    /// The first failure was told.
    has_told: bool,
    doubt: Option<String>,
}

/// What a master leaves that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stopped {
    /// Records that the results lack.
    pub unshipped: Vec<Unshipped>,
    /// Records from before this master's start that it has shipped, by sweep; what
    /// [`Handle::shipped_late`] has told is not told again.
    pub shipped_late: Vec<(String, u64)>,
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
        let (shell, begun) = begin::begin(config, wrap).await?;
        let Begun { config, handle, inbox, epoch, needs_check, doubt } = begun;
        let (failed, mut failures) = mpsc::channel(4);
        drive(shell, inbox, failed.clone())?;
        let check = needs_check.then(|| SoundnessCheck::begin(&config.data_dir, failed.clone()));
        let check = check.transpose()?;
        match tokio::time::timeout(FIRST_SHIPMENT, ship::all(&handle)).await {
            Ok(shipped) => shipped?,
            Err(_) => tracing::warn!("a results volume does not answer; records are shipped when it does"),
        }
        let (unix, socket, socket_dir) = listen::unix(&config.data_dir)?;
        let path = config.data_dir.join(advert::ADVERT_FILE);
        let file = |source| MasterError::File { doing: "write", path: path.clone(), source };
        let token = advert::token().map_err(file)?;
        let listeners = Listeners::open(&config, unix, token.clone()).await?;
        let advert = Advert {
            pid: std::process::id(),
            epoch,
            socket,
            tcp: listeners.plain.as_ref().and_then(|tcp| tcp.local_addr().ok()),
            url: listeners.keeper.url(),
            token,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms: clock::unix_ms(),
        };
        let (ended, is_ended) = watch::channel(false);
        if listeners.keeper.tell_of_revoked(&handle).await.is_err() {
            return Err(failures.recv().await.unwrap_or_else(|| broken("loop")));
        }
        let server = spawn(serve::serve(handle.clone(), listeners, is_ended.clone()));
        advert.write(&config.data_dir).map_err(file)?;
        let shipping = spawn(ship::keep_on(handle.clone(), is_ended, failed));
        Ok(Running {
            handle,
            advert,
            socket_dir,
            ended,
            server,
            shipping,
            check,
            failures,
            has_told: false,
            doubt,
        })
    }
}

/// Starts the loop on a thread of its own, which it may block.
fn drive(
    shell: MasterLoop,
    inbox: mpsc::Receiver<Message>,
    failed: mpsc::Sender<MasterError>,
) -> Result<(), MasterError> {
    let not_begun = |source| MasterError::NotBegun { part: "loop", source };
    let driver = move || {
        let last_word = LastWord(failed);
        // Made here: where no thread can be had it would be dropped in another runtime, which is a panic.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let ended = runtime.map_err(not_begun).and_then(|runtime| runtime.block_on(shell.go(inbox)));
        if let Err(error) = ended {
            // Whoever runs the master ends the process.
            let _ = last_word.0.try_send(error);
        }
    };
    thread::Builder::new().name("gridctl-master".to_owned()).spawn(driver).map(drop).map_err(not_begun)
}

/// Says that the loop has ended, even if it panicked. After a clean end nobody listens.
struct LastWord(mpsc::Sender<MasterError>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let _ = self.0.try_send(broken("loop"));
    }
}

fn broken(part: &'static str) -> MasterError {
    MasterError::Broken { part, why: String::new() }
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

    /// Why it cannot be told whether the journal is whole, for people.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// How others reach it.
    #[must_use]
    pub fn advert(&self) -> &Advert {
        &self.advert
    }

    /// Waits until the master cannot go on, and says why: the process must end, with an error, and
    /// acknowledge nothing more.
    pub async fn failed(&mut self) -> MasterError {
        let failure = tokio::select! {
            failure = self.failures.recv() => failure.unwrap_or_else(|| broken("loop")),
            ended = &mut self.server => server_failure(ended),
        };
        self.has_told = true;
        failure
    }

    /// Why the master cannot go on, if that is so and [`Running::failed`] has not told it: what was
    /// asked of it meanwhile failed for that.
    pub async fn failure(&mut self) -> Option<MasterError> {
        if self.has_told {
            return None;
        }
        if self.handle.inbox.is_closed() {
            // The loop's last word comes after it has let go of everything.
            return self.failures.recv().await;
        }
        self.failures.try_recv().ok()
    }

    /// As [`Running::stop_when`], without waiting for a results volume that does not take its
    /// records.
    ///
    /// # Errors
    /// Something could not be made durable; what was acknowledged is.
    pub async fn stop(self) -> Result<Stopped, MasterError> {
        self.stop_when("", std::future::ready(())).await
    }

    /// Ends it: hangs up, ships what is left, keeps a snapshot, and tidies up. Workers that were
    /// not drained go on, and connect to the next master. While records of `sweep` cannot be
    /// shipped, that is tried again until `enough`.
    ///
    /// # Errors
    /// Something could not be made durable; what was acknowledged is.
    pub async fn stop_when(
        mut self,
        sweep: &str,
        enough: impl Future<Output = ()>,
    ) -> Result<Stopped, MasterError> {
        let is_advertised = self.advert.is_in(&self.handle.shared.data_dir);
        if is_advertised {
            Advert::remove(&self.handle.shared.data_dir);
        }
        // Nobody listens if everything has ended already.
        let _ = self.ended.send(true);
        if !self.server.is_finished() && tokio::time::timeout(LAST_WORDS, &mut self.server).await.is_err() {
            self.server.abort();
        }
        // Connections that ended meanwhile have said so; now everything is recorded that will be.
        let shipped = self.ship_the_last(sweep, enough).await;
        let verdict = match &mut self.check {
            None => Some(true),
            Some(check) => check.finish().await,
        };
        let is_sound = verdict == Some(true);
        let shipped_late = self.handle.shared.shipper.take_late();
        let (done, is_done) = oneshot::channel();
        let ended = match self.handle.tell(Message::Stop { is_sound, done }).await {
            Ok(()) => is_done.await.is_ok(),
            Err(_) => false,
        };
        if is_advertised || self.socket_dir.is_some() {
            self.tidy();
        }
        if !ended || verdict == Some(false) {
            return Err(self.failure_of("loop").await);
        }
        Ok(Stopped { unshipped: shipped?, shipped_late })
    }

    /// Ships what is left; returns what could not be shipped.
    async fn ship_the_last(
        &mut self,
        sweep: &str,
        enough: impl Future<Output = ()>,
    ) -> Result<Vec<Unshipped>, MasterError> {
        if !self.shipping.is_finished() {
            // It ends by itself, or hangs on a volume.
            let _ = tokio::time::timeout(LAST_SHIPMENT, &mut self.shipping).await;
        }
        tokio::pin!(enough);
        loop {
            let last = async {
                ship::all(&self.handle).await?;
                waiting::unshipped(&self.handle).await
            };
            let Ok(left) = tokio::time::timeout(LAST_SHIPMENT, last).await else {
                return waiting::unanswered(&self.handle).await;
            };
            let left = left?;
            if !left.iter().any(|left| left.sweep == sweep) {
                return Ok(left);
            }
            tokio::select! {
                () = &mut enough => return Ok(left),
                () = tokio::time::sleep(SHIP_AGAIN) => {}
            }
        }
    }

    async fn failure_of(&mut self, part: &'static str) -> MasterError {
        let failure = tokio::time::timeout(LAST_WORDS, self.failures.recv()).await;
        failure.ok().flatten().unwrap_or_else(|| broken(part))
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

fn server_failure(ended: Result<(), tokio::task::JoinError>) -> MasterError {
    let why = ended.err().map_or_else(String::new, |error| error.to_string());
    MasterError::Broken { part: "server", why }
}

/// A master as a daemon: until SIGTERM or SIGINT, or until it cannot go on.
///
/// # Errors
/// It could not start, or could not go on: the process must end with an error.
pub async fn run(config: MasterConfig, ready: impl FnOnce(&Advert)) -> Result<(), MasterError> {
    run_beside(config, ready, |_| std::future::pending::<()>()).await.map(|_| ())
}

/// As [`run`], with something beside it: once that is done the master ends as well, and what it came to is returned; `None`: a
/// signal ended it before.
///
/// # Errors
/// As [`run`].
pub async fn run_beside<T, F: Future<Output = T>>(
    config: MasterConfig,
    ready: impl FnOnce(&Advert),
    beside: impl FnOnce(Handle) -> F,
) -> Result<Option<T>, MasterError> {
    use tokio::signal::unix::{SignalKind, signal};
    listen::raise_open_files();
    let signals = |source| MasterError::NotBegun { part: "signal handling", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut running = Master::start(config).await?;
    ready(running.advert());
    let beside = beside(running.handle().clone());
    let done = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        done = beside => Some(done),
        error = running.failed() => return Err(error),
    };
    for left in running.stop().await?.unshipped {
        let Unshipped { sweep, records, versions, volume, why } = left;
        tracing::warn!(
            sweep,
            records,
            versions,
            volume,
            why,
            "records wait to be shipped by the next master"
        );
    }
    Ok(done)
}
