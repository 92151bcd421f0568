//! The gRPC server: its limits, who may call, and the two services. Invariant: every limit that tonic leaves open is set here.

mod incoming;
mod sweep;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use gridctl_proto::limits;
use gridctl_proto::v1::sweep_service_server::SweepServiceServer;
use gridctl_proto::v1::worker_service_server::WorkerServiceServer;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic::{Request, Status};

use crate::handle::Handle;
use crate::tasks::Tasks;
use incoming::{Incoming, Peer};

/// Streams of one connection.
const STREAMS: u32 = 256;
/// Streams that a caller may reset before its connection is ended: hyper's own default, which tonic would take away.
const RESETS: usize = 1_024;
/// Bytes of one request's headers.
const HEADERS: u32 = 16 << 10;
/// A silent connection is asked whether it lives after so long, and must answer within the next.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// A request must be answered within this; streams must have begun.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Requests of one connection at a time.
const REQUESTS: usize = 64;

/// Serves until `ended` says so.
pub(crate) async fn serve(
    handle: Handle,
    (unix, tcp): (UnixListener, Option<TcpListener>),
    token: String,
    mut ended: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let tasks = Tasks::default();
    let incoming = Incoming::new(unix, tcp, &tasks);
    let workers = WorkerServiceServer::new(worker::Workers::new(handle.clone(), tasks, ended.clone()))
        .max_decoding_message_size(limits::MAX_REQUEST_BYTES)
        .max_encoding_message_size(limits::MAX_RESPONSE_BYTES);
    let sweeps = SweepServiceServer::new(sweep::Sweeps::new(handle))
        .max_decoding_message_size(limits::MAX_REQUEST_BYTES)
        .max_encoding_message_size(limits::MAX_RESPONSE_BYTES);
    let token: Arc<str> = token.into();
    Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_local_error_reset_streams(Some(RESETS))
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_header_list_size(HEADERS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .timeout(TIMEOUT)
        .concurrency_limit_per_connection(REQUESTS)
        .load_shed(true)
        .accept_http1(false)
        .layer(InterceptorLayer::new(move |request: Request<()>| admit(request, &token)))
        .add_service(workers)
        .add_service(sweeps)
        .serve_with_incoming_shutdown(incoming, async move {
            // An error means that nobody is left who could say it.
            let _ = ended.wait_for(|ended| *ended).await;
        })
        .await
}

/// Lets in who came by the Unix socket, or shows the token.
fn admit(request: Request<()>, token: &str) -> Result<Request<()>, Status> {
    if request.extensions().get::<Peer>() == Some(&Peer::Unix) {
        return Ok(request);
    }
    let shown =
        request.metadata().get("authorization").and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if shown.is_some_and(|shown| is_same(shown, token.as_bytes())) {
        Ok(request)
    } else {
        Err(Status::unauthenticated(
            "show `authorization: Bearer TOKEN`, with the token of the data directory's master.json",
        ))
    }
}

/// Compares without telling by its time where the first difference is.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len() && shown.iter().zip(token).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_by_tcp_must_show_the_token() {
        let request = |peer: Peer, shown: Option<&str>| {
            let mut request = Request::new(());
            request.extensions_mut().insert(peer);
            if let Some(shown) = shown {
                request.metadata_mut().insert("authorization", shown.parse().unwrap());
            }
            admit(request, "secret").is_ok()
        };
        assert!(request(Peer::Unix, None));
        assert!(request(Peer::Tcp, Some("Bearer secret")));
        for wrong in [None, Some("secret"), Some("Bearer secreT"), Some("Bearer secrets"), Some("Bearer ")] {
            assert!(!request(Peer::Tcp, wrong), "{wrong:?}");
        }
    }
}
