//! A results volume in a directory. A file is written without a name, synced, and linked to its
//! own: readers see nothing or all of it, and of two writers one wins.
//! Invariant: nothing beneath the root is reached through a symbolic link, whoever swaps
//! directories meanwhile: each name is opened from the descriptor of the one above it.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::{Entry, Published, Put, Volume, VolumeError, check_listed, check_path};
use crate::sparse::SparseWriter;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
/// Bytes that are copied at once.
const CHUNK: usize = 256 << 10;
/// A directory may be removed, being empty, between finding it and writing in it: so often is it
/// sought again.
const TRIES: u32 = 50;

/// A results volume in a directory.
#[derive(Debug)]
pub struct DirVolume {
    root: OwnedFd,
    path: PathBuf,
}

impl DirVolume {
    /// Opens the volume in `root`, which is made if it is not there. The way to the root may lead
    /// through symbolic links.
    ///
    /// # Errors
    /// [`VolumeError::Obstructed`] if `root` is no directory; [`VolumeError::NotAllowed`].
    pub fn create(root: &Path) -> Result<Self, VolumeError> {
        crate::durable::create_dirs(root, 0o777).map_err(|error| root_error(root, error))?;
        Self::open(root)
    }

    /// Opens the volume in `root`, which must be there.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`] if it is not; else as [`DirVolume::create`].
    pub fn open(root: &Path) -> Result<Self, VolumeError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = rustix::fs::open(root, flags, Mode::empty());
        let fd = fd.map_err(|error| root_error(root, error.into()))?;
        Ok(Self { root: fd, path: root.to_owned() })
    }

    /// The root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory above `path`'s last name, made if `make`, and that name.
    fn parent<'a>(&self, path: &'a str, make: bool) -> Result<(OwnedFd, &'a str), VolumeError> {
        check_path(path)?;
        let (above, name) = path.rsplit_once('/').map_or(("", path), |(above, name)| (above, name));
        Ok((self.directory(above, make)?, name))
    }

    fn directory(&self, path: &str, make: bool) -> Result<OwnedFd, VolumeError> {
        let root = self.root.try_clone().map_err(|error| VolumeError::from_io(path, error))?;
        if path.is_empty() {
            return Ok(root);
        }
        path.split('/')
            .try_fold(root, |above, name| enter(&above, name, make).map_err(|error| error.at(path)))
    }

    /// Writes with `fill` under a temporary name, syncs, and gives the file its own name.
    fn publish(
        &self,
        path: &str,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<Put, VolumeError> {
        for _ in 1..TRIES {
            match self.try_publish(path, fill) {
                Err(VolumeError::NotFound { .. }) => {}
                result => return result,
            }
        }
        self.try_publish(path, fill)
    }

    fn try_publish(
        &self,
        path: &str,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<Put, VolumeError> {
        let (dir, name) = self.parent(path, true)?;
        let mut unlinked =
            Unlinked::create(&dir).map_err(|error| VolumeError::from_io(path, error.into()))?;
        let filled = fill(&mut unlinked.file).and_then(|()| unlinked.file.sync_all());
        filled.map_err(|error| VolumeError::from_io(path, error))?;
        let linked = unlinked.link(name);
        let put = outcome(linked, &mut unlinked.file, (&dir, name), path)?;
        drop(unlinked);
        rustix::fs::fsync(&dir).map_err(|error| VolumeError::from_io(path, error.into()))?;
        Ok(put)
    }
}

/// A file on its way into a directory. It has no name where the system can do that, so that a kill
/// leaves nothing behind; else a temporary one, removed in the end.
struct Unlinked<'a> {
    dir: &'a OwnedFd,
    file: File,
    temporary: Option<String>,
}

impl<'a> Unlinked<'a> {
    fn create(dir: &'a OwnedFd) -> Result<Self, Errno> {
        if let Some(file) = nameless(dir) {
            return Ok(Self { dir, file, temporary: None });
        }
        let temporary = temporary_name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, &temporary, flags, Mode::from_raw_mode(0o666))?;
        Ok(Self { dir, file: File::from(fd), temporary: Some(temporary) })
    }

    /// Gives the file its name, which must be free. Where the file system has no hard links, by
    /// renaming.
    fn link(&self, name: &str) -> Result<(), Errno> {
        let Some(temporary) = &self.temporary else {
            let itself = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            return rustix::fs::linkat(CWD, itself, self.dir, name, AtFlags::SYMLINK_FOLLOW);
        };
        match rustix::fs::linkat(self.dir, temporary, self.dir, name, AtFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                rename_to_free(self.dir, temporary, name)
            }
            result => result,
        }
    }
}

impl Drop for Unlinked<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // It is only a name more.
            let _ = rustix::fs::unlinkat(self.dir, temporary, AtFlags::empty());
        }
    }
}

#[cfg(target_os = "linux")]
fn nameless(dir: &OwnedFd) -> Option<File> {
    static PROC: LazyLock<bool> = LazyLock::new(|| Path::new("/proc/self/fd").exists());
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o666)).ok();
    PROC.then(open).flatten().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn nameless(_dir: &OwnedFd) -> Option<File> {
    None
}

impl Volume for DirVolume {
    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<Put, VolumeError> {
        self.publish(path, &mut |file| file.write_all(bytes))
    }

    fn put_file(&self, path: &str, mut file: &File, limit: u64) -> Result<Published, VolumeError> {
        let start = file.stream_position().map_err(|error| VolumeError::from_io(path, error))?;
        let (mut size, mut sha256) = (0, String::new());
        let put = self.publish(path, &mut |to| {
            file.seek(SeekFrom::Start(start))?;
            let mut to = SparseWriter::new(to);
            (size, sha256) = copy_hashing(&mut file.take(limit), &mut to)?;
            to.finish()
        })?;
        Ok(Published { put, size, sha256 })
    }

