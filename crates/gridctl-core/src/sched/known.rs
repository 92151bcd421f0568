//! What the journal holds of trials that a new version of a sweep may know, and how an outcome
//! comes to count for it.
//! Invariant: what is linked is the sweep's own, and nothing of its record is another in the
//! version.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{CodeHash, SweepId, TrialId};
use crate::leaderboard::Brief;
use crate::metrics::Outcome;
use crate::record::TrialState;

/// What to do with outcomes of a sweep that other code computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Keep them all.
    Keep,
    /// Keep the successes, try the others again.
    Failed,
    /// Everything again.
    All,
}

/// An outcome in the journal that counts for a trial of a new version.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedOutcome {
    /// The journal's row.
    pub seq: u64,
    /// The trial's place in the new version.
    pub index: u64,
    /// Its position in the walk.
    pub pos: u64,
    /// Its state: terminal.
    pub state: TrialState,
    /// Its objective.
    pub objective: Option<f64>,
    /// How its metrics were read.
    pub reading: Reading,
    /// What it is linked as, if nothing of its record is another for the new version; otherwise it
    /// is copied.
    pub link: Option<LinkSource>,
}

/// Of what a linked outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSource {
    /// The version of the sweep.
    pub version: u32,
    /// The code's mark.
    pub code: CodeHash,
}

/// How the metrics of a known outcome were read.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// As the new version has them read.
    Same,
    /// In another way; its log was read again, and said this.
    Again(Arc<Outcome>),
    /// As the new version has them read, but for metrics that are declared since: its log is not all there.
    Partly,
    /// In another way, and its log is not all there: the trial is tried again.
    Lost,
}

/// An outcome that the journal holds, with its record.
#[derive(Debug, Clone, PartialEq)]
pub struct PriorOutcome {
    /// Its row.
    pub seq: u64,
    /// The sweep that it counts for, and the version.
    pub at: (SweepId, u32),
    /// What its record says.
    pub brief: Brief,
    /// What its log says, if [`super::PriorOutcomes::is_to_be_read_again`] and the log is all there.
    pub again: Option<Outcome>,
}

/// An outcome that the journal holds, as its row says without the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriorRow<'a> {
    /// Its number.
    pub seq: u64,
    /// The sweep that it counts for, and the version.
    pub at: (SweepId, u32),
    /// The trial's place in that version.
    pub index: u64,
    /// The trial.
    pub trial: TrialId,
    /// The trial less its repeat.
    pub point: TrialId,
    /// The repeat.
    pub repeat: u32,
    /// The code's mark.
    pub code: CodeHash,
    /// The trial's state afterwards.
    pub state: TrialState,
    /// The objective, if it was seen and is finite.
    pub objective: Option<f64>,
    /// What read its metrics, as JSON.
    pub read_by: &'a str,
}

/// What a row tells without its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowTells {
    /// All that there is to know.
    Enough,
    /// Its record must be looked at.
    TooLittle,
}
