//! What is known of a sweep before it starts: which outcomes of the data directory count for a new
//! version.
//! Invariant: the same fingerprint never runs twice unless a person asks for it; outcomes of other
//! code count only as the person said.

use std::sync::Arc;

use roaring::RoaringTreemap;

use super::known::{Changed, JoinedOutcome, LinkSource, PriorOutcome, PriorRow, Reading, RowTells};
use super::{Core, Submission};
use crate::id::{CodeHash, SweepId, TrialId};
use crate::leaderboard::Brief;
use crate::metrics::{Patterns, ReadBy};
use crate::points::Points;
use crate::protocol::FrozenSweep;
use crate::record::{Class, TrialState};
use crate::spec::{Axis, Repeats};
use crate::value::{Params, Value};

/// An outcome that may count for a trial of the new version.
#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    /// When it came to count last: by its own number, or linked after an outcome's number.
    since: (u64, u64),
    /// Under other code than the new version's.
    is_of_other_code: bool,
    /// It counts in the version before.
    stands: bool,
    known: JoinedOutcome,
}

/// What was found in the journal of a new version, before the master's loop has it.
#[derive(Debug, Clone, PartialEq)]
pub struct LookedUp {
    /// The sweep's newest version at that time.
    before: Option<(SweepId, u32)>,
    /// The last outcome that was looked at.
    upto: u64,
    links: Option<Links>,
    candidates: Vec<Candidate>,
}

/// What is linked for the sweep's versions.
#[derive(Debug, Clone, PartialEq, Default)]
struct Links {
    /// For each version, after an outcome's number, the numbers of outcomes.
    all: Vec<(u64, RoaringTreemap)>,
    /// For the newest one: the numbers of outcomes and their trials' places, ascending.
    newest: Vec<(u64, u64)>,
}

impl Links {
    /// The place in the newest version of an outcome that is linked for it.
    fn place_of(&self, seq: u64) -> Option<u64> {
        let place = self.newest.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.newest.get(place).map(|(_, index)| *index)
    }
}

/// The version before the new one.
#[derive(Debug)]
struct Before {
    sweep: SweepId,
    version: u32,
    frozen: Arc<FrozenSweep>,
    points: Points,
    /// Its objective is the new version's.
    ranks_alike: bool,
}

/// Chooses among the outcomes that the journal holds. Whoever reads it shows at least every success
/// under [`PriorOutcomes::code`] of the sweeps that [`PriorOutcomes::others`] names, and every outcome of
/// [`PriorOutcomes::sweep`]; what does not count is passed over.
#[derive(Debug)]
pub struct PriorOutcomes {
    frozen: FrozenSweep,
    points: Points,
    changed: Option<Changed>,
    retry_failed: bool,
    before: Option<Before>,
    others: Vec<SweepId>,
    /// None: they are to be noted.
    links: Option<Links>,
    upto: u64,
    found: Vec<Candidate>,
    /// What the last row was read by, and whether the new version reads so too.
    read_by: (String, bool),
    /// Metrics that are declared now and were not in the version before.
    declared_since: Vec<String>,
}

impl PriorOutcomes {
    /// None if nothing has to be known: the version stands already, a person wants everything
    /// again, or the points cannot be counted. Goes on from what was looked up for the submission,
    /// if the sweep has the same version still.
    #[must_use]
    pub fn of(core: &Core, submission: &mut Submission) -> Option<Self> {
        let before = core.sweep_named(&submission.frozen.spec.name);
        if submission.rerun || before.is_some_and(|sweep| sweep.frozen.is_same(&submission.frozen)) {
            return None;
        }
        let frozen = submission.frozen.clone();
        let points = Points::new(Arc::new(frozen.spec.clone())).ok()?;
        let wanted = |frozen: &FrozenSweep| {
            frozen.spec.objective.as_ref().map(|objective| objective.metric.name.clone())
        };
        let before = before.map(|sweep| Before {
            sweep: sweep.id,
            version: sweep.version,
            frozen: Arc::clone(&sweep.frozen),
            points: sweep.points.clone(),
            ranks_alike: wanted(&sweep.frozen) == wanted(&frozen),
        });
        let own = before.as_ref().map(|before| (before.sweep, before.version));
        let looked_up = submission.looked_up.take().filter(|looked_up| looked_up.before == own);
        let (upto, links, found) =
            looked_up.map_or((0, None, Vec::new()), |it| (it.upto, it.links, it.candidates));
        let others = core.sweeps().map(|sweep| sweep.id).filter(|id| own.is_none_or(|own| own.0 != *id));
        let (changed, retry_failed) = (submission.changed, submission.retry_failed);
        let (others, read_by) = (others.collect(), (String::new(), false));
        let known: Vec<&str> = before.iter().flat_map(|before| declared(&before.frozen)).collect();
        let since = declared(&frozen).filter(|name| !known.contains(name));
        let declared_since = since.map(str::to_owned).collect();
        Some(Self {
            frozen,
            points,
            changed,
            retry_failed,
            before,
            others,
            links,
            upto,
            found,
            read_by,
            declared_since,
        })
    }

