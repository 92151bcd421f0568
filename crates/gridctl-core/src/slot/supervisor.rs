//! The loop of a slot process: what it waits for, what it reads, starts, signals and says, in which
//! order.
//! Invariant: what a wait has seen is good for one read; between two reads of the same pipe there
//! is always a wait. Nothing of a trainer is there when the next one starts.

use std::collections::VecDeque;

use super::message::{OutputStream, SlotEvent, SlotRequest, StartFault, TrainerExit, TrainerStart};
use crate::id::Time;

/// While more than this waits for the worker, in bytes, the trainer's output is not read.
const HIGH_WATER: usize = 256 << 10;
/// A trainer that has written less than this at once may rest its pipes, so that all of a short
/// trial is one message.
const LOW_WATER: usize = 16 << 10;
/// For so long after a start, and after a little output, neither the trainer's pipes nor requests
/// are looked at, in milliseconds: each look would take a processor from the trainer, and most of
/// what a short one needs can be done at its end.
const REST_MS: u64 = 5;
/// A trainer that has written much at once is not rested for so long, in milliseconds: it would
/// wait for the pipe.
const LIVELY_MS: u64 = 100;
/// How often orphans of a trainer that goes on are reaped, in milliseconds.
const REAP_MS: u64 = 1_000;

/// What the process does next. Each is followed by the call that is named there, or by none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorTodo {
    /// SlotWait, then call [`SlotSupervisor::saw`].
    Wait(SlotWait),
    /// Read once what the worker asks: [`SlotSupervisor::asked`] for each whole request.
    ReadRequests,
    /// Read this output of the trainer's once, and pass it on: [`SlotSupervisor::relayed`].
    Relay(OutputStream),
    /// Look whether the trainer has ended; if so, end what it left, and pass on what its pipes
    /// still hold: [`SlotSupervisor::reaped`].
    Reap,
    /// Build all later starts upon these variables.
    SetBase(Vec<(String, String)>),
    /// TrainerStart this: [`SlotSupervisor::started`].
    Start(TrainerStart),
    /// Send this signal to the trainer's group: [`SlotSupervisor::signalled`] if it was sent.
    Signal(i32),
    /// Reap what the trainer's descendants left.
    ReapStrays,
    /// Keep this for the worker.
    Say(SlotEvent),
    /// Write what is kept for the worker, as much as it takes: [`SlotSupervisor::sent`].
    Send,
}

/// What to wait for; that the worker is gone is always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotWait {
    /// Something can be read from the worker.
    pub requests: bool,
    /// Something can be written to the worker.
    pub send: bool,
    /// The trainer has ended.
    pub exit: bool,
    /// Something can be read from the trainer, or its end is closed.
    pub output: bool,
    /// At most so long, in milliseconds.
    pub at_most_ms: Option<u64>,
}

/// What a wait has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitOutcome {
    /// Something can be read from the worker.
    pub requests: bool,
    /// The trainer has ended.
    pub exit: bool,
    /// Its standard output can be read.
    pub stdout: bool,
    /// Its standard error can be read.
    pub stderr: bool,
    /// The time was over, and nothing else.
    pub nothing: bool,
}

/// Why there is no trainer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    /// Whose fault it is.
    pub fault: StartFault,
    /// What is wrong and what to do, for people.
    pub text: String,
}

/// What is known of a trainer that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReapedTrainer {
    /// How.
    pub exit: TrainerExit,
    /// Processor time of the trainer and what it waited for.
    pub cpu_ms: u64,
    /// Peak resident memory of its largest process, in KiB.
    pub peak_rss_kib: u64,
    /// Processes that outlived it and were ended.
    pub left_behind: u32,
}

/// The trainer that is there, or about to be.
#[derive(Debug)]
struct Trainer {
    id: u64,
    /// A signal was sent to it.
    asked: bool,
}

/// Supervises one trainer at a time, and one more that may wait for its end.
#[derive(Debug, Default)]
pub struct SlotSupervisor {
    seen: WaitOutcome,
    todo: VecDeque<SupervisorTodo>,
    trainer: Option<Trainer>,
    /// Starts when the trainer has ended.
    next: Option<TrainerStart>,
    /// Pipes are left alone, and what is kept for the worker can wait, until [`REST_MS`] are over
    /// or the trainer ends.
    resting: bool,
    /// Until then a little output is part of much, and no reason for a rest.
    lively_until: Time,
    /// What is kept for the worker must go now.
    hurry: bool,
    /// It was sent as far as the worker takes it: there is to be a wait first.
    sent: bool,
    /// Requests may have come during a rest.
    glance: bool,
}

impl SlotSupervisor {
    /// What to do, while so many bytes are kept for the worker.
    pub fn next(&mut self, unsent: usize) -> SupervisorTodo {
        if let Some(todo) = self.todo.pop_front() {
            return todo;
        }
        if let Some(todo) = self.take_seen() {
            return todo;
        }
        if std::mem::take(&mut self.glance) {
            return SupervisorTodo::Wait(SlotWait {
                requests: true,
                at_most_ms: Some(0),
                ..SlotWait::default()
            });
        }
        if !self.can_wait(unsent) && !std::mem::replace(&mut self.sent, true) {
            return SupervisorTodo::Send;
        }
        self.sent = false;
        SupervisorTodo::Wait(self.wait(unsent))
    }

