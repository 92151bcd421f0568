//! Tests of the worker's half of the protocol: a shell that only writes down what it is told to do.
//! Invariant: after every action the shell checks that no slot and no GPU serves two attempts at
//! once.

#![expect(
    clippy::type_complexity,
    reason = "a row says its type once: a name, what happens, what is expected"
)]

mod ahead;
mod cannot_run;
mod life;
mod link;
mod machine;

use std::collections::BTreeMap;

use super::*;
use crate::id::{CodeHash, Fingerprint, Token, TrialId};
use crate::protocol::{MasterUpdate, Sources, Welcome};
use crate::record::{Class, MetricValue};
use crate::spec::Resources;
use crate::value::Params;

/// A worker, and what it has asked for since it was last looked at.
struct Shell {
    worker: WorkerProtocol,
    now: Time,
    running: BTreeMap<LeaseSeq, AttemptStart>,
    /// What waits behind another, by slot.
    behind: BTreeMap<u32, AttemptStart>,
    recalls: Vec<LeaseSeq>,
    started: Vec<LeaseSeq>,
    stops: Vec<(LeaseSeq, StopReason, u64)>,
    said: Vec<ToMaster>,
    dials: usize,
    exit: Option<Farewell>,
}

impl Shell {
    fn new(capacity: Capacity) -> Self {
        let config = WorkerProfile {
            machine: None,
            worker: WorkerId([1; 5]),
            host: "host".to_owned(),
            release: "test".to_owned(),
            capacity,
        };
        let now = Time(1_000_000);
        let worker = WorkerProtocol::new(config, now);
        let mut shell = Self {
            worker,
            now,
            running: BTreeMap::new(),
            behind: BTreeMap::new(),
            recalls: Vec::new(),
            started: Vec::new(),
            stops: Vec::new(),
            said: Vec::new(),
            dials: 0,
            exit: None,
        };
        shell.act();
        shell
    }

    /// A worker of so many slots that is connected and welcome.
    fn welcome(slots: u32) -> Self {
        let mut shell = Self::new(slots_of(slots));
        shell.connect();
        shell.said.clear();
        shell
    }

    fn act(&mut self) {
        for action in self.worker.take(self.now) {
            match action {
                WorkerAction::Connect | WorkerAction::Reconnect => self.dials += 1,
                WorkerAction::Send(message) => self.said.push(message),
                WorkerAction::Start(start) if self.running.values().any(|other| other.slot == start.slot) => {
                    let more = self.behind.insert(start.slot, *start);
                    assert_eq!(more, None, "one attempt waits for a slot");
                }
                WorkerAction::Start(start) => {
                    for other in self.running.values() {
                        assert!(
                            !start.gpus.iter().any(|gpu| other.gpus.contains(gpu)),
                            "a GPU serves one attempt"
                        );
                    }
                    self.started.push(start.grant.token.lease);
                    assert_eq!(self.running.insert(start.grant.token.lease, *start), None, "started once");
                }
                WorkerAction::Recall(lease) => self.recalls.push(lease),
                WorkerAction::Stop { lease, reason, grace_ms } => self.stops.push((lease, reason, grace_ms)),
                WorkerAction::Exit(farewell) => assert_eq!(self.exit.replace(farewell), None, "it ends once"),
            }
        }
    }

    fn connect(&mut self) {
        self.worker.connected(self.now);
        self.act();
        self.hear_welcome(1);
        self.hear(MasterUpdate::default());
    }

    fn hear_welcome(&mut self, epoch: u32) {
        let welcome =
            Welcome { epoch: Epoch(epoch), ttl_ms: 30_000, heartbeat_ms: 5_000, orphan_after_ms: 600_000 };
        self.worker.received(self.now, ToWorker::Welcome(welcome));
        self.act();
    }

    fn hear(&mut self, update: MasterUpdate) {
        self.worker.received(self.now, ToWorker::Update(update));
        self.act();
    }

    fn grant(&mut self, leases: impl IntoIterator<Item = u64>) {
        self.grant_sized(leases, Resources { cpu_milli: 1000, mem_mib: 0, gpus: 0 });
    }

    fn grant_sized(&mut self, leases: impl IntoIterator<Item = u64>, resources: Resources) {
        let grants = leases.into_iter().map(|lease| grant(lease, resources)).collect();
        self.hear(MasterUpdate { sweeps: vec![(SweepId(1), 1, sweep())], grants, ..MasterUpdate::default() });
    }

    fn fence(&mut self, lease: u64) {
        self.hear(MasterUpdate { fenced: vec![LeaseSeq(lease)], ..MasterUpdate::default() });
    }

    fn record(&mut self, lease: u64) {
        self.hear(MasterUpdate { recorded: vec![LeaseSeq(lease)], ..MasterUpdate::default() });
    }

    fn end(&mut self, lease: u64, class: Class) {
        self.end_after(lease, class, 60_000);
    }

