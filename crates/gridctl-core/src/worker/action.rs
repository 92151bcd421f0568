//! What the worker's half of the protocol has its shell do.
//! Invariant: an action is carried out in the order in which it was given; what follows from it
//! comes back as an input.

use std::sync::Arc;

use crate::attempt::StopReason;
use crate::id::{LeaseSeq, Time};
use crate::protocol::{FrozenSweep, Grant, ToMaster};

/// What the shell does, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerAction {
    /// Connect to the master, now or as soon as it answers; then call
    /// [`super::WorkerProtocol::connected`].
    Connect,
    /// Hang up, and connect again.
    Reconnect,
    /// Say this to the master.
    Send(ToMaster),
    /// AttemptStart this attempt, as soon as what goes on in its slot has ended.
    Start(Box<AttemptStart>),
    /// If the trainer of this attempt waits behind another, do not start it:
    /// [`super::WorkerProtocol::withdrawn`] follows. Else nothing.
    Recall(LeaseSeq),
    /// Ask an attempt to stop, and kill it after its grace: [`super::WorkerProtocol::ended`]
    /// follows, or [`super::WorkerProtocol::withdrawn`] if it was not started yet.
    Stop {
        /// The attempt.
        lease: LeaseSeq,
        /// Why.
        reason: StopReason,
        /// From SIGTERM to SIGKILL, in milliseconds.
        grace_ms: u64,
    },
    /// The worker is done: hang up and end the process.
    Exit(Farewell),
}

/// An attempt to start.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptStart {
    /// The trial and its lease.
    pub grant: Grant,
    /// The version that it belongs to.
    pub sweep: Arc<FrozenSweep>,
    /// The slot, counted from 0: the lowest that is free, or one where another attempt is about to
    /// end.
    pub slot: u32,
    /// The places of its GPUs in the worker's list.
    pub gpus: Vec<u32>,
    /// After this it is not to begin any more, for its trial may be another's by then:
    /// [`super::WorkerProtocol::withdrawn`] follows instead.
    pub by: Time,
}

/// Why a worker ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Farewell {
    /// It was asked to, and everything is reported.
    Drained,
    /// It was asked to, and could not reach the master for its last reports.
    Unreported,
    /// Its machine cannot start trainers; everything is reported.
    Unfit(String),
    /// No master for `orphan_after`.
    Orphaned,
    /// The master does not want it, and says why.
    Refused(String),
}
