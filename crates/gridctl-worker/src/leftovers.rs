//! What a worker leaves that is killed: its directory, its trainers, its cgroups. The next one ends
//! and removes that.
//! Invariant: a worker is dead if nobody holds the lock of its directory's marker; nothing of a
//! living one is touched, in whatever container it lives.

use std::path::{Path, PathBuf};

use gridctl_core::id::WorkerId;
use gridctl_storage::owned::{Found, found_in};
use serde::{Deserialize, Serialize};

use crate::{cgroup, marks};

/// The note in the marker of a worker's directory: where to look for what else is the worker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traces {
    /// The worker's name, which its directory has too.
    pub(crate) worker: String,
    /// What the mark of each of its trainers begins with.
    pub(crate) mark: String,
    /// The cgroup below which the worker makes those of its slots.
    pub(crate) cgroups: Option<PathBuf>,
    /// It was started by a `gridctl run`, and ends with that.
    pub(crate) of_a_run: bool,
}

impl Traces {
    pub(crate) fn to_note(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The note in the marker of the directory `dir`; `None` for one that does not fit.
    fn parse(dir: &Path, note: &str) -> Option<Self> {
        let traces: Self = serde_json::from_str(note).ok()?;
        let name = dir.file_name()?.to_str()?;
        let fits = traces.worker == name && traces.mark.ends_with(&format!("/{name}"));
        fits.then_some(traces)
    }
}

/// What was found of other workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndedLeftovers {
    /// Processes of dead workers' trainers that had to be ended.
    pub processes: usize,
    /// Workers that live.
    pub living: usize,
    /// Directories of dead workers that could not be removed, with the reason.
    pub stuck: Vec<(PathBuf, String)>,
}

/// Ends what dead workers below `work` left, and removes their directories.
pub fn end_dead(work: &Path) -> EndedLeftovers {
    end(work, false)
}

/// As [`end_dead`], and ends the trainers of workers that an earlier `gridctl run` started. For who
/// holds the lock of the data directory that `work` belongs to: that run is dead then, and its
/// workers, if they live, are about to end.
pub fn end_dead_and_runs(work: &Path) -> EndedLeftovers {
    end(work, true)
}

/// The names of the workers below `work` that live.
#[cfg(feature = "docker")]
pub(crate) fn living(work: &Path) -> Vec<String> {
    let found = found_in(work, |name| name.parse::<WorkerId>().is_ok());
    let names = found.into_iter().filter_map(|found| match found {
        Found::Held { path, .. } => Some(path.file_name()?.to_str()?.to_owned()),
        Found::Abandoned(_) => None,
    });
    names.collect()
}

fn end(work: &Path, runs_are_dead: bool) -> EndedLeftovers {
    let mut ended = EndedLeftovers::default();
    for found in found_in(work, |name| name.parse::<WorkerId>().is_ok()) {
        match found {
            Found::Abandoned(owned) => {
                let dir = owned.path().to_owned();
                match Traces::parse(&dir, owned.note()) {
                    Some(traces) => {
                        ended.processes += marks::end_marked(&traces.mark).len();
                        if let Some(parent) = &traces.cgroups {
                            cgroup::end_left(parent, &traces.worker);
                        }
                    }
                    // Its worker was killed before it could write it, or start anything.
                    None if owned.note().is_empty() => {}
                    // A newer gridctl's.
                    None => continue,
                }
                if let Err(error) = owned.remove() {
                    ended.stuck.push((dir, error.to_string()));
                }
            }
            Found::Held { path, note } => match Traces::parse(&path, &note) {
                Some(traces) if runs_are_dead && traces.of_a_run => {
                    ended.processes += marks::end_marked(&traces.mark).len();
                }
                _ => ended.living += 1,
            },
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::fs;

    use gridctl_storage::owned::{MARKER, OwnedDir};

    use super::*;

    #[test]
    fn what_a_worker_left_that_was_killed_before_it_could_say_who_it_is_goes() {
        let work = tempfile::tempdir().unwrap();
        let [killed, newer] = ["abcdefgh", "abcdefgj"].map(|name| work.path().join(name));
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(MARKER), "").unwrap();
        drop(OwnedDir::make(&newer, "another note").unwrap());
        assert_eq!(end_dead(work.path()), EndedLeftovers::default());
        assert!(!killed.exists());
        assert!(newer.exists());
    }

    #[test]
    fn a_note_counts_only_in_the_directory_of_the_worker_that_it_names() {
        let traces = |worker: &str, mark: &str| Traces {
            worker: worker.to_owned(),
            mark: mark.to_owned(),
            cgroups: None,
            of_a_run: false,
        };
        let dir = Path::new("/work/abcdefgh");
        let good = traces("abcdefgh", "data/abcdefgh");
        assert_eq!(Traces::parse(dir, &good.to_note()), Some(good));
        for bad in [traces("abcdefgi", "data/abcdefgi"), traces("abcdefgh", "data"), traces("abcdefgh", "")] {
            assert_eq!(Traces::parse(dir, &bad.to_note()), None, "{bad:?}");
        }
        assert_eq!(Traces::parse(dir, ""), None);
    }
}
