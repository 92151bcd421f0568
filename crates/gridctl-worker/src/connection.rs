//! The worker's connection to its master: one gRPC stream over a Unix socket, loopback, or TLS.
//! Invariant: nothing waits here without a limit, and a message that cannot be sent at once ends
//! the connection.

use std::pin::Pin;
use std::time::Duration;

use gridctl_core::id::WorkerId;
use gridctl_core::protocol::{ToMaster, ToWorker};
use gridctl_proto::v1::worker_service_client::WorkerServiceClient;
use gridctl_proto::{limits, split, v1};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::address::{Address, Bearer};
use crate::join::Identity;
use crate::live::{self, LiveOutputs, LiveSide};
use crate::tls::{self, Trouble};

/// Messages that may wait for a master that is slow to read.
const MOST_WAITING: usize = 4_096;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(10);
/// A master that was told goodbye has so long to hang up.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
const PONG_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody takes it.
    #[error("cannot reach the master: {}", root(.0))]
    Transport(#[from] tonic::transport::Error),
    /// TLS says why.
    #[error("the connection broke: {0}")]
    Tls(String),
    /// The master says why.
    #[error("the master ended the connection: {0}")]
    Status(#[from] Box<Status>),
    /// Nobody says why.
    #[error("the master closed the connection")]
    Closed,
    /// Another protocol, say.
    #[error("the master sent what cannot be understood: {0}")]
    Garbled(#[from] gridctl_proto::FieldError),
}

type ConnectFuture =
    Pin<Box<dyn Future<Output = Result<Response<Streaming<v1::MasterMessage>>, Status>> + Send>>;

/// A connection that stands.
pub struct MasterLink {
    to: mpsc::Sender<v1::WorkerMessage>,
    from: From,
    trouble: Trouble,
    /// More can be asked on the same connection.
    pub(crate) client: Client,
    /// Sends output that somebody follows.
    _live: JoinSet<()>,
}

enum From {
    /// The master has not answered yet; it may want to hear the first message before it does.
    Opening(ConnectFuture),
    Open(Box<Streaming<v1::MasterMessage>>),
}

/// Where a master is, and what is shown to it.
#[derive(Clone)]
pub struct Dial {
    /// The master.
    pub address: Address,
    /// A token, where the master wants one.
    pub bearer: Bearer,
    /// Who the worker is, where the master has said so.
    pub identity: Option<Identity>,
}

/// A client on a new connection, and what will say in words why that broke.
pub(crate) async fn client(dial: &Dial) -> Result<(Client, Trouble), LinkError> {
    let endpoint = dial
        .address
        .endpoint()?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true);
    let trouble = Trouble::default();
    let channel = match &dial.address {
        Address::Unix(_) | Address::Http(_) => endpoint.connect().await?,
        Address::Secure { place, pin } => {
            let (place, pin, identity) = (place.clone(), *pin, dial.identity.clone());
            let noted = trouble.clone();
            let connector = tower::service_fn(move |_| {
                let (place, identity, noted) = (place.clone(), identity.clone(), noted.clone());
                async move {
                    let shown = identity.as_ref().map(Identity::shown);
                    let link = tls::connect(&place, pin, shown, "h2").await?;
                    Ok::<_, std::io::Error>(TokioIo::new(link.noting(noted)))
                }
            });
            endpoint.connect_with_connector(connector).await?
        }
    };
    let client = WorkerServiceClient::with_interceptor(channel, dial.bearer.clone())
        .max_decoding_message_size(limits::MAX_RESPONSE_BYTES)
        .max_encoding_message_size(limits::MAX_REQUEST_BYTES);
    Ok((client, trouble))
}

pub(crate) type Client = WorkerServiceClient<InterceptedService<Channel, Bearer>>;

/// Connects to a master.
pub(crate) async fn connect(dial: Dial, side: LiveSide) -> Result<MasterLink, LinkError> {
    let (mut client, trouble) = client(&dial).await?;
    let mut live = JoinSet::new();
    live.spawn(live::serve(client.clone(), side));
    let (to, messages) = mpsc::channel(MOST_WAITING);
    let asks = client.clone();
    let open = async move { client.connect(ReceiverStream::new(messages)).await };
    Ok(MasterLink { to, from: From::Opening(Box::pin(open)), trouble, client: asks, _live: live })
}

/// The last cause, which says most.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl MasterLink {
    /// Connects as a worker that runs nothing that anybody could follow.
    ///
    /// # Errors
    /// The master is not there, or is another one.
    pub async fn open(dial: Dial, worker: WorkerId) -> Result<Self, LinkError> {
        // Nobody obeys what the master wishes.
        let (wish, _) = mpsc::unbounded_channel();
        connect(dial, LiveSide { worker, outputs: LiveOutputs::default(), wish }).await
    }

    /// Says something; false if the connection is of no more use.
    #[must_use]
    pub fn send(&self, message: ToMaster) -> bool {
        split::to_master(message).into_iter().all(|piece| self.to.try_send(piece).is_ok())
    }

    /// Hangs up once what was said last, the goodbye above all, has been sent.
    pub(crate) async fn close(self) {
        let Self { to, mut from, .. } = self;
        drop(to);
        let ended = async {
            while let From::Opening(opening) = &mut from {
                match opening.await {
                    Ok(stream) => from = From::Open(Box::new(stream.into_inner())),
                    Err(_) => return,
                }
            }
            if let From::Open(stream) = &mut from {
                while stream.next().await.is_some_and(|message| message.is_ok()) {}
            }
        };
        drop(tokio::time::timeout(CLOSE_WITHIN, ended).await);
    }

    /// What the master says next. May be dropped and called again without loss.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn next(&mut self) -> Result<ToWorker, LinkError> {
        let said = self.said().await;
        match (&said, self.trouble.why()) {
            (Err(_), Some(why)) => Err(LinkError::Tls(why.to_owned())),
            _ => said,
        }
    }

    async fn said(&mut self) -> Result<ToWorker, LinkError> {
        loop {
            match &mut self.from {
                From::Opening(opening) => {
                    let stream = opening.await.map_err(Box::new)?.into_inner();
                    self.from = From::Open(Box::new(stream));
                }
                From::Open(stream) => {
                    let message = stream.next().await.ok_or(LinkError::Closed)?.map_err(Box::new)?;
                    return Ok(message.try_into()?);
                }
            }
        }
    }
}
