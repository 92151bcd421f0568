//! The slot: a small process that starts one trainer at a time and ends whatever that trainer
//! leaves behind.
//! Invariant: when the pipe to the worker closes, nothing below the slot is left alive.

mod body;
mod contained;
mod descend;
mod process;
mod spawn;
mod why;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

pub use body::SlotProgram;
pub(crate) use body::{EnvironmentBase, SlotBody};
#[cfg(feature = "docker")]
pub(crate) use contained::ProbeReport;
pub use gridctl_core::slot::{OutputStream, SlotEvent, SlotRequest, StartFault, TrainerExit, TrainerStart};
pub use why::foresee;

/// Bytes that a message may have; a longer frame means that the pipe's two ends do not understand
/// each other.
const MAX_FRAME: usize = 64 << 20;

/// A message that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length that no message has.
    #[error("a message of {0} bytes: at most {MAX_FRAME} are possible")]
    TooLong(usize),
    /// Bytes that are no message.
    #[error("a message that cannot be read: {0}")]
    Garbage(#[from] postcard::Error),
}

/// Appends `message` to `out`: its length as a little-endian `u32`, then itself in postcard.
pub(crate) fn put_frame<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let out = match postcard::to_extend(message, TailBuffer(out)) {
        Ok(TailBuffer(out)) => out,
        Err(error) => return Err(error.into()),
    };
    let length = out.len() - start - 4;
    let prefix =
        u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(FrameError::TooLong(length))?;
    out[start..start + 4].copy_from_slice(&prefix.to_le_bytes());
    Ok(())
}

/// Messages cut out of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// What was received; messages before `at` have been taken.
    pub(crate) buffer: Vec<u8>,
    at: usize,
}

impl Frames {
    /// The next message that has arrived whole.
    pub(crate) fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.at..];
        let Some((prefix, rest)) = rest.split_first_chunk::<4>() else { return Ok(self.starved()) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(self.starved()) };
        let message = postcard::from_bytes(body)?;
        self.at += 4 + length;
        Ok(Some(message))
    }

    /// Forgets the messages that were taken, now that more has to be read.
    fn starved<T>(&mut self) -> Option<T> {
        self.buffer.drain(..self.at);
        self.at = 0;
        None
    }
}

/// Lets postcard write to the end of a vector that is only lent.
struct TailBuffer<'a>(&'a mut Vec<u8>);

impl Extend<u8> for TailBuffer<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// What the slot process is started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotWay {
    /// Serve requests on standard input until that closes, then end everything below.
    Pipes,
    /// The same in a container, by a socket of the worker's.
    Connect(PathBuf),
    /// Say what the image is like in whose container this is, and whether these programs start there.
    Probe(Vec<String>),
    /// Close the network of this container to metadata addresses.
    CloseMetadata,
    /// Become this command, once the network is closed so.
    OnceClosed(Vec<String>),
}

/// The slot process.
#[must_use]
pub fn main(way: SlotWay) -> ExitCode {
    let system = |what| move |error| process::SlotProcessError::System { what, error };
    let done = match way {
        SlotWay::Pipes => process::serve(),
        SlotWay::Connect(path) => {
            contained::connect(&path).map_err(system("reach the worker")).and_then(|()| process::serve())
        }
        SlotWay::Probe(programs) => contained::probe(&programs).map_err(system("look at the image")),
        SlotWay::CloseMetadata => contained::close_metadata().map_err(system("close metadata addresses")),
        SlotWay::OnceClosed(words) => contained::once_closed(&words).map_err(system("begin")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr takes nothing, the exit code says it.
            let _ = writeln!(std::io::stderr(), "gridctl slot: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_however_they_are_cut() {
        let sent = [
            SlotEvent::Started { id: 1, pid: 7 },
            SlotEvent::Output { id: 1, stream: OutputStream::Err, bytes: vec![0, 255, 10] },
            SlotEvent::Exited {
                id: 1,
                exit: TrainerExit::Signal(9),
                asked: true,
                cpu_ms: 3,
                peak_rss_kib: 4,
                left_behind: 0,
            },
        ];
        let mut wire = Vec::new();
        for event in &sent {
            put_frame(event, &mut wire).unwrap();
        }
        for cut in 1..=wire.len() {
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            for piece in wire.chunks(cut) {
                frames.buffer.extend_from_slice(piece);
                while let Some(event) = frames.next::<SlotEvent>().unwrap() {
                    got.push(event);
                }
            }
            assert_eq!(got, sent, "pieces of {cut}");
        }
    }

    #[test]
    fn nonsense_is_refused_before_memory_is_taken_for_it() {
        let mut frames = Frames::default();
        frames.buffer.extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(frames.next::<SlotRequest>(), Err(FrameError::TooLong(u32::MAX as usize)));
        let mut frames = Frames { buffer: vec![2, 0, 0, 0, 250, 250], at: 0 };
        assert!(matches!(frames.next::<SlotRequest>(), Err(FrameError::Garbage(_))));
    }
}
