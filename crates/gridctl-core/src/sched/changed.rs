//! What is different between two versions of a sweep.
//! Invariant: values that may be nobody's business (of the environment) are never named.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{NamedFiles, is_prose, is_source};
use crate::id::{CodeHash, SHORT_ID};
use crate::launch::command_line;
use crate::protocol::FrozenSweep;
use crate::s3_url::SCHEME;
use crate::spec::{MetricSpec, SweepSpec};

impl FrozenSweep {
    /// Whether this is the same version as `other`: the same grid, objective and code, wherever these
    /// are and wherever the results go.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.spec.asks_the_same_as(&other.spec)
            && self.reader == other.reader
            && self.code == other.code
            && self.env == other.env
    }

    /// Whether code, data and results are where those of `other` are.
    #[must_use]
    pub fn is_in_the_places_of(&self, other: &Self) -> bool {
        (&self.sources, &self.output, &self.file) == (&other.sources, &other.output, &other.file)
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
        } else if self.image_pin() != new.image_pin() {
            lines.push(format!("image {}: changed", new.spec.image.as_deref().unwrap_or_default()));
        }
        if self.spec.entrypoint != new.spec.entrypoint {
            lines.push("entrypoint: changed".to_owned());
        }
        if self.spec.isolate != new.spec.isolate {
            lines.push(format!("isolate: {} -> {}", self.spec.isolate, new.spec.isolate));
        }
        if self.spec.setup != new.spec.setup {
            lines.push("setup: changed".to_owned());
        }
        named("env", &self.env, &new.env, &mut lines);
        if self.spec.data != new.spec.data {
            let show = |data: &Option<String>| data.clone().unwrap_or_else(|| "none".to_owned());
            lines.push(format!("data: {} -> {}", show(&self.spec.data), show(&new.spec.data)));
        }
        let apart = |frozen: &Self| -> (Vec<_>, Vec<_>) {
            let files = frozen.files.iter().filter(|(name, _)| frozen.spec.image.as_ref() != Some(name));
            files.cloned().partition(|(name, _)| name.starts_with(SCHEME))
        };
        let ((data, files), (new_data, new_files)) = (apart(self), apart(new));
        if self.spec.data == new.spec.data {
            named("data", &data, &new_data, &mut lines);
        }
        named("file", &files, &new_files, &mut lines);
        if lines.is_empty() {
            lines.push(format!("code: {} -> {}", short(self.code), short(new.code)));
        }
        lines
    }

    /// Takes files of the workdir for what trainers write, and so gives them the marks of the version
    /// before, `old`: those that changed while its attempts ran (`written`), unless their names say
    /// that they are code; and, if `new_too` and nothing else is different, those that it has not.
    /// If nothing is different then, this has the code of `old`. Returns the files, by name.
    pub fn leave_beside(&mut self, old: &Self, written: &BTreeSet<String>, new_too: bool) -> Vec<String> {
        let has_workdir = |frozen: &Self| frozen.sources.code.is_some();
        if self.code == old.code || old.files.is_empty() || has_workdir(self) != has_workdir(old) {
            return Vec::new();
        }
        let named = NamedFiles::of(&self.spec);
        let is_code = |path: &str| named.has(path) || is_source(path);
        let (before, now) = (by_path(&old.files), by_path(&self.files));
        let mut beside = Vec::new();
        let mut files = before.clone();
        for path in before.keys().chain(now.keys()).copied().collect::<BTreeSet<_>>() {
            let mark = now.get(path).copied();
            // Older versions of gridctl took prose for code.
            let no_prose = mark.is_none() && is_prose(path) && !named.has(path);
            if before.get(path).copied() == mark || no_prose {
                continue;
            }
            if written.contains(path) && !is_code(path) {
                beside.push(path.to_owned());
            } else if let Some(mark) = mark {
                files.insert(path, mark);
            } else {
                files.remove(path);
            }
        }
        let is_new = |path: &&str| !before.contains_key(*path);
        let stands = files.iter().all(|(path, mark)| is_new(path) || before.get(path) == Some(mark));
        let stands = stands && before.keys().all(|path| files.contains_key(path));
        if new_too && stands && self.has_parts_of(old) {
            beside.extend(files.keys().filter(|path| is_new(path)).map(|path| (*path).to_owned()));
            files.retain(|path, _| before.contains_key(path));
        }
        let files = files.into_iter().map(|(path, mark)| (path.to_owned(), mark.to_owned())).collect();
        if files == old.files && self.has_parts_of(old) {
            self.code = old.code;
        }
        self.files = files;
        beside
    }

    /// Whether all that makes the code's mark is the same, but for files.
    fn has_parts_of(&self, other: &Self) -> bool {
        let parts = |frozen: &Self| {
            let SweepSpec { command, program, env_prefix, image, entrypoint, isolate, setup, .. } =
                frozen.spec.clone();
            let what = (command, program, env_prefix, image, entrypoint);
            (what, isolate, setup, frozen.env.clone(), frozen.spec.data.is_some())
        };
        parts(self) == parts(other)
    }
}

fn by_path(files: &[(String, String)]) -> BTreeMap<&str, &str> {
    files.iter().map(|(path, mark)| (path.as_str(), mark.as_str())).collect()
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
