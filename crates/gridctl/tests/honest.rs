//! What is said of a sweep is true: how many trials it has, that nobody goes on with it, what flags mean, what stands already.

mod lab;

use std::process::Stdio;

use lab::{Lab, signal, told};
use rustix::process::Signal;

const TAIL: &str = "metric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2, 3]}}\n";

#[test]
fn run_announces_as_many_trials_as_check_counts() {
    let lab = Lab::new();
    let grid = "parameters: {x: {min: 1, max: 20, step: 1}, y: {values: [1, 2]}}\nexclude: ['x > 3 and y > 1', 'x > 10']\n";
    lab.write(
        "e.yaml",
        format!("command: [sh, -c, 'echo s=$HP_X']\nmetric: {{name: s, goal: maximize}}\n{grid}"),
    );
    let check = lab.run(&["check", "e.yaml"]);
    assert!(check.stdout.starts_with("e: 13 trials (40 points, less 27 excluded)\n"), "{}", check.stdout);
    let run = lab.run(&["run", "e.yaml"]);
    assert!(run.stderr.contains("\ne: 13 trials\n"), "{}", run.stderr);
    assert!(
        run.stderr.lines().filter(|line| line.starts_with('[')).all(|line| line.contains("/13")),
        "{}",
        run.stderr
    );
}

#[test]
fn a_sweep_that_no_master_goes_on_with_is_interrupted_not_running() {
    let lab = Lab::new();
    lab.write(
        "i.yaml",
        format!(
            "command: [sh, -c, 'echo a >> led; [ $HP_X = 1 ] || sleep 60; echo s=1']\norder: file\n{TAIL}"
        ),
    );
    let run = lab.start(&["run", "i.yaml", "-q", "--slots", "1"]);
    lab.until("the second trial runs", || lab.ledger("led").len() == 2);
    let json = lab.run(&["status", "-o", "json"]);
    assert!(json.stdout.contains("\"state\": \"running\""), "{}", json.stdout);
    signal(&run, Signal::INT);
    assert_eq!(lab.wait(run).code, Some(130));
    let json = lab.run(&["status", "-o", "json"]);
    assert!(
        json.stdout.contains("\"state\": \"interrupted\"") && json.stdout.contains("\"eta_s\": null"),
        "{}",
        json.stdout
    );
    let status = lab.run(&["status"]);
    assert!(
        status.stdout.starts_with("i  version 1  interrupted\n1/3, best objective 1 ("),
        "{}",
        status.stdout
    );
}

