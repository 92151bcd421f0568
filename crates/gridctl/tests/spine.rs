//! A sweep file becomes a leaderboard, and whatever interrupts it costs nothing: the command as its users meet it.

mod lab;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use lab::{Lab, signal, told};
use rustix::process::Signal;
use serde_json::Value as Json;

const SIX: &str = "command: [sh, -c, 'echo $GRID_TRIAL >> ledger; echo s=$HP_X']
metric: {name: s, goal: maximize}
parameters:
  x: {values: [1, 2, 3]}
  y: {values: [a, b]}
";

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_sweep_becomes_a_leaderboard_and_the_second_time_everything_is_known() {
    let lab = Lab::new();
    lab.write("six.yaml", SIX);
    let first = lab.run(&["run", "six.yaml"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let rows: Vec<Vec<&str>> = first.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["rank", "trial", "s", "x", "y"]);
    assert_eq!((rows[1][0], rows[1][2], rows[1][3], rows[1][4]), ("1", "3", "3", "a"));
    assert_eq!(rows.len(), 7);
    assert_eq!(lab.ledger("ledger").len(), 6);
    assert_eq!(std::fs::read_to_string(lab.data().join(".gitignore")).unwrap(), "*\n");

    let before = lab.state();
    let second = lab.run(&["run", "six.yaml"]);
    assert_eq!(
        told(&second),
        "exit 0\nsix: everything is known, 6 trials of version 1; --rerun tries them again\n\
         2 points share the best value; the first in the file's order is called best\n"
    );
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(lab.state(), before);
    assert_eq!(lab.ledger("ledger").len(), 6);
}

#[test]
fn the_shapes_that_scripts_rely_on() {
    let lab = Lab::new();
    lab.write("six.yaml", SIX);
    assert_eq!(lab.run(&["run", "six.yaml", "--quiet"]).code, Some(0));
    let rows = json(&lab.run(&["leaderboard", "-o", "json", "-k", "2"]).stdout);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let keys: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "rank",
        "trial",
        "index",
        "state",
        "objective",
        "params",
        "metrics",
        "repeats",
        "attempts",
        "worker",
        "duration_s",
    ] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    assert_eq!(rows[0]["objective"], 3.0);
    let status = json(&lab.run(&["status", "-o", "json"]).stdout);
    for (key, value) in
        [("sweep", "six".into()), ("version", 1.into()), ("state", "finished".into()), ("total", 6.into())]
    {
        let value: Json = value;
        assert_eq!(status[key], value, "{key}");
    }
    let keys =
        ["pending", "leased", "succeeded", "failed", "quarantined", "cancelled", "excluded", "best", "eta_s"];
    assert!(keys.iter().all(|key| status.get(*key).is_some()), "{status}");
    let trials = lab.run(&["trials", "ls", "-o", "jsonl"]).stdout;
    assert_eq!(trials.lines().count(), 6);
    assert!(trials.lines().all(|line| json(line)["state"] == "succeeded"));
    let filtered =
        lab.run(&["leaderboard", "six", "--filter", "x < 3 and y == 'b'", "--sort", "x", "-o", "csv"]).stdout;
    let lines: Vec<&str> = filtered.lines().collect();
    assert_eq!(lines.len(), 3, "{filtered}");
    assert!(lines[0].starts_with("rank,trial,index,state,objective,"));
    let yaml = lab.run(&["leaderboard", "six.yaml", "-k", "1", "-o", "yaml"]).stdout;
    assert!(yaml.starts_with("- rank: 1\n"), "{yaml}");
    let results = lab.run(&["leaderboard", "gridctl-data/results/six", "-o", "json", "-k", "2"]);
    assert_eq!(json(&results.stdout), rows, "{}", results.stderr);
}

