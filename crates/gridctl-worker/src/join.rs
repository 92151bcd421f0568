//! How a worker becomes one of a master on another machine: it joins by a token, and renews its certificate long before that ends.
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
pub(crate) struct Identity {
    pub(crate) worker: WorkerId,
    chain: Arc<[Vec<u8>]>,
    key: Arc<[u8]>,
    expires: Time,
}

impl Identity {
    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown { chain: &self.chain, key: &self.key }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    #[error("no key can be made")]
    Key,
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
pub(crate) async fn join(JoinAddress { address, token }: JoinAddress) -> Result<Identity, JoinError> {
    let (key, public_key) = new_key()?;
    let asked = clock::now();
    let answer = within(async {
        let dial = Dial { address, bearer: Bearer::none(), identity: None };
        let mut client = client(&dial).await?.0;
        client.join(v1::JoinRequest { token, public_key }).await.map_err(refused)
    });
    identity(answer.await?.into_inner(), key, asked)
}

/// Waits until the next certificate is due, and asks for it until it is there.
pub(crate) async fn renewed(address: Address, old: Identity) -> Identity {
    loop {
        let left = old.expires.ms_since(clock::now());
        let random = getrandom::u64().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(renew_after_ms(left, random))).await;
        match renew(address.clone(), &old).await {
            Ok(identity) => return identity,
            Err(error) => {
                tracing::warn!("the certificate is not renewed yet: {error}");
                tokio::time::sleep(AGAIN.min(Duration::from_millis(left / 8))).await;
            }
        }
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
