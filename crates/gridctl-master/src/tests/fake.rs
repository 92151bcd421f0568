//! A played worker, a sweep to run, and a store that fails on request.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use gridctl_core::id::{CodeHash, LeaseSeq, SweepId, Token, TrialId, WorkerId};
use gridctl_core::machine::MachineHealth;
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::{
    Capacity, FrozenSweep, Grant, Hello, PROTOCOL, Sources, ToMaster, ToWorker, Welcome, WorkerUpdate,
};
use gridctl_core::record::{Class, Exit, MetricValue, Report};
use gridctl_core::spec::{self, AxisValues};
use gridctl_core::value::Value;
use gridctl_core::view::{SubmitRequest, Submitted};
use gridctl_proto::{split, v1};
use gridctl_storage::journal::{Group, Loaded, Snapshot, SqliteStore, Store, StoreError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::{Master, MasterConfig, Running};

/// Nothing here takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn frozen(name: &str, points: u64, dir: &Path) -> FrozenSweep {
    let file = format!(
        "name: {name}\ncommand: [train]\nmetric: {{name: score, goal: maximize}}\n\
        order: file\nparameters: {{x: {{value: 0}}}}\n"
    );
    let mut spec =
        spec::parse(file.as_bytes(), &spec::Context { file_stem: name, count: None }).unwrap().spec;
    spec.axes[0].values = AxisValues::IntRange { min: 0, step: 1, count: points };
    FrozenSweep {
        uuid: String::new(),
        spec,
        source: format!("name: {name}\n"),
        file: None,
        sources: Sources { base: dir.display().to_string(), code: None, data: None },
        output: Output::At(VolumeUrl::Dir(dir.join("results"))),
        env: Vec::new(),
        code: CodeHash([1; 10]),
        reader: gridctl_core::metrics::READER_RULE,
        files: Vec::new(),
    }
}

pub(crate) fn submit(frozen: FrozenSweep) -> SubmitRequest {
    SubmitRequest { frozen, changed: None, retry_failed: false, rerun: false }
}

/// Submits, and says how the sweep stands.
pub(crate) async fn stands(running: &Running, frozen: FrozenSweep) -> (SweepId, u32, bool, u64) {
    match running.handle().submit(submit(frozen)).await.unwrap() {
        Submitted::Stands { sweep, version, new, known, .. } => {
            (running.handle().id_of(&sweep).unwrap(), version, new, known)
        }
        changed @ Submitted::CodeChanged { .. } => panic!("{changed:?}"),
    }
}

pub(crate) async fn start(dir: &Path) -> Running {
    Master::start(MasterConfig::new(dir)).await.unwrap()
}

