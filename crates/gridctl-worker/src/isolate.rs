//! Copies of a workdir, one for each attempt of an isolated sweep.
//! Invariant: an attempt begins with the workdir as it is then, whatever attempts before it did in
//! the same copy; and nothing is written to the workdir itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use gridctl_core::code::CACHES;
use gridctl_storage::owned::remove_tree;
use gridctl_storage::shared_dirs::is_shared;
use ignore::{DirEntry, WalkBuilder};

use crate::scratch::{Owner, named};

/// Directories that a copy has as links: environments, version control, and what trackers keep.
const LINKED: [&str; 7] = [".git", ".hg", ".venv", "venv", "node_modules", "wandb", "mlruns"];

/// The entries of a workdir, one after the other.
pub type WorkdirWalk = ignore::Walk;

/// A walk through what belongs to a workdir: everything less `apart` (absolute paths), caches, and
/// what `.gitignore` and `.gridctlignore` leave out.
pub fn walk(dir: &Path, apart: &[PathBuf]) -> WorkdirWalk {
    let mut builder = WalkBuilder::new(dir);
    builder.hidden(false).require_git(false).git_global(false).add_custom_ignore_filename(".gridctlignore");
    belonging(builder, apart)
}

/// The same, where no ignore file counts that is not in the workdir itself: whoever has the workdir
/// alone finds the same.
pub fn walk_packed(dir: &Path, apart: &[PathBuf]) -> WorkdirWalk {
    let mut builder = WalkBuilder::new(dir);
    builder
        .hidden(false)
        .require_git(false)
        .git_global(false)
        .parents(false)
        .add_custom_ignore_filename(".gridctlignore")
        .sort_by_file_name(std::cmp::Ord::cmp);
    belonging(builder, apart)
}

/// The same, where no ignore file counts at all: in what was unpacked.
fn walk_unpacked(dir: &Path, apart: &[PathBuf]) -> WorkdirWalk {
    let mut builder = WalkBuilder::new(dir);
    builder.standard_filters(false);
    belonging(builder, apart)
}

fn belonging(mut builder: WalkBuilder, apart: &[PathBuf]) -> WorkdirWalk {
    let apart = apart.to_vec();
    builder
        .filter_entry(move |entry| {
            belongs(entry) && (entry.depth() == 0 || !apart.iter().any(|path| path == entry.path()))
        })
        .build()
}

fn belongs(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    match entry.file_type() {
        Some(kind) if kind.is_dir() => !CACHES.contains(&&*name) || entry.depth() == 0,
        _ => !name.ends_with(".pyc") && name != ".gitignore" && name != ".gridctlignore",
    }
}

/// What a copy of a workdir holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// By path relative to the workdir; a directory comes before what is in it.
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// A directory, and its mode.
    Dir(u32),
    File(Stamp),
    /// A symbolic link, and where it leads in a copy.
    Link(PathBuf),
}

/// How a file was when it was looked at; different as soon as it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode() & 0o7777,
        }
    }
}

