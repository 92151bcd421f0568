//! The threads that wait for S3: callers block, on whatever thread they are.
//! Invariant: a call that was begun ends by itself, for each of its parts has a deadline.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};

use tokio::runtime::{Builder, Runtime};

/// Threads of a process that talk to S3.
const THREADS: usize = 2;

/// Something that was begun and whose result is not taken yet.
#[derive(Debug)]
pub(crate) struct Begun<T>(Receiver<T>);

impl<T> Begun<T> {
    /// Waits for the result; `None` if the call broke off without one.
    pub(crate) fn wait(self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// Begins `work`; `None` if the system has no thread left for it.
pub(crate) fn begin<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<Begun<T>> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let made = || Builder::new_multi_thread().worker_threads(THREADS).thread_name("s3").enable_all().build();
    let runtime = RUNTIME.get_or_init(|| made().ok()).as_ref()?;
    let (done, result) = sync_channel(1);
    drop(runtime.spawn(async move {
        // Whoever does not wait for it does not care.
        let _ = done.send(work.await);
    }));
    Some(Begun(result))
}
