//! The listeners: one accept loop for both protocols, their limits, and who may call.
//! Invariant: every limit that a library leaves open is set here, and every request passes [`access::admit`] first.

mod access;
mod connection;
mod guests;
mod listeners;
mod until;
mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::middleware;
use axum::response::IntoResponse;
use gridctl_core::access::Proof;
use gridctl_proto::limits;
use gridctl_proto::v1::worker_service_server::WorkerServiceServer;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tower::{ServiceExt as _, service_fn};

use crate::access_keeper::AccessKeeper;
use crate::api::{self, ApiError};
use crate::clock;
use crate::handle::Handle;
use crate::identity;
use crate::listen;
use crate::tasks::Tasks;
use access::{Arrival, Way};
pub use access::{RULES, Rule};
use connection::{Connection, Socket};
use guests::{GuestPass, Guests};
pub(crate) use listeners::Listeners;

/// Connections at a time; fewer, where the process may open fewer files.
const CONNECTIONS: usize = 12_000;
/// After an error while accepting: out of file descriptors, say.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Streams of one connection.
const STREAMS: u32 = 256;
/// Streams that a caller may reset before its connection is ended: hyper's own default, which a builder may take away.
const RESETS: usize = 1_024;
/// Bytes of one request's headers, and how many of them.
const HEADER_BYTES: u32 = 16 << 10;
const HEADERS: usize = 64;
/// The head of a request must be there after so long.
const HEAD: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it lives after so long, and must answer within the next.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// A TLS handshake must be done after so long.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Who comes from elsewhere must have said who they are after so long.
const GUEST: Duration = Duration::from_secs(30);
/// Requests of one connection at a time.
const REQUESTS: usize = 64;

/// What serves connections.
#[derive(Clone)]
struct Server {
    routes: Router,
    builder: auto::Builder<TokioExecutor>,
    connections: Arc<Semaphore>,
    guests: Arc<Guests>,
    tasks: Tasks,
    ended: watch::Receiver<bool>,
}

/// Serves until `ended` says so.
pub(crate) async fn serve(handle: Handle, listeners: Listeners, mut ended: watch::Receiver<bool>) {
    let Listeners { unix, plain, secure, keeper, join_file } = listeners;
    let most = connections(listen::open_files());
    let server = Server {
        routes: routes(handle, Arc::clone(&keeper), ended.clone()),
        builder: builder(),
        connections: Arc::new(Semaphore::new(most)),
        guests: Arc::new(Guests::new(most)),
        tasks: Tasks::default(),
        ended: ended.clone(),
    };
    let all = async {
        tokio::join!(
            server.accept_unix(unix),
            async {
                match plain {
                    Some(listener) => server.accept_tcp(listener, None).await,
                    None => std::future::pending().await,
                }
            },
            async {
                match secure {
                    Some((listener, acceptor)) => server.accept_tcp(listener, Some(acceptor)).await,
                    None => std::future::pending().await,
                }
            },
            async {
                match join_file {
                    Some(path) => keeper.keep_join_file(path).await,
                    None => std::future::pending().await,
                }
            }
        );
    };
    tokio::select! {
        () = all => {}
        () = over(&mut ended) => {}
    }
    server.tasks.all_ended().await;
}

/// Connections at a time for who may open so many files: a quarter of these is for all that is none, the results above all.
fn connections(open_files: u64) -> usize {
    let most = open_files - open_files / 4;
    usize::try_from(most).unwrap_or(CONNECTIONS).min(CONNECTIONS)
}

/// Both protocols' routes behind the one layer that decides who may call.
fn routes(handle: Handle, keeper: Arc<AccessKeeper>, ended: watch::Receiver<bool>) -> Router {
    let tasks = Tasks::default();
    let workers = worker::Workers::new(handle.clone(), Arc::clone(&keeper), (tasks, ended));
    let workers = WorkerServiceServer::new(workers)
        .max_decoding_message_size(limits::MAX_REQUEST_BYTES)
        .max_encoding_message_size(limits::MAX_RESPONSE_BYTES);
    let grpc = Routes::new(workers).prepare().into_axum_router();
    let credentials = api::credentials(handle.clone(), Arc::clone(&keeper));
    let admit = middleware::from_fn(move |request, next| access::admit(Arc::clone(&keeper), request, next));
    // tonic's router answers whatever it does not know, so the other one, which does that in JSON, takes its routes.
    api::router(handle).merge(credentials).merge(grpc.reset_fallback()).layer(admit)
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(64 << 10)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_local_error_reset_streams(RESETS)
        .max_pending_accept_reset_streams(RESETS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1);
    builder
}

