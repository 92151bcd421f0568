//! A slot with everything that is its own: the attempt that goes on there, the one that waits
//! behind it, and what is still to be published of those that have ended.
//! Invariant: every assignment ends in exactly one report or is given back, and nothing here waits
//! for a trainer without also waiting for a request to stop it.

mod body;

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use gridctl_core::attempt::StopReason;
use gridctl_core::id::Time;
use gridctl_core::protocol::Grant;
use gridctl_core::record::Report;
use gridctl_core::slot::{InLine, LINE_LENGTH, LineTodo, SlotLine, Unanswered};
use gridctl_core::worker::GRACE_MS;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::{JoinSet, spawn_blocking};

use super::follow::{FollowedAttempt, TrainerEnd};
use super::report::{self, AttemptFault};
use super::{Assignment, AttemptOrder, SlotNews, WorkerMachine, came_to, prepare};
use crate::cgroup::SlotCgroup;
use crate::client::{SlotClient, SlotError};
use crate::clock;
use crate::marks;
use crate::scratch::Scratch;
use crate::slot::{self, SlotBody, SlotEvent, SlotRequest};

/// After a fault of the slot itself it rests so long. After a fault of the machine the whole worker
/// rests.
const REST: Duration = Duration::from_secs(1);
/// As many sets of directories has a slot as attempts are in its line.
const SETS: usize = LINE_LENGTH;

/// Keeps one slot at work.
#[derive(Debug)]
pub(crate) struct SlotKeeper {
    machine: Arc<WorkerMachine>,
    number: u32,
    said: UnboundedSender<SlotNews>,
    // Before the cgroup: it can be removed only once the slot has left it.
    client: Option<SlotClient>,
    /// What the slot is made of.
    body: SlotBody,
    /// Another slot is to take its place before the next attempt: the last one left processes, or had
    /// too little memory.
    is_spent: bool,
    /// The environment that the slot process has.
    base: Option<Arc<prepare::PreparedVersion>>,
    cgroup: Option<SlotCgroup>,
    /// Sets of directories that no attempt uses.
    free: Vec<Scratch>,
    /// How many sets there are, of this kind of slot and of all.
    sets: usize,
    made: usize,
    next_id: u64,
    line: SlotLine<FollowedAttempt>,
    /// Attempts that have ended and are not reported yet, with their directories.
    ending: JoinSet<(Box<Report>, Option<Scratch>)>,
}

enum Happens {
    Slot(Result<SlotEvent, SlotError>),
    /// The attempt of this name in the line is to stop, or is asked back.
    Order(u64, AttemptOrder),
    Ended(Box<Report>, Option<Scratch>),
    Work(Assignment),
    Time,
}

impl SlotKeeper {
    /// The slot number `number`; nothing is started yet.
    pub(crate) fn new(machine: Arc<WorkerMachine>, number: u32, said: UnboundedSender<SlotNews>) -> Self {
        Self {
            line: SlotLine::new(machine.slot_silence_ms),
            machine,
            number,
            said,
            client: None,
            body: SlotBody::Process,
            is_spent: false,
            base: None,
            cgroup: None,
            free: Vec::new(),
            sets: 0,
            made: 0,
            next_id: 0,
            ending: JoinSet::new(),
        }
    }

    /// Works until there is no more to come, then ends the slot process.
    pub(crate) async fn serve(mut self, mut work: UnboundedReceiver<Assignment>) {
        loop {
            let busy = !self.line.is_empty();
            let room = self.line.has_room() && (self.sets < SETS || !self.free.is_empty());
            let pause = self.pause();
            let happens = tokio::select! {
                biased;
                event = event(self.client.as_mut()), if busy => Happens::Slot(event),
                (id, order) = order(&mut self.line) => Happens::Order(id, order),
                Some(ended) = self.ending.join_next() => {
                    let (report, scratch) = came_to(ended);
                    Happens::Ended(report, scratch)
                }
                assignment = work.recv(), if room => match assignment {
                    Some(assignment) => Happens::Work(assignment),
                    None => break,
                },
                () = tokio::time::sleep(pause), if busy => Happens::Time,
            };
            match happens {
                Happens::Slot(event) => self.heard(event).await,
                Happens::Order(id, AttemptOrder::Recall) => self.order(id, None).await,
                Happens::Order(id, AttemptOrder::Stop { reason, grace_ms }) => {
                    self.order(id, Some((reason, grace_ms))).await;
                }
                Happens::Ended(report, scratch) => self.say(report, scratch),
                Happens::Work(assignment) => self.take(assignment).await,
                Happens::Time => {}
            }
            self.look_at_the_clock().await;
        }
        self.close_slot().await;
    }

