//! A trial that runs: its curve so far, and its end because a person wants it.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use lab::Lab;
use serde_json::Value as Json;

/// The trial of `x` = 1, once it runs.
fn running(lab: &Lab) -> Option<String> {
    let rows = lab.run(&["trials", "ls", "m", "--state", "running", "-o", "json"]).stdout;
    let rows: Vec<Json> = serde_json::from_str(&rows).ok()?;
    rows.iter().find(|row| row["params"]["x"] == 1).map(|row| row["trial"].as_str().unwrap().to_owned())
}

#[test]
fn a_trial_that_runs_shows_its_curve_and_is_cancelled_alone() {
    let lab = Lab::new();
    lab.script(
        "train.sh",
        "#!/bin/sh\nfor step in 1 2 3 4 5 6; do echo \"::metric step=$step loss=$((20 / step))\"; done\n\
         echo $HP_X >>started\nif [ $HP_X = 1 ] && [ ! -f free ]; then sleep 600; fi\necho loss=$HP_X\n",
    );
    lab.write(
        "m.yaml",
        "command: [./train.sh]\nmetric: {name: loss, goal: minimize}\nparameters: {x: {values: [1, 2, 3]}}\n",
    );
    let run = lab.start(&["run", "m.yaml", "-q", "--slots", "2"]);
    let mut trial = None;
    lab.until("it runs, and the others have ended", || {
        trial = running(&lab);
        trial.is_some() && lab.ledger("started").len() == 3
    });
    let trial = trial.unwrap();
    let mut shown = String::new();
    lab.until("its curve is shown", || {
        shown = lab.run(&["trials", "show", &trial]).stdout;
        shown.contains("\nloss\n")
    });
    assert!(shown.contains("\nnow\n") && shown.contains("20.00"), "{shown}");
    let unknown = lab.run(&["trials", "cancel", "zzzz"]);
    assert_ne!(unknown.code, Some(0), "{}", unknown.stderr);
    let cancelled = lab.run(&["trials", "cancel", &trial]);
    assert!(
        cancelled.code == Some(0) && cancelled.stderr.contains("1 trial cancelled"),
        "{}",
        cancelled.stderr
    );
    let done = lab.wait(run);
    assert!(done.code == Some(0) || done.code == Some(10), "{:?} {}", done.code, done.stderr);
    let cancelled = lab.run(&["trials", "ls", "m", "--state", "cancelled", "-o", "jsonl"]).stdout;
    assert!(cancelled.lines().count() == 1 && cancelled.contains(&trial), "{cancelled}");
    assert_eq!(lab.ledger("started").len(), 3, "it was not tried again");
    let late = lab.run(&["trials", "cancel", &trial]);
    assert!(late.code != Some(0) && late.stderr.contains("nothing to cancel"), "{}", late.stderr);
    // Wanted after all.
    lab.write("free", "");
    let again = lab.run(&["run", "m.yaml", "-q", "--rerun"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}
