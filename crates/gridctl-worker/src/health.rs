//! A sign of life: a socket in the worker's directory, which says that the worker does its work.
//! Invariant: the worker's one thread answers, so that a worker that hangs is silent; only the
//! worker's user can ask.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridctl_core::id::WorkerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the worker's directory.
const SOCKET: &str = "health.sock";
/// What is answered.
const ANSWER: &[u8] = b"ok\n";
/// After an error while accepting: out of file descriptors, say.
const BACK_OFF: Duration = Duration::from_millis(500);

/// What workers that are asked say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkersHealth {
    /// Workers that answered.
    pub answering: usize,
    /// Workers that are there and did not answer in time.
    pub silent: usize,
}

/// Listens in the worker's directory `dir`.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    UnixListener::bind(dir.join(SOCKET))
}

/// Answers whoever asks.
pub(crate) async fn answer(listener: UnixListener) {
    loop {
        match listener.accept().await {
            // Few bytes fit any socket, and whoever does not wait for them needs no answer.
            Ok((mut asking, _)) => drop(asking.write_all(ANSWER).await),
            Err(_) => tokio::time::sleep(BACK_OFF).await,
        }
    }
}

/// Asks the workers whose directories are below `work`, each for at most `within`.
pub async fn ask(work: &Path, within: Duration) -> WorkersHealth {
    let mut found = WorkersHealth::default();
    for socket in sockets(work) {
        match tokio::time::timeout(within, asked(&socket)).await {
            Ok(Ok(true)) => found.answering += 1,
            Ok(Ok(false)) | Err(_) => found.silent += 1,
            // Nobody listens: what a worker left that was killed.
            Ok(Err(_)) => {}
        }
    }
    found
}

fn sockets(work: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(work) else { return Vec::new() };
    let is_worker = |name: &str| name.parse::<WorkerId>().is_ok();
    let dirs = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_worker));
    dirs.map(|entry| entry.path().join(SOCKET)).collect()
}

/// Whether the right answer came; an error if nobody listens.
async fn asked(socket: &Path) -> io::Result<bool> {
    let mut answering = UnixStream::connect(socket).await?;
    let mut answer = [0; ANSWER.len()];
    Ok(answering.read_exact(&mut answer).await.is_ok_and(|_| answer == ANSWER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_answers_one_that_hangs_is_silent_and_one_that_was_killed_is_none() {
        let work = tempfile::tempdir().unwrap();
        let names = [1, 2, 3].map(|number| WorkerId([number; 5]).to_string());
        let [lives, hangs, killed] = names.map(|name| {
            let dir = work.path().join(name);
            fs::create_dir(&dir).unwrap();
            listen(&dir).unwrap()
        });
        fs::create_dir(work.path().join("no worker's")).unwrap();
        drop(killed);
        let within = Duration::from_millis(300);
        let found = tokio::select! {
            found = ask(work.path(), within) => found,
            () = answer(lives) => panic!("it answers for ever"),
        };
        assert_eq!(found, WorkersHealth { answering: 1, silent: 1 });
        drop(hangs);
        assert_eq!(ask(&work.path().join("none"), within).await, WorkersHealth::default());
    }
}
