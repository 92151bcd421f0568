//! The worker's loop: hands what happens to the protocol's state machine, and does what that says.
//! Invariant: no policy is here; whether the master is silent, slow or wrong is for the state
//! machine to judge.

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gridctl_core::attempt::stop::preempt_grace_ms;
use gridctl_core::attempt::{StopReason, full_jitter};
use gridctl_core::id::{LeaseSeq, Time, WorkerId};
use gridctl_core::protocol::{CannotRun, ToWorker};
use gridctl_core::worker::{AttemptStart, Farewell, GRACE_MS, WorkerAction, WorkerProtocol};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::address::{Address, Bearer};
use crate::attempt::{Assignment, AttemptOrder, SlotKeeper, SlotNews, WorkerMachine, bring, came_to};
use crate::clock;
use crate::code::{CodeStager, StagingEnd, StagingFault};
use crate::connection::{Dial, LinkError, MasterLink, connect};
use crate::join::{self, Identity, Join, Renewal};
use crate::live::LiveSide;

/// The longest pause before the first try to connect again; doubled for each further one.
const RETRY_BASE_MS: u64 = 100;
/// The longest pause at all.
const RETRY_CAP_MS: u64 = 5_000;
/// Slots that were told to end have so long before they are left to themselves.
const CLOSE_WITHIN: Duration = Duration::from_secs(15);

/// After so long without a master a join file is read again.
const LOOK_AGAIN_MS: u64 = 60_000;

type Renewing = Pin<Box<dyn Future<Output = Renewal> + Send>>;
type Connecting = Pin<Box<dyn Future<Output = Result<MasterLink, LinkError>> + Send>>;

/// What came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Take nothing more, end what goes on, report, leave.
    Drain,
    /// The same, because the machine is taken away, in so many milliseconds.
    Leave { lead_ms: u64 },
    /// LoopEnd everything at once.
    Stop,
}

/// How it ended.
pub(crate) enum LoopEnd {
    Farewell(Farewell),
    /// It is another worker from now on: what it held is granted to others.
    Joined(WorkerId, Box<MasterSide>),
    /// It is none any more, as this says.
    Expired(String),
    Stopped,
}

/// Where the master is, and how its place is found again.
pub(crate) struct MasterSide {
    pub(crate) dial: Dial,
    pub(crate) join: Option<Join>,
}

impl MasterSide {
    /// A master on this machine.
    pub(crate) fn here(address: Address, bearer: Bearer) -> Self {
        Self { dial: Dial { address, bearer, identity: None }, join: None }
    }

    /// A master that this worker has joined.
    pub(crate) fn joined(address: Address, identity: Identity, join: Join) -> Self {
        Self { dial: Dial { address, bearer: Bearer::none(), identity: Some(identity) }, join: Some(join) }
    }

    /// What brings the next certificate.
    fn renewal(&self) -> Option<Renewing> {
        let (identity, join) = (self.dial.identity.clone()?, self.join.clone()?);
        Some(Box::pin(join::renewed(self.dial.address.clone(), identity, join)))
    }
}

/// The loop's state.
pub(crate) struct WorkerLoop {
    machine: Arc<WorkerMachine>,
    master: MasterSide,
    worker: WorkerProtocol,
    wish: UnboundedSender<Wish>,
    link: Option<MasterLink>,
    connecting: Option<Connecting>,
    renewing: Option<Renewing>,
    /// Since when there is no master.
    away: Time,
    failures: u32,
    keepers: JoinSet<()>,
    /// Attempts whose data is on its way.
    staging: JoinSet<()>,
    work: HashMap<u32, UnboundedSender<Assignment>>,
    orders: HashMap<LeaseSeq, UnboundedSender<AttemptOrder>>,
    code: CodeStager,
    say: UnboundedSender<SlotNews>,
    said: UnboundedReceiver<SlotNews>,
}

