//! The slot process: one thread and one `poll`, which do what [`SlotSupervisor`] says.
//! Invariant: nothing blocks but `poll` and the end of what was killed. Memory is bounded: while
//! the worker does not read, neither does the slot, and the trainer waits.

use std::io::{self, IsTerminal, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use gridctl_core::slot::{NotStarted, ReapedTrainer, SlotSupervisor, SlotWait, SupervisorTodo, WaitOutcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, set_child_subreaper};

use crate::clock;

use super::spawn::{Child, Spawner};
use super::{
    FrameError, Frames, OutputStream, SlotEvent, SlotRequest, StartFault, TrainerExit, TrainerStart, descend,
    put_frame,
};

/// Read from a pipe at once.
const CHUNK: usize = 64 << 10;
/// How much sooner than its slot a trainer is ended in a container whose memory is used up.
const OOM_SCORE: &str = "500";
/// After everything that could write is dead, a pipe holds no more than this.
const DRAIN: usize = 4 << 20;

/// Why a slot ends before its worker wants it to.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlotProcessError {
    #[error("this is a part of `gridctl worker`, which starts it by itself")]
    Terminal,
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a variable of the worker's: {0}")]
    Base(#[from] std::ffi::NulError),
}

/// Serves the worker until its pipe closes; nothing below this process is alive afterwards.
pub(super) fn serve() -> Result<(), SlotProcessError> {
    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        return Err(SlotProcessError::Terminal);
    }
    let system = |what| move |error: Errno| SlotProcessError::System { what, error: error.into() };
    set_child_subreaper(Some(getpid())).map_err(system("become child subreaper"))?;
    // What `poll` saw may be gone by the time of a read: nothing here may block but `poll`.
    unblock(io::stdin()).map_err(system("set standard input"))?;
    unblock(io::stdout()).map_err(system("set standard output"))?;
    let mut slot = SlotProcess::default();
    let served = slot.serve_all();
    descend::end_all(slot.running.as_ref().map(|running| running.pid));
    served
}

/// The trainer that is there.
struct RunningTrainer {
    id: u64,
    pid: Pid,
    exited: OwnedFd,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

#[derive(Default)]
struct SlotProcess {
    supervisor: SlotSupervisor,
    requests: Frames,
    /// What the worker has not taken yet.
    out: Vec<u8>,
    spawner: Spawner,
    running: Option<RunningTrainer>,
    chunk: Vec<u8>,
}

impl SlotProcess {
    /// Until the worker is gone.
    fn serve_all(&mut self) -> Result<(), SlotProcessError> {
        self.chunk = vec![0; CHUNK];
        loop {
            let is_there = match self.supervisor.next(self.out.len()) {
                SupervisorTodo::Wait(wait) => self.wait(wait)?,
                SupervisorTodo::ReadRequests => self.read_requests()?,
                SupervisorTodo::Send => self.send()?,
                SupervisorTodo::Relay(stream) => {
                    let bytes = self.relay(stream)?;
                    if bytes > 0 {
                        self.supervisor.relayed(clock::now(), bytes);
                    }
                    true
                }
                SupervisorTodo::Reap => {
                    if let Some(reaped) = self.reap()? {
                        self.supervisor.reaped(clock::now(), reaped);
                    }
                    true
                }
                SupervisorTodo::Start(start) => {
                    let started = self.start(&start);
                    self.supervisor.started(clock::now(), started);
                    true
                }
                todo => {
                    self.act(todo)?;
                    true
                }
            };
            if !is_there {
                return Ok(());
            }
        }
    }

