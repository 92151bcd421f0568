//! A master that says what a test wants said, and a worker process that believes it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gridctl_core::id::{CodeHash, Epoch, Fingerprint, LeaseSeq, SweepId, Token, TrialId};
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::{FrozenSweep, Grant, Hello, MasterUpdate, ToMaster, ToWorker, Welcome};
use gridctl_core::record::Report;
use gridctl_core::spec::{self, SweepSpec};
use gridctl_core::value::{Params, Value};
use gridctl_proto::v1;
use gridctl_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use gridctl_storage::results::Results;
use gridctl_storage::volume::DirVolume;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that Cargo builds beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "{} is built by `cargo test` without `--test`, or by `--examples`",
        path.display()
    );
    path
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

/// One connection of a worker, seen from the master.
pub(crate) struct Connection {
    from: mpsc::UnboundedReceiver<ToMaster>,
    to: mpsc::Sender<Result<v1::MasterMessage, Status>>,
}

impl Connection {
    pub(crate) async fn say(&self, message: ToWorker) {
        self.to.send(Ok(message.into())).await.unwrap();
    }

    pub(crate) async fn update(&self, update: MasterUpdate) {
        self.say(ToWorker::Update(update)).await;
    }

    pub(crate) async fn hear(&mut self) -> ToMaster {
        tokio::time::timeout(PATIENCE, self.from.recv())
            .await
            .expect("the worker speaks")
            .expect("it is there")
    }

    /// The next reports, each of which is acknowledged; nothing else is expected but heartbeats.
    pub(crate) async fn reports(&mut self) -> Vec<Report> {
        loop {
            if let ToMaster::Update(update) = self.hear().await
                && !update.reports.is_empty()
            {
                let recorded = update.reports.iter().map(|report| report.token.lease).collect();
                self.update(MasterUpdate { recorded, ..MasterUpdate::default() }).await;
                return update.reports;
            }
        }
    }

    pub(crate) async fn report(&mut self) -> Report {
        let mut reports = self.reports().await;
        assert_eq!(reports.len(), 1);
        reports.remove(0)
    }
}

struct Service {
    connections: mpsc::UnboundedSender<Connection>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<v1::MasterMessage, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (to, messages) = mpsc::channel(64);
        let (heard, from) = mpsc::unbounded_channel();
        let pong = to.clone();
        self.connections
            .send(Connection { from, to })
            .map_err(|_| Status::unavailable("the test is over"))?;
        let mut stream = request.into_inner();
        let listening = async move {
            while let Some(Ok(message)) = stream.next().await {
                let message = ToMaster::try_from(message).unwrap();
                let pinged = matches!(&message, ToMaster::Update(update) if update.ping);
                let answer = ToWorker::Update(MasterUpdate::default());
                if heard.send(message).is_err() || (pinged && pong.send(Ok(answer.into())).await.is_err()) {
                    return;
                }
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(listening);
        let messages = ReceiverStream::new(messages).chain(futures_pending(tasks));
        Ok(Response::new(Box::pin(messages)))
    }

    type LiveStream = Pin<Box<dyn Stream<Item = Result<v1::LiveRequest, Status>> + Send>>;

    async fn live(
        &self,
        _: Request<Streaming<v1::LiveOutput>>,
    ) -> Result<Response<Self::LiveStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }

    type FetchPackStream = Pin<Box<dyn Stream<Item = Result<v1::PackPiece, Status>> + Send>>;

