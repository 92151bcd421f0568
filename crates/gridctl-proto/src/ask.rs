//! What people ask of a master, as checked values. Invariant: a request that became one of these is within its limits.

use gridctl_core::id::SweepId;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::TrialState;
pub use gridctl_core::sched::Changed;
use gridctl_core::sched::step::Steer;

use crate::field::{FieldError, all, json, present, text};
use crate::{limits, v1};

/// A sweep to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Submit {
    /// The frozen sweep; the master fills in an empty uuid.
    pub frozen: FrozenSweep,
    /// What to do with outcomes of this sweep that other code computed; `None`: ask.
    pub changed: Option<Changed>,
    /// Trials of this very version that ended without success are tried again.
    pub retry_failed: bool,
    /// A new version in which nothing is known.
    pub rerun: bool,
}

/// What became of a submitted sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It stands.
    Stands {
        /// Its number.
        sweep: SweepId,
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
        /// Whether this made the version.
        new: bool,
        /// How many of its trials were known.
        known: u64,
        /// Files that came into the workdir since the version before, taken for what trainers write.
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
    },
}

/// The best points of a sweep; an empty name means the latest sweep, here and below.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaderboardQuery {
    /// The sweep's name.
    pub sweep: String,
    /// How many; 0: all, as far as one answer holds them.
    pub k: u32,
    /// Only rows for which this expression is true; empty: all.
    pub filter: String,
    /// The metric to sort by, `-name` for the other way round; empty: the objective.
    pub sort: String,
    /// Skip so many.
    pub offset: u64,
}

/// The trials of a sweep that have begun.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrialsQuery {
    /// The sweep's name.
    pub sweep: String,
    /// Only trials in this state.
    pub state: Option<TrialState>,
    /// At most so many; 0: 1,000.
    pub page_size: u32,
    /// Where the page begins; empty: at the beginning.
    pub page_token: String,
}

/// How to steer a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteerAsk {
    /// The sweep's name.
    pub sweep: String,
    /// How.
    pub steer: Steer,
}

/// Which trials to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryAsk {
    /// The sweep's name.
    pub sweep: String,
    /// Ids or prefixes.
    pub trials: Vec<String>,
}

/// Checks a sweep's name, as far as a query needs it.
///
/// # Errors
/// It is too long to be one.
pub fn sweep_name(name: String) -> Result<String, FieldError> {
    text("sweep", name, 255)
}

impl From<&Submit> for v1::SubmitRequest {
    fn from(submit: &Submit) -> Self {
        let changed = match submit.changed {
            None => v1::Changed::Unspecified,
            Some(Changed::Keep) => v1::Changed::Keep,
            Some(Changed::Failed) => v1::Changed::Failed,
            Some(Changed::All) => v1::Changed::All,
        };
        Self {
            frozen_json: serde_json::to_string(&submit.frozen)
                .expect("a frozen sweep has text keys and finite numbers"),
            changed: changed.into(),
            retry_failed: submit.retry_failed,
            rerun: submit.rerun,
        }
    }
}

impl TryFrom<v1::SubmitRequest> for Submit {
    type Error = FieldError;

    fn try_from(request: v1::SubmitRequest) -> Result<Self, FieldError> {
        let changed = match v1::Changed::try_from(request.changed) {
            Ok(v1::Changed::Unspecified) => None,
            Ok(v1::Changed::Keep) => Some(Changed::Keep),
            Ok(v1::Changed::Failed) => Some(Changed::Failed),
            Ok(v1::Changed::All) => Some(Changed::All),
            Err(_) => return Err(FieldError::new("changed", format!("{} is not a choice", request.changed))),
        };
        Ok(Self {
            frozen: json("frozen_json", &request.frozen_json, limits::MAX_FROZEN_BYTES)?,
            changed,
            retry_failed: request.retry_failed,
            rerun: request.rerun,
        })
    }
}

impl From<Submitted> for v1::SubmitResponse {
    fn from(submitted: Submitted) -> Self {
        use v1::submit_response::Answer;
        let answer = match submitted {
            Submitted::Stands { sweep, name, version, new, known, left } => {
                Answer::Submitted(v1::Submitted {
                    sweep: sweep.0,
                    name,
                    version,
                    new_version: new,
                    known,
                    left,
                })
            }
            Submitted::CodeChanged { version, lines, succeeded, failed } => {
                Answer::CodeChanged(v1::CodeChanged { version, lines, succeeded, failed })
            }
        };
        Self { answer: Some(answer) }
    }
}

impl TryFrom<v1::SubmitResponse> for Submitted {
    type Error = FieldError;

