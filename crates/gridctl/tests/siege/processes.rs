//! The processes below one that a test has started, and what is left of them.
//! Invariant: a signal goes only to a process that was seen to descend from ours while its handle was already held, so that its
//! number cannot have passed to a stranger.
#![expect(clippy::unwrap_used, reason = "a test that cannot see its processes fails")]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable by which all that a test starts, however indirectly, is known again.
pub(crate) const BELONGS_TO: &str = "TEST_BELONGS_TO";

/// What a process below `gridctl run` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Worker,
    Slot,
    Trainer,
    /// What a trainer started, and what has not become anything yet.
    Other,
}

/// A process, as it was seen a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    pub(crate) role: Role,
}

/// Everything below `root`, parents before children.
pub(crate) fn below(root: u32) -> Vec<Seen> {
    let mut found: Vec<Seen> = Vec::new();
    let mut parents = vec![(root, None)];
    while let Some((parent, role)) = parents.pop() {
        for pid in children(parent) {
            let seen = Seen { pid, role: role_of(pid, role) };
            found.push(seen);
            parents.push((pid, Some(seen.role)));
        }
    }
    found
}

/// A child of `gridctl run` is a worker, a worker's a slot, a slot's a trainer, once they have become what they are to be.
fn role_of(pid: u32, parent: Option<Role>) -> Role {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    let is_ours = words.next() == Some(env!("CARGO_BIN_EXE_gridctl").as_bytes());
    match (parent, is_ours, words.next()) {
        (None, true, Some(b"worker")) => Role::Worker,
        (Some(Role::Worker), true, Some(b"slot")) => Role::Slot,
        (Some(Role::Slot), false, Some(_)) => Role::Trainer,
        _ => Role::Other,
    }
}

/// A handle by which `pid` can be killed; `None` if it is gone, or is not (or no longer) below `root`.
pub(crate) fn hold(pid: u32, root: u32) -> Option<OwnedFd> {
    let handle = pidfd_open(Pid::from_raw(i32::try_from(pid).unwrap())?, PidfdFlags::empty()).ok()?;
    let mut at = pid;
    for _ in 0..64 {
        let (state, parent) = state_and_parent(at)?;
        if at == pid && matches!(state, 'Z' | 'X') {
            return None;
        }
        match parent {
            0 | 1 => return None,
            parent if parent == root => return Some(handle),
            parent => at = parent,
        }
    }
    None
}

/// Sends SIGKILL; false if it had ended just before.
pub(crate) fn kill(handle: &OwnedFd) -> bool {
    pidfd_send_signal(handle, Signal::KILL).is_ok()
}

/// The living processes of this user that carry `BELONGS_TO=owner`, or the data directory's own mark, in their environment.
pub(crate) fn left_of(owner: &Path, mark: &str) -> Vec<String> {
    let owner = format!("{BELONGS_TO}={}", owner.display());
    let mark = format!("GRID_MARK={mark}");
    let carries = |environ: &[u8]| {
        environ.split(|byte| *byte == 0).any(|variable| {
            let rest = variable.strip_prefix(mark.as_bytes());
            variable == owner.as_bytes() || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| carries(&environ)))
        .map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("{pid}: {}", String::from_utf8_lossy(&command).replace('\0', " "))
        })
        .collect()
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// The two fields after the command's name, which may itself hold spaces and brackets.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
