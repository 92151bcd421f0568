//! How a master is set up. Invariant: a checked address is on loopback, for there is no encryption between machines yet.

use std::net::SocketAddr;
use std::path::PathBuf;

use gridctl_core::sched::Timing;

use crate::error::MasterError;

/// How many events may follow a snapshot before the next one is made.
const SNAPSHOT_EVERY: u64 = 50_000;

/// How a master is set up.
#[derive(Debug, Clone)]
pub struct MasterConfig {
    /// Where the journal, the socket and the advertisement lie.
    pub data_dir: PathBuf,
    /// A loopback address to listen on beside the Unix socket.
    pub listen: Option<SocketAddr>,
    /// Leases and heartbeats.
    pub timing: Timing,
    /// Trust a network file system with the journal.
    pub allow_network_fs: bool,
    /// A snapshot is made after so many events.
    pub snapshot_every: u64,
}

impl MasterConfig {
    /// The usual setup for this data directory: the Unix socket alone.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: None,
            timing: Timing::default(),
            allow_network_fs: false,
            snapshot_every: SNAPSHOT_EVERY,
        }
    }

    /// Listens on `address` as well; port 0 takes any that is free.
    ///
    /// # Errors
    /// [`MasterError::NotLoopback`]: other machines could reach it, and nothing is encrypted yet.
    pub fn listen_on(mut self, address: SocketAddr) -> Result<Self, MasterError> {
        if !address.ip().is_loopback() {
            return Err(MasterError::NotLoopback { address });
        }
        self.listen = Some(address);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h66_only_loopback_addresses_are_taken() {
        for (address, taken) in [
            ("127.0.0.1:0", true),
            ("[::1]:7070", true),
            ("0.0.0.0:7070", false),
            ("192.168.1.4:7070", false),
            ("[::]:7070", false),
        ] {
            let config = MasterConfig::new("data").listen_on(address.parse().unwrap());
            assert_eq!(config.is_ok(), taken, "{address}");
        }
    }
}
