//! A disk in memory, mounted as a real file system, that loses what was not synced when its power is cut.
//! Invariant: what survives a cut is all that was synced, and of the rest any part, in sectors of 512 bytes; names of a directory
//! that was not synced survive in the order in which they were made.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Written at once by a disk, or not.
const SECTOR: usize = 512;
/// Nobody else changes the file system, so the kernel may keep what it knows.
const TTL: Duration = Duration::from_secs(60);

/// What changed in a file since it was synced.
#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What changed in a directory since it was synced.
#[derive(Clone)]
enum Entry {
    Set(OsString, u64),
    Gone(OsString),
    Renamed(OsString, OsString, u64),
}

#[derive(Clone)]
enum Node {
    File { live: Vec<u8>, synced: Vec<u8>, since: Vec<Change> },
    Dir { live: BTreeMap<OsString, u64>, synced: BTreeMap<OsString, u64>, since: Vec<Entry> },
}

#[derive(Clone)]
struct Inode {
    node: Node,
    mode: u16,
}

#[derive(Clone)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
}

/// The disk. Cheap to clone: all clones are one disk.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, bytes) => {
            let end = at + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at..end].copy_from_slice(bytes);
        }
        Change::Length(length) => content.resize(*length, 0),
    }
}

fn enter(entries: &mut BTreeMap<OsString, u64>, entry: &Entry) {
    match entry {
        Entry::Set(name, inode) => drop(entries.insert(name.clone(), *inode)),
        Entry::Gone(name) => drop(entries.remove(name)),
        Entry::Renamed(from, to, inode) => {
            entries.remove(from);
            entries.insert(to.clone(), *inode);
        }
    }
}

