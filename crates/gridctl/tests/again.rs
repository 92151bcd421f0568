//! The same command again: what trainers leave behind, what `--rerun` begins with, what a pause waits for, what an emptied
//! results directory gets back.

mod lab;

use std::io::Write as _;
use std::process::{Command, Stdio};

use lab::{Lab, told};

const HEAD: &str = "metric: {name: s, goal: maximize}\nparameters:\n  x: {values: [1, 2, 3]}\n";

#[test]
fn files_that_trainers_write_beside_their_code_are_no_reason_to_ask() {
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\necho $HP_X >> led; echo m > model-$HP_X; echo s=$HP_X\n");
    lab.write("w.yaml", format!("command: [./train.sh]\n{HEAD}"));
    assert_eq!(lab.run(&["run", "w.yaml", "-q"]).code, Some(0));
    let second = lab.run(&["run", "w.yaml", "-q"]);
    let left = "taken for what trainers write, and no code: led, model-1, model-2, model-3; if it is code, say --changed keep, failed or all";
    assert!(told(&second).starts_with(&format!("exit 0\n{left}\n")), "{}", told(&second));
    assert_eq!(lab.ledger("led").len(), 3);
    lab.script("train.sh", "#!/bin/sh\necho s=$HP_X\n");
    let changed = lab.run(&["run", "w.yaml", "-q"]);
    assert_eq!(changed.code, Some(2));
    assert!(changed.stderr.contains("file train.sh: changed"), "{}", changed.stderr);
    assert!(changed.stderr.contains(".gridctlignore"), "{}", changed.stderr);
}

#[test]
fn a_script_that_was_mended_after_everything_failed_is_tried_again_without_a_question() {
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\nexit 64\n");
    lab.write("m.yaml", format!("command: [./train.sh]\nretry: {{fatal_exit_codes: [64]}}\n{HEAD}"));
    assert_eq!(lab.run(&["run", "m.yaml", "-q"]).code, Some(13), "it pauses");
    lab.script("train.sh", "#!/bin/sh\necho s=$HP_X\n");
    let mended = lab.run(&["run", "m.yaml", "-q"]);
    assert_eq!(mended.code, Some(0), "{}", mended.stderr);
    assert!(mended.stderr.contains("file train.sh: changed"), "{}", mended.stderr);
    assert!(mended.stderr.contains("nothing had succeeded"), "{}", mended.stderr);
}

#[test]
fn what_other_code_printed_is_no_success_of_the_code_that_took_its_place() {
    let lab = Lab::new();
    let sweep = |metric: &str| {
        let text = format!(
            "metric: {{name: s, goal: maximize{metric}}}\nparameters: {{x: {{values: [1, 2, 3]}}}}\n"
        );
        lab.write("m.yaml", format!("command: [./train.sh]\n{text}"));
    };
    lab.script("train.sh", "#!/bin/sh\necho result is $HP_X\n");
    sweep("");
    assert_ne!(lab.run(&["run", "m.yaml", "-q"]).code, Some(0), "nothing is read");
    lab.script("train.sh", "#!/bin/sh\necho result is ${HP_X}000\n");
    sweep(", regex: 'result is (\\d+)'");
    let mended = lab.run(&["run", "m.yaml", "-q"]);
    assert!(mended.code == Some(0) && mended.stdout.contains("3000"), "{}{}", mended.stderr, mended.stdout);
    let values: Vec<_> =
        mended.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(values, ["3000", "2000", "1000"], "{}", mended.stdout);
}

#[test]
fn output_that_is_redirected_into_the_workdir_is_no_code() {
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\necho s=$HP_X\n");
    lab.write("w.yaml", format!("command: [./train.sh]\n{HEAD}"));
    for time in ["first", "second"] {
        let into = |name: &str| {
            std::fs::File::options().create(true).append(true).open(lab.path().join(name)).unwrap()
        };
        let mut run = lab.command(&["run", "w.yaml"]);
        let status = run.stdout(into("out")).stderr(into("log")).status().unwrap();
        let log = std::fs::read_to_string(lab.path().join("log")).unwrap();
        assert_eq!(status.code(), Some(0), "{time}: {log}");
        assert!(log.starts_with("w: "), "{time}: {log}");
    }
    assert_eq!(lab.run(&["run", "w.yaml"]).code, Some(0));
}

