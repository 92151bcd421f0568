//! Slots: the loop of a slot process as the binary steps it, over pipes and trainers that are
//! pretended.
//! Invariant: a read that finds nothing breaks a promise, since a pipe's would block: only a wait
//! stands still.

use std::collections::VecDeque;

use gridctl_core::id::{LeaseSeq, Time, WorkerId};
use gridctl_core::slot::{
    NotStarted, ReapedTrainer, SILENCE_MS, SlotEvent, SlotLine, SlotRequest, SlotSupervisor, SlotWait,
    StartFault, SupervisorTodo, TrainerExit, WaitOutcome,
};
use rand::RngExt;

use super::line::Attempt;
use super::{Happens, World};
use crate::audit::Violation;
use crate::trainer;

const SIGKILL: i32 = 9;
/// What a message takes in a pipe, roughly: a short trial's are few enough to wait for its end.
const MESSAGE: usize = 64;

/// A slot process and its worker's side of it.
pub(super) struct Slot {
    /// Tells what is about this process from what is about one before it.
    pub(super) life: u64,
    supervisor: SlotSupervisor,
    requests: VecDeque<SlotRequest>,
    said: Vec<SlotEvent>,
    trainer: Option<Trainer>,
    waits: Option<SlotWait>,
    /// When the wait that goes on is over, if it is a short one.
    wakes: Option<Time>,
    /// It got SIGSTOP.
    stopped: bool,
    pub(super) stopped_until: Time,
    pub(super) line: SlotLine<Attempt>,
}

struct Trainer {
    lease: LeaseSeq,
    ended: bool,
}

impl Slot {
    pub(super) fn new(life: u64) -> Self {
        Self {
            life,
            supervisor: SlotSupervisor::default(),
            requests: VecDeque::new(),
            said: Vec::new(),
            trainer: None,
            waits: None,
            wakes: None,
            stopped: false,
            stopped_until: Time(0),
            line: SlotLine::new(SILENCE_MS),
        }
    }

    /// Goes on until the next thing that is the world's to do; `None` if it waits, or stands still.
    fn go_on(&mut self, now: Time) -> Option<SupervisorTodo> {
        if let Some(wait) = self.waits.take() {
            let seen = self.look(&wait, now);
            if seen == WaitOutcome::default() {
                self.waits = Some(wait);
                return None;
            }
            self.supervisor.saw(seen);
        }
        loop {
            let todo = self.supervisor.next(self.said.len() * MESSAGE);
            match todo {
                SupervisorTodo::Wait(wait) => {
                    self.wakes = wait.at_most_ms.filter(|ms| *ms < 1_000).map(|ms| now.after_ms(ms));
                    let seen = self.look(&wait, now);
                    if seen == WaitOutcome::default() {
                        self.waits = Some(wait);
                        return None;
                    }
                    self.supervisor.saw(seen);
                }
                SupervisorTodo::ReadRequests if !self.requests.is_empty() => {
                    for request in std::mem::take(&mut self.requests) {
                        self.supervisor.asked(now, request);
                    }
                }
                SupervisorTodo::Say(event) => self.said.push(event),
                SupervisorTodo::Reap => self.reap(now),
                SupervisorTodo::Relay(_) | SupervisorTodo::SetBase(_) | SupervisorTodo::ReapStrays => {}
                SupervisorTodo::ReadRequests
                | SupervisorTodo::Start(_)
                | SupervisorTodo::Signal(_)
                | SupervisorTodo::Send => return Some(todo),
            }
        }
    }

    fn look(&self, wait: &SlotWait, now: Time) -> WaitOutcome {
        let requests = wait.requests && !self.requests.is_empty();
        let exit = wait.exit && self.trainer.as_ref().is_some_and(|trainer| trainer.ended);
        let nothing = !requests && !exit && self.wakes.is_some_and(|wakes| now >= wakes);
        WaitOutcome { requests, exit, nothing, ..WaitOutcome::default() }
    }

    fn reap(&mut self, now: Time) {
        if self.trainer.take_if(|trainer| trainer.ended).is_some() {
            let reaped =
                ReapedTrainer { exit: TrainerExit::Code(0), cpu_ms: 0, peak_rss_kib: 0, left_behind: 0 };
            self.supervisor.reaped(now, reaped);
        }
    }
}

impl World {
    pub(super) fn tell_slot(&mut self, worker: WorkerId, number: u32, request: SlotRequest) {
        let Some(slot) = self.slot(worker, number) else { return };
        slot.requests.push_back(request);
        self.rouse(worker, number);
    }

    pub(super) fn slot(&mut self, worker: WorkerId, number: u32) -> Option<&mut Slot> {
        self.workers.get_mut(&worker)?.slots.get_mut(&number)
    }

    /// The kernel lets the slot's process run, soon: meanwhile more may come.
    fn rouse(&mut self, worker: WorkerId, slot: u32) {
        let soon = self.rng.random_range(0..20);
        self.queue.after(soon, Happens::SlotRuns { worker, slot });
    }

    pub(super) fn rouse_all(&mut self, worker: WorkerId) {
        let slots =
            self.workers.get(&worker).map(|process| process.slots.keys().copied().collect::<Vec<_>>());
        slots.unwrap_or_default().into_iter().for_each(|slot| self.rouse(worker, slot));
    }

