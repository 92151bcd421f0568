//! What a worker and its slots say to each other.
//! Invariant: each start is named by a number of its own, in all that is said of it.

use serde::{Deserialize, Serialize};

/// From the worker to a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotRequest {
    /// The environment that every later start builds upon.
    Base {
        /// Names and values.
        env: Vec<(String, String)>,
    },
    /// TrainerStart a trainer; while one goes on, as soon as that has ended. One may wait so.
    Start(TrainerStart),
    /// Do not start the trainer `id` if it still waits; of no effect otherwise.
    Withdraw {
        /// Which start.
        id: u64,
    },
    /// Answer with [`SlotEvent::Pong`].
    Ping {
        /// Names this question.
        number: u64,
    },
    /// Send a signal to the process group of the trainer `id`; of no effect when that has ended.
    Signal {
        /// Which start.
        id: u64,
        /// The signal's number.
        signal: i32,
    },
}

/// What a trainer is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainerStart {
    /// Names this start in every event about it.
    pub id: u64,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables on top of the base.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub cwd: String,
    /// It is withdrawn if it has not begun by then, in milliseconds of the clock that worker and
    /// slot share.
    pub by_ms: u64,
}

/// From a slot to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotEvent {
    /// The trainer is there.
    Started {
        /// Which start.
        id: u64,
        /// Its process, which is its process group too.
        pid: u32,
    },
    /// There is no trainer.
    NotStarted {
        /// Which start.
        id: u64,
        /// Whose fault it is.
        fault: StartFault,
        /// What is wrong and what to do, for people.
        text: String,
    },
    /// The slot is there, and reads what is asked of it.
    Pong {
        /// The question.
        number: u64,
    },
    /// The trainer was never started and will not be: it was withdrawn, or its time had passed.
    Withdrawn {
        /// Which start.
        id: u64,
    },
    /// The trainer wrote something.
    Output {
        /// Which start.
        id: u64,
        /// Where.
        stream: OutputStream,
        /// What, cut anywhere.
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
    },
    /// The trainer has ended, nothing that it left is alive, and no more output of it comes.
    Exited {
        /// Which start.
        id: u64,
        /// How it ended.
        exit: TrainerExit,
        /// A signal was sent to it while it went on.
        asked: bool,
        /// Processor time of the trainer and what it waited for.
        cpu_ms: u64,
        /// Peak resident memory of its largest process, in KiB.
        peak_rss_kib: u64,
        /// Processes that outlived it and were ended.
        left_behind: u32,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrainerExit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why a trainer did not start: who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFault {
    /// The command or its directory is wrong: it would fail on any machine like this one.
    Command,
    /// This machine lacks processes, memory or file descriptors.
    Machine,
}

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Output as bytes and not as a list of numbers, each of which would be looked at.
mod bytes {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
