//! The code of a sweep: which files of the working directory count, and what they hash to.
//! Invariant: what gridctl and trainers write beside the code (results, caches, logs of trackers, its own redirected output) never counts, nor
//! does any sweep file, any notebook or Markdown; but what the command names does.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use gridctl_core::code::{NamedFiles, is_prose, is_source};
use gridctl_worker::isolate::{WorkdirWalk, walk, walk_packed};

use crate::exit::Failure;
use crate::input::reason;
use crate::own_output;

/// More than this is likely data, which takes long to look through at each start.
const MANY_FILES: usize = 50_000;
const MANY_BYTES: u64 = 1_000_000_000;
/// A larger file is no sweep file.
const SWEEP_FILE_BYTES: u64 = gridctl_core::spec::limits::FILE_BYTES as u64;

/// What a working directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HashedWorkdir {
    /// Relative path and hash, sorted by path.
    pub(crate) files: Vec<(String, String)>,
    /// Bytes in all.
    pub(crate) bytes: u64,
}

impl HashedWorkdir {
    /// The hash of it all.
    pub(crate) fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for (path, content) in &self.files {
            hash.update(&(path.len() as u64).to_le_bytes())
                .update(path.as_bytes())
                .update(content.as_bytes());
        }
        hash.finalize().to_hex().as_str()[..32].to_owned()
    }

    /// What to tell the person about its size, if anything.
    pub(crate) fn is_large(&self) -> Option<String> {
        (self.files.len() > MANY_FILES || self.bytes > MANY_BYTES)
            .then(|| format!("{} files, {} MB", self.files.len(), self.bytes / 1_000_000))
    }
}

/// Hashes the files of `dir`, less those that say what is left out themselves, and less what `.gitignore`, `.gridctlignore`, the fixed list and `apart` (absolute directories:
/// results and data are not code) leave out. Files that the command names, `named`, count whatever
/// they are called.
pub(crate) fn hash(dir: &Path, apart: &[PathBuf], named: &NamedFiles) -> Result<HashedWorkdir, Failure> {
    hash_walked(dir, walk(dir, apart), named)
}

/// The same of a workdir that is to be packed: what lies in it alone says what is left out.
pub(crate) fn hash_packed(
    dir: &Path,
    apart: &[PathBuf],
    named: &NamedFiles,
) -> Result<HashedWorkdir, Failure> {
    hash_walked(dir, walk_packed(dir, apart), named)
}

fn hash_walked(dir: &Path, walk: WorkdirWalk, named: &NamedFiles) -> Result<HashedWorkdir, Failure> {
    let fail = |path: &Path, error: &io::Error| {
        Failure::error("workdir", format!("cannot read {}: {}", path.display(), reason(error)))
            .help("make it readable, or name it in .gridctlignore if it is no part of the code")
    };
    let written = own_output::files_of(rustix::process::getpid());
    let mut hashed = HashedWorkdir::default();
    for entry in walk {
        let entry = entry.map_err(|error| {
            let error = error.into_io_error().unwrap_or_else(|| io::Error::other("unreadable"));
            fail(dir, &error)
        })?;
        let path = entry.path();
        let Some(kind) = entry.file_type() else { continue };
        let content = if kind.is_symlink() {
            let behind = sources_behind(dir, path, named);
            let is_source = behind.iter().any(|(source, _)| source == path);
            hashed
                .files
                .extend(behind.into_iter().map(|(source, content)| (relative(dir, &source), content)));
            if is_source {
                continue;
            }
            let target = fs::read_link(path).map_err(|error| fail(path, &error))?;
            hex(blake3::hash(target.as_os_str().as_encoded_bytes()))
        } else if kind.is_file() {
            let place = entry.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
            let is_output = place.is_some_and(|place| written.contains(&place));
            let name = relative(dir, path);
            if is_output || is_sweep_file(path) || (is_prose(&name) && !named.has(&name)) {
                continue;
            }
            let (content, bytes) = hash_file(path).map_err(|error| fail(path, &error))?;
            hashed.bytes += bytes;
            content
        } else {
            continue;
        };
        hashed.files.push((relative(dir, path), content));
    }
    hashed.files.sort_unstable();
    Ok(hashed)
}

