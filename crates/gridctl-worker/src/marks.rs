//! Finds and ends trainers by the mark in their environment, where no parent is left that could.
//! Invariant: a process is ended only if its own environment carries the mark, and never the caller
//! or one of its ancestors.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, pidfd_open, pidfd_send_signal, waitpid,
};

/// The variable in every trainer's environment that says to whom it belongs:
/// `<data directory's mark>/<worker>/<slot>`.
pub const MARK_VARIABLE: &str = "GRID_MARK";

/// After SIGKILL a process is waited for so long.
const ENDS_WITHIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// A process whose environment is not shown within this is passed over.
const READS_WITHIN: Duration = Duration::from_secs(1);
/// How often the processes are looked through for ones that were born meanwhile.
const MOST_ROUNDS: u32 = 100;

/// Ends every process whose mark is `prefix` or begins with `prefix/`, daemons and their children
/// included; returns the ended ones.
///
/// Processes of other users, which cannot be read, are left alone, as is everything that cleared
/// its environment.
pub fn end_marked(prefix: &str) -> Vec<u32> {
    let spared = ancestors();
    let mut ended = Vec::new();
    // Those that stand still, in a paused container say, end when they go on: nobody waits for
    // them twice.
    let mut frozen = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        let mut found = marked(prefix, &spared);
        found.retain(|(pid, _)| !frozen.contains(pid));
        if found.is_empty() {
            break;
        }
        for (pid, handle) in &found {
            if pidfd_send_signal(handle, Signal::KILL).is_ok() && !ended.contains(&raw(*pid)) {
                ended.push(raw(*pid));
            }
        }
        for (pid, handle) in found {
            // A process that is ending shows no environment any more, and yet is not gone.
            if poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&ENDS_WITHIN)) == Ok(0) {
                frozen.insert(pid);
            }
            // Where it had become our child, it is ours to reap.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
    ended
}

/// The living processes that carry the mark. The handle is taken before the look, so that the
/// number cannot pass to a stranger between.
fn marked(prefix: &str, spared: &HashSet<Pid>) -> Vec<(Pid, OwnedFd)> {
    let mut environs = PatientReader::new(|pid: Pid| fs::read(format!("/proc/{}/environ", raw(pid))).ok());
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| !spared.contains(pid))
        .filter_map(|pid| {
            let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            let environ = environs.read(pid)?;
            carries(&environ, prefix).then_some((pid, handle))
        })
        .collect()
}

/// Reads one thing after the other, each in a thread that is left behind if the read does not end.
/// The kernel makes who reads a process's environment wait for that process's memory, which a file
/// system that does not answer may keep for ever.
struct PatientReader<Q, A> {
    read: Arc<dyn Fn(Q) -> Option<A> + Send + Sync>,
    thread: Option<(Sender<Q>, Receiver<Option<A>>)>,
}

