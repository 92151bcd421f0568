//! The slot's loop: one thread, one `poll`, one trainer at a time, and one more that may wait for its end.
//! Invariant: nothing of a trainer is alive when the next one starts. Memory is bounded: while the worker does not read, neither does the slot, and the trainer waits.

use std::io::{self, IsTerminal, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use gridctl_core::id::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, set_child_subreaper};

use crate::clock;

use super::spawn::{Child, NotStarted, Spawner};
use super::{Ended, Fault, FrameError, Frames, SlotEvent, SlotRequest, Start, Stream, descend, put_frame};

/// Read from a pipe at once.
const CHUNK: usize = 64 << 10;
/// While more than this waits for the worker, the trainer's output is not read.
const HIGH_WATER: usize = 256 << 10;
/// A trainer that has written less than this at once may rest its pipes, so that all of a short trial is one message.
const LOW_WATER: usize = 16 << 10;
/// After everything that could write is dead, a pipe holds no more than this.
const DRAIN: usize = 4 << 20;
/// For so long after a start, and after a little output, neither the trainer's pipes nor requests are looked at: each look
/// would take a processor from the trainer, and most of what a short one needs can be done at its end.
const REST: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// A trainer that has written much at once is not rested for so long, in milliseconds: it would wait for the pipe.
const LIVELY_MS: u64 = 100;
/// How often orphans of a trainer that goes on are reaped.
const REAP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Why a slot ends before its worker wants it to.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlotError {
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
pub(super) fn serve() -> Result<(), SlotError> {
    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        return Err(SlotError::Terminal);
    }
    let system = |what| move |error: Errno| SlotError::System { what, error: error.into() };
    set_child_subreaper(Some(getpid())).map_err(system("become child subreaper"))?;
    // What `poll` saw may be gone by the time of a read: nothing here may block but `poll`.
    unblock(io::stdin()).map_err(system("set standard input"))?;
    unblock(io::stdout()).map_err(system("set standard output"))?;
    let mut slot = Slot::default();
    let served = slot.serve_all();
    descend::end_all(slot.running.as_ref().map(|running| running.pid));
    served
}

/// The trainer that is there.
struct Running {
    id: u64,
    pid: Pid,
    exited: OwnedFd,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    /// A signal was sent to it.
    asked: bool,
}

/// What `poll` said.
#[derive(Default)]
struct Ready {
    request: bool,
    gone: bool,
    exited: bool,
    stdout: bool,
    stderr: bool,
    nothing: bool,
}

#[derive(Default)]
struct Slot {
    requests: Frames,
    /// What the worker has not taken yet.
    out: Vec<u8>,
    /// Pipes are left alone, and what is in `out` can wait, until [`REST`] is over or the trainer ends.
    resting: bool,
    /// Until then a little output is part of much, and no reason for a rest.
    lively_until: Time,
    /// What is in `out` must go now.
    hurry: bool,
    spawner: Spawner,
    running: Option<Running>,
    /// Starts when `running` has ended.
    next: Option<Start>,
    chunk: Vec<u8>,
}

impl Slot {
    /// Until the worker is gone.
    fn serve_all(&mut self) -> Result<(), SlotError> {
        self.chunk = vec![0; CHUNK];
        loop {
            let ready = self.wait()?;
            if ready.gone {
                return Ok(());
            }
            if ready.stdout {
                self.relay(Stream::Out)?;
            }
            if ready.stderr {
                self.relay(Stream::Err)?;
            }
            // Before the requests: what has ended is not asked to stop any more.
            if ready.exited {
                self.finish()?;
            }
            if ready.request && !self.take_requests()? {
                return Ok(());
            }
            if ready.nothing && !std::mem::take(&mut self.resting) {
                self.reap_strays();
            }
            if !self.can_wait() && !self.send()? {
                return Ok(());
            }
        }
    }

    /// Whether what is in `out` may stay there for now.
    fn can_wait(&self) -> bool {
        self.out.is_empty() || (self.resting && !self.hurry && self.out.len() < LOW_WATER)
    }

