//! The worker's connection to its master: one gRPC stream over a Unix socket or loopback.
//! Invariant: nothing waits here without a limit, and a message that cannot be sent at once ends the connection.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use gridctl_core::protocol::{ToMaster, ToWorker};
use gridctl_proto::v1::worker_service_client::WorkerServiceClient;
use gridctl_proto::{limits, split, v1};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// Messages that may wait for a master that is slow to read.
const MOST_WAITING: usize = 4_096;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(10);
/// A master that was told goodbye has so long to hang up.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
const PONG_WITHIN: Duration = Duration::from_secs(5);

/// Where a master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket on this machine.
    Unix(PathBuf),
    /// `http://host:port`.
    Http(String),
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a master's address: give http://HOST:PORT, or the path of its socket as unix:/PATH")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(error()) };
        }
        let place = text.strip_prefix("http://").ok_or_else(error)?.trim_end_matches('/');
        let (host, port) = place.rsplit_once(':').ok_or_else(error)?;
        let plain = !host.is_empty() && !place.contains(['/', '@', '?', '#', '%', ' ']);
        let known = port.parse::<u16>().is_ok_and(|port| port > 0);
        if plain && known { Ok(Self::Http(format!("http://{place}"))) } else { Err(error()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(address) => f.write_str(address),
        }
    }
}

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot reach the master: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("the master ended the connection: {0}")]
    Status(#[from] Box<Status>),
    #[error("the master closed the connection")]
    Closed,
    #[error("the master sent what cannot be understood: {0}")]
    Garbled(#[from] gridctl_proto::FieldError),
}

type Opening = Pin<Box<dyn Future<Output = Result<Response<Streaming<v1::MasterMessage>>, Status>> + Send>>;

/// A connection that stands.
pub(crate) struct Link {
    to: mpsc::Sender<v1::WorkerMessage>,
    from: From,
}

enum From {
    /// The master has not answered yet; it may want to hear the first message before it does.
    Opening(Opening),
    Open(Box<Streaming<v1::MasterMessage>>),
}

/// Connects to a master.
pub(crate) async fn connect(
    address: Address,
    token: Option<MetadataValue<Ascii>>,
) -> Result<Link, LinkError> {
    let uri = match &address {
        Address::Unix(path) => format!("unix://{}", path.display()),
        Address::Http(uri) => uri.clone(),
    };
    let endpoint = Endpoint::from_shared(uri)?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await?;
    let (to, messages) = mpsc::channel(MOST_WAITING);
    let mut request = Request::new(ReceiverStream::new(messages));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token);
    }
    let from = From::Opening(Box::pin(open(channel, request)));
    Ok(Link { to, from })
}

async fn open(
    channel: Channel,
    request: Request<ReceiverStream<v1::WorkerMessage>>,
) -> Result<Response<Streaming<v1::MasterMessage>>, Status> {
    let mut client = WorkerServiceClient::new(channel)
        .max_decoding_message_size(limits::MAX_RESPONSE_BYTES)
        .max_encoding_message_size(limits::MAX_REQUEST_BYTES);
    client.connect(request).await
}

impl Link {
    /// Says something; false if the connection is of no more use.
    pub(crate) fn send(&self, message: ToMaster) -> bool {
        split::to_master(message).into_iter().all(|piece| self.to.try_send(piece).is_ok())
    }

    /// Hangs up once what was said last, the goodbye above all, has been sent.
    pub(crate) async fn close(self) {
        let Self { to, mut from } = self;
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
    pub(crate) async fn next(&mut self) -> Result<ToWorker, LinkError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_an_address_is_a_socket_or_a_plain_host_and_port() {
        let good = [
            ("unix:/run/g.sock", "unix:/run/g.sock"),
            ("unix:///run/g.sock", "unix:/run/g.sock"),
            ("http://127.0.0.1:7070/", "http://127.0.0.1:7070"),
            ("http://[::1]:7070", "http://[::1]:7070"),
        ];
        for (text, shown) in good {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        let bad = [
            "",
            "127.0.0.1:7070",
            "http://169.254.169.254/",
            "http://host:0",
            "http://host:65536",
            "http://user:pass@host:1",
            "http://[fe80::1%25eth0]:1",
            "http://:1",
            "file:///etc/passwd",
            "unix:relative",
        ];
        for text in bad {
            assert_eq!(text.parse::<Address>(), Err(AddressError(text.to_owned())));
        }
    }
}
