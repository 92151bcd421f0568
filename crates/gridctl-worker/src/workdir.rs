//! Looks at the workdirs that attempts share: which files change while attempts run there.
//! Invariant: a look is bounded, looks take at most a fiftieth of a worker's time, and none is
//! taken on the thread that keeps leases.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridctl_core::code::{Begun, CACHES, FileChange, FileTime, WorkdirWatch};
use gridctl_core::id::LeaseSeq;

use crate::clock;

/// So many entries of a directory are looked at, those near its top first.
const MOST_ENTRIES: usize = 4_096;
/// After a look, so many times as long passes before the next.
const REST: i128 = 50;
/// So many workdirs are watched at once.
const MOST_DIRS: usize = 16;

/// The workdirs of a worker's attempts.
#[derive(Debug)]
pub(crate) struct Workdirs {
    /// Directories that are not looked at: what gridctl itself writes.
    apart: Vec<PathBuf>,
    /// Files, by device and inode, that gridctl's own output goes to.
    own_output: Vec<(u64, u64)>,
    watched: Mutex<BTreeMap<PathBuf, Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    watch: WorkdirWatch,
    /// How many attempts run there.
    running: usize,
    /// A look is being taken.
    looking: bool,
    /// When the next look is due.
    due: FileTime,
}

impl Workdirs {
    pub(crate) fn new(apart: Vec<PathBuf>, own_output: Vec<(u64, u64)>) -> Self {
        Self { apart, own_output, watched: Mutex::default() }
    }

    /// Directories that are no part of any workdir.
    pub(crate) fn apart(&self) -> &[PathBuf] {
        &self.apart
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt begins in `dir`, and stays there until what this returns is dropped.
    pub(crate) fn enter(self: &Arc<Self>, dir: &Path, lease: LeaseSeq) -> WorkdirStay {
        let mut watched = self.watched();
        if watched.len() >= MOST_DIRS && !watched.contains_key(dir) {
            watched.retain(|_, watched| watched.running > 0 || watched.looking);
        }
        let entry = watched.entry(dir.to_owned()).or_default();
        entry.running += 1;
        entry.watch.begin(lease, Begun { tick: clock::file_tick(), at: clock::file_time() });
        drop(watched);
        WorkdirStay { workdirs: Arc::clone(self), dir: dir.to_owned(), lease }
    }

    /// Whether a look at `dir` is due; whoever is told so takes it.
    pub(crate) fn claim_look(&self, dir: &Path) -> bool {
        let mut watched = self.watched();
        let Some(watched) = watched.get_mut(dir) else { return false };
        let due = !watched.looking && clock::file_time() >= watched.due;
        watched.looking |= due;
        due
    }

    /// Takes the look that was claimed, at all but what lies `apart`.
    pub(crate) async fn look(self: &Arc<Self>, dir: PathBuf, apart: Vec<PathBuf>) -> Vec<FileChange> {
        let workdirs = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            let from = clock::file_time();
            let files = workdirs.files(&dir, &apart);
            let took = clock::file_time() - from;
            let mut watched = workdirs.watched();
            let Some(watched) = watched.get_mut(&dir) else { return Vec::new() };
            (watched.looking, watched.due) = (false, clock::file_time() + took.max(0) * REST);
            watched.watch.look(from, files)
        });
        // A look that fails shows nothing.
        looked.await.unwrap_or_default()
    }

    /// Files below `dir`, relative to it, and when each was changed last.
    fn files(&self, dir: &Path, apart: &[PathBuf]) -> Vec<(String, FileTime)> {
        let mut files = Vec::new();
        let mut dirs = VecDeque::from([dir.to_owned()]);
        let mut left = MOST_ENTRIES;
        while let Some(next) = dirs.pop_front() {
            for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
                if left == 0 {
                    return files;
                }
                left -= 1;
                let path = entry.path();
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                let name = entry.file_name();
                if meta.is_dir() {
                    let name = name.to_string_lossy();
                    let is_cache = name.starts_with('.') || CACHES.contains(&&*name);
                    if !is_cache && ![apart, &self.apart].iter().any(|dirs| dirs.contains(&path)) {
                        dirs.push_back(path);
                    }
                } else if meta.is_file()
                    && !self.own_output.contains(&(meta.dev(), meta.ino()))
                    && !is_passing(&name.to_string_lossy())
                    && let Ok(relative) = path.strip_prefix(dir)
                {
                    let at = FileTime::from(meta.ctime()) * 1_000_000_000 + FileTime::from(meta.ctime_nsec());
                    files.push((relative.to_string_lossy().into_owned(), at));
                }
            }
        }
        files
    }
}

/// Files that are made in order not to disturb others, and what Python compiles.
fn is_passing(name: &str) -> bool {
    [".lock", ".pyc", ".pid", ".swp"].iter().any(|end| name.ends_with(end))
}

/// The time that an attempt spends in its workdir.
#[derive(Debug)]
pub(crate) struct WorkdirStay {
    workdirs: Arc<Workdirs>,
    dir: PathBuf,
    lease: LeaseSeq,
}

impl Drop for WorkdirStay {
    fn drop(&mut self) {
        if let Some(watched) = self.workdirs.watched().get_mut(&self.dir) {
            watched.running -= 1;
            watched.watch.end(self.lease, clock::file_time());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gridctl_and_caches_write_is_not_looked_at() {
        let temp = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = temp.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for path in [
            "a",
            "sub/b",
            "sub/.git/c",
            ".config/h",
            "data/d",
            "wandb/e",
            "f.lock",
            "log.txt",
            "x.pyc",
            "out/g",
        ] {
            put(path);
        }
        let log = fs::metadata(temp.path().join("log.txt")).unwrap();
        let workdirs = Workdirs::new(vec![temp.path().join("data")], vec![(log.dev(), log.ino())]);
        let mut found: Vec<String> = workdirs
            .files(temp.path(), &[temp.path().join("out")])
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        found.sort();
        assert_eq!(found, ["a", "sub/b"]);
        (0..MOST_ENTRIES).for_each(|n| put(&format!("many/{n}")));
        assert!(workdirs.files(temp.path(), &["/out".into()]).len() < MOST_ENTRIES, "a look is bounded");
    }

    #[tokio::test]
    async fn a_file_that_changes_while_two_attempts_run_is_told_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let write = |name: &str| {
            fs::write(dir.join(name), "y").unwrap();
            let meta = fs::metadata(dir.join(name)).unwrap();
            FileTime::from(meta.ctime()) * 1_000_000_000 + FileTime::from(meta.ctime_nsec())
        };
        // The clock that stamps files goes by ticks of some milliseconds.
        let before = write("before");
        while clock::file_tick() <= before {}
        let workdirs = Arc::new(Workdirs::new(Vec::new(), Vec::new()));
        assert!(!workdirs.claim_look(dir), "nobody was there");
        let first = workdirs.enter(dir, LeaseSeq(1));
        let second = workdirs.enter(dir, LeaseSeq(2));
        let begun = clock::file_time();
        while write("scores") <= begun {}
        drop(first);
        assert!(workdirs.claim_look(dir) && !workdirs.claim_look(dir), "one looks at a time");
        let changes = workdirs.look(dir.to_owned(), vec!["/out".into()]).await;
        assert_eq!(changes, [FileChange { path: "scores".to_owned(), shared: true }]);
        assert_eq!(workdirs.look(dir.to_owned(), vec!["/out".into()]).await, []);
        drop(second);
    }
}
