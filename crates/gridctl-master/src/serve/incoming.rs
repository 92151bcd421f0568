//! Connections: accepted at most so many at a time, from this user alone, and dropped if they do not begin to speak.
//! Invariant: an error while accepting never ends the server and never spins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::tasks::Tasks;

/// Connections at a time.
const CONNECTIONS: usize = 12_000;
/// A connection must have said HTTP/2's preface after so long.
const PREFACE: Duration = Duration::from_secs(5);
/// HTTP/2's preface has so many bytes.
const PREFACE_BYTES: usize = 24;
/// After an error while accepting: out of file descriptors, say.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The Unix socket: the system has checked who it is.
    Unix,
    /// Loopback: anybody on this machine, so a token is needed.
    Tcp,
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection that counts against the limit as long as it lives.
pub(crate) struct Connection {
    socket: Socket,
    /// Until the preface is there.
    silence: Option<Pin<Box<Sleep>>>,
    read: usize,
    _permit: OwnedSemaphorePermit,
}

/// Both listeners' connections.
pub(crate) struct Incoming(mpsc::Receiver<io::Result<Connection>>);

impl Incoming {
    pub(crate) fn new(unix: UnixListener, tcp: Option<TcpListener>, tasks: &Tasks) -> Self {
        let (accepted, connections) = mpsc::channel(16);
        let limit = Arc::new(Semaphore::new(CONNECTIONS));
        tasks.spawn(accept_unix(unix, Arc::clone(&limit), accepted.clone()));
        if let Some(tcp) = tcp {
            tasks.spawn(accept_tcp(tcp, limit, accepted));
        }
        Self(connections)
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

type Accepted = mpsc::Sender<io::Result<Connection>>;

async fn accept_unix(listener: UnixListener, limit: Arc<Semaphore>, accepted: Accepted) {
    loop {
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
        let socket = match listener.accept().await {
            Ok((socket, _)) if is_mine(&socket) => Socket::Unix(socket),
            Ok(_) => {
                tracing::warn!("another user tried to connect");
                continue;
            }
            Err(error) => {
                back_off(&error).await;
                continue;
            }
        };
        if accepted.send(Ok(Connection::new(socket, permit))).await.is_err() {
            return;
        }
    }
}

async fn accept_tcp(listener: TcpListener, limit: Arc<Semaphore>, accepted: Accepted) {
    loop {
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                back_off(&error).await;
                continue;
            }
        };
        // Without them a connection is slower, or is noticed later to be dead.
        let _ = socket.set_nodelay(true);
        let _ = sockopt::set_socket_keepalive(&socket, true);
        if accepted.send(Ok(Connection::new(Socket::Tcp(socket), permit))).await.is_err() {
            return;
        }
    }
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection; trying again");
    sleep(BACK_OFF).await;
}

/// Whether the other end is this user, or root.
fn is_mine(socket: &UnixStream) -> bool {
    let mine = rustix::process::geteuid().as_raw();
    socket.peer_cred().is_ok_and(|peer| peer.uid() == mine || peer.uid() == 0)
}

impl Connection {
    fn new(socket: Socket, permit: OwnedSemaphorePermit) -> Self {
        Self { socket, silence: Some(Box::pin(sleep(PREFACE))), read: 0, _permit: permit }
    }

    fn inner(&mut self) -> Pin<&mut dyn Both> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket),
            Socket::Tcp(socket) => Pin::new(socket),
        }
    }
}

trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match self.socket {
            Socket::Unix(_) => Peer::Unix,
            Socket::Tcp(_) => Peer::Tcp,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(silence) = &mut self.silence
            && silence.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(self.inner().poll_read(context, buf))?;
        if self.silence.is_some() {
            self.read += buf.filled().len() - before;
            if self.read >= PREFACE_BYTES {
                self.silence = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Unix(socket) => socket.is_write_vectored(),
            Socket::Tcp(socket) => socket.is_write_vectored(),
        }
    }
}
