//! The directories of one slot: output and checkpoint, which are handed from trial to trial, and
//! the small files of parameters.
//! Invariant: a trainer finds them empty; nothing is made or removed for a trial whose predecessor
//! left nothing.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use gridctl_storage::owned::{self, OwnedDir};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::process::geteuid;

use crate::isolate::IsolatedCopy;

mod contained;

pub(crate) use contained::{ContainerDirs, Owner};

/// Directories for memory-backed files begin with this.
const MEMORY_PREFIX: &str = "gridctl-";

/// The modification time, in seconds since 1970, of a directory that is known to be empty: whoever
/// makes a file in it changes that.
const UNTOUCHED: i64 = 86_400;

/// One worker's directories: `<work>/<worker>/`, and one in memory for parameters. Both are marked,
/// and locked by this.
#[derive(Debug)]
pub struct WorkDir {
    dir: PathBuf,
    memory: Option<PathBuf>,
    /// Both. Behind a lock, for they may have to be made anew.
    owned: Mutex<Vec<OwnedDir>>,
}

impl WorkDir {
    /// Makes the directory for the worker `name` under `work`; `note` is for whoever finds it when
    /// this worker is dead.
    ///
    /// # Errors
    /// As the system says; the error names the directory.
    pub fn create(work: &Path, name: &str, note: &str) -> io::Result<Self> {
        let dir = work.join(name);
        named(work, DirBuilder::new().recursive(true).mode(0o700).create(work))?;
        let owned = named(&dir, OwnedDir::make(&dir, note))?;
        let memory = memory_dir(name);
        let path = memory.as_ref().map(|memory| memory.path().to_owned());
        let owned = [Some(owned), memory].into_iter().flatten().collect();
        Ok(Self { dir, memory: path, owned: Mutex::new(owned) })
    }

    /// The worker's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Directories of the slot number `slot`: of its several sets the one with the number `set`.
    ///
    /// # Errors
    /// As the system says; the error names the directory.
    pub fn slot(&self, slot: u32, set: usize) -> io::Result<Scratch> {
        self.renew()?;
        Scratch::make(&self.dir, self.memory.as_deref(), (&format!("{slot}.{set}"), None))
    }

    /// Makes anew what somebody has removed.
    ///
    /// # Errors
    /// As the system says; the error names the directory.
    pub fn renew(&self) -> io::Result<()> {
        for owned in self.owned.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let renewed = owned.renew();
            named(owned.path(), renewed)?;
        }
        Ok(())
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        for dir in self.owned.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let path = dir.path().to_owned();
            if let Err(error) = dir.remove() {
                tracing::warn!("cannot remove {}: {error}; the next worker does", path.display());
            }
        }
    }
}

/// A directory of our own on a file system in memory, if there is one; those of workers that are
/// gone are removed.
fn memory_dir(name: &str) -> Option<OwnedDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = [Some(PathBuf::from("/dev/shm")), runtime].into_iter().flatten().find(|base| base.is_dir())?;
    let prefix = format!("{MEMORY_PREFIX}{}-", geteuid().as_raw());
    owned::remove_abandoned(&base, |name| name.starts_with(&prefix));
    OwnedDir::make(&base.join(format!("{prefix}{name}")), "").ok()
}

/// A set of directories and files of a slot, for one attempt at a time.
#[derive(Debug)]
pub struct Scratch {
    /// Who is to write there, where that is not this process's own user.
    owner: Option<Owner>,
    /// How often the set was made elsewhere, since a trainer left what cannot be removed.
    moves: u64,
    root: PathBuf,
    /// `GRID_OUTPUT_DIR`.
    pub output: PathBuf,
    /// `GRID_CHECKPOINT_DIR`.
    pub checkpoint: PathBuf,
    /// `GRID_METRICS_FILE`; there only if the trainer makes it.
    pub metrics: PathBuf,
    /// `GRID_PARAMS_FILE`.
    pub params: PathBuf,
    /// `WANDB_SWEEP_PARAM_PATH`.
    pub wandb: PathBuf,
    /// The last trainer left nothing, and none has come since.
    untouched: bool,
    set_aside: u64,
    /// A copy of a workdir, once an attempt has had one.
    copy: Option<IsolatedCopy>,
}