    /// Until something is due.
    fn pause(&self) -> Duration {
        let Some(front) = self.line.front() else { return Duration::ZERO };
        let wake = front.attempt.wake(front.stop.reason().is_some());
        let wake = self.line.due().map_or(wake, |due| wake.min(due));
        Duration::from_millis(wake.ms_since(clock::now()))
    }

    async fn look_at_the_clock(&mut self) {
        let now = clock::now();
        if let Some(front) = self.line.front_mut() {
            let is_late = front.attempt.timeout().is_some_and(|at| now >= at);
            front.attempt.look(now).await;
            if is_late && front.stop.reason().is_none() {
                let id = front.id;
                self.order(id, Some((StopReason::Timeout, GRACE_MS))).await;
            }
        }
        let client = self.client.as_ref();
        let todos = self.line.look(now, || client.is_some_and(SlotClient::is_held));
        for todo in todos {
            self.act(todo).await;
        }
    }

    /// Prepares an attempt and hands it to the slot, which starts it when it can; or publishes what
    /// an earlier one at this trial left.
    async fn take(&mut self, Assignment { start, orders, data, image }: Assignment) {
        if let Some(kept) = self.machine.kept.find(&start).await {
            let said = self.said.clone();
            self.ending.spawn(async move { (kept.end_attempt(start, orders, said).await, None) });
            return;
        }
        let body = prepare::body(&self.machine, self.number, (&start, image.as_ref()), data.as_deref());
        match body {
            Ok(body) => self.become_body(body).await,
            Err(error) => return self.fail(AttemptFault::scratch(error), start.grant, None),
        }
        let mut scratch = match self.free_set() {
            Ok(scratch) => scratch,
            Err(fault) => return self.fail(fault, start.grant, None),
        };
        self.next_id += 1;
        let id = self.next_id;
        let prepared =
            match prepare::prepare((&self.machine, &self.body), (id, &start, data), &mut scratch).await {
                Ok(Ok(prepared)) => prepared,
                Ok(Err(text)) => {
                    return self.say(Box::new(report::not_started(&start.grant, text)), Some(scratch));
                }
                Err(fault) => return self.fail(fault, start.grant, Some(scratch)),
            };
        let mut following =
            FollowedAttempt::new(start, orders, scratch, (&self.machine, &self.said), &prepared);
        for damaged in &prepared.restored.damaged {
            following.note(&format!("a published checkpoint was passed over: {damaged}")).await;
        }
        let mem_mib = following.grant().resources.mem_mib;
        if self.line.is_empty() {
            following.enter();
        }
        self.line.push(id, following);
        if let Err(fault) = self.launch(prepared, mem_mib).await {
            self.lose(fault).await;
        }
    }

    async fn launch(&mut self, prepared: prepare::Prepared, mem_mib: u64) -> Result<(), AttemptFault> {
        self.ready(&prepared.version).await?;
        if let (Some(cgroup), SlotBody::Process) = (&mut self.cgroup, &self.body) {
            cgroup.set_limit(mem_mib).map_err(AttemptFault::cgroup)?;
        }
        self.send(&SlotRequest::Start(prepared.start)).map_err(|error| AttemptFault::slot(&error, false))
    }

