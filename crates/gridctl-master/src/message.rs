//! What reaches the driver, and what it shows to everybody. Invariant: a board shows durable state only.

use std::sync::Arc;

use gridctl_core::fleet::machines::CloudCall;
use gridctl_core::id::{SweepId, Time};
use gridctl_core::notice::Notice;
use gridctl_core::protocol::{Hello, ToWorker, WorkerUpdate};
use gridctl_core::sched::{Answer, Conn, Core, Input, Refusal, Request, SweepStatus};
use tokio::sync::{mpsc, oneshot};

/// Messages that wait for a worker which does not read; one more, and it is hung up.
pub(crate) const OUTGOING: usize = 1024;
/// Messages that wait for the driver.
pub(crate) const INCOMING: usize = 4096;

/// The driver's end of a worker's connection; dropping it hangs up.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) say: mpsc::Sender<ToWorker>,
    /// Whoever reads the connection waits for this to be dropped.
    pub(crate) _hold: oneshot::Sender<()>,
}

/// An answer from the core.
pub(crate) type Answered = oneshot::Sender<Result<Answer, Refusal>>;

/// A look at durable state.
pub(crate) type Look = Box<dyn FnOnce(&Core, Time) + Send>;

/// What reaches the driver.
pub(crate) enum Message {
    /// A worker connected and said who it is.
    Opened(Conn, Box<Hello>, Line),
    /// A worker said something.
    Said(Conn, Box<WorkerUpdate>),
    /// A connection ended.
    Closed(Conn),
    /// Something that nobody waits for.
    Input(Input),
    /// Something that somebody waits for.
    Ask(Box<dyn FnOnce(Request) -> Input + Send>, Answered),
    /// Calls to the cloud go there from now on.
    Fleet(mpsc::UnboundedSender<CloudCall>),
    /// A question.
    Look(Look),
    /// The end; answered when everything is durable and a snapshot is made.
    Stop {
        /// Whether the journal is known to be sound, so that the next start need not check it.
        is_sound: bool,
        /// The answer.
        done: oneshot::Sender<()>,
    },
}

/// What everybody may see at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    /// Every sweep, the latest first.
    pub(crate) sweeps: Arc<Vec<SweepStatus>>,
    /// The disk is full, and what the system says about it.
    pub(crate) full: Option<String>,
}

impl Board {
    /// The status of this sweep, with the notices that concern every sweep.
    pub(crate) fn status(&self, sweep: SweepId) -> Option<SweepStatus> {
        let status = self.sweeps.iter().find(|status| status.id == Some(sweep))?;
        Some(self.with_notices(status.clone()))
    }

    /// Adds what stands in the way of every sweep.
    pub(crate) fn with_notices(&self, mut status: SweepStatus) -> SweepStatus {
        if let Some(error) = self.full.clone() {
            status.notices.push(Notice::JournalFull { error });
        }
        status
    }
}
