//! How a worker becomes one of a master on another machine: it joins by a token, and renews its certificate long before that ends;
//! if the certificate has ended all the same, because the machine slept or the master was away, the worker joins anew.
//! Invariant: the key is made here and never leaves the process; who the worker is, the master says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gridctl_core::access::renew_after_ms;
use gridctl_core::id::{Time, WorkerId};
use gridctl_proto::{FieldError, v1};
use gridctl_storage::private::{self, PrivateFileError};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tonic::Status;

use crate::address::{Address, Bearer, JoinAddress, JoinAddressError};
use crate::clock;
use crate::connection::{Dial, LinkError, client};
use crate::tls::Shown;

/// A call that gives no certificate is tried again after so long.
pub(crate) const AGAIN: Duration = Duration::from_secs(2);
/// Certificates of one chain, and bytes of each.
const LONGEST_CHAIN: (usize, usize) = (4, 16 << 10);
/// A machine that slept is noticed after so long: timers stand still meanwhile.
const LOOK: Duration = Duration::from_secs(5);
/// A call may take so long.
const WITHIN: Duration = Duration::from_secs(10);

/// How a worker comes to a master on another machine.
#[derive(Debug, Clone)]
pub enum Join {
    /// By an address with a token in it.
    Address(JoinAddress),
    /// By the address in this file, which somebody keeps fresh.
    File(PathBuf),
}

/// Why a join file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum JoinFileError {
    /// It cannot be read.
    #[error(transparent)]
    Private(#[from] PrivateFileError),
    /// It is not there.
    #[error("there is no join file {}: `gridctl master --listen ADDRESS:PORT --join-file FILE` keeps one", .0.display())]
    Missing(PathBuf),
    /// It holds something else.
    #[error("{}: {source}", path.display())]
    Strange {
        /// The file.
        path: PathBuf,
        /// Why.
        source: JoinAddressError,
    },
}