#[test]
fn a_rerun_begins_without_the_checkpoints_of_before_and_a_retry_with_them() {
    let lab = Lab::new();
    let train = "#!/bin/sh\nckpt=$GRID_CHECKPOINT_DIR/n\necho begins with $(cat $ckpt 2>/dev/null || echo nothing)\n\
                 echo 1 >> $ckpt\n[ -f ok ] || exit 64\necho s=1\n";
    lab.script("train.sh", train);
    lab.write(
        "c.yaml",
        "command: [./train.sh]\nmetric: {name: s, goal: maximize}\nparameters: {x: {value: 1}}\n\
         retry: {fatal_exit_codes: [64]}\n",
    );
    assert_eq!(lab.run(&["run", "c.yaml", "-q"]).code, Some(10));
    lab.write("ok", "").write(".gridctlignore", "ok\n");
    assert_eq!(lab.run(&["run", "c.yaml", "-q", "--retry-failed"]).code, Some(0));
    assert_eq!(lab.run(&["logs", "best"]).stdout, "begins with 1\ns=1\n");
    assert_eq!(lab.run(&["run", "c.yaml", "-q", "--rerun"]).code, Some(0));
    assert_eq!(lab.run(&["logs", "best"]).stdout, "begins with nothing\ns=1\n");
    let show = lab.run(&["trials", "show", "best"]).stdout;
    assert!(show.contains("version 1, retry 1, attempt 2: succeeded"), "{show}");
    assert!(show.contains("version 2, attempt 1: succeeded"), "{show}");
}

#[test]
fn a_pause_lets_running_trials_finish_and_the_same_command_goes_on() {
    let lab = Lab::new();
    lab.write("p.yaml", format!("command: [sh, -c, 'echo a >> led; sleep 1.5; echo s=$HP_X']\n{HEAD}"));
    let run = lab.start(&["run", "p.yaml", "-q", "--slots", "1"]);
    lab.until("the first trial runs", || lab.path().join("led").exists());
    assert_eq!(lab.run(&["pause", "p"]).code, Some(0));
    let paused = lab.wait(run);
    assert_eq!(paused.code, Some(13), "{}", paused.stderr);
    assert!(paused.stderr.contains("help: go on with: gridctl run p.yaml"), "{}", paused.stderr);
    assert_eq!(lab.run(&["run", "p.yaml", "-q"]).code, Some(0));
    assert_eq!(lab.ledger("led").len(), 3, "nothing that ran was ended by the pause");
}