    /// A slot process that is there and has this environment.
    async fn ready(&mut self, version: &Arc<prepare::PreparedVersion>) -> Result<(), AttemptFault> {
        if self.client.is_none() {
            let started = match self.body.clone() {
                SlotBody::Process => self.start_process(),
                SlotBody::Container(body) => self.start_container(&body).await,
            };
            started.map_err(|error| AttemptFault::no_slot(&error))?;
            self.base = None;
            self.line.heard();
        }
        if !self.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, version)) {
            let mark = format!("{}/{}", self.machine.mark, self.number);
            let request = SlotRequest::Base { env: version.environment(&mark) };
            self.send(&request).map_err(|error| AttemptFault::slot(&error, false))?;
            self.base = Some(Arc::clone(version));
        }
        Ok(())
    }

    async fn heard(&mut self, event: Result<SlotEvent, SlotError>) {
        if event.is_ok() {
            self.line.heard();
        }
        match event {
            Ok(SlotEvent::Withdrawn { id }) => self.withdrawn(id).await,
            Ok(event) => {
                let Some(front) = self.line.front_mut() else { return };
                let id = front.id;
                if let Some(gone) = front.attempt.take(id, event).await {
                    self.ended(id, gone).await;
                }
            }
            Err(error) => {
                let oom = self.oom_killed();
                self.lose(AttemptFault::slot(&error, oom)).await;
            }
        }
    }

    fn oom_killed(&mut self) -> bool {
        self.cgroup.as_mut().is_some_and(|cgroup| cgroup.new_kills() > 0)
    }

    /// The trainer at the front is gone, and the slot has started the next one.
    async fn ended(&mut self, id: u64, gone: TrainerEnd) {
        let Some((InLine { attempt: mut following, stop, .. }, _)) = self.line.take(id) else { return };
        let gone = TrainerEnd { stop, ..gone };
        let (now, oom) = (clock::now(), self.oom_killed());
        self.is_spent |= matches!(self.body, SlotBody::Container(_)) && (oom || gone.left_behind > 0);
        if let Some((slot::StartFault::Machine, text)) = gone.not_started {
            let (grant, scratch) = following.give_up();
            self.fail(AttemptFault::machine(text), grant, Some(scratch));
            return self.begin(now).await;
        }
        let looks = following.claim_look();
        if looks || !following.is_read(&gone) {
            self.ending.spawn(following.end_later(gone, (looks, oom), now, self.machine.kept.clone()));
        } else {
            let ended = following.end(gone, oom, now);
            if ended.has_files() {
                self.ending.spawn(ended.publish(self.machine.kept.clone()));
            } else {
                let (report, scratch) = ended.report();
                self.say(report, Some(scratch));
            }
        }
        self.begin(now).await;
    }

    /// What was behind is at the front now, and begins.
    async fn begin(&mut self, now: Time) {
        if let Some(next) = self.line.front_mut() {
            next.attempt.begin(now);
            if let Some((id, stop)) = self.line.begin() {
                self.order(id, Some(stop)).await;
            }
        }
    }

    async fn withdrawn(&mut self, id: u64) {
        let Some((InLine { attempt, .. }, was_front)) = self.line.take(id) else { return };
        let (grant, scratch) = attempt.give_up();
        self.free.push(scratch);
        self.tell(SlotNews::Withdrawn { lease: grant.token.lease });
        if was_front {
            self.begin(clock::now()).await;
        }
    }

    /// Asks an attempt in line to stop for a reason within a grace, or to come back if it waits.
    async fn order(&mut self, id: u64, stop: Option<(StopReason, u64)>) {
        if let Some((StopReason::Preempted, _)) = stop
            && let Some(front) = self.line.front_mut().filter(|front| front.id == id)
            && let Some(signal) = front.attempt.announce_preemption(clock::now())
        {
            self.act(Some(LineTodo::Tell(SlotRequest::Signal { id, signal }))).await;
        }
        if let Some(front) = self.line.front_mut().filter(|front| front.id == id) {
            front.stop.uploads_take(front.attempt.upload_ms());
        }
        let todo = self.line.order(clock::now(), id, stop);
        self.act(todo).await;
    }

    /// Does what is to be done about the slot.
    async fn act(&mut self, todo: Option<LineTodo>) {
        let silent = || SlotError::Silent(self.machine.slot_silence_ms.div_ceil(1_000));
        let acted = match todo {
            None => return,
            Some(LineTodo::Tell(request)) => self.send(&request),
            Some(LineTodo::GiveUp(Unanswered::Ping)) => Err(silent()),
            Some(LineTodo::GiveUp(Unanswered::Kill)) => {
                Err(SlotError::Gone("a trainer did not end after SIGKILL".to_owned()))
            }
        };
        if let Err(error) = acted {
            tracing::warn!("slot {}: {error}", self.number);
            self.lose(AttemptFault::slot(&error, false)).await;
        }
    }

    fn send(&mut self, request: &SlotRequest) -> Result<(), SlotError> {
        match &mut self.client {
            Some(client) => client.send(request),
            None => Err(SlotError::Gone("it was ended".to_owned())),
        }
    }

    /// The slot is of no more use, and with it whatever is in line: `fault` is that of the attempt
    /// that goes on.
    async fn lose(&mut self, fault: AttemptFault) {
        self.reset().await;
        let behind = fault.of_what_waited();
        for (fault, lost) in [fault, behind].into_iter().zip(self.line.lose()) {
            let (grant, scratch) = lost.attempt.give_up();
            self.fail(fault, grant, Some(scratch));
        }
    }

    /// Reports a fault; one that is not known to be the machine's after a rest, during which the
    /// master has nothing to grant to this slot.
    fn fail(&mut self, fault: AttemptFault, grant: Grant, scratch: Option<Scratch>) {
        if fault.is_unbegun() {
            return self.say(Box::new(fault.report(&grant)), scratch);
        }
        self.ending.spawn(async move {
            tokio::time::sleep(REST).await;
            (Box::new(fault.report(&grant)), scratch)
        });
    }

    fn say(&mut self, report: Box<Report>, scratch: Option<Scratch>) {
        self.free.extend(scratch.filter(|scratch| self.is_own(scratch)));
        self.tell(SlotNews::Ended(report));
    }

    fn tell(&self, said: SlotNews) {
        // Nobody listens only when the worker itself is at its end.
        let _ = self.said.send(said);
    }

    /// After a fault: ends what runs below the slot, then the slot process, and whatever of it is
    /// left then.
    async fn reset(&mut self) {
        let Some(mut client) = self.client.take() else { return };
        if client.container().is_some() {
            client.end_container().await;
            self.is_spent = false;
            return tracing::warn!("slot {} was lost, and its container ended", self.number);
        }
        let mark = format!("{}/{}", self.machine.mark, self.number);
        let machine = Arc::clone(&self.machine);
        let ended = spawn_blocking(move || {
            let mut ended = marks::end_marked(&mark).len();
            client.kill_process();
            forget(&machine, client.pid());
            // It may have started another trainer at the end of the first.
            ended += marks::end_marked(&mark).len();
            if machine.adopts {
                let slots = machine.slots.lock().unwrap_or_else(PoisonError::into_inner);
                ended += marks::end_adopted(&slots);
            }
            ended
        });
        let ended = ended.await.unwrap_or(0);
        tracing::warn!("slot {} was lost; {ended} processes of its trainer were ended", self.number);
    }
}

