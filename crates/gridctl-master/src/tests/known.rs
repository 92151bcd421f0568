//! What is known of a sweep before it starts, where very much is known.

use std::path::Path;

use gridctl_core::id::SweepId;
use gridctl_core::points::Points;
use gridctl_core::protocol::{FrozenSweep, WorkerUpdate};
use gridctl_core::record::{Record, TrialState};
use gridctl_core::view::{Submitted, TrialsQuery};
use gridctl_storage::journal::{Group, Options, OutcomeRow, Reader, SqliteStore, Store};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::fake::{Fake, frozen, hello, stands, start, submit};
use crate::Running;

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
            rows.push(OutcomeRow::of(&record, SweepId(1), index + 1));
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

/// Every trial of the sweep's pages of two: its place, its state, and whether it was known.
async fn paged(running: &Running, state: Option<TrialState>) -> Vec<(u64, TrialState, bool)> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let ask = TrialsQuery { page_size: 2, page_token, state };
        let page = running.handle().trials("wine", ask).await.unwrap();
        assert!(page.trials.len() <= 2);
        all.extend(page.trials.into_iter().map(|it| (it.index, it.state, it.known_from.is_some())));
        page_token = page.next;
        if page_token.is_empty() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_begin_with_what_is_linked_and_a_trial_that_is_tried_again_is_no_more_what_it_was() {
    use TrialState::{Failed, Succeeded};
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 4, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(1).await;
    let grant = worker.grant().await;
    worker.report(&grant, None).await;
    worker.until(|worker| worker.recorded.contains(&grant.token.lease)).await;
    worker.work(2).await;
    let (sweep, _, _, known) = stands(&running, frozen("wine", 5, dir.path())).await;
    assert_eq!(known, 4);
    worker.work(1).await;
    let linked = [(0, Succeeded, true), (1, Failed, true), (2, Succeeded, true), (3, Succeeded, true)];
    let expected = [&linked[..], &[(4, Succeeded, false)]].concat();
    assert_eq!(paged(&running, None).await, expected);
    assert_eq!(paged(&running, Some(Failed)).await, [(1, Failed, true)]);
    running.handle().retry("wine", vec![grant.trial]).await.unwrap();
    worker.work(1).await;
    running.handle().wait_turned(sweep).await.unwrap();
    let expected: Vec<_> = expected.into_iter().filter(|it| it.0 != 1).collect();
    assert_eq!(paged(&running, None).await, [&expected[..], &[(1, Succeeded, false)]].concat());
    assert_eq!(paged(&running, Some(Failed)).await, []);
    let details = running.handle().trial("wine", &grant.trial.to_string()).await.unwrap();
    let attempts: Vec<_> = details
        .attempts
        .iter()
        .map(|it| (it.version, it.generation, it.state, it.known_from.is_some()))
        .collect();
    assert_eq!(attempts, [(1, 1, Failed, false), (2, 1, Failed, true), (2, 2, Succeeded, false)]);
    running.stop().await.unwrap();
}