    fn try_from(response: v1::SubmitResponse) -> Result<Self, FieldError> {
        use v1::submit_response::Answer;
        Ok(match present("answer", response.answer)? {
            Answer::Submitted(v1::Submitted { sweep, name, version, new_version: new, known, left }) => {
                Self::Stands { sweep: SweepId(sweep), name, version, new, known, left }
            }
            Answer::CodeChanged(v1::CodeChanged { version, lines, succeeded, failed }) => {
                Self::CodeChanged { version, lines, succeeded, failed }
            }
        })
    }
}

impl From<LeaderboardQuery> for v1::LeaderboardRequest {
    fn from(LeaderboardQuery { sweep, k, filter, sort, offset }: LeaderboardQuery) -> Self {
        Self { sweep, k, filter, sort, offset }
    }
}

impl TryFrom<v1::LeaderboardRequest> for LeaderboardQuery {
    type Error = FieldError;

    fn try_from(request: v1::LeaderboardRequest) -> Result<Self, FieldError> {
        Ok(Self {
            sweep: sweep_name(request.sweep)?,
            k: request.k,
            filter: text("filter", request.filter, limits::MAX_FILTER_BYTES)?,
            sort: text("sort", request.sort, limits::MAX_TEXT_BYTES)?,
            offset: request.offset,
        })
    }
}

impl From<TrialsQuery> for v1::TrialsRequest {
    fn from(TrialsQuery { sweep, state, page_size, page_token }: TrialsQuery) -> Self {
        let state = state.map_or_else(String::new, |state| state.as_str().to_owned());
        Self { sweep, state, page_size, page_token }
    }
}

impl TryFrom<v1::TrialsRequest> for TrialsQuery {
    type Error = FieldError;

    fn try_from(request: v1::TrialsRequest) -> Result<Self, FieldError> {
        if request.page_size > limits::MAX_PAGE {
            let problem = format!("is {}, at most {} are given", request.page_size, limits::MAX_PAGE);
            return Err(FieldError::new("page_size", problem));
        }
        Ok(Self {
            sweep: sweep_name(request.sweep)?,
            state: trial_state(&request.state)?,
            page_size: request.page_size,
            page_token: text("page_token", request.page_token, 256)?,
        })
    }
}

/// The trial's state that `word` names; `None` for the empty word.
///
/// # Errors
/// No state is called so.
pub fn trial_state(word: &str) -> Result<Option<TrialState>, FieldError> {
    if word.is_empty() {
        return Ok(None);
    }
    TrialState::named(word).map(Some).ok_or_else(|| {
        let words = TrialState::ALL.map(TrialState::as_str).join(", ");
        let shown: String = word.chars().take(40).collect();
        FieldError::new("state", format!("`{shown}` is not a state: {words}"))
    })
}

impl From<SteerAsk> for v1::SteerRequest {
    fn from(ask: SteerAsk) -> Self {
        let steering = match ask.steer {
            Steer::Pause => v1::Steering::Pause,
            Steer::Resume => v1::Steering::Resume,
            Steer::Stop => v1::Steering::Stop,
            Steer::Cancel => v1::Steering::Cancel,
        };
        Self { sweep: ask.sweep, steering: steering.into() }
    }
}

impl TryFrom<v1::SteerRequest> for SteerAsk {
    type Error = FieldError;

    fn try_from(request: v1::SteerRequest) -> Result<Self, FieldError> {
        let steer = match v1::Steering::try_from(request.steering) {
            Ok(v1::Steering::Pause) => Steer::Pause,
            Ok(v1::Steering::Resume) => Steer::Resume,
            Ok(v1::Steering::Stop) => Steer::Stop,
            Ok(v1::Steering::Cancel) => Steer::Cancel,
            Ok(v1::Steering::Unspecified) | Err(_) => {
                let problem = format!("{} is not a way to steer", request.steering);
                return Err(FieldError::new("steering", problem));
            }
        };
        Ok(Self { sweep: sweep_name(request.sweep)?, steer })
    }
}

impl From<RetryAsk> for v1::RetryRequest {
    fn from(RetryAsk { sweep, trials }: RetryAsk) -> Self {
        Self { sweep, trials }
    }
}

impl TryFrom<v1::RetryRequest> for RetryAsk {
    type Error = FieldError;

    fn try_from(request: v1::RetryRequest) -> Result<Self, FieldError> {
        let trial = |trial| text("trials", trial, 64);
        Ok(Self {
            sweep: sweep_name(request.sweep)?,
            trials: all("trials", request.trials, limits::MAX_RETRIES, trial)?,
        })
    }
}
