//! A connection: counts against the limit as long as it lives, and is dropped if it does not begin to speak.
//! Invariant: who says nothing costs a file descriptor for a few seconds, and nothing else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// A connection must have said so much after so long; HTTP/2's preface has so many bytes, and no request has fewer.
const BEGINNING: Duration = Duration::from_secs(5);
const BEGINNING_BYTES: usize = 24;

/// Any kind of socket.
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
pub(super) struct Connection {
    socket: Socket,
    /// Until its beginning is there.
    silence: Option<Pin<Box<Sleep>>>,
    read: usize,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(socket: Socket, permit: OwnedSemaphorePermit) -> Self {
        Self { socket, silence: Some(Box::pin(sleep(BEGINNING))), read: 0, _permit: permit }
    }

    fn inner(&mut self) -> Pin<&mut dyn Both> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket),
            Socket::Tcp(socket) => Pin::new(socket),
            Socket::Tls(socket) => Pin::new(socket),
        }
    }
}

trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

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
            if self.read >= BEGINNING_BYTES {
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
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }
}