    /// Whether a metric that is declared since is not in this outcome.
    fn lacks(&self, brief: &Brief) -> bool {
        let has = |name: &String| brief.metrics.iter().any(|(known, _)| known == name);
        !self.declared_since.iter().all(has)
    }

    /// The parameters with those that `was` says of axes which they do not have; none if they have all.
    fn with_what_was(&self, params: &Params) -> Option<Params> {
        let absent = |axis: &&Axis| axis.was.is_some() && params.get(&axis.name).is_none();
        if !self.frozen.spec.axes.iter().any(|axis| absent(&axis)) {
            return None;
        }
        let value = |axis: &Axis| params.get(&axis.name).or(axis.was.as_ref()).cloned();
        let axes = self.frozen.spec.axes.iter();
        let mut all: Vec<(Arc<str>, Value)> =
            axes.filter_map(|axis| Some((axis.name.as_str().into(), value(axis)?))).collect();
        let others =
            params.iter().filter(|(name, _)| !self.frozen.spec.axes.iter().any(|axis| axis.name == *name));
        all.extend(others.map(|(name, value)| (name.into(), value.clone())));
        Some(Params::new(all))
    }

    /// What was found so far, for the submission to bring along.
    #[must_use]
    pub fn looked_up(mut self) -> LookedUp {
        self.sort();
        let before = self.before.map(|before| (before.sweep, before.version));
        LookedUp { before, upto: self.upto, links: self.links, candidates: self.found }
    }

