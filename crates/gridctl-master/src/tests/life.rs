//! Beginnings and ends: a sweep from submission to shipped records, restarts, drains, two masters.

use std::path::Path;
use std::time::Duration;

use gridctl_core::id::Epoch;
use gridctl_core::output::VolumeUrl;
use gridctl_core::protocol::WorkerUpdate;
use gridctl_core::sched::SweepState;
use gridctl_core::view::{LeaderboardQuery, TrialsQuery};
use gridctl_storage::journal::StoreError;
use gridctl_storage::results::Results;
use gridctl_storage::volume;

use super::fake::{Disk, Fake, eventually, frozen, hello, report, stands, start, start_after};
use crate::advert::Advert;
use crate::{Master, MasterConfig, MasterError};

fn shipped(dir: &Path, name: &str) -> Vec<u64> {
    let volume = volume::open(&VolumeUrl::Dir(dir.join("results"))).unwrap();
    let results = Results::of_name(volume, name).unwrap();
    let mut seqs = Vec::new();
    results.records(&mut |line| seqs.push(line.unwrap().seq)).unwrap();
    seqs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_from_submission_to_shipped_records() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let (sweep, version, new, known) = stands(&running, frozen("wine", 5, dir.path())).await;
    assert_eq!((version, new, known), (1, true, 0));
    let mut worker = Fake::connect(&running, hello(1, 2)).await;
    worker.work(5).await;
    assert!(worker.welcome.is_some());
    let status = running.handle().wait_turned(sweep).await.unwrap();
    assert_eq!((status.state, status.succeeded, status.total), (SweepState::Finished, 5, 5));

    let board = running
        .handle()
        .leaderboard("", LeaderboardQuery { k: 2, ..LeaderboardQuery::default() })
        .await
        .unwrap();
    let best: Vec<_> = board.rows.iter().map(|row| (row.rank, row.index, row.objective.unwrap().0)).collect();
    assert_eq!((best, board.total), (vec![(Some(1), 4, 4.0), (Some(2), 3, 3.0)], 5));
    let query = LeaderboardQuery {
        filter: "x < 2".to_owned(),
        sort: "-score".to_owned(),
        ..LeaderboardQuery::default()
    };
    let board = running.handle().leaderboard("", query).await.unwrap();
    assert_eq!(board.rows.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 1]);
    let query = TrialsQuery { page_size: 2, ..TrialsQuery::default() };
    let first = running.handle().trials("", query.clone()).await.unwrap();
    let rest = running
        .handle()
        .trials("", TrialsQuery { page_size: 9, page_token: first.next, ..query })
        .await
        .unwrap();
    assert_eq!((first.trials.len(), rest.trials.len(), rest.next.as_str()), (2, 3, ""));
    let best = running.handle().trial("", "best").await.unwrap();
    assert_eq!((best.trial.index, best.attempts.len()), (4, 1));
    let by_rank = running.handle().trial("wine", "#2").await.unwrap();
    let by_prefix = running.handle().trial("", &by_rank.trial.trial.short()).await.unwrap();
    assert_eq!((by_rank.trial.index, by_prefix.trial.index), (3, 3));

    let again = stands(&running, frozen("wine", 5, dir.path())).await;
    assert_eq!(again, (sweep, 1, false, 0));
    assert!(Advert::read(dir.path()).unwrap().is_some());
    let socket = running.advert().socket.clone();
    running.stop().await.unwrap();
    assert_eq!(Advert::read(dir.path()).unwrap(), None);
    assert!(!socket.exists());
    assert_eq!(shipped(dir.path(), "wine"), [1, 2, 3, 4, 5]);

    let running = start(dir.path()).await;
    assert_eq!(running.handle().status("wine").unwrap().succeeded, 5);
    assert_eq!(running.advert().epoch.0, 2);
    running.stop().await.unwrap();
    assert_eq!(shipped(dir.path(), "wine").len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_held_a_lease_keeps_it_over_a_crash_of_the_master() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let mut running = disk.start(dir.path()).await;
    stands(&running, frozen("wine", 1, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    let grant = worker.grant().await;
    disk.break_down();
    worker.report(&grant, Some(0.5)).await;
    assert!(matches!(running.failed().await, MasterError::Store(StoreError::Fatal { .. })));
    assert!(worker.recorded.is_empty());
    drop(running);

    let running = start_after(dir.path()).await;
    let mut again = hello(1, 1);
    again.held.push((grant.token, grant.sweep, grant.trial));
    let mut worker = Fake::connect(&running, again).await;
    worker.until(|worker| worker.welcome.is_some()).await;
    worker.report(&grant, Some(0.5)).await;
    worker.until(|worker| worker.recorded == [grant.token.lease]).await;
    assert!(worker.grants.is_empty() && worker.fenced.is_empty());
    eventually("the success is counted", async || {
        let status = running.handle().status("").unwrap();
        (status.succeeded, status.leased) == (1, 0)
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_were_never_acknowledged_come_with_the_next_hello() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 40, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 40)).await;
    worker.until(|worker| worker.grants.len() == 40).await;
    let grants = std::mem::take(&mut worker.grants);
    drop(worker);
    running.stop().await.unwrap();
    let running = start(dir.path()).await;
    let mut again = hello(1, 40);
    for grant in &grants {
        let mut report = report(grant.token, grant.trial, Some(1.0));
        report.log = "x".repeat(60_000);
        again.reports.push(report);
    }
    let mut worker = Fake::connect(&running, again).await;
    worker.until(|worker| worker.recorded.len() == 40).await;
    eventually("all are counted", async || running.handle().status("wine").unwrap().succeeded == 40).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_a_second_master_is_refused_and_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let second = Master::start(MasterConfig::new(dir.path())).await;
    let Err(MasterError::Store(StoreError::Held { pid, .. })) = second else { panic!("{second:?}") };
    assert_eq!(pid, std::process::id());
    assert!(Advert::read(dir.path()).unwrap().is_some(), "the first one's advertisement stands");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_does_not_serve_over_the_results_of_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 1, dir.path())).await;
    running.stop().await.unwrap();
    let epochs = dir.path().join("results/wine/epochs");
    let later = epochs.join("9");
    std::fs::write(&later, "another master").unwrap();
    let refused = Master::start(MasterConfig::new(dir.path())).await;
    assert!(matches!(refused, Err(MasterError::Superseded { theirs: Epoch(9), .. })), "{refused:?}");
    std::fs::remove_file(later).unwrap();
    start_after(dir.path()).await.stop().await.unwrap();
    assert!(epochs.join("2").exists(), "the refused one had begun none");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_asked_to_drain_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 3, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    let grant = worker.grant().await;
    let handle = running.handle().clone();
    let drain = async { handle.drain(Duration::from_secs(5)).await.unwrap() };
    let obey = async {
        worker.until(|worker| worker.drain_ms.is_some()).await;
        worker.report(&grant, Some(1.0)).await;
        worker.until(|worker| !worker.recorded.is_empty()).await;
        worker.say(WorkerUpdate { bye: true, ..WorkerUpdate::default() }).await;
        worker.drain_ms
    };
    let (drained, asked) = tokio::join!(drain, obey);
    assert_eq!((drained, asked), (true, Some(5000)));
    assert!(worker.grants.is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_its_tail_are_what_the_events_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = MasterConfig::new(dir.path());
    config.snapshot_every = 7;
    let running = Master::start(config).await.unwrap();
    stands(&running, frozen("wine", 12, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 3)).await;
    worker.work(8).await;
    let best = running.handle().trial("wine", "#1").await.unwrap();
    running.stop().await.unwrap();
    let running = start(dir.path()).await;
    let after = running.handle().status("wine").unwrap();
    assert_eq!((after.succeeded, after.total), (8, 12));
    assert_eq!(after.best.map(|best| best.trial), Some(best.trial.trial));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_with_a_long_path_gets_a_socket_with_a_short_one() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(120));
    let running = start(&long).await;
    let socket = running.advert().socket.clone();
    assert!(socket.as_os_str().len() < 100 && socket.exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let _worker = Fake::connect(&running, hello(1, 1)).await;
    running.stop().await.unwrap();
    assert!(!socket.parent().unwrap().exists());
}
