//! What is known of a sweep before it starts: which outcomes of the data directory count for a new version.
//! Invariant: the same fingerprint never runs twice unless a person asks for it; outcomes of other code count only as the person said.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Core, Submission};
use crate::id::{CodeHash, SweepId, TrialId};
use crate::leaderboard::Brief;
use crate::metrics::{Outcome, Patterns};
use crate::protocol::FrozenSweep;
use crate::record::{Class, TrialState};
use crate::value::Params;

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

/// An outcome in the journal, as far as the join needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The journal's row, which is copied for the new version.
    pub seq: u64,
    /// Its parameters.
    pub params: Params,
    /// Its repeat: the seed, 0 where the repeats are an axis.
    pub seed: u32,
    /// Its place in the version that it is of.
    pub index: u64,
    /// Its state: terminal.
    pub state: TrialState,
    /// Its objective.
    pub objective: Option<f64>,
    /// How its metrics were read.
    pub reading: Reading,
}

/// How the metrics of a known outcome were read.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// As the new version has them read.
    Same,
    /// In another way; its log was read again, and said this.
    Again(Arc<Outcome>),
    /// In another way, and its log is not all there: the trial is tried again.
    Lost,
}

/// An outcome that the journal holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its row.
    pub seq: u64,
    /// The sweep that it counts for, and the version.
    pub at: (SweepId, u32),
    /// What its record says.
    pub brief: Brief,
    /// What its log says, if [`Candidates::is_to_be_read_again`] and the log is all there.
    pub again: Option<Outcome>,
}

/// What is known of one trial, the latest of each kind.
#[derive(Debug, Default)]
struct Trial {
    /// Under the new version's code.
    same: Option<Known>,
    /// Under other code, in the version before.
    standing: Option<Known>,
    /// Under other code, in any version of the sweep.
    other: Option<Known>,
    /// One of the sweep that would count, but was read in another way.
    lost: Option<Known>,
}

/// Chooses among the outcomes that the journal holds. Whoever reads it shows at least every success under [`Candidates::code`],
/// and every outcome of the versions that [`Candidates::versions`] names; what does not count is passed over.
#[derive(Debug)]
pub struct Candidates<'a> {
    submission: &'a Submission,
    before: Option<(SweepId, u32, Arc<FrozenSweep>)>,
    trials: BTreeMap<TrialId, Trial>,
}

impl<'a> Candidates<'a> {
    /// None if nothing has to be known: the version stands already, or a person wants everything again.
    pub(super) fn of(core: &Core, submission: &'a Submission) -> Option<Self> {
        let before = core.sweep_named(&submission.frozen.spec.name);
        if submission.rerun || before.is_some_and(|sweep| sweep.frozen.is_same(&submission.frozen)) {
            return None;
        }
        let before = before.map(|sweep| (sweep.id, sweep.version, Arc::clone(&sweep.frozen)));
        Some(Self { submission, before, trials: BTreeMap::new() })
    }

