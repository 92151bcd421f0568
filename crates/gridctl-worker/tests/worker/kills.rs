//! Slots and workers that are killed at bad moments: nothing of theirs may live on, and nothing may
//! be blamed on a trial.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::{World, until};
use gridctl_core::record::Class;
use gridctl_worker::marks::{end_marked, is_alive};
use rustix::process::{Pid, Signal, kill_process};

/// A trainer with a child and a daemon, which says who they and its slot are.
const FAMILY: &str = "trap '' TERM HUP; sleep 300 & a=$!; setsid sleep 300 & b=$!; echo $PPID $$ $a $b > pids.tmp; mv pids.tmp pids; while :; do sleep 1; done";

/// Slot, trainer, child, daemon.
async fn family(dir: &Path) -> Vec<u32> {
    until("the family is there", || dir.join("pids").exists()).await;
    let text = fs::read_to_string(dir.join("pids")).unwrap();
    fs::remove_file(dir.join("pids")).unwrap();
    text.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

async fn all_gone(pids: &[u32]) {
    until("all are gone", || !pids.iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
async fn a_killed_slot_is_the_machines_fault_and_its_trainers_are_ended() {
    let mut world = World::new(1);
    let (mut master, _) = world.accept().await;
    // The daemon has cleared its environment, so that no mark tells whose it is.
    let sweep = world.sweep(&FAMILY.replace("setsid", "env -i setsid"), |_| {});
    master.update(world.grant(&sweep, 0.1)).await;
    let pids = family(world.dir()).await;
    kill(pids[0], Signal::KILL);
    let report = master.report().await;
    assert_eq!(report.class, Class::WorkerFault, "{report:?}");
    assert!(report.error.unwrap().contains("the slot process has ended"));
    all_gone(&pids).await;
    let next = world.sweep("echo acc=1", |_| {});
    master.update(world.grant(&next, 0.1)).await;
    assert_eq!(master.report().await.class, Class::Succeeded, "a new slot takes its place");
}

#[tokio::test]
async fn a_killed_worker_leaves_nothing() {
    let mut world = World::new(1);
    let (master, _) = world.accept().await;
    let sweep = world.sweep(FAMILY, |_| {});
    master.update(world.grant(&sweep, 0.1)).await;
    let pids = family(world.dir()).await;
    world.worker.kill().unwrap();
    all_gone(&pids).await;
}

#[tokio::test]
async fn what_worker_and_slot_leave_that_are_killed_together_is_ended_at_the_next_start() {
    let mut world = World::new(1);
    let (master, _) = world.accept().await;
    let sweep = world.sweep(FAMILY, |_| {});
    master.update(world.grant(&sweep, 0.1)).await;
    let pids = family(world.dir()).await;
    kill(world.worker.id(), Signal::STOP);
    kill(pids[0], Signal::KILL);
    world.worker.kill().unwrap();
    world.worker.wait().unwrap();
    assert!(pids[1..].iter().all(|pid| is_alive(*pid)), "{pids:?}");
    let ended = end_marked(&world.dir().display().to_string());
    assert!(pids[1..].iter().all(|pid| ended.contains(pid) && !is_alive(*pid)), "{pids:?} {ended:?}");
}

#[tokio::test]
async fn when_the_parent_goes_everything_goes_at_once() {
    let mut world = World::with(1, &["--parent-pipe"], &[]);
    let (master, _) = world.accept().await;
    let sweep = world.sweep(FAMILY, |_| {});
    master.update(world.grant(&sweep, 0.1)).await;
    let pids = family(world.dir()).await;
    drop(world.worker.stdin.take());
    assert!(!world.gone().await.success());
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "nothing outlives the worker");
    assert_eq!(fs::read_dir(world.dir().join("work")).unwrap().count(), 0, "its directories are gone");
}

#[tokio::test]
async fn one_sigterm_drains_and_a_second_one_stops() {
    for twice in [false, true] {
        let mut world = World::new(1);
        let (mut master, _) = world.accept().await;
        let script =
            if twice { FAMILY } else { "echo $PPID $$ > pids.tmp; mv pids.tmp pids; exec sleep 300" };
        let sweep = world.sweep(script, |_| {});
        master.update(world.grant(&sweep, 0.1)).await;
        let pids = family(world.dir()).await;
        kill(world.worker.id(), Signal::TERM);
        if twice {
            tokio::time::sleep(Duration::from_millis(200)).await;
            kill(world.worker.id(), Signal::TERM);
        } else {
            assert_eq!(master.report().await.class, Class::Drained);
        }
        drop(master);
        assert_eq!(world.gone().await.success(), !twice);
        all_gone(&pids).await;
    }
}
