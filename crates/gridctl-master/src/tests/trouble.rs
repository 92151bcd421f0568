//! What goes wrong: full disks, broken disks, and clients that do not behave.

use std::time::Duration;

use gridctl_core::notice::Notice;
use gridctl_core::protocol::{ToMaster, WorkerUpdate};
use gridctl_proto::v1;
use gridctl_proto::v1::worker_service_client::WorkerServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;

use super::fake::{Disk, Fake, SOON, channel, eventually, frozen, hello, stands, start, submit};
use crate::{AskError, MasterError, Running};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_or_lost_while_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let running = disk.start(dir.path()).await;
    let handle = running.handle().clone();
    stands(&running, frozen("wine", 2, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 2)).await;
    let (first, second) = (worker.grant().await, worker.grant().await);
    disk.fill();
    worker.report(&first, Some(1.0)).await;
    eventually("the status says that the disk is full", async || {
        matches!(handle.status("").unwrap().notices[..], [Notice::JournalFull { .. }])
    })
    .await;
    worker.report(&second, Some(2.0)).await;
    assert!(matches!(handle.workers().await, Err(AskError::DiskFull(_))));
    assert_eq!(handle.status("").unwrap().succeeded, 0, "what is not durable is not shown");
    let quiet = tokio::time::timeout(Duration::from_millis(300), worker.hear.message()).await;
    assert!(quiet.is_err(), "nothing is said before it is durable: {quiet:?}");
    disk.free();
    worker.until(|worker| worker.recorded.len() == 2).await;
    eventually("the status is as ever", async || {
        let status = handle.status("").unwrap();
        status.notices.is_empty() && status.succeeded == 2
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_whose_disk_fails_says_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let mut running = disk.start(dir.path()).await;
    stands(&running, frozen("wine", 1, dir.path())).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    let grant = worker.grant().await;
    disk.break_down();
    worker.report(&grant, Some(1.0)).await;
    let error = running.failed().await;
    assert!(matches!(error, MasterError::Store(_)) && error.help().is_some(), "{error}");
    assert!(running.stop().await.is_err());
    let rest = tokio::time::timeout(SOON, worker.hear.message()).await.unwrap();
    assert!(!matches!(rest, Ok(Some(_))), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_whose_results_were_claimed_by_a_master_that_ended_before_its_commit_is_submitted_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let mut running = disk.start(dir.path()).await;
    disk.break_down();
    let refused = running.handle().submit(submit(frozen("wine", 1, dir.path()))).await;
    assert!(matches!(&refused, Err(AskError::Failed(why)) if why.ends_with("EIO")), "{refused:?}");
    running.failed().await;
    assert!(running.stop().await.is_err());
    assert!(dir.path().join("results/wine/sweep.json").exists(), "it was claimed before the commit");
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 1, dir.path())).await;
    running.stop().await.unwrap();
}

/// Says `messages` first, and returns how the stream ended.
async fn ends(running: &Running, messages: Vec<v1::WorkerMessage>) -> Option<tonic::Status> {
    let (say, said) = mpsc::channel(8);
    for message in messages {
        say.send(message).await.unwrap();
    }
    let mut client = WorkerServiceClient::new(channel(running).await);
    let mut hear = client.connect(ReceiverStream::new(said)).await.unwrap().into_inner();
    loop {
        match tokio::time::timeout(SOON, hear.message()).await.unwrap() {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g41_a_connection_that_does_not_begin_with_a_good_hello_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let update = || v1::WorkerMessage::from(ToMaster::Update(WorkerUpdate::default()));
    let good = || v1::WorkerMessage::from(ToMaster::Hello(hello(1, 1)));
    let mut strange = good();
    if let Some(v1::worker_message::Say::Hello(hello)) = &mut strange.say {
        hello.worker = vec![1; 99];
    }
    for (messages, word) in [
        (vec![update()], "begins with `hello`"),
        (vec![v1::WorkerMessage { say: None }], "begins with `hello`"),
        (vec![strange], "field `worker`"),
        (vec![good(), good()], "comes once"),
        (vec![good(), v1::WorkerMessage { say: None }], "is missing"),
    ] {
        let status = ends(&running, messages).await.unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(word), "{status}");
    }
    let mut worker = Fake::connect(&running, hello(2, 1)).await;
    worker.until(|worker| worker.welcome.is_some()).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g43_who_says_nothing_is_hung_up_after_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let (_say, said) = mpsc::channel::<v1::WorkerMessage>(1);
    let mut client = WorkerServiceClient::new(channel(&running).await);
    let mut hear = client.connect(ReceiverStream::new(said)).await.unwrap().into_inner();
    let mut silent = UnixStream::connect(&running.advert().socket).await.unwrap();
    let mut garbage = UnixStream::connect(&running.advert().socket).await.unwrap();
    garbage.write_all(&[0xff; 4096]).await.unwrap();
    let mut rest = Vec::new();
    // It may end with a reset or with a farewell; it must end.
    let _ =
        tokio::time::timeout(Duration::from_secs(4), garbage.read_to_end(&mut rest)).await.expect("at once");
    let status = tokio::time::timeout(SOON, hear.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let _ = tokio::time::timeout(SOON, silent.read_to_end(&mut rest)).await.expect("it is dropped");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g47_a_worker_that_never_reads_is_hung_up() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let (say, said) = mpsc::channel(8);
    say.send(v1::WorkerMessage::from(ToMaster::Hello(hello(1, 1)))).await.unwrap();
    let endpoint = Endpoint::from_shared(running.advert().socket_address()).unwrap();
    let channel = endpoint.initial_stream_window_size(256).connect().await.unwrap();
    let mut client = WorkerServiceClient::new(channel);
    let _hear = client.connect(ReceiverStream::new(said)).await.unwrap().into_inner();
    let handle = running.handle().clone();
    let ping = WorkerUpdate { ping: true, ..WorkerUpdate::default() };
    eventually("it is not connected any more", async || {
        let _ = say.send(ToMaster::Update(ping.clone()).into()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        !handle.workers().await.unwrap().iter().any(|worker| worker.connected)
    })
    .await;
    running.stop().await.unwrap();
}