/// A slot process that is no more, or ends by itself.
fn forget(machine: &WorkerMachine, slot: Option<u32>) {
    machine.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| Some(*pid) != slot);
}

/// The next event of a slot that is known to be there.
async fn event(client: Option<&mut SlotClient>) -> Result<SlotEvent, SlotError> {
    match client {
        Some(client) => client.event().await,
        None => Err(SlotError::Gone("it was ended".to_owned())),
    }
}

/// The next order about an attempt in line, and its name; never, if none comes.
async fn order(line: &mut SlotLine<FollowedAttempt>) -> (u64, AttemptOrder) {
    poll_fn(|cx| {
        let order = line.iter_mut().find_map(|it| match it.attempt.poll_order(cx) {
            Poll::Ready(Some(order)) => Some((it.id, order)),
            _ => None,
        });
        order.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_attempt_whose_end_panics_ends_its_keeper() {
        let temp = tempfile::tempdir().unwrap();
        let (say, _said) = mpsc::unbounded_channel();
        let (_work, assignments) = mpsc::unbounded_channel();
        let machine = super::super::tests::machine(temp.path(), 1_000);
        let mut keeper = SlotKeeper::new(Arc::new(machine), 0, say);
        keeper.ending.spawn(async { panic!("planted") });
        let mut going = JoinSet::new();
        going.spawn(keeper.serve(assignments));
        let ended = tokio::time::timeout(Duration::from_secs(60), going.join_next());
        assert!(ended.await.expect("it ends").unwrap().unwrap_err().is_panic());
    }
}
