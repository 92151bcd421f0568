//! What is known of a sweep before it starts: the outcomes in the journal that count for it.
//! Invariant: the same fingerprint never runs twice unless a person asks for it; outcomes of other code count only as the person said.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridctl_core::id::{CodeHash, SweepId, TrialId};
use gridctl_core::leaderboard::Brief;
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::TrialState;
use gridctl_core::sched::{Core, Known};
use gridctl_proto::ask::Changed;
use gridctl_storage::journal::{OutcomeRow, Reader, StoreError};

use crate::message::Plan;

/// What is known of one trial, the latest of each kind.
#[derive(Debug, Default)]
struct Candidates {
    /// Under the new version's code.
    same: Option<Known>,
    /// Under other code, in the version before.
    standing: Option<Known>,
    /// Under other code, in any version of the sweep.
    other: Option<Known>,
}

/// A sweep as it is before a submission.
#[derive(Debug, Clone)]
pub(crate) struct Before {
    pub(crate) sweep: SweepId,
    pub(crate) version: u32,
    pub(crate) frozen: Arc<FrozenSweep>,
}

impl Before {
    /// The sweep of this name.
    pub(crate) fn of(core: &Core, name: &str) -> Option<Self> {
        let sweep = core.sweep_named(name)?;
        Some(Self { sweep: sweep.id(), version: sweep.version(), frozen: Arc::clone(sweep.frozen()) })
    }
}

/// The outcomes that count for `plan`; `before` is the sweep as it is, if there is one of that name.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn known(plan: &Plan, before: Option<&Before>, reader: &Reader) -> Result<Vec<Known>, StoreError> {
    if plan.rerun || before.is_some_and(|before| before.frozen.is_same(&plan.frozen)) {
        return Ok(Vec::new());
    }
    let mut trials: BTreeMap<TrialId, Candidates> = BTreeMap::new();
    let mut note = |row: OutcomeRow, standing: bool| {
        let Some((trial, known)) = read(&plan.frozen, &row) else { return };
        let found = trials.entry(trial).or_default();
        let is_same = row.code == plan.frozen.code;
        let places = if is_same {
            [Some(&mut found.same), None]
        } else {
            [Some(&mut found.other), standing.then_some(&mut found.standing)]
        };
        for place in places.into_iter().flatten() {
            if place.as_ref().is_none_or(|there| there.seq < known.seq) {
                *place = Some(known.clone());
            }
        }
    };
    reader.known(plan.frozen.code, &mut |row| note(row, false))?;
    if let Some(before) = before {
        for version in 1..=before.version {
            let at = (before.sweep.0, version);
            let standing = version == before.version;
            reader.successes(at, &mut |row| note(row, standing))?;
            reader.failures(at, &mut |row| {
                if row.terminal && matches!(row.state, TrialState::Failed | TrialState::Quarantined) {
                    note(row, standing);
                }
            })?;
        }
    }
    let changed = before.is_some_and(|before| before.frozen.code != plan.frozen.code);
    Ok(trials.into_values().filter_map(|found| choose(found, plan, changed)).collect())
}

fn choose(found: Candidates, plan: &Plan, code_changed: bool) -> Option<Known> {
    let succeeded = |known: &Known| known.state == TrialState::Succeeded;
    let other = match (plan.changed, code_changed) {
        (Some(Changed::Keep), _) => found.other,
        (Some(Changed::Failed), _) => found.other.filter(succeeded),
        (Some(Changed::All), _) | (None, true) => None,
        (None, false) => found.standing,
    };
    let known = match (found.same, other) {
        (Some(same), Some(other)) if !succeeded(&same) && succeeded(&other) => other,
        (Some(same), _) => same,
        (None, other) => other?,
    };
    (succeeded(&known) || !plan.retry_failed).then_some(known)
}

