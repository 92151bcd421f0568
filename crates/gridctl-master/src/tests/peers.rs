//! Workers that say what is not theirs to say, or say it too often: nothing of it changes an outcome.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};

use gridctl_core::id::{Epoch, LeaseSeq, Token};
use gridctl_core::protocol::{Grant, Hello, WorkerUpdate};
use gridctl_core::sched::{Steer, SweepState, Timing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use super::fake::{
    Fake, SOON, channel, eventually, frozen, hello, report, stands, start, start_after, submit,
};
use crate::{Master, MasterConfig, Running};

/// What the master says of a report: whether it is recorded, or fenced.
async fn is_recorded(worker: &mut Fake, token: Token, grant: &Grant) -> bool {
    let reports = vec![report(token, grant.trial, Some(1.0))];
    worker.say(WorkerUpdate { reports, ping: true, ..WorkerUpdate::default() }).await;
    let lease = token.lease;
    worker.until(|worker| worker.recorded.contains(&lease) || worker.fenced.contains(&lease)).await;
    let recorded = worker.recorded.contains(&lease);
    worker.recorded.clear();
    worker.fenced.clear();
    recorded
}

/// Trials of the sweep that have succeeded, and that workers hold.
fn counts(running: &Running) -> (u64, u64) {
    let status = running.handle().status("wine").unwrap();
    (status.succeeded, status.leased)
}

#[tokio::test(flavor = "multi_thread")]
async fn g37_a_token_that_was_not_given_to_this_worker_records_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 2, dir.path())).await;
    let mut owner = Fake::connect(&running, hello(1, 1)).await;
    let grant = owner.grant().await;
    let mut thief = Fake::connect(&running, hello(2, 1)).await;
    let own = thief.grant().await;
    assert!(!is_recorded(&mut thief, grant.token, &grant).await, "another worker's lease");
    let mut swapped = own.clone();
    swapped.trial = grant.trial;
    assert!(!is_recorded(&mut thief, own.token, &swapped).await, "its own lease, another's trial");
    let token = grant.token;
    let forged = [
        Token { epoch: Epoch(0), ..token },
        Token { epoch: Epoch(token.epoch.0 + 1), ..token },
        Token { epoch: Epoch(u32::MAX), ..token },
        Token { lease: LeaseSeq(0), ..token },
        Token { lease: LeaseSeq(u64::MAX), ..token },
        Token { lease: LeaseSeq(own.token.lease.0 + 1), ..token },
        Token { lease: own.token.lease, ..token },
        Token { attempt: 0, ..token },
        Token { attempt: token.attempt + 1, ..token },
        Token { attempt: u32::MAX, ..token },
    ];
    for token in forged {
        assert!(!is_recorded(&mut owner, token, &grant).await, "{token:?}");
    }
    eventually("both hold what they held", async || counts(&running) == (0, 2)).await;
    assert!(is_recorded(&mut owner, token, &grant).await, "the true one");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g38_a_report_counts_once_however_often_and_whenever_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = MasterConfig::new(dir.path());
    config.timing = Timing::new(1_500, 300, 3_600_000, 1_500).unwrap();
    let running = Master::start(config).await.unwrap();
    let handle = running.handle().clone();
    stands(&running, frozen("wine", 4, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;

    let grant = worker.grant().await;
    let reports = vec![report(grant.token, grant.trial, Some(1.0)); 500];
    for _ in 0..20 {
        worker.say(WorkerUpdate { reports: reports.clone(), ..WorkerUpdate::default() }).await;
    }
    let lease = grant.token.lease;
    worker.until(|worker| worker.recorded == [lease] && worker.fenced.len() == 9_999).await;
    eventually("ten thousand times are once", async || counts(&running).0 == 1).await;

    let next = worker.grant().await;
    let early = Token { lease: LeaseSeq(next.token.lease.0 + 1), ..next.token };
    assert!(!is_recorded(&mut worker, early, &next).await, "before its grant");
    assert!(!is_recorded(&mut worker, grant.token, &grant).await, "after its end");

    // The worker falls silent; another is granted the trial; then the first one reports.
    let mut other = Fake::connect(&running, hello(2, 1)).await;
    let first = other.grant().await;
    let score = Some(2.0);
    other.report(&first, score).await;
    let second = other.grant().await;
    other.report(&second, score).await;
    let third = beating(&mut other, async |other| other.grant().await).await;
    assert_eq!((third.trial, third.token.attempt), (next.trial, 2));
    let mut late = Fake::connect(&running, hello(1, 1)).await;
    assert!(!is_recorded(&mut late, next.token, &next).await, "after another was granted the trial");

    handle.steer("wine", Steer::Cancel).await.unwrap();
    other.report(&third, score).await;
    let lease = third.token.lease;
    beating(&mut other, async |other| other.until(|other| other.recorded.contains(&lease)).await).await;
    eventually("nothing is held", async || counts(&running).1 == 0).await;
    assert_eq!(handle.status("wine").unwrap().state, SweepState::Cancelled);
    let trial = handle.trial("wine", &next.trial.to_string()).await.unwrap();
    assert_eq!(trial.attempts.len(), 2, "one that was lost, and one: {:?}", trial.attempts);
    running.stop().await.unwrap();
}

/// Does something while the worker's heart goes on beating.
async fn beating<T>(worker: &mut Fake, act: impl AsyncFnOnce(&mut Fake) -> T) -> T {
    let say = worker.say.clone();
    let beat = async {
        loop {
            let beat = gridctl_core::protocol::ToMaster::Update(WorkerUpdate::default());
            if say.send(beat.into()).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        done = act(worker) => done,
        () = beat => unreachable!("it goes on for ever"),
    }
}

/// The status with which the master answers a unary call of `body`, as the bytes go over the wire.
async fn answer(running: &Running, method: &str, (name, value): (&str, &str), body: Vec<u8>) -> Code {
    let mut channel = channel(running).await;
    let request = http::Request::post(format!("http://localhost/gridctl.v1.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(name, value)
        .body(Body::new(Full::new(body.into())))
        .unwrap();
    let call = async {
        std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
        // A client that keeps a deadline itself gives up on the call.
        let (head, body) = channel.call(request).await.ok()?.into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        let status = head.headers.get("grpc-status").or(trailers.get("grpc-status")).cloned();
        Some(status.expect("a status instead of an answer"))
    };
    let status = tokio::time::timeout(SOON, call).await.unwrap();
    status.map_or(Code::DeadlineExceeded, |status| Code::from_bytes(status.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn g42_what_is_compressed_is_refused_before_it_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    for encoding in ["gzip", "deflate", "zstd", "snappy", "identity"] {
        // A flag that says "compressed", a length, and what would become far more than it is.
        let mut body = vec![1, 0, 0, 0, 64];
        body.extend([0x1f, 0x8b, 8, 0]);
        body.resize(5 + 64, 0);
        let code = answer(&running, "WorkerService/Connect", ("grpc-encoding", encoding), body).await;
        let refused = matches!(code, Code::Unimplemented | Code::Internal | Code::InvalidArgument);
        assert!(refused, "{encoding}: {code:?}");
    }
    stands(&running, frozen("wine", 1, dir.path())).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g51_of_many_connections_of_one_worker_the_newest_counts() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 3, dir.path())).await;
    let mut first = Fake::connect(&running, hello(1, 1)).await;
    let grant = first.grant().await;
    // Who comes later under this id does not hold the trial: it is granted anew, under a new token.
    for _ in 0..500 {
        let hello = Hello { draining: true, ..hello(1, 1) };
        Fake::connect(&running, hello).await.until(|worker| worker.welcome.is_some()).await;
    }
    let mut last = Fake::connect(&running, hello(1, 1)).await;
    let again = last.grant().await;
    assert!(again.token.lease > grant.token.lease);
    let gone = tokio::time::timeout(SOON, async { while let Ok(Some(_)) = first.hear.message().await {} });
    gone.await.expect("the first connection is hung up");
    assert!(!is_recorded(&mut last, grant.token, &grant).await, "the token from before");
    let workers = running.handle().workers().await.unwrap();
    assert_eq!((workers.len(), workers[0].leased), (1, 1));
    assert!(is_recorded(&mut last, again.token, &again).await);
    // The id is used again after its worker has gone.
    drop(last);
    let handle = running.handle().clone();
    let gone = async || !handle.workers().await.unwrap().iter().any(|worker| worker.connected);
    eventually("it has gone", gone).await;
    let mut successor = Fake::connect(&running, hello(1, 1)).await;
    successor.work(2).await;
    eventually("all three", async || counts(&running).0 == 3).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g52_connections_that_end_at_any_place_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 1, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    let grant = worker.grant().await;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x40\x01\x04\0\0\0\x01".to_vec();
    let mut half = Vec::new();
    for place in 0..=preface.len() {
        let mut peer = UnixStream::connect(&running.advert().socket).await.unwrap();
        peer.write_all(&preface[..place]).await.unwrap();
        if place % 2 == 0 {
            // Half of it stays: what it writes has ended, and it goes on listening.
            peer.shutdown().await.unwrap();
            half.push(peer);
        }
    }
    for peer in &mut half {
        let mut rest = Vec::new();
        // It may end with a reset or with a farewell; it must end.
        let _ = tokio::time::timeout(SOON, peer.read_to_end(&mut rest)).await.expect("it ends");
    }
    drop(half);
    // A worker's stream that ends in the middle.
    for id in 2..40 {
        drop(Fake::connect(&running, hello(id, 0)).await);
    }
    eventually("every descriptor is given back", async || open() <= before).await;
    assert!(is_recorded(&mut worker, grant.token, &grant).await);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g48_a_call_with_any_deadline_or_cut_off_in_a_commit_leaves_a_whole_state() {
    const TRIALS: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", TRIALS, dir.path())).await;
    // A deadline that nobody can keep, or that never comes, or that is none, ends at most its own call.
    for deadline in ["0n", "1n", "0S", "1u", "87600H", "99999999H", "999999999S", "-1S", "1", "x"] {
        for method in ["WorkerService/Join", "WorkerService/Renew"] {
            let code = answer(&running, method, ("grpc-timeout", deadline), vec![0; 5]).await;
            assert!(code != Code::Ok, "{method} within {deadline}: {code:?}");
        }
    }
    // Reports whose connection breaks before, in, or after the commit that holds them: all are said again, and count once.
    let mut hello = hello(1, 8);
    for round in 0..TRIALS {
        let mut worker = Fake::connect(&running, hello.clone()).await;
        let grant = worker.grant().await;
        let kept = report(grant.token, grant.trial, Some(1.0));
        worker.report(&grant, Some(1.0)).await;
        tokio::time::sleep(Duration::from_micros(round * 100)).await;
        drop(worker);
        hello.reports = vec![kept];
        let mut again = Fake::connect(&running, hello.clone()).await;
        let lease = grant.token.lease;
        again.until(|worker| worker.recorded.contains(&lease) || worker.fenced.contains(&lease)).await;
        hello.reports.clear();
        eventually("it counts once", async || counts(&running).0 == round + 1).await;
    }
    // Submissions whose caller goes before they are answered: they stand whole, or not at all, and can be made again.
    for round in 0..TRIALS {
        let body = serde_json::to_string(&submit(frozen(&format!("cut{round}"), 3, dir.path()))).unwrap();
        let head = "POST /api/v1/sweeps HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let mut caller = UnixStream::connect(&running.advert().socket).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(round * 250)).await;
    }
    for round in 0..TRIALS {
        let (_, version, ..) = stands(&running, frozen(&format!("cut{round}"), 3, dir.path())).await;
        assert_eq!(version, 1);
    }
    let of_all = |running: &Running| -> u64 {
        let names = (0..TRIALS).map(|round| format!("cut{round}"));
        names.map(|name| running.handle().status(&name).unwrap().total).sum()
    };
    assert_eq!((counts(&running).0, of_all(&running)), (TRIALS, 3 * TRIALS));
    running.stop().await.unwrap();
    let running = start_after(dir.path()).await;
    assert_eq!((counts(&running).0, of_all(&running)), (TRIALS, 3 * TRIALS));
    running.stop().await.unwrap();
}
