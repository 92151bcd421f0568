//! A worker's stream: the whole truth first, then what changed, both ways.
//! Invariant: whatever comes is checked before it reaches the driver, and who does not read is hung up, not waited for.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gridctl_core::access::Proof;
use gridctl_core::id::{LeaseSeq, PackHash, WorkerId};
use gridctl_core::live::PIECE;
use gridctl_core::protocol::{ToMaster, ToWorker};
use gridctl_core::sched::Conn;
use gridctl_proto::split::{self, StreamOpening};
use gridctl_proto::{FieldError, v1};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::access::Caller;
use super::over;
use crate::access_keeper::{AccessError, AccessKeeper, Issued};
use crate::handle::Handle;
use crate::identity::PublicKey;
use crate::live::{Blow, LiveWish};
use crate::message::{Line, Message, OUTGOING};
use crate::tasks::Tasks;

/// The `Hello` must be there after so long, and each further piece of it.
const HELLO: Duration = Duration::from_secs(5);
/// A worker's heartbeats come every few seconds; one that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);
/// So many updates at once are a burst; beyond, a worker is slowed down to one in [`PACE`].
const BURST: u32 = 2_000;
/// One update in this time, over a while.
const PACE: Duration = Duration::from_micros(500);
/// Bytes of a pack that go together, and how many such pieces wait for a worker that is slow.
const PACK_PIECE: usize = 128 << 10;
const PIECES: usize = 4;

/// The service.
pub(crate) struct Workers {
    handle: Handle,
    keeper: Arc<AccessKeeper>,
    tasks: Tasks,
    ended: watch::Receiver<bool>,
}

impl Workers {
    pub(crate) fn new(
        handle: Handle,
        keeper: Arc<AccessKeeper>,
        (tasks, ended): (Tasks, watch::Receiver<bool>),
    ) -> Self {
        Self { handle, keeper, tasks, ended }
    }
}

#[tonic::async_trait]
impl v1::worker_service_server::WorkerService for Workers {
    type ConnectStream = Outgoing;

    async fn connect(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Outgoing>, Status> {
        let (say, said) = mpsc::channel(OUTGOING);
        let (end, why) = oneshot::channel();
        let conn = self.handle.next_conn();
        let caller = caller(&request)?;
        let keeper = Arc::clone(&self.keeper);
        let door = Door { caller, keeper: Arc::clone(&keeper), say };
        let reading = read(self.handle.clone(), conn, request.into_inner(), door);
        let (mut ended, handle) = (self.ended.clone(), self.handle.clone());
        self.tasks.spawn(async move {
            let result = tokio::select! {
                result = reading => result,
                () = keeper.over(caller.proof) => {
                    let _ = handle.tell(Message::Closed(conn)).await;
                    Err(shut_out(&keeper, caller))
                }
                () = over(&mut ended) => {
                    // The driver lets go of the connection, or is gone itself.
                    let _ = handle.tell(Message::Closed(conn)).await;
                    Err(Status::unavailable("the master is ending"))
                }
            };
            if let Err(status) = result {
                // The other end may be gone.
                let _ = end.send(status);
            }
        });
        Ok(Response::new(Outgoing { said, why: Some(why), ready: VecDeque::new() }))
    }

    type LiveStream = LiveRequests;

    async fn live(
        &self,
        request: Request<Streaming<v1::LiveOutput>>,
    ) -> Result<Response<LiveRequests>, Status> {
        let caller = caller(&request)?;
        let keeper = Arc::clone(&self.keeper);
        let (requests, asked) = mpsc::channel(1);
        let hearing = hear(self.handle.clone(), caller, request.into_inner(), requests);
        let mut ended = self.ended.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                // The worker opens another one with its next connection.
                _ = hearing => {}
                () = keeper.over(caller.proof) => {}
                () = over(&mut ended) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(asked)))
    }

    type FetchPackStream = PackPieces;

    async fn fetch_pack(&self, request: Request<v1::PackRequest>) -> Result<Response<PackPieces>, Status> {
        let caller = caller(&request)?;
        let pack = PackHash(request.into_inner().pack.try_into().map_err(|bytes: Vec<u8>| {
            Status::from(FieldError::new("pack", format!("has {} bytes, not 32", bytes.len())))
        })?);
        let ending = |_| Status::unavailable("the master is ending");
        let found = self.handle.open_pack(pack).await.map_err(ending)?;
        let found = found.ok_or_else(|| Status::not_found("this master does not have the pack"))?;
        let (say, pieces) = mpsc::channel(PIECES);
        let (keeper, mut ended) = (Arc::clone(&self.keeper), self.ended.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = send_pack(found.file, say) => {}
                () = keeper.over(caller.proof) => {}
                () = over(&mut ended) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(pieces)))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::Identity>, Status> {
        let from = caller(&request)?.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let v1::JoinRequest { token, public_key } = request.into_inner();
        let key = public(&public_key)?;
        self.keeper.join(&self.handle, (token, from), key).await.map(identity).map_err(refused)
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Identity>, Status> {
        let worker = caller(&request)?.peer.worker;
        let worker = worker.ok_or_else(|| Status::permission_denied("no certificate names a worker"))?;
        let key = public(&request.into_inner().public_key)?;
        self.keeper.renew(worker, key).map(identity).map_err(refused)
    }
}

