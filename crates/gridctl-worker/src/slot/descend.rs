//! Ends every process below the slot: being child subreaper, it inherits whatever a trainer leaves
//! behind, daemons included.
//! Invariant: only the slot's own unreaped children are named in a signal, so that no number can
//! have passed to a stranger. In a container, where the slot is the first process, all others are
//! below it, and a signal to all reaches no one else.

use std::fs;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgid, getpid, kill_process, kill_process_group, wait, waitpid,
};

use crate::marks::parent_of;

/// Ends and reaps all that is left and says how many processes had to be ended. With nothing left,
/// the usual case, this is one system call.
pub(super) fn end_all(trainer: Option<Pid>) -> u32 {
    let mut ended = 0;
    let mut killing = false;
    loop {
        match wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return ended,
            Ok(Some(_)) => ended += u32::from(killing),
            Ok(None) => {
                killing = true;
                kill_children(trainer);
                if let Ok(Some(_)) = wait(WaitOptions::empty()) {
                    ended += 1;
                }
            }
            Err(_) => {}
        }
    }
}

/// SIGKILL to each child, and to the trainer's whole group while a member of it is our child:
/// against a fork bomb, one by one is too slow.
fn kill_children(trainer: Option<Pid>) {
    if getpid().is_init() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), nix::sys::signal::Signal::SIGKILL);
        return;
    }
    for child in children() {
        match trainer {
            Some(group) if getpgid(Some(child)) == Ok(group) => {
                let _ = kill_process_group(group, Signal::KILL);
            }
            _ => {
                let _ = kill_process(child, Signal::KILL);
            }
        }
    }
}

/// Reaps what the trainer's descendants left us while it goes on.
pub(super) fn reap_strays(trainer: Pid) {
    for child in children().into_iter().filter(|child| *child != trainer) {
        let _ = waitpid(Some(child), WaitOptions::NOHANG);
    }
}

/// This process's children, zombies included.
fn children() -> Vec<Pid> {
    let own = std::process::id();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => list.split_ascii_whitespace().filter_map(parse_pid).collect(),
        Err(_) => children_by_search(own),
    }
}

/// The same on a kernel that keeps no list of children.
fn children_by_search(own: u32) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| parse_pid(entry.ok()?.file_name().to_str()?));
    pids.filter(|pid| parent_of(pid.as_raw_nonzero().get().unsigned_abs()) == Some(own)).collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_with_and_without_the_kernels_list() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(children_by_search(std::process::id()).contains(&pid));
        assert_eq!(parent_of(child.id()), Some(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