/// What a trainer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftBehind {
    /// Something in its output directory.
    pub output: bool,
    /// Something in its checkpoint directory.
    pub checkpoint: bool,
}

impl Scratch {
    fn make(work: &Path, memory: Option<&Path>, (name, owner): (&str, Option<Owner>)) -> io::Result<Self> {
        let root = work.join(name);
        let files = memory.unwrap_or(root.as_path());
        let scratch = Self {
            owner,
            moves: 0,
            output: root.join("output"),
            checkpoint: root.join("checkpoint"),
            metrics: root.join("metrics.jsonl"),
            params: files.join(format!("{name}.params.json")),
            wandb: files.join(format!("{name}.wandb.yaml")),
            untouched: false,
            set_aside: 0,
            copy: None,
            root,
        };
        for dir in [&scratch.root, &scratch.output, &scratch.checkpoint] {
            scratch.make_dir(dir)?;
        }
        for dir in [&scratch.output, &scratch.checkpoint] {
            named(dir, mark_untouched(dir))?;
        }
        Ok(scratch)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        make_dir(dir)?;
        self.owner.map_or(Ok(()), |owner| owner.give(dir))
    }

    /// Who is to write there, where that is not this process's own user.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Lets the attempt's user have what was put into `dir`, one of this slot's two, for it.
    pub(crate) fn give(&self, dir: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |owner| owner.give_all(dir))
    }

    /// The directory above all of them.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether what the directories lie in is there: somebody may have removed it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let root = fs::symlink_metadata(&self.root);
        root.is_ok_and(|meta| meta.is_dir()) && self.params.parent().is_some_and(Path::is_dir)
    }

    /// Takes the copy of a workdir, to make it ready for the next trainer and give it back.
    pub(crate) fn take_copy(&mut self) -> IsolatedCopy {
        self.copy.take().unwrap_or_else(|| IsolatedCopy::new(self.root.join("code"), self.owner))
    }

    /// Gives back the copy, and says where it is.
    pub(crate) fn put_copy(&mut self, copy: IsolatedCopy) -> PathBuf {
        let root = copy.root().to_owned();
        self.copy = Some(copy);
        root
    }

    /// Makes everything ready for the next trainer: elsewhere, if the last one left what cannot be
    /// removed. Costs little if [`Scratch::look`] saw that it left nothing.
    ///
    /// # Errors
    /// As the system says; the error names the directory.
    pub fn clean(&mut self) -> io::Result<()> {
        let Err(error) = self.clean_here() else { return Ok(()) };
        tracing::warn!("what a trainer left stays, and the next one gets other directories: {error}");
        let moves = self.moves + 1;
        let name = self.root.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let name = format!("{}-{moves}", name.split('-').next().unwrap_or_default());
        let memory = self.params.parent().filter(|dir| *dir != self.root);
        let moved = Self::make(self.root.parent().unwrap_or(&self.root), memory, (&name, self.owner))?;
        *self = Self { moves, ..moved };
        self.clean_here()
    }

    fn clean_here(&mut self) -> io::Result<()> {
        if fs::symlink_metadata(&self.metrics).is_ok() {
            remove(&self.metrics);
            if fs::symlink_metadata(&self.metrics).is_ok() {
                let left = io::Error::other("the metrics of another attempt cannot be removed");
                return named(&self.metrics, Err(left));
            }
        }
        let untouched = std::mem::take(&mut self.untouched);
        if !untouched || !is_untouched(&self.output) || !is_untouched(&self.checkpoint) {
            self.make_dir(&self.root.clone())?;
            for dir in [self.output.clone(), self.checkpoint.clone()] {
                self.clear(&dir)?;
            }
        }
        Ok(())
    }

    /// What a trainer that has ended left.
    pub fn look(&mut self) -> LeftBehind {
        let (output, checkpoint) = (is_untouched(&self.output), is_untouched(&self.checkpoint));
        self.untouched = output && checkpoint;
        LeftBehind {
            output: !output && Self::is_used(&self.output),
            checkpoint: !checkpoint && Self::is_used(&self.checkpoint),
        }
    }

    /// Whether a trainer left something in `dir`, one of this slot's two. One system call where
    /// nothing was touched.
    #[must_use]
    pub fn is_used(dir: &Path) -> bool {
        match fs::symlink_metadata(dir) {
            Ok(meta) if is_mark(&meta) => false,
            Ok(meta) if meta.is_dir() => {
                fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_some())
            }
            // Whatever it holds, it is not what the trainer was given.
            Ok(_) | Err(_) => false,
        }
    }

    /// What the trainer put in the place of one of its two directories, if it did, and what to do:
    /// for people.
    #[must_use]
    pub fn replaced(&self) -> Option<String> {
        let dirs = [("GRID_OUTPUT_DIR", &self.output), ("GRID_CHECKPOINT_DIR", &self.checkpoint)];
        dirs.into_iter().find_map(|(variable, dir)| {
            let kind = fs::symlink_metadata(dir).ok()?.file_type();
            let what = match () {
                () if kind.is_dir() => return None,
                () if kind.is_symlink() => "a symbolic link",
                () if kind.is_file() => "a file",
                () => "a pipe, a socket or a device",
            };
            Some(format!(
                "the trainer put {what} in the place of the directory ${variable}, so nothing of that is kept: \
                 write into the directory that is there"
            ))
        })
    }

    /// Makes sure that `dir`, one of this slot's two, is there and empty, whatever a trainer did to
    /// it.
    ///
    /// # Errors
    /// As the system says; the error names the directory.
    fn clear(&mut self, dir: &Path) -> io::Result<()> {
        match fs::symlink_metadata(dir) {
            Ok(meta) if is_mark(&meta) => return Ok(()),
            Ok(meta) if meta.is_dir() && !Self::is_used(dir) && mark_untouched(dir).is_ok() => return Ok(()),
            Ok(_) => named(dir, self.put_away(dir))?,
            Err(_) => {}
        }
        self.make_dir(dir)?;
        named(dir, mark_untouched(dir))
    }

    /// Moves `dir` out of the way, which is one rename however much it holds, and lets a thread
    /// remove it.
    fn put_away(&mut self, dir: &Path) -> io::Result<()> {
        self.set_aside += 1;
        let aside = self.root.join(format!("old-{}", self.set_aside));
        fs::rename(dir, &aside)?;
        std::thread::Builder::new().name("remove".to_owned()).spawn(move || remove(&aside)).map(drop)
    }

    /// Writes the files of parameters.
    ///
    /// # Errors
    /// As the system says; the error names the file.
    pub fn write_params(&self, json: &str, wandb: &str) -> io::Result<()> {
        for (path, text) in [(&self.params, json), (&self.wandb, wandb)] {
            Self::write(path, text, self.owner)?;
        }
        Ok(())
    }

    /// Writes a file: readable by the trainer's user alone.
    fn write(path: &Path, text: &str, owner: Option<Owner>) -> io::Result<()> {
        // A link would lead elsewhere, and a pipe would never answer.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let open = || options.open(path);
        let is_ours = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() == 1);
        let file = match open() {
            Ok(file) if is_ours(&file) => Ok(file),
            _ => {
                // The trainer has put something else there.
                remove(path);
                open()
            }
        };
        let written = file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            if let Some(Owner { uid, gid }) = owner {
                rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
            // To overwrite and then cut is cheaper than to empty first: most files keep their
            // length.
            let length = text.len() as u64;
            if file.metadata()?.len() == length { Ok(()) } else { file.set_len(length) }
        });
        named(path, written)
    }
}