impl Contents {
    /// What a copy of `dir` holds now. Of `data`, if that is a directory in it, the copy has a
    /// link.
    ///
    /// # Errors
    /// As the system says, naming what cannot be read.
    pub fn of(dir: &Path, apart: &[PathBuf], data: Option<&Path>) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let skipped: Vec<PathBuf> = apart.iter().cloned().chain(data.map(Path::to_owned)).collect();
        let walk = if is_shared(dir) { walk_unpacked(dir, &skipped) } else { walk(dir, &skipped) };
        for entry in walk {
            let entry = entry.map_err(io::Error::other)?;
            let path = entry.path();
            let Ok(relative) = path.strip_prefix(dir) else { continue };
            if relative.as_os_str().is_empty() {
                continue;
            }
            let meta = named(path, fs::symlink_metadata(path))?;
            let kind = if meta.is_dir() {
                Entry::Dir(meta.mode() & 0o777)
            } else if meta.is_file() {
                Entry::File(Stamp::of(&meta))
            } else if meta.is_symlink() {
                Entry::Link(led(dir, relative, &named(path, fs::read_link(path))?))
            } else {
                continue;
            };
            entries.insert(relative.to_owned(), kind);
        }
        let linked = LINKED.iter().map(|name| dir.join(name)).filter(|path| path.is_dir());
        let data = data.filter(|path| *path != dir).map(Path::to_owned);
        for path in linked.chain(data) {
            let Ok(relative) = path.strip_prefix(dir) else { continue };
            for above in relative.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                entries.entry(above.to_owned()).or_insert(Entry::Dir(0o755));
            }
            entries.insert(relative.to_owned(), Entry::Link(path.clone()));
        }
        Ok(Self { entries })
    }

    /// A link to `from`, if there is one, leads to `to` instead: there is where the attempt sees it.
    pub(crate) fn lead(&mut self, from: &Path, to: &Path) {
        for entry in self.entries.values_mut() {
            if let Entry::Link(target) = entry
                && target == from
            {
                to.clone_into(target);
            }
        }
    }

    /// How many files there are, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        let files = self.entries.values().filter_map(|entry| match entry {
            Entry::File(stamp) => Some(stamp.size),
            Entry::Dir(_) | Entry::Link(_) => None,
        });
        files.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }

    /// What stands in `dir` itself and is not in a copy because ignore rules leave it out, by name.
    #[must_use]
    pub fn left_out(&self, dir: &Path, apart: &[PathBuf]) -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let is_left_out = |name: &OsStr| {
            let text = name.to_string_lossy();
            let is_rule = text == ".gitignore" || text == ".gridctlignore" || text.ends_with(".pyc");
            !self.entries.contains_key(Path::new(name))
                && !is_rule
                && !CACHES.contains(&&*text)
                && !apart.contains(&dir.join(name))
        };
        let names = entries.map(|entry| entry.file_name()).filter(|name| is_left_out(name));
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Where the link at `relative`, which says `target`, leads in a copy: one within the workdir stays
/// within the copy, any other leads where it led.
#[must_use]
pub fn led(dir: &Path, relative: &Path, target: &Path) -> PathBuf {
    let above = relative.parent().unwrap_or(Path::new(""));
    let mut whole = PathBuf::new();
    for part in dir.join(above).join(target).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                whole.pop();
            }
            part => whole.push(part),
        }
    }
    match whole.strip_prefix(dir) {
        Ok(within) => {
            let up: PathBuf = above.components().map(|_| "..").collect();
            let path = up.join(within);
            if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
        }
        Err(_) => whole,
    }
}

/// A copy of a workdir that is made as good as new for each attempt: what the last one changed is
/// copied again, what it made is removed.
#[derive(Debug)]
pub(crate) struct IsolatedCopy {
    root: PathBuf,
    /// Who is to write there, where that is not this process's own user.
    owner: Option<Owner>,
    /// Files as they were in the workdir and in the copy when they were copied.
    copied: BTreeMap<PathBuf, (Stamp, Stamp)>,
    /// How often it was begun elsewhere, since something could not be removed.
    moves: u64,
}

