//! The local fleet with real processes.

use rustix::process::{Pid, Signal, kill_process};

use gridctl_core::fleet::SHORT_LIVES;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A program that is started as a worker and does what `script` says.
fn config(dir: &Path, script: &str) -> LocalConfig {
    let program = dir.join("gridctl");
    // Written by another process: a file that this one holds open for writing while another test
    // starts a process is busy.
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = std::process::Command::new("/bin/sh").args(["-c", write]).arg(&program).arg(script).status();
    assert!(status.is_ok_and(|status| status.success()));
    LocalConfig {
        program,
        master: "unix:/tmp/m.sock".to_owned(),
        data_dir: dir.join("data"),
        args: vec!["--slots".into(), "2".into()],
    }
}

fn pids(fleet: &LocalFleet) -> Vec<u32> {
    fleet.workers.values().map(|worker| worker.pid).collect()
}

async fn event(fleet: &mut LocalFleet) -> FleetEvent {
    tokio::time::timeout(SOON, fleet.next_event()).await.expect("in time")
}

#[tokio::test]
async fn a_worker_is_told_who_it_is_and_ends_with_its_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "echo \"$@\"; cat; echo bye");
    let log = config.log();
    let mut ended = false;
    let mut fleet = LocalFleet::new(config, || ended = true).unwrap();
    assert!(ended);
    let [id] = fleet.launch(1).unwrap()[..] else { panic!("one was asked for") };
    assert_eq!(fleet.workers(), 1);
    fleet.end(SOON).await;
    let data = dir.path().join("data");
    let expected = format!(
        "worker --master unix:/tmp/m.sock --id {id} --data-dir {} --parent-pipe --slots 2\nbye\n",
        data.display()
    );
    assert_eq!(fs::read_to_string(log).unwrap(), expected);
}

#[tokio::test]
async fn a_worker_is_in_a_process_group_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = LocalFleet::new(config(dir.path(), "cat"), || ()).unwrap();
    fleet.launch(1).unwrap();
    let pid = Pid::from_raw(i32::try_from(pids(&fleet)[0]).unwrap()).unwrap();
    assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
    fleet.end(SOON).await;
    assert!(rustix::process::test_kill_process(pid).is_err());
}

#[tokio::test]
async fn a_worker_that_was_killed_is_reported_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = LocalFleet::new(config(dir.path(), "cat"), || ()).unwrap();
    let first = fleet.launch(1).unwrap()[0];
    let pid = Pid::from_raw(i32::try_from(pids(&fleet)[0]).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert!(matches!(event(&mut fleet).await, FleetEvent::Ended(gone) if gone == first));
    let FleetEvent::Started(second) = event(&mut fleet).await else { panic!("nobody took its place") };
    assert_ne!(first, second);
    assert_eq!(fleet.workers(), 1);
    fleet.end(SOON).await;
}

#[tokio::test]
async fn a_fleet_gives_up_on_workers_that_cannot_live_and_shows_their_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = LocalFleet::new(config(dir.path(), "echo no such slot >&2; exit 7"), || ()).unwrap();
    fleet.launch(1).unwrap();
    let error = loop {
        if let FleetEvent::GaveUp(error) = event(&mut fleet).await {
            break error.to_string();
        }
    };
    assert!(error.contains("5 workers in a row") && error.contains("exit status: 7"), "{error}");
    assert!(error.contains("no such slot"), "{error}");
}

#[tokio::test]
async fn workers_that_have_worked_are_replaced_however_often_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = LocalFleet::new(config(dir.path(), "exit 7"), || ()).unwrap();
    fleet.launch(1).unwrap();
    for _ in 0..=SHORT_LIVES {
        fleet.on_success();
        assert!(matches!(event(&mut fleet).await, FleetEvent::Ended(_)));
        assert!(matches!(event(&mut fleet).await, FleetEvent::Started(_)));
    }
}

#[tokio::test]
async fn a_worker_that_ignores_the_closed_pipe_is_killed_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = LocalFleet::new(config(dir.path(), "trap '' TERM; exec sleep 600"), || ()).unwrap();
    fleet.launch(2).unwrap();
    let pids: Vec<u32> = pids(&fleet);
    fleet.end(Duration::from_millis(100)).await;
    for pid in pids {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), "");
    config.program = dir.path().join("nothing");
    let mut fleet = LocalFleet::new(config, || ()).unwrap();
    assert!(matches!(fleet.launch(1), Err(FleetError::Spawn { .. })));
}

#[test]
fn a_long_log_is_put_aside_and_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("work/worker.log");
    prepare_log(&log).unwrap();
    fs::write(&log, vec![b'x'; usize::try_from(LONGEST_LOG).unwrap() + 1]).unwrap();
    prepare_log(&log).unwrap();
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    assert!(log.with_extension("log.1").exists());
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &log).unwrap();
    assert!(prepare_log(&log).is_err());
}