/// Makes a directory within one of ours, in the place of whatever somebody else has put there.
fn make_dir(dir: &Path) -> io::Result<()> {
    if fs::symlink_metadata(dir).is_ok_and(|meta| !meta.is_dir()) {
        remove(dir);
    }
    named(dir, DirBuilder::new().recursive(true).mode(0o700).create(dir))
}

/// Removes whatever is at `path`, as far as it can be.
pub(crate) fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => owned::remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    if let Err(error) = removed {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

/// Makes an empty file `name` in `dir`, unless either is not what it should be.
pub(crate) fn touch(dir: &Path, name: &str) -> io::Result<()> {
    let dir = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?;
    Ok(())
}

fn is_untouched(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|meta| is_mark(&meta))
}

/// Whether this is a directory in which nothing has been made since [`mark_untouched`].
fn is_mark(meta: &fs::Metadata) -> bool {
    meta.is_dir() && meta.mtime() == UNTOUCHED && meta.mtime_nsec() == 0
}

fn mark_untouched(dir: &Path) -> io::Result<()> {
    let time = UNIX_EPOCH + Duration::from_secs(UNTOUCHED.unsigned_abs());
    File::open(dir)?.set_times(FileTimes::new().set_modified(time))
}

pub(crate) fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn scratch(temp: &Path) -> (WorkDir, Scratch) {
        let name = format!("w{}", temp.file_name().unwrap().to_str().unwrap());
        let work = WorkDir::create(temp, &name, "").unwrap();
        let scratch = work.slot(0, 0).unwrap();
        (work, scratch)
    }

    #[test]
    fn a_directory_is_handed_on_only_if_it_was_left_empty() {
        let temp = tempfile::tempdir().unwrap();
        let (_work, mut scratch) = scratch(temp.path());
        let dir = scratch.output.clone();
        let inode = || fs::metadata(&dir).unwrap().ino();
        let first = inode();
        assert!(!Scratch::is_used(&dir));
        scratch.clean().unwrap();
        assert_eq!(inode(), first);

        fs::write(dir.join("model"), "x").unwrap();
        assert_eq!(
            scratch.look(),
            LeftBehind { output: true, checkpoint: false },
            "also at once after the directory is made"
        );
        fs::remove_file(dir.join("model")).unwrap();
        assert_eq!(scratch.look(), LeftBehind { output: false, checkpoint: false });
        scratch.clean().unwrap();
        assert_eq!(inode(), first, "made and removed again is empty");

        fs::write(dir.join("model"), "x").unwrap();
        scratch.clean().unwrap();
        assert!(!Scratch::is_used(&dir));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn whatever_a_trainer_did_to_its_directory_the_next_one_finds_it_empty() {
        let temp = tempfile::tempdir().unwrap();
        let (_work, mut scratch) = scratch(temp.path());
        let dir = scratch.checkpoint.clone();
        let outside = temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let deeds: [(&str, &dyn Fn()); 4] = [
            ("removed it", &|| fs::remove_dir(&dir).unwrap()),
            ("made it a file", &|| {
                fs::remove_dir(&dir).unwrap();
                fs::write(&dir, "x").unwrap();
            }),
            ("made it a link", &|| {
                fs::remove_dir(&dir).unwrap();
                symlink(&outside, &dir).unwrap();
            }),
            ("closed it", &|| {
                fs::write(dir.join("x"), "x").unwrap();
                fs::set_permissions(&dir, fs::Permissions::from_mode(0o000)).unwrap();
            }),
        ];
        for (name, deed) in deeds {
            deed();
            let is_there = fs::symlink_metadata(&dir).is_ok_and(|meta| !meta.is_dir());
            assert_eq!(scratch.replaced().is_some(), is_there, "{name}");
            assert!(!is_there || !scratch.look().checkpoint, "{name}: nothing of it is published");
            let _ = scratch.look();
            scratch.clean().unwrap();
            assert_eq!(scratch.replaced(), None, "{name}");
            assert!(fs::symlink_metadata(&dir).unwrap().is_dir(), "{name}");
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "{name}");
        }
        assert!(outside.join("kept").exists());
    }

    /// A metrics file that nobody can remove, while this is there.
    struct Stuck(PathBuf);

    impl Stuck {
        fn change(&self, how: &str) -> bool {
            let chattr = std::process::Command::new("chattr").arg(how).arg(&self.0).output();
            chattr.is_ok_and(|done| done.status.success())
        }
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            self.change("-i");
        }
    }

    #[test]
    fn what_cannot_be_removed_is_no_metrics_of_the_next_attempt() {
        let temp = tempfile::tempdir().unwrap();
        let (_work, mut scratch) = scratch(temp.path());
        fs::write(&scratch.metrics, "{\"loss\": 9}\n").unwrap();
        let stuck = Stuck(scratch.metrics.clone());
        if !stuck.change("+i") {
            eprintln!("SKIPPED: no right to make a file that cannot be removed");
            assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
            return;
        }
        for turn in 0..2 {
            scratch.clean().unwrap();
            assert_ne!(scratch.metrics, stuck.0, "{turn}");
            assert!(!scratch.metrics.exists() && scratch.output.is_dir(), "{turn}");
            Scratch::write(&scratch.params, "{}", None).unwrap();
        }
        assert!(stuck.0.exists());
    }

    #[test]
    fn what_a_trainer_puts_in_the_place_of_its_parameters_is_replaced_and_not_written_to() {
        let temp = tempfile::tempdir().unwrap();
        let (_work, scratch) = scratch(temp.path());
        // On the same file system, for the sake of the second name.
        let thesis = scratch.params.with_file_name("thesis");
        fs::write(&thesis, "years of work").unwrap();
        let deeds: [(&str, &dyn Fn()); 4] = [
            ("a link", &|| symlink(&thesis, &scratch.params).unwrap()),
            ("another name of a file", &|| fs::hard_link(&thesis, &scratch.wandb).unwrap()),
            ("a directory", &|| fs::create_dir(&scratch.params).unwrap()),
            ("a pipe", &|| {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, &scratch.wandb, FileType::Fifo, Mode::RWXU, 0).unwrap();
            }),
        ];
        for (name, deed) in deeds {
            for path in [&scratch.params, &scratch.wandb] {
                remove(path);
            }
            deed();
            for path in [&scratch.params, &scratch.wandb] {
                Scratch::write(path, "{}", None).unwrap();
                assert!(fs::symlink_metadata(path).unwrap().is_file(), "{name}");
                assert_eq!(fs::read_to_string(path).unwrap(), "{}", "{name}");
            }
            assert_eq!(fs::read_to_string(&thesis).unwrap(), "years of work", "{name}");
        }
    }

    #[test]
    fn parameters_are_for_the_user_alone_and_go_with_the_worker() {
        let temp = tempfile::tempdir().unwrap();
        let (work, scratch) = scratch(temp.path());
        Scratch::write(&scratch.params, "{\"a\":1,\"b\":2}", None).unwrap();
        Scratch::write(&scratch.params, "{\"a\":1,\"b\":22}", None).unwrap();
        assert_eq!(fs::read_to_string(&scratch.params).unwrap(), "{\"a\":1,\"b\":22}");
        Scratch::write(&scratch.params, "{}", None).unwrap();
        assert_eq!(fs::read_to_string(&scratch.params).unwrap(), "{}");
        assert_eq!(fs::metadata(&scratch.params).unwrap().mode() & 0o777, 0o600);
        drop(work);
        assert!(!scratch.params.exists() && !scratch.output.exists());
    }
}
