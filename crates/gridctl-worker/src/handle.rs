//! The worker's end of a slot: starts the slot process, sends requests, receives events.
//! Invariant: the slot is in a process group of its own, so that a terminal's Ctrl-C reaches the worker alone; once the handle is closed or dropped, the slot ends itself and all below.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use crate::cgroup::SlotCgroup;
use crate::slot::{FrameError, Frames, SlotEvent, SlotRequest, put_frame};

/// A slot that was told to end has so long for it.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// How a slot process is started: `gridctl slot`, as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotProgram {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

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
    /// Its pipe broke: it was killed, say.
    #[error("the slot process has ended ({0})")]
    Gone(String),
    /// It said what cannot be understood.
    #[error("the slot process sent {0}")]
    Garbled(#[from] FrameError),
}

/// A slot process.
#[derive(Debug)]
pub struct SlotHandle {
    child: Child,
    requests: pipe::Sender,
    events: pipe::Receiver,
    frames: Frames,
    outgoing: Vec<u8>,
}

impl SlotHandle {
    /// Starts a slot, and puts it into `cgroup` before it can start anything.
    ///
    /// # Errors
    /// [`SlotError::Start`].
    pub fn start(program: &SlotProgram, cgroup: Option<&SlotCgroup>) -> Result<Self, SlotError> {
        let failed = |error| SlotError::Start { path: program.path.clone(), error };
        let mut command = Command::new(&program.path);
        command.args(&program.args).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
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

    /// Sends a request. Not to be dropped halfway: the slot would understand nothing that follows.
    ///
    /// # Errors
    /// [`SlotError::Gone`].
    pub async fn send(&mut self, request: &SlotRequest) -> Result<(), SlotError> {
        self.outgoing.clear();
        put_frame(request, &mut self.outgoing)?;
        let written = self.requests.write_all(&self.outgoing).await;
        written.map_err(|error| self.gone(&error.to_string()))
    }

    /// The next event. May be dropped and called again without loss.
    ///
    /// # Errors
    /// [`SlotError::Gone`], [`SlotError::Garbled`].
    pub async fn event(&mut self) -> Result<SlotEvent, SlotError> {
        loop {
            if let Some(event) = self.frames.next()? {
                return Ok(event);
            }
            self.frames.buffer.reserve(64 << 10);
            match self.events.read_buf(&mut self.frames.buffer).await {
                Ok(0) => return Err(self.gone("its pipe closed")),
                Ok(_) => {}
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
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

    /// Ends the slot process alone, at once: for one that does not answer. What was below it is for [`crate::marks`].
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