    /// A trainer that goes on for days may leave many orphans.
    fn reap_strays(&self) {
        if let Some(running) = &self.running {
            descend::reap_strays(running.pid);
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Result<Ready, SlotError> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let write = if self.can_wait() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = Vec::with_capacity(5);
        // That the worker is gone is always told.
        let read = if self.resting { PollFlags::empty() } else { PollFlags::IN };
        fds.push(PollFd::new(&stdin, read));
        fds.push(PollFd::new(&stdout, write));
        let (mut at_out, mut at_err) = (0, 0);
        if let Some(running) = &self.running {
            fds.push(PollFd::new(&running.exited, PollFlags::IN));
            if !self.resting && self.out.len() < HIGH_WATER {
                for (pipe, at) in [
                    (running.stdout.as_ref().map(AsFd::as_fd), &mut at_out),
                    (running.stderr.as_ref().map(AsFd::as_fd), &mut at_err),
                ] {
                    if let Some(pipe) = pipe {
                        *at = fds.len();
                        fds.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
                    }
                }
            }
        }
        let timeout = match (self.resting, &self.running) {
            (true, _) => Some(&REST),
            (false, Some(_)) => Some(&REAP),
            (false, None) => None,
        };
        let count = match poll(&mut fds, timeout) {
            Ok(count) => count,
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(SlotError::System { what: "poll", error: error.into() }),
        };
        let set = |at: usize| at > 0 && fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready {
            request: !fds[0].revents().is_empty(),
            gone: fds[1].revents().intersects(PollFlags::ERR | PollFlags::NVAL),
            exited: self.running.is_some() && set(2),
            stdout: set(at_out),
            stderr: set(at_err),
            nothing: count == 0,
        })
    }