impl Server {
    async fn accept_unix(&self, listener: UnixListener) {
        loop {
            let Some(permit) = self.permit().await else { return };
            match listener.accept().await {
                Ok((socket, _)) if is_mine(&socket) => {
                    let arrival = Arrival { way: Way::Unix, proof: Proof::Owner, from: None };
                    self.tasks.spawn(self.connection(Socket::Unix(socket), (arrival, None), permit));
                }
                Ok(_) => tracing::warn!("another user tried to connect"),
                Err(error) => back_off(&error).await,
            }
        }
    }

    async fn accept_tcp(&self, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
        loop {
            let Some(permit) = self.permit().await else { return };
            match listener.accept().await {
                Ok((socket, from)) => {
                    // Without them a connection is slower, or is noticed later to be dead.
                    let _ = socket.set_nodelay(true);
                    let _ = sockopt::set_socket_keepalive(&socket, true);
                    let from = from.ip().to_canonical();
                    // Who finds no place is hung up, and may come again.
                    let Some(pass) = self.guests.enter(from, clock::now()) else { continue };
                    let from = Some(from);
                    let Some(acceptor) = &acceptor else {
                        let arrival = Arrival { way: Way::Plain, proof: Proof::Nothing, from };
                        let arrival = (arrival, Some(pass));
                        self.tasks.spawn(self.connection(Socket::Tcp(socket), arrival, permit));
                        continue;
                    };
                    let (server, acceptor) = (self.clone(), acceptor.clone());
                    self.tasks.spawn(async move {
                        let shaken = tokio::select! {
                            shaken = handshake(acceptor, socket) => shaken,
                            () = pass.put_out() => None,
                        };
                        let Some((socket, proof)) = shaken else { return };
                        if proof != Proof::Nothing {
                            pass.is_known();
                        }
                        let arrival = Arrival { way: Way::Tls, proof, from };
                        server.connection(socket, (arrival, Some(pass)), permit).await;
                    });
                }
                Err(error) => back_off(&error).await,
            }
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).acquire_owned().await.ok()
    }

    /// Serves one connection until either end has had enough.
    fn connection(
        &self,
        socket: Socket,
        (arrival, pass): (Arrival, Option<GuestPass>),
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (routes, requests) = (self.routes.clone(), Arc::new(Semaphore::new(REQUESTS)));
        let shared = pass.clone();
        let answer = service_fn(move |mut request: Request<_>| {
            let (routes, requests) = (routes.clone(), Arc::clone(&requests));
            request.extensions_mut().insert(arrival);
            if let Some(pass) = &shared {
                request.extensions_mut().insert(pass.clone());
            }
            async move {
                let Ok(_one) = requests.try_acquire() else { return Ok(busy()) };
                routes.oneshot(request.map(Body::new)).await
            }
        });
        let (builder, mut ended) = (self.builder.clone(), self.ended.clone());
        async move {
            let io = TokioIo::new(Connection::new(socket, permit));
            let served = builder.serve_connection(io, TowerToHyperService::new(answer));
            tokio::pin!(served);
            let result = tokio::select! {
                result = served.as_mut() => result,
                () = over(&mut ended) => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
                () = overstayed(pass) => return,
            };
            if let Err(error) = result {
                tracing::debug!(error, "a connection ended");
            }
        }
    }
}

/// Waits until somebody has been a guest for too long, or their place is another's; for ever, if they are none.
async fn overstayed(pass: Option<GuestPass>) {
    let Some(pass) = pass else { return std::future::pending().await };
    if tokio::time::timeout(GUEST, pass.known()).await.unwrap_or(false) {
        std::future::pending().await
    }
}

/// The connection once it is encrypted, and how who made it is recognised.
async fn handshake(acceptor: TlsAcceptor, socket: TcpStream) -> Option<(Socket, Proof)> {
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let proof = shown.map_or(Proof::Nothing, identity::worker_of);
            Some((Socket::Tls(Box::new(stream)), proof))
        }
        Ok(Err(error)) => {
            tracing::info!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake was not done in time");
            None
        }
    }
}

/// Waits until the master ends.
async fn over(ended: &mut watch::Receiver<bool>) {
    // An error means that it has ended already.
    let _ = ended.wait_for(|ended| *ended).await;
}

fn busy() -> Response<Body> {
    let message = format!("more than {REQUESTS} requests of one connection at a time");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).into_response()
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection; trying again");
    tokio::time::sleep(BACK_OFF).await;
}

/// Whether the other end is this user, or root.
fn is_mine(socket: &UnixStream) -> bool {
    let mine = rustix::process::geteuid().as_raw();
    socket.peer_cred().is_ok_and(|peer| peer.uid() == mine || peer.uid() == 0)
}
