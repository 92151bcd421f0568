//! Where a process's own output ends up: the files that grow as it speaks.
//! Invariant: only looks, and only at what this user may see; what cannot be seen is left out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// From one pipe to the next: `| ts | tee log.txt` is two.
const PIPES: usize = 4;
/// Setting in `flags:` of `/proc/PID/fdinfo/FD` for descriptors that may be written to: `O_WRONLY`, `O_RDWR`.
const WRITES: u32 = 0o3;

/// The files, by device and inode, that output of the process `pid` goes to: directly, or through
/// programs that read it from a pipe, as `tee` does.
pub(crate) fn files_of(pid: Pid) -> Vec<(u64, u64)> {
    let process = Path::new("/proc").join(pid.as_raw_pid().to_string());
    let streams = [1, 2].map(|fd: u32| process.join("fd").join(fd.to_string()));
    let mut files = BTreeSet::new();
    let mut pipes = BTreeSet::new();
    let mut take = |stream: &Path, pipes: &mut BTreeSet<u64>| {
        let Ok(meta) = fs::metadata(stream) else { return };
        if meta.is_file() {
            files.insert((meta.dev(), meta.ino()));
        } else if is_pipe(stream) {
            pipes.insert(meta.ino());
        }
    };
    streams.iter().for_each(|stream| take(stream, &mut pipes));
    let mut seen = BTreeSet::new();
    for _ in 0..PIPES {
        let fresh: BTreeSet<u64> = pipes.difference(&seen).copied().collect();
        if fresh.is_empty() {
            break;
        }
        for reader in readers(pid, &fresh) {
            descriptors(&reader)
                .into_iter()
                .filter(|fd| writes(&reader, fd))
                .for_each(|fd| take(&fd, &mut pipes));
        }
        seen.extend(fresh);
    }
    files.into_iter().collect()
}

/// Processes of the session of `pid` that read one of the pipes.
fn readers(pid: Pid, pipes: &BTreeSet<u64>) -> Vec<PathBuf> {
    let own = Path::new("/proc").join(pid.as_raw_pid().to_string());
    let Some(session) = session(&own) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let others = entries.filter(|path| *path != own && self::session(path).as_ref() == Some(&session));
    let reads = |process: &PathBuf| {
        let reads = |fd: &PathBuf| {
            is_pipe(fd)
                && fs::metadata(fd).is_ok_and(|meta| pipes.contains(&meta.ino()))
                && !writes(process, fd)
        };
        descriptors(process).iter().any(reads)
    };
    others.filter(reads).collect()
}

/// The session of a process; 0 stands for one outside of a container.
fn session(process: &Path) -> Option<String> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(3).map(str::to_owned)
}

fn descriptors(process: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn is_pipe(fd: &Path) -> bool {
    fs::read_link(fd).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"))
}

fn writes(process: &Path, fd: &Path) -> bool {
    let Some(name) = fd.file_name() else { return false };
    let info = fs::read_to_string(process.join("fdinfo").join(name)).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & WRITES != 0)
}