impl WorkerLoop {
    /// `wish` is where what comes from outside is put.
    pub(crate) fn new(
        machine: Arc<WorkerMachine>,
        master: MasterSide,
        (worker, wish): (WorkerProtocol, UnboundedSender<Wish>),
    ) -> Self {
        let (say, said) = mpsc::unbounded_channel();
        let renewing = master.renewal();
        let code = CodeStager::new(Arc::clone(&machine));
        Self {
            machine,
            master,
            worker,
            wish,
            link: None,
            connecting: None,
            renewing,
            away: clock::now(),
            failures: 0,
            keepers: JoinSet::new(),
            staging: JoinSet::new(),
            work: HashMap::new(),
            orders: HashMap::new(),
            code,
            say,
            said,
        }
    }

    /// Until the worker is done, or is told to stop. Nothing that it started goes on afterwards.
    pub(crate) async fn drive(mut self, wishes: &mut UnboundedReceiver<Wish>) -> LoopEnd {
        let end = loop {
            if let Some(farewell) = self.act() {
                break LoopEnd::Farewell(farewell);
            }
            let pause = Duration::from_millis(self.worker.due_ms());
            tokio::select! {
                Some(said) = self.said.recv() => self.hear(said),
                // None ends while its channel is open, but by a panic: this worker is then no good.
                Some(ended) = self.keepers.join_next() => came_to(ended),
                Some(brought) = self.staging.join_next() => came_to(brought),
                message = next(self.link.as_mut()) => self.told(message),
                link = connected(self.connecting.as_mut()) => self.connected(link),
                staged = self.code.next() => self.staged(staged),
                renewal = renewed(self.renewing.as_mut()) => {
                    if let Some(end) = self.renewed(renewal) {
                        break end;
                    }
                }
                Some(wish) = wishes.recv() => match wish {
                    Wish::Drain => self.worker.drain(clock::now(), StopReason::Drained, GRACE_MS),
                    Wish::Leave { lead_ms } => {
                        let grace_ms = preempt_grace_ms(lead_ms);
                        tracing::warn!(
                            "this machine is taken away in {} s: its trials end, and go on elsewhere",
                            lead_ms / 1_000
                        );
                        self.worker.drain(clock::now(), StopReason::Preempted, grace_ms);
                    }
                    Wish::Stop => break LoopEnd::Stopped,
                },
                () = tokio::time::sleep(pause) => {}
            }
            self.worker.tick(clock::now());
        };
        self.close(&end).await;
        end
    }

    /// A slot said something; what else has been said meanwhile is heard as well, so that reports
    /// go out together.
    fn hear(&mut self, said: SlotNews) {
        let mut next = Some(said);
        while let Some(said) = next {
            match said {
                SlotNews::Progress { lease, step, value } => self.worker.progressed(lease, step, value),
                SlotNews::Ended(report) => {
                    self.orders.remove(&report.token.lease);
                    self.code.ended(report.token.lease);
                    self.worker.ended(clock::now(), *report);
                }
                SlotNews::Unpublished { lease, fault } => self.worker.unpublished(lease, &fault),
                SlotNews::Withdrawn { lease } => {
                    self.orders.remove(&lease);
                    self.code.ended(lease);
                    self.worker.withdrawn(clock::now(), lease);
                }
            }
            next = self.said.try_recv().ok();
        }
    }

