//! A trial that has begun: who holds it, and what is counted against it.
//! Invariant: one lease at most is the trial's current one, whether it stands or has expired.

use serde::{Deserialize, Serialize};

use crate::attempt::{SUSPICIOUS, Tally};
use crate::id::{Time, Token, WorkerId};

/// A trial that has begun and is not settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// Attempts so far, those of earlier generations with them.
    pub(super) attempt: u32,
    pub(super) generation: u32,
    pub(super) tally: Tally,
    /// The machine of the last counted failure: another one is preferred.
    pub(super) avoid: Option<String>,
    phase: TrialPhase,
    #[serde(skip)]
    pub(super) progress: Option<(i64, f64)>,
}

/// Who holds a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum TrialPhase {
    /// Nobody: it is in `ready`.
    Ready,
    /// Nobody, for so long: it is in `backoff`, and then in `ready`.
    Backoff {
        delay_ms: u64,
        #[serde(skip)]
        until: Time,
        /// It has waited long enough, and is in `ready`.
        #[serde(skip)]
        is_over: bool,
    },
    /// This worker; the timer is the worker's.
    Leased(Lease),
    /// The lease's time is over, and it is in `ready`; its holder may still report until another attempt is granted.
    Expired {
        lease: Lease,
        /// Whose fault it was, as the journal will say if another attempt is granted.
        lost: bool,
    },
}

/// A lease on a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) token: Token,
    pub(super) worker: WorkerId,
    pub(super) host: String,
}

impl Trial {
    pub(super) fn new(generation: u32) -> Self {
        Self {
            attempt: 0,
            generation,
            tally: Tally::default(),
            avoid: None,
            phase: TrialPhase::Ready,
            progress: None,
        }
    }

    /// Whether the next attempt must have a worker for itself; one whose lease expired by silence counts as lost then.
    pub(super) fn goes_alone(&self) -> bool {
        let lost = matches!(self.phase, TrialPhase::Expired { lost: true, .. });
        self.tally.suspicion.saturating_add(u8::from(lost)) >= SUSPICIOUS
    }

    /// The lease whose holder may report.
    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            TrialPhase::Leased(lease) | TrialPhase::Expired { lease, .. } => Some(lease),
            TrialPhase::Ready | TrialPhase::Backoff { .. } => None,
        }
    }

    pub(super) fn phase(&self) -> &TrialPhase {
        &self.phase
    }

    /// Only the table of trials, which keeps its queues by it, moves a trial to another phase.
    pub(super) fn enter(&mut self, phase: TrialPhase) -> TrialPhase {
        std::mem::replace(&mut self.phase, phase)
    }

    /// The trial has waited long enough.
    pub(super) fn wake(&mut self) {
        if let TrialPhase::Backoff { is_over, .. } = &mut self.phase {
            *is_over = true;
        }
    }

    /// Whoever held it is not to blame that the lease expired.
    pub(super) fn forgive(&mut self) {
        if let TrialPhase::Expired { lost, .. } = &mut self.phase {
            *lost = false;
        }
    }

    /// The trial as it goes on in a new version: nothing waits there.
    pub(super) fn carried(&self) -> Self {
        let mut trial = self.clone();
        if let TrialPhase::Backoff { .. } = trial.phase {
            trial.phase = TrialPhase::Ready;
        }
        trial
    }

    /// The trial as it is after a start: its holder has its lease again, and a wait begins anew.
    pub(super) fn restored(mut self, now: Time) -> Self {
        self.phase = match self.phase {
            TrialPhase::Ready => TrialPhase::Ready,
            TrialPhase::Backoff { delay_ms, .. } => {
                TrialPhase::Backoff { delay_ms, until: now.after_ms(delay_ms), is_over: false }
            }
            TrialPhase::Leased(lease) | TrialPhase::Expired { lease, .. } => TrialPhase::Leased(lease),
        };
        self
    }

    pub(super) fn is_leased(&self) -> bool {
        matches!(self.phase, TrialPhase::Leased(_))
    }
}
