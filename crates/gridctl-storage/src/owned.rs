//! Directories that gridctl makes for itself in places that belong to others too: a work directory,
//! `/dev/shm`, `/tmp`. Each carries a marker file, and its maker holds a lock on that file for as
//! long as the maker lives.
//! Invariant: a directory is removed only if its marker says that gridctl made this very directory
//! and nobody holds the lock. The kernel knows whether a lock is held, in whatever container its
//! holder lives; a process number means nothing outside of its namespace.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, flock};
use rustix::io::Errno;

use crate::journal::fs_check::{self, FsKind};

/// The marker's name.
pub const MARKER: &str = ".gridctl-owned";

/// What a marker begins with. The directory's inode follows, so that a copy is not taken for the
/// original, and then the boot of the machine that its owner runs on.
const MAGIC: &str = "gridctl made the directory with inode and boot";
/// Different for each start of each machine, and the same in all containers on it.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// A longer marker is not ours.
const LONGEST: u64 = 16 << 10;
/// A directory is tried to be made so often: another process may remove the new one before it is
/// locked, or still hold the old one in order to remove it.
const TRIES: u32 = 100;
/// Between two tries, where another process holds the directory.
const PAUSE: Duration = Duration::from_millis(5);

/// A directory that this process made, or that it took over from a process that is gone. Nobody
/// else touches it while this lives.
#[derive(Debug)]
pub struct OwnedDir {
    path: PathBuf,
    note: String,
    marker: File,
}

/// A directory that gridctl made, as another process finds it.
#[derive(Debug)]
pub enum Found {
    /// Its owner lives.
    Held {
        /// Where it is.
        path: PathBuf,
        /// What the owner wrote in the marker.
        note: String,
    },
    /// Its owner is gone, and it is ours from now on.
    Abandoned(OwnedDir),
}

