//! One attempt from its grant to its report: prepare, start, follow, classify, publish.
//! Invariant: every attempt ends in exactly one report, and its files are published before that report leaves.

mod follow;
mod log;
mod prepare;
mod publish;
mod report;
mod stop;
mod tail;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridctl_core::attempt::StopReason;
use gridctl_core::id::LeaseSeq;
use gridctl_core::record::Report;
use gridctl_core::worker::Start;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::cgroup::{CgroupSupport, SlotCgroup};
use crate::clock::Clock;
use crate::handle::{SlotError, SlotHandle, SlotProgram};
use crate::marks;
use crate::scratch::{Scratch, WorkDir};
use crate::slot::{SlotEvent, SlotRequest};

pub(crate) use prepare::Versions;
use report::Fault;

/// After a fault of the machine the slot rests so long, so that a broken machine does not burn through the queue.
const REST: Duration = Duration::from_secs(1);

/// What all slots of a worker share.
#[derive(Debug)]
pub(crate) struct Machine {
    /// How slots are started.
    pub(crate) program: SlotProgram,
    /// What `gridctl` means as the first word of a command.
    pub(crate) gridctl: String,
    pub(crate) cache: PathBuf,
    /// The GPUs, as `CUDA_VISIBLE_DEVICES` names them.
    pub(crate) gpus: Vec<String>,
    /// The mark of this worker's trainers, to which the slot's number is added.
    pub(crate) mark: String,
    pub(crate) clock: Clock,
    pub(crate) cgroups: CgroupSupport,
    /// Names this worker's cgroups and directories.
    pub(crate) name: String,
    pub(crate) work: WorkDir,
    pub(crate) versions: Versions,
    /// The worker has its process to itself: what a dead slot leaves becomes its child, and is ended.
    pub(crate) adopts: bool,
    /// Between publications of a checkpoint that goes on changing, in milliseconds.
    pub(crate) checkpoint_every_ms: u64,
    /// Slot processes that are there.
    pub(crate) slots: Mutex<Vec<u32>>,
}

impl Machine {
    /// Waits until every slot process is gone; one that is not within `patience` is ended, and what it left as well.
    pub(crate) async fn reap_slots(&self, patience: Duration) {
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        if slots.is_empty() {
            return;
        }
        let mark = self.mark.clone();
        let reaped = tokio::task::spawn_blocking(move || {
            if !marks::reap(&slots, patience) {
                marks::end_marked(&mark);
            }
        });
        drop(reaped.await);
    }
}

/// An attempt for a slot, and what is said to it meanwhile.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) start: Box<Start>,
    pub(crate) orders: UnboundedReceiver<Order>,
}

/// Ask the trainer to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) reason: StopReason,
    pub(crate) grace_ms: u64,
}

/// What a slot says to its worker.
#[derive(Debug)]
pub(crate) enum Said {
    /// The objective has a new value.
    Progress { lease: LeaseSeq, step: i64, value: f64 },
    /// The attempt has ended, and the slot is free.
    Ended(Box<Report>),
}

/// One slot with everything that is its own.
#[derive(Debug)]
pub(crate) struct Seat {
    machine: Arc<Machine>,
    number: u32,
    said: UnboundedSender<Said>,
    // Before the cgroup: it can be removed only once the slot has left it.
    handle: Option<SlotHandle>,
    /// The environment that the slot process has.
    base: Option<Arc<prepare::Version>>,
    cgroup: Option<SlotCgroup>,
    scratch: Option<Scratch>,
    next_id: u64,
}

impl Seat {
    /// The slot number `number`; nothing is started yet.
    pub(crate) fn new(machine: Arc<Machine>, number: u32, said: UnboundedSender<Said>) -> Self {
        Self { machine, number, said, handle: None, base: None, cgroup: None, scratch: None, next_id: 0 }
    }

