//! What runs this process's asynchronous work.
//! Invariant: a thread for work that blocks is always there, or Tokio would panic when the system has no more of them.

use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use tokio::runtime::{Builder, Runtime};

use crate::exit::Failure;

/// Threads that have nothing to do stay: another one may not be had.
const KEEP: Duration = Duration::from_secs(365 * 24 * 3600);
/// Looks at whether threads that have ended are gone for the system too, a millisecond apart.
const LOOKS: u32 = 1_000;

/// One thread, and those for what blocks: each hop to another costs as much as what is done there.
pub(crate) fn single() -> Result<Runtime, Failure> {
    begin(&mut Builder::new_current_thread(), 1)
}

/// For many connections.
pub(crate) fn shared() -> Result<Runtime, Failure> {
    begin(Builder::new_multi_thread().worker_threads(2), 3)
}

/// A runtime that begins with so many threads.
fn begin(builder: &mut Builder, threads: usize) -> Result<Runtime, Failure> {
    let failed = |error: io::Error| {
        let failure = Failure::error("runtime", format!("cannot start {threads} threads: {error}"));
        failure.help("end other processes of yours, or raise their limit (`ulimit -u`)")
    };
    try_threads(threads).map_err(failed)?;
    let runtime = builder.enable_all().thread_keep_alive(KEEP).build().map_err(failed)?;
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}

/// Whether so many threads can be had now; they are gone afterwards.
fn try_threads(count: usize) -> io::Result<()> {
    let before = own_threads();
    let at_once = Arc::new(RwLock::new(()));
    let held = at_once.write();
    let wait = || {
        let at_once = Arc::clone(&at_once);
        thread::Builder::new().spawn(move || drop(at_once.read()))
    };
    let threads: io::Result<Vec<JoinHandle<()>>> = (0..count).map(|_| wait()).collect();
    drop(held);
    for thread in threads? {
        drop(thread.join());
    }
    let gone = (0..LOOKS).any(|look| {
        if look > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        own_threads() <= before
    });
    if gone { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Threads of this process, as the system counts them.
fn own_threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
