//! WorkerProtocol processes: the protocol half that the binary has, and its slots.
//! Invariant: a killed worker's attempts are gone with it; a frozen one's go on when it thaws.

use std::collections::BTreeMap;

use gridctl_core::attempt::StopReason;
use gridctl_core::id::{LeaseSeq, Time, TrialId, WorkerId};
use gridctl_core::protocol::Capacity;
use gridctl_core::record::Report;
use gridctl_core::sched::Conn;
use gridctl_core::worker::{Farewell, WorkerAction, WorkerProfile, WorkerProtocol};
use rand::RngExt;

use super::line::LOOK_MS;
use super::publish::Unreported;
use super::slot::Slot;
use super::{Happens, World};
use crate::audit::Violation;

pub(crate) struct Process {
    pub(super) machine: usize,
    pub(super) half: WorkerProtocol,
    pub(super) conn: Option<Conn>,
    pub(super) frozen: bool,
    pub(super) thawed: Time,
    pub(super) slots: BTreeMap<u32, Slot>,
    pub(super) reported: BTreeMap<LeaseSeq, TrialId>,
    /// What is over and waits until the results volume takes it.
    pub(super) unpublished: Vec<Unreported>,
    /// What the volume is about to answer that it is published.
    pub(super) publishing: Vec<Report>,
    /// It was asked to end.
    pub(super) draining: bool,
}

impl World {
    pub(super) fn start_worker(&mut self, machine: usize) -> Result<(), Violation> {
        self.started += 1;
        let [.., a, b, c, d] = self.started.to_be_bytes();
        let worker = WorkerId([0, a, b, c, d]);
        let config = WorkerProfile {
            machine: None,
            worker,
            host: format!("machine-{machine}"),
            release: "simulated".to_owned(),
            capacity: Capacity { cpu_milli: self.plan.slots * 1000, mem_mib: 1024, gpus: 0, slots: 0 },
        };
        let process = Process {
            machine,
            half: WorkerProtocol::new(config, self.now()),
            conn: None,
            frozen: false,
            thawed: Time(0),
            slots: BTreeMap::new(),
            reported: BTreeMap::new(),
            unpublished: Vec::new(),
            publishing: Vec::new(),
            draining: false,
        };
        self.workers.insert(worker, process);
        self.queue.after(1_000, Happens::WorkerTicks { worker });
        self.work(worker)
    }

    pub(super) fn tick_worker(&mut self, worker: WorkerId) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        if !process.frozen {
            process.half.tick(now);
            self.look_at_slots(worker)?;
        }
        self.queue.after(LOOK_MS, Happens::WorkerTicks { worker });
        self.work(worker)
    }

    /// Carries out what the worker's half wants done.
    pub(super) fn work(&mut self, worker: WorkerId) -> Result<(), Violation> {
        let now = self.now();
        // What is carried out may lead to more.
        while let Some(process) = self.workers.get_mut(&worker).filter(|process| !process.frozen) {
            let actions = process.half.take(now);
            if actions.is_empty() {
                break;
            }
            actions.into_iter().try_for_each(|action| self.carry_out(worker, action))?;
        }
        self.placed_once(worker)
    }

    fn carry_out(&mut self, worker: WorkerId, action: WorkerAction) -> Result<(), Violation> {
        match action {
            WorkerAction::Connect => {
                let pause = self.rng.random_range(1..1_500);
                self.queue.after(pause, Happens::Connects { worker });
            }
            WorkerAction::Reconnect => self.reconnect(worker),
            WorkerAction::Send(message) => {
                if let Some(conn) = self.workers.get(&worker).and_then(|process| process.conn) {
                    self.send_to_master(conn, message);
                }
            }
            WorkerAction::Start(start) => self.give_to_slot(worker, *start)?,
            WorkerAction::Recall(lease) => self.order(worker, lease, None)?,
            WorkerAction::Stop { lease, reason, grace_ms } => {
                self.order(worker, lease, Some((reason, grace_ms)))?;
            }
            WorkerAction::Exit(farewell) => {
                self.unfit += u64::from(matches!(farewell, Farewell::Unfit(_)));
                if let Some(process) = self.workers.remove(&worker) {
                    if let Some(conn) = process.conn {
                        self.break_conn(conn);
                    }
                    self.queue.after(3_000, Happens::WorkerStarts { machine: process.machine });
                }
            }
        }
        Ok(())
    }

    /// Promise 41 at the slots: what the worker's half has given to them is in exactly one line, or
    /// waits for the results volume, and nothing else is.
    fn placed_once(&self, worker: WorkerId) -> Result<(), Violation> {
        let Some(process) = self.workers.get(&worker) else { return Ok(()) };
        let lines = process.slots.values().flat_map(|slot| slot.line.iter());
        let waiting = process.unpublished.iter().map(|over| &over.report).chain(&process.publishing);
        let unpublished = waiting.map(|report| report.token.lease);
        let mut there: Vec<LeaseSeq> = lines.map(|attempt| LeaseSeq(attempt.id)).chain(unpublished).collect();
        there.sort_unstable();
        let mut placed = process.half.holds();
        placed.retain(|lease| process.half.is_placed(*lease));
        match there == placed {
            true => Ok(()),
            false => Err(Violation(format!("{worker} has placed {placed:?}, and its slots have {there:?}"))),
        }
    }

    /// The worker hangs up by itself, and connects again.
    fn reconnect(&mut self, worker: WorkerId) {
        let conn = self.workers.get_mut(&worker).and_then(|process| process.conn.take());
        if let Some(conn) = conn {
            self.break_conn(conn);
        }
        let pause = self.rng.random_range(1..1_500);
        self.queue.after(pause, Happens::Connects { worker });
    }

    pub(super) fn thaw(&mut self, worker: WorkerId) -> Result<(), Violation> {
        let now = self.now();
        if let Some(process) = self.workers.get_mut(&worker) {
            (process.frozen, process.thawed) = (false, now);
        }
        self.rouse_all(worker);
        self.publish(worker)?;
        self.work(worker)
    }

    /// SIGTERM to a worker: it takes nothing more, gives back what it holds, and ends; its machine
    /// starts another.
    pub(super) fn drain_worker(&mut self, worker: WorkerId) -> Result<bool, Violation> {
        let (now, grace_ms) = (self.now(), self.rng.random_range(0..60_000));
        let process = self.workers.get_mut(&worker).filter(|process| !process.frozen && !process.draining);
        let Some(process) = process else { return Ok(false) };
        process.draining = true;
        process.half.drain(now, StopReason::Drained, grace_ms);
        self.work(worker)?;
        Ok(true)
    }

    /// SIGKILL to a worker: its trainers go with it, its machine starts another.
    pub(super) fn kill_worker(&mut self, worker: WorkerId) {
        if let Some(process) = self.workers.remove(&worker) {
            if let Some(conn) = process.conn {
                self.break_conn(conn);
            }
            let pause = self.rng.random_range(100..60_000);
            self.queue.after(pause, Happens::WorkerStarts { machine: process.machine });
        }
    }
}
