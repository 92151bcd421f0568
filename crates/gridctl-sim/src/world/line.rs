//! The worker's side of its slots: attempts in line, what is said to them, and whether the slots
//! answer.
//! Invariant: a slot is given up only if something befell it, and what was asked to stop ends in
//! time.

use std::sync::Arc;

use gridctl_core::attempt::StopReason;
use gridctl_core::id::{LeaseSeq, WorkerId};
use gridctl_core::protocol::Grant;
use gridctl_core::record::{Class, Report};
use gridctl_core::slot::{InLine, LineTodo, SlotEvent, SlotRequest, TrainerStart};
use gridctl_core::worker;

use super::publish::Unreported;
use super::slot::Slot;
use super::{Happens, World};
use crate::audit::Violation;
use crate::trainer;

/// How often a worker looks at its slots, in milliseconds.
pub(super) const LOOK_MS: u64 = 1_000;
/// After its grace, what was asked to stop ends within this, whatever its slot does: SIGKILL works,
/// or the slot is given up.
const ENDS_WITHIN_MS: u64 = 60_000;

/// An attempt in a slot's line.
pub(super) struct Attempt {
    pub(super) start: worker::AttemptStart,
    /// The worker's waking time in which it has to end, since it was asked to, in milliseconds.
    pub(super) to_end_ms: Option<u64>,
    pub(super) duration_ms: u64,
    /// Its machine fails it.
    pub(super) bad: bool,
}

impl World {
    /// The worker hands an attempt to its slot, which starts it at once, or as soon as what goes on
    /// there has ended.
    pub(super) fn give_to_slot(
        &mut self,
        worker: WorkerId,
        start: worker::AttemptStart,
    ) -> Result<(), Violation> {
        self.lives_of_slots += 1;
        let life = self.lives_of_slots;
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        if !process.unpublished.is_empty() {
            return Err(Violation(format!("{worker} starts something new while results wait there")));
        }
        if process.draining {
            return Err(Violation(format!("{worker} starts something new after it was asked to end")));
        }
        if self.unable[process.machine] {
            let report = not_begun(&start.grant);
            self.auditor.not_begun(report.token.lease);
            process.reported.insert(report.token.lease, report.trial);
            process.half.ended(now, report);
            return Ok(());
        }
        let number = start.slot;
        let slot = process.slots.entry(number).or_insert_with(|| Slot::new(life));
        assert!(slot.line.has_room(), "two attempts wait for one slot");
        let (id, by_ms) = (start.grant.token.lease.0, start.by.0);
        slot.line.push(id, Attempt { start, to_end_ms: None, duration_ms: 0, bad: false });
        let start = TrainerStart { id, argv: Vec::new(), env: Vec::new(), cwd: String::new(), by_ms };
        self.tell_slot(worker, number, SlotRequest::Start(start));
        Ok(())
    }

