//! Which files a trainer left, and which of them are published.
//! Invariant: only ordinary files beneath the directory are opened, never through a link, and what is left out is named with its reason.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attempt::Limits;
use super::manifest::{Skipped, encode};
use crate::volume::{LONGEST_NAME, LONGEST_PATH};

/// Directories within directories.
const DEEPEST: usize = 32;
/// What is left out is named so many times, and then only counted.
const NAMED: usize = 100;
/// Names that are looked at, published or not.
const LOOKED_AT: u64 = 200_000;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A file that may be published.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path beneath the directory.
    pub(crate) local: PathBuf,
    /// The same as a volume takes it.
    pub(crate) encoded: String,
    inode: (u64, u64),
    links: u64,
}

/// What lies in a directory.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Sorted by encoded path.
    pub(crate) files: Vec<Found>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) skipped_more: u64,
    looked_at: u64,
}

impl Collected {
    pub(crate) fn skip(&mut self, path: &Path, why: impl Into<String>) {
        if self.skipped.len() < NAMED {
            self.skipped.push(Skipped { name: path.to_string_lossy().into_owned(), why: why.into() });
        } else {
            self.skipped_more += 1;
        }
    }
}

/// Finds the files beneath `dir`, less those that `leave` names at the top. A directory that is not there has none.
pub(crate) fn collect(dir: &Path, limits: &Limits, leave: &[&str]) -> std::io::Result<Collected> {
    let mut collected = Collected::default();
    let root = match rustix::fs::openat(CWD, dir, DIRECTORY, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(collected),
        Err(error) => return Err(error.into()),
    };
    walk(&root, Path::new(""), leave, &mut collected)?;
    drop_outside_links(&mut collected);
    collected.files.sort_by(|a, b| a.encoded.cmp(&b.encoded));
    let most = usize::try_from(limits.files).unwrap_or(usize::MAX);
    for surplus in collected.files.split_off(collected.files.len().min(most)) {
        collected.skip(&surplus.local, format!("more than {most} files"));
    }
    collected.skipped.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(collected)
}

fn walk(dir: &OwnedFd, at: &Path, leave: &[&str], collected: &mut Collected) -> std::io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." || (at == Path::new("") && leave.iter().any(|it| name == *it)) {
            continue;
        }
        let local = at.join(name);
        collected.looked_at += 1;
        if collected.looked_at > LOOKED_AT {
            // Only counted, so that the number that is left out is true.
            collected.skip(&local, format!("more than {LOOKED_AT} names"));
            continue;
        }
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                enter(dir, name, &local, collected)?;
            }
            Ok(stat) => consider(local, &stat, collected),
            Err(Errno::NOENT) => {}
            Err(error) => collected.skip(&local, error.to_string()),
        }
    }
    Ok(())
}

fn enter(dir: &OwnedFd, name: &OsStr, local: &Path, collected: &mut Collected) -> std::io::Result<()> {
    if local.components().count() > DEEPEST {
        collected.skip(local, format!("more than {DEEPEST} directories deep"));
        return Ok(());
    }
    match rustix::fs::openat(dir, name, DIRECTORY, Mode::empty()) {
        Ok(below) => walk(&below, local, &[], collected),
        Err(error) => {
            collected.skip(local, error.to_string());
            Ok(())
        }
    }
}

/// Takes the file, if it is an ordinary one whose path a volume takes.
fn consider(local: PathBuf, stat: &Stat, collected: &mut Collected) {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("a symbolic link"),
        FileType::Fifo => Some("a named pipe"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    };
    if let Some(kind) = kind {
        return collected.skip(&local, kind);
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::SUID | Mode::SGID) {
        return collected.skip(&local, "runs with its owner's rights");
    }
    let names: Vec<_> = local.iter().map(|name| encode(name.as_bytes())).collect();
    let encoded = names.join("/");
    // Room for the sweep, the trial and the token before it.
    if encoded.len() > LONGEST_PATH - 200 || names.iter().any(|name| name.len() > LONGEST_NAME) {
        return collected.skip(&local, "its name is too long");
    }
    let inode = (number(stat.st_dev), number(stat.st_ino));
    collected.files.push(Found { local, encoded, inode, links: number(stat.st_nlink) });
}

/// The fields of `stat` have other types on other systems.
fn number<T: TryInto<u64>>(field: T) -> u64 {
    field.try_into().unwrap_or(u64::MAX)
}

/// A file with more names than were found has one outside, and may be anybody's.
fn drop_outside_links(collected: &mut Collected) {
    let mut names: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for file in collected.files.iter().filter(|file| file.links > 1) {
        *names.entry(file.inode).or_default() += 1;
    }
    let files = std::mem::take(&mut collected.files);
    for file in files {
        if file.links > 1 && names.get(&file.inode) != Some(&file.links) {
            collected.skip(&file.local, "a hard link to a file elsewhere");
        } else {
            collected.files.push(file);
        }
    }
}

/// Opens a file beneath `dir`, name by name, so that nothing that was swapped meanwhile leads elsewhere.
pub(crate) fn open_beneath(dir: &Path, found: &Found) -> Result<File, Errno> {
    let mut above = rustix::fs::openat(CWD, dir, DIRECTORY, Mode::empty())?;
    let (parent, name) = (found.local.parent(), found.local.file_name());
    for name in parent.into_iter().flat_map(Path::iter) {
        above = rustix::fs::openat(&above, name, DIRECTORY, Mode::empty())?;
    }
    let fd = rustix::fs::openat(&above, name.unwrap_or_default(), READ, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let same = (number(stat.st_dev), number(stat.st_ino)) == found.inode;
    if !same || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::STALE);
    }
    Ok(File::from(fd))
}
