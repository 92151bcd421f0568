//! Ctrl-C, SIGTERM and a terminal that is closed: once is gently, twice is at once.
//! Invariant: the handlers stand before the first worker is started, so that nothing is left behind.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Listens for these signals.
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
    /// None under `nohup`, which means that a closed terminal is no reason to end.
    hangup: Option<Signal>,
}

/// The first of the signals, in the mask of those that are ignored.
const SIGHUP_BIT: u64 = 1;

/// Whether whoever started this process lets it ignore that its terminal is closed.
fn ignores_hangup() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & SIGHUP_BIT != 0)
}

impl Interrupts {
    /// Begins to listen: from here on none of them ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let fail = |error: std::io::Error| {
            Failure::error("run::signals", format!("cannot watch for signals: {error}"))
        };
        Ok(Self {
            int: signal(SignalKind::interrupt()).map_err(fail)?,
            term: signal(SignalKind::terminate()).map_err(fail)?,
            hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup()).map_err(fail)?) },
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => {}
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