    fn end_after(&mut self, lease: u64, class: Class, duration_ms: u64) {
        let start = self.running.remove(&LeaseSeq(lease)).expect("it runs");
        let mut report = Report::without_process(start.grant.token, start.grant.trial, class, "");
        report.objective = (class == Class::Succeeded).then_some(MetricValue(1.0));
        report.duration_ms = duration_ms;
        if let Some(next) = self.behind.remove(&start.slot) {
            assert_eq!(next.gpus, start.gpus, "it gets what the one before it had");
            self.started.push(next.grant.token.lease);
            self.running.insert(next.grant.token.lease, next);
        }
        self.worker.ended(self.now, report);
        self.act();
    }

    /// A moment later the slot could not start this attempt, for want of something of the
    /// machine's.
    fn fault(&mut self, lease: u64) {
        self.now = self.now.after_ms(1);
        let start = self.running.remove(&LeaseSeq(lease)).expect("it was given to a slot");
        let (token, trial) = (start.grant.token, start.grant.trial);
        let report = Report::without_process(token, trial, Class::WorkerFault, "no processes");
        self.worker.ended(self.now, Report { unbegun: true, ..report });
        self.act();
    }

    /// The slot gives back what waits there.
    fn withdraw(&mut self, lease: u64) {
        self.behind.retain(|_, start| start.grant.token.lease.0 != lease);
        self.worker.withdrawn(self.now, LeaseSeq(lease));
        self.act();
    }

    /// Time goes on in ticks of half a second; while `answered`, the master answers every ping at
    /// once.
    fn pass(&mut self, ms: u64, answered: bool) {
        let until = self.now.after_ms(ms);
        while self.now < until {
            self.now = Time(until.0.min(self.now.0 + 500));
            let before = self.said.len();
            self.worker.tick(self.now);
            self.act();
            if answered
                && self.said[before..]
                    .iter()
                    .any(|said| matches!(said, ToMaster::Update(update) if update.ping))
            {
                self.hear(MasterUpdate::default());
            }
        }
    }

    /// What it says on a new connection.
    fn hello_again(&mut self) -> Hello {
        self.worker.disconnected();
        self.said.clear();
        self.worker.connected(self.now);
        self.act();
        self.hello()
    }

    fn hello(&mut self) -> Hello {
        match std::mem::take(&mut self.said).into_iter().next() {
            Some(ToMaster::Hello(hello)) => hello,
            other => panic!("no hello first: {other:?}"),
        }
    }

    /// What was said since the last look, as one update.
    fn updates(&mut self) -> WorkerUpdate {
        let mut all = WorkerUpdate::default();
        for message in std::mem::take(&mut self.said) {
            let ToMaster::Update(update) = message else { panic!("a hello") };
            all.reports.extend(update.reports);
            all.progress.extend(update.progress);
            all.prefetch = update.prefetch.or(all.prefetch);
            all.health = update.health.or(all.health);
            all.cannot_run = update.cannot_run.or(all.cannot_run);
            all.draining |= update.draining;
            all.bye |= update.bye;
            all.ping |= update.ping;
        }
        all
    }

    /// What was reported since the last look.
    fn reported(&mut self) -> Vec<(u64, Class)> {
        self.updates().reports.iter().map(|report| (report.token.lease.0, report.class)).collect()
    }
}

fn slots_of(slots: u32) -> Capacity {
    Capacity { cpu_milli: slots * 1000, mem_mib: 1000, gpus: 0, slots }
}

fn leases(numbers: impl IntoIterator<Item = u64>) -> Vec<LeaseSeq> {
    numbers.into_iter().map(LeaseSeq).collect()
}

fn grant(lease: u64, resources: Resources) -> Grant {
    let [a, b, ..] = lease.to_le_bytes();
    let trial = TrialId([a, b, 0, 0, 0, 0, 0, 0, 0, 0]);
    Grant {
        token: Token { epoch: Epoch(1), lease: LeaseSeq(lease), attempt: 1 },
        sweep: SweepId(1),
        version: 1,
        trial,
        index: lease,
        params: Params::new(Vec::new()),
        repeat: 0,
        fingerprint: Fingerprint::of(trial, CodeHash::of(&[])),
        resources,
    }
}

fn sweep() -> Arc<FrozenSweep> {
    let spec = crate::spec::tests::spec("name: a\ncommand: ['true']\nparameters: {x: {value: 1}}\n");
    Arc::new(FrozenSweep {
        uuid: "uuid".to_owned(),
        spec,
        source: String::new(),
        file: None,
        sources: Sources { base: "/".to_owned(), code: None, data: None },
        output: crate::output::Output::InDataDir,
        env: Vec::new(),
        code: CodeHash::of(&[]),
        reader: crate::metrics::READER_RULE,
        files: Vec::new(),
    })
}
