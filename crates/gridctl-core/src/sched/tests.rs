//! Tests of the master's policy: a world of made-up workers and people around one core, and histories as tables.
//! Invariant: after every batch the world checks conservation, single outcomes, timers and queues, so each test does too.

#![expect(
    clippy::type_complexity,
    reason = "a row says its type once: a name, what happens, what is expected"
)]

mod cancel;
mod commit_pipeline;
mod excused;
mod failures;
mod known;
mod leases;
mod links;
mod machines;
mod made;
mod observed;
mod people;
mod queue;
mod rebuild;
mod reports;
mod retry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::made::*;
use super::trial::TrialPhase;
use super::*;
use crate::fleet::machines::CloudCall;
use crate::id::{CodeHash, Token};
use crate::points::Points;
use crate::protocol::{Capacity, FrozenSweep, Grant, Hello, PROTOCOL, WorkerUpdate};
use crate::record::{Class, MetricValue, Report};
use crate::spec::{Axis, Goal, Objective, Order, Repeats, Resources, Retry, SweepSpec};

/// A master, what it has made durable, and what it has said.
struct World {
    core: Core,
    timing: Timing,
    now: Time,
    journal: Vec<(u64, Event)>,
    outcomes: Vec<Outcome>,
    copies: Vec<Copied>,
    links: Vec<Linked>,
    /// What each connection heard and no test has taken yet.
    heard: BTreeMap<Conn, MasterUpdate>,
    refused: Vec<Conn>,
    hung_up: Vec<Conn>,
    turned: Vec<SweepId>,
    replies: BTreeMap<Request, Result<Answer, Refusal>>,
    numbers: u64,
    /// The newest snapshot, and how much of the journal is in it.
    snapshot: Option<(usize, Vec<u8>)>,
    /// What was asked of the cloud.
    calls: Vec<CloudCall>,
}

impl World {
    fn new() -> Self {
        Self::with(Timing::default())
    }

    fn with(timing: Timing) -> Self {
        let mut world = Self {
            core: Core::new(timing),
            timing,
            now: Time(0),
            journal: Vec::new(),
            outcomes: Vec::new(),
            copies: Vec::new(),
            links: Vec::new(),
            heard: BTreeMap::new(),
            refused: Vec::new(),
            hung_up: Vec::new(),
            turned: Vec::new(),
            replies: BTreeMap::new(),
            numbers: 0,
            snapshot: None,
            calls: Vec::new(),
        };
        world.core.begin(world.now);
        world.absorb();
        world
    }

    /// A world with one sweep of `count` points and one worker of `slots` slots, which holds what it can.
    fn at_work(count: u64, slots: u32) -> (Self, SweepId, Conn) {
        let mut world = Self::new();
        let sweep = world.submit(spec("a", count));
        let conn = world.join(1, "host-1", slots);
        (world, sweep, conn)
    }