impl OwnedDir {
    /// Makes `path`, with `note` in its marker. An abandoned one that is in the way is removed.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if a living process has it, or if it is not gridctl's; else
    /// as the system says.
    pub fn make(path: &Path, note: &str) -> io::Result<Self> {
        for _ in 0..TRIES {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    make_room(path, error)?;
                    continue;
                }
                made => made?,
            }
            match mark(path, note) {
                Ok(Some(owned)) => return Ok(owned),
                // Somebody took it for an abandoned one before it was locked, or made it anew.
                Ok(None) | Err(Errno::NOENT | Errno::WOULDBLOCK | Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "another process of gridctl uses it"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its maker wrote in the marker.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Makes it again, with its marker, if somebody removed it.
    ///
    /// # Errors
    /// As the system says.
    pub fn renew(&mut self) -> io::Result<()> {
        if self.is_there() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let gone = || io::Error::new(io::ErrorKind::NotFound, "it is removed as often as it is made");
        *self = mark(&self.path, &self.note)?.ok_or_else(gone)?;
        Ok(())
    }

    /// Removes it with all that is in it, the marker last. What was put in its place meanwhile is
    /// left alone.
    ///
    /// # Errors
    /// As the system says. What is left is still marked, and the next one who looks may go on.
    pub fn remove(self) -> io::Result<()> {
        let Some(dir) = open_dir(&self.path).ok().filter(|dir| self.is_at(dir)) else { return Ok(()) };
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == MARKER {
                continue;
            }
            if entry.file_type()?.is_dir() {
                remove_tree(&entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        rustix::fs::unlinkat(&dir, MARKER, AtFlags::empty())?;
        match fs::remove_dir(&self.path) {
            // Without its marker and empty, it was removed by another process that looked just then.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Whether the directory is still there, with this very marker in it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        open_dir(&self.path).is_ok_and(|dir| self.is_at(&dir))
    }

    fn is_at(&self, dir: &OwnedFd) -> bool {
        let found = rustix::fs::statat(dir, MARKER, AtFlags::SYMLINK_NOFOLLOW);
        let ours = rustix::fs::fstat(&self.marker);
        matches!((found, ours), (Ok(found), Ok(ours)) if same(&found, &ours))
    }
}

/// Gridctl's directories directly below `base` whose names `named` knows. What carries no marker of
/// ours is passed over; it is removed only if it is empty, as a process leaves it that is killed
/// before it can mark it.
pub fn found_in(base: &Path, named: impl Fn(&str) -> bool) -> Vec<Found> {
    let Ok(entries) = fs::read_dir(base) else { return Vec::new() };
    let named = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(&named));
    named
        .filter_map(|entry| {
            let found = look(&entry.path());
            if found.is_none() && is_our_users(&entry.path()) {
                // It stays unless it is empty.
                let _ = fs::remove_dir(entry.path());
            }
            found
        })
        .collect()
}

/// Removes those of gridctl's directories directly below `base` whose names `named` knows and whose
/// owners are gone. One that cannot be removed now is left to the next look.
pub fn remove_abandoned(base: &Path, named: impl Fn(&str) -> bool) {
    for found in found_in(base, named) {
        if let Found::Abandoned(dir) = found {
            let _ = dir.remove();
        }
    }
}

/// The directory at `path`, if gridctl made it.
fn look(path: &Path) -> Option<Found> {
    let dir = open_dir(path).ok()?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut marker = File::from(rustix::fs::openat(&dir, MARKER, flags, Mode::empty()).ok()?);
    let (stat, above) = (rustix::fs::fstat(&marker).ok()?, rustix::fs::fstat(&dir).ok()?);
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    let me = rustix::process::geteuid().as_raw();
    if !plain || stat.st_uid != me || above.st_uid != me {
        return None;
    }
    let locked = flock(&marker, FlockOperation::NonBlockingLockExclusive);
    // Read only now: its maker writes it under the lock.
    let mut text = String::new();
    (&marker).take(LONGEST).read_to_string(&mut text).ok()?;
    let rest = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' '));
    let (head, note) = rest.and_then(|rest| rest.split_once('\n')).unwrap_or_default();
    let (inode, boot) = head.split_once(' ').unwrap_or_default();
    let written = inode.parse() == Ok(above.st_ino) && knows_its_locks(path, boot);
    match locked {
        // Its maker was killed before it could write: nothing can be in it.
        Ok(()) if text.is_empty() => {
            let owned = OwnedDir { path: path.to_owned(), note: String::new(), marker };
            let alone = fs::read_dir(path).is_ok_and(|entries| entries.count() == 1);
            (alone && owned.is_there()).then_some(Found::Abandoned(owned))
        }
        Ok(()) if written => {
            let note = note.to_owned();
            marker.seek(SeekFrom::Start(0)).ok()?;
            let owned = OwnedDir { path: path.to_owned(), note, marker };
            owned.is_there().then_some(Found::Abandoned(owned))
        }
        // One that is empty is about to be written, or to be removed.
        Err(Errno::WOULDBLOCK) if written || text.is_empty() => {
            Some(Found::Held { path: path.to_owned(), note: note.to_owned() })
        }
        _ => None,
    }
}

/// Whether the lock of an owner that runs under this boot is seen here. On a network file system the
/// owner may live on another machine, whose locks some mounts do not show.
fn knows_its_locks(path: &Path, boot: &str) -> bool {
    boot == own_boot() || !matches!(fs_check::kind_of(path), FsKind::Network(_))
}

fn own_boot() -> String {
    fs::read_to_string(BOOT).map_or_else(|_| "unknown".to_owned(), |boot| boot.trim().to_owned())
}

/// Removes what is in the way at `path`, if it is gridctl's and abandoned, or waits a little for
/// who holds it.
fn make_room(path: &Path, error: io::Error) -> io::Result<()> {
    match look(path) {
        Some(Found::Abandoned(dir)) => dir.remove(),
        Some(Found::Held { .. }) => {
            thread::sleep(PAUSE);
            Ok(())
        }
        None if is_our_users(path) && fs::remove_dir(path).is_ok() => Ok(()),
        None if fs::symlink_metadata(path).is_err() => Ok(()),
        None => Err(error),
    }
}

/// Removes a directory, be it that some below it were closed, which stops everybody but root. No link
/// is followed.
///
/// # Errors
/// As the system says.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

/// Lets the owner of `path` and of the directories below it look into them and change them. No link
/// is followed.
fn open_up(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())?;
    fs::set_permissions(format!("/proc/self/fd/{}", dir.as_raw_fd()), Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Puts a locked marker into the new directory at `path`; `None` if that is gone again, or another
/// is there.
fn mark(path: &Path, note: &str) -> Result<Option<OwnedDir>, Errno> {
    let dir = open_dir(path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut marker = File::from(rustix::fs::openat(&dir, MARKER, flags, Mode::from_raw_mode(0o600))?);
    flock(&marker, FlockOperation::NonBlockingLockExclusive)?;
    let inode = rustix::fs::fstat(&dir)?.st_ino;
    let text = format!("{MAGIC} {inode} {}\n{note}", own_boot());
    if marker.write_all(text.as_bytes()).is_err() {
        return Err(Errno::NOSPC);
    }
    let owned = OwnedDir { path: path.to_owned(), note: note.to_owned(), marker };
    Ok(owned.is_there().then_some(owned))
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

fn is_our_users(path: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    rustix::fs::lstat(path).is_ok_and(|stat| stat.st_uid == me)
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn abandoned(base: &Path) -> Vec<PathBuf> {
        let found = found_in(base, |_| true).into_iter();
        let mut paths: Vec<_> = found
            .filter_map(|found| match found {
                Found::Abandoned(dir) => Some(dir.path().to_owned()),
                Found::Held { .. } => None,
            })
            .collect();
        paths.sort();
        paths
    }

    #[test]
    fn only_what_was_made_here_and_has_no_living_owner_is_taken_for_abandoned() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        let living = OwnedDir::make(&base.join("living"), "a note").unwrap();
        drop(OwnedDir::make(&base.join("dead"), "its note").unwrap());
        fs::create_dir(base.join("a persons")).unwrap();
        fs::write(base.join("a persons/thesis"), "x").unwrap();
        fs::create_dir(base.join("a copy")).unwrap();
        fs::copy(base.join("dead").join(MARKER), base.join("a copy").join(MARKER)).unwrap();
        fs::create_dir(base.join("a forgery")).unwrap();
        fs::write(base.join("a forgery").join(MARKER), "gridctl was here\n").unwrap();
        symlink(base.join("dead"), base.join("a link")).unwrap();
        fs::write(base.join("a file"), "x").unwrap();
        assert_eq!(abandoned(base), [base.join("dead")]);
        assert!(matches!(look(living.path()), Some(Found::Held { note, .. }) if note == "a note"));
        assert!(matches!(look(&base.join("dead")), Some(Found::Abandoned(dir)) if dir.note() == "its note"));
        remove_abandoned(base, |_| true);
        let mut left: Vec<_> = fs::read_dir(base).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a copy", "a file", "a forgery", "a link", "a persons", "living"]);
    }

    #[test]
    fn a_directory_from_before_the_machines_last_start_is_abandoned() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("old");
        drop(OwnedDir::make(&path, "").unwrap());
        let marker = fs::read_to_string(path.join(MARKER)).unwrap();
        assert!(marker.contains(&own_boot()), "{marker}");
        fs::write(path.join(MARKER), marker.replace(&own_boot(), "another")).unwrap();
        assert_eq!(abandoned(temp.path()), [path], "on a local disk it can only be this machine's");
    }

    #[test]
    fn what_a_kill_leaves_between_two_steps_of_making_it_goes_as_well() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        fs::create_dir(base.join("unmarked")).unwrap();
        fs::create_dir(base.join("unwritten")).unwrap();
        fs::write(base.join("unwritten").join(MARKER), "").unwrap();
        fs::create_dir(base.join("not ours")).unwrap();
        fs::write(base.join("not ours").join(MARKER), "").unwrap();
        fs::write(base.join("not ours/thesis"), "x").unwrap();
        remove_abandoned(base, |name| name != "unmarked, of another name");
        let left: Vec<_> = fs::read_dir(base).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["not ours"]);
    }

    #[test]
    fn it_is_removed_with_all_that_is_in_it_but_not_what_was_put_in_its_place() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("mine");
        let outside = temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let mine = OwnedDir::make(&path, "").unwrap();
        fs::create_dir_all(path.join("a/b")).unwrap();
        symlink(&outside, path.join("a/link")).unwrap();
        symlink(&outside, path.join("link")).unwrap();
        assert_eq!(OwnedDir::make(&path, "").unwrap_err().to_string(), "another process of gridctl uses it");
        mine.remove().unwrap();
        assert!(!path.exists() && outside.join("kept").exists());

        let mine = OwnedDir::make(&path, "").unwrap();
        fs::rename(&path, temp.path().join("moved")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("thesis"), "x").unwrap();
        assert!(!mine.is_there());
        mine.remove().unwrap();
        assert!(path.join("thesis").exists());
        assert_eq!(OwnedDir::make(&path, "").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(OwnedDir::make(&temp.path().join("again"), "dead").unwrap());
        let mut again = OwnedDir::make(&temp.path().join("again"), "next").unwrap();
        for of_it in [temp.path().join("again"), temp.path().join("again").join(MARKER)] {
            assert!(fs::remove_dir_all(&of_it).or_else(|_| fs::remove_file(&of_it)).is_ok());
            assert!(!again.is_there());
            again.renew().unwrap();
            assert!(again.is_there() && again.note() == "next");
        }
    }

    #[test]
    fn one_that_is_locked_before_it_is_written_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("unwritten");
        fs::create_dir(&path).unwrap();
        let marker = File::create(path.join(MARKER)).unwrap();
        flock(&marker, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(look(&path), Some(Found::Held { note, .. }) if note.is_empty()));
        let error = OwnedDir::make(&path, "").unwrap_err();
        assert_eq!(error.to_string(), "another process of gridctl uses it");
        drop(marker);
        assert!(OwnedDir::make(&path, "").unwrap().is_there());
    }

    #[test]
    fn makers_and_removers_at_once_leave_every_owner_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..2_000).for_each(|_| remove_abandoned(base, |_| true)));
            for n in 0..500 {
                let dir = OwnedDir::make(&base.join(format!("d{}", n % 3)), "").unwrap();
                fs::write(dir.path().join("mine"), "x").unwrap();
                assert!(dir.is_there() && dir.path().join("mine").exists(), "{n}");
                if n % 2 == 0 {
                    dir.remove().unwrap();
                }
            }
        });
        remove_abandoned(base, |_| true);
        assert_eq!(fs::read_dir(base).unwrap().count(), 0);
    }
}
