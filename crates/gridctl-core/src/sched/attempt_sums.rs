//! What of a sweep's attempts is not as it should be, in sum: files that were not published, numbers
//! that may not be the ones that were meant, and attempts that a machine's fault ended.
//! Invariant: the sum only grows, until a new version of the sweep begins.

use serde::{Deserialize, Serialize};

use crate::record::Doubt;

/// How much is missing from the results of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOut {
    /// So many files.
    pub(super) files: u64,
    /// Of so many attempts.
    pub(super) attempts: u64,
    /// The position of the first one's trial.
    pub(super) first: u64,
}

impl LeftOut {
    /// An attempt of the trial at `pos` has ended, and so many of its files were not published.
    pub(super) fn add(sum: &mut Option<Self>, pos: u64, files: u64) {
        if files > 0 {
            let sum = sum.get_or_insert(Self { files: 0, attempts: 0, first: pos });
            (sum.files, sum.attempts) = (sum.files.saturating_add(files), sum.attempts + 1);
        }
    }
}

/// Attempts whose output can be read in two ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unsure {
    /// So many.
    pub(super) attempts: u64,
    /// The position of the first one's trial.
    pub(super) first: u64,
    /// What there is to doubt of it.
    pub(super) doubt: Doubt,
}

impl Unsure {
    /// An attempt of the trial at `pos` has ended, and left this doubt.
    pub(super) fn add(sum: &mut Option<Self>, pos: u64, doubt: Option<&Doubt>) {
        let Some(doubt) = doubt else { return };
        let sum = sum.get_or_insert_with(|| Self { attempts: 0, first: pos, doubt: doubt.clone() });
        sum.attempts += 1;
    }
}

/// Attempts that a fault of their machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MachineFaults {
    /// So many.
    pub(super) attempts: u64,
    /// The position of the last one's trial.
    pub(super) last: u64,
    /// What the fault of the last one was.
    pub(super) fault: String,
}

impl MachineFaults {
    /// An attempt of the trial at `pos` has ended, by this fault of its machine if there was one.
    pub(super) fn add(sum: &mut Option<Self>, pos: u64, fault: Option<&str>) {
        let Some(fault) = fault else { return };
        let attempts = sum.as_ref().map_or(0, |sum| sum.attempts) + 1;
        *sum = Some(Self { attempts, last: pos, fault: fault.to_owned() });
    }
}
