//! Which files of a workdir are a sweep's code, as far as their names tell, and which of them
//! changed while attempts ran.
//! Invariant: what the command names is code, whatever it is called.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::LeaseSeq;
use crate::spec::{AxisValues, SweepSpec};
use crate::value::Value;

/// Directories of caches, of version control and of what trackers log: no code, wherever they are.
pub const CACHES: [&str; 20] = [
    "gridctl-data",
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".ipynb_checkpoints",
    ".cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".venv",
    "venv",
    "node_modules",
    "mlruns",
    "wandb",
    "lightning_logs",
    ".aim",
    ".neptune",
    ".hydra",
];

/// Endings of names of files that people write and programs read: such a file is code though it
/// changed while attempts ran.
const SOURCES: [&str; 44] = [
    "bash", "c", "cc", "cfg", "cl", "conf", "cpp", "cs", "cu", "cuh", "cxx", "f90", "gin", "go", "gradle",
    "h", "hpp", "hs", "ini", "j2", "java", "jl", "js", "kt", "lua", "m", "mjs", "ml", "nim", "php", "pl",
    "proto", "pxd", "py", "pyx", "r", "rb", "rs", "scala", "sh", "swift", "toml", "ts", "zig",
];
/// The same, for sweeps' and programs' settings.
const SETTINGS: [&str; 4] = ["yaml", "yml", "zsh", "fish"];
/// Whole names of files of the same kind.
const NAMES: [&str; 4] = ["makefile", "dockerfile", "justfile", "cmakelists.txt"];

/// Whether a file of this name is source text.
#[must_use]
pub fn is_source(path: &str) -> bool {
    let (name, ending) = parts(path);
    SOURCES.contains(&&*ending) || SETTINGS.contains(&&*ending) || NAMES.contains(&&*name)
}

/// Whether a file of this name is for people alone: Markdown, or a notebook, whose outputs are in
/// it.
#[must_use]
pub fn is_prose(path: &str) -> bool {
    ["md", "markdown", "ipynb"].contains(&&*parts(path).1)
}

/// The name of the file and what stands after its last dot, both in lower case.
fn parts(path: &str) -> (String, String) {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_owned();
    (name, ending)
}

/// The files that a sweep's command names, or a value of its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedFiles(BTreeSet<String>);

impl NamedFiles {
    /// Every word that may be a file's name.
    #[must_use]
    pub fn of(spec: &SweepSpec) -> Self {
        let listed = spec.axes.iter().filter_map(|axis| match &axis.values {
            AxisValues::List(values) => Some(values),
            _ => None,
        });
        let values = listed.flatten().filter_map(|value| match value {
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        });
        let texts = spec.command.iter().chain(&spec.program).map(String::as_str).chain(values);
        let ends = |c: char| c.is_whitespace() || "'\"`=:;,&|<>(){}$".contains(c);
        Self(texts.flat_map(|text| text.split(ends)).filter_map(relative).collect())
    }

    /// Them, in the order of the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether the file at this path, relative to the workdir, is named.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.0.contains(path)
            || self.0.iter().any(|named| {
                named.starts_with('/') && named.strip_suffix(path).is_some_and(|dir| dir.ends_with('/'))
            })
    }
}

/// The path less `./` and doubled strokes; none if nothing is left.
fn relative(word: &str) -> Option<String> {
    let parts: Vec<&str> = word.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let start = if word.starts_with('/') { "/" } else { "" };
    (!parts.is_empty()).then(|| format!("{start}{}", parts.join("/")))
}

/// A file of the workdir that changed while an attempt ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path, relative to the workdir.
    pub path: String,
    /// Another attempt ran as well when it changed.
    pub shared: bool,
}

/// When a file changed or an attempt began or ended, by the clock that stamps files: nanoseconds
/// since 1970.
pub type FileTime = i128;

/// So many ended attempts are remembered from one look to the next.
const MOST_ENDED: usize = 256;
/// So many files are remembered as told.
const MOST_TOLD: usize = 4_096;
/// So many changes are told at once.
pub const MOST_CHANGES: usize = 16;

/// When an attempt began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Exactly.
    pub at: FileTime,
    /// The last tick before that: a file that changes at once may be stamped with it.
    pub tick: FileTime,
}

/// What a worker knows of the attempts that run in one workdir, so that it can tell which files
/// changed meanwhile.
#[derive(Debug, Default)]
pub struct WorkdirWatch {
    /// Attempts that go on.
    running: BTreeMap<LeaseSeq, Begun>,
    /// Attempts that have ended since the last look, and when.
    ended: Vec<(Begun, FileTime)>,
    /// Changes that were told, by path.
    told: BTreeMap<String, FileTime>,
}

impl WorkdirWatch {
    /// An attempt begins.
    pub fn begin(&mut self, lease: LeaseSeq, begun: Begun) {
        self.running.insert(lease, begun);
    }

