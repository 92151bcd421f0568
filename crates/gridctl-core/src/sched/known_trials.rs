//! Trials that are known before a version begins, as an event tells of them: sets of positions by state, and of the
//! objectives only what ranks.
//! Invariant: applied to a sweep it does what each trial's own outcome would have done, in whatever order.

use data_encoding::BASE64;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::means::PartialMeans;
use super::settled::Settled;
use super::sweep::Sweep;
use crate::record::TrialState;

/// How many known trials one event tells of.
pub(super) const KNOWN_AN_EVENT: usize = 1 << 16;

/// Known trials of a sweep's newest version, by positions of its walk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownTrials {
    #[serde(default, skip_serializing_if = "RoaringTreemap::is_empty", with = "text")]
    succeeded: RoaringTreemap,
    #[serde(default, skip_serializing_if = "RoaringTreemap::is_empty", with = "text")]
    failed: RoaringTreemap,
    #[serde(default, skip_serializing_if = "RoaringTreemap::is_empty", with = "text")]
    quarantined: RoaringTreemap,
    /// The best value of the points that are complete by these trials alone, and its trial's position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<(f64, u64)>,
    /// Finite objectives, by position, of points that are not complete by these trials alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partial: Vec<(u64, f64)>,
}

/// Links of outcomes to places of a version, so that what was linked can be compared with what is
/// there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSum {
    count: u64,
    /// The sum of a number for each.
    sum: u64,
}

impl LinkSum {
    /// Whether nothing was linked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One more: the number of the outcome, and the place.
    pub fn add(&mut self, seq: u64, index: u64) {
        let mut mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.rotate_left(32);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.count += 1;
        self.sum = self.sum.wrapping_add(mixed ^ (mixed >> 31));
    }

    /// Those of two events together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum) }
    }
}

impl KnownTrials {
    /// These trials of `sweep`: position, terminal state and, for a success, the objective.
    pub(super) fn of(sweep: &Sweep, trials: &[(u64, TrialState, Option<f64>)]) -> Self {
        let mut known = Self::default();
        let mut means = PartialMeans::default();
        let mut best = None;
        for &(pos, state, objective) in trials {
            match state {
                TrialState::Succeeded => known.succeeded.insert(pos),
                TrialState::Quarantined => known.quarantined.insert(pos),
                _ => known.failed.insert(pos),
            };
            let objective = objective.filter(|value| value.is_finite() && state == TrialState::Succeeded);
            let complete = objective.and_then(|value| sweep.complete(&mut means, pos, value));
            if let Some(complete) = complete.filter(|complete| sweep.beats(*complete, best)) {
                best = Some(complete);
            }
        }
        known.best = best;
        if sweep.points.repeats() > 1 {
            let is_partial = |pos: u64| means.has(sweep.points.point_of(sweep.points.index_at(pos)).0);
            known.partial = trials
                .iter()
                .filter(|(pos, state, _)| *state == TrialState::Succeeded && is_partial(*pos))
                .filter_map(|(pos, _, objective)| Some((*pos, objective.filter(|it| it.is_finite())?)))
                .collect();
        }
        for set in [&mut known.succeeded, &mut known.failed, &mut known.quarantined] {
            set.optimize();
        }
        known
    }

    /// Every trial's position and state.
    pub fn states(&self) -> impl Iterator<Item = (u64, TrialState)> {
        let of = |set, state| RoaringTreemap::iter(set).map(move |pos| (pos, state));
        of(&self.succeeded, TrialState::Succeeded)
            .chain(of(&self.failed, TrialState::Failed))
            .chain(of(&self.quarantined, TrialState::Quarantined))
    }
}

impl Settled {
    pub(super) fn join(&mut self, known: &KnownTrials) {
        self.succeeded |= &known.succeeded;
        self.failed |= &known.failed;
        self.quarantined |= &known.quarantined;
    }
}

impl Sweep {
    /// Trials are settled without an attempt.
    pub(super) fn join(&mut self, known: &KnownTrials) {
        self.trials.join(known);
        if let Some(best) = known.best.filter(|best| self.beats(*best, self.best)) {
            self.best = Some(best);
        }
        for &(pos, objective) in &known.partial {
            self.score(pos, Some(objective));
        }
    }
}

