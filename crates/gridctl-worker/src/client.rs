//! The worker's end of a slot: starts the slot process, sends requests, receives events.
//! Invariant: the slot is in a process group of its own, so that a terminal's Ctrl-C reaches the
//! worker alone; once the client is closed or dropped, the slot ends itself and all below; nothing
//! waits for a slot that does not read.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::cgroup::SlotCgroup;
use crate::slot::{FrameError, Frames, SlotBody, SlotEvent, SlotRequest, put_frame};

/// A slot that was told to end has so long for it.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// The slot is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// It could not be started.
    #[error("cannot start the slot process {path}: {error}", path = path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was asked for a sign, and gave none.
    #[error(
        "the slot process did not answer for {0} s: what ran there was ended, and another one takes its place"
    )]
    Silent(u64),
    /// Its pipe broke: it was killed, say.
    #[error("the slot process has ended ({0})")]
    Gone(String),
    /// It said what cannot be understood.
    #[error("the slot process sent {0}")]
    Garbled(#[from] FrameError),
}

/// A slot process, as its worker has it.
#[derive(Debug)]
pub struct SlotClient {
    child: Child,
    requests: pipe::Sender,
    events: pipe::Receiver,
    frames: Frames,
    /// What the pipe has not taken yet.
    outgoing: Vec<u8>,
}

impl SlotClient {
    /// Starts a slot, and puts it into `cgroup` before it can start anything.
    ///
    /// # Errors
    /// [`SlotError::Start`].
    pub fn start(body: &SlotBody, cgroup: Option<&SlotCgroup>) -> Result<Self, SlotError> {
        let failed = |error| SlotError::Start { path: body.program().to_owned(), error };
        let spawned = body.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(failed)?;
        let made = Self::connect(&mut child, cgroup);
        match made {
            Ok((requests, events)) => {
                Ok(Self { child, requests, events, frames: Frames::default(), outgoing: Vec::new() })
            }
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(failed(error))
            }
        }
    }

    fn connect(child: &mut Child, cgroup: Option<&SlotCgroup>) -> io::Result<(pipe::Sender, pipe::Receiver)> {
        if let Some(cgroup) = cgroup
            && let Err(error) = cgroup.enter(child.id())
        {
            tracing::warn!("a slot stays outside its cgroup, so memory is not limited: {error}");
        }
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("it has no pipes"));
        };
        let requests = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
        Ok((requests, pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?))
    }

    /// The slot's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request, or as much of it as the pipe takes at once: [`Self::event`] sends the rest.
    ///
    /// # Errors
    /// [`SlotError::Gone`].
    pub fn send(&mut self, request: &SlotRequest) -> Result<(), SlotError> {
        put_frame(request, &mut self.outgoing)?;
        self.write()
    }

    fn write(&mut self) -> Result<(), SlotError> {
        while !self.outgoing.is_empty() {
            match self.requests.try_write(&self.outgoing) {
                Ok(n) => drop(self.outgoing.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
        Ok(())
    }

    /// The next event; meanwhile what was not sent yet is. May be dropped and called again without
    /// loss.
    ///
    /// # Errors
    /// [`SlotError::Gone`], [`SlotError::Garbled`].
    pub async fn event(&mut self) -> Result<SlotEvent, SlotError> {
        loop {
            if let Some(event) = self.frames.next()? {
                return Ok(event);
            }
            self.write()?;
            self.frames.buffer.reserve(64 << 10);
            let read = tokio::select! {
                biased;
                read = self.events.read_buf(&mut self.frames.buffer) => read,
                writable = self.requests.writable(), if !self.outgoing.is_empty() => match writable {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(0) => return Err(self.gone("its pipe closed")),
                Ok(_) => {}
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
    }

    /// Whether the kernel holds the process: it waits for a file system, or for a program that is
    /// about to start.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
    }

    /// Ends the slot and everything below it, and waits until that is done.
    pub async fn close(self) {
        let Self { mut child, requests, mut events, .. } = self;
        drop(requests);
        let mut rest = vec![0; 64 << 10];
        let ended = async { while matches!(events.read(&mut rest).await, Ok(1..)) {} };
        if tokio::time::timeout(CLOSE_WITHIN, ended).await.is_err() {
            tracing::warn!("the slot process {} did not end by itself", child.id());
            drop(child.kill());
        }
        // Its pipe has closed, or it was killed: it is gone in a moment.
        drop(tokio::task::spawn_blocking(move || child.wait()).await);
    }

    /// Ends the slot process alone, at once: for one that does not answer. What was below it is for
    /// [`crate::marks`].
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn gone(&mut self, what: &str) -> SlotError {
        match self.child.try_wait() {
            Ok(Some(status)) => SlotError::Gone(status.to_string()),
            _ => SlotError::Gone(what.to_owned()),
        }
    }
}