    async fn fetch_pack(
        &self,
        _: Request<v1::PackRequest>,
    ) -> Result<Response<Self::FetchPackStream>, Status> {
        Err(Status::not_found("this master keeps no packs"))
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::Identity>, Status> {
        Err(Status::failed_precondition("this master is on the same machine"))
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::Identity>, Status> {
        Err(Status::failed_precondition("this master is on the same machine"))
    }
}

/// An empty stream that keeps the listener alive as long as the connection.
fn futures_pending(tasks: JoinSet<()>) -> impl Stream<Item = Result<v1::MasterMessage, Status>> {
    tokio_stream::empty().map(move |()| {
        let _ = &tasks;
        Err(Status::unavailable(""))
    })
}

/// A data directory with a master and a worker process.
pub(crate) struct World {
    pub(crate) temp: tempfile::TempDir,
    connections: mpsc::UnboundedReceiver<Connection>,
    server: JoinSet<()>,
    pub(crate) worker: Child,
    next: u64,
}

impl World {
    pub(crate) fn new(slots: u32) -> Self {
        Self::with(slots, &[], &[])
    }

    pub(crate) fn with(slots: u32, args: &[&str], env: &[(&str, &str)]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (server, connections) = serve(&temp.path().join("socket"));
        let worker = Command::new(example("worker"))
            .arg(format!("unix:{}", temp.path().join("socket").display()))
            .arg(temp.path())
            .arg(slots.to_string())
            .arg(example("slot"))
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { temp, connections, server, worker, next: 0 }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// The worker's next connection and what it said first; it is welcomed.
    pub(crate) async fn accept(&mut self) -> (Connection, Hello) {
        let next = tokio::time::timeout(PATIENCE, self.connections.recv()).await;
        let mut connection = next.expect("the worker connects").expect("the server is there");
        let ToMaster::Hello(hello) = connection.hear().await else {
            panic!("a connection begins with hello")
        };
        let welcome =
            Welcome { epoch: Epoch(1), ttl_ms: 30_000, heartbeat_ms: 200, orphan_after_ms: 3_600_000 };
        connection.say(ToWorker::Welcome(welcome)).await;
        (connection, hello)
    }

    /// The master is gone, until [`World::restart_master`].
    pub(crate) async fn stop_master(&mut self) {
        self.server.shutdown().await;
    }

    pub(crate) fn restart_master(&mut self) {
        let socket = self.dir().join("socket");
        std::fs::remove_file(&socket).unwrap();
        (self.server, self.connections) = serve(&socket);
    }

    /// A sweep that starts `sh -c script` and wants `acc`.
    pub(crate) fn sweep(&self, script: &str, change: impl FnOnce(&mut SweepSpec)) -> Arc<FrozenSweep> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut spec = spec(script);
        change(&mut spec);
        let output = self.dir().join("results");
        let frozen = FrozenSweep {
            uuid: "0198".to_owned(),
            spec,
            source: String::new(),
            file: None,
            sources: gridctl_core::protocol::Sources { base: path(self.dir()), code: None, data: None },
            output: Output::At(VolumeUrl::Dir(output.clone())),
            env: Vec::new(),
            code: CodeHash::of(&[script]),
            reader: gridctl_core::metrics::READER_RULE,
            files: Vec::new(),
        };
        let volume = Arc::new(DirVolume::create(&output).unwrap());
        Results::new(volume, "test", "0198").unwrap().claim().unwrap();
        Arc::new(frozen)
    }

    /// The results volume's directory of the sweep.
    pub(crate) fn results(&self) -> Results {
        let volume = Arc::new(DirVolume::open(&self.dir().join("results")).unwrap());
        Results::new(volume, "test", "0198").unwrap()
    }

    /// A new lease on the trial with `lr`; each sweep is a version of its own.
    pub(crate) fn grant(&mut self, sweep: &Arc<FrozenSweep>, lr: f64) -> MasterUpdate {
        self.next += 1;
        let version = u32::try_from(self.next).unwrap();
        let params = Params::new(vec![("lr".into(), Value::Float(lr))]);
        let trial = TrialId::of(&params, 0);
        let grant = Grant {
            token: Token { epoch: Epoch(1), lease: LeaseSeq(self.next), attempt: 1 },
            sweep: SweepId(1),
            version,
            trial,
            index: 0,
            params,
            repeat: 0,
            fingerprint: Fingerprint::of(trial, sweep.code),
            resources: sweep.spec.resources,
        };
        let sweeps = vec![(SweepId(1), version, Arc::clone(sweep))];
        MasterUpdate { sweeps, grants: vec![grant], ..MasterUpdate::default() }
    }

    /// The worker process is gone; how it ended.
    pub(crate) async fn gone(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        until("the worker ends", || {
            status = self.worker.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.worker.kill());
        drop(self.worker.wait());
        gridctl_worker::marks::end_marked(&self.temp.path().display().to_string());
    }
}

fn serve(socket: &Path) -> (JoinSet<()>, mpsc::UnboundedReceiver<Connection>) {
    let (sender, connections) = mpsc::unbounded_channel();
    let listener = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
    let service = WorkerServiceServer::new(Service { connections: sender });
    let mut server = JoinSet::new();
    server.spawn(async move {
        drop(tonic::transport::Server::builder().add_service(service).serve_with_incoming(listener).await);
    });
    (server, connections)
}

fn spec(script: &str) -> SweepSpec {
    let file = b"name: test\ncommand: ['true']\nmetric: {name: acc, goal: maximize}\n\
        order: file\nparameters: {lr: {values: [0.1, 0.2]}}\n";
    let parsed = spec::parse(file, &spec::Context { file_stem: "test", count: None }).unwrap();
    SweepSpec { command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()], ..parsed.spec }
}
