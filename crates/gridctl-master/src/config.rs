//! How a master is set up. Invariant: an address that other machines can reach is served with TLS alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gridctl_core::sched::Timing;
use tokio::sync::{mpsc, oneshot};

use crate::error::MasterError;

/// How many events may follow a snapshot before the next one is made.
const SNAPSHOT_EVERY: u64 = 50_000;

/// An address to listen on; port 0 takes any that is free.
#[derive(Debug, Clone)]
pub enum Listen {
    /// Loopback, with nothing encrypted.
    Plain(SocketAddr),
    /// Any, with TLS.
    Secure(Secure),
}

/// How other machines are served.
#[derive(Debug, Clone)]
pub struct Secure {
    /// The address.
    pub address: SocketAddr,
    /// Where others reach it, as `host:port`; `None`: at that address, or by this machine's name.
    pub advertise: Option<String>,
    /// Where workers reach it, as `host:port`, if that is another place.
    pub advertise_workers: Option<String>,
    /// A file in which a fresh token for workers is kept.
    pub join_file: Option<PathBuf>,
    /// How long a worker's certificate lives.
    pub certificate_life: Duration,
    /// Who knows tokens of operators that this master does not.
    pub operators: Option<mpsc::Sender<OperatorQuestion>>,
}

/// A token was shown that the master does not know.
#[derive(Debug)]
pub struct OperatorQuestion {
    /// Its hash, as [`gridctl_core::access::token_hash`] gives it.
    pub hash: String,
    /// Until when it is an operator's, in milliseconds since 1970; dropped for one that is not.
    pub answer: oneshot::Sender<u64>,
}

/// How a master is set up.
#[derive(Debug, Clone)]
pub struct MasterConfig {
    /// Where the journal, the socket and the advertisement lie.
    pub data_dir: PathBuf,
    /// What to listen on beside the Unix socket.
    pub listen: Option<Listen>,
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

    /// Listens there as well.
    ///
    /// # Errors
    /// [`MasterError::NotLoopback`]: other machines could reach an address that is served without TLS.
    pub fn listen_on(mut self, listen: Listen) -> Result<Self, MasterError> {
        match listen {
            Listen::Plain(address) if !address.ip().is_loopback() => {
                return Err(MasterError::NotLoopback { address });
            }
            _ => self.listen = Some(listen),
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h66_without_tls_only_loopback_addresses_are_taken() {
        for (address, taken) in [
            ("127.0.0.1:0", true),
            ("[::1]:7070", true),
            ("0.0.0.0:7070", false),
            ("192.168.1.4:7070", false),
            ("[::]:7070", false),
        ] {
            let config = MasterConfig::new("data").listen_on(Listen::Plain(address.parse().unwrap()));
            assert_eq!(config.is_ok(), taken, "{address}");
        }
    }
}
