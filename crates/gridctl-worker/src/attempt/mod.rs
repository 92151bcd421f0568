//! One attempt from its grant to its report: prepare, start, follow, classify, publish.
//! Invariant: every attempt ends in exactly one report, and its files are published before that
//! report leaves.

mod data;
mod end;
mod follow;
mod keeper;
mod kept;
mod log;
mod prepare;
mod program;
mod publish;
mod report;
mod tail;
mod waiting;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridctl_core::attempt::StopReason;
use gridctl_core::id::LeaseSeq;
use gridctl_core::record::Report;
use gridctl_core::worker::AttemptStart;
use gridctl_storage::dataset::StagedDataset;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinError;

use crate::cgroup::CgroupSupport;
use crate::container::{ContainerSite, StagedImage};
use crate::live::LiveOutputs;
use crate::marks;
use crate::scratch::WorkDir;
use crate::slot::SlotProgram;
use crate::workdir::Workdirs;

pub(crate) use data::{Datasets, bring};
pub(crate) use keeper::SlotKeeper;
pub(crate) use kept::KeptPlace;
pub(crate) use prepare::PreparedVersions;

/// What a task came to. Its panic goes on in who waits for it, who else would wait for ever.
pub(crate) fn came_to<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// What all slots of a worker share.
#[derive(Debug)]
pub(crate) struct WorkerMachine {
    /// How its slots are started that are processes.
    pub(crate) program: SlotProgram,
    /// Those that are containers.
    pub(crate) containers: ContainerSite,
    /// What `gridctl` means as the first word of a command.
    pub(crate) gridctl: String,
    pub(crate) cache: PathBuf,
    /// The master may be on another machine.
    pub(crate) is_elsewhere: bool,
    /// Where workers of this machine keep the code of sweeps.
    pub(crate) code: PathBuf,
    pub(crate) datasets: Arc<Datasets>,
    /// The GPUs, as `CUDA_VISIBLE_DEVICES` names them.
    pub(crate) gpus: Vec<String>,
    /// The mark of this worker's trainers, to which the slot's number is added.
    pub(crate) mark: String,
    pub(crate) cgroups: CgroupSupport,
    /// Names this worker's cgroups and directories.
    pub(crate) name: String,
    pub(crate) work: WorkDir,
    /// Where results outlive this worker that cannot be published.
    pub(crate) kept: KeptPlace,
    pub(crate) versions: PreparedVersions,
    pub(crate) workdirs: Arc<Workdirs>,
    /// The worker has its process to itself: what a dead slot leaves becomes its child, and is
    /// ended.
    pub(crate) adopts: bool,
    /// Between publications of a checkpoint that goes on changing, in milliseconds.
    pub(crate) checkpoint_every_ms: u64,
    /// A slot that is asked for a sign has so long, in milliseconds.
    pub(crate) slot_silence_ms: u64,
    /// What its attempts print.
    pub(crate) live: LiveOutputs,
    /// Slot processes that are there.
    pub(crate) slots: Mutex<Vec<u32>>,
}

impl WorkerMachine {
    /// Waits until every slot process is gone; one that is not within `patience` is ended, and what
    /// it left as well.
    pub(crate) async fn reap_slots(&self, patience: Duration) {
        self.containers.end_all().await;
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
    pub(crate) start: Box<AttemptStart>,
    pub(crate) orders: UnboundedReceiver<AttemptOrder>,
    /// Its data, where that was fetched.
    pub(crate) data: Option<Arc<StagedDataset>>,
    /// The image in whose container it runs, if it does.
    pub(crate) image: Option<Arc<StagedImage>>,
}

/// What is said to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptOrder {
    /// Ask the trainer to stop; if it still waits to be started, give it back instead.
    Stop { reason: StopReason, grace_ms: u64 },
    /// Give it back if it still waits to be started.
    Recall,
}

/// What a slot says to its worker.
#[derive(Debug)]
pub(crate) enum SlotNews {
    /// The objective has a new value.
    Progress { lease: LeaseSeq, step: i64, value: f64 },
    /// The attempt is over, and its files cannot be published for now.
    Unpublished { lease: LeaseSeq, fault: String },
    /// The attempt has ended.
    Ended(Box<Report>),
    /// The attempt was not started and never will be.
    Withdrawn { lease: LeaseSeq },
}

#[cfg(test)]
pub(crate) mod tests;
