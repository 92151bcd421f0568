//! What attempts do to the workdir that they share: files that they write, and that they may disturb
//! each other by.
//! Invariant: what was observed is said once, survives restarts and new versions, and is bounded.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Core;
use super::event::Event;
use super::sweep::Sweep;
use crate::code::FileChange;
use crate::id::{SweepId, Time};
use crate::notice::Notice;
use crate::protocol::FrozenSweep;

/// So many files are remembered of each kind.
const MOST_FILES: usize = 1_000;
/// After so many changes of one file, each while several attempts ran, they may disturb each other.
const PAIRS: u8 = 2;

/// Something that was seen of a sweep's attempts, beside their outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// Files of the workdir changed while attempts ran that count as code so far.
    Written(Vec<String>),
    /// A person was told that these files are taken for what trainers write.
    Told(Vec<String>),
    /// These files changed again while several attempts ran.
    Disturbed(Vec<String>),
    /// Trials that differ in this axis alone have had the same metrics, four times.
    Unread(String),
    /// Then some had others: the program reads this axis.
    Read(String),
}

/// All that was observed of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Observed {
    written: BTreeSet<String>,
    told: BTreeSet<String>,
    disturbed: Vec<String>,
    /// The same of versions before the trials had copies of the workdir, or none.
    #[serde(default)]
    disturbed_before: Vec<String>,
    /// Outcomes or trials of versions before count in this one.
    #[serde(default)]
    joined: bool,
    unread: Vec<String>,
}

impl Observed {
    pub(super) fn note(&mut self, observation: &Observation) {
        match observation {
            Observation::Written(files) => take(&mut self.written, files),
            Observation::Told(files) => take(&mut self.told, files),
            Observation::Disturbed(files) => self.disturbed.clone_from(files),
            Observation::Unread(axis) => self.unread.push(axis.clone()),
            Observation::Read(axis) => self.unread.retain(|unread| unread != axis),
        }
    }

    /// What holds for the version `new` after the version `old` that this was observed of.
    pub(super) fn in_next(&self, old: &FrozenSweep, new: &FrozenSweep) -> Self {
        let mut next = Self { joined: false, ..self.clone() };
        if old.spec.isolate != new.spec.isolate {
            let disturbed = std::mem::take(&mut next.disturbed);
            if !disturbed.is_empty() {
                next.disturbed_before = disturbed;
            }
        } else if !self.joined {
            next.disturbed_before.clear();
        }
        let is_axis = |name: &String| new.spec.axes.iter().any(|axis| axis.name == *name);
        next.unread.retain(|axis| old.code == new.code && is_axis(axis));
        next
    }

    pub(super) fn is_unread(&self, axis: &str) -> bool {
        self.unread.iter().any(|unread| unread == axis)
    }

    /// Those of `files` that nobody was told of.
    pub(super) fn untold(&self, files: &[String]) -> Vec<String> {
        let untold = files.iter().filter(|_| self.told.len() < MOST_FILES);
        untold.filter(|file| !self.told.contains(*file)).cloned().collect()
    }

    /// Outcomes or trials of versions before count in this one.
    pub(super) fn join(&mut self) {
        self.joined = true;
    }

    /// Files by which trials may have disturbed each other whose outcomes count.
    fn disturbed_by(&self) -> &[String] {
        if self.joined && self.disturbed.is_empty() { &self.disturbed_before } else { &self.disturbed }
    }

    pub(super) fn notices(&self, isolated: bool) -> impl Iterator<Item = Notice> {
        let before = Some(self.disturbed_before.clone()).filter(|files| self.joined && !files.is_empty());
        let before = before.map(|files| Notice::MayHaveDisturbed { files });
        let files = Some(self.disturbed.clone()).filter(|files| !files.is_empty());
        let disturbed = files.map(|files| Notice::MayDisturb { files, isolated });
        let unread = (!self.unread.is_empty()).then(|| Notice::MayBeUnread { axes: self.unread.clone() });
        before.into_iter().chain(disturbed).chain(unread)
    }
}

fn take(known: &mut BTreeSet<String>, files: &[String]) {
    let room = MOST_FILES.saturating_sub(known.len());
    known.extend(files.iter().take(room).cloned());
}

/// So many files are named.
const MOST_NAMED: usize = 3;

/// How often each file changed while several attempts ran, since this master began.
#[derive(Debug, Default)]
pub(super) struct SharedChanges(BTreeMap<String, u8>);

impl SharedChanges {
    /// Counts changes that were seen at once. If one of them makes a person be told, returns its file and
    /// others that changed as often.
    fn count<'a>(&mut self, paths: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
        let mut reached = None;
        for path in paths {
            if self.0.len() >= MOST_FILES && !self.0.contains_key(path) {
                continue;
            }
            let count = self.0.entry(path.to_owned()).or_default();
            *count = count.saturating_add(1);
            if *count == PAIRS && reached.is_none() {
                reached = Some(path);
            }
        }
        let reached = reached?;
        let often = |(other, count): &(&String, &u8)| **count >= PAIRS && *other != reached;
        let others = self.0.iter().filter(often).map(|(other, _)| other.clone());
        Some([reached.to_owned()].into_iter().chain(others).take(MOST_NAMED).collect())
    }
}

impl Core {
    /// A worker has seen files change while attempts of the sweep ran.
    pub(super) fn observe_changes(&mut self, now: Time, id: SweepId, changes: &[FileChange]) {
        let Some(sweep) = self.sweeps.get_mut(&id).filter(|_| !changes.is_empty()) else { return };
        let written = newly_written(sweep, changes);
        let shared = changes.iter().filter(|change| change.shared);
        let disturbed = sweep.shared_changes.count(shared.map(|change| change.path.as_str()));
        let disturbed = disturbed.filter(|_| sweep.observed.disturbed.is_empty());
        let written = (!written.is_empty()).then_some(Observation::Written(written));
        for observation in [written, disturbed.map(Observation::Disturbed)].into_iter().flatten() {
            self.emit(now, Event::Observed { sweep: id, observation });
        }
    }

    /// A person is told of files that are taken for what trainers write.
    pub(super) fn tell_of(&mut self, now: Time, id: SweepId, files: &[String]) {
        let untold = self.sweeps.get(&id).map(|sweep| sweep.observed.untold(files)).unwrap_or_default();
        if !untold.is_empty() {
            self.emit(now, Event::Observed { sweep: id, observation: Observation::Told(untold) });
        }
    }
}

/// Files that count as code, and not as written so far.
fn newly_written(sweep: &Sweep, changes: &[FileChange]) -> Vec<String> {
    let known = &sweep.observed.written;
    let paths = changes.iter().map(|change| &change.path);
    let room = MOST_FILES.saturating_sub(known.len());
    let new = paths.filter(|path| !known.contains(*path));
    new.filter(|path| sweep.frozen.files.iter().any(|(name, _)| name == *path)).take(room).cloned().collect()
}

impl Sweep {
    /// Files by which trials may have disturbed each other whose outcomes count.
    #[must_use]
    pub fn disturbed_by(&self) -> &[String] {
        self.observed.disturbed_by()
    }

    /// Files of the workdir that changed while attempts ran.
    #[must_use]
    pub fn written(&self) -> &BTreeSet<String> {
        &self.observed.written
    }

    /// Those of `files` that nobody was told of: they are taken for what trainers write.
    #[must_use]
    pub fn untold(&self, files: &[String]) -> Vec<String> {
        self.observed.untold(files)
    }
}
