//! The documents that people and programs exchange with a master: what `-o json` prints, and what each route of the API takes and
//! gives. Invariant: defined once, here; whoever reads one back from bytes has a document within its limits.

mod ask;
mod cost;

use serde::{Deserialize, Serialize};

pub use self::ask::{
    AttemptsQuery, Changed, DrainRequest, LeaderboardQuery, ScaleRequest, SteerRequest, SubmitRequest,
    TokenMade, TokenRequest, TrialsQuery, TrialsRequest,
};
pub use self::cost::CostView;
pub use crate::access::TokenView;
use crate::id::PackHash;
use crate::leaderboard::Row;
use crate::record::Record;
pub use crate::sched::status::{Best, SweepState, SweepStatus};
use crate::spec::Goal;
pub use crate::trials::TrialLine;

/// Stands for the latest sweep where a route wants a sweep's name.
pub const LATEST: &str = "~";
/// Rows of a leaderboard in one answer.
pub const MAX_ROWS: u32 = 100_000;
/// Trials in one page.
pub const MAX_PAGE: u32 = 10_000;
/// Trials in one request for another try.
pub const MAX_RETRIES: usize = 10_000;
/// Bytes of one request.
pub const MAX_REQUEST_BYTES: usize = 8 << 20;
/// Bytes of one answer.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Bytes of an expression, and of a name to sort by.
pub const MAX_EXPRESSION_BYTES: usize = 4 << 10;
/// Milliseconds that a drain may leave to running trials: a day.
pub const MAX_GRACE_MS: u64 = 86_400_000;

/// What became of a submitted sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Submitted {
    /// It stands.
    Stands {
        /// Its name.
        sweep: String,
        /// Its version.
        version: u32,
        /// Whether this made the version.
        new: bool,
        /// How many of its trials were known.
        known: u64,
        /// How many of these were read again from their logs, because metrics are read in another way now.
        #[serde(default)]
        read_again: u64,
        /// How many that were computed are tried again, because metrics are read in another way now and their logs are not
        /// all there.
        #[serde(default)]
        lost: u64,
        /// Of how many that are known a metric that is declared since could not be read: their logs are not all there.
        #[serde(default)]
        unread: u64,
        /// Files that came into the workdir since the version before, or changed while trials ran: they
        /// are taken for what trainers write. Each is named once.
        left: Vec<String>,
    },
    /// Nothing was submitted: the code is another one, and the request did not say what to do.
    CodeChanged {
        /// The version before.
        version: u32,
        /// One line for each difference.
        lines: Vec<String>,
        /// Trials of the sweep that have ended with a success.
        succeeded: u64,
        /// Trials of the sweep that have ended without one.
        failed: u64,
        /// Files by which these may have disturbed each other: their numbers may be wrong.
        #[serde(default)]
        disturbed: Vec<String>,
    },
}

/// The best points of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leaderboard {
    /// The sweep's name.
    pub sweep: String,
    /// Its version.
    pub version: u32,
    /// The metric that ranks, if one does.
    pub metric: Option<String>,
    /// Which way is better; without a metric it says nothing.
    pub goal: Goal,
    /// The rows.
    pub rows: Vec<Row>,
    /// How many rows there are in all, after the filter.
    pub total: u64,
    /// More than one version of the code computed the rows.
    pub mixed_code: bool,
}

/// A page of the trials that have begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialsPage {
    /// The trials.
    pub trials: Vec<TrialLine>,
    /// Where the next page begins; empty: this was the last.
    pub next: String,
}

/// One trial with its attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialDetails {
    /// The sweep's name.
    pub sweep: String,
    /// The trial.
    pub trial: TrialLine,
    /// Its attempts' records, the first attempt first.
    pub attempts: Vec<Record>,
}

/// Attempts of a sweep in the order in which they ended, without their logs and curves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptsPage {
    /// The attempts.
    pub attempts: Vec<Record>,
    /// What comes after these is asked for by this number.
    pub next: u64,
    /// There is more.
    pub more: bool,
}

/// More of what a trial's present attempt has printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputEvent {
    /// The attempt's number; 0 if none goes on.
    pub attempt: u32,
    /// How many bytes of output came before, with those that are not kept for followers.
    pub from: u64,
    /// The output; bytes that are no text are replaced.
    pub text: String,
    /// Nothing more comes: the attempt's record has the end.
    pub is_over: bool,
}

/// How much an order touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// So many sweeps or trials.
    pub touched: u64,
}

/// A pack that a master has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackKept {
    /// Its name.
    pub pack: PackHash,
    /// Its bytes.
    pub bytes: u64,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A word for programs, `unknown_sweep` for example.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

#[cfg(test)]
mod tests;
