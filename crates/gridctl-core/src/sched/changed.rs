//! What is different between two versions of a sweep.
//! Invariant: values that may be nobody's business (of the environment) are never named.

use std::collections::BTreeMap;

use crate::id::{CodeHash, SHORT_ID};
use crate::launch::command_line;
use crate::protocol::FrozenSweep;
use crate::spec::MetricSpec;

impl FrozenSweep {
    /// Whether this is the same version as `other`: the same grid, objective, code and places.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.reader == other.reader
            && self.code == other.code
            && self.env == other.env
            && (&self.base, &self.workdir, &self.data, &self.output)
                == (&other.base, &other.workdir, &other.data, &other.output)
    }

    /// Whether an attempt that goes on brings the numbers that `new` asks for: it has the same code, and reads the objective,
    /// and what else both declare, in the same way.
    #[must_use]
    pub fn measures_for(&self, new: &Self) -> bool {
        let known = |metric: &MetricSpec| {
            let own = self.spec.objective.iter().map(|objective| &objective.metric).chain(&self.spec.metrics);
            own.into_iter().find(|own| own.name == metric.name).cloned()
        };
        let objective = new.spec.objective.as_ref().map(|objective| &objective.metric);
        self.code == new.code
            && objective.is_none_or(|metric| known(metric).as_ref() == Some(metric))
            && new.spec.metrics.iter().all(|metric| known(metric).is_none_or(|own| own == *metric))
    }

    /// What is different in `new`, one line each; empty if outcomes of the one count for the other without a question.
    #[must_use]
    pub fn differences_to(&self, new: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let goal = |frozen: &FrozenSweep| {
            frozen.spec.objective.as_ref().map(|objective| (objective.metric.name.clone(), objective.goal))
        };
        if goal(self) != goal(new) {
            let show =
                |frozen| goal(frozen).map_or("none".to_owned(), |(name, goal)| format!("{goal} {name}"));
            lines.push(format!("metric: {} -> {}", show(self), show(new)));
        }
        if self.code == new.code {
            return lines;
        }
        if self.spec.command != new.spec.command || self.spec.program != new.spec.program {
            let show = |frozen: &FrozenSweep| command_line(&frozen.spec.command);
            lines.push(format!("command: {} -> {}", show(self), show(new)));
        }
        if self.spec.image != new.spec.image {
            let show = |image: &Option<String>| image.clone().unwrap_or_else(|| "none".to_owned());
            lines.push(format!("image: {} -> {}", show(&self.spec.image), show(&new.spec.image)));
        }
        named("env", &self.env, &new.env, &mut lines);
        if self.data != new.data {
            let show = |data: &Option<String>| data.clone().unwrap_or_else(|| "none".to_owned());
            lines.push(format!("data: {} -> {}", show(&self.data), show(&new.data)));
        }
        named("file", &self.files, &new.files, &mut lines);
        if lines.is_empty() {
            lines.push(format!("code: {} -> {}", short(self.code), short(new.code)));
        }
        lines
    }

    /// The files that `new` has in its workdir beside this version's, if nothing else about the code is different: most likely what trainers
    /// write beside it, for no file that was there before has changed to read them. Empty if anything else is different.
    #[must_use]
    pub fn came_to(&self, new: &Self) -> Vec<String> {
        let parts = |frozen: &FrozenSweep| {
            let spec = frozen.spec.clone();
            let paths = (frozen.workdir.clone(), frozen.data.clone());
            (spec.command, spec.program, spec.env_prefix, spec.image, frozen.env.clone(), paths)
        };
        let before: BTreeMap<_, _> = self.files.iter().map(|(path, hash)| (path, hash)).collect();
        let now: BTreeMap<_, _> = new.files.iter().map(|(path, hash)| (path, hash)).collect();
        let stands = before.iter().all(|(path, hash)| now.get(path) == Some(hash));
        if self.code == new.code || before.is_empty() || !stands || parts(self) != parts(new) {
            return Vec::new();
        }
        now.into_keys().filter(|path| !before.contains_key(path)).cloned().collect()
    }
}

fn short(code: CodeHash) -> String {
    code.to_string().chars().take(SHORT_ID).collect()
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