    /// An attempt has ended.
    pub fn end(&mut self, lease: LeaseSeq, now: FileTime) {
        if let Some(begun) = self.running.remove(&lease)
            && self.ended.len() < MOST_ENDED
        {
            self.ended.push((begun, now));
        }
    }

    /// Takes what a look at the workdir, begun at `from`, has found: paths with the time of each
    /// one's last change, and returns those that changed while an attempt ran, each change once;
    /// those that changed while several ran come first.
    pub fn look(
        &mut self,
        from: FileTime,
        found: impl IntoIterator<Item = (String, FileTime)>,
    ) -> Vec<FileChange> {
        let mut changes = Vec::new();
        for (path, changed) in found {
            if self.told.get(&path) == Some(&changed) {
                continue;
            }
            let running = self.running.values().copied();
            let ended = self.ended.iter().filter(|(_, end)| changed <= *end).map(|(begun, _)| *begun);
            let begun: Vec<Begun> = running.chain(ended).filter(|begun| begun.tick <= changed).collect();
            if !begun.is_empty() {
                // What one attempt wrote at its end is no change in the one that followed at once.
                let shared = begun.iter().filter(|begun| begun.at < changed).count() > 1;
                changes.push((changed, FileChange { path, shared }));
            }
        }
        self.ended.retain(|(_, end)| *end >= from);
        changes.sort_by(|(_, one), (_, other)| (!one.shared, &one.path).cmp(&(!other.shared, &other.path)));
        changes.truncate(MOST_CHANGES);
        if self.told.len() + changes.len() > MOST_TOLD {
            self.told.clear();
        }
        self.told.extend(changes.iter().map(|(changed, change)| (change.path.clone(), *changed)));
        changes.into_iter().map(|(_, change)| change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, shared: bool) -> FileChange {
        FileChange { path: path.to_owned(), shared }
    }

    #[test]
    fn a_name_tells_source_from_prose_and_from_the_rest() {
        let cases = [
            ("train.py", true, false),
            ("a/b/Model.R", true, false),
            ("Makefile", true, false),
            ("conf/x.yaml", true, false),
            ("README.md", false, true),
            ("nb/Explore.ipynb", false, true),
            ("results.csv", false, false),
            ("log", false, false),
            ("py", false, false),
        ];
        for (path, source, prose) in cases {
            assert_eq!((is_source(path), is_prose(path)), (source, prose), "{path}");
        }
    }

    #[test]
    fn a_command_names_its_files() {
        let file = "command: [sh, -c, 'python ./a.py <in/x.csv; b --data=big.bin', /w/lib/c.dat]\n\
                    parameters: {conf: {values: [p.json, q.json]}, n: {values: [1, 2]}}\n";
        let spec = crate::spec::parse(file.as_bytes(), &crate::spec::Context { file_stem: "s", count: None })
            .unwrap()
            .spec;
        let named = NamedFiles::of(&spec);
        for path in ["a.py", "in/x.csv", "big.bin", "lib/c.dat", "p.json", "q.json"] {
            assert!(named.has(path), "{path}");
        }
        for path in ["x.csv", "in", "c", "dat", "results.csv", "1"] {
            assert!(!named.has(path), "{path}");
        }
    }

    #[test]
    fn a_change_is_told_once_and_with_how_many_ran() {
        let mut watch = WorkdirWatch::default();
        let found = |files: &[(&str, FileTime)]| {
            files.iter().map(|(path, at)| ((*path).to_owned(), *at)).collect::<Vec<_>>()
        };
        watch.begin(LeaseSeq(1), Begun { at: 104, tick: 100 });
        watch.begin(LeaseSeq(2), Begun { at: 200, tick: 200 });
        let before = found(&[("old", 99), ("tick", 100), ("one", 200), ("both", 201)]);
        assert_eq!(
            watch.look(200, before.clone()),
            [change("both", true), change("one", false), change("tick", false)]
        );
        assert_eq!(watch.look(200, before), []);
        watch.end(LeaseSeq(1), 300);
        let after = found(&[("both", 301), ("one", 300), ("late", 250)]);
        assert_eq!(
            watch.look(302, after),
            [change("late", true), change("one", true), change("both", false)]
        );
        watch.end(LeaseSeq(2), 400);
        assert_eq!(watch.look(402, found(&[("one", 401)])), [], "nothing ran");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut watch = WorkdirWatch::default();
        for n in 0..10_000 {
            watch.begin(LeaseSeq(n), Begun { at: 0, tick: 0 });
            watch.end(LeaseSeq(n), 10);
            watch.begin(LeaseSeq(n + 10_000), Begun { at: 0, tick: 0 });
            assert!(watch.look(11, [(format!("f{n}"), 5)]).len() <= MOST_CHANGES);
            watch.end(LeaseSeq(n + 10_000), 10);
        }
        assert!(watch.told.len() <= MOST_TOLD && watch.ended.len() <= MOST_ENDED);
    }
}