impl IsolatedCopy {
    /// None yet, at `root`, which is made.
    pub(crate) fn new(root: PathBuf, owner: Option<Owner>) -> Self {
        Self { root, owner, copied: BTreeMap::new(), moves: 0 }
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes it a copy of `dir`.
    ///
    /// # Errors
    /// As the system says, naming the path.
    pub(crate) fn refresh(&mut self, dir: &Path, contents: &Contents) -> io::Result<()> {
        if self.bring(dir, contents).is_ok() {
            return Ok(());
        }
        // Whatever the last trainer did to it, a new one is in order.
        self.copied.clear();
        if fs::symlink_metadata(&self.root).is_ok()
            && let Err(error) = remove(&self.root)
        {
            tracing::warn!("{} stays, and the next copy is elsewhere: {error}", self.root.display());
            self.moves += 1;
            self.root = self.root.with_file_name(format!("code-{}", self.moves));
        }
        self.bring(dir, contents)
    }

    fn bring(&mut self, dir: &Path, contents: &Contents) -> io::Result<()> {
        self.make_dir(&self.root, 0o700)?;
        self.remove_others(Path::new(""), contents)?;
        self.copied.retain(|path, _| contents.entries.contains_key(path));
        for (path, entry) in &contents.entries {
            let to = self.root.join(path);
            match entry {
                // What is in it has to be written.
                Entry::Dir(mode) => self.make_dir(&to, mode | 0o700)?,
                Entry::Link(target) => {
                    if fs::read_link(&to).ok().as_ref() != Some(target) {
                        named(&to, remove(&to).and_then(|()| symlink(target, &to)))?;
                    }
                }
                Entry::File(stamp) => self.copy(&dir.join(path), path, *stamp)?,
            }
        }
        Ok(())
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        make_dir(path, mode)?;
        self.owner.map_or(Ok(()), |owner| owner.give(path))
    }

    /// Copies the file `from` to `path`, unless both are as they were.
    fn copy(&mut self, from: &Path, path: &Path, stamp: Stamp) -> io::Result<()> {
        let to = self.root.join(path);
        let now = fs::symlink_metadata(&to).ok().map(|meta| Stamp::of(&meta));
        if now.is_some() && self.copied.get(path).copied() == now.map(|now| (stamp, now)) {
            return Ok(());
        }
        named(&to, remove(&to))?;
        // A clone where the file system has them.
        named(from, fs::copy(from, &to))?;
        if let Some(owner) = self.owner {
            owner.give(&to)?;
        }
        let copied = named(&to, age(&to, stamp))?;
        // What was written just now may be written again and be stamped with the same tick.
        if copied.changed.0 - stamp.modified.0 > 1 {
            self.copied.insert(path.to_owned(), (stamp, copied));
        } else {
            self.copied.remove(path);
        }
        Ok(())
    }

    /// Removes what stands in the copy's directory `below` and is not in `contents`, or of another
    /// kind.
    fn remove_others(&self, below: &Path, contents: &Contents) -> io::Result<()> {
        let dir = self.root.join(below);
        for entry in named(&dir, fs::read_dir(&dir))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            let kind = entry.file_type()?;
            match contents.entries.get(&path) {
                Some(Entry::Dir(mode)) if kind.is_dir() => {
                    make_dir(&entry.path(), mode | 0o700)?;
                    self.remove_others(&path, contents)?;
                }
                Some(Entry::File(_)) if kind.is_file() => {}
                Some(Entry::Link(_)) if kind.is_symlink() => {}
                _ => named(&entry.path(), remove(&entry.path()))?,
            }
        }
        Ok(())
    }
}

/// Gives a copy the time of its original, so that whoever writes to it changes that.
fn age(copy: &Path, original: Stamp) -> io::Result<Stamp> {
    let (seconds, nanoseconds) = original.modified;
    let since = std::time::Duration::new(
        u64::try_from(seconds).unwrap_or(0),
        u32::try_from(nanoseconds).unwrap_or(0),
    );
    let mode = Permissions::from_mode(original.mode & 0o777);
    // One that nobody may write to has to be opened before it is so.
    let file = File::open(copy).or_else(|_| {
        fs::set_permissions(copy, Permissions::from_mode(0o600))?;
        File::open(copy)
    })?;
    file.set_times(FileTimes::new().set_modified(std::time::UNIX_EPOCH + since))?;
    file.set_permissions(mode)?;
    Ok(Stamp::of(&file.metadata()?))
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    let made = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() && meta.mode() & 0o777 == mode => Ok(()),
        Ok(meta) if meta.is_dir() => fs::set_permissions(path, Permissions::from_mode(mode)),
        Ok(_) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
        Err(_) => DirBuilder::new()
            .mode(0o700)
            .create(path)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))),
    };
    named(path, made)
}

/// Removes whatever is there, also what its maker has closed to itself.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
