//! The network: connections that deliver in order, break, and lie about it.
//! Invariant: a connection that has lost one message delivers none after it.

use std::collections::BTreeMap;

use gridctl_core::id::WorkerId;
use gridctl_core::protocol::{ToMaster, ToWorker};
use gridctl_core::sched::{Conn, Effect, Input};
use rand::RngExt;

use super::{Happens, World};
use crate::audit::Violation;

/// Every connection that was ever made.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(super) all: BTreeMap<Conn, Link>,
    made: u64,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(super) worker: WorkerId,
    pub(super) machine: usize,
    pub(super) life: u32,
    /// Something was lost on it: it delivers nothing any more.
    pub(super) dead: bool,
    /// When the last message arrives, to the master and to the worker.
    arrives: [u64; 2],
}

impl World {
    pub(super) fn connect(&mut self, worker: WorkerId) -> Result<(), Violation> {
        let Some(process) = self.workers.get(&worker) else { return Ok(()) };
        if process.frozen {
            self.queue.after(500, Happens::Connects { worker });
            return Ok(());
        }
        if self.master.is_none() || self.cut[process.machine] {
            let pause = self.rng.random_range(100..2_000);
            self.queue.after(pause, Happens::Connects { worker });
            return Ok(());
        }
        self.conns.made += 1;
        let conn = Conn(self.conns.made);
        let link = Link { worker, machine: process.machine, life: self.lives, dead: false, arrives: [0, 0] };
        self.conns.all.insert(conn, link);
        let now = self.now();
        if let Some(process) = self.workers.get_mut(&worker) {
            process.conn = Some(conn);
            process.half.connected(now);
        }
        self.work(worker)
    }

    /// Sends on a connection, unless it is cut.
    pub(super) fn send_to_master(&mut self, conn: Conn, message: ToMaster) {
        if let Some(time) = self.arrival(conn, 0) {
            if self.duplicates(conn) {
                self.queue.at(time, Happens::ToMaster { conn, message: Box::new(message.clone()) });
            }
            self.queue.at(time, Happens::ToMaster { conn, message: Box::new(message) });
        }
    }

    pub(super) fn send_to_worker(&mut self, conn: Conn, message: ToWorker) {
        if let Some(time) = self.arrival(conn, 1) {
            if self.duplicates(conn) {
                self.queue.at(time, Happens::ToWorker { conn, message: Box::new(message.clone()) });
            }
            self.queue.at(time, Happens::ToWorker { conn, message: Box::new(message) });
        }
    }

    fn arrival(&mut self, conn: Conn, way: usize) -> Option<u64> {
        let delay = self.rng.random_range(0..=self.plan.delay_ms);
        let now = self.queue.now();
        let link = self.conns.all.get_mut(&conn)?;
        if link.dead || self.cut[link.machine] {
            link.dead = true;
            return None;
        }
        link.arrives[way] = link.arrives[way].max(now + delay);
        Some(link.arrives[way])
    }

    fn duplicates(&mut self, conn: Conn) -> bool {
        self.conns.all.get_mut(&conn).is_some_and(|_| std::mem::take(&mut self.duplicate_next))
    }

    pub(super) fn hear_worker(&mut self, conn: Conn, message: ToMaster) -> Result<(), Violation> {
        let Some(link) = self.conns.all.get(&conn) else { return Ok(()) };
        if link.life != self.lives || (link.dead && !self.late) {
            return Ok(());
        }
        self.late = false;
        let Some(master) = self.master.as_mut() else { return Ok(()) };
        master.driver.push(match message {
            ToMaster::Hello(hello) => Input::Opened(conn, Box::new(hello)),
            ToMaster::Update(update) => Input::Said(conn, Box::new(update)),
        });
        self.pump()
    }

    pub(super) fn hear_master(&mut self, conn: Conn, message: ToWorker) -> Result<(), Violation> {
        let Some(link) = self.conns.all.get(&conn) else { return Ok(()) };
        let worker = link.worker;
        if link.dead {
            return Ok(());
        }
        let now = self.now();
        let Some(process) = self.workers.get_mut(&worker).filter(|process| process.conn == Some(conn)) else {
            return Ok(());
        };
        if process.frozen {
            self.queue.after(500, Happens::ToWorker { conn, message: Box::new(message) });
            return Ok(());
        }
        if let ToWorker::Update(update) = &message {
            for lease in &update.recorded {
                if let Some(trial) = process.reported.get(lease) {
                    self.auditor.acknowledged(*lease, *trial);
                }
            }
        }
        process.half.received(now, message);
        self.work(worker)
    }

    /// Both ends that live are told that a connection is no more, each in its own time.
    pub(super) fn break_conn(&mut self, conn: Conn) {
        if let Some(link) = self.conns.all.get_mut(&conn) {
            link.dead = true;
            let pause = self.rng.random_range(0..2_000);
            self.queue.after(pause, Happens::ConnLost { conn });
        }
    }

    pub(super) fn conn_lost(&mut self, conn: Conn) -> Result<(), Violation> {
        let Some(link) = self.conns.all.get(&conn) else { return Ok(()) };
        let (worker, life) = (link.worker, link.life);
        if life == self.lives
            && let Some(master) = self.master.as_mut()
        {
            master.driver.push(Input::Closed(conn));
            self.pump()?;
        }
        if let Some(process) = self.workers.get_mut(&worker).filter(|process| process.conn == Some(conn)) {
            process.conn = None;
            process.half.disconnected();
            self.work(worker)?;
        }
        Ok(())
    }

    /// Carries out what a durable batch allows.
    pub(super) fn release(&mut self, effects: Vec<Effect>) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Send(conn, message) => {
                    self.auditor.shown(&message)?;
                    self.send_to_worker(conn, message);
                }
                Effect::Hangup(conn) => self.break_conn(conn),
                Effect::Turned(_) => self.turned(),
                Effect::Cloud(_) => {}
                Effect::Broken(what) => return Err(Violation(what.to_owned())),
                Effect::Reply(_, answer) => self.answered(&answer)?,
            }
        }
        Ok(())
    }
}
