//! HTTP/2 as no client speaks it: frames made by hand, sent as fast as a socket takes them, and what the other end says to that.
//! Invariant: nothing here waits for longer than [`PATIENCE`].
#![expect(clippy::unwrap_used, reason = "a test that cannot speak fails")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kinds of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

/// The flag by which a block of headers ends.
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a gRPC call of this method, in HPACK without its tables.
pub(crate) fn call(method: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(&b"\x04"[..], method), (b"\x01", "localhost"), (b"\x0f\x10", "application/grpc")] {
        block.extend(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    block.extend(b"\x00\x02te\x08trailers");
    block
}

/// One header that no request needs, in HPACK without its tables; less than 16 KiB.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0, u8::try_from(name.len()).unwrap()];
    block.extend(name.as_bytes());
    // 127 and more: the rest in pieces of seven bits.
    let rest = value.len() - 127;
    block.extend([127, u8::try_from(rest & 127).unwrap() | 128, u8::try_from(rest >> 7).unwrap()]);
    block.extend(value.as_bytes());
    block
}

/// What the other end has said.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// The highest number of streams that it takes at once.
    pub(crate) most_streams: Option<u32>,
    /// The error with which it ended the connection.
    pub(crate) goaway: Option<u32>,
    /// How often it reset streams, by error.
    pub(crate) resets: BTreeMap<u32, usize>,
    /// Nothing comes any more.
    pub(crate) closed: bool,
}

/// One end of a connection, which has said the preface.
pub(crate) struct Peer {
    socket: UnixStream,
    heard: Arc<Mutex<Heard>>,
    reader: Option<JoinHandle<()>>,
}

impl Peer {
    /// A peer that reads whatever comes.
    pub(crate) fn connect(socket: &Path) -> Self {
        let mut peer = Self::deaf(socket);
        let (from, heard) = (peer.socket.try_clone().unwrap(), Arc::clone(&peer.heard));
        peer.reader = Some(std::thread::spawn(move || listen(from, &heard)));
        peer
    }

    /// A peer that reads nothing.
    pub(crate) fn deaf(socket: &Path) -> Self {
        let mut socket = UnixStream::connect(socket).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self { socket, heard: Arc::default(), reader: None }
    }

    /// Sends `bytes` so many times; how often until the other end would take no more.
    pub(crate) fn flood(&mut self, times: usize, bytes: impl Fn(usize) -> Vec<u8>) -> usize {
        for time in 0..times {
            match self.socket.write_all(&bytes(time)) {
                Ok(()) => {}
                Err(error) => {
                    use ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
                    let kinds = [BrokenPipe, ConnectionReset, TimedOut, WouldBlock];
                    assert!(kinds.contains(&error.kind()), "{error}");
                    return time;
                }
            }
        }
        times
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            // What it heard is what counts; a failed test has poisoned that.
            let _ = reader.join();
        }
    }
}

fn listen(mut socket: UnixStream, heard: &Mutex<Heard>) {
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).is_err() {
            break;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if socket.read_exact(&mut payload).is_err() {
            break;
        }
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let mut heard = heard.lock().unwrap();
        match (head[3], head[4]) {
            (RST_STREAM, _) => *heard.resets.entry(number(0)).or_default() += 1,
            (SETTINGS, 0) => {
                let streams = payload.chunks(6).position(|setting| setting[..2] == [0, 3]);
                heard.most_streams = streams.map(|place| number(place * 6 + 2));
            }
            (GOAWAY, _) => heard.goaway = Some(number(4)),
            _ => {}
        }
    }
    heard.lock().unwrap().closed = true;
}