    /// The worker hears a slot.
    pub(super) fn hear_slot(
        &mut self,
        worker: WorkerId,
        number: u32,
        (life, event): (u64, SlotEvent),
    ) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        if process.frozen {
            self.queue.after(500, Happens::SlotSays { worker, slot: number, life, event });
            return Ok(());
        }
        let Some(slot) = process.slots.get_mut(&number).filter(|slot| slot.life == life) else {
            return Ok(());
        };
        slot.line.heard();
        let is_front = |id: u64| slot.line.front().is_some_and(|front| front.id == id);
        match event {
            SlotEvent::Exited { id, asked, .. } if is_front(id) => {
                let Some((ended, _)) = slot.line.take(id) else { return Ok(()) };
                let (sweep, report) = (Arc::clone(&ended.attempt.start.sweep), report(&ended, asked));
                self.attempt_over(worker, Unreported { sweep, report })?;
                self.begin_front(worker, number)?;
            }
            SlotEvent::NotStarted { id, .. } if is_front(id) => {
                let Some((InLine { attempt, .. }, _)) = slot.line.take(id) else { return Ok(()) };
                let report = not_begun(&attempt.start.grant);
                self.auditor.not_begun(LeaseSeq(id));
                process.reported.insert(LeaseSeq(id), report.trial);
                process.half.ended(now, report);
                self.begin_front(worker, number)?;
            }
            SlotEvent::Withdrawn { id } => {
                let taken = slot.line.take(id);
                if taken.is_some() {
                    process.half.withdrawn(now, LeaseSeq(id));
                }
                if taken.is_some_and(|(_, was_front)| was_front) {
                    self.begin_front(worker, number)?;
                }
            }
            _ => {}
        }
        self.work(worker)
    }

    /// What waited is at the front: what was asked of it meanwhile is done now.
    fn begin_front(&mut self, worker: WorkerId, number: u32) -> Result<(), Violation> {
        match self.slot(worker, number).and_then(|slot| slot.line.begin()) {
            Some((id, stop)) => self.ask(worker, number, (id, Some(stop))),
            None => Ok(()),
        }
    }

    /// Says to an attempt in a slot's line that it is to stop, or is asked back.
    fn ask(
        &mut self,
        worker: WorkerId,
        number: u32,
        (id, stop): (u64, Option<(StopReason, u64)>),
    ) -> Result<(), Violation> {
        let now = self.now();
        let Some(slot) = self.slot(worker, number) else { return Ok(()) };
        let front = slot.line.front_mut().filter(|front| front.id == id);
        if let (Some(front), Some((_, grace_ms))) = (front, stop) {
            front.attempt.to_end_ms.get_or_insert(grace_ms + ENDS_WITHIN_MS);
        }
        let todo = slot.line.order(now, id, stop);
        self.act(worker, number, todo)
    }

    /// Does what is to be done about a slot.
    fn act(&mut self, worker: WorkerId, number: u32, todo: Option<LineTodo>) -> Result<(), Violation> {
        match todo {
            Some(LineTodo::Tell(request)) => self.tell_slot(worker, number, request),
            Some(LineTodo::GiveUp(_)) => self.lose_slot(worker, number)?,
            None => {}
        }
        Ok(())
    }

    /// The worker's half says something to an attempt: to stop, or to be given back if it still
    /// waits.
    pub(super) fn order(
        &mut self,
        worker: WorkerId,
        lease: LeaseSeq,
        stop: Option<(StopReason, u64)>,
    ) -> Result<(), Violation> {
        if self.stop_waiting(worker, lease, stop.map(|(reason, _)| reason)) {
            return Ok(());
        }
        let Some(process) = self.workers.get(&worker) else { return Ok(()) };
        let has = |slot: &Slot| slot.line.iter().any(|attempt| attempt.id == lease.0);
        match process.slots.iter().find_map(|(number, slot)| has(slot).then_some(*number)) {
            Some(number) => self.ask(worker, number, (lease.0, stop)),
            None => Ok(()),
        }
    }

    /// The worker looks at its slots: what is due, and whether they answer.
    pub(super) fn look_at_slots(&mut self, worker: WorkerId) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get(&worker) else { return Ok(()) };
        let numbers: Vec<u32> = process.slots.keys().copied().collect();
        for number in numbers {
            let Some(slot) = self.slot(worker, number) else { continue };
            if let Some(front) = slot.line.front_mut()
                && let Some(to_end_ms) = &mut front.attempt.to_end_ms
            {
                let left = to_end_ms.checked_sub(LOOK_MS);
                *to_end_ms = left.ok_or_else(|| {
                    let id = front.id;
                    Violation(format!("lease {id} goes on in {worker} long after it was asked to stop"))
                })?;
            }
            for todo in slot.line.look(now, || false) {
                self.act(worker, number, todo)?;
            }
        }
        Ok(())
    }

    /// The worker ends what runs below a slot that does not answer, and the slot; the next attempt
    /// gets another one.
    fn lose_slot(&mut self, worker: WorkerId, number: u32) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        let Some(mut slot) = process.slots.remove(&number) else { return Ok(()) };
        let excused = slot.stopped_until.max(process.thawed).after_ms(2_000);
        if now > excused {
            return Err(Violation(format!(
                "slot {number} of {worker} is given up, though nothing befell it"
            )));
        }
        self.given_up += 1;
        for lost in slot.line.lose() {
            let grant = lost.attempt.start.grant;
            process.reported.insert(grant.token.lease, grant.trial);
            let text = "the slot process did not answer";
            let report = Report::without_process(grant.token, grant.trial, Class::WorkerFault, text);
            process.half.ended(now, report);
        }
        Ok(())
    }
}

/// What the worker reports of an attempt that has ended.
fn report(InLine { attempt, stop, .. }: &InLine<Attempt>, asked: bool) -> Report {
    let grant = &attempt.start.grant;
    match stop.reason().filter(|_| asked) {
        None if attempt.bad => trainer::failure(grant, attempt.duration_ms, "no such device"),
        None => trainer::outcome(grant, attempt.duration_ms),
        Some(reason) => {
            let class = if reason == StopReason::Fenced { Class::Fenced } else { reason.class() };
            Report::without_process(grant.token, grant.trial, class, "stopped")
        }
    }
}

/// What the worker reports of an attempt that its machine could not start.
fn not_begun(grant: &Grant) -> Report {
    let text = "no process can be started";
    let report = Report::without_process(grant.token, grant.trial, Class::WorkerFault, text);
    Report { unbegun: true, ..report }
}