#[test]
fn that_all_trials_diverged_is_said() {
    let lab = Lab::new();
    let sweep = "metric: {name: loss, goal: minimize}\nparameters: {x: {values: [1, 2]}}\n";
    lab.write("d.yaml", format!("command: [sh, -c, 'echo x=$HP_X; echo loss=nan']\n{sweep}"));
    let ran = lab.run(&["run", "d.yaml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("all of them diverged: no value of `loss` is a finite number"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_declared_metric_that_no_trial_printed_is_named() {
    let lab = Lab::new();
    let sweep = "metric: {name: s, goal: maximize}\nmetrics: [{name: f1}, {name: t}]\nparameters: {x: {values: [1, 2]}}\n";
    lab.write("m.yaml", format!("command: [sh, -c, 'echo s=$HP_X t=1']\n{sweep}"));
    let note = "declared under `metrics`, but found in no row: `f1`;";
    for time in ["first", "known"] {
        let ran = lab.run(&["run", "m.yaml", "-q"]);
        assert!(ran.code == Some(0) && ran.stderr.contains(note), "{time}: {}", ran.stderr);
    }
}

#[test]
fn a_later_line_in_another_form_is_named_by_run_and_by_check() {
    let lab = Lab::new();
    let sweep = "metric: {name: accuracy, goal: maximize}\nparameters: {x: {values: [1, 2]}}\n";
    lab.write("train.sh", "echo accuracy: 0.$HP_X\necho Accuracy: 0.8\n");
    lab.write("log.txt", "accuracy: 0.1\nAccuracy: 0.8\nF1 = 0.5\n");
    lab.write("p.yaml", format!("command: [sh, train.sh]\n{sweep}"));
    let ran = lab.run(&["run", "p.yaml", "-q"]);
    let note = "`accuracy` was read as 0.";
    let line = "and the line `Accuracy: 0.8` was not read; to read it: `regex: '";
    assert!(ran.stderr.contains(note) && ran.stderr.contains(line), "{}", ran.stderr);
    lab.write("p.yaml", format!("command: [sh, train.sh]\n{sweep}metrics: [f1]\n"));
    let checked = lab.run(&["check", "p.yaml", "--log", "log.txt"]).stdout;
    assert!(checked.contains(line), "{checked}");
    assert!(checked.contains("note: `f1` is not in log.txt: saw `F1`"), "{checked}");
}

#[test]
fn what_waits_to_be_tried_again_is_said() {
    let lab = Lab::new();
    lab.write("w.yaml", "command: [sh, -c, 'exit 75']\nparameters: {x: {values: [1, 2]}}\n");
    let run = lab.start(&["run", "w.yaml", "-q"]);
    let mut shown = String::new();
    lab.until("both trials wait", || {
        shown = lab.run(&["status"]).stdout;
        shown.contains("2 wait to be tried again")
    });
    signal(&run, Signal::INT);
    assert_eq!(lab.wait(run).code, Some(130), "{shown}");
}

#[test]
fn rerun_and_another_wish_is_refused_with_what_the_two_mean() {
    let lab = Lab::new();
    lab.write("s.yaml", format!("command: [sh, -c, 'echo s=$HP_X']\n{TAIL}"));
    let mut all = String::new();
    for wish in
        [&["--changed", "keep"][..], &["--changed", "failed"], &["--changed", "all"], &["--retry-failed"]]
    {
        let args: Vec<&str> = ["run", "s.yaml", "--rerun"].iter().chain(wish).copied().collect();
        let done = lab.run(&args);
        assert_eq!(done.code, Some(2), "{wish:?}");
        all.push_str(&told(&done));
    }
    assert!(!lab.data().exists());
    insta::assert_snapshot!(all);
}

#[test]
fn check_refuses_a_program_that_is_not_there_as_run_does() {
    let lab = Lab::new();
    lab.write("train.py", "").write("t.yaml", format!("command: [python3, trian.py]\n{TAIL}"));
    let check = lab.run(&["check", "t.yaml"]);
    assert_eq!(check.code, Some(2), "{}", check.stderr);
    let run = lab.run(&["run", "t.yaml"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.starts_with("error[run::command]"), "{}", run.stderr);
    assert_eq!(check.stderr, run.stderr);
    let json = lab.run(&["check", "t.yaml", "-o", "json"]);
    assert!(json.stdout.contains("\"code\": \"run::command\""), "{}", json.stdout);
}

#[test]
fn what_is_submitted_again_is_said_to_be_what_it_is() {
    let lab = Lab::new();
    lab.write("s.yaml", format!("command: [sh, -c, 'echo s=$HP_X']\n{TAIL}"));
    assert_eq!(lab.run(&["run", "s.yaml", "-q"]).code, Some(0));
    let mut master = lab.command(&["master"]).stderr(Stdio::null()).spawn().unwrap();
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let say = |args: &[&str]| lab.run(args).stderr;
    assert_eq!(
        say(&["submit", "s.yaml"]),
        "`s` is finished already: version 1, 3 of 3 trials done; --rerun tries them again\n"
    );
    let new = "`s` is submitted: version 2, 0 trials known; `gridctl status -w` follows it\n";
    assert_eq!(say(&["submit", "s.yaml", "--rerun"]), new);
    let running = "`s` is running already: version 2, 0 of 3 trials done; `gridctl status -w` follows it\n";
    assert_eq!(say(&["submit", "s.yaml"]), running);
    signal(&master, Signal::TERM);
    assert!(master.wait().unwrap().success());
}

#[test]
fn a_rank_that_is_shown_means_the_same_trial_in_every_command() {
    let lab = Lab::new();
    lab.write("r.yaml", "command: [sh, -c, 'echo s=$(( HP_X % 5 ))']\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2, 3, 4, 9]}}\n");
    assert_eq!(lab.run(&["run", "r.yaml", "-q"]).code, Some(0));
    let csv = lab.run(&["leaderboard", "--filter", "x != 3", "--sort", "x", "-o", "csv"]).stdout;
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let ranks: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(ranks, ["5", "4", "1", "2"], "{csv}");
    let table = lab.run(&["leaderboard", "--filter", "x != 3", "--sort", "x"]).stdout;
    assert!(table.lines().skip(1).zip(&rows).all(|(line, row)| line.trim().starts_with(row[0])), "{table}");
    for row in rows {
        let shown = lab.run(&["trials", "show", &format!("#{}", row[0])]).stdout;
        assert!(shown.starts_with(row[1]), "{row:?}: {shown}");
    }
}

#[test]
fn a_trial_that_waits_for_another_try_shows_how_the_last_one_ended() {
    let lab = Lab::new();
    lab.write("b.yaml", format!("command: [sh, -c, 'echo Error: no $HP_X >&2; exit 3']\n{TAIL}"));
    let run = lab.run(&["run", "b.yaml", "-q"]);
    assert_eq!(run.code, Some(13), "three fast failures pause it: {}", run.stderr);
    let list = lab.run(&["trials", "ls"]).stdout;
    let first: Vec<&str> = list.lines().filter(|line| line.contains(" pending ")).collect();
    assert!(
        !first.is_empty()
            && first.iter().all(|line| line.contains(" failed ") && line.contains("Error: no ")),
        "{list}"
    );
    let trial = first[0].split(' ').next().unwrap();
    let shown: serde_json::Value =
        serde_json::from_str(&lab.run(&["trials", "show", trial, "--json"]).stdout).unwrap();
    assert_eq!((&shown["trial"]["state"], &shown["trial"]["class"]), (&"pending".into(), &"failed".into()));
}

#[test]
fn a_wide_table_is_never_cut_on_a_pipe() {
    let lab = Lab::new();
    let long = "v".repeat(200);
    lab.write(
        "l.yaml",
        format!(
            "command: [sh, -c, 'echo s=1']\nmetric: {{name: s}}\nparameters: {{a: {{values: [x, {long}]}}}}\n"
        ),
    );
    assert_eq!(lab.run(&["run", "l.yaml", "-q"]).code, Some(0));
    for command in [&["leaderboard"][..], &["trials", "ls"]] {
        let wide = lab.run(&[command, &["-o", "wide"]].concat());
        assert!(wide.stdout.contains(&long), "{}", wide.stdout);
        let table = lab.run(command);
        assert!(!table.stdout.contains(&long) && table.stdout.contains("vvv..."), "{}", table.stdout);
    }
}
