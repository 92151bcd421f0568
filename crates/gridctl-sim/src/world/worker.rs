//! Worker processes: the protocol half that the binary has, with trainers that only take time.
//! Invariant: a killed worker's attempts are gone with it; a frozen one's go on when it thaws.

use std::collections::BTreeMap;

use gridctl_core::attempt::StopReason;
use gridctl_core::id::{LeaseSeq, TrialId, WorkerId};
use gridctl_core::protocol::{Capacity, Grant};
use gridctl_core::record::{Class, Report};
use gridctl_core::sched::Conn;
use gridctl_core::worker::{Action, Config, Start, Worker};
use rand::RngExt;

use super::{Happens, World};
use crate::audit::Violation;
use crate::trainer;

pub(crate) struct Process {
    pub(super) machine: usize,
    pub(super) half: Worker,
    pub(super) conn: Option<Conn>,
    pub(super) frozen: bool,
    running: BTreeMap<LeaseSeq, Running>,
    /// What each slot starts next.
    behind: BTreeMap<u32, Start>,
    pub(super) reported: BTreeMap<LeaseSeq, TrialId>,
}

struct Running {
    grant: Grant,
    slot: u32,
    duration_ms: u64,
    /// Its machine fails it.
    bad: bool,
    asked: Option<StopReason>,
}

impl World {
    pub(super) fn start_worker(&mut self, machine: usize) -> Result<(), Violation> {
        self.started += 1;
        let [.., a, b, c, d] = self.started.to_be_bytes();
        let worker = WorkerId([0, a, b, c, d]);
        let config = Config {
            worker,
            host: format!("machine-{machine}"),
            release: "simulated".to_owned(),
            capacity: Capacity { cpu_milli: self.plan.slots * 1000, mem_mib: 1024, gpus: 0, slots: 0 },
        };
        let process = Process {
            machine,
            half: Worker::new(config, self.now()),
            conn: None,
            frozen: false,
            running: BTreeMap::new(),
            behind: BTreeMap::new(),
            reported: BTreeMap::new(),
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
        }
        self.queue.after(1_000, Happens::WorkerTicks { worker });
        self.work(worker)
    }

    /// Carries out what the worker's half wants done.
    pub(super) fn work(&mut self, worker: WorkerId) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker).filter(|process| !process.frozen) else {
            return Ok(());
        };
        for action in process.half.take(now) {
            match action {
                Action::Connect => {
                    let pause = self.rng.random_range(1..1_500);
                    self.queue.after(pause, Happens::Connects { worker });
                }
                Action::Reconnect => self.reconnect(worker),
                Action::Send(message) => {
                    if let Some(conn) = self.workers.get(&worker).and_then(|process| process.conn) {
                        self.send_to_master(conn, message);
                    }
                }
                Action::Start(start) => self.give_to_slot(worker, *start)?,
                Action::Recall(lease) => {
                    let takes = self.rng.random_range(0..20);
                    self.queue.after(takes, Happens::Recalled { worker, lease, stop: None });
                }
                Action::Stop { lease, reason, grace_ms } => {
                    let Some(process) = self.workers.get_mut(&worker) else { continue };
                    if let Some(running) = process.running.get_mut(&lease) {
                        running.asked = Some(reason);
                        let takes = self.rng.random_range(0..=grace_ms);
                        self.queue.after(takes, Happens::AttemptEnds { worker, lease });
                    } else {
                        self.queue.after(0, Happens::Recalled { worker, lease, stop: Some(reason) });
                    }
                }
                Action::Exit(_) => {
                    if let Some(process) = self.workers.remove(&worker) {
                        if let Some(conn) = process.conn {
                            self.break_conn(conn);
                        }
                        self.queue.after(3_000, Happens::WorkerStarts { machine: process.machine });
                    }
                }
            }
        }
        Ok(())
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

    /// The slot starts the attempt, at once or as soon as what goes on there has ended.
    fn give_to_slot(&mut self, worker: WorkerId, start: Start) -> Result<(), Violation> {
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        if process.running.values().any(|running| running.slot == start.slot) {
            let more = process.behind.insert(start.slot, start);
            assert!(more.is_none(), "two attempts wait for one slot");
            return Ok(());
        }
        self.start_attempt(worker, start)
    }

    /// What still waits in a slot is given back; what has begun meanwhile goes on, unless it is to stop.
    pub(super) fn recalled(
        &mut self,
        worker: WorkerId,
        lease: LeaseSeq,
        stop: Option<StopReason>,
    ) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        if process.frozen {
            self.queue.after(500, Happens::Recalled { worker, lease, stop });
            return Ok(());
        }
        let waiting = process.behind.extract_if(.., |_, start| start.grant.token.lease == lease).count();
        if waiting > 0 {
            process.half.withdrawn(now, lease);
        } else if let (Some(running), Some(_)) = (process.running.get_mut(&lease), stop) {
            running.asked = stop;
            self.queue.after(0, Happens::AttemptEnds { worker, lease });
        }
        self.work(worker)
    }

    fn start_attempt(&mut self, worker: WorkerId, start: Start) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        let Start { grant, slot, by, .. } = start;
        let lease = grant.token.lease;
        if now > by {
            process.half.withdrawn(now, lease);
            return Ok(());
        }
        self.auditor.started(grant.trial)?;
        let bad = self.bad[process.machine];
        let longest_ms = if bad { trainer::AT_ONCE_MS } else { self.plan.longest_ms };
        let duration_ms = trainer::duration_ms(self.plan.seed, &grant, longest_ms);
        self.queue.after(duration_ms, Happens::AttemptEnds { worker, lease });
        process.running.insert(lease, Running { grant, slot, duration_ms, bad, asked: None });
        Ok(())
    }

    pub(super) fn attempt_ends(&mut self, worker: WorkerId, lease: LeaseSeq) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker) else { return Ok(()) };
        if process.frozen {
            self.queue.after(500, Happens::AttemptEnds { worker, lease });
            return Ok(());
        }
        let Some(running) = process.running.remove(&lease) else { return Ok(()) };
        let next = process.behind.remove(&running.slot);
        let report = match running.asked {
            None if running.bad => trainer::failure(&running.grant, running.duration_ms, "no such device"),
            None => trainer::outcome(&running.grant, running.duration_ms),
            Some(reason) => {
                let class = if reason == StopReason::Fenced { Class::Fenced } else { reason.class() };
                Report::without_process(running.grant.token, running.grant.trial, class, "stopped")
            }
        };
        process.reported.insert(lease, running.grant.trial);
        process.half.ended(now, report);
        if let Some(next) = next {
            self.start_attempt(worker, next)?;
        }
        self.work(worker)
    }

    pub(super) fn thaw(&mut self, worker: WorkerId) -> Result<(), Violation> {
        if let Some(process) = self.workers.get_mut(&worker) {
            process.frozen = false;
        }
        self.work(worker)
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