#[test]
fn a_trial_is_found_by_rank_by_best_and_by_a_prefix_that_is_unique() {
    let lab = Lab::new();
    lab.write("six.yaml", SIX);
    lab.run(&["run", "six.yaml"]);
    let rows = json(&lab.run(&["leaderboard", "-o", "json"]).stdout);
    let ids: Vec<String> =
        rows.as_array().unwrap().iter().map(|row| row["trial"].as_str().unwrap().to_owned()).collect();
    for (name, id) in [("#3", &ids[2]), (&ids[4][..8], &ids[4])] {
        let shown = json(&lab.run(&["trials", "show", name, "--json"]).stdout);
        assert_eq!(shown["trial"]["trial"], **id, "{name}");
        assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    }
    assert_eq!(json(&lab.run(&["trials", "show", "best", "--json"]).stdout)["trial"]["objective"], 3.0);
    assert_eq!(lab.run(&["logs", "#1"]).stdout, "s=3\n");
    let again = lab.run(&["trials", "show", "#1", "--command"]).stdout;
    let out = std::process::Command::new("bash")
        .args(["-c", &again.replace("[DIR]", lab.path().to_str().unwrap())])
        .output();
    assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), "s=3\n", "{again}");
    let unknown = lab.run(&["logs", "zzzzzzzz"]);
    assert_eq!(unknown.code, Some(1));
    insta::assert_snapshot!(unknown.stderr);
    let ambiguous = (b'a'..=b'z')
        .map(char::from)
        .map(|c| lab.run(&["logs", &c.to_string()]))
        .find(|done| done.stderr.contains("several"));
    if let Some(done) = ambiguous {
        assert_eq!(done.code, Some(1));
    }
}

#[test]
fn ctrl_c_stops_gently_and_the_same_command_goes_on() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'echo $GRID_TRIAL >> began; sleep 0.2; echo $GRID_TRIAL >> ledger; echo s=1']
metric: {name: s, goal: maximize}
parameters: {x: {min: 1, max: 12}}
",
    );
    for once in [Signal::INT, Signal::TERM] {
        let child = lab.start(&["run", "s.yaml", "--slots", "2"]);
        let begun = lab.ledger("began").len();
        lab.until("a trial began", || lab.ledger("began").len() > begun);
        signal(&child, once);
        let done = lab.wait(child);
        assert_eq!(done.code, Some(130), "{}", done.stderr);
        assert!(done.stderr.contains("stopping: running trials get SIGTERM and 10 s"), "{}", done.stderr);
        assert!(done.stderr.contains("go on with: gridctl run s.yaml\n"), "{}", done.stderr);
        assert_eq!(done.stdout, "");
    }
    let done = lab.run(&["run", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut ended = lab.ledger("ledger");
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended.len(), 12);
    let trials = lab.run(&["trials", "ls", "-o", "jsonl"]).stdout;
    assert!(trials.lines().all(|line| json(line)["state"] == "succeeded"), "{trials}");
}

