//! A store for tests: `moto_server`, where it is installed (`pip install 'moto[server]'`).
//! Invariant: it ends with its guard, and with the test's process, however that ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// A store that runs.
pub(crate) struct Moto {
    /// Waits for the end of its input, which is this process's end, and ends the store.
    guard: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Moto {
    /// Starts it; `None` where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        const SCRIPT: &str = "moto_server -H 127.0.0.1 -p 0 2>&1 & read -r line; kill $!; wait";
        let help = Command::new("moto_server").arg("--help").output();
        if !help.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut sh = Command::new("sh");
        sh.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = sh.spawn().unwrap();
        let mut lines = BufReader::new(guard.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            line.split_once("Running on http://").map(|(_, address)| address.trim().parse().unwrap())
        });
        // Its log is read on, or it would stand still.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { guard, address: address.expect("moto_server says where it listens") })
    }

    /// Makes a bucket.
    pub(crate) fn bucket(&self, name: &str) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head =
            format!("PUT /{name} HTTP/1.1\r\nhost: s3\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().unwrap();
    }
}
