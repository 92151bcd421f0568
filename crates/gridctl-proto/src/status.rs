//! A sweep's status to and from the wire. Invariant: it reads back as the same status.

use gridctl_core::id::{SweepId, TrialId};
use gridctl_core::record::MetricValue;
use gridctl_core::sched::status::{Best, SweepState, SweepStatus};

use crate::field::{FieldError, id, text};
use crate::{limits, v1};

impl From<SweepState> for v1::SweepState {
    fn from(state: SweepState) -> Self {
        match state {
            SweepState::Running => Self::Running,
            SweepState::Paused => Self::Paused,
            SweepState::Stopping => Self::Stopping,
            SweepState::Finished => Self::Finished,
            SweepState::Stopped => Self::Stopped,
            SweepState::Cancelled => Self::Cancelled,
            SweepState::Interrupted => Self::Interrupted,
        }
    }
}

fn state(number: i32) -> Result<SweepState, FieldError> {
    use v1::SweepState as Wire;
    let unknown = || FieldError::new("state", format!("{number} is not a state"));
    Ok(match Wire::try_from(number).map_err(|_| unknown())? {
        Wire::Unspecified => return Err(unknown()),
        Wire::Running => SweepState::Running,
        Wire::Paused => SweepState::Paused,
        Wire::Stopping => SweepState::Stopping,
        Wire::Finished => SweepState::Finished,
        Wire::Stopped => SweepState::Stopped,
        Wire::Cancelled => SweepState::Cancelled,
        Wire::Interrupted => SweepState::Interrupted,
    })
}

impl From<SweepStatus> for v1::SweepStatus {
    fn from(status: SweepStatus) -> Self {
        let best = |best: Best| v1::Best {
            trial: best.trial.0.to_vec(),
            index: best.index,
            objective: best.objective.0,
        };
        Self {
            sweep: status.sweep,
            id: status.id.map_or(0, |id| id.0),
            version: status.version,
            state: v1::SweepState::from(status.state).into(),
            total: status.total,
            pending: status.pending,
            leased: status.leased,
            succeeded: status.succeeded,
            failed: status.failed,
            quarantined: status.quarantined,
            cancelled: status.cancelled,
            excluded: status.excluded,
            best: status.best.map(best),
            eta_s: status.eta_s,
            why: status.why,
            waiting: status.waiting,
            failures: status.failures,
            workers: status.workers,
        }
    }
}

impl TryFrom<v1::SweepStatus> for SweepStatus {
    type Error = FieldError;

    fn try_from(status: v1::SweepStatus) -> Result<Self, FieldError> {
        let best = |best: v1::Best| {
            let trial = TrialId(id("best.trial", &best.trial)?);
            Ok(Best { trial, index: best.index, objective: MetricValue(best.objective) })
        };
        Ok(Self {
            sweep: text("sweep", status.sweep, limits::MAX_TEXT_BYTES)?,
            id: (status.id != 0).then_some(SweepId(status.id)),
            version: status.version,
            state: state(status.state)?,
            total: status.total,
            pending: status.pending,
            leased: status.leased,
            succeeded: status.succeeded,
            failed: status.failed,
            quarantined: status.quarantined,
            cancelled: status.cancelled,
            excluded: status.excluded,
            best: status.best.map(best).transpose()?,
            eta_s: status.eta_s,
            why: status.why,
            waiting: status.waiting,
            failures: status.failures,
            workers: status.workers,
        })
    }
}