    /// What the last wait has seen, one after the other.
    fn take_seen(&mut self) -> Option<SupervisorTodo> {
        let is_there = self.trainer.is_some();
        if std::mem::take(&mut self.seen.stdout) && is_there {
            return Some(SupervisorTodo::Relay(OutputStream::Out));
        }
        if std::mem::take(&mut self.seen.stderr) && is_there {
            return Some(SupervisorTodo::Relay(OutputStream::Err));
        }
        // Before the requests: what has ended is not asked to stop any more.
        if std::mem::take(&mut self.seen.exit) && is_there {
            return Some(SupervisorTodo::Reap);
        }
        if std::mem::take(&mut self.seen.requests) {
            return Some(SupervisorTodo::ReadRequests);
        }
        let is_over = std::mem::take(&mut self.seen.nothing) && !std::mem::take(&mut self.resting);
        (is_over && is_there).then_some(SupervisorTodo::ReapStrays)
    }

    /// Whether what is kept for the worker may stay there for now.
    fn can_wait(&self, unsent: usize) -> bool {
        unsent == 0 || (self.resting && !self.hurry && unsent < LOW_WATER)
    }

    fn wait(&self, unsent: usize) -> SlotWait {
        let exit = self.trainer.is_some();
        SlotWait {
            requests: !self.resting,
            send: !self.can_wait(unsent),
            exit,
            output: exit && !self.resting && unsent < HIGH_WATER,
            at_most_ms: if self.resting { Some(REST_MS) } else { exit.then_some(REAP_MS) },
        }
    }

    /// A wait is over.
    pub fn saw(&mut self, seen: WaitOutcome) {
        self.seen = seen;
    }

    /// The worker asks for this.
    pub fn asked(&mut self, now: Time, request: SlotRequest) {
        match request {
            SlotRequest::Base { env } => self.todo.push_back(SupervisorTodo::SetBase(env)),
            SlotRequest::Ping { number } => self.say_now(SlotEvent::Pong { number }),
            SlotRequest::Start(start) if self.trainer.is_none() => self.begin(now, start),
            SlotRequest::Start(start) if self.next.is_none() => self.next = Some(start),
            SlotRequest::Start(TrainerStart { id, .. }) => {
                let text = "the slot was asked for more trainers than may wait".to_owned();
                self.say_now(SlotEvent::NotStarted { id, fault: StartFault::Machine, text });
            }
            SlotRequest::Withdraw { id } => {
                if self.next.take_if(|next| next.id == id).is_some() {
                    self.say_now(SlotEvent::Withdrawn { id });
                }
            }
            SlotRequest::Signal { id, signal } => {
                if self.trainer.as_ref().is_some_and(|trainer| trainer.id == id) {
                    self.todo.push_back(SupervisorTodo::Signal(signal));
                }
            }
        }
    }

    fn begin(&mut self, now: Time, start: TrainerStart) {
        let id = start.id;
        if now.0 > start.by_ms {
            return self.say_now(SlotEvent::Withdrawn { id });
        }
        self.trainer = Some(Trainer { id, asked: false });
        self.todo.push_back(SupervisorTodo::Start(start));
    }

    fn say_now(&mut self, event: SlotEvent) {
        self.hurry = true;
        self.todo.push_back(SupervisorTodo::Say(event));
    }

    /// The trainer is there with this process, or is not.
    pub fn started(&mut self, now: Time, started: Result<u32, NotStarted>) {
        let Some(id) = self.trainer.as_ref().map(|trainer| trainer.id) else { return };
        match started {
            Ok(pid) => {
                self.resting = true;
                self.todo.push_front(SupervisorTodo::Say(SlotEvent::Started { id, pid }));
            }
            Err(NotStarted { fault, text }) => {
                self.trainer = None;
                // Signals that came after the start were for it.
                self.todo.retain(|todo| !matches!(todo, SupervisorTodo::Signal(_)));
                self.say_now(SlotEvent::NotStarted { id, fault, text });
                if let Some(next) = self.next.take() {
                    self.begin(now, next);
                }
            }
        }
    }

    /// The signal was sent.
    pub fn signalled(&mut self) {
        if let Some(trainer) = &mut self.trainer {
            trainer.asked = true;
        }
    }

    /// So many bytes of the trainer's output were passed on at once.
    pub fn relayed(&mut self, now: Time, bytes: usize) {
        if bytes >= LOW_WATER {
            self.lively_until = now.after_ms(LIVELY_MS);
        }
        self.resting = now >= self.lively_until;
    }

    /// The trainer has ended so, and nothing of it is left.
    pub fn reaped(&mut self, now: Time, reaped: ReapedTrainer) {
        let Some(Trainer { id, asked }) = self.trainer.take() else { return };
        let ReapedTrainer { exit, cpu_ms, peak_rss_kib, left_behind } = reaped;
        self.resting = false;
        self.say_now(SlotEvent::Exited { id, exit, asked, cpu_ms, peak_rss_kib, left_behind });
        match self.next.take() {
            Some(next) => self.begin(now, next),
            // The next one may have come during the rest.
            None => self.glance = !self.seen.requests,
        }
    }

    /// The worker has taken what it takes, and so many bytes are left.
    pub fn sent(&mut self, left: usize) {
        self.hurry &= left > 0;
    }
}

#[cfg(test)]
mod tests;
