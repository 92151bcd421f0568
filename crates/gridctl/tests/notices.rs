//! Phases and notices: a condition that needs a look is said, and changes nothing else.

mod lab;

use std::fs;
use std::process::Child;
use std::time::Duration;

use lab::Lab;
use rustix::process::Signal;

const METRIC: &str = "metric: {name: s, goal: maximize, target: 3}\n";

/// A sweep of three trials in file order; the second and third wait for a file of their number.
fn waiting(lab: &Lab, name: &str) -> Child {
    let trainer = "trap 'echo term >> led; exit 1' TERM; echo $HP_X >> led; \
                   until [ $HP_X = 1 ] || [ -e go-$HP_X ]; do sleep 0.01; done; echo s=$HP_X";
    let grid = "order: file\nparameters: {x: {values: [1, 2, 3, 4]}}\n";
    lab.write(name, format!("command: [sh, -c, \"{trainer}\"]\n{METRIC}{grid}"));
    let run = lab.start(&["run", name, "--slots", "1"]);
    lab.until("the second trial runs", || lab.ledger("led").len() == 2);
    run
}

fn says(lab: &Lab, text: &str) -> bool {
    lab.run(&["status", "-o", "json"]).stdout.contains(text)
}

#[test]
fn a_target_is_reached_though_the_results_directory_is_gone() {
    let lab = Lab::new();
    let run = waiting(&lab, "t.yaml");
    let (claim, away) = (lab.data().join("results/t/sweep.json"), lab.path().join("away"));
    fs::rename(&claim, &away).unwrap();
    lab.write("go-2", "");
    lab.until("the status has a notice", || says(&lab, "\"kind\": \"records_not_shipped\""));
    lab.write("go-3", "");
    lab.until("the target is reached", || says(&lab, "\"closed\": \"target_reached\""));
    fs::rename(&away, &claim).unwrap();
    let done = lab.wait(run);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("t: the target was reached in "), "{}", done.stderr);
    let note = "note: records wait to be shipped to the results directory, and the journal has them";
    assert!(done.stderr.contains(note), "{}", done.stderr);
}

#[test]
fn a_pause_ends_no_trial_though_the_results_directory_is_gone() {
    let lab = Lab::new();
    let run = waiting(&lab, "p.yaml");
    let (claim, away) = (lab.data().join("results/p/sweep.json"), lab.path().join("away"));
    fs::rename(&claim, &away).unwrap();
    lab.write("go-2", "");
    lab.until("the status has a notice", || says(&lab, "\"kind\": \"records_not_shipped\""));
    lab.until("the third trial runs", || lab.ledger("led").len() == 3);
    assert_eq!(lab.run(&["pause", "p"]).code, Some(0));
    lab.until("the status says who paused it", || says(&lab, "\"paused\": \"person\""));
    // A worker may hold the fourth already, and then it goes on as well.
    lab.write("go-3", "").write("go-4", "");
    let done = lab.wait(run);
    fs::rename(&away, &claim).unwrap();
    // The third trial reaches the target while the sweep is paused: the sweep is not closed by that.
    assert_eq!(done.code, Some(13), "{}", done.stderr);
    assert!(done.stderr.contains("paused: paused by a person"), "{}", done.stderr);
    assert!(!lab.ledger("led").contains(&"term".to_owned()), "{}", done.stderr);
}

#[test]
fn a_new_version_counts_as_known_what_is_known() {
    let lab = Lab::new();
    let sweep = |values: &str, cap: &str| {
        let grid = format!("parameters: {{x: {{values: [{values}]}}}}\n");
        let text = format!("command: [sh, -c, 'echo s=1']\nmetric: {{name: s, goal: maximize}}\n{cap}{grid}");
        lab.write("k.yaml", text);
        lab.run(&["run", "k.yaml"])
    };
    assert_eq!(sweep("1, 2", "").code, Some(0));
    let capped = sweep("1, 2, 3, 4, 5", "run_cap: 2\n");
    assert_eq!(capped.code, Some(0), "{}", capped.stderr);
    assert!(capped.stderr.contains("\nk: 5 trials, version 2, 2 known\n"), "{}", capped.stderr);
    assert!(capped.stderr.contains("3 left out by run_cap"), "{}", capped.stderr);
}

#[test]
fn a_master_that_stands_still_is_said_and_its_journal_is_read() {
    let lab = Lab::new();
    lab.write(
        "m.yaml",
        "command: [sh, -c, 'echo s=$HP_X']\nmetric: {name: s, goal: maximize}\n\
         parameters: {x: {values: [1, 2]}}\n",
    );
    assert_eq!(lab.run(&["run", "m.yaml", "-q"]).code, Some(0));
    let mut master = lab.start(&["master"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    lab::signal(&master, Signal::STOP);
    for command in [&["status"][..], &["leaderboard"], &["trials", "ls"]] {
        let began = lab::now();
        let done = lab.run(command);
        assert_eq!(done.code, Some(0), "{command:?}: {}", done.stderr);
        assert!(done.stderr.contains("does not answer: it stands still"), "{}", done.stderr);
        assert!(!done.stderr.contains("no master is running"), "{}", done.stderr);
        assert!(began.elapsed() < Duration::from_secs(20), "{command:?}");
    }
    let waits = lab.start(&["pause", "m"]);
    lab::signal(&master, Signal::CONT);
    let done = lab.wait(waits);
    assert!(done.stderr.contains("every trial is settled"), "{}", done.stderr);
    lab::signal(&master, Signal::TERM);
    assert_eq!(master.wait().unwrap().code(), Some(0));
}

#[test]
fn a_failed_trial_that_said_its_metric_is_no_best_in_the_next_version() {
    let lab = Lab::new();
    let sweep = |values: &str, target: &str| {
        format!(
            "command: [sh, -c, 'echo s=$HP_X; [ $HP_X != 9 ]']\n\
             metric: {{name: s, goal: maximize{target}}}\nretry: {{max_failures: 0}}\n\
             parameters: {{x: {{values: [{values}]}}}}\n"
        )
    };
    lab.write("f.yaml", sweep("1, 2, 9", ""));
    assert_eq!(lab.run(&["run", "f.yaml", "-q"]).code, Some(10));
    lab.write("f.yaml", sweep("2, 3, 4, 9", ", target: 8"));
    let done = lab.run(&["run", "f.yaml", "-q"]);
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    assert!(done.stderr.contains("2 known before"), "{}", done.stderr);
    let best = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&lab.run(args).stdout).unwrap_or_default()
    };
    assert_eq!(best(&["leaderboard", "-o", "json"])[0]["objective"], 4.0);
    assert_eq!(best(&["status", "-o", "json"])["best"]["objective"], 4.0);
}

#[test]
fn a_sweep_that_was_submitted_to_a_run_is_named_when_that_ends_before_it() {
    let lab = Lab::new();
    let run = waiting(&lab, "t.yaml");
    let other = "command: [sh, -c, 'sleep 5; echo s=1']\nmetric: {name: s, goal: maximize}\n\
                 parameters: {x: {values: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n";
    lab.write("later.yaml", other);
    assert_eq!(lab.run(&["submit", "later.yaml"]).code, Some(0));
    lab.write("go-2", "").write("go-3", "");
    let done = lab.wait(run);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let said = "note: later was submitted meanwhile, and stands at ";
    assert!(done.stderr.contains(said), "{}", done.stderr);
}
