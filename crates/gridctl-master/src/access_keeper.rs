//! Who is let in by the master: tokens, the workers that were shut out, and the certificates that it gives.
//! Invariant: what is given or taken back is on the disk before anybody hears of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gridctl_core::access::{self, Credentials, FailureLimit, JOIN_MS, NoRoom, Peer, Proof, Role, TokenView};
use gridctl_core::id::{Time, WorkerId};
use gridctl_storage::private;
use tokio::sync::{mpsc, oneshot, watch};

use crate::advert;
use crate::clock;
use crate::config::OperatorQuestion;
use crate::error::{AskError, MasterError};
use crate::handle::Handle;
use crate::identity::{Authority, PublicKey};

/// The file in the data directory.
const FILE: &str = "access.json";
/// Whoever is let in is looked at again after so long at the latest.
const LOOK: Duration = Duration::from_secs(2);
/// Between two tokens that are looked up, in milliseconds.
const LOOK_UP_MS: u64 = 1_000;
/// Longest that this takes.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);
/// A join file is written anew after so long.
const REWRITE: Duration = Duration::from_secs(300);

/// Keeps who is let in.
pub(crate) struct AccessKeeper {
    path: PathBuf,
    credentials: Mutex<Credentials>,
    /// Held while a change is written. Whoever only looks does not wait for the disk.
    changing: Mutex<()>,
    failures: Mutex<FailureLimit>,
    /// When operators were looked up last.
    looked_up: Mutex<Option<Time>>,
    changed: watch::Sender<()>,
    /// What the owner shows on a loopback address without TLS.
    owner: String,
    network: Option<Network>,
}

/// What there is where other machines can come.
pub(crate) struct Network {
    pub(crate) authority: Authority,
    /// How long a worker's certificate lives.
    pub(crate) life: Duration,
    /// Where others reach the master: `host:port`.
    pub(crate) place: String,
    /// Where workers reach it, which may be another network.
    pub(crate) workers_place: String,
    /// Who knows tokens of operators that are not known here.
    pub(crate) operators: Option<mpsc::Sender<OperatorQuestion>>,
}

impl Network {
    fn url(&self, place: &str) -> String {
        format!("gridctl://{place}?pin={}", self.authority.pin())
    }
}

/// A certificate for a worker.
pub(crate) struct Issued {
    pub(crate) worker: WorkerId,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) life: Duration,
}

/// Why somebody gets nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(
        "the join token opens nothing: it is wrong, has expired, or was used up; ask for another with `gridctl token create --role worker`, or use --join-file"
    )]
    Token,
    #[error("too many wrong join tokens came from there: wait a few seconds")]
    TooMany,
    #[error("worker {0} was shut out with `gridctl workers revoke`")]
    Revoked(WorkerId),
    #[error("this master gives no certificates: it listens on no address with TLS; start it with --listen")]
    NoNetwork,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error(transparent)]
    Master(#[from] MasterError),
}

impl AccessKeeper {
    /// Reads what was given and taken back before.
    pub(crate) fn open(dir: &Path, owner: String, network: Option<Network>) -> Result<Self, MasterError> {
        let path = dir.join(FILE);
        let credentials = match private::read(&path)? {
            None => Credentials::default(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| MasterError::Identity { path: path.clone(), problem: error.to_string() })?,
        };
        Ok(Self {
            path,
            credentials: Mutex::new(credentials),
            changing: Mutex::default(),
            failures: Mutex::default(),
            looked_up: Mutex::default(),
            changed: watch::Sender::new(()),
            owner,
            network,
        })
    }

    /// The address that people use: with the pin, and with no token.
    pub(crate) fn url(&self) -> Option<String> {
        self.network.as_ref().map(|network| network.url(&network.place))
    }

    /// The address that workers use.
    pub(crate) fn workers_url(&self) -> Option<String> {
        self.network.as_ref().map(|network| network.url(&network.workers_place))
    }

    /// Whether this is the owner's own token.
    pub(crate) fn is_owner(&self, secret: &[u8]) -> bool {
        access::is_same_secret(secret, self.owner.as_bytes())
    }

