//! `gridctl logs` prints all that a trainer wrote, or says what is missing: with a master and without one.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use lab::{Lab, signal, told};
use rustix::process::Signal;

/// 300 KiB and more: the record has the last 64.
const LONG: &str = "command: [sh, -c, 'seq 1 54000; echo s=$HP_X']
metric: {name: s, goal: maximize}
parameters: {x: {values: [1]}}
";

fn written() -> String {
    let mut all: String = (1..=54_000).map(|line| format!("{line}\n")).collect();
    all.push_str("s=1\n");
    all
}

/// The one attempt's directory in the results.
fn published(lab: &Lab) -> PathBuf {
    let only = |dir: PathBuf| fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    only(only(lab.data().join("results/long/trials")))
}

#[test]
fn all_that_a_trainer_wrote_is_printed_with_a_master_and_without() {
    let lab = Lab::new();
    lab.write("long.yaml", LONG);
    assert_eq!(lab.run(&["run", "long.yaml", "--quiet"]).code, Some(0));
    let expected = written();
    assert!(expected.len() > 300 << 10, "{}", expected.len());
    let alone = lab.run(&["logs", "best"]);
    assert!(alone.stdout == expected, "{} bytes: {}", alone.stdout.len(), alone.stderr);
    assert!(
        told(&alone).ends_with("attempt 1: succeeded (exit 0) after [T] on [HOST]\n"),
        "{}",
        alone.stderr
    );

    let mut master = lab.command(&["master"]).stderr(Stdio::null()).spawn().unwrap();
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let asked = lab.run(&["logs", "best", "--follow"]);
    assert!(asked.stdout == expected, "{} bytes: {}", asked.stdout.len(), asked.stderr);
    assert_eq!(asked.stderr, alone.stderr);
    signal(&master, Signal::TERM);
    assert!(master.wait().unwrap().success());

    // What is known was published by the sweep that computed it.
    lab.write("other.yaml", LONG);
    assert_eq!(lab.run(&["run", "other.yaml", "--quiet"]).code, Some(0));
    assert!(!lab.data().join("results/other/trials").exists());
    let show = lab.run(&["trials", "show", "best", "--sweep", "other"]).stdout;
    assert!(show.contains(" in [DIR]/gridctl-data/results/long/trials/"), "{show}");
    let known = lab.run(&["logs", "best", "--sweep", "other"]);
    assert!(known.stdout == expected, "{} bytes: {}", known.stdout.len(), known.stderr);

    // A reader that has seen enough.
    let mut command = lab.command(&["logs", "best", "--sweep", "long"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn of_a_log_that_is_not_whole_the_end_is_printed_and_what_is_missing_is_said() {
    let lab = Lab::new();
    lab.write("long.yaml", LONG);
    assert_eq!(lab.run(&["run", "long.yaml", "--quiet"]).code, Some(0));
    let (all, dir) = (written(), published(&lab));
    let tail = &all[all.len() - (64 << 10)..];
    let check = |what: &str| {
        let done = lab.run(&["logs", "best"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout == tail, "{} bytes of {what}: {}", done.stdout.len(), done.stderr);
        let said = "the last 65,536 of 312,898 bytes; the others are missing: ";
        let why = done.stderr.lines().last().unwrap().strip_prefix(said);
        assert!(why.is_some_and(|why| why.contains(what)), "{what}: {}", done.stderr);
    };
    let mut damaged = all.clone().into_bytes();
    damaged[7] ^= 1;
    fs::write(dir.join("log.txt"), &damaged).unwrap();
    check("not what its manifest says");
    fs::write(dir.join("log.txt"), &all[..all.len() - 1]).unwrap();
    check("not what its manifest says");
    fs::remove_file(dir.join("log.txt")).unwrap();
    check("log.txt");
    fs::write(dir.join("log.txt"), &all).unwrap();
    let manifest = fs::read(dir.join("manifest.json")).unwrap();
    fs::write(dir.join("manifest.json"), &manifest[..manifest.len() / 2]).unwrap();
    check("manifest.json");
    fs::remove_file(dir.join("manifest.json")).unwrap();
    check("no whole log");
    fs::remove_dir_all(lab.data().join("results/long")).unwrap();
    check("sweep.json");
}

/// Prints a line, waits to be told, prints another one.
const TALKS: &str =
    "command: [sh, -c, 'echo first; until [ -e go ]; do sleep 0.05; done; echo second; echo s=1']
metric: {name: s, goal: maximize}
parameters: {x: {values: [1]}}
";

#[test]
fn what_a_trial_prints_is_shown_while_it_runs_and_once() {
    let lab = Lab::new();
    lab.write("talks.yaml", TALKS);
    let mut master = lab.command(&["master"]).stderr(Stdio::null()).spawn().unwrap();
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let mut worker = lab.command(&["worker", "--slots", "1"]).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(lab.run(&["submit", "talks.yaml"]).code, Some(0));
    let trial = || {
        let trials: serde_json::Value =
            serde_json::from_str(&lab.run(&["trials", "ls", "-o", "json"]).stdout).unwrap_or_default();
        trials[0]["trial"].as_str().map(str::to_owned)
    };
    lab.until("the trial begins", || trial().is_some());
    let trial = trial().unwrap();
    let out = fs::File::create(lab.path().join("out")).unwrap();
    let mut follower =
        lab.command(&["logs", &trial, "-f"]).stdout(out).stderr(Stdio::null()).spawn().unwrap();
    let details = lab.run(&["trials", "show", &trial]).stdout;
    assert!(details.contains("\nnow\n  attempt 1 runs on [HOST]"), "{details}");
    let shown = || fs::read_to_string(lab.path().join("out")).unwrap();
    lab.until("the first line is shown", || shown() == "first\n");
    lab.write("go", "");
    lab.until("the follower has seen the end", || follower.try_wait().unwrap().is_some());
    assert_eq!(shown(), "first\nsecond\ns=1\n");
    for child in [&mut worker, &mut master] {
        signal(child, Signal::TERM);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn g47_a_follower_that_does_not_read_holds_up_nobody_and_nothing_is_lost() {
    let lab = Lab::new();
    // 20 MB in one trial, and the record's end of it is what counts.
    let loud = "command: [sh, -c, 'seq 1 2500000; until [ -e go ]; do sleep 0.05; done; echo s=1']
metric: {name: s, goal: maximize}
parameters: {x: {values: [1]}}
";
    lab.write("loud.yaml", loud);
    let mut master = lab.command(&["master"]).stderr(Stdio::null()).spawn().unwrap();
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let mut worker = lab.command(&["worker", "--slots", "1"]).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(lab.run(&["submit", "loud.yaml"]).code, Some(0));
    let trials = || -> serde_json::Value {
        serde_json::from_str(&lab.run(&["trials", "ls", "-o", "json"]).stdout).unwrap_or_default()
    };
    lab.until("the trial begins", || trials()[0]["trial"].is_string());
    let trial = trials()[0]["trial"].as_str().unwrap().to_owned();
    // One that never reads, and one that does.
    let deaf =
        lab.command(&["logs", &trial, "-f"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let reader = lab.start(&["logs", &trial, "-f"]);
    lab.write("go", "");
    lab.until("the trial ends", || trials()[0]["state"] == "succeeded");
    let done = lab.wait(reader);
    let mut deaf = deaf;
    deaf.kill().unwrap();
    deaf.wait().unwrap();
    let mut expected: String = (1..=2_500_000).map(|line| format!("{line}\n")).collect();
    expected.push_str("s=1\n");
    assert!(done.stdout.ends_with(&expected), "{} bytes: {}", done.stdout.len(), done.stderr);
    for child in [&mut worker, &mut master] {
        signal(child, Signal::TERM);
        assert!(child.wait().unwrap().success());
    }
}
