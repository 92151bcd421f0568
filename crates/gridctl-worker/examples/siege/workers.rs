//! Workers that hold trials and start nothing: the worker's half of the protocol, its way to the master, and no machine.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gridctl_core::attempt::full_jitter;
use gridctl_core::id::LeaseSeq;
use gridctl_core::protocol::{Capacity, ToMaster, ToWorker, WorkerUpdate};
use gridctl_core::worker::{WorkerAction, WorkerProfile, WorkerProtocol};
use gridctl_worker::connection::{Dial, LinkError, MasterLink};
use gridctl_worker::join::Identity;
use gridctl_worker::{Bearer, JoinAddress, clock};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Outcome, joined, lock, now, random, report};

/// Workers that join at a time: an address may have so many connections of whom nobody knows whose they are.
const AT_ONCE: usize = 32;
/// As the real ones.
const RETRY_MS: (u64, u64) = (100, 5_000);
/// The latest answers to heartbeats count: those of a while.
const WHILE: Duration = Duration::from_secs(20);

type Connecting = Pin<Box<dyn Future<Output = Result<MasterLink, LinkError>> + Send>>;

/// How all of them stand.
#[derive(Default)]
struct Tally {
    joined: usize,
    connected: usize,
    held: usize,
    /// Leases that were somebody's, and are not any more.
    lost: usize,
    /// Heartbeats whose answer never came.
    broken: usize,
    answers: Vec<(Instant, Duration)>,
}

struct Worker {
    dial: Dial,
    protocol: WorkerProtocol,
    link: Option<MasterLink>,
    welcome: bool,
    connecting: Option<Connecting>,
    failures: u32,
    asked: Option<Instant>,
    held: BTreeSet<LeaseSeq>,
    tally: Arc<Mutex<Tally>>,
}

/// `count` workers; `probes` of them ask for an answer every so often, beside their heartbeats.
pub(crate) async fn run(
    address: &JoinAddress,
    count: usize,
    (probes, every): (usize, Duration),
) -> Outcome<()> {
    let tally: Arc<Mutex<Tally>> = Arc::default();
    let doors = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut workers = JoinSet::new();
    for number in 0..count {
        let (address, tally, doors) = (address.clone(), Arc::clone(&tally), Arc::clone(&doors));
        workers.spawn(async move {
            let door = doors.acquire_owned().await;
            let identity = joined(&address).await;
            drop(door);
            lock(&tally).joined += 1;
            let every = (number < probes).then_some(every);
            Worker::new((address, identity), tally).live(every).await;
        });
    }
    report(|| {
        let mut tally = lock(&tally);
        tally.answers.retain(|(at, _)| at.elapsed() < WHILE);
        let mut times: Vec<Duration> = tally.answers.iter().map(|(_, time)| *time).collect();
        times.sort();
        let at = |share: usize| {
            let place = (times.len() * share / 1000).min(times.len().saturating_sub(1));
            times.get(place).map(|time| time.as_secs_f64() * 1e3)
        };
        json!({
            "joined": tally.joined, "connected": tally.connected, "held": tally.held, "lost": tally.lost,
            "broken": tally.broken, "answers": times.len(), "p50_ms": at(500), "p99_ms": at(990), "slowest_ms": at(1000),
        })
    })
    .await
}

impl Worker {
    fn new((address, identity): (JoinAddress, Identity), tally: Arc<Mutex<Tally>>) -> Self {
        let capacity = Capacity { cpu_milli: 1_000, mem_mib: 1 << 20, gpus: 0, slots: 1 };
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let worker = identity.worker;
        let profile = WorkerProfile { worker, host: worker.to_string(), machine: None, release, capacity };
        Self {
            dial: Dial { address: address.address, bearer: Bearer::none(), identity: Some(identity) },
            protocol: WorkerProtocol::new(profile, clock::now()),
            link: None,
            welcome: false,
            connecting: None,
            failures: 0,
            asked: None,
            held: BTreeSet::new(),
            tally,
        }
    }

