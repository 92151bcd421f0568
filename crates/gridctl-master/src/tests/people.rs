//! What people ask: versions and what is known, steering, retries, queries over gRPC and over TCP.

use gridctl_core::id::CodeHash;
use gridctl_core::notice::Notice;
use gridctl_core::record::TrialState;
use gridctl_core::sched::{Steer, SweepState};
use gridctl_core::spec::AxisValues;
use gridctl_core::view::{Changed, LeaderboardQuery, SubmitRequest, Submitted, TrialsQuery};

use super::fake::{Fake, eventually, frozen, hello, stands, start, submit};
use crate::AskError;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_fingerprint_is_known_in_every_version_and_every_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 4, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(4).await;
    let (_, version, new, known) = stands(&running, frozen("wine", 6, dir.path())).await;
    assert_eq!((version, new, known), (2, true, 4));
    worker.work(2).await;
    let (other, _, _, known) = stands(&running, frozen("other", 3, dir.path())).await;
    assert_eq!(known, 3);
    let status = running.handle().wait_turned(other).await.unwrap();
    assert_eq!((status.state, status.succeeded), (SweepState::Finished, 3));
    assert_eq!(status.best.unwrap().index, 2);
    let details = running.handle().trial("other", "best").await.unwrap();
    let record = serde_json::to_value(&details.attempts[0]).unwrap();
    assert_eq!((&record["sweep"], &record["known_from"][0]), (&"other".into(), &"wine".into()));
    let mut other_metric = frozen("third", 3, dir.path());
    other_metric.spec.objective.as_mut().unwrap().metric.name = "loss".to_owned();
    assert_eq!(stands(&running, other_metric).await.3, 0, "what was never measured is not known");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s31_other_code_asks_what_to_keep() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 4, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(3).await;
    let grant = worker.grant().await;
    worker.report(&grant, None).await;
    worker.until(|worker| worker.recorded.contains(&grant.token.lease)).await;
    let mut other = frozen("wine", 4, dir.path());
    other.code = CodeHash([2; 10]);
    other.spec.command = vec!["train2".to_owned()];
    let asked = running.handle().submit(submit(other.clone())).await.unwrap();
    let lines = vec!["command: train -> train2".to_owned()];
    assert_eq!(
        asked,
        Submitted::CodeChanged { version: 1, lines, succeeded: 3, failed: 1, disturbed: Vec::new() }
    );
    for (changed, code, expected) in [(Changed::Keep, 2, 4), (Changed::Failed, 3, 3), (Changed::All, 4, 0)] {
        other.code = CodeHash([code; 10]);
        other.spec.command = vec![format!("train{code}")];
        let ask = SubmitRequest { changed: Some(changed), ..submit(other.clone()) };
        let Submitted::Stands { known, new, .. } = running.handle().submit(ask).await.unwrap() else {
            panic!("it was said what to keep")
        };
        assert_eq!((new, known), (true, expected), "{changed:?}");
        if changed == Changed::Failed {
            // The one that failed before is tried again; afterwards all four are there under some code.
            worker.work(1).await;
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_trainers_left_in_the_workdir_are_no_other_code() {
    let file = |path: &str, hash: &str| (path.to_owned(), hash.to_owned());
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let mut first = frozen("wine", 2, dir.path());
    first.files = vec![file("train.py", "a")];
    stands(&running, first.clone()).await;
    let mut with_more = first.clone();
    with_more.code = CodeHash([2; 10]);
    with_more.files.push(file("out.csv", "b"));
    let mut changed = with_more.clone();
    changed.files[0] = file("train.py", "c");
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(2).await;
    let answer = running.handle().submit(submit(with_more.clone())).await.unwrap();
    let Submitted::Stands { version, new, left, .. } = answer else { panic!("nothing to ask") };
    assert_eq!((version, new, left), (1, false, vec!["out.csv".to_owned()]));
    let answer = running.handle().submit(submit(changed)).await.unwrap();
    let lines = ["file out.csv: new", "file train.py: changed"].map(str::to_owned).to_vec();
    assert_eq!(
        answer,
        Submitted::CodeChanged { version: 1, lines, succeeded: 2, failed: 0, disturbed: Vec::new() }
    );
    let keep = SubmitRequest { changed: Some(Changed::Keep), ..submit(with_more) };
    let answer = running.handle().submit(keep).await.unwrap();
    assert!(matches!(answer, Submitted::Stands { version: 2, known: 2, .. }), "{answer:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_result_of_other_code_stays_when_only_the_grid_grows() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 2, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(2).await;
    let mut other = frozen("wine", 2, dir.path());
    other.code = CodeHash([2; 10]);
    let keep = SubmitRequest { changed: Some(Changed::Keep), ..submit(other.clone()) };
    running.handle().submit(keep).await.unwrap();
    other.spec.axes[0].values = AxisValues::IntRange { min: 0, step: 1, count: 3 };
    assert_eq!(stands(&running, other).await.3, 2);
    worker.work(1).await;
    let board = running.handle().leaderboard("", LeaderboardQuery::default()).await.unwrap();
    assert!(board.mixed_code);
    let top = LeaderboardQuery { k: 1, ..LeaderboardQuery::default() };
    let board = running.handle().leaderboard("", top).await.unwrap();
    assert!(board.mixed_code, "codes are counted beyond the rows that are shown");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_leaderboard_is_the_thorough_one_where_trials_diverge_too() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let (sweep, ..) = stands(&running, frozen("wine", 6, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    for score in [f64::NAN, 0.5, f64::INFINITY, 0.5, 0.75, f64::NAN] {
        let grant = worker.grant().await;
        worker.report(&grant, Some(score)).await;
        worker.until(|worker| worker.recorded.contains(&grant.token.lease)).await;
    }
    running.handle().wait_turned(sweep).await.unwrap();
    let ask = async |filter: &str, k, offset| {
        let filter = filter.to_owned();
        let query = LeaderboardQuery { k, offset, filter, ..LeaderboardQuery::default() };
        running.handle().leaderboard("", query).await.unwrap()
    };
    for (k, offset) in [(0, 0), (2, 0), (4, 0), (4, 2), (2, 3), (9, 4), (1, 5), (3, 6)] {
        let quick = ask("", k, offset).await;
        let thorough = ask("index >= 0", k, offset).await;
        // NaN is not NaN, so their words are compared.
        assert_eq!(format!("{quick:?}"), format!("{thorough:?}"), "{k} after {offset}");
    }
    let ranks: Vec<_> = ask("", 0, 0).await.rows.iter().map(|row| row.rank).collect();
    assert_eq!(ranks, [Some(1), Some(2), Some(3), None, None, None]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_steering_and_retrying_what_is_not_there_or_over_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let handle = running.handle();
    assert!(matches!(handle.steer("", Steer::Pause).await, Err(AskError::NoSweep)));
    let (sweep, ..) = stands(&running, frozen("wine", 2, dir.path())).await;
    assert!(matches!(handle.steer("beer", Steer::Pause).await, Err(AskError::UnknownSweep { .. })));
    assert_eq!(handle.steer("wine", Steer::Pause).await.unwrap(), 1);
    assert_eq!(handle.status("").unwrap().state, SweepState::Paused);
    assert_eq!(handle.steer("wine", Steer::Resume).await.unwrap(), 1);
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(1).await;
    let grant = worker.grant().await;
    worker.report(&grant, None).await;
    assert_eq!(handle.wait_turned(sweep).await.unwrap().failed, 1);
    assert!(matches!(handle.steer("wine", Steer::Cancel).await, Err(AskError::Refused(_))));
    let find = async |name: &str| handle.find_all("", &[name.to_owned()]).await;
    assert!(matches!(find("zzzz").await, Err(AskError::UnknownTrial { .. })));
    assert!(matches!(find("../../x").await, Err(AskError::UnknownTrial { .. })));
    let failed = handle
        .trials("", TrialsQuery { state: Some(TrialState::Failed), ..TrialsQuery::default() })
        .await
        .unwrap();
    let trial = failed.trials[0].trial;
    assert_eq!(handle.retry("wine", vec![trial]).await.unwrap(), 1);
    let listed = handle.trials("", TrialsQuery::default()).await.unwrap().trials;
    let states: Vec<TrialState> =
        listed.iter().filter(|line| line.trial == trial).map(|line| line.state).collect();
    assert_eq!(states, [TrialState::Leased], "it is not failed as well");
    worker.work(1).await;
    assert_eq!(handle.wait_turned(sweep).await.unwrap().succeeded, 2);
    let failed = handle
        .trials("", TrialsQuery { state: Some(TrialState::Failed), ..TrialsQuery::default() })
        .await
        .unwrap();
    assert!(failed.trials.is_empty(), "a failure that was made good is none any more");
    assert_eq!(handle.trial("", &trial.to_string()).await.unwrap().attempts.len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sweeps_results_are_not_touched() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = start(first.path()).await;
    stands(&running, frozen("wine", 1, first.path())).await;
    let other = start(second.path()).await;
    let refused = other.handle().submit(submit(frozen("wine", 1, first.path()))).await;
    assert!(matches!(refused, Err(AskError::Volume(_))), "{refused:?}");
    assert!(matches!(other.handle().status("wine"), Err(AskError::NoSweep)));
    running.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_gone_is_reported_and_gets_everything_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 2, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(1).await;
    let results = dir.path().join("results");
    let records = || std::fs::read_dir(results.join("wine/records")).map_or(0, |dir| dir.count());
    eventually("the first record is shipped", async || records() > 0).await;
    let (claim, away) = (results.join("wine/sweep.json"), dir.path().join("away"));
    std::fs::rename(&claim, &away).unwrap();
    worker.work(1).await;
    eventually("the status says what is wrong", async || {
        let status = running.handle().status("wine").unwrap();
        matches!(status.notices[..], [Notice::RecordsNotShipped { .. }])
    })
    .await;
    assert!(!claim.exists(), "nothing is claimed anew");
    std::fs::rename(&away, &claim).unwrap();
    eventually("the rest is shipped", async || {
        running.handle().status("wine").unwrap().notices.is_empty() && records() > 1
    })
    .await;
    running.stop().await.unwrap();
}