    /// Reads what the worker wants; false if it is gone.
    fn take_requests(&mut self) -> Result<bool, SlotError> {
        match rustix::io::read(io::stdin(), &mut self.chunk[..]) {
            Ok(0) => return Ok(false),
            Ok(n) => self.requests.buffer.extend_from_slice(&self.chunk[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(SlotError::System { what: "read requests", error: error.into() }),
        }
        while let Some(request) = self.requests.next::<SlotRequest>()? {
            match request {
                SlotRequest::Base { env } => self.spawner.set_base(env)?,
                SlotRequest::Start(start) if self.running.is_some() && self.next.is_none() => {
                    self.next = Some(start);
                }
                SlotRequest::Start(start) => self.start(&start)?,
                SlotRequest::Withdraw { id } => self.withdraw(id)?,
                SlotRequest::Ping { number } => {
                    self.hurry = true;
                    put_frame(&SlotEvent::Pong { number }, &mut self.out)?;
                }
                SlotRequest::Signal { id, signal } => self.signal(id, signal),
            }
        }
        Ok(true)
    }

    fn start(&mut self, start: &Start) -> Result<(), SlotError> {
        let id = start.id;
        if clock::now().0 > start.by_ms {
            self.hurry = true;
            return Ok(put_frame(&SlotEvent::Withdrawn { id }, &mut self.out)?);
        }
        let event = match self.try_start(start) {
            Ok(pid) => {
                self.resting = true;
                SlotEvent::Started { id, pid }
            }
            Err(NotStarted { fault, text }) => {
                self.hurry = true;
                SlotEvent::NotStarted { id, fault, text }
            }
        };
        Ok(put_frame(&event, &mut self.out)?)
    }

    fn try_start(&mut self, start: &Start) -> Result<u32, NotStarted> {
        let machine = |text| NotStarted { fault: Fault::Machine, text };
        if self.running.is_some() {
            return Err(machine("the slot was asked for more trainers than may wait".to_owned()));
        }
        let Child { pid, stdout, stderr } = self.spawner.spawn(start)?;
        let unblocked = unblock(&stdout).and_then(|()| unblock(&stderr));
        let exited = match unblocked.and_then(|()| pidfd_open(pid, PidfdFlags::empty())) {
            Ok(exited) => exited,
            Err(error) => {
                descend::end_all(Some(pid));
                return Err(machine(format!("this machine could not watch the trainer: {error}")));
            }
        };
        let (stdout, stderr) = (Some(stdout), Some(stderr));
        self.running = Some(Running { id: start.id, pid, exited, stdout, stderr, asked: false });
        Ok(pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn withdraw(&mut self, id: u64) -> Result<(), SlotError> {
        if self.next.take_if(|next| next.id == id).is_some() {
            self.hurry = true;
            put_frame(&SlotEvent::Withdrawn { id }, &mut self.out)?;
        }
        Ok(())
    }

    /// Sends a signal to the trainer's group, if it is the start `id`.
    fn signal(&mut self, id: u64, signal: i32) {
        let Some(running) = self.running.as_mut().filter(|running| running.id == id) else { return };
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        running.asked |= kill_process_group(running.pid, signal).is_ok();
    }

    /// Passes on one read of the trainer's output.
    fn relay(&mut self, stream: Stream) -> Result<(), SlotError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let read = match stream {
            Stream::Out => running.stdout.as_mut().map(|pipe| pipe.read(&mut self.chunk)),
            Stream::Err => running.stderr.as_mut().map(|pipe| pipe.read(&mut self.chunk)),
        };
        match read {
            Some(Ok(n)) if n > 0 => {
                let bytes = self.chunk[..n].to_vec();
                put_frame(&SlotEvent::Output { id: running.id, stream, bytes }, &mut self.out)?;
                let now = clock::now();
                if n >= LOW_WATER {
                    self.lively_until = now.after_ms(LIVELY_MS);
                }
                self.resting = now >= self.lively_until;
            }
            Some(Err(error)) if is_passing(&error) => {}
            _ => match stream {
                Stream::Out => running.stdout = None,
                Stream::Err => running.stderr = None,
            },
        }
        Ok(())
    }

    /// The trainer has ended: ends what it left, takes what is still in the pipes, says so, and starts the next.
    fn finish(&mut self) -> Result<(), SlotError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let used = match wait4::try_wait4_pid(running.pid.as_raw_nonzero().get().unsigned_abs()) {
            Ok(Some(used)) => used,
            Ok(None) => return Ok(()),
            Err(error) => return Err(SlotError::System { what: "wait for the trainer", error }),
        };
        let (id, pid, asked) = (running.id, running.pid, running.asked);
        let left_behind = descend::end_all(Some(pid));
        self.drain(Stream::Out)?;
        self.drain(Stream::Err)?;
        self.running = None;
        let cpu = used.rusage.utime + used.rusage.stime;
        let event = SlotEvent::Exited {
            id,
            exit: ended(used.status),
            asked,
            cpu_ms: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            peak_rss_kib: used.rusage.maxrss / 1024,
            left_behind,
        };
        put_frame(&event, &mut self.out)?;
        (self.resting, self.hurry) = (false, true);
        if let Some(next) = self.next.take() {
            return self.start(&next);
        }
        // The next one may have come during the rest. If the worker is gone, the next look says so.
        if is_readable(io::stdin().as_fd()) {
            self.take_requests()?;
        }
        Ok(())
    }

    /// Passes on what is in a pipe whose writers are dead, and waits for nothing.
    fn drain(&mut self, stream: Stream) -> Result<(), SlotError> {
        let limit = self.out.len() + DRAIN;
        while self.out.len() < limit && self.readable(stream) {
            self.relay(stream)?;
        }
        Ok(())
    }

    fn readable(&self, stream: Stream) -> bool {
        let Some(running) = &self.running else { return false };
        let pipe: Option<BorrowedFd<'_>> = match stream {
            Stream::Out => running.stdout.as_ref().map(AsFd::as_fd),
            Stream::Err => running.stderr.as_ref().map(AsFd::as_fd),
        };
        pipe.is_some_and(is_readable)
    }

    /// Writes what the worker takes; false if it is gone.
    fn send(&mut self) -> Result<bool, SlotError> {
        let mut sent = 0;
        while sent < self.out.len() {
            match rustix::io::write(io::stdout(), &self.out[sent..]) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::PIPE) => return Ok(false),
                Err(error) => {
                    return Err(SlotError::System { what: "answer the worker", error: error.into() });
                }
            }
        }
        self.out.drain(..sent);
        self.hurry &= !self.out.is_empty();
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

fn is_readable(pipe: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, Some(signal)) => Ended::Signal(signal),
        (None, None) => Ended::Code(-1),
    }
}
