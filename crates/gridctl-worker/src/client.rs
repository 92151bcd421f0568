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
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};

use crate::cgroup::SlotCgroup;
use crate::container::{ContainerError, SlotContainer};
use crate::slot::{FrameError, Frames, SlotEvent, SlotProgram, SlotRequest, put_frame};

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
    /// Its container could not be started.
    #[error("cannot start the slot's container: {0}")]
    Container(#[from] ContainerError),
    /// It was asked for a sign, and gave none.
    #[error(
        "the slot process did not answer for {0} s: what ran there was ended, and another one takes its place"
    )]
    Silent(u64),
    /// It wrote more into its container's root than it may.
    #[error(
        "the trial wrote more into the root of its container than it may: --container-disk allows more; what is to be kept belongs into $GRID_OUTPUT_DIR"
    )]
    Full,
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
    peer: SlotPeer,
    requests: RequestEnd,
    events: EventEnd,
    frames: Frames,
    /// What the pipe has not taken yet.
    outgoing: Vec<u8>,
}

/// What a slot is to its worker.
#[derive(Debug)]
enum SlotPeer {
    Process(Child),
    Container(SlotContainer),
}

/// By what requests go.
#[derive(Debug)]
enum RequestEnd {
    Pipe(pipe::Sender),
    Socket(OwnedWriteHalf),
}

impl RequestEnd {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.try_write(bytes),
            Self::Socket(socket) => socket.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.writable().await,
            Self::Socket(socket) => socket.writable().await,
        }
    }
}

/// By what events come.
#[derive(Debug)]
enum EventEnd {
    Pipe(pipe::Receiver),
    Socket(OwnedReadHalf),
}

impl EventEnd {
    async fn read_buf(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.read_buf(buffer).await,
            Self::Socket(socket) => socket.read_buf(buffer).await,
        }
    }
}

impl SlotClient {
    /// Starts a slot, and puts it into `cgroup` before it can start anything.
    ///
    /// # Errors
    /// [`SlotError::Start`].
    pub fn start(program: &SlotProgram, cgroup: Option<&SlotCgroup>) -> Result<Self, SlotError> {
        let failed = |error| SlotError::Start { path: program.path.clone(), error };
        let spawned = program.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(failed)?;
        let made = Self::connect(&mut child, cgroup);
        match made {
            Ok((requests, events)) => Ok(Self {
                peer: SlotPeer::Process(child),
                requests: RequestEnd::Pipe(requests),
                events: EventEnd::Pipe(events),
                frames: Frames::default(),
                outgoing: Vec::new(),
            }),
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(failed(error))
            }
        }
    }

    /// A slot that is a container, with the connection to its supervisor.
    pub(crate) fn in_container(container: SlotContainer, stream: UnixStream) -> Self {
        let (events, requests) = stream.into_split();
        Self {
            peer: SlotPeer::Container(container),
            requests: RequestEnd::Socket(requests),
            events: EventEnd::Socket(events),
            frames: Frames::default(),
            outgoing: Vec::new(),
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

    /// The slot's process, if it is a child of this one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.peer {
            SlotPeer::Process(child) => Some(child.id()),
            SlotPeer::Container(_) => None,
        }
    }

    /// The container, if the slot is one.
    pub(crate) fn container(&self) -> Option<&SlotContainer> {
        match &self.peer {
            SlotPeer::Process(_) => None,
            SlotPeer::Container(container) => Some(container),
        }
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
        let pid = self.pid().or_else(|| self.container()?.pid()).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
    }

    /// Ends the slot and everything below it, and waits until that is done.
    pub async fn close(self) {
        let Self { peer, requests, mut events, .. } = self;
        drop(requests);
        let mut rest = Vec::with_capacity(64 << 10);
        let ended = async {
            while matches!(events.read_buf(&mut rest).await, Ok(1..)) {
                rest.clear();
            }
        };
        let ended = tokio::time::timeout(CLOSE_WITHIN, ended).await;
        match peer {
            SlotPeer::Process(mut child) => {
                if ended.is_err() {
                    tracing::warn!("the slot process {} did not end by itself", child.id());
                    drop(child.kill());
                }
                // Its pipe has closed, or it was killed: it is gone in a moment.
                drop(tokio::task::spawn_blocking(move || child.wait()).await);
            }
            SlotPeer::Container(container) => container.remove().await,
        }
    }

    /// Ends the slot process alone, at once: for one that does not answer. What was below it is for
    /// [`crate::marks`].
    pub fn kill_process(&mut self) {
        if let SlotPeer::Process(child) = &mut self.peer {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Ends a slot that is a container, with all that is in it.
    pub(crate) async fn end_container(&mut self) {
        if let SlotPeer::Container(container) = &self.peer {
            container.remove().await;
        }
    }

    fn gone(&mut self, what: &str) -> SlotError {
        match &mut self.peer {
            SlotPeer::Process(child) => match child.try_wait() {
                Ok(Some(status)) => SlotError::Gone(status.to_string()),
                _ => SlotError::Gone(what.to_owned()),
            },
            SlotPeer::Container(container) if container.is_full() => SlotError::Full,
            SlotPeer::Container(_) => SlotError::Gone("its container has ended".to_owned()),
        }
    }
}