type PackPieces = ReceiverStream<Result<v1::PackPiece, Status>>;

/// Sends a pack's bytes as fast as the worker takes them.
async fn send_pack(file: std::fs::File, say: mpsc::Sender<Result<v1::PackPiece, Status>>) {
    let mut file = tokio::fs::File::from_std(file);
    loop {
        let mut data = Vec::with_capacity(PACK_PIECE);
        let piece = match (&mut file).take(PACK_PIECE as u64).read_to_end(&mut data).await {
            Ok(0) => return,
            Ok(_) => Ok(v1::PackPiece { data }),
            Err(error) => Err(Status::internal(format!("the pack cannot be read: {error}"))),
        };
        let is_last = piece.is_err();
        if say.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

type LiveRequests = ReceiverStream<Result<v1::LiveRequest, Status>>;

/// Asks a worker for what is followed, and hands on what it sends.
async fn hear(
    handle: Handle,
    caller: Caller,
    mut incoming: Streaming<v1::LiveOutput>,
    requests: mpsc::Sender<Result<v1::LiveRequest, Status>>,
) -> Option<()> {
    let first = tokio::time::timeout(HELLO, incoming.message()).await.ok()?.ok()??;
    let Some(v1::live_output::Say::Worker(worker)) = first.say else { return None };
    let worker = WorkerId(worker.try_into().ok()?);
    if !caller.peer.may_be(worker) {
        // The other end may be gone.
        let _ = requests.send(Err(Status::permission_denied("that is another worker"))).await;
        return None;
    }
    let (feed, mut wants) = handle.shared.live.join(worker);
    wants.mark_changed();
    loop {
        tokio::select! {
            wanted = wants.changed() => {
                wanted.ok()?;
                let LiveWish { leases, blow } = wants.borrow_and_update().clone();
                let leases = leases.iter().map(|lease| lease.0).collect();
                let (kill, interrupt) = (blow == Some(Blow::Kill), blow == Some(Blow::Interrupt));
                requests.send(Ok(v1::LiveRequest { leases, kill, interrupt })).await.ok()?;
            }
            message = incoming.message() => {
                let Some(v1::live_output::Say::Piece(piece)) = message.ok()??.say else { return None };
                let v1::OutputPiece { lease, from, data, over } = piece;
                if data.len() > PIECE {
                    return None;
                }
                feed.put(LeaseSeq(lease), (from, &data), over);
            }
        }
    }
}

/// Who calls, as the layer in front has found; without it nobody is let in.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().copied();
    caller.ok_or_else(|| Status::internal("nobody has looked at who calls"))
}

fn public(key: &[u8]) -> Result<PublicKey, Status> {
    key.try_into()
        .map_err(|_| FieldError::new("public_key", format!("has {} bytes, not 32", key.len())).into())
}

fn identity(issued: Issued) -> Response<v1::Identity> {
    let Issued { worker, chain, life } = issued;
    let lives_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    Response::new(v1::Identity { worker: worker.0.to_vec(), chain, lives_ms })
}

fn refused(error: AccessError) -> Status {
    let why = error.to_string();
    match error {
        AccessError::Token => Status::unauthenticated(why),
        AccessError::Revoked(_) => Status::permission_denied(why),
        AccessError::TooMany | AccessError::NoRoom(_) => Status::resource_exhausted(why),
        AccessError::NoNetwork => Status::failed_precondition(why),
        AccessError::Master(error) => {
            tracing::error!(error = crate::chain(&error), "no certificate is given");
            Status::unavailable("the master cannot give a certificate now; its log says why")
        }
    }
}

/// Why a stream is ended that was let in.
fn shut_out(keeper: &AccessKeeper, caller: Caller) -> Status {
    match caller.proof {
        Proof::Certificate { worker, .. } if keeper.is_revoked(worker) => {
            refused(AccessError::Revoked(worker))
        }
        // It comes back with the next one.
        _ => Status::unavailable("the certificate of this connection has expired"),
    }
}

/// Who is at the other end of a stream, and how it is told things.
struct Door {
    caller: Caller,
    keeper: Arc<AccessKeeper>,
    say: mpsc::Sender<ToWorker>,
}

/// Reads a connection to its end.
async fn read(
    handle: Handle,
    conn: Conn,
    mut incoming: Streaming<v1::WorkerMessage>,
    Door { caller, keeper, say }: Door,
) -> Result<(), Status> {
    let ending = |_| Status::unavailable("the master is ending");
    let hello = open(&mut incoming).await?;
    if !caller.peer.may_be(hello.worker) {
        return Err(Status::permission_denied("`hello` names another worker than the certificate"));
    }
    if keeper.is_revoked(hello.worker) {
        return Err(refused(AccessError::Revoked(hello.worker)));
    }
    let (hold, mut held) = oneshot::channel();
    let line = Line { say, _hold: hold };
    handle.tell(Message::Opened(conn, hello, line)).await.map_err(ending)?;
    let mut pace = Pace::default();
    let result = loop {
        let message = tokio::select! {
            message = tokio::time::timeout(SILENCE, incoming.message()) => message,
            _ = &mut held => break Ok(()),
        };
        let message = match message {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => break Ok(()),
            Ok(Err(status)) => break Err(status),
            Err(_) => break Err(Status::deadline_exceeded("nothing was heard for two minutes")),
        };
        match ToMaster::try_from(message) {
            Ok(ToMaster::Update(update)) => {
                pace.keep().await;
                handle.tell(Message::Said(conn, Box::new(update))).await.map_err(ending)?;
            }
            Ok(ToMaster::Hello(_)) => {
                break Err(FieldError::new("say", "`hello` comes once on a connection").into());
            }
            Err(error) => break Err(error.into()),
        }
    };
    handle.tell(Message::Closed(conn)).await.map_err(ending)?;
    result
}

/// The whole `Hello`, from as many messages as it takes.
async fn open(
    incoming: &mut Streaming<v1::WorkerMessage>,
) -> Result<Box<gridctl_core::protocol::Hello>, Status> {
    let mut opening = StreamOpening::begin(piece(incoming).await?)?;
    while !opening.is_whole() {
        opening.push(piece(incoming).await?)?;
    }
    opening.finish().map(Box::new).ok_or_else(cut_short)
}

async fn piece(incoming: &mut Streaming<v1::WorkerMessage>) -> Result<v1::WorkerMessage, Status> {
    let message = tokio::time::timeout(HELLO, incoming.message()).await;
    message.map_err(|_| Status::deadline_exceeded("no `hello` within five seconds"))??.ok_or_else(cut_short)
}

fn cut_short() -> Status {
    Status::cancelled("the connection ended before `hello` was whole")
}

/// Slows down who says too much: a bucket that holds [`BURST`] and is filled by one in each [`PACE`].
struct Pace {
    left: u32,
    filled: tokio::time::Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: BURST, filled: tokio::time::Instant::from_std(crate::clock::instant()) }
    }
}

impl Pace {
    async fn keep(&mut self) {
        if self.left == 0 {
            let now = tokio::time::Instant::from_std(crate::clock::instant());
            let since = now.saturating_duration_since(self.filled);
            let earned = u32::try_from(since.as_micros() / PACE.as_micros()).unwrap_or(u32::MAX).min(BURST);
            (self.left, self.filled) = (earned, now);
            if earned == 0 {
                tokio::time::sleep(PACE * 20).await;
                self.left = 20;
            }
        }
        self.left -= 1;
    }
}

/// What a worker is told, in pieces, and at the end why.
pub(crate) struct Outgoing {
    said: mpsc::Receiver<ToWorker>,
    why: Option<oneshot::Receiver<Status>>,
    ready: VecDeque<v1::MasterMessage>,
}

impl Stream for Outgoing {
    type Item = Result<v1::MasterMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            match self.said.poll_recv(context) {
                Poll::Ready(Some(message)) => self.ready.extend(split::to_worker(message)),
                Poll::Ready(None) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        let Some(why) = &mut self.why else { return Poll::Ready(None) };
        let status = ready!(Pin::new(why).poll(context)).ok();
        self.why = None;
        Poll::Ready(status.map(Err))
    }
}