    /// How somebody is recognised who shows this token.
    pub(crate) fn proof(&self, secret: &[u8]) -> Proof {
        self.credentials().proof(secret)
    }

    /// Looks a token up that is not known: it may be an operator's. Not more often than every [`LOOK_UP_MS`], whoever asks.
    pub(crate) async fn look_up(self: &Arc<Self>, secret: &[u8]) {
        let Some(operators) = self.network.as_ref().and_then(|network| network.operators.as_ref()) else {
            return;
        };
        if self.proof(secret) != Proof::Nothing || !self.may_look_up() {
            return;
        }
        let (answer, answered) = oneshot::channel();
        let question = OperatorQuestion { hash: access::token_hash(secret), answer };
        let asked = async {
            operators.send(question).await.ok()?;
            answered.await.ok()
        };
        let Ok(Some(expires)) = tokio::time::timeout(LOOK_UP_WITHIN, asked).await else { return };
        let (kept, now) = (secret.to_owned(), clock::unix_ms());
        let life = (expires.saturating_sub(now), None);
        let change = self.change(move |credentials| credentials.keep(&kept, Role::Admin, life, now));
        match change.await {
            Ok(Ok(view)) => tracing::info!(token = view.id, "an operator of the account has come"),
            Ok(Err(error)) => tracing::warn!("an operator is not let in: {error}"),
            Err(error) => tracing::warn!("an operator is not let in: {}", crate::chain(&error)),
        }
    }

    fn may_look_up(&self) -> bool {
        let (now, mut last) = (clock::now(), lock(&self.looked_up));
        let may = last.is_none_or(|last| now.ms_since(last) >= LOOK_UP_MS);
        if may {
            *last = Some(now);
        }
        may
    }

    /// Who that is now.
    pub(crate) fn peer(&self, proof: Proof) -> Peer {
        self.credentials().peer(proof, clock::unix_ms()).0
    }

    /// Whether this worker was shut out, however it comes.
    pub(crate) fn is_revoked(&self, worker: WorkerId) -> bool {
        self.credentials().is_revoked(worker)
    }

    /// Says that the workers are gone that were shut out: a master that was killed may have granted nothing of theirs anew.
    pub(crate) async fn tell_of_revoked(&self, handle: &Handle) -> Result<(), AskError> {
        let revoked = self.credentials().revoked();
        for worker in revoked {
            handle.gone(worker).await?;
        }
        Ok(())
    }

    /// Waits until whoever was let in for `proof` is nobody any more.
    pub(crate) async fn over(&self, proof: Proof) {
        let mut changed = self.changed.subscribe();
        loop {
            let (peer, left_ms) = self.credentials().peer(proof, clock::unix_ms());
            if peer.role.is_none() {
                return;
            }
            let look = LOOK.min(Duration::from_millis(left_ms));
            // The sender is this keeper's own.
            let _ = tokio::time::timeout(look, changed.changed()).await;
        }
    }

    /// A new worker's certificate, for who shows a join token.
    pub(crate) async fn join(
        self: &Arc<Self>,
        handle: &Handle,
        (secret, from): (String, IpAddr),
        key: PublicKey,
    ) -> Result<Issued, AccessError> {
        let Network { authority, life, .. } = self.network.as_ref().ok_or(AccessError::NoNetwork)?;
        let now = clock::now();
        if self.failures().is_over(now, from) {
            return Err(AccessError::TooMany);
        }
        let taken = self.change(move |credentials| credentials.spend(secret.as_bytes(), clock::unix_ms()));
        if !taken.await? {
            self.failures().failed(now, from);
            return Err(AccessError::Token);
        }
        let known = handle.workers().await.unwrap_or_default();
        let worker = loop {
            let worker = WorkerId(random()?);
            if !self.is_revoked(worker) && known.iter().all(|known| known.worker != worker) {
                break worker;
            }
        };
        let chain = authority.sign((worker, key), clock::unix_ms(), *life)?;
        tracing::info!(%worker, %from, "a worker joined");
        Ok(Issued { worker, chain, life: *life })
    }