/// The sectors of a write that reached the disk.
fn torn(at: usize, bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<Change> {
    let sectors = bytes.chunks(SECTOR).enumerate();
    let reached = sectors.filter(|_| rng.random_bool(0.5));
    reached.map(|(sector, part)| Change::Write(at + sector * SECTOR, part.to_vec())).collect()
}

impl Disk {
    pub(crate) fn new() -> Self {
        let (live, synced, since) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let root = Inode { node: Node::Dir { live, synced, since }, mode: 0o700 };
        Self(Arc::new(Mutex::new(State { inodes: BTreeMap::from([(1, root)]), next: 2 })))
    }

    /// What a machine would find after its power was cut now.
    pub(crate) fn cut(&self, rng: &mut ChaCha8Rng) -> Self {
        let mut state = self.state(State::clone);
        for inode in state.inodes.values_mut() {
            match &mut inode.node {
                Node::File { live, synced, since } => {
                    for change in std::mem::take(since) {
                        match (rng.random_range(0..5), &change) {
                            (0, _) => {}
                            (1, Change::Write(at, bytes)) => {
                                torn(*at, bytes, rng).iter().for_each(|part| apply(synced, part));
                            }
                            _ => apply(synced, &change),
                        }
                    }
                    live.clone_from(synced);
                }
                Node::Dir { live, synced, since } => {
                    let kept = rng.random_range(0..=since.len());
                    since.iter().take(kept).for_each(|entry| enter(synced, entry));
                    since.clear();
                    live.clone_from(synced);
                }
            }
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// Mounts the disk at `dir` until what is returned is dropped.
    pub(crate) fn mount(&self, dir: &Path) -> io::Result<BackgroundSession> {
        fuser::spawn_mount(self.clone(), dir, &Config::default())
    }

    fn state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn attr(&self, number: u64) -> Result<FileAttr, Errno> {
        let inode = self.inodes.get(&number).ok_or(Errno::ENOENT)?;
        let (size, kind) = match &inode.node {
            Node::File { live, .. } => (live.len() as u64, FileType::RegularFile),
            Node::Dir { .. } => (0, FileType::Directory),
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: inode.mode,
            nlink: 1,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn find(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        match self.inodes.get(&parent).map(|inode| &inode.node) {
            Some(Node::Dir { live, .. }) => live.get(name).copied().ok_or(Errno::ENOENT),
            Some(Node::File { .. }) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn enter(&mut self, parent: u64, entry: Entry) -> Result<(), Errno> {
        let Some(Inode { node: Node::Dir { live, since, .. }, .. }) = self.inodes.get_mut(&parent) else {
            return Err(Errno::ENOTDIR);
        };
        enter(live, &entry);
        since.push(entry);
        Ok(())
    }

    fn make(&mut self, parent: u64, name: &OsStr, (node, mode): (Node, u32)) -> Result<u64, Errno> {
        if self.find(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let number = self.next;
        self.next += 1;
        let mode = u16::try_from(mode & 0o7777).unwrap_or(0o600);
        self.inodes.insert(number, Inode { node, mode });
        self.enter(parent, Entry::Set(name.to_owned(), number))?;
        Ok(number)
    }

    fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.find(parent, name)?;
        if let Some(Inode { node: Node::Dir { live, .. }, .. }) = self.inodes.get(&number)
            && !live.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.enter(parent, Entry::Gone(name.to_owned()))
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), keep: bool) -> Result<(), Errno> {
        let number = self.find(from.0, from.1)?;
        if keep && self.find(to.0, to.1).is_ok() {
            return Err(Errno::EEXIST);
        }
        if from.0 == to.0 {
            return self.enter(from.0, Entry::Renamed(from.1.to_owned(), to.1.to_owned(), number));
        }
        self.enter(to.0, Entry::Set(to.1.to_owned(), number))?;
        self.enter(from.0, Entry::Gone(from.1.to_owned()))
    }

    fn file(&mut self, number: u64, change: Change) -> Result<(), Errno> {
        let Some(Inode { node: Node::File { live, since, .. }, .. }) = self.inodes.get_mut(&number) else {
            return Err(Errno::EISDIR);
        };
        apply(live, &change);
        since.push(change);
        Ok(())
    }

    fn sync(&mut self, number: u64) -> Result<(), Errno> {
        match &mut self.inodes.get_mut(&number).ok_or(Errno::ENOENT)?.node {
            Node::File { synced, since, .. } => since.drain(..).for_each(|change| apply(synced, &change)),
            Node::Dir { synced, since, .. } => since.drain(..).for_each(|entry| enter(synced, &entry)),
        }
        Ok(())
    }
}

fn empty_file() -> Node {
    Node::File { live: Vec::new(), synced: Vec::new(), since: Vec::new() }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.state(|state| state.attr(state.find(parent.0, name)?)), reply);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state(|state| state.attr(number.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.change(|state| {
            if let Some(size) = size {
                state.file(number.0, Change::Length(usize::try_from(size).map_err(|_| Errno::EFBIG)?))?;
            }
            if let (Some(mode), Some(inode)) = (mode, state.inodes.get_mut(&number.0)) {
                inode.mode = u16::try_from(mode & 0o7777).unwrap_or(inode.mode);
            }
            state.attr(number.0)
        });
        match changed {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let node = Node::Dir { live: BTreeMap::new(), synced: BTreeMap::new(), since: Vec::new() };
        let made = self.change(|state| {
            let number = state.make(parent.0, name, (node, mode & !umask))?;
            state.attr(number)
        });
        entry(made, reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.change(|state| {
            let number = state.make(parent.0, name, (empty_file(), mode & !umask))?;
            state.attr(number)
        });
        match made {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.change(|state| state.remove(parent.0, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.change(|state| state.remove(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let keep = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let renamed = |state: &mut State| state.rename((parent.0, name), (new_parent.0, new_name), keep);
        done(self.change(renamed), reply);
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.change(|state| {
            if state.find(parent.0, name).is_ok() {
                return Err(Errno::EEXIST);
            }
            state.enter(parent.0, Entry::Set(name.to_owned(), number.0))?;
            state.attr(number.0)
        });
        entry(linked, reply);
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let truncate = rustix::fs::OFlags::TRUNC.bits().cast_signed();
        if flags.0 & truncate != 0 {
            let emptied = self.change(|state| state.file(number.0, Change::Length(0)));
            if let Err(error) = emptied {
                return reply.error(error);
            }
        }
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let part = self.state(|state| match state.inodes.get(&number.0).map(|inode| &inode.node) {
            Some(Node::File { live, .. }) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(live.len());
                let end = begin.saturating_add(size as usize).min(live.len());
                Ok(live[begin..end].to_vec())
            }
            _ => Err(Errno::EISDIR),
        });
        match part {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = usize::try_from(offset).map_err(|_| Errno::EFBIG).and_then(|offset| {
            self.change(|state| state.file(number.0, Change::Write(offset, data.to_vec())))
        });
        match written {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.change(|state| state.sync(number.0)), reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.change(|state| state.sync(number.0)), reply);
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = self.state(|state| {
            let Some(Inode { node: Node::Dir { live, .. }, .. }) = state.inodes.get(&number.0) else {
                return Vec::new();
            };
            let kind = |inode: u64| state.attr(inode).map_or(FileType::RegularFile, |attr| attr.kind);
            live.iter().map(|(name, inode)| (name.clone(), *inode, kind(*inode))).collect()
        });
        for (place, (name, inode, kind)) in (1..).zip(entries).skip(usize::try_from(offset).unwrap_or(0)) {
            if reply.add(INodeNo(inode), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