    fn get(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, VolumeError> {
        let (dir, name) = self.parent(path, false)?;
        let mut file = open_file(&dir, name).map_err(|refusal| refusal.at(path))?;
        let io = |error| VolumeError::from_io(path, error);
        file.seek(SeekFrom::Start(range.start)).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes).map_err(io)?;
        Ok(bytes)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, VolumeError> {
        check_listed(path)?;
        let dir = match self.directory(path, false) {
            Ok(dir) => dir,
            Err(VolumeError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = read_dir(&dir).map_err(|error| VolumeError::from_io(path, error.into()))?;
        entries.sort_unstable();
        Ok(entries)
    }

    fn delete(&self, path: &str) -> Result<(), VolumeError> {
        let (dir, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(VolumeError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(VolumeError::from_io(path, error.into())),
        }
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            let Ok((dir, name)) = self.parent(parent, false) else { break };
            if rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            above = parent;
        }
        Ok(())
    }
}

/// A name that no other process, on whatever machine, uses; process numbers are not unique on a
/// shared volume.
pub(crate) fn temporary_name() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!(".tmp-{:016x}-{}", *PROCESS, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// What became of a file that was given its name.
fn outcome(
    linked: Result<(), Errno>,
    file: &mut File,
    (dir, name): (&OwnedFd, &str),
    path: &str,
) -> Result<Put, VolumeError> {
    let Err(error) = linked else { return Ok(Put::Written) };
    // It is there, or an answer was lost on the way: only what lies there tells.
    match same_content(file, dir, name) {
        Ok(true) if error == Errno::EXIST => Ok(Put::Same),
        Ok(true) => Ok(Put::Written),
        Ok(false) => Err(VolumeError::Conflict { path: path.to_owned() }),
        Err(Refusal::Io(_)) => Err(VolumeError::from_io(path, error.into())),
        Err(refusal) => Err(refusal.at(path)),
    }
}

/// What stops a name from being opened.
enum Refusal {
    Kind(&'static str),
    Io(io::Error),
}

impl Refusal {
    fn at(self, path: &str) -> VolumeError {
        match self {
            Self::Kind(what) => VolumeError::Obstructed { path: path.to_owned(), what },
            Self::Io(error) => VolumeError::from_io(path, error),
        }
    }
}

fn root_error(root: &Path, error: io::Error) -> VolumeError {
    let path = root.display().to_string();
    match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            VolumeError::Obstructed { path, what: "no directory" }
        }
        _ => VolumeError::from_io(&path, error),
    }
}

fn enter(above: &OwnedFd, name: &str, make: bool) -> Result<OwnedFd, Refusal> {
    let open = || rustix::fs::openat(above, name, DIRECTORY, Mode::empty());
    match open() {
        Err(Errno::NOENT) if make => {
            match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
                Ok(()) => rustix::fs::fsync(above).map_err(|error| Refusal::Io(error.into()))?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Refusal::Io(error.into())),
            }
            open().map_err(|error| refusal(above, name, error))
        }
        result => result.map_err(|error| refusal(above, name, error)),
    }
}

/// Names what is in the way, if something is.
fn refusal(above: &OwnedFd, name: &str, error: Errno) -> Refusal {
    if !matches!(error, Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::ISDIR) {
        return Refusal::Io(error.into());
    }
    match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Refusal::Kind(kind(stat.st_mode)),
        Err(_) => Refusal::Io(error.into()),
    }
}

fn kind(mode: RawMode) -> &'static str {
    match FileType::from_raw_mode(mode) {
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        _ => "a device",
    }
}

fn open_file(dir: &OwnedFd, name: &str) -> Result<File, Refusal> {
    let fd = rustix::fs::openat(dir, name, READ, Mode::empty()).map_err(|error| refusal(dir, name, error))?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| Refusal::Io(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::Kind(kind(stat.st_mode)));
    }
    Ok(File::from(fd))
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_to_free(dir: &OwnedFd, temporary: &str, name: &str) -> Result<(), Errno> {
    rustix::fs::renameat_with(dir, temporary, dir, name, rustix::fs::RenameFlags::NOREPLACE)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename_to_free(_dir: &OwnedFd, _temporary: &str, _name: &str) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Whether `name` holds exactly what `ours` does.
fn same_content(ours: &mut File, dir: &OwnedFd, name: &str) -> Result<bool, Refusal> {
    let mut theirs = open_file(dir, name)?;
    let mut compare = || -> io::Result<bool> {
        if ours.metadata()?.len() != theirs.metadata()?.len() {
            return Ok(false);
        }
        ours.seek(SeekFrom::Start(0))?;
        Ok(hash(ours)? == hash(&mut theirs)?)
    };
    compare().map_err(Refusal::Io)
}

fn hash(file: &mut File) -> io::Result<String> {
    copy_hashing(file, &mut io::sink()).map(|(_, hash)| hash)
}

/// Copies all of `from`, and returns how much it was and its SHA-256.
pub(crate) fn copy_hashing(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(u64, String)> {
    let (mut hasher, mut buffer, mut size) = (Sha256::new(), vec![0; CHUNK], 0);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hex(&hasher.finalize()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        size += read as u64;
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn read_dir(dir: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with('.') || check_path(name).is_err() {
            continue;
        }
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => entries.push(Entry { name: name.to_owned(), size, is_dir: false }),
            FileType::Directory => entries.push(Entry { name: name.to_owned(), size: 0, is_dir: true }),
            _ => {}
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
