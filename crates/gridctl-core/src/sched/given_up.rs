//! Machines that were given up, for people: a worker that says so goes, and its reason stays.
//! Invariant: bounded, whatever workers say; a machine is forgotten once a worker there is fit again.

use std::collections::VecDeque;

use crate::id::WorkerId;
use crate::machine::MachineHealth;
use crate::notice::Notice;

/// So many are remembered, the last ones.
const MOST: usize = 8;

/// The machines that were given up.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<GivenUpMachine>);

#[derive(Debug)]
struct GivenUpMachine {
    worker: WorkerId,
    host: String,
    fault: String,
}

impl GivenUp {
    /// A worker on the machine `host` says how that is.
    pub(super) fn on_health(&mut self, worker: WorkerId, host: &str, health: &MachineHealth) {
        match health {
            MachineHealth::Fit => self.0.retain(|machine| machine.host != host),
            MachineHealth::Resting { .. } | MachineHealth::CannotPublish { .. } => {}
            MachineHealth::GivenUp { fault } => {
                self.0.retain(|machine| machine.worker != worker);
                self.0.truncate(MOST - 1);
                let (host, fault) = (host.to_owned(), fault.clone());
                self.0.push_front(GivenUpMachine { worker, host, fault });
            }
        }
    }

    /// What is to be said of them, the last one first.
    pub(super) fn notices(&self) -> impl Iterator<Item = Notice> {
        self.0.iter().map(|GivenUpMachine { host, fault, .. }| Notice::MachineGivenUp {
            host: host.clone(),
            fault: fault.clone(),
        })
    }
}