    /// The new version's code.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        self.frozen.code
    }

    /// The sweep, if it has a version.
    #[must_use]
    pub fn sweep(&self) -> Option<SweepId> {
        self.before.as_ref().map(|before| before.sweep)
    }

    /// The sweep's versions so far, unless what is linked for them was noted already.
    #[must_use]
    pub fn versions_to_note(&self) -> Vec<u32> {
        let newest = self.before.as_ref().filter(|_| self.links.is_none());
        (1..=newest.map_or(0, |before| before.version)).collect()
    }

    /// Takes note of what is linked for a version of the sweep, after the outcome `since`: numbers
    /// of outcomes and places of their trials, ascending. Called for every version, before outcomes
    /// are noted.
    pub fn note_links(&mut self, version: u32, since: u64, links: Vec<(u64, u64)>) {
        let all = self.links.get_or_insert_default();
        all.all.push((since, links.iter().map(|(seq, _)| *seq).collect()));
        if self.before.as_ref().is_some_and(|before| before.version == version) {
            all.newest = links;
        }
    }

    /// When the outcome came to count last for a version.
    fn since(&self, seq: u64) -> (u64, u64) {
        let all = self.links.as_ref().map_or(&[][..], |links| &links.all);
        let linked = all.iter().filter(|(_, linked)| linked.contains(seq));
        linked.map(|(since, _)| (*since, seq)).max().unwrap_or((seq, 0))
    }

    /// The place in the version before of a row of the sweep that counts for it.
    fn place_of(&self, before: &Before, row: &PriorRow<'_>) -> Option<u64> {
        let own = (row.at.1 == before.version).then_some(row.index);
        own.or_else(|| self.links.as_ref()?.place_of(row.seq))
    }

    /// The other sweeps.
    #[must_use]
    pub fn others(&self) -> Vec<SweepId> {
        self.others.clone()
    }

    /// The last outcome that was looked at; 0 for none.
    #[must_use]
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// All outcomes up to this one were looked at.
    pub fn looked_upto(&mut self, seq: u64) {
        self.upto = seq;
    }

    /// Whether the metrics of this outcome were read in another way than the new version has them
    /// read.
    #[must_use]
    pub fn is_to_be_read_again(&self, brief: &Brief) -> bool {
        let depends = brief.state == TrialState::Succeeded || brief.class == Class::NoMetric;
        depends && (!brief.read_by.reads_as(&self.frozen.spec) || self.lacks(brief))
    }

    /// What reads metrics for the new version; `None` if it has a pattern that cannot be used.
    #[must_use]
    pub fn patterns(&self) -> Option<Arc<Patterns>> {
        Patterns::new(&self.frozen.spec).ok().map(Arc::new)
    }

    /// The sweep's newest version.
    #[must_use]
    pub fn before(&self) -> Option<&FrozenSweep> {
        self.before.as_ref().map(|before| &*before.frozen)
    }

    /// Takes note of an outcome by its row alone, if that says enough: the points of the version
    /// before say what its trial is.
    pub fn note_row(&mut self, row: &PriorRow<'_>) -> RowTells {
        let own = self.before.as_ref().filter(|before| before.sweep == row.at.0);
        let counts = match row.state {
            TrialState::Succeeded => own.is_some() || row.code == self.code(),
            TrialState::Failed | TrialState::Quarantined => own.is_some(),
            _ => false,
        };
        if !counts {
            return RowTells::Enough;
        }
        // A record alone says whether a metric that is declared since is there.
        let own = own.filter(|before| before.ranks_alike && self.declared_since.is_empty());
        let Some((before, place)) = own.and_then(|before| Some((before, self.place_of(before, row)?))) else {
            return RowTells::TooLittle;
        };
        if before.points.trial_id(place) != row.trial {
            return RowTells::TooLittle;
        }
        let is_ranked = row.objective.is_some() || self.frozen.spec.objective.is_none();
        if row.state != TrialState::Succeeded || !is_ranked {
            return RowTells::TooLittle;
        }
        if self.read_by.0 != row.read_by {
            let read_by: Option<ReadBy> = serde_json::from_str(row.read_by).ok();
            let is_alike = read_by.is_some_and(|read_by| read_by.reads_as(&self.frozen.spec));
            self.read_by = (row.read_by.to_owned(), is_alike);
        }
        if !self.read_by.1 {
            return RowTells::TooLittle;
        }
        let seed = if matches!(before.frozen.spec.repeats, Repeats::Seeds(_)) { row.repeat } else { 0 };
        let params = before.points.trial(place).params;
        if self.with_what_was(&params).is_some() {
            return RowTells::TooLittle;
        }
        if let Some(index) = self.points.index_of_near(&params, seed, Some(place)) {
            let (seq, state, objective) = (row.seq, row.state, row.objective);
            let source = LinkSource { version: row.at.1, code: row.code };
            let link = self.has_place((row.trial, row.point, row.repeat), index).then_some(source);
            let pos = self.points.pos_of(index);
            let known = JoinedOutcome { seq, index, pos, state, objective, reading: Reading::Same, link };
            let (since, is_of_other_code) = (self.since(seq), row.code != self.code());
            self.found.push(Candidate { since, is_of_other_code, stands: true, known });
        }
        RowTells::Enough
    }

    /// Whether the new version's trial at `index` is of the same point and the same repeat as one
    /// of (trial, point, repeat).
    fn has_place(&self, (trial, point, repeat): (TrialId, TrialId, u32), index: u64) -> bool {
        match self.frozen.spec.repeats {
            Repeats::Seeds(1) => (point, repeat) == (trial, 0),
            _ => self.points.point_id(index) == point && self.points.trial(index).repeat == repeat,
        }
    }

    /// Takes note of an outcome, if it may count.
    pub fn note(&mut self, prior: PriorOutcome) {
        let PriorOutcome { seq, at, mut brief, again } = prior;
        let own = self.before.as_ref().filter(|before| before.sweep == at.0);
        let is_linked = || self.links.as_ref().is_some_and(|links| links.place_of(seq).is_some());
        let stands = own.is_some_and(|before| before.version == at.1 || is_linked());
        let is_own = own.is_some();
        let counts = match brief.state {
            TrialState::Succeeded => is_own || brief.code == self.code(),
            TrialState::Failed | TrialState::Quarantined => is_own,
            _ => false,
        };
        if !counts {
            return;
        }
        let is_of_other_code = brief.code != self.code();
        let mut reading = Reading::Same;
        // What other code printed before it failed is no success of this code.
        let is_to_be_tried =
            is_of_other_code && brief.state != TrialState::Succeeded && self.changed == Some(Changed::Failed);
        if !is_to_be_tried && self.is_to_be_read_again(&brief) {
            let measures = self.frozen.spec.objective.is_some();
            let reads_alike = brief.read_by.reads_as(&self.frozen.spec);
            match again.filter(|again| again.objective.is_some() || !measures) {
                // Of a metric that is declared since its log says nothing either.
                Some(again) if reads_alike && again.metrics.len() <= brief.metrics.len() => {}
                Some(again) => {
                    brief.state = TrialState::Succeeded;
                    brief.metrics.clone_from(&again.metrics);
                    reading = Reading::Again(Arc::new(again));
                }
                None if brief.state == TrialState::Succeeded && reads_alike => reading = Reading::Partly,
                None if brief.state == TrialState::Succeeded => reading = Reading::Lost,
                // It had no metric, and has none.
                None => {}
            }
        }
        let is_kept = matches!(self.changed, Some(Changed::Keep | Changed::Failed));
        if reading == Reading::Lost && !(is_own && (!is_of_other_code || is_kept)) {
            return;
        }
        let extended = self.with_what_was(&brief.params);
        let is_extended = extended.is_some();
        brief.params = extended.unwrap_or(brief.params);
        let Some(mut known) = self.known((seq, reading), &brief) else { return };
        let place = (brief.trial, brief.point, brief.repeat);
        let ranks_alike = brief.objective.map(|value| value.0.to_bits()) == known.objective.map(f64::to_bits);
        let is_read_alike = matches!(known.reading, Reading::Same | Reading::Partly);
        if is_own && ranks_alike && is_read_alike && !is_extended && self.has_place(place, known.index) {
            known.link = Some(LinkSource { version: at.1, code: brief.code });
        }
        self.found.push(Candidate { since: self.since(seq), is_of_other_code, stands, known });
    }

    /// The outcome as the join needs it; `None` if it says nothing about what this sweep ranks, or
    /// is of no trial of its.
    fn known(&self, (seq, reading): (u64, Reading), brief: &Brief) -> Option<JoinedOutcome> {
        let wanted = self.frozen.spec.objective.as_ref().map(|objective| &objective.metric.name);
        let seen = wanted.and_then(|wanted| brief.metrics.iter().find(|(name, _)| name == wanted));
        let objective = seen.map(|(_, value)| value.0);
        let is_lost = reading == Reading::Lost;
        if brief.state == TrialState::Succeeded && wanted.is_some() && objective.is_none() && !is_lost {
            return None;
        }
        let index = self.points.index_of_near(&brief.params, brief.seed(), Some(brief.index))?;
        let (pos, state) = (self.points.pos_of(index), brief.state);
        Some(JoinedOutcome { seq, index, pos, state, objective, reading, link: None })
    }

    /// By trial, and each one's in the order in which they came to count. What was sorted before
    /// costs next to nothing.
    fn sort(&mut self) {
        self.found.sort_by_key(|candidate| (candidate.known.pos, candidate.since));
    }

    /// The outcomes that count, in the order of the walk.
    pub(super) fn chosen(mut self) -> Vec<JoinedOutcome> {
        self.sort();
        let before = self.before.as_ref();
        let code_changed = before.is_some_and(|before| before.frozen.code != self.frozen.code);
        let found = self.found;
        let mut chosen = Vec::with_capacity(found.len());
        let mut of_trial = OfTrial::default();
        for candidate in found {
            if of_trial.pos != Some(candidate.known.pos) {
                chosen.extend(std::mem::take(&mut of_trial).choose(
                    self.changed,
                    code_changed,
                    self.retry_failed,
                ));
                of_trial.pos = Some(candidate.known.pos);
            }
            of_trial.note(candidate);
        }
        chosen.extend(of_trial.choose(self.changed, code_changed, self.retry_failed));
        chosen
    }
}