    /// Works until there is no more to come, then ends the slot process.
    pub(crate) async fn serve(mut self, mut work: UnboundedReceiver<Assignment>) {
        while let Some(Assignment { start, mut orders }) = work.recv().await {
            let report = match self.attempt(&start, &mut orders).await {
                Ok(report) => report,
                Err(fault) => {
                    self.reset().await;
                    tokio::time::sleep(REST).await;
                    fault.report(&start.grant)
                }
            };
            if self.said.send(Said::Ended(Box::new(report))).is_err() {
                break;
            }
        }
        if let Some(handle) = self.handle.take() {
            self.forget(&handle);
            handle.close().await;
        }
    }

    /// The whole attempt. `Err` is the machine's own fault.
    async fn attempt(
        &mut self,
        start: &Start,
        orders: &mut UnboundedReceiver<Order>,
    ) -> Result<Report, Fault> {
        let version = self.machine.versions.get(&start.sweep).map_err(Fault::version)?;
        let before = self.clean(start).await?;
        let launch = match self.prepare(start, &version)? {
            Ok(launch) => launch,
            Err(text) => return Ok(report::not_started(&start.grant, text)),
        };
        self.ready(&version).await?;
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.set_limit(start.grant.resources.mem_mib).map_err(Fault::cgroup)?;
        }
        let mut following = follow::Following::new(self, start, &version, &before)?;
        for damaged in &before.damaged {
            following.note(&format!("a published checkpoint was passed over: {damaged}")).await;
        }
        match following.follow(launch, orders).await {
            Ok(gone) => following.finish(gone).await,
            Err(error) => {
                let oom = self.cgroup.as_mut().is_some_and(|cgroup| cgroup.new_kills() > 0);
                Err(Fault::slot(&error, oom))
            }
        }
    }

    /// A slot process that is there and has this environment.
    async fn ready(&mut self, version: &Arc<prepare::Version>) -> Result<(), Fault> {
        if self.handle.is_none() {
            self.start_slot().map_err(|error| Fault::slot(&error, false))?;
        }
        let same = self.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, version));
        if !same && let Some(handle) = &mut self.handle {
            let mark = format!("{}/{}", self.machine.mark, self.number);
            let request = SlotRequest::Base { env: version.environment(&mark) };
            handle.send(&request).await.map_err(|error| Fault::slot(&error, false))?;
            self.base = Some(Arc::clone(version));
        }
        Ok(())
    }

    fn start_slot(&mut self) -> Result<(), SlotError> {
        if let (CgroupSupport::Memory(groups), None) = (&self.machine.cgroups, &self.cgroup) {
            match groups.create(&format!("{}-{}", self.machine.name, self.number)) {
                Ok(cgroup) => self.cgroup = Some(cgroup),
                Err(error) => tracing::warn!("slot {} has no memory cgroup: {error}", self.number),
            }
        }
        // Under the lock: whoever ends what dead slots left must not take a new one for it.
        let mut slots = self.machine.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = SlotHandle::start(&self.machine.program, self.cgroup.as_ref())?;
        slots.push(handle.pid());
        drop(slots);
        self.base = None;
        self.handle = Some(handle);
        Ok(())
    }

    /// After a fault: ends the slot process, and then whatever it could not end itself.
    async fn reset(&mut self) {
        let Some(mut handle) = self.handle.take() else { return };
        handle.kill();
        self.forget(&handle);
        let mark = format!("{}/{}", self.machine.mark, self.number);
        let machine = Arc::clone(&self.machine);
        let ended = tokio::task::spawn_blocking(move || {
            let marked = marks::end_marked(&mark).len();
            if !machine.adopts {
                return marked;
            }
            let slots = machine.slots.lock().unwrap_or_else(PoisonError::into_inner);
            marked + marks::end_adopted(&slots)
        });
        let ended = ended.await.unwrap_or(0);
        tracing::warn!("slot {} was lost; {ended} processes of its trainer were ended", self.number);
    }

    fn forget(&self, handle: &SlotHandle) {
        let mut slots = self.machine.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|pid| *pid != handle.pid());
    }
}

/// The next event of a slot that is known to be there.
async fn event(handle: Option<&mut SlotHandle>) -> Result<SlotEvent, SlotError> {
    match handle {
        Some(handle) => handle.event().await,
        None => Err(SlotError::Gone("it was ended".to_owned())),
    }
}

#[cfg(test)]
mod tests;