/// Starts a master where another one is just ending.
pub(crate) async fn start_after(dir: &Path) -> Running {
    for _ in 0..500 {
        match Master::start(MasterConfig::new(dir)).await {
            Ok(running) => return running,
            Err(crate::MasterError::Store(StoreError::Held { .. })) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lock is not given up");
}

/// What the disk does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<AtomicU8>);

impl Disk {
    pub(crate) fn fill(&self) {
        self.0.store(1, Ordering::SeqCst);
    }

    pub(crate) fn free(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    pub(crate) fn break_down(&self) {
        self.0.store(2, Ordering::SeqCst);
    }

    pub(crate) async fn start(&self, dir: &Path) -> Running {
        let disk = self.clone();
        let wrap = move |inner| Box::new(OnDisk { inner, disk }) as Box<dyn Store>;
        Master::start_with(MasterConfig::new(dir), wrap).await.unwrap()
    }
}

struct OnDisk {
    inner: SqliteStore,
    disk: Disk,
}

impl Store for OnDisk {
    fn append(&mut self, group: &Group<'_>) -> Result<(), StoreError> {
        match self.disk.0.load(Ordering::SeqCst) {
            0 => self.inner.append(group),
            1 => Err(StoreError::NoSpace { path: "journal".into() }),
            _ => Err(StoreError::Fatal { path: "journal".into(), doing: "committing", source: "EIO".into() }),
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Result<(), StoreError> {
        self.inner.snapshot(snapshot)
    }

    fn load(&mut self, before: u64) -> Result<Loaded, StoreError> {
        self.inner.load(before)
    }

    fn idle(&mut self) {
        self.inner.idle();
    }
}

pub(crate) async fn channel(running: &Running) -> Channel {
    Endpoint::from_shared(running.advert().socket_address()).unwrap().connect().await.unwrap()
}

/// A played worker.
pub(crate) struct Fake {
    pub(crate) welcome: Option<Welcome>,
    pub(crate) grants: VecDeque<Grant>,
    pub(crate) recorded: Vec<LeaseSeq>,
    pub(crate) fenced: Vec<LeaseSeq>,
    pub(crate) drain_ms: Option<u64>,
    pub(crate) say: mpsc::Sender<v1::WorkerMessage>,
    pub(crate) hear: Streaming<v1::MasterMessage>,
}

pub(crate) fn hello(id: u8, slots: u32) -> Hello {
    Hello {
        protocol: PROTOCOL,
        release: "test".to_owned(),
        worker: WorkerId([id; 5]),
        host: format!("host{id}"),
        capacity: Capacity { cpu_milli: slots * 1000, mem_mib: 1024, gpus: 0, slots },
        held: Vec::new(),
        reports: Vec::new(),
        prefetch: 0,
        draining: false,
        health: MachineHealth::Fit,
        cannot_run: Vec::new(),
        machine: None,
        taken: false,
    }
}

pub(crate) fn report(token: Token, trial: TrialId, score: Option<f64>) -> Report {
    Report {
        token,
        trial,
        class: if score.is_some() { Class::Succeeded } else { Class::Failed },
        fatal: score.is_none(),
        exit: Some(Exit::Code(i32::from(score.is_none()))),
        objective: score.map(MetricValue),
        metrics: score.map(|score| ("score".to_owned(), MetricValue(score))).into_iter().collect(),
        spreads: Vec::new(),
        curve: Vec::new(),
        log: "hello\n".to_owned(),
        log_bytes: 6,
        log_runs: vec![6],
        error: None,
        near_misses: Vec::new(),
        started_unix_ms: 0,
        duration_ms: 5,
        cpu_ms: 1,
        peak_rss_kib: 1,
        checkpoint_moved: false,
        program: None,
        files: 0,
        left_out: 0,
        doubts: Vec::new(),
        unbegun: false,
        changed: Vec::new(),
    }
}

impl Fake {
    pub(crate) async fn connect(running: &Running, hello: Hello) -> Self {
        let (say, said) = mpsc::channel(64);
        for piece in split::to_master(ToMaster::Hello(hello)) {
            say.send(piece).await.unwrap();
        }
        let mut client = v1::worker_service_client::WorkerServiceClient::new(channel(running).await);
        let hear = client.connect(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self {
            welcome: None,
            grants: VecDeque::new(),
            recorded: Vec::new(),
            fenced: Vec::new(),
            drain_ms: None,
            say,
            hear,
        }
    }

    pub(crate) async fn say(&self, update: WorkerUpdate) {
        self.say.send(ToMaster::Update(update).into()).await.unwrap();
    }

    pub(crate) async fn report(&self, grant: &Grant, score: Option<f64>) {
        let reports = vec![report(grant.token, grant.trial, score)];
        self.say(WorkerUpdate { reports, ..WorkerUpdate::default() }).await;
    }

    /// Listens until `enough`; panics if that takes too long or the master hangs up.
    pub(crate) async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let message = tokio::time::timeout(SOON, self.hear.message()).await.expect("in time");
            let message = message.unwrap().expect("the master goes on");
            self.take(message.try_into().unwrap());
        }
    }

    fn take(&mut self, message: ToWorker) {
        match message {
            ToWorker::Welcome(welcome) => self.welcome = Some(welcome),
            ToWorker::Refused(why) => panic!("refused: {why}"),
            ToWorker::Update(update) => {
                self.grants.extend(update.grants);
                self.recorded.extend(update.recorded);
                self.fenced.extend(update.fenced);
                self.drain_ms = update.drain_ms.or(self.drain_ms);
            }
        }
    }

    /// Takes the next grant.
    pub(crate) async fn grant(&mut self) -> Grant {
        self.until(|fake| !fake.grants.is_empty()).await;
        self.grants.pop_front().unwrap()
    }

    /// Runs `count` trials to their end; the score is the parameter.
    pub(crate) async fn work(&mut self, count: usize) {
        for _ in 0..count {
            let grant = self.grant().await;
            let score = grant.params.get("x").and_then(Value::as_f64);
            self.report(&grant, score).await;
            let lease = grant.token.lease;
            self.until(|fake| fake.recorded.contains(&lease)).await;
        }
    }
}

/// Waits until `is_so`; panics if that takes too long.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, so).await.is_ok(), "{what}");
}