/// The programs and settings that `link` in `dir` leads to, and their hashes. What else is behind a
/// link is likely data, or what trials write; what cannot be read there is no code.
fn sources_behind(dir: &Path, link: &Path, named: &NamedFiles) -> Vec<(PathBuf, String)> {
    let (Ok(dir_itself), Ok(target)) = (dir.canonicalize(), link.canonicalize()) else { return Vec::new() };
    // Within the workdir it is looked at anyway, and a directory above holds the workdir itself.
    if target.starts_with(&dir_itself) || dir_itself.starts_with(&target) {
        return Vec::new();
    }
    let counts = |path: &Path| {
        let name = relative(dir, path);
        path.is_file() && (is_source(&name) || named.has(&name)) && !is_sweep_file(path)
    };
    let behind: Vec<PathBuf> = match target.is_dir() {
        true => walk(link, &[]).flatten().take(MANY_FILES).map(|entry| entry.into_path()).collect(),
        false => vec![link.to_owned()],
    };
    let hashed = behind.into_iter().filter(|path| counts(path));
    hashed.filter_map(|path| hash_file(&path).ok().map(|(content, _)| (path, content))).collect()
}

fn relative(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned()
}

/// The files below `dir` that count, less those of sweeps, as far as they can be read; in no order.
pub(crate) fn code_files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = walk(dir, &[]).flatten().take(MANY_FILES);
    let files = entries.filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    files.map(|entry| entry.into_path()).filter(|path| !is_sweep_file(path))
}

fn hash_file(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex(hash.finalize()), bytes));
        }
        bytes += n as u64;
        hash.update(&buffer[..n]);
    }
}

fn hex(hash: blake3::Hash) -> String {
    hash.to_hex().as_str()[..16].to_owned()
}

/// Whether a file is a sweep file, which a person edits without changing the code: YAML or JSON with `parameters` at its top.
fn is_sweep_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !matches!(extension, "yaml" | "yml" | "json") {
        return false;
    }
    let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= SWEEP_FILE_BYTES);
    let text = if small { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    if extension == "json" {
        return text.contains("\"parameters\"");
    }
    text.lines().any(|line| line.trim_start_matches('\u{feff}').starts_with("parameters:"))
}

