//! Ctrl-C and SIGTERM: once is gently, twice is at once.
//! Invariant: the handlers stand before the first worker is started, so that nothing is left behind.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Listens for both signals.
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// Begins to listen: from here on neither signal ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let fail = |error: std::io::Error| {
            Failure::error("run::signals", format!("cannot watch for signals: {error}"))
        };
        Ok(Self {
            int: signal(SignalKind::interrupt()).map_err(fail)?,
            term: signal(SignalKind::terminate()).map_err(fail)?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