impl Join {
    /// Where the master is now, and the token.
    pub(crate) fn address(&self) -> Result<JoinAddress, JoinFileError> {
        match self {
            Self::Address(address) => Ok(address.clone()),
            Self::File(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Result<JoinAddress, JoinFileError> {
    let text = private::read(path)?.ok_or_else(|| JoinFileError::Missing(path.to_owned()))?;
    text.parse().map_err(|source| JoinFileError::Strange { path: path.to_owned(), source })
}

/// Who a worker is to its master.
#[derive(Clone)]
pub struct Identity {
    /// Its name.
    pub worker: WorkerId,
    chain: Arc<[Vec<u8>]>,
    key: Arc<[u8]>,
    expires: Time,
}

impl Identity {
    /// What it shows.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        Shown { chain: &self.chain, key: &self.key }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No connection.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The master says no.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// The machine has no random numbers.
    #[error("no key can be made")]
    Key,
    /// The master takes too long.
    #[error("it does not answer")]
    Silent,
}

impl JoinError {
    /// Whether the token opens nothing, however often it is shown.
    pub(crate) fn is_token(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == tonic::Code::Unauthenticated)
    }
}

/// Joins.
///
/// # Errors
/// The master is not there, or does not take the token.
pub async fn join(JoinAddress { address, token }: JoinAddress) -> Result<Identity, JoinError> {
    let (key, public_key) = new_key()?;
    let asked = clock::now();
    let answer = within(async {
        let dial = Dial { address, bearer: Bearer::none(), identity: None };
        let mut client = client(&dial).await?.0;
        client.join(v1::JoinRequest { token, public_key }).await.map_err(refused)
    });
    identity(answer.await?.into_inner(), key, asked)
}

/// Joins, as often as it takes; where the master is, and who the worker is to it.
///
/// # Errors
/// In words: it never will.
pub(crate) async fn joined(join: &Join) -> Result<(Address, Identity), String> {
    let mut told = String::new();
    loop {
        // A file is read again each time: its token is replaced now and then.
        let found = match join.address() {
            Ok(found) => found,
            Err(error @ JoinFileError::Missing(_)) => {
                if told.is_empty() {
                    told = error.to_string();
                    tracing::warn!("{told}; waiting for it");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        let address = found.address.clone();
        let error = match self::join(found).await {
            Ok(identity) => {
                tracing::info!("joined {address} as {}", identity.worker);
                return Ok((address, identity));
            }
            Err(error) => error,
        };
        if error.is_token() && matches!(join, Join::Address(_)) {
            return Err(error.to_string());
        }
        let why = error.to_string();
        if told != why {
            tracing::warn!("{address}: {why}; trying on");
            told = why;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How a worker goes on to be one.
pub(crate) enum Renewal {
    /// With the next certificate.
    Renewed(Identity),
    /// As another worker: nothing renews a certificate that has expired.
    Joined(Address, Identity),
    /// Not at all, as this says.
    Over(String),
}

/// Waits until the next certificate is due, and asks for it until it is there.
pub(crate) async fn renewed(address: Address, old: Identity, join: Join) -> Renewal {
    loop {
        let left = old.expires.ms_since(clock::now());
        if left == 0 {
            tracing::warn!("this worker's certificate has expired: it joins anew, as another worker");
            return anew(join).await;
        }
        let random = getrandom::u64().unwrap_or(0);
        until(clock::now().after_ms(renew_after_ms(left, random))).await;
        if old.expires.ms_since(clock::now()) == 0 {
            continue;
        }
        match renew(address.clone(), &old).await {
            Ok(identity) => return Renewal::Renewed(identity),
            Err(error) => {
                tracing::warn!("the certificate is not renewed yet: {error}");
                tokio::time::sleep(AGAIN.min(Duration::from_millis(left / 8))).await;
            }
        }
    }
}

/// Joins as another worker.
pub(crate) async fn anew(join: Join) -> Renewal {
    match joined(&join).await {
        Ok((address, identity)) => Renewal::Joined(address, identity),
        Err(why) => Renewal::Over(why),
    }
}

/// Waits until `due`, by the clock that goes on while the machine sleeps.
async fn until(due: Time) {
    loop {
        let left = due.ms_since(clock::now());
        if left == 0 {
            return;
        }
        tokio::time::sleep(LOOK.min(Duration::from_millis(left))).await;
    }
}

async fn renew(address: Address, old: &Identity) -> Result<Identity, JoinError> {
    let (key, public_key) = new_key()?;
    let asked = clock::now();
    let answer = within(async {
        let dial = Dial { address, bearer: Bearer::none(), identity: Some(old.clone()) };
        let mut client = client(&dial).await?.0;
        client.renew(v1::RenewRequest { public_key }).await.map_err(refused)
    });
    let new = identity(answer.await?.into_inner(), key, asked)?;
    if new.worker == old.worker { Ok(new) } else { Err(garbled("is another worker's")) }
}

async fn within<T>(call: impl Future<Output = Result<T, JoinError>>) -> Result<T, JoinError> {
    tokio::time::timeout(WITHIN, call).await.unwrap_or(Err(JoinError::Silent))
}

fn refused(status: Status) -> JoinError {
    JoinError::Refused(Box::new(status))
}

fn garbled(problem: &str) -> JoinError {
    LinkError::Garbled(FieldError::new("identity", problem)).into()
}

/// A key, as PKCS #8, and its public half.
fn new_key() -> Result<(Arc<[u8]>, Vec<u8>), JoinError> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| JoinError::Key)?;
    let pair = Ed25519KeyPair::from_pkcs8(key.as_ref()).map_err(|_| JoinError::Key)?;
    Ok((key.as_ref().into(), pair.public_key().as_ref().to_vec()))
}

fn identity(answer: v1::Identity, key: Arc<[u8]>, asked: Time) -> Result<Identity, JoinError> {
    let v1::Identity { worker, chain, lives_ms } = answer;
    let worker = worker.try_into().map(WorkerId).map_err(|_| garbled("names no worker"))?;
    let (most, longest) = LONGEST_CHAIN;
    if chain.is_empty() || chain.len() > most || chain.iter().any(|it| it.len() > longest) {
        return Err(garbled("has no certificate"));
    }
    Ok(Identity { worker, chain: chain.into(), key, expires: asked.after_ms(lives_ms) })
}