/// The outcome as the join needs it; `None` if it says nothing about what this sweep ranks.
fn read(frozen: &FrozenSweep, row: &OutcomeRow) -> Option<(TrialId, Known)> {
    let brief: Brief = serde_json::from_str(&row.record).ok()?;
    let wanted = frozen.spec.objective.as_ref().map(|objective| &objective.metric.name);
    let seen = wanted.and_then(|wanted| brief.metrics.iter().find(|(name, _)| name == wanted));
    let objective = seen.map(|(_, value)| value.0);
    if row.state == TrialState::Succeeded && wanted.is_some() && objective.is_none() {
        return None;
    }
    // Where the repeats are an axis, the trial's id is hashed with 0.
    let seed = if TrialId::of(&brief.params, brief.repeat) == brief.trial { brief.repeat } else { 0 };
    let known = Known { seq: row.seq, params: brief.params, seed, state: row.state, objective };
    Some((brief.trial, known))
}

/// What is different between two versions, one line each; empty if outcomes of the one count for the other without a question.
pub(crate) fn differences(old: &FrozenSweep, new: &FrozenSweep) -> Vec<String> {
    let mut lines = Vec::new();
    let goal = |frozen: &FrozenSweep| {
        frozen.spec.objective.as_ref().map(|objective| (objective.metric.name.clone(), objective.goal))
    };
    if goal(old) != goal(new) {
        let show = |frozen| goal(frozen).map_or("none".to_owned(), |(name, goal)| format!("{goal} {name}"));
        lines.push(format!("metric: {} -> {}", show(old), show(new)));
    }
    if old.code == new.code {
        return lines;
    }
    if old.spec.command != new.spec.command || old.spec.program != new.spec.program {
        lines.push(format!("command: {} -> {}", old.spec.command.join(" "), new.spec.command.join(" ")));
    }
    if old.spec.image != new.spec.image {
        let show = |image: &Option<String>| image.clone().unwrap_or_else(|| "none".to_owned());
        lines.push(format!("image: {} -> {}", show(&old.spec.image), show(&new.spec.image)));
    }
    named("env", &old.env, &new.env, &mut lines);
    if old.data != new.data {
        let show = |data: &Option<String>| data.clone().unwrap_or_else(|| "none".to_owned());
        lines.push(format!("data: {} -> {}", show(&old.data), show(&new.data)));
    }
    named("file", &old.files, &new.files, &mut lines);
    if lines.is_empty() {
        lines.push(format!("code: {} -> {}", short(old.code), short(new.code)));
    }
    lines
}

/// The files that came into the workdir since `old`, if nothing else about the code is different: most likely what trainers
/// write beside it, for no file that was there before has changed to read them. Empty if anything else is different.
pub(crate) fn came_since(old: &FrozenSweep, new: &FrozenSweep) -> Vec<String> {
    let parts = |frozen: &FrozenSweep| {
        let spec = frozen.spec.clone();
        let paths = (frozen.workdir.clone(), frozen.data.clone());
        (spec.command, spec.program, spec.env_prefix, spec.image, frozen.env.clone(), paths)
    };
    let before: BTreeMap<_, _> = old.files.iter().map(|(path, hash)| (path, hash)).collect();
    let now: BTreeMap<_, _> = new.files.iter().map(|(path, hash)| (path, hash)).collect();
    let stands = before.iter().all(|(path, hash)| now.get(path) == Some(hash));
    if old.code == new.code || before.is_empty() || !stands || parts(old) != parts(new) {
        return Vec::new();
    }
    now.into_keys().filter(|path| !before.contains_key(path)).cloned().collect()
}

fn short(code: CodeHash) -> String {
    code.to_string().chars().take(gridctl_core::id::SHORT_ID).collect()
}

/// Which of the named values came, went, or changed; their values may be nobody's business.
fn named(what: &str, old: &[(String, String)], new: &[(String, String)], lines: &mut Vec<String>) {
    let old: BTreeMap<_, _> = old.iter().map(|(name, value)| (name, value)).collect();
    let new: BTreeMap<_, _> = new.iter().map(|(name, value)| (name, value)).collect();
    for (name, value) in &new {
        match old.get(name) {
            None => lines.push(format!("{what} {name}: new")),
            Some(before) if before != value => lines.push(format!("{what} {name}: changed")),
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        lines.push(format!("{what} {name}: gone"));
    }
}
