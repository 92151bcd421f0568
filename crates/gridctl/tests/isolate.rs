//! Trials that run together: what they do to each other by files of the workdir, and that copies of their own end it.

mod lab;

use lab::Lab;

/// Two programs with a file between them.
const TWO_PROGRAMS: &str = "#!/bin/sh\nsh first.sh && sh second.sh\n";
const FIRST: &str = "sleep 0.02; echo $HP_X > between.txt; sleep 0.06\n";
const SECOND: &str = "echo s=$(cat between.txt)\n";
const SWEEP: &str = "command: [./train.sh]\nmetric: {name: s, goal: maximize}\n\
                     parameters: {x: {min: 1, max: 16, step: 1}}\n";
const NOTICE: &str = "note: trials that run together may disturb each other: ";

fn two_programs() -> Lab {
    let lab = Lab::new();
    lab.script("train.sh", TWO_PROGRAMS).write("first.sh", FIRST).write("second.sh", SECOND);
    lab
}

/// Every (x, score) of the leaderboard.
fn scores(lab: &Lab) -> Vec<(String, String)> {
    let board = lab.run(&["leaderboard", "-k", "0", "-o", "csv"]).stdout;
    let mut lines = board.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| head.iter().position(|column| *column == name).expect("a column");
    let (score, x) = (column("metric_s"), column("param_x"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            (cells[x].to_owned(), cells[score].to_owned())
        })
        .collect()
}

#[test]
fn trials_that_share_a_file_are_said_to_disturb_each_other_and_apart_they_do_not() {
    let lab = two_programs();
    lab.write("w.yaml", SWEEP);
    let shared = lab.run(&["run", "w.yaml", "-q", "--slots", "4"]);
    assert_eq!(shared.code, Some(0), "{}", shared.stderr);
    assert_eq!(shared.stderr.matches(NOTICE).count(), 1, "once: {}", shared.stderr);
    assert!(shared.stderr.contains("`between.txt`"), "{}", shared.stderr);
    assert!(shared.stderr.contains("`isolate: true`"), "{}", shared.stderr);
    let status = lab.run(&["status", "-o", "json"]).stdout;
    assert!(status.contains("\"kind\": \"may_disturb\""), "{status}");
    assert!(scores(&lab).iter().any(|(x, s)| x != s), "they do disturb each other");

    lab.write("w.yaml", format!("isolate: true\n{SWEEP}"));
    let asks = lab.run(&["run", "w.yaml", "-q", "--slots", "4"]);
    assert_eq!(asks.code, Some(2), "{}", asks.stderr);
    assert!(asks.stderr.contains("isolate: false -> true"), "{}", asks.stderr);
    let only = "only --changed all makes sense: trials that ran together may have disturbed each other by";
    assert!(asks.stderr.contains(only), "{}", asks.stderr);
    let kept = lab.run(&["run", "w.yaml", "-q", "--slots", "4", "--changed", "keep"]);
    assert_eq!(kept.code, Some(0), "{}", kept.stderr);
    let again = lab.run(&["run", "w.yaml", "-q"]);
    let board = lab.run(&["leaderboard"]);
    let status = lab.run(&["status"]);
    for said in [&kept.stderr, &again.stderr, &board.stderr, &status.stdout] {
        let note = "outcomes that are kept of an earlier version may be wrong: `between.txt`";
        assert!(said.contains(note), "{said}");
    }
    lab.write("w.yaml", format!("isolate: true\n{SWEEP}").replace("./train.sh", "sh, train.sh"));
    let before = lab.ledger("between.txt");
    let apart = lab.run(&["run", "w.yaml", "-q", "--slots", "4", "--changed", "all"]);
    assert_eq!(apart.code, Some(0), "{}", apart.stderr);
    assert!(!apart.stderr.contains("disturb"), "{}", apart.stderr);
    let scores = scores(&lab);
    assert_eq!(scores.len(), 16);
    assert!(scores.iter().all(|(x, s)| x == s), "{scores:?}");
    assert_eq!(lab.ledger("between.txt"), before, "nothing is written to the workdir itself");
    let left = std::fs::read_dir(lab.data().join("work/slots")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "copies go with their worker");
}

#[test]
fn an_isolated_trial_finds_the_workdir_as_it_is_and_not_what_the_last_one_left() {
    let lab = Lab::new();
    let train = "#!/bin/sh\n[ -e made ] && exit 3\ncat state data/d .git/HEAD lib/x > all\n\
                 echo 9 > state; echo 1 > made; rm lib/x; echo s=$(wc -l < all)\n";
    lab.script("train.sh", train).write("state", "0\n").write("data/d", "1\n");
    lab.write("lib/x", "2\n").write(".git/HEAD", "ref\n").write(".gitignore", "out/\n*.big\n");
    lab.write("out/x", "x").write("a.big", "x");
    let grid = "metric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2, 3, 4, 5]}}\n";
    lab.write("i.yaml", format!("isolate: true\ndata: data\ncommand: [./train.sh]\n{grid}"));
    let check = lab.run(&["check", "i.yaml"]);
    let size = "each slot works in copies of the workdir, two at most: 4 files, ";
    assert!(check.stdout.contains(size), "{}", check.stdout);
    assert!(check.stderr.contains("not in the copies of the workdir: a.big, out"), "{}", check.stderr);
    let run = lab.run(&["run", "i.yaml", "-q", "--slots", "1"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("not in the copies of the workdir: a.big, out"), "{}", run.stderr);
    let scores = scores(&lab);
    assert!(scores.len() == 5 && scores.iter().all(|(_, s)| s == "4"), "each saw four lines: {scores:?}");
    assert_eq!(std::fs::read_to_string(lab.path().join("state")).unwrap(), "0\n");
    let wrong = lab.write("i.yaml", format!("isolate: maybe\ncommand: [./train.sh]\n{grid}"));
    let refused = wrong.run(&["check", "i.yaml"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("true or false"), "{}", refused.stderr);
}

#[test]
fn an_axis_that_changes_no_metric_is_named_once() {
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\necho s=$HP_X\n");
    let grid =
        "metric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2]}, lr: {values: [1, 2, 3]}}\n";
    lab.write("u.yaml", format!("command: [./train.sh]\n{grid}"));
    let run = lab.run(&["run", "u.yaml", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let note =
        "note: the program may not read `lr`: trials that differ in nothing else have the same metrics";
    assert_eq!(run.stderr.matches(note).count(), 1, "{}", run.stderr);
    let status = lab.run(&["status", "-o", "json"]).stdout;
    assert!(status.contains("\"kind\": \"may_be_unread\"") && !status.contains("\"x\""), "{status}");
    assert!(lab.run(&["status"]).stdout.contains("may not read `lr`"));
}
