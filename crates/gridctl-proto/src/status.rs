//! A sweep's status to and from the wire. Invariant: it reads back as the same status.

use gridctl_core::sched::status::SweepStatus;

use crate::field::{FieldError, json};
use crate::{limits, v1};

impl From<&SweepStatus> for v1::SweepStatus {
    fn from(status: &SweepStatus) -> Self {
        let status_json = serde_json::to_string(status)
            .expect("a status has text keys, and its numbers are finite or named");
        Self { status_json }
    }
}

impl TryFrom<v1::SweepStatus> for SweepStatus {
    type Error = FieldError;

    fn try_from(status: v1::SweepStatus) -> Result<Self, FieldError> {
        json("status_json", &status.status_json, limits::MAX_FROZEN_BYTES)
    }
}
