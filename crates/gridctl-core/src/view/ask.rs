//! What is asked of a master. Invariant: a request that was read from bytes is within its limits.

use serde::{Deserialize, Serialize};

use super::{MAX_EXPRESSION_BYTES, MAX_GRACE_MS, MAX_PAGE, MAX_RETRIES, MAX_ROWS};
use crate::access::{Role, TokenView};
use crate::protocol::FrozenSweep;
use crate::record::TrialState;
pub use crate::sched::Changed;
use crate::sched::Steer;

/// Bytes of a trial's name: an id, a prefix, `best`, `#3`.
const TRIAL_BYTES: usize = 64;
/// Bytes of a page token.
const TOKEN_BYTES: usize = 256;

/// A request that is beyond its limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct RequestError {
    field: &'static str,
    problem: String,
}

fn within(field: &'static str, holds: bool, problem: impl FnOnce() -> String) -> Result<(), RequestError> {
    if holds { Ok(()) } else { Err(RequestError { field, problem: problem() }) }
}

/// A sweep to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The sweep; the master fills in an empty uuid.
    pub frozen: FrozenSweep,
    /// What to do with outcomes of this sweep that other code computed; without it the answer asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
    /// Trials of this very version that ended without success are tried again.
    #[serde(default)]
    pub retry_failed: bool,
    /// A new version in which nothing is known.
    #[serde(default)]
    pub rerun: bool,
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it lets do: anything but to own the data directory.
    pub role: Role,
    /// How long it lives, in milliseconds; a role has a longest time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_ms: Option<u64>,
}

/// A token that was made: the one time that its secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// The secret.
    pub token: String,
    /// What is kept of it.
    pub view: TokenView,
    /// Where the master is reached from elsewhere: `gridctl://HOST:PORT?pin=PIN`.
    pub master: Option<String>,
}

/// How to steer a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// How.
    pub steer: Steer,
}

/// Which trials to try again, or to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawNamedTrials")]
pub struct TrialsRequest {
    /// Ids, prefixes that are unique, `best`, or `#3` for a rank.
    pub trials: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNamedTrials {
    trials: Vec<String>,
}

impl TryFrom<RawNamedTrials> for TrialsRequest {
    type Error = RequestError;

    fn try_from(RawNamedTrials { trials }: RawNamedTrials) -> Result<Self, RequestError> {
        within("trials", trials.len() <= MAX_RETRIES, || {
            format!("has {} trials, at most {MAX_RETRIES} are taken", trials.len())
        })?;
        within("trials", trials.iter().all(|trial| trial.len() <= TRIAL_BYTES), || {
            format!("has a name of more than {TRIAL_BYTES} bytes")
        })?;
        Ok(Self { trials })
    }
}

/// How many machines a fleet may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// So many at most.
    pub machines: u32,
}

/// From SIGTERM to SIGKILL for what workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawDrain")]
pub struct DrainRequest {
    /// Milliseconds.
    pub grace_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDrain {
    grace_ms: u64,
}

impl TryFrom<RawDrain> for DrainRequest {
    type Error = RequestError;

    fn try_from(RawDrain { grace_ms }: RawDrain) -> Result<Self, RequestError> {
        within("grace_ms", grace_ms <= MAX_GRACE_MS, || format!("is {grace_ms}, which is over a day"))?;
        Ok(Self { grace_ms })
    }
}

/// Which points of a leaderboard.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "RawLeaderboard")]
pub struct LeaderboardQuery {
    /// At most so many; 0: all, as far as one answer holds them.
    pub k: u32,
    /// Only rows for which this expression is true; empty: all.
    pub filter: String,
    /// The metric to sort by, `-name` for the other way round; empty: the objective.
    pub sort: String,
    /// Skip so many.
    pub offset: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLeaderboard {
    #[serde(default)]
    k: u32,
    #[serde(default)]
    filter: String,
    #[serde(default)]
    sort: String,
    #[serde(default)]
    offset: u64,
}

impl TryFrom<RawLeaderboard> for LeaderboardQuery {
    type Error = RequestError;

    fn try_from(raw: RawLeaderboard) -> Result<Self, RequestError> {
        let RawLeaderboard { k, filter, sort, offset } = raw;
        within("k", k <= MAX_ROWS, || format!("is {k}, at most {MAX_ROWS} rows are given"))?;
        for (field, text) in [("filter", &filter), ("sort", &sort)] {
            within(field, text.len() <= MAX_EXPRESSION_BYTES, || {
                format!("has {} bytes, at most {MAX_EXPRESSION_BYTES} are taken", text.len())
            })?;
        }
        Ok(Self { k, filter, sort, offset })
    }
}

/// Which of a sweep's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptsQuery {
    /// Those behind this one: what the page before gave; 0: from the first one.
    #[serde(default)]
    pub after: u64,
}

/// Which of the trials that have begun.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "RawTrials")]
pub struct TrialsQuery {
    /// Only trials in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TrialState>,
    /// At most so many; 0: 1,000.
    pub page_size: u32,
    /// Where the page begins: what the page before gave; empty: at the beginning.
    pub page_token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrials {
    #[serde(default)]
    state: Option<TrialState>,
    #[serde(default)]
    page_size: u32,
    #[serde(default)]
    page_token: String,
}

impl TryFrom<RawTrials> for TrialsQuery {
    type Error = RequestError;

    fn try_from(RawTrials { state, page_size, page_token }: RawTrials) -> Result<Self, RequestError> {
        within("page_size", page_size <= MAX_PAGE, || {
            format!("is {page_size}, at most {MAX_PAGE} are given")
        })?;
        within("page_token", page_token.len() <= TOKEN_BYTES, || "is no page token".to_owned())?;
        Ok(Self { state, page_size, page_token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g53_what_is_beyond_its_limits_is_no_request() {
        let long = "x".repeat(MAX_EXPRESSION_BYTES + 1);
        let refused = |result: Result<(), serde_json::Error>, word: &str| {
            let problem = result.unwrap_err().to_string();
            assert!(problem.contains(word), "{problem}");
        };
        let leaderboard = |text: &str| serde_json::from_str::<LeaderboardQuery>(text).map(drop);
        leaderboard("{}").unwrap();
        refused(leaderboard(&format!("{{\"k\":{}}}", u32::MAX)), "`k`");
        refused(leaderboard(&format!("{{\"filter\":\"{long}\"}}")), "`filter`");
        refused(leaderboard(&format!("{{\"sort\":\"{long}\"}}")), "`sort`");
        refused(leaderboard("{\"k\":-1}"), "u32");
        refused(leaderboard("{\"nope\":1}"), "nope");
        let trials = |text: &str| serde_json::from_str::<TrialsQuery>(text).map(drop);
        trials("{\"state\":\"failed\"}").unwrap();
        refused(trials("{\"state\":\"lost\"}"), "lost");
        refused(trials("{\"page_size\":10001}"), "`page_size`");
        refused(trials(&format!("{{\"page_token\":\"{long}\"}}")), "`page_token`");
        let retry = |trials: &[&str]| {
            let text = serde_json::json!({ "trials": trials }).to_string();
            serde_json::from_str::<TrialsRequest>(&text).map(drop)
        };
        refused(retry(&vec!["a"; MAX_RETRIES + 1]), "10001");
        refused(retry(&[long.as_str()]), "64 bytes");
        let drain =
            |ms: u64| serde_json::from_str::<DrainRequest>(&format!("{{\"grace_ms\":{ms}}}")).map(drop);
        drain(MAX_GRACE_MS).unwrap();
        refused(drain(MAX_GRACE_MS + 1), "over a day");
    }
}