    /// A slot's process runs until it waits.
    pub(super) fn run_slot(&mut self, worker: WorkerId, number: u32) -> Result<(), Violation> {
        let now = self.now();
        loop {
            let Some(process) = self.workers.get_mut(&worker).filter(|process| !process.frozen) else {
                return Ok(());
            };
            let Some(slot) = process.slots.get_mut(&number).filter(|slot| !slot.stopped) else {
                return Ok(());
            };
            match slot.go_on(now) {
                None => {
                    if let Some(wakes) = slot.wakes.filter(|wakes| *wakes > now) {
                        self.queue.at(wakes.0, Happens::SlotRuns { worker, slot: number });
                    }
                    return Ok(());
                }
                Some(SupervisorTodo::Send) => {
                    let life = slot.life;
                    slot.supervisor.sent(0);
                    for event in std::mem::take(&mut slot.said) {
                        if matches!(event, SlotEvent::Started { .. } | SlotEvent::Pong { .. }) {
                            slot.line.heard();
                            continue;
                        }
                        self.queue.after(0, Happens::SlotSays { worker, slot: number, life, event });
                    }
                }
                Some(SupervisorTodo::Start(start)) => {
                    self.start_trainer(worker, number, LeaseSeq(start.id))?
                }
                Some(SupervisorTodo::Signal(signal)) => self.signal_trainer(worker, number, signal),
                Some(todo) => {
                    let said = "reads what no wait has seen: it would stand still";
                    return Err(Violation(format!("slot {number} of {worker} {said} ({todo:?})")));
                }
            }
        }
    }

    fn start_trainer(&mut self, worker: WorkerId, number: u32, lease: LeaseSeq) -> Result<(), Violation> {
        let now = self.now();
        let (seed, longest_ms, bad) = (self.plan.seed, self.plan.longest_ms, &self.bad);
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        let bad = bad[process.machine];
        let unable = self.unable[process.machine];
        let Some(slot) = process.slots.get_mut(&number) else { return Ok(()) };
        let mut attempts = slot.line.iter_mut();
        let of_lease = attempts.find(|attempt| attempt.id == lease.0).map(|it| &mut it.attempt);
        let Some(attempt) = of_lease else {
            return Err(Violation(format!(
                "slot {number} of {worker} starts {lease}, which nobody waits for"
            )));
        };
        if slot.trainer.is_some() {
            return Err(Violation(format!("slot {number} of {worker} has two trainers")));
        }
        if unable {
            let text = "no process can be started".to_owned();
            slot.supervisor.started(now, Err(NotStarted { fault: StartFault::Machine, text }));
            return Ok(());
        }
        let grant = &attempt.start.grant;
        self.auditor.started(grant.trial)?;
        let longest_ms = if bad { trainer::AT_ONCE_MS } else { longest_ms };
        attempt.duration_ms = trainer::duration_ms(seed, grant, longest_ms);
        attempt.bad = bad;
        let (life, ends) = (slot.life, attempt.duration_ms);
        slot.trainer = Some(Trainer { lease, ended: false });
        slot.supervisor.started(now, Ok(1));
        self.queue.after(ends, Happens::TrainerEnds { worker, slot: number, life, lease });
        Ok(())
    }

    /// A trainer takes its time over SIGTERM, and none over SIGKILL.
    fn signal_trainer(&mut self, worker: WorkerId, number: u32, signal: i32) {
        let takes = if signal == SIGKILL { 0 } else { self.rng.random_range(0..20_000) };
        let Some(slot) = self.slot(worker, number) else { return };
        slot.supervisor.signalled();
        let (life, lease) = (slot.life, slot.trainer.as_ref().map(|trainer| trainer.lease));
        if let Some(lease) = lease {
            self.queue.after(takes, Happens::TrainerEnds { worker, slot: number, life, lease });
        }
    }

    pub(super) fn trainer_ends(&mut self, worker: WorkerId, number: u32, (life, lease): (u64, LeaseSeq)) {
        let Some(process) = self.workers.get_mut(&worker) else { return };
        if process.frozen {
            self.queue.after(500, Happens::TrainerEnds { worker, slot: number, life, lease });
            return;
        }
        let Some(slot) = process.slots.get_mut(&number).filter(|slot| slot.life == life) else { return };
        if let Some(trainer) = slot.trainer.as_mut().filter(|trainer| trainer.lease == lease) {
            trainer.ended = true;
            self.rouse(worker, number);
        }
    }

    /// SIGSTOP to a slot, and SIGCONT later, if it is still there then.
    pub(super) fn stop_slot(&mut self) -> bool {
        let all = self.workers.iter().flat_map(|(worker, process)| {
            process.slots.iter().filter(|(_, slot)| !slot.line.is_empty()).map(|(slot, _)| (*worker, *slot))
        });
        let all: Vec<_> = all.collect();
        if all.is_empty() {
            return false;
        }
        let (worker, number) = all[self.rng.random_range(0..all.len())];
        let (now, pause) = (self.now(), self.rng.random_range(500..120_000));
        let Some(slot) = self.slot(worker, number) else { return false };
        (slot.stopped, slot.stopped_until) = (true, now.after_ms(pause));
        let life = slot.life;
        self.queue.after(pause, Happens::SlotGoesOn { worker, slot: number, life });
        true
    }

    pub(super) fn slot_goes_on(&mut self, worker: WorkerId, number: u32, life: u64) -> Result<(), Violation> {
        if let Some(slot) = self.slot(worker, number).filter(|slot| slot.life == life) {
            slot.stopped = false;
        }
        self.run_slot(worker, number)
    }
}