#[test]
fn an_emptied_results_directory_is_filled_again() {
    let lab = Lab::new();
    lab.write("r.yaml", format!("command: [sh, -c, 'echo x > $GRID_OUTPUT_DIR/f; echo s=$HP_X']\n{HEAD}"));
    assert_eq!(lab.run(&["run", "r.yaml", "-q"]).code, Some(0));
    let show = lab.run(&["trials", "show", "best"]).stdout;
    let place = show.lines().find_map(|line| line.trim().strip_prefix("1 file in ")).unwrap_or_default();
    let place = place.replace("[DIR]", &lab.path().display().to_string());
    assert!(std::path::Path::new(&place).join("files/f").is_file(), "{show}");
    std::fs::remove_dir_all(lab.data().join("results")).unwrap();
    let again = lab.run(&["run", "r.yaml", "-q"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(!again.stderr.contains("wait to be shipped"), "{}", again.stderr);
    let board = lab.run(&["leaderboard", "gridctl-data/results/r", "-o", "jsonl"]);
    assert_eq!(board.stdout.lines().count(), 3, "{}", board.stderr);
}

#[test]
fn nobody_waits_for_the_data_directory_while_a_person_is_asked() {
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\necho s=$HP_X\n")
        .write("q.yaml", format!("command: [./train.sh]\n{HEAD}"));
    assert_eq!(lab.run(&["run", "q.yaml", "-q"]).code, Some(0));
    lab.script("train.sh", "#!/bin/sh\necho s=-$HP_X\n");
    // `script` gives it a terminal.
    let asks = format!("{} run q.yaml > said 2>&1 2>/dev/tty", env!("CARGO_BIN_EXE_gridctl"));
    let mut person = Command::new("script");
    person.args(["-qefc", &asks, "typed"]).current_dir(lab.path()).env("TERM", "dumb");
    let mut run = person.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    lab.until("it asks", || lab.ledger("typed").iter().any(|line| line.contains("[k] keep them all")));
    let free = Command::new("flock")
        .args(["-n", "gridctl-data/master.lock", "true"])
        .current_dir(lab.path())
        .status();
    run.stdin.take().unwrap().write_all(b"k\n").unwrap();
    let done = lab.wait(run);
    assert!(free.unwrap().success(), "the lock is held");
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    assert!(done.stdout.contains("version 2, 3 known"), "{}", done.stdout);
}

/// `run`s a sweep whose only trial prints more than a record holds if it is told to; what it said, and each row's objective.
fn read_with(lab: &Lab, metric: &str, long: bool) -> (String, Vec<f64>) {
    let flood = if long { "head -c 70000 /dev/zero | tr \"\\\\0\" x | fold; echo;" } else { "" };
    lab.write(
        "r.yaml",
        format!(
            "command: [sh, -c, 'echo $HP_X >> led; {flood} echo best=0.9 >&2; echo \"acc=0.$HP_X at step 7\"; echo best=0.1']\n\
             metric: {{name: acc, goal: maximize{metric}}}\nparameters: {{x: {{values: [1, 2]}}}}\norder: file\n\
             retry: {{max_failures: 0}}\n"
        ),
    );
    let done = lab.run(&["run", "r.yaml"]);
    let rows = lab.run(&["leaderboard", "r.yaml", "-o", "jsonl"]).stdout;
    let row =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a row")["objective"].as_f64();
    (done.stderr, rows.lines().filter_map(row).collect())
}

#[test]
fn a_changed_pattern_reads_kept_logs_again_and_what_is_not_kept_is_tried_again() {
    let lab = Lab::new();
    assert_eq!(read_with(&lab, "", false).1, [0.2, 0.1]);
    // Text on stderr counts less than text on stdout, in a log as well.
    let (said, values) = read_with(&lab, ", regex: 'best=(\\S+)'", false);
    assert_eq!(values, [0.1, 0.1], "{said}");
    assert!(said.contains("2 results read again from the logs"), "{said}");
    let (said, values) = read_with(&lab, ", regex: 'step (\\d+)'", false);
    assert_eq!(values, [7.0, 7.0], "{said}");
    // What a pattern does not find is no number of another one.
    let (said, values) = read_with(&lab, ", regex: 'nothing=(\\S+)'", false);
    assert_eq!(values, [0.0; 0], "{said}");
    assert!(said.contains("2 trials tried again"), "{said}");
    let tried = lab.ledger("led").len();
    assert_eq!(tried, 4);
    // And what had no metric has one, once it is looked for where it is.
    let (said, values) = read_with(&lab, ", report: max", false);
    assert_eq!(values, [0.2, 0.1], "{said}");
    assert_eq!(lab.ledger("led").len(), tried, "{said}");
    let (said, values) = read_with(&lab, ", report: max", false);
    assert_eq!((values.len(), said.contains("read again")), (2, false), "{said}");
}

#[test]
fn a_long_log_is_read_again_from_the_results_and_a_trial_whose_log_is_gone_is_tried_again() {
    let lab = Lab::new();
    assert_eq!(read_with(&lab, "", true).1, [0.2, 0.1]);
    let (said, values) = read_with(&lab, ", regex: 'best=(\\S+)'", true);
    assert_eq!(values, [0.1, 0.1], "{said}");
    assert!(said.contains("2 results read again from the logs"), "{said}");
    assert_eq!(lab.ledger("led").len(), 2, "{said}");
    std::fs::remove_dir_all(lab.data().join("results/r/trials")).unwrap();
    let (said, values) = read_with(&lab, ", regex: 'step (\\d+)'", true);
    assert_eq!(values, [7.0, 7.0], "{said}");
    assert!(said.contains("2 trials tried again"), "{said}");
    assert_eq!(lab.ledger("led").len(), 4, "{said}");
}

#[test]
fn a_file_that_changes_while_trials_run_is_no_code_and_is_named_once() {
    let lab = Lab::new();
    let train = "#!/bin/sh\necho $HP_X >> results.csv; cat weights.bin; echo s=$HP_X\n";
    lab.script("train.sh", train).write("results.csv", "x\n").write("weights.bin", "1\n");
    lab.write("notes.md", "1").write("w.yaml", format!("command: [./train.sh]\n{HEAD}"));
    assert_eq!(lab.run(&["run", "w.yaml", "-q", "--slots", "1"]).code, Some(0));
    assert_eq!(lab.ledger("results.csv").len(), 4);
    let with = |values: &str| {
        let head = HEAD.replace("1, 2, 3", values);
        lab.write("w.yaml", format!("command: [./train.sh]\n{head}")).write("notes.md", values);
        lab.run(&["run", "w.yaml", "-q", "--slots", "1"])
    };
    let named = "taken for what trainers write, and no code: results.csv; if it is code, say --changed";
    let second = with("1, 2, 3, 4");
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(second.stderr.contains(named), "{}", second.stderr);
    assert_eq!(lab.ledger("results.csv").len(), 5, "the others are known");
    for values in ["1, 2, 3, 4", "1, 2, 3, 4, 5"] {
        let third = with(values);
        assert_eq!(third.code, Some(0), "{}", third.stderr);
        assert!(!third.stderr.contains("taken for what"), "it was named: {}", third.stderr);
    }
    assert_eq!(lab.ledger("results.csv").len(), 6);
    lab.write("weights.bin", "2\n");
    let changed = with("1, 2, 3, 4, 5, 6");
    assert_eq!(changed.code, Some(2), "{}", changed.stderr);
    assert!(changed.stderr.contains("file weights.bin: changed"), "{}", changed.stderr);
    assert!(!changed.stderr.contains("results.csv"), "{}", changed.stderr);
}

#[test]
fn what_a_command_names_and_source_text_is_code_though_trials_change_it() {
    for (file, command) in [("table.csv", "[./train.sh, table.csv]"), ("made.py", "[./train.sh]")] {
        let lab = Lab::new();
        lab.script("train.sh", &format!("#!/bin/sh\necho $HP_X >> {file}; echo s=$HP_X\n")).write(file, "");
        lab.write("w.yaml", format!("command: {command}\n{HEAD}"));
        assert_eq!(lab.run(&["run", "w.yaml", "-q", "--slots", "1"]).code, Some(0));
        let second = lab.run(&["run", "w.yaml", "-q", "--slots", "1"]);
        assert_eq!(second.code, Some(2), "{file}: {}", second.stderr);
        assert!(second.stderr.contains(&format!("file {file}: changed")), "{}", second.stderr);
    }
}

#[test]
fn output_that_a_pipe_carries_into_the_workdir_is_no_code() {
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\necho s=$HP_X\n").write("log.txt", "");
    for values in ["1, 2, 3", "1, 2, 3, 4"] {
        lab.write("w.yaml", format!("command: [./train.sh]\n{}", HEAD.replace("1, 2, 3", values)));
        let piped = format!(
            "{} run w.yaml 2>&1 | cat | tee log.txt; exit ${{PIPESTATUS[0]}}",
            env!("CARGO_BIN_EXE_gridctl")
        );
        let mut shell = Command::new("bash");
        let done = lab.finish(shell.args(["-c", &piped]).current_dir(lab.path()).env("TERM", "dumb"));
        assert_eq!(done.code, Some(0), "{}", done.stdout);
        assert!(!done.stdout.contains("log.txt"), "{}", done.stdout);
    }
    assert!(lab.ledger("log.txt").iter().any(|line| line.contains("3 known")));
}