    /// The next certificate of a worker that has one.
    pub(crate) fn renew(&self, worker: WorkerId, key: PublicKey) -> Result<Issued, AccessError> {
        let Network { authority, life, .. } = self.network.as_ref().ok_or(AccessError::NoNetwork)?;
        if self.is_revoked(worker) {
            return Err(AccessError::Revoked(worker));
        }
        let chain = authority.sign((worker, key), clock::unix_ms(), *life)?;
        Ok(Issued { worker, chain, life: *life })
    }

    /// A new token, and what is kept of it.
    pub(crate) async fn make(
        self: &Arc<Self>,
        role: Role,
        life_ms: u64,
        uses: Option<u32>,
    ) -> Result<(String, TokenView), AccessError> {
        let path = self.path.clone();
        let failed = move |source| MasterError::File { doing: "write", path, source };
        let secret = advert::token().map_err(failed)?;
        let kept = secret.clone();
        let view = self.change(move |credentials| {
            credentials.keep(kept.as_bytes(), role, (life_ms, uses), clock::unix_ms())
        });
        Ok((secret, view.await??))
    }

    pub(crate) fn tokens(&self) -> Vec<TokenView> {
        self.credentials().tokens(clock::unix_ms())
    }

    /// Takes a token back; false if there is none of this name.
    pub(crate) async fn revoke(self: &Arc<Self>, id: String) -> Result<bool, AccessError> {
        Ok(self.change(move |credentials| credentials.revoke(&id)).await?)
    }

    /// Shuts a worker out for as long as any certificate of its can last.
    pub(crate) async fn revoke_worker(self: &Arc<Self>, worker: WorkerId) -> Result<(), AccessError> {
        let life = self.network.as_ref().map_or(LOOK, |network| network.life);
        let life_ms =
            u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(gridctl_core::access::CERTIFICATE_MS);
        let until = clock::unix_ms().saturating_add(life_ms);
        self.change(move |credentials| credentials.revoke_worker(worker, until)).await?;
        Ok(())
    }

    /// Writes the file at `path` anew, again and again, so that the token in it is never about to expire.
    pub(crate) async fn keep_join_file(self: Arc<Self>, path: PathBuf) {
        loop {
            tokio::time::sleep(REWRITE).await;
            if let Err(error) = self.write_join_file(&path).await {
                tracing::error!(error = crate::chain(&error), "{} is not written", path.display());
            }
        }
    }

    /// Writes a join token to the file at `path`.
    pub(crate) async fn write_join_file(self: &Arc<Self>, path: &Path) -> Result<(), AccessError> {
        let url = self.workers_url().ok_or(AccessError::NoNetwork)?;
        let (token, _) = self.make(Role::Worker, JOIN_MS, None).await?;
        let failed = |source| MasterError::File { doing: "write", path: path.to_owned(), source };
        private::write(path, &format!("{url}&token={token}\n")).map_err(failed)?;
        Ok(())
    }

    /// Makes a change, on the disk first where it makes a difference.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Credentials) -> T + Send + 'static,
    ) -> Result<T, MasterError> {
        let this = Arc::clone(self);
        let write = move || {
            let _alone = lock(&this.changing);
            let before = this.credentials().clone();
            let mut next = before.clone();
            let result = change(&mut next);
            if next != before {
                let failed = |source| MasterError::File { doing: "write", path: this.path.clone(), source };
                let text = serde_json::to_string(&next).map_err(|error| failed(error.into()))?;
                private::write(&this.path, &text).map_err(failed)?;
                *this.credentials() = next;
                this.changed.send_replace(());
            }
            Ok(result)
        };
        let ended = tokio::task::spawn_blocking(write).await;
        ended.map_err(|error| MasterError::Broken { part: "keeper of access", why: error.to_string() })?
    }

    fn credentials(&self) -> MutexGuard<'_, Credentials> {
        lock(&self.credentials)
    }

    fn failures(&self) -> MutexGuard<'_, FailureLimit> {
        lock(&self.failures)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> Result<[u8; 5], MasterError> {
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes).map_err(|error| MasterError::Tls { problem: error.to_string() })?;
    Ok(bytes)
}