    async fn live(mut self, every: Option<Duration>) {
        let mut probe = every.map(tokio::time::interval);
        loop {
            self.act();
            let pause = Duration::from_millis(self.protocol.due_ms());
            tokio::select! {
                message = next(self.link.as_mut()) => self.told(message),
                link = connected(self.connecting.as_mut()) => self.connected(link),
                () = due(probe.as_mut()), if self.asked.is_none() => self.ask(),
                () = tokio::time::sleep(pause) => {}
            }
            self.protocol.tick(clock::now());
        }
    }

    fn told(&mut self, message: Result<ToWorker, LinkError>) {
        match message {
            Ok(message) => {
                self.failures = 1;
                if !self.welcome {
                    self.welcome = true;
                    lock(&self.tally).connected += 1;
                }
                if matches!(message, ToWorker::Update(_))
                    && let Some(asked) = self.asked.take()
                {
                    lock(&self.tally).answers.push((now(), asked.elapsed()));
                }
                self.protocol.received(clock::now(), message);
                self.count();
            }
            Err(_) => {
                self.hang_up();
                self.protocol.disconnected();
            }
        }
    }

    fn count(&mut self) {
        let held: BTreeSet<LeaseSeq> = self.protocol.holds().into_iter().collect();
        let lost = self.held.difference(&held).count();
        let mut tally = lock(&self.tally);
        tally.held = tally.held + held.len() - self.held.len();
        tally.lost += lost;
        drop(tally);
        self.held = held;
    }

    fn hang_up(&mut self) {
        self.link = None;
        let mut tally = lock(&self.tally);
        tally.connected -= usize::from(std::mem::take(&mut self.welcome));
        tally.broken += usize::from(self.asked.take().is_some());
    }

    fn connected(&mut self, link: Result<MasterLink, LinkError>) {
        self.connecting = None;
        match link {
            Ok(link) => {
                self.link = Some(link);
                self.protocol.connected(clock::now());
            }
            Err(_) => self.seek(),
        }
    }

    fn seek(&mut self) {
        let (base, cap) = RETRY_MS;
        let pause = match self.failures {
            0 => 0,
            failures => full_jitter((base << failures.min(10)).min(cap), random(u64::MAX)),
        };
        self.failures = self.failures.saturating_add(1);
        let (dial, worker) = (self.dial.clone(), self.protocol.id());
        self.connecting = Some(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            MasterLink::open(dial, worker).await
        }));
    }

    fn ask(&mut self) {
        if !self.welcome {
            return;
        }
        let update = WorkerUpdate { ping: true, ..WorkerUpdate::default() };
        self.send(ToMaster::Update(update));
    }

    fn send(&mut self, message: ToMaster) {
        let asks = matches!(&message, ToMaster::Update(update) if update.ping);
        let Some(link) = &self.link else { return };
        if !link.send(message) {
            self.hang_up();
            self.protocol.disconnected();
        } else if asks {
            self.asked.get_or_insert_with(now);
        }
    }

    fn act(&mut self) {
        loop {
            let actions = self.protocol.take(clock::now());
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    WorkerAction::Connect => self.seek(),
                    WorkerAction::Reconnect => {
                        self.hang_up();
                        self.seek();
                    }
                    WorkerAction::Send(message) => self.send(message),
                    // What it holds has no end.
                    WorkerAction::Start(_)
                    | WorkerAction::Stop { .. }
                    | WorkerAction::Recall(_)
                    | WorkerAction::Exit(_) => {}
                }
            }
        }
    }
}

async fn next(link: Option<&mut MasterLink>) -> Result<ToWorker, LinkError> {
    match link {
        Some(link) => link.next().await,
        None => pending().await,
    }
}

async fn connected(connecting: Option<&mut Connecting>) -> Result<MasterLink, LinkError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => pending().await,
    }
}

async fn due(probe: Option<&mut tokio::time::Interval>) {
    match probe {
        Some(probe) => drop(probe.tick().await),
        None => pending().await,
    }
}