    fn told(&mut self, message: Result<ToWorker, LinkError>) {
        let now = clock::now();
        match message {
            Ok(message) => {
                // Not 0: when a master goes, its workers shall not all come back in the same
                // moment.
                self.failures = 1;
                self.worker.received(now, message);
            }
            Err(LinkError::Status(status)) if self.is_for_good(&status) => {
                self.worker.received(now, ToWorker::Refused(status.message().to_owned()));
            }
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Whether the master knows who this worker is, and says no.
    fn is_for_good(&self, status: &Status) -> bool {
        self.master.dial.identity.is_some()
            && matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
    }

    /// The next connection shows the new certificate: the one that stands ends with the old one.
    fn renewed(&mut self, renewal: Renewal) -> Option<LoopEnd> {
        self.renewing = None;
        match renewal {
            Renewal::Renewed(identity) => {
                tracing::debug!("the certificate was renewed");
                self.master.dial.identity = Some(identity);
                self.renewing = self.master.renewal();
                if self.link.is_some() {
                    self.lost("its certificate was renewed: connecting with the new one");
                }
                None
            }
            Renewal::Joined(address, identity) => {
                let (worker, join) = (identity.worker, self.master.join.clone()?);
                Some(LoopEnd::Joined(worker, Box::new(MasterSide::joined(address, identity, join))))
            }
            Renewal::Over(why) => Some(LoopEnd::Expired(why)),
        }
    }

    /// After a while without a master, it is looked for where the join file says.
    fn look_again(&mut self) {
        let Some(join @ Join::File(path)) = &self.master.join else { return };
        if clock::now().ms_since(self.away) < LOOK_AGAIN_MS {
            return;
        }
        self.away = clock::now();
        match join.address() {
            Ok(found) if found.address == self.master.dial.address => {}
            Ok(found) if found.address.pin() != self.master.dial.address.pin() => {
                tracing::warn!(
                    "{} is of a master that does not know this worker, at {}: joining that, as another worker",
                    path.display(),
                    found.address
                );
                self.renewing = Some(Box::pin(join::anew(join.clone())));
            }
            Ok(found) => {
                tracing::info!("{} says that the master is at {}", path.display(), found.address);
                self.master.dial.address = found.address;
                self.renewing = self.master.renewal();
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }

    fn connected(&mut self, link: Result<MasterLink, LinkError>) {
        self.connecting = None;
        match link {
            Ok(link) => {
                self.code.set_master(Some(link.client.clone()));
                self.link = Some(link);
                self.worker.connected(clock::now());
            }
            Err(error) => {
                let address = &self.master.dial.address;
                match self.failures {
                    1 => tracing::warn!("{address}: {error}; trying on"),
                    _ => tracing::debug!("{address}: {error}"),
                }
                self.look_again();
                self.seek();
            }
        }
    }

    fn lost(&mut self, why: &str) {
        tracing::info!("{}: {why}", self.master.dial.address);
        self.hang_up();
        self.away = clock::now();
        self.worker.disconnected();
    }

    /// Connects, after a pause that grows with each failure and that no two workers share.
    fn seek(&mut self) {
        let base = RETRY_BASE_MS << self.failures.min(10);
        let pause = match self.failures {
            0 => 0,
            _ => full_jitter(base.min(RETRY_CAP_MS), random()),
        };
        self.failures = self.failures.saturating_add(1);
        let dial = self.master.dial.clone();
        let outputs = self.machine.live.clone();
        let side = LiveSide { worker: self.worker.id(), outputs, wish: self.wish.clone() };
        self.connecting = Some(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            connect(dial, side).await
        }));
    }

    /// Does what the state machine says; its farewell, when it has one.
    fn act(&mut self) -> Option<Farewell> {
        loop {
            let actions = self.worker.take(clock::now());
            if actions.is_empty() {
                return None;
            }
            for action in actions {
                match action {
                    WorkerAction::Connect => self.seek(),
                    WorkerAction::Reconnect => {
                        tracing::info!("{}: it is silent; connecting again", self.master.dial.address);
                        self.hang_up();
                        self.away = clock::now();
                        self.seek();
                    }
                    WorkerAction::Send(message) => {
                        if self.link.as_ref().is_some_and(|link| !link.send(message)) {
                            self.lost("it does not read what is sent");
                        }
                    }
                    WorkerAction::Start(start) => self.start(start),
                    WorkerAction::Stop { lease, reason, grace_ms } => {
                        self.order(lease, AttemptOrder::Stop { reason, grace_ms });
                    }
                    WorkerAction::Recall(lease) => self.order(lease, AttemptOrder::Recall),
                    WorkerAction::Exit(farewell) => return Some(farewell),
                }
            }
        }
    }

    fn hang_up(&mut self) {
        self.code.set_master(None);
        self.link = None;
    }

    /// What attempts waited for is here, or cannot be: they are placed again, or go back.
    fn staged(&mut self, StagingEnd { version, waiting, fault }: StagingEnd) {
        let now = clock::now();
        let Some(StagingFault { why, again_ms }) = fault else {
            return waiting.into_iter().for_each(|lease| self.worker.withdrawn(now, lease));
        };
        tracing::warn!("a sweep cannot be run here: {why}");
        let (sweep, version) = version;
        self.worker.cannot_run(now, CannotRun { sweep, version, why }, again_ms, &waiting);
    }

    fn order(&mut self, lease: LeaseSeq, order: AttemptOrder) {
        if self.code.withdraw(lease) {
            return self.worker.withdrawn(clock::now(), lease);
        }
        if let Some(orders) = self.orders.get(&lease) {
            // An attempt that has just ended is past being told anything.
            let _ = orders.send(order);
        }
    }

    fn start(&mut self, mut start: Box<AttemptStart>) {
        if !self.code.admit(&mut start) {
            return;
        }
        let (orders, ordered) = mpsc::unbounded_channel();
        self.orders.insert(start.grant.token.lease, orders);
        let number = start.slot;
        let (machine, say) = (&self.machine, &self.say);
        let keepers = &mut self.keepers;
        let work = self.work.entry(number).or_insert_with(|| {
            let (work, assignments) = mpsc::unbounded_channel();
            keepers.spawn(SlotKeeper::new(Arc::clone(machine), number, say.clone()).serve(assignments));
            work
        });
        let is_in_s3 = start.sweep.s3_data().is_some();
        let image = self.code.image((start.grant.sweep, start.grant.version));
        let assignment = Assignment { start, orders: ordered, data: None, image };
        if is_in_s3 {
            let datasets = Arc::clone(&machine.datasets);
            self.staging.spawn(bring(datasets, assignment, (work.clone(), say.clone())));
            return;
        }
        // A slot ends only when this end of its channel does.
        let _ = work.send(assignment);
    }

    /// Ends all slots: gently where nothing goes on in them; one whose pipe closes ends whatever it
    /// holds.
    async fn close(mut self, end: &LoopEnd) {
        use Farewell::{Drained, Orphaned, Unfit, Unreported};
        let gently = matches!(end, LoopEnd::Farewell(Drained | Unfit(_) | Orphaned | Unreported));
        if let Some(link) = self.link.take().filter(|_| gently) {
            link.close().await;
        }
        self.staging.shutdown().await;
        self.code.stop().await;
        self.work.clear();
        if gently {
            let keepers = &mut self.keepers;
            let all = async move { while keepers.join_next().await.is_some() {} };
            drop(tokio::time::timeout(CLOSE_WITHIN, all).await);
        }
        self.keepers.shutdown().await;
        self.machine.reap_slots(CLOSE_WITHIN).await;
    }
}

/// The master's next words; never, while there is no connection.
async fn next(link: Option<&mut MasterLink>) -> Result<ToWorker, LinkError> {
    match link {
        Some(link) => link.next().await,
        None => pending().await,
    }
}

/// The connection that is sought; never, while none is.
async fn connected(connecting: Option<&mut Connecting>) -> Result<MasterLink, LinkError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => pending().await,
    }
}