    /// One batch.
    fn feed(&mut self, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            self.core.step(self.now, input);
        }
        self.core.settle(self.now);
        self.absorb();
    }

    fn absorb(&mut self) {
        let step = self.core.take();
        self.journal.extend(step.events);
        self.outcomes.extend(step.outcomes);
        self.copies.extend(step.copies);
        self.links.extend(step.links);
        for effect in step.effects {
            match effect {
                Effect::Send(conn, ToWorker::Update(update)) => {
                    let heard = self.heard.entry(conn).or_default();
                    heard.sweeps.extend(update.sweeps);
                    heard.grants.extend(update.grants);
                    heard.recorded.extend(update.recorded);
                    heard.fenced.extend(update.fenced);
                    heard.cancel.extend(update.cancel);
                    heard.drain_ms = heard.drain_ms.or(update.drain_ms);
                }
                Effect::Send(_, ToWorker::Welcome(welcome)) => assert_eq!(welcome.epoch, self.core.epoch()),
                Effect::Send(conn, ToWorker::Refused(_)) => self.refused.push(conn),
                Effect::Hangup(conn) => self.hung_up.push(conn),
                Effect::Reply(request, answer) => assert_eq!(self.replies.insert(request, answer), None),
                Effect::Broken(what) => panic!("{what}"),
                Effect::Cloud(call) => self.calls.push(call),
                Effect::Turned(sweep) => self.turned.push(sweep),
            }
        }
        self.check();
    }

    /// Promises 1, 2, 4 and 41, after every commit.
    fn check(&self) {
        for sweep in self.core.sweeps() {
            let status = sweep.status(self.now);
            let states = status.pending
                + status.leased
                + status.succeeded
                + status.failed
                + status.quarantined
                + status.cancelled
                + status.excluded;
            assert_eq!(states, status.total, "the states sum to the grid: {status:?}");
            for (pos, trial) in sweep.trials.iter() {
                assert_eq!(sweep.trials.settled().state(pos), None, "open and settled at once");
                let is_at = |other: u64| other == pos;
                let queues =
                    [sweep.trials.ready().any(is_at), sweep.trials.waits().any(|(_, other)| is_at(other))];
                let timed = trial.lease().is_some_and(|lease| {
                    let worker = self.core.workers.get(&lease.worker);
                    worker.is_some_and(|worker| worker.leases.contains_key(&lease.token.lease))
                });
                match trial.phase() {
                    TrialPhase::Leased(_) => assert_eq!((queues, timed), ([false; 2], true), "one timer"),
                    TrialPhase::Ready | TrialPhase::Expired { .. } => {
                        assert_eq!((queues, timed), ([true, false], false), "one queue");
                    }
                    TrialPhase::Backoff { .. } => {
                        assert!(queues[0] != queues[1] && !timed, "one queue");
                    }
                }
            }
        }
        let mut ended = std::collections::BTreeSet::new();
        for outcome in self.outcomes.iter().filter(|outcome| outcome.record.state != TrialState::Pending) {
            let record = &outcome.record;
            let key = (outcome.sweep, record.version, record.report.trial, record.generation);
            assert!(ended.insert(key), "two outcomes of one generation: {record:?}");
        }
    }

    /// A number that was never used, for connections and questions.
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn join(&mut self, worker: u8, host: &str, slots: u32) -> Conn {
        self.open(hello(worker, host, slots))
    }

    fn open(&mut self, hello: Hello) -> Conn {
        let conn = Conn(self.number());
        self.feed([Input::Opened(conn, Box::new(hello))]);
        conn
    }

    /// What this connection has heard since it was last asked.
    fn heard(&mut self, conn: Conn) -> MasterUpdate {
        self.heard.remove(&conn).unwrap_or_default()
    }

    fn grants(&mut self, conn: Conn) -> Vec<Grant> {
        std::mem::take(&mut self.heard.entry(conn).or_default().grants)
    }

    /// The only grant that this connection has heard since it was last asked.
    fn grant(&mut self, conn: Conn) -> Grant {
        let [grant] = self.grants(conn).try_into().expect("one grant");
        grant
    }

    fn report(&mut self, conn: Conn, report: Report) {
        self.feed([said(conn, [report])]);
    }

    /// Time goes on in steps that are no stall; `speaking` say that they live.
    fn pass(&mut self, ms: u64, speaking: &[Conn]) {
        let until = self.now.after_ms(ms);
        while self.now < until {
            self.now = Time(until.0.min(self.now.0 + 5_000));
            let beats = speaking.iter().map(|conn| said(*conn, []));
            self.feed(beats.chain([Input::Tick]).collect::<Vec<_>>());
        }
    }

    /// One step at a later time, however late that is.
    fn jump(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
        self.feed([Input::Tick]);
    }

    fn submit(&mut self, spec: SweepSpec) -> SweepId {
        self.submit_version(frozen(spec)).0
    }

    /// The sweep and its version.
    fn submit_version(&mut self, frozen: FrozenSweep) -> (SweepId, u32) {
        match self.submission(submission(frozen)) {
            Ok(Answer::Submitted { sweep, version, .. }) => (sweep, version),
            other => panic!("not submitted: {other:?}"),
        }
    }

    fn submission(&mut self, submission: Submission) -> Result<Answer, Refusal> {
        self.ask(|request| Input::Submit(request, Box::new(submission)))
    }

    fn steer(&mut self, sweep: SweepId, steer: Steer) -> Result<Answer, Refusal> {
        self.ask(|request| Input::Steer(request, sweep, steer))
    }

    fn retry(&mut self, sweep: SweepId, trials: &[TrialId]) -> Result<Answer, Refusal> {
        let grid = self.core.sweep(sweep).map(|sweep| sweep.points().clone());
        let place = |trial: &TrialId| {
            let at = |grid: &Points| (0..grid.len()).find(|index| grid.trial_id(*index) == *trial);
            let found = grid.as_ref().and_then(|grid| Some(grid.trial(at(grid)?)));
            TrialPlace { trial: *trial, point: found.map(|found| (found.params, found.repeat)) }
        };
        let trials = trials.iter().map(place).collect();
        self.ask(|request| Input::Retry(request, sweep, trials))
    }

    fn ask(&mut self, question: impl FnOnce(Request) -> Input) -> Result<Answer, Refusal> {
        let request = Request(self.number());
        self.feed([question(request)]);
        self.replies.remove(&request).expect("every question is answered")
    }

    fn status(&self, sweep: SweepId) -> SweepStatus {
        self.core.status(sweep, self.now).expect("the sweep stands")
    }

    /// (pending, leased, succeeded, failed, quarantined, cancelled)
    fn states(&self, sweep: SweepId) -> [u64; 6] {
        let status = self.status(sweep);
        [status.pending, status.leased, status.succeeded, status.failed, status.quarantined, status.cancelled]
    }

    fn classes(&self) -> Vec<Class> {
        self.outcomes.iter().map(|outcome| outcome.record.report.class).collect()
    }

    fn trial(&self, sweep: SweepId, index: u64) -> &trial::Trial {
        let sweep = &self.core.sweeps[&sweep];
        sweep.trials.get(sweep.points.pos_of(index)).expect("an open trial")
    }

    /// What is known of the workers in the journal, as a core that has read all of it.
    fn replayed(&self) -> Core {
        let mut core = Core::new(self.timing);
        for (seq, event) in &self.journal {
            assert_eq!(*seq, core.seq(), "events are numbered without gaps");
            core.apply(self.now, event);
        }
        core
    }

    fn save(&mut self) {
        self.snapshot = Some((self.journal.len(), self.core.snapshot()));
    }

    /// The master is killed, and another one starts on its journal; from a snapshot too, if there is one, to the same end.
    fn restart(&mut self) {
        let mut core = self.replayed();
        core.begin(self.now);
        if let Some((seen, snapshot)) = &self.snapshot {
            let mut restored =
                Core::restore(self.timing, self.now, *seen as u64, snapshot).expect("a snapshot");
            for (_, event) in &self.journal[*seen..] {
                restored.apply(self.now, event);
            }
            restored.begin(self.now);
            assert_eq!(text(&restored), text(&core), "a snapshot and the tail are the whole journal");
            assert_eq!(restored.next_deadline(), core.next_deadline());
            assert_eq!(restored.take(), core.out);
        }
        self.core = core;
        self.heard.clear();
        self.absorb();
    }
}

fn text(core: &Core) -> String {
    String::from_utf8(core.snapshot()).expect("JSON")
}
