//! What is known of a sweep before it starts, where very much is known.

use std::path::Path;

use gridctl_core::id::SweepId;
use gridctl_core::points::Points;
use gridctl_core::protocol::{FrozenSweep, WorkerUpdate};
use gridctl_core::record::Record;
use gridctl_core::view::Submitted;
use gridctl_storage::journal::{Group, Options, OutcomeRow, Reader, SqliteStore, Store};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::fake::{Fake, frozen, hello, stands, start, submit};
use crate::Running;
use crate::commit::row;

/// Appends a success for each trial of the first sweep but its first one, of which a worker brings the result.
async fn known_but_the_first(frozen: &FrozenSweep, dir: &Path) {
    let running = start(dir).await;
    stands(&running, frozen.clone()).await;
    Fake::connect(&running, hello(1, 1)).await.work(1).await;
    running.stop().await.unwrap();
    let reader = Reader::open(dir).unwrap();
    let first: OutcomeRow = reader.after(0, None, 1).unwrap().remove(0);
    let mut record: Record = serde_json::from_str(&first.record).unwrap();
    let points = Points::new(std::sync::Arc::new(frozen.spec.clone())).unwrap();
    let mut store = SqliteStore::open(dir, Options::default()).unwrap();
    let indexes: Vec<u64> = (1..points.len()).collect();
    for chunk in indexes.chunks(10_000) {
        let mut rows = Vec::with_capacity(chunk.len());
        for &index in chunk {
            let trial = points.trial_id(index);
            (record.index, record.params) = (index, points.trial(index).params);
            (record.point, record.report.trial) = (trial, trial);
            rows.push(row(&record, SweepId(1), index + 1));
        }
        store.append(&Group { events: &[], outcomes: &rows, standings: &[] }).unwrap();
    }
    store.close();
}

/// Keeps everybody but the master's loop from reading the journal, until what is returned is dropped.
async fn nobody_reads(running: &Running, readers: &mut JoinSet<()>) -> Vec<oneshot::Sender<()>> {
    let mut held = Vec::new();
    for _ in 0..crate::query::AT_ONCE {
        let (end, ended) = oneshot::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let handle = running.handle().clone();
        readers.spawn(async move {
            let wait = |_: &Reader| {
                let _ = begun.send(());
                let _ = ended.blocking_recv();
                Ok(())
            };
            handle.read(wait).await.unwrap();
        });
        has_begun.await.unwrap();
        held.push(end);
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_goes_on_while_what_is_known_is_looked_up() {
    const COUNT: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    known_but_the_first(&frozen("wine", COUNT, dir.path()), dir.path()).await;
    let running = start(dir.path()).await;
    let (mut readers, mut submitting) = (JoinSet::new(), JoinSet::new());
    let held = nobody_reads(&running, &mut readers).await;
    let (handle, other) = (running.handle().clone(), frozen("other", COUNT + 1, dir.path()));
    submitting.spawn(async move { handle.submit(submit(other)).await });
    let mut worker = Fake::connect(&running, hello(2, 1)).await;
    for _ in 0..20 {
        worker.say(WorkerUpdate::default()).await;
        assert!(running.handle().workers().await.is_ok());
        assert_eq!(running.handle().sweeps().len(), 1, "it is not stepped before all is known");
    }
    worker.work(1).await;
    assert!(submitting.try_join_next().is_none());
    drop(held);
    match submitting.join_next().await.unwrap().unwrap().unwrap() {
        Submitted::Stands { known, .. } => assert_eq!(known, COUNT),
        changed @ Submitted::CodeChanged { .. } => panic!("{changed:?}"),
    }
    running.stop().await.unwrap();
}