/// What the data is, as far as names, sizes and times tell: a hash that changes with them.
pub(crate) fn data_version(path: &Path) -> Result<String, Failure> {
    let fail = |path: &Path, error: &io::Error| {
        Failure::usage("sweep::data", format!("cannot read the data {}: {}", path.display(), reason(error)))
            .help("`data:` names a file or a directory, relative to the sweep file")
    };
    let mut entries: Vec<(String, u64, i128)> = Vec::new();
    let mut dirs: Vec<PathBuf> = vec![path.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(next) = dirs.pop() {
        let metadata = fs::metadata(&next).map_err(|error| fail(&next, &error))?;
        if !metadata.is_dir() {
            entries.push(listed(path, &next, &metadata));
            continue;
        }
        // Links may lead in circles.
        if !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        for entry in fs::read_dir(&next).map_err(|error| fail(&next, &error))? {
            let entry = entry.map_err(|error| fail(&next, &error))?.path();
            match fs::metadata(&entry).or_else(|_| fs::symlink_metadata(&entry)) {
                Ok(metadata) if metadata.is_dir() => dirs.push(entry),
                Ok(metadata) => entries.push(listed(path, &entry, &metadata)),
                Err(error) => return Err(fail(&entry, &error)),
            }
        }
    }
    entries.sort_unstable();
    let mut hash = blake3::Hasher::new();
    for (name, bytes, modified) in entries {
        hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hash.update(&bytes.to_le_bytes()).update(&modified.to_le_bytes());
    }
    Ok(hex(hash.finalize()))
}

fn listed(root: &Path, path: &Path, metadata: &fs::Metadata) -> (String, u64, i128) {
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    (name, metadata.len(), i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use gridctl_core::spec::Context;

    use super::*;

    #[test]
    fn only_code_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("train.py", "print(1)");
        put("lib/model.py", "x");
        put(".env", "A=1");
        put(".gitignore", "out/\n");
        put(".gridctlignore", "*.big\n");
        put("named.md", "x");
        let named = "command: [md, named.md]\nparameters: {x: {value: 1}}\n";
        let named =
            gridctl_core::spec::parse(named.as_bytes(), &Context { file_stem: "s", count: None }).unwrap();
        let named = NamedFiles::of(&named.spec);
        let counted = hash(root.path(), &[root.path().join("kept")], &named).unwrap();
        let names: Vec<&str> = counted.files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, [".env", "lib/model.py", "named.md", "train.py"]);
        for (path, text) in [
            ("out/result", "y"),
            ("weights.big", "y"),
            ("kept/records/1.jsonl", "y"),
            ("gridctl-data/journal.sqlite", "y"),
            (".git/HEAD", "y"),
            ("__pycache__/train.pyc", "y"),
            ("wandb/run/log", "y"),
            ("README.md", "y"),
            ("lib/Explore.ipynb", "y"),
            (".ruff_cache/x", "y"),
            ("other.yaml", "name: x\nparameters: {}\n"),
            ("other.json", "{\"parameters\": {}}"),
        ] {
            put(path, text);
            assert_eq!(hash(root.path(), &[root.path().join("kept")], &named).unwrap(), counted, "{path}");
        }
        put("config.yaml", "model:\n  parameters: 3\n");
        put("train.py", "print(2)");
        fs::remove_file(root.path().join("lib/model.py")).unwrap();
        let after = hash(root.path(), &[root.path().join("kept")], &named).unwrap();
        assert_ne!(after.digest(), counted.digest());
        assert!(after.files.iter().any(|(path, _)| path == "config.yaml"));
    }

    #[test]
    fn code_and_data_behind_links_count() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.path().join(at)).unwrap();
        for (path, text) in
            [("lib/util.py", "1"), ("pkg/deep/m.py", "1"), ("pkg/big.bin", "1"), ("work/t.py", "1")]
        {
            put(path, text);
        }
        link("../lib/util.py", "work/util.py");
        link("../pkg", "work/pkg");
        link("..", "work/above");
        link("gone", "work/dangling");
        let dir = root.path().join("work");
        let look = || hash(&dir, &[], &NamedFiles::default()).unwrap();
        let first = look();
        let names: Vec<&str> = first.files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, ["above", "dangling", "pkg", "pkg/deep/m.py", "t.py", "util.py"]);
        put("pkg/big.bin", "2");
        assert_eq!(look(), first);
        let mut last = first;
        for path in ["lib/util.py", "pkg/deep/m.py"] {
            put(path, "2");
            let now = look();
            assert_ne!(now.digest(), last.digest(), "{path}");
            last = now;
        }
        let version = data_version(&dir).unwrap();
        put("pkg/big.bin", "longer");
        assert_ne!(data_version(&dir).unwrap(), version);
    }

    #[test]
    fn the_data_version_changes_with_names_sizes_and_times() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir_all(data.join("a")).unwrap();
        fs::write(data.join("a/x.csv"), "1").unwrap();
        let first = data_version(&data).unwrap();
        assert_eq!(data_version(&data).unwrap(), first);
        fs::write(data.join("a/x.csv"), "12").unwrap();
        let second = data_version(&data).unwrap();
        assert_ne!(second, first);
        fs::rename(data.join("a/x.csv"), data.join("a/y.csv")).unwrap();
        assert_ne!(data_version(&data).unwrap(), second);
        assert!(data_version(&root.path().join("nothing")).is_err());
    }
}