    /// The new version's code.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        self.submission.frozen.code
    }

    /// The sweep's versions so far.
    #[must_use]
    pub fn versions(&self) -> Vec<(SweepId, u32)> {
        let (sweep, newest) =
            self.before.as_ref().map_or((SweepId(0), 0), |(id, version, _)| (*id, *version));
        (1..=newest).map(|version| (sweep, version)).collect()
    }

    /// Whether the metrics of this outcome were read in another way than the new version has them read.
    #[must_use]
    pub fn is_to_be_read_again(&self, brief: &Brief) -> bool {
        let depends = brief.state == TrialState::Succeeded || brief.class == Class::NoMetric;
        depends && !brief.read_by.reads_as(&self.submission.frozen.spec)
    }

    /// What reads metrics for the new version; `None` if it has a pattern that cannot be used.
    #[must_use]
    pub fn patterns(&self) -> Option<Arc<Patterns>> {
        Patterns::new(&self.submission.frozen.spec).ok().map(Arc::new)
    }

    /// The sweep's newest version.
    #[must_use]
    pub fn before(&self) -> Option<&FrozenSweep> {
        self.before.as_ref().map(|(_, _, frozen)| &**frozen)
    }

    /// Takes note of an outcome, if it may count.
    pub fn note(&mut self, found: Found) {
        let Found { seq, at, mut brief, again } = found;
        let own = self.before.as_ref().filter(|(sweep, _, _)| *sweep == at.0);
        let standing = own.is_some_and(|(_, version, _)| *version == at.1);
        let counts = match brief.state {
            TrialState::Succeeded => own.is_some() || brief.code == self.code(),
            TrialState::Failed | TrialState::Quarantined => own.is_some(),
            _ => false,
        };
        let (trial, same) = (brief.trial, brief.code == self.code());
        let mut reading = Reading::Same;
        if self.is_to_be_read_again(&brief) {
            let measures = self.submission.frozen.spec.objective.is_some();
            match again.filter(|again| again.objective.is_some() || !measures) {
                Some(again) => {
                    brief.state = TrialState::Succeeded;
                    brief.metrics.clone_from(&again.metrics);
                    reading = Reading::Again(Arc::new(again));
                }
                None if brief.state == TrialState::Succeeded => reading = Reading::Lost,
                // It had no metric, and has none.
                None => {}
            }
        }
        let is_kept = matches!(self.submission.changed, Some(Changed::Keep | Changed::Failed));
        let Some(known) = known(&self.submission.frozen, (seq, reading), brief).filter(|_| counts) else {
            return;
        };
        let is_lost = known.reading == Reading::Lost;
        if is_lost && (own.is_none() || !(same || is_kept)) {
            return;
        }
        let of_trial = self.trials.entry(trial).or_default();
        if is_lost {
            of_trial.lost = Some(known);
            return;
        }
        let places = if same {
            [Some(&mut of_trial.same), None]
        } else {
            [Some(&mut of_trial.other), standing.then_some(&mut of_trial.standing)]
        };
        for place in places.into_iter().flatten() {
            if place.as_ref().is_none_or(|there| there.seq < known.seq) {
                *place = Some(known.clone());
            }
        }
    }

    /// The outcomes that count.
    pub(super) fn chosen(self) -> Vec<Known> {
        let code = self.code();
        let changed = self.before.as_ref().is_some_and(|(_, _, before)| before.code != code);
        let chosen = |mut trial: Trial| {
            let lost = trial.lost.take();
            choose(trial, self.submission, changed).or(lost)
        };
        self.trials.into_values().filter_map(chosen).collect()
    }
}

fn choose(trial: Trial, submission: &Submission, code_changed: bool) -> Option<Known> {
    let succeeded = |known: &Known| known.state == TrialState::Succeeded;
    let other = match (submission.changed, code_changed) {
        (Some(Changed::Keep), _) => trial.other,
        (Some(Changed::Failed), _) => trial.other.filter(succeeded),
        (Some(Changed::All), _) | (None, true) => None,
        (None, false) => trial.standing,
    };
    let known = match (trial.same, other) {
        (Some(same), Some(other)) if !succeeded(&same) && succeeded(&other) => other,
        (Some(same), _) => same,
        (None, other) => other?,
    };
    (succeeded(&known) || !submission.retry_failed).then_some(known)
}

/// The outcome as the join needs it; `None` if it says nothing about what this sweep ranks.
fn known(frozen: &FrozenSweep, (seq, reading): (u64, Reading), brief: Brief) -> Option<Known> {
    let wanted = frozen.spec.objective.as_ref().map(|objective| &objective.metric.name);
    let seen = wanted.and_then(|wanted| brief.metrics.iter().find(|(name, _)| name == wanted));
    let objective = seen.map(|(_, value)| value.0);
    let is_lost = reading == Reading::Lost;
    if brief.state == TrialState::Succeeded && wanted.is_some() && objective.is_none() && !is_lost {
        return None;
    }
    let (seed, index) = (brief.seed(), brief.index);
    Some(Known { seq, index, params: brief.params, seed, state: brief.state, objective, reading })
}