/// The next certificate; never, where there is none.
async fn renewed(renewing: Option<&mut Renewing>) -> Renewal {
    match renewing {
        Some(renewing) => renewing.await,
        None => pending().await,
    }
}

fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::from(std::process::id()))
}

#[cfg(test)]
mod tests {
    use gridctl_core::id::WorkerId;
    use gridctl_core::worker::WorkerProfile;

    use super::*;

    #[tokio::test]
    async fn a_keeper_that_panics_ends_the_worker() {
        let temp = tempfile::tempdir().unwrap();
        let machine = Arc::new(crate::attempt::tests::machine(temp.path(), 1_000));
        let address = format!("unix:{}", temp.path().join("no.sock").display()).parse().unwrap();
        let master = MasterSide::here(address, Bearer::none());
        let capacity = crate::resources::capacity(Some(1), &[], None);
        let (host, release) = (String::new(), String::new());
        let profile = WorkerProfile { worker: WorkerId([0; 5]), host, machine: None, release, capacity };
        let protocol = WorkerProtocol::new(profile, clock::now());
        let (wish, mut wishes) = mpsc::unbounded_channel();
        let mut worker = WorkerLoop::new(machine, master, (protocol, wish));
        worker.keepers.spawn(async { panic!("planted") });
        let mut going = JoinSet::new();
        going.spawn(async move { drop(worker.drive(&mut wishes).await) });
        let ended = tokio::time::timeout(Duration::from_secs(60), going.join_next());
        assert!(ended.await.expect("it ends").unwrap().unwrap_err().is_panic());
    }
}