/// A set as text: its bytes in base 64.
mod text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserializer, Serializer};

    use super::{BASE64, Deserialize, RoaringTreemap, Serialize};

    pub(super) fn serialize<S: Serializer>(set: &RoaringTreemap, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(set.serialized_size());
        set.serialize_into(&mut bytes).map_err(S::Error::custom)?;
        BASE64.encode(&bytes).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RoaringTreemap, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
        RoaringTreemap::deserialize_from(&bytes[..]).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::id::{CodeHash, SweepId};
    use crate::points::Points;
    use crate::protocol::{FrozenSweep, Sources};

    fn sweep(seeds: u32, goal: &str) -> Sweep {
        let source = format!(
            "name: a\ncommand: ['true']\nmetric: {{name: score, goal: {goal}}}\norder: spread\n\
             repeats: {seeds}\nparameters: {{x: {{min: 0, max: 19, step: 1}}}}\n"
        );
        let spec = crate::spec::tests::spec(&source);
        let points = Points::new(Arc::new(spec.clone())).expect("points");
        let frozen = FrozenSweep {
            uuid: String::new(),
            spec,
            source,
            file: None,
            sources: Sources { base: "/".to_owned(), code: None, data: None },
            output: crate::output::Output::InDataDir,
            env: Vec::new(),
            code: CodeHash::of(&["code"]),
            reader: crate::metrics::READER_RULE,
            files: Vec::new(),
        };
        Sweep::new(SweepId(1), 1, Arc::new(frozen), points)
    }

    proptest! {
        #[test]
        fn an_event_of_many_trials_does_what_an_event_for_each_would(
            seeds in 1_u32..4,
            maximize in any::<bool>(),
            pieces in 1_usize..4,
            trials in prop::collection::btree_map(0_u64..20, (0_u8..6, -2_i8..3), 0..20),
        ) {
            let goal = if maximize { "maximize" } else { "minimize" };
            let (mut one, mut all) = (sweep(seeds, goal), sweep(seeds, goal));
            let trials: Vec<_> = trials
                .into_iter()
                .map(|(pos, (kind, value))| match kind {
                    0 => (pos, TrialState::Failed, None),
                    1 => (pos, TrialState::Quarantined, None),
                    2 => (pos, TrialState::Succeeded, Some(f64::NAN)),
                    _ => (pos, TrialState::Succeeded, Some(f64::from(value))),
                })
                .collect();
            for (pos, state, objective) in &trials {
                one.trials.settle(*pos, *state);
                one.score(*pos, objective.filter(|it| it.is_finite()));
            }
            for piece in trials.chunks(trials.len().div_ceil(pieces).max(1)) {
                let known = KnownTrials::of(&all, piece);
                let text = serde_json::to_string(&known).expect("finite numbers");
                let read: KnownTrials = serde_json::from_str(&text).expect("what was written");
                prop_assert_eq!(&read, &known);
                let mut states: Vec<_> = known.states().collect();
                states.sort_unstable_by_key(|(pos, _)| *pos);
                let expected: Vec<_> = piece.iter().map(|(pos, state, _)| (*pos, *state)).collect();
                prop_assert_eq!(states, expected);
                all.join(&read);
            }
            for state in [TrialState::Succeeded, TrialState::Failed, TrialState::Quarantined] {
                let of = |sweep: &Sweep| (0..20).filter(|pos| sweep.trials.settled().state(*pos) == Some(state)).count();
                prop_assert_eq!(of(&one), of(&all), "{}", state);
            }
            prop_assert_eq!((one.best, &one.means), (all.best, &all.means));
        }
    }

    #[test]
    fn a_million_trials_in_a_row_are_a_few_bytes_in_each_event() {
        let trials: Vec<_> = (0..KNOWN_AN_EVENT as u64).map(|pos| (pos, TrialState::Failed, None)).collect();
        let text = serde_json::to_string(&KnownTrials::of(&sweep(1, "maximize"), &trials)).expect("JSON");
        assert!(text.len() < 200, "{} bytes", text.len());
        let scattered: Vec<_> =
            trials.iter().map(|(pos, state, value)| (pos << 17, *state, *value)).collect();
        let text = serde_json::to_string(&KnownTrials::of(&sweep(1, "maximize"), &scattered)).expect("JSON");
        assert!(text.len() < 4 << 20, "{} bytes", text.len());
    }

    #[test]
    fn what_is_no_set_is_no_event() {
        for text in [r#"{"failed":"!"}"#, r#"{"failed":"AAAA"}"#, r#"{"failed":[1]}"#] {
            assert!(serde_json::from_str::<KnownTrials>(text).is_err(), "{text}");
        }
    }
}
