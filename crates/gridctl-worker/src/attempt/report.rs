//! What is reported of attempts for which nothing was started, or whose machine failed.
//! Invariant: a fault of the machine is never blamed on the trial, nor the other way about.

use std::io;

use gridctl_core::metrics::PatternError;
use gridctl_core::protocol::Grant;
use gridctl_core::record::{Class, Exit, Report};

use crate::client::SlotError;
use crate::clock::unix_ms;

/// The machine could not do it.
#[derive(Debug)]
pub(super) struct AttemptFault {
    class: Class,
    text: String,
    /// No trainer was started.
    unbegun: bool,
}

impl AttemptFault {
    fn new(text: String) -> Self {
        Self { class: Class::WorkerFault, text, unbegun: false }
    }

    /// A fault before anything was started.
    fn unbegun(text: String) -> Self {
        Self { unbegun: true, ..Self::new(text) }
    }

    pub(super) fn version(error: PatternError) -> Self {
        Self::new(format!("this worker cannot read the sweep: {error}"))
    }

    pub(super) fn scratch(error: io::Error) -> Self {
        Self::unbegun(format!("cannot prepare the slot's directory: {error}"))
    }

    pub(super) fn restore(text: String) -> Self {
        Self::unbegun(format!("cannot restore the checkpoint: {text}"))
    }

    pub(super) fn data(text: &str) -> Self {
        Self::unbegun(format!("cannot get the data: {text}"))
    }

    pub(super) fn cgroup(error: io::Error) -> Self {
        Self::unbegun(format!("cannot set the slot's memory limit: {error}"))
    }

    /// The machine could not start the trainer.
    pub(super) fn machine(text: String) -> Self {
        Self::unbegun(text)
    }

    pub(super) fn publish(text: &str) -> Self {
        Self::new(format!("cannot publish the attempt's files: {text}"))
    }

    /// The slot process failed; if the kernel had to kill for memory in its cgroup, or its container
    /// had no room left, that was the trial's doing.
    pub(super) fn slot(error: &SlotError, oom: bool) -> Self {
        let class = match error {
            _ if oom => Class::Oom,
            SlotError::Full => Class::Failed,
            _ => Class::WorkerFault,
        };
        Self { class, ..Self::new(error.to_string()) }
    }

    /// The slot process could not be started.
    pub(super) fn no_slot(error: &SlotError) -> Self {
        Self::unbegun(error.to_string())
    }

    /// For what merely waited in a slot that was lost.
    pub(super) fn of_what_waited(&self) -> Self {
        Self::unbegun(self.text.clone())
    }

    pub(super) fn report(self, grant: &Grant) -> Report {
        let mut report = Report::without_process(grant.token, grant.trial, self.class, &self.text);
        report.started_unix_ms = unix_ms();
        report.unbegun = self.unbegun;
        report
    }

    /// Whether no trainer was started.
    pub(super) fn is_unbegun(&self) -> bool {
        self.unbegun
    }

    /// Makes `report`, of an attempt that was otherwise complete, one of this fault.
    pub(super) fn spoil(self, report: &mut Report) {
        report.class = self.class;
        report.fatal = false;
        report.error = Some(self.text);
    }
}

/// The sweep file asks for what cannot be started on any machine like this one.
pub(super) fn not_started(grant: &Grant, text: String) -> Report {
    let mut report = Report::without_process(grant.token, grant.trial, Class::Failed, &text);
    report.exit = Some(Exit::NotStarted);
    report.log_bytes = text.len() as u64;
    report.log = text;
    report.started_unix_ms = unix_ms();
    report
}
