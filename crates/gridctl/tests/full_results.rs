//! The results volume cannot be written: what trainers left is kept, said, and published when there is
//! room. Nothing is trained twice for want of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::Duration;

use lab::{Lab, Mounted, now, signal, skipped};
use rustix::process::Signal;

/// Longer than a volume that does not take files was borne with before.
const A_WHILE: Duration = Duration::from_secs(8);

/// A volume in which the files of two of these trials have room.
fn small_volume(lab: &Lab) -> Option<Mounted> {
    let mounted = Mounted::at(lab.path().join("small"), "1m");
    if mounted.is_none() {
        skipped("a full results volume: no right to mount a small file system");
    }
    lab.write(".gridctlignore", "led\nsmall\n").write(
        "f.yaml",
        "command: [sh, -c, 'echo $HP_X >> led; head -c 400K /dev/urandom > $GRID_OUTPUT_DIR/model; echo s=$HP_X']\n\
         metric: {name: s}\norder: file\noutput: small/results\nparameters: {x: {min: 1, max: 8}}\n",
    );
    mounted
}

fn status(lab: &Lab) -> serde_json::Value {
    serde_json::from_str(&lab.run(&["status", "-o", "json"]).stdout).unwrap_or_default()
}

/// Starts the sweep and waits until the volume is full.
fn run_until_full(lab: &Lab, args: &[&str]) -> Child {
    let run = lab.start(&[&["run", "f.yaml", "--slots", "2"], args].concat());
    lab.until("the volume is full", || status(lab)["notices"].to_string().contains("results_wait"));
    run
}

/// The values of `x` of the trials whose results wait for another worker, and are whole.
fn kept(lab: &Lab) -> Vec<String> {
    let Ok(dirs) = fs::read_dir(lab.data().join("work/slots/kept")) else { return Vec::new() };
    let notes = dirs.flatten().filter_map(|dir| fs::read_to_string(dir.path().join("kept.json")).ok());
    let value = |note: String| {
        let note: serde_json::Value = serde_json::from_str(&note).unwrap();
        note["report"]["objective"].as_f64().unwrap().to_string()
    };
    notes.map(value).collect()
}

/// Every trial was trained once, and its model is in the results.
fn assert_all_are_kept(lab: &Lab) {
    let mut trained = lab.ledger("led");
    trained.sort();
    assert_eq!(trained, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    assert_all_are_published(lab);
}

fn assert_all_are_published(lab: &Lab) {
    let trials = lab.path().join("small/results/f/trials");
    let whole = |trial: fs::DirEntry| {
        let attempt = fs::read_dir(trial.path()).unwrap().next().unwrap().unwrap().path();
        attempt.join("manifest.json").exists()
            && attempt.join("files/model").metadata().unwrap().len() == 400 << 10
    };
    assert_eq!(fs::read_dir(trials).unwrap().flatten().map(whole).filter(|whole| *whole).count(), 8);
}

#[test]
fn a_run_that_nobody_watches_pauses_and_the_next_one_publishes_what_was_kept() {
    let lab = Lab::new();
    let Some(mounted) = small_volume(&lab) else { return };
    let done = lab.run(&["run", "f.yaml", "--slots", "2", "--results-patience", "3s"]);
    assert_eq!(done.code, Some(13), "{}", done.stderr);
    assert!(done.stderr.contains("what is finished is kept"), "{}", done.stderr);
    assert!(!kept(&lab).is_empty(), "{}", done.stderr);
    mounted.change("size=16m");
    let done = lab.run(&["run", "f.yaml", "--slots", "2"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("8 succeeded") && !done.stderr.contains("lost"), "{}", done.stderr);
    assert_all_are_kept(&lab);
    assert!(!lab.data().join("work/slots/kept").exists());
}

#[test]
fn results_that_found_no_room_outlive_a_kill() {
    let lab = Lab::new();
    let Some(mounted) = small_volume(&lab) else { return };
    let run = run_until_full(&lab, &[]);
    lab.until("a result is kept", || !kept(&lab).is_empty());
    signal(&run, Signal::KILL);
    lab.wait(run);
    let waits = kept(&lab);
    mounted.change("size=16m");
    let done = lab.run(&["run", "f.yaml", "--slots", "2"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("8 succeeded"), "{}", done.stderr);
    assert_all_are_published(&lab);
    // What was not whole yet at the kill is trained again, and nothing else.
    let trained = lab.ledger("led");
    for x in waits {
        assert_eq!(trained.iter().filter(|trained| **trained == x).count(), 1, "{x} of {trained:?}");
    }
    assert!(!lab.data().join("work/slots/kept").exists());
}

#[test]
fn results_that_find_no_room_are_kept_and_said_and_published_when_there_is_room() {
    let lab = Lab::new();
    let Some(mounted) = small_volume(&lab) else { return };
    let run = run_until_full(&lab, &[]);
    let (began, trained) = (now(), lab.ledger("led").len());
    while began.elapsed() < A_WHILE {
        let status = status(&lab);
        assert_eq!(status["lost"], 0, "{status}");
        // Of each slot one more may have begun.
        assert!(lab.ledger("led").len() <= trained + 2, "something new is started");
    }
    let shown = lab.run(&["status"]).stdout;
    assert!(shown.contains("to be published"), "{shown}");
    mounted.change("size=16m");
    let done = lab.wait(run);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let said = "note: finished trials wait on ";
    assert!(done.stderr.contains(said) && done.stderr.contains("no space left for"), "{}", done.stderr);
    assert!(done.stderr.contains("8 succeeded") && !done.stderr.contains("lost"), "{}", done.stderr);
    assert_all_are_kept(&lab);
}

#[test]
fn a_log_that_takes_nothing_ends_no_daemon_and_no_trial() {
    let lab = Lab::new();
    lab.write(
        "q.yaml",
        "command: [sh, -c, 'echo s=$HP_X']\nmetric: {name: s}\nparameters: {x: {min: 1, max: 8}}\n",
    );
    let daemon = |args: &[&str]| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = lab.command(args);
        command.env("GRIDCTL_LOG", "debug").stdout(Stdio::piped()).stderr(full).spawn().unwrap()
    };
    let mut master = daemon(&["master"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let mut worker = daemon(&["worker", "--slots", "2"]);
    assert_eq!(lab.run(&["submit", "q.yaml"]).code, Some(0));
    lab.until("the sweep is over, or its worker", || {
        status(&lab)["state"] == "finished" || worker.try_wait().unwrap().is_some()
    });
    let (status, ended) = (status(&lab), (worker.try_wait().unwrap(), master.try_wait().unwrap()));
    for daemon in [&mut worker, &mut master] {
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    assert_eq!((status["succeeded"].as_u64(), status["lost"].as_u64()), (Some(8), Some(0)), "{status}");
    assert_eq!(ended, (None, None));
}