/// The names of the metrics that a version declares.
fn declared(frozen: &FrozenSweep) -> impl Iterator<Item = &str> {
    let objective = frozen.spec.objective.iter().map(|objective| &objective.metric);
    objective.chain(&frozen.spec.metrics).map(|metric| metric.name.as_str())
}

/// What is known of one trial, the latest of each kind.
#[derive(Debug, Default)]
struct OfTrial {
    pos: Option<u64>,
    /// Under the new version's code.
    same: Option<JoinedOutcome>,
    /// Under other code, in the version before.
    standing: Option<JoinedOutcome>,
    /// Under other code, in any version of the sweep.
    other: Option<JoinedOutcome>,
    /// One of the sweep that would count, but was read in another way.
    lost: Option<JoinedOutcome>,
}

impl OfTrial {
    /// Takes the place of what was noted before.
    fn note(&mut self, Candidate { is_of_other_code, stands, known, .. }: Candidate) {
        if known.reading == Reading::Lost {
            self.lost = Some(known);
        } else if !is_of_other_code {
            self.same = Some(known);
        } else {
            if stands {
                self.standing = Some(known.clone());
            }
            self.other = Some(known);
        }
    }

    fn choose(
        self,
        changed: Option<Changed>,
        code_changed: bool,
        retry_failed: bool,
    ) -> Option<JoinedOutcome> {
        let succeeded = |known: &JoinedOutcome| known.state == TrialState::Succeeded;
        let other = match (changed, code_changed) {
            (Some(Changed::Keep), _) => self.other,
            (Some(Changed::Failed), _) => self.other.filter(succeeded),
            (Some(Changed::All), _) | (None, true) => None,
            (None, false) => self.standing,
        };
        let known = match (self.same, other) {
            (Some(same), Some(other)) if !succeeded(&same) && succeeded(&other) => Some(other),
            (Some(same), _) => Some(same),
            (None, other) => other,
        };
        known.filter(|known| succeeded(known) || !retry_failed).or(self.lost)
    }
}