    /// Does what nothing follows from.
    fn act(&mut self, todo: SupervisorTodo) -> Result<(), SlotProcessError> {
        match todo {
            SupervisorTodo::SetBase(env) => self.spawner.set_base(env)?,
            SupervisorTodo::Say(event) => put_frame(&event, &mut self.out)?,
            SupervisorTodo::Signal(signal) => self.signal(signal),
            // A trainer that goes on for days may leave many orphans.
            SupervisorTodo::ReapStrays => {
                if let Some(running) = &self.running {
                    descend::reap_strays(running.pid);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits until there is something to do; false if the worker is gone.
    fn wait(&mut self, wait: SlotWait) -> Result<bool, SlotProcessError> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let flag = |wanted, flag| if wanted { flag } else { PollFlags::empty() };
        let mut fds = Vec::with_capacity(5);
        // That the worker is gone is always told.
        fds.push(PollFd::new(&stdin, flag(wait.requests, PollFlags::IN)));
        fds.push(PollFd::new(&stdout, flag(wait.send, PollFlags::OUT)));
        let (mut at_exit, mut at_out, mut at_err) = (0, 0, 0);
        if let Some(running) = &self.running {
            for (fd, at) in [
                (Some(running.exited.as_fd()).filter(|_| wait.exit), &mut at_exit),
                (running.stdout.as_ref().filter(|_| wait.output).map(AsFd::as_fd), &mut at_out),
                (running.stderr.as_ref().filter(|_| wait.output).map(AsFd::as_fd), &mut at_err),
            ] {
                if let Some(fd) = fd {
                    *at = fds.len();
                    fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                }
            }
        }
        let timeout = wait.at_most_ms.map(timespec);
        let count = match poll(&mut fds, timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(SlotProcessError::System { what: "poll", error: error.into() }),
        };
        let set = |at: usize| at > 0 && fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        self.supervisor.saw(WaitOutcome {
            requests: !fds[0].revents().is_empty(),
            exit: set(at_exit),
            stdout: set(at_out),
            stderr: set(at_err),
            nothing: count == 0,
        });
        Ok(!fds[1].revents().intersects(PollFlags::ERR | PollFlags::NVAL))
    }

    /// Reads what the worker wants; false if it is gone.
    fn read_requests(&mut self) -> Result<bool, SlotProcessError> {
        match rustix::io::read(io::stdin(), &mut self.chunk[..]) {
            Ok(0) => return Ok(false),
            Ok(n) => self.requests.buffer.extend_from_slice(&self.chunk[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                return Err(SlotProcessError::System { what: "read requests", error: error.into() });
            }
        }
        while let Some(request) = self.requests.next::<SlotRequest>()? {
            self.supervisor.asked(clock::now(), request);
        }
        Ok(true)
    }

    /// Starts a trainer; its process.
    fn start(&mut self, start: &TrainerStart) -> Result<u32, NotStarted> {
        let Child { pid, stdout, stderr } = self.spawner.spawn(start)?;
        let unblocked = unblock(&stdout).and_then(|()| unblock(&stderr));
        let exited = match unblocked.and_then(|()| pidfd_open(pid, PidfdFlags::empty())) {
            Ok(exited) => exited,
            Err(error) => {
                descend::end_all(Some(pid));
                let text = format!("this machine could not watch the trainer: {error}");
                return Err(NotStarted { fault: StartFault::Machine, text });
            }
        };
        if getpid().is_init() {
            // Of a container's memory the trainer has most; its slot must not be ended in its place.
            let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
            drop(std::fs::write(path, OOM_SCORE));
        }
        let (stdout, stderr) = (Some(stdout), Some(stderr));
        self.running = Some(RunningTrainer { id: start.id, pid, exited, stdout, stderr });
        Ok(pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Sends a signal to the trainer's group.
    fn signal(&mut self, signal: i32) {
        let (Some(running), Some(signal)) = (&self.running, Signal::from_named_raw(signal)) else { return };
        if kill_process_group(running.pid, signal).is_ok() {
            self.supervisor.signalled();
        }
    }

    /// Passes on one read of the trainer's output; how many bytes.
    fn relay(&mut self, stream: OutputStream) -> Result<usize, SlotProcessError> {
        let Some(running) = &mut self.running else { return Ok(0) };
        let read = match stream {
            OutputStream::Out => running.stdout.as_mut().map(|pipe| pipe.read(&mut self.chunk)),
            OutputStream::Err => running.stderr.as_mut().map(|pipe| pipe.read(&mut self.chunk)),
        };
        match read {
            Some(Ok(n)) if n > 0 => {
                let bytes = self.chunk[..n].to_vec();
                put_frame(&SlotEvent::Output { id: running.id, stream, bytes }, &mut self.out)?;
                return Ok(n);
            }
            Some(Err(error)) if is_passing(&error) => {}
            _ => match stream {
                OutputStream::Out => running.stdout = None,
                OutputStream::Err => running.stderr = None,
            },
        }
        Ok(0)
    }

    /// If the trainer has ended: ends what it left, and takes what is still in the pipes.
    fn reap(&mut self) -> Result<Option<ReapedTrainer>, SlotProcessError> {
        let Some(running) = &self.running else { return Ok(None) };
        let used = match wait4::try_wait4_pid(running.pid.as_raw_nonzero().get().unsigned_abs()) {
            Ok(Some(used)) => used,
            Ok(None) => return Ok(None),
            Err(error) => return Err(SlotProcessError::System { what: "wait for the trainer", error }),
        };
        let left_behind = descend::end_all(Some(running.pid));
        self.drain(OutputStream::Out)?;
        self.drain(OutputStream::Err)?;
        self.running = None;
        let cpu = used.rusage.utime + used.rusage.stime;
        Ok(Some(ReapedTrainer {
            exit: ended(used.status),
            cpu_ms: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            peak_rss_kib: used.rusage.maxrss / 1024,
            left_behind,
        }))
    }

    /// Passes on what is in a pipe whose writers are dead, and waits for nothing.
    fn drain(&mut self, stream: OutputStream) -> Result<(), SlotProcessError> {
        let limit = self.out.len() + DRAIN;
        while self.out.len() < limit && self.relay(stream)? > 0 {}
        Ok(())
    }

    /// Writes what the worker takes; false if it is gone.
    fn send(&mut self) -> Result<bool, SlotProcessError> {
        let mut sent = 0;
        while sent < self.out.len() {
            match rustix::io::write(io::stdout(), &self.out[sent..]) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::PIPE) => return Ok(false),
                Err(error) => {
                    return Err(SlotProcessError::System { what: "answer the worker", error: error.into() });
                }
            }
        }
        self.out.drain(..sent);
        self.supervisor.sent(self.out.len());
        Ok(true)
    }
}

/// Makes reads and writes of a pipe's end return at once.
fn unblock(pipe: impl AsFd) -> Result<(), Errno> {
    fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)
}

/// Whether the next look at a pipe may find something, although this one did not.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

fn timespec(ms: u64) -> Timespec {
    let (secs, ms) = (ms / 1_000, ms % 1_000);
    Timespec {
        tv_sec: i64::try_from(secs).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ms * 1_000_000).unwrap_or(0),
    }
}

fn ended(status: ExitStatus) -> TrainerExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => TrainerExit::Code(code),
        (None, Some(signal)) => TrainerExit::Signal(signal),
        (None, None) => TrainerExit::Code(-1),
    }
}
