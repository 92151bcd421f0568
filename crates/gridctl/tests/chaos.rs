//! Workers are killed on purpose, and a master is started again: what a person sees, and what it costs.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs::{self, File};
use std::process::Child;

use lab::{Lab, signal};
use rustix::process::Signal;
use serde_json::Value as Json;

/// A trial that fails costs its outcome: nothing that chaos does may count as one.
const SWEEP: &str = "command: [sh, -c, 'sleep 0.1; echo s=$((HP_X * 7 % 31))']
metric: {name: s, goal: maximize}
retry: {max_failures: 0}
parameters: {x: {min: 1, max: 60}}
";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("sweep.yaml", SWEEP);
    lab
}

/// The leaderboard, where nobody disturbs.
fn expected(lab: &Lab) -> String {
    let done = lab.run(&["run", "sweep.yaml", "--data-dir", "own-data", "-k", "0", "--slots", "8"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

fn logged(lab: &Lab, name: &str, args: &[&str]) -> Child {
    let log = File::create(lab.path().join(name)).unwrap();
    lab.command(args).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// A run that some trials have ended of.
fn under_way(lab: &Lab) -> Child {
    let run = lab.start(&["run", "sweep.yaml", "-k", "0", "--slots", "2", "--quiet"]);
    lab.until("trials have ended", || {
        let status: Json =
            serde_json::from_str(&lab.run(&["status", "-o", "json"]).stdout).unwrap_or_default();
        status["succeeded"].as_u64() > Some(3)
    });
    run
}

#[test]
fn a_run_whose_workers_are_killed_ends_with_the_same_leaderboard_and_no_failure() {
    let lab = lab();
    let expected = expected(&lab);
    let run = under_way(&lab);
    let chaos = lab.run(&["chaos", "--kill", "2", "--every", "200ms", "--times", "2"]);
    assert_eq!(chaos.code, Some(0), "{}", chaos.stderr);
    assert!(chaos.stdout.contains("killed worker "), "{chaos:?}");
    let done = lab.wait(run);
    assert_eq!((done.code, done.stdout), (Some(0), expected), "{}", done.stderr);
    let trials: Vec<Json> = serde_json::from_str(&lab.run(&["trials", "ls", "-o", "json"]).stdout).unwrap();
    assert_eq!(trials.len(), 60);
    assert!(trials.iter().all(|trial| trial["state"] == "succeeded"), "{trials:?}");
    let nobody = lab.run(&["chaos"]);
    assert_eq!(nobody.code, Some(5), "without a master there is nobody to ask: {nobody:?}");
}

#[test]
fn workers_that_are_taken_away_tell_it_and_their_trials_move_without_a_failure() {
    let lab = lab();
    let expected = expected(&lab);
    let run = under_way(&lab);
    let chaos = lab.run(&["chaos", "--interrupt", "1", "--every", "300ms", "--times", "2"]);
    assert_eq!(chaos.code, Some(0), "{}", chaos.stderr);
    assert!(chaos.stdout.contains("interrupted worker "), "{chaos:?}");
    let done = lab.wait(run);
    assert_eq!((done.code, done.stdout), (Some(0), expected), "{}", done.stderr);
    let attempts = lab.run(&["export", "--attempts", "-o", "jsonl"]).stdout;
    let ended = |class: &str| attempts.lines().filter(|line| line.contains(class)).count();
    assert!(ended(r#""class":"preempted""#) >= 1, "whoever has a notice says so: {attempts}");
    assert_eq!(ended(r#""class":"lost""#), 0, "nobody is waited for until its lease ends: {attempts}");
    let both = lab.run(&["chaos", "--interrupt", "1", "--kill", "1"]);
    assert_eq!(both.code, Some(2), "one or the other: {both:?}");
}

#[test]
fn whoever_follows_a_sweep_waits_for_a_master_that_is_started_again() {
    let lab = lab();
    let mut master = logged(&lab, "first", &["master"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let mut worker = logged(&lab, "worker", &["worker", "--slots", "1"]);
    assert_eq!(lab.run(&["submit", "sweep.yaml"]).code, Some(0));
    let follower = lab.start(&["status", "-w"]);
    for (how, next) in [(Signal::KILL, "second"), (Signal::TERM, "third")] {
        lab.until("a trial has ended", || {
            lab.run(&["trials", "ls", "-o", "jsonl"]).stdout.contains("succeeded")
        });
        signal(&master, how);
        master.wait().unwrap();
        master = logged(&lab, next, &["master"]);
    }
    let done = lab.wait(follower);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("sweep finished: 60/60"), "{}", done.stdout);
    assert!(done.stderr.contains("the master has gone; waiting"), "{}", done.stderr);
    // A master that stands now ships nothing more, so what is read is what was there when the follower ended.
    signal(&master, Signal::STOP);
    let records = fs::read_dir(lab.data().join("results/sweep/records")).unwrap();
    let records = records.map(|segment| fs::read_to_string(segment.unwrap().path()).unwrap());
    let shipped = records.map(|text| text.matches(r#""state":"succeeded""#).count()).sum::<usize>();
    assert_eq!(shipped, 60, "who was told that a sweep is over finds all of it in the results");
    signal(&master, Signal::CONT);
    signal(&worker, Signal::TERM);
    worker.wait().unwrap();
    signal(&master, Signal::TERM);
    assert!(master.wait().unwrap().success());
}