#[test]
fn c11_the_second_interrupt_ends_everything_at_once() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'trap \"\" TERM; echo $$ >> began; sleep 60; echo s=1']
metric: {name: s, goal: maximize}
parameters: {x: {values: [1, 2]}}
",
    );
    let mut child = lab.start(&["run", "s.yaml"]);
    lab.until("a trial began", || !lab.ledger("began").is_empty());
    signal(&child, Signal::INT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("stopping:") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended without a word");
    }
    signal(&child, Signal::INT);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    lab.until("no trainer is left", || {
        lab.ledger("began").iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
}

#[test]
fn a_run_that_was_killed_goes_on_at_once_and_leaves_no_process() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'echo $$ >> began; sleep 0.3; echo $GRID_TRIAL >> ledger; echo s=1']
metric: {name: s, goal: maximize}
parameters: {x: {min: 1, max: 6}}
",
    );
    let mut child = lab.start(&["run", "s.yaml", "--slots", "2"]);
    lab.until("a trial ended", || !lab.ledger("ledger").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let done = lab.run(&["run", "s.yaml", "--slots", "2"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(json(&lab.run(&["status", "-o", "json"]).stdout)["succeeded"], 6);
    lab.until("no trainer is left", || {
        lab.ledger("began").iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
}

#[test]
fn failed_trials_are_counted_and_tried_again_when_asked() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'echo $HP_X >> ledger; if [ $HP_X = 3 ] && [ ! -e good ]; then echo \"ValueError: 3\" >&2; exit 1; fi; echo s=$HP_X']
workdir: code
metric: {name: s, goal: minimize}
parameters: {x: {values: [1, 2, 3, 4, 5]}}
retry: {max_failures: 0}
",
    );
    lab.write("code/.gitignore", "ledger\ngood\n");
    let first = lab.run(&["run", "s.yaml", "--slots", "1", "-q"]);
    insta::assert_snapshot!(format!("{}\n{}", told(&first), first.stdout));
    assert_eq!(lab.run(&["run", "s.yaml"]).code, Some(10));
    lab.write("code/good", "");
    let third = lab.run(&["run", "s.yaml", "--retry-failed"]);
    assert_eq!(third.code, Some(0), "{}", third.stderr);
    assert_eq!(lab.ledger("code/ledger").len(), 6);
    let rerun = lab.run(&["run", "s.yaml", "--rerun"]);
    assert_eq!(rerun.code, Some(0), "{}", rerun.stderr);
    assert_eq!(lab.ledger("code/ledger").len(), 11);
    assert_eq!(json(&lab.run(&["status", "-o", "json"]).stdout)["version"], 2);
}

#[test]
fn s31_a_changed_sweep_file_says_what_changed_and_asks() {
    let lab = Lab::new();
    lab.write("s.yaml", SIX).write("train.sh", "echo s=1\n");
    // One at a time: what runs beside another may disturb it, which is said as well.
    assert_eq!(lab.run(&["run", "s.yaml", "--slots", "1"]).code, Some(0));
    // Another grid alone is no question: what is known is known.
    lab.write("s.yaml", SIX.replace("[1, 2, 3]", "[2, 3, 4]"));
    let grid = lab.run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(grid.code, Some(0), "{}", grid.stderr);
    assert!(grid.stderr.contains("s: 6 trials, version 2, 4 known\n"), "{}", grid.stderr);
    assert_eq!(lab.ledger("ledger").len(), 8);
    // Another command, or another metric, is one.
    lab.write("s.yaml", SIX.replace("[1, 2, 3]", "[2, 3, 4]").replace("echo s=$HP_X", "echo s=1$HP_X"));
    let before = lab.ledger("ledger").len();
    insta::assert_snapshot!("s31_command", told(&lab.run(&["run", "s.yaml"])));
    lab.write("s.yaml", SIX.replace("[1, 2, 3]", "[2, 3, 4]").replace("maximize", "minimize"));
    insta::assert_snapshot!("s31_goal", told(&lab.run(&["run", "s.yaml"])));
    assert_eq!(lab.ledger("ledger").len(), before);
    let kept = lab.run(&["run", "s.yaml", "--changed", "keep", "-k", "1"]);
    assert_eq!(kept.code, Some(0), "{}", kept.stderr);
    assert_eq!(lab.ledger("ledger").len(), before);
    assert!(kept.stdout.lines().nth(1).unwrap().split_whitespace().nth(2) == Some("2"), "{}", kept.stdout);
    lab.write("s.yaml", SIX.replace("[1, 2, 3]", "[2, 3, 4]").replace("echo s=$HP_X", "echo s=1$HP_X"));
    let all = lab.run(&["run", "s.yaml", "--changed", "all", "-k", "1"]);
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert_eq!(lab.ledger("ledger").len(), before + 6);
}

#[test]
fn code_in_the_workdir_counts_however_it_is_named_and_its_change_is_named() {
    for (command, values) in [
        ("sh, train.sh", "[1, 2]"),
        ("sh, -c, 'true && sh ./train.sh'", "[1, 2]"),
        ("sh, -c, 'cd src; sh nested.sh'", "[1, 2]"),
        ("sh, -c, './tool'", "[1, 2]"),
        ("sh, -c, 'sh $HP_X'", "[train.sh, src/nested.sh]"),
        ("sh, HERE/train.sh", "[1, 2]"),
    ] {
        let lab = Lab::new();
        let trainer = "#!/bin/sh\necho s=1\n";
        lab.write("train.sh", trainer).write("src/nested.sh", trainer).write("tool", trainer);
        fs::set_permissions(lab.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        let command = command.replace("HERE", lab.path().to_str().unwrap());
        let sweep =
            format!("command: [{command}]\nmetric: {{name: s}}\nparameters: {{x: {{values: {values}}}}}\n");
        lab.write("s.yaml", sweep);
        let done = lab.run(&["run", "s.yaml"]);
        assert_eq!(done.code, Some(0), "{command}: {}", done.stderr);
        lab.write("notes.txt", "x").write("train.sh", "echo s=2\n");
        let done = lab.run(&["run", "s.yaml"]);
        assert_eq!(done.code, Some(2), "{command}: {}", done.stderr);
        assert!(done.stderr.contains("file train.sh: changed"), "{}", done.stderr);
        assert!(done.stderr.contains("file notes.txt: new"), "{}", done.stderr);
    }
}

#[test]
fn code_that_lies_elsewhere_is_named_as_not_watched() {
    let (lab, elsewhere) = (Lab::new(), Lab::new());
    elsewhere.write("train.sh", "echo s=1\n");
    let outside = elsewhere.path().join("train.sh");
    lab.write("s.yaml", format!("command: [sh, {}]\nparameters: {{x: {{value: 1}}}}\n", outside.display()));
    let done = lab.run(&["check", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("train.sh is not in the workdir"), "{}", done.stderr);
}

#[test]
fn what_a_trial_writes_is_no_code_though_the_command_names_it() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'mkdir -p out; echo $HP_X >> led; echo $HP_X > out/last.json; echo s=$HP_X']\n\
         metric: {name: s}\nparameters: {x: {values: [1, 2]}}\n",
    );
    assert_eq!(lab.run(&["run", "s.yaml"]).code, Some(0));
    let again = lab.run(&["run", "s.yaml"]);
    assert!(again.code == Some(0) && again.stderr.contains("everything is known"), "{}", again.stderr);
    assert_eq!(lab.ledger("led").len(), 2);
}