impl<Q: Send + 'static, A: Send + 'static> PatientReader<Q, A> {
    fn new(read: impl Fn(Q) -> Option<A> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), thread: None }
    }

    /// What is read, or `None` if that is nothing, or takes longer than [`READS_WITHIN`].
    fn read(&mut self, question: Q) -> Option<A> {
        let (questions, answers) = match self.thread.take() {
            Some(thread) => thread,
            None => self.start()?,
        };
        questions.send(question).ok()?;
        let answer = answers.recv_timeout(READS_WITHIN).ok()?;
        self.thread = Some((questions, answers));
        answer
    }

    fn start(&self) -> Option<(Sender<Q>, Receiver<Option<A>>)> {
        let (questions, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let read = Arc::clone(&self.read);
        let reads = move || {
            while let Ok(question) = asked.recv() {
                if answer.send(read(question)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("environ".to_owned()).spawn(reads).ok()?;
        Some((questions, answers))
    }
}

/// Whether an environment, as the kernel shows it, has the mark.
fn carries(environ: &[u8], prefix: &str) -> bool {
    environ.split(|byte| *byte == 0).any(|variable| {
        let value = variable
            .strip_prefix(MARK_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .and_then(|value| value.strip_prefix(prefix.as_bytes()));
        value.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

/// This process and those that it descends from: a worker may itself have been started by a
/// trainer.
fn ancestors() -> HashSet<Pid> {
    let mut known = HashSet::from([getpid()]);
    let mut next = getppid();
    while let Some(pid) = next
        && known.insert(pid)
    {
        next = parent_of(raw(pid)).and_then(|parent| Pid::from_raw(i32::try_from(parent).ok()?));
    }
    known
}

/// The parent of a process: the second field after the command's name, which may itself hold spaces
/// and brackets.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether `pid` is there and not merely waiting to be reaped.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    !matches!(state, Some("Z" | "X") | None)
}

/// Ends the children of this process that are not in `known`: what a slot left that died before it
/// could end it. Only for a process that is child subreaper and starts nothing but slots.
pub(crate) fn end_adopted(known: &[u32]) -> usize {
    let mut ended = 0_usize;
    for round in 0..MOST_ROUNDS {
        let strays: Vec<Pid> = children().into_iter().filter(|pid| !known.contains(&raw(*pid))).collect();
        if strays.is_empty() {
            break;
        }
        if round > 0 {
            thread::sleep(Duration::from_millis(u64::from(round.min(20))));
        }
        for pid in strays {
            // A child of ours keeps its number until we reap it.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            if !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None) | Err(Errno::INTR)) {
                ended += 1;
            }
        }
    }
    ended
}

/// Waits for these children of ours; those that are not gone within `patience` are killed. Whether
/// all went by themselves.
pub(crate) fn reap(children: &[u32], patience: Duration) -> bool {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut left: Vec<Pid> =
        children.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)).collect();
    let mut waited = Duration::ZERO;
    loop {
        left.retain(|pid| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None) | Err(Errno::INTR)));
        if left.is_empty() {
            return true;
        }
        if waited >= patience {
            break;
        }
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    for pid in left {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
    false
}

/// This process's children, whichever of its threads started them.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn raw(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    #[test]
    fn only_the_whole_variable_with_the_whole_prefix_counts() {
        let cases: [(&[u8], bool); 7] = [
            (b"A=1\0GRID_MARK=m1\0B=2\0", true),
            (b"GRID_MARK=m1/w/0\0", true),
            (b"GRID_MARK=m12/w/0\0", false),
            (b"GRID_MARK=m\0", false),
            (b"OLD_GRID_MARK=m1\0", false),
            (b"NOTE=GRID_MARK=m1\0", false),
            (b"GRID_MARK_X=m1\0", false),
        ];
        for (environ, expected) in cases {
            assert_eq!(carries(environ, "m1"), expected, "{}", environ.escape_ascii());
        }
    }

    #[test]
    fn what_is_never_answered_is_passed_over_and_the_next_is_read() {
        let (hangs, waits) = mpsc::channel::<()>();
        let waits = std::sync::Mutex::new(waits);
        let read = move |n: u32| match n {
            // Until the test is over.
            2 => waits.lock().unwrap().recv().err().map(|_| 0),
            3 => None,
            n => Some(n * 10),
        };
        let mut reader = PatientReader::new(read);
        let answers: Vec<_> = (1..=5).map(|n| reader.read(n)).collect();
        assert_eq!(answers, [Some(10), None, None, Some(40), Some(50)]);
        drop(hangs);
    }

    #[test]
    fn the_marked_are_ended_and_nobody_else() {
        let sleeper = |mark: &str| -> Child {
            Command::new("/bin/sleep").arg("300").env(MARK_VARIABLE, mark).spawn().unwrap()
        };
        let mine = format!("test-{}", std::process::id());
        let (mut marked, mut other) = (sleeper(&format!("{mine}/w/1")), sleeper(&format!("{mine}x/w/1")));
        assert_eq!(end_marked(&mine), [marked.id()]);
        assert!(!is_alive(marked.id()), "it is gone, not merely going");
        assert!(is_alive(other.id()));
        other.kill().unwrap();
        other.wait().unwrap();
        drop(marked.wait());
    }
}
