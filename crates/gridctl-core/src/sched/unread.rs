//! Which axes a sweep's program may not read: trials that differ in one axis alone and in no metric.
//! Invariant: one pair with other metrics clears an axis for good; what is remembered is bounded, and
//! begins anew with each master and each version.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Core;
use super::event::Event;
use super::observed::Observation;
use crate::id::{SweepId, Time};
use crate::record::{Class, Record};
use crate::spec::{Repeats, SweepSpec};

/// So many pairs without a difference make an axis one that may not be read.
const PAIRS: u32 = 4;
/// So many trials are remembered for an axis, to be compared with those that come.
const MOST_TRIALS: usize = 1_024;

/// What was seen of the axes of a sweep.
#[derive(Debug)]
pub(super) struct AxisWatch(Vec<WatchedAxis>);

/// An axis that no pair of trials has shown to be read.
#[derive(Debug)]
struct WatchedAxis {
    name: String,
    /// Pairs without a difference.
    equal: u32,
    /// By all of a trial's parameters but this one: its value, and the metrics, as hashes.
    trials: HashMap<u64, (u64, u64)>,
}

impl AxisWatch {
    /// Watches every axis that varies.
    pub(super) fn new(spec: &SweepSpec) -> Self {
        let varied = spec.axes.iter().filter(|axis| axis.values.count() > 1);
        let watched =
            varied.map(|axis| WatchedAxis { name: axis.name.clone(), equal: 0, trials: HashMap::new() });
        Self(watched.collect())
    }

    /// A trial has succeeded. Returns the axes that are found to be read, and those that may not be.
    fn note(&mut self, record: &Record, seeded: bool) -> (Vec<String>, Vec<String>) {
        let report = &record.report;
        if self.0.is_empty() || report.metrics.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let metrics: Vec<_> = report.metrics.iter().map(|(name, value)| (name, value.0.to_bits())).collect();
        let metrics = hash(&metrics);
        let params = record.params.iter().map(|(name, value)| {
            let mut text = String::new();
            value.canonical(&mut text);
            (name, hash(&(name, text)))
        });
        let params: Vec<(&str, u64)> = params.collect();
        let seed = if seeded { hash(&record.repeat) } else { 0 };
        let all = params.iter().fold(seed, |sum, (_, param)| sum.wrapping_add(*param));
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        self.0.retain_mut(|axis| {
            let Some((_, value)) = params.iter().find(|(name, _)| *name == axis.name) else { return true };
            let others = all.wrapping_sub(*value);
            match axis.trials.get(&others) {
                None if axis.trials.len() < MOST_TRIALS => {
                    axis.trials.insert(others, (*value, metrics));
                }
                Some((other, had)) if other != value && *had != metrics => {
                    read.push(axis.name.clone());
                    return false;
                }
                Some((other, _)) if other != value => {
                    axis.equal += 1;
                    if axis.equal == PAIRS {
                        unread.push(axis.name.clone());
                    }
                }
                _ => {}
            }
            true
        });
        (read, unread)
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

impl Core {
    /// Looks whether the trial that has ended differs from an earlier one in one axis alone.
    pub(super) fn observe_axes(&mut self, now: Time, id: SweepId, record: &Record) {
        let Some(sweep) = self.sweeps.get_mut(&id).filter(|_| record.report.class == Class::Succeeded) else {
            return;
        };
        let seeded = matches!(sweep.frozen.spec.repeats, Repeats::Seeds(_));
        let (mut read, mut unread) = sweep.axes.note(record, seeded);
        read.retain(|axis| sweep.observed.is_unread(axis));
        unread.retain(|axis| !sweep.observed.is_unread(axis));
        let read = read.into_iter().map(Observation::Read);
        for observation in read.chain(unread.into_iter().map(Observation::Unread)) {
            self.emit(now, Event::Observed { sweep: id, observation });
        }
    }
}