#[test]
fn repeats_are_averaged_and_nothing_is_ranked_without_a_metric() {
    let lab = Lab::new();
    lab.write(
        "r.yaml",
        "command: [sh, -c, 'echo s=$((HP_X * 10 + GRID_REPEAT))']
metric: {name: s, goal: minimize}
parameters: {x: {values: [1, 2]}}
repeats: 3
",
    );
    assert_eq!(lab.run(&["run", "r.yaml"]).code, Some(0));
    let rows = json(&lab.run(&["leaderboard", "-o", "json"]).stdout);
    assert_eq!((&rows[0]["objective"], &rows[0]["repeats"]), (&Json::from(11.0), &Json::from(3)));
    assert_eq!(rows.as_array().unwrap().len(), 2);
    lab.write("n.yaml", "command: [sh, -c, 'exit 0']\nparameters: {x: {values: [1, 2]}}\n");
    let done = lab.run(&["run", "n.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("no metric is declared, so nothing is ranked"), "{}", done.stderr);
}

#[test]
fn a_master_and_a_worker_as_daemons_serve_what_is_submitted() {
    let lab = Lab::new();
    lab.write("s.yaml", "command: [sh, -c, 'sleep 0.3; echo s=$HP_X']\nmetric: {name: s, goal: maximize}\nparameters: {x: {min: 1, max: 40}}\n");
    let mut master = lab
        .command(&["master", "--plain", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let submitted = lab.run(&["submit", "s.yaml"]);
    assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
    let held = lab.run(&["run", "s.yaml"]);
    assert_eq!(held.code, Some(1));
    assert!(held.stderr.contains(&format!("process {}", master.id())), "{}", held.stderr);
    let mut worker = lab.command(&["worker", "--slots", "2"]).stderr(Stdio::null()).spawn().unwrap();
    let succeeded =
        |lab: &Lab| json(&lab.run(&["status", "-o", "json"]).stdout)["succeeded"].as_u64().unwrap();
    lab.until("a trial succeeded", || succeeded(&lab) > 0);
    let workers = json(&lab.run(&["workers", "ls", "-o", "json"]).stdout);
    assert_eq!(workers.as_array().unwrap().len(), 1, "{workers}");
    assert_eq!(lab.run(&["pause", "s"]).stderr, "`s` was running, is paused\n");
    assert_eq!(lab.run(&["pause", "s"]).stderr, "`s` is paused already\n");
    assert_eq!(lab.run(&["resume", "s"]).stderr, "`s` was paused, is running\n");
    let cancelled = lab.run(&["cancel", "s.yaml"]);
    assert_eq!((cancelled.code, cancelled.stderr.as_str()), (Some(0), "`s` was running, is cancelled\n"));
    assert_eq!(lab.run(&["trials", "retry", "best"]).code, Some(1));
    let again = lab.run(&["cancel", "s"]);
    assert_eq!(again.code, Some(1), "c12: {}", again.stderr);
    assert_eq!(lab.run(&["workers", "drain"]).code, Some(0));
    assert!(worker.wait().unwrap().success());
    signal(&master, Signal::TERM);
    assert!(master.wait().unwrap().success());
    assert!(!lab.data().join("master.json").exists());
    assert_eq!(lab.run(&["cancel", "s"]).code, Some(5));
}

#[test]
fn a_secret_reaches_the_trainer_and_is_written_nowhere() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, '[ ${#MY_API_KEY} = 9 ] && [ -z \"$OTHER_API_KEY\" ] && [ \"$PASSED\" = on ] && echo s=1']
metric: {name: s, goal: maximize}
parameters: {x: {values: [1, 2]}}
secrets: [MY_API_KEY]
env: {PASSED: }
",
    );
    let mut command = lab.command(&["run", "s.yaml"]);
    command.envs([("MY_API_KEY", "t0psecret"), ("OTHER_API_KEY", "0ther"), ("PASSED", "on")]);
    let done = lab.finish(&mut command);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let out =
        std::process::Command::new("grep").args(["-rlF", "t0psecret"]).arg(lab.data()).output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "");
}

