//! Data in S3, brought to this machine before an attempt gets to its slot, so that no other
//! attempt waits for it.
//! Invariant: it is fetched once however many slots want it, and stays while one of them uses it;
//! an attempt that is to stop meanwhile is given back, for nothing of it was started.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gridctl_core::id::Time;
use gridctl_core::s3_url::S3Url;
use gridctl_storage::dataset::{DatasetCache, DatasetError, StageProgress, StagedDataset};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::report::AttemptFault;
use super::{Assignment, SlotNews};
use crate::clock;

/// Between two lines about a dataset that is on its way.
const SAY_EVERY_MS: u64 = 10_000;

/// The datasets of this machine.
#[derive(Debug)]
pub(crate) struct Datasets {
    cache: DatasetCache,
    /// The one that was given out last, as long as somebody uses it.
    last: Mutex<Option<(S3Url, String, Weak<StagedDataset>)>>,
}

impl Datasets {
    /// Those in the directory `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { cache: DatasetCache::new(root, None), last: Mutex::default() }
    }

    fn in_use(&self, url: &S3Url, version: &str) -> Option<Arc<StagedDataset>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (last_url, last_version, staged) = last.as_ref()?;
        if last_url == url && last_version == version { staged.upgrade() } else { None }
    }

    /// Blocks until it is here.
    fn stage(&self, url: S3Url, version: String) -> Result<Arc<StagedDataset>, DatasetError> {
        let mut said = clock::now();
        let staged = self.cache.stage((&url, &version), &mut |progress| say(&url, progress, &mut said))?;
        let staged = Arc::new(staged);
        let last = Some((url, version, Arc::downgrade(&staged)));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(staged)
    }
}

fn say(url: &S3Url, StageProgress { bytes, of }: StageProgress, said: &mut Time) {
    let now = clock::now();
    if bytes == of || now.ms_since(*said) >= SAY_EVERY_MS {
        *said = now;
        tracing::info!("{url}: {} of {} MiB are here", bytes >> 20, of >> 20);
    }
}

/// Hands `assignment` to its slot once its data is here.
pub(crate) async fn bring(
    datasets: Arc<Datasets>,
    mut assignment: Assignment,
    (work, say): (UnboundedSender<Assignment>, UnboundedSender<SlotNews>),
) {
    let token = assignment.start.grant.token;
    let Some((url, version)) = assignment.start.sweep.s3_data() else {
        drop(work.send(assignment));
        return;
    };
    let version = version.to_owned();
    let staged = match datasets.in_use(&url, &version) {
        Some(staged) => Ok(staged),
        None => {
            let (done, staged) = oneshot::channel();
            // A thread of its own, for which the end of the process does not wait.
            std::thread::spawn(move || done.send(datasets.stage(url, version)));
            tokio::select! {
                staged = staged => match staged {
                    Ok(staged) => staged,
                    Err(_) => return,
                },
                _ = assignment.orders.recv() => {
                    let _ = say.send(SlotNews::Withdrawn { lease: token.lease });
                    return;
                }
            }
        }
    };
    match staged {
        Ok(staged) => {
            assignment.data = Some(staged);
            // A slot ends only when the worker does.
            let _ = work.send(assignment);
        }
        Err(error) => {
            let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
            let source = std::error::Error::source(&error).map(|it| format!(": {it}")).unwrap_or_default();
            let fault = AttemptFault::data(&format!("{error}{source}{help}"));
            let _ = say.send(SlotNews::Ended(Box::new(fault.report(&assignment.start.grant))));
        }
    }
}