#[test]
fn ten_repeats_more_run_only_what_is_new() {
    let lab = Lab::new();
    lab.write("s.yaml", SIX);
    assert_eq!(lab.run(&["run", "s.yaml"]).code, Some(0));
    lab.write("s.yaml", format!("{SIX}repeats: 3\n"));
    let done = lab.run(&["run", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(lab.ledger("ledger").len(), 18);
    assert!(done.stderr.contains("s: 18 trials, version 2, 6 known\n"), "{}", done.stderr);
}

#[test]
fn a_sweep_that_was_cancelled_elsewhere_ends_the_run_that_computes_it() {
    let lab = Lab::new();
    lab.write("s.yaml", "command: [sh, -c, 'sleep 0.1; echo s=1']\nmetric: {name: s, goal: maximize}\nparameters: {x: {min: 1, max: 500}}\n");
    let child = lab.start(&["run", "s.yaml"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    lab.until("it is cancelled", || lab.run(&["cancel", "s"]).code == Some(0));
    let done = lab.wait(child);
    assert_eq!(done.code, Some(12), "{}", done.stderr);
    assert!(done.stderr.contains("s: cancelled in "), "{}", done.stderr);
    let paused = lab.start(&["run", "s.yaml"]);
    lab.until("it is paused", || lab.run(&["pause", "s"]).code == Some(0));
    let done = lab.wait(paused);
    assert_eq!(done.code, Some(13), "{}", done.stderr);
    assert!(done.stderr.contains("help: go on with: gridctl run s.yaml"), "{}", done.stderr);
}

#[test]
fn a_target_that_is_reached_ends_the_sweep_well() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, '[ $HP_X != 1 ] || exit 1; echo s=$HP_X']
metric: {name: s, goal: maximize, target: 3}
order: file
retry: {max_failures: 0}
parameters: {x: {min: 1, max: 200}}
",
    );
    let done = lab.run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("s: the target was reached in "), "{}", done.stderr);
    let again = lab.run(&["run", "s.yaml"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.starts_with("s: the target was reached, "), "{}", again.stderr);
}

#[test]
fn a_sweep_that_was_interrupted_waits_while_another_one_is_run() {
    let lab = Lab::new();
    let trainer = "sleep 0.1; echo s=1; echo $GRID_SWEEP >> names";
    let sweep = |from, to| {
        format!(
            "command: [sh, -c, '{trainer}']\nmetric: {{name: s, goal: maximize}}\nparameters: {{x: {{min: {from}, max: {to}}}}}\n"
        )
    };
    lab.write("first.yaml", sweep(1, 300));
    lab.write("second.yaml", sweep(1001, 1004));
    let child = lab.start(&["run", "first.yaml"]);
    lab.until("a trial is done", || !lab.ledger("names").is_empty());
    signal(&child, Signal::INT);
    assert_eq!(lab.wait(child).code, Some(130));
    let before = lab.ledger("names").len();
    assert_eq!(lab.run(&["run", "second.yaml"]).code, Some(0));
    assert_eq!(lab.ledger("names")[before..], ["second", "second", "second", "second"]);
    let status = lab.run(&["status", "first", "-o", "json"]);
    assert_eq!(json(&status.stdout)["state"], "paused", "{}", status.stdout);
}
