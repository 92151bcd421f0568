//! Names that meet: a parameter called like the metric, and two files of one name.

mod lab;

use lab::Lab;

fn objectives(lab: &Lab, args: &[&str]) -> Vec<String> {
    let done = lab.run(&[&["leaderboard"], args, &["-k", "0", "-o", "csv"]].concat());
    let cell = |line: &str| line.split(',').nth(4).unwrap_or_default().to_owned();
    done.stdout.lines().skip(1).map(cell).collect()
}

#[test]
fn a_parameter_called_like_the_metric_is_told_from_it() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'case $HP_LOSS in mse) echo loss=0.9;; mae) echo loss=0.1;; *) echo loss=0.4;; esac']\n\
         metric: {name: loss, goal: minimize}\nparameters: {loss: {values: [mse, mae, huber]}}\n",
    );
    assert_eq!(lab.run(&["run", "s.yaml"]).code, Some(0));
    let table = lab.run(&["leaderboard", "s.yaml"]).stdout;
    let heads: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads, ["rank", "trial", "metrics.loss", "params.loss"]);
    assert_eq!(objectives(&lab, &["s.yaml", "--filter", "metrics.loss < 0.5"]), ["0.1", "0.4"]);
    assert_eq!(objectives(&lab, &["s.yaml", "--filter", "params.loss == 'mse'"]), ["0.9"]);
    assert_eq!(objectives(&lab, &["s.yaml", "--filter", "loss == 'mse'"]), ["0.9"]);
    assert_eq!(objectives(&lab, &["s.yaml", "--sort", "metrics.loss"]), ["0.1", "0.4", "0.9"]);
    assert_eq!(objectives(&lab, &["s.yaml", "--sort", "-metrics.loss"]), ["0.9", "0.4", "0.1"]);
    assert_eq!(objectives(&lab, &["s.yaml", "--sort", "params.loss"]), ["0.4", "0.1", "0.9"]);
    let unknown = lab.run(&["leaderboard", "s.yaml", "--sort", "metrics.los"]);
    assert_ne!(unknown.code, Some(0));
    assert!(unknown.stderr.contains("`metrics.los`"), "{}", unknown.stderr);
}

fn sweep(values: &str) -> String {
    format!(
        "command: [sh, -c, 'echo \"$HP_X\" >> \"$LEDGER\"; echo s=$HP_X']\nenv: {{LEDGER: }}\n\
         metric: {{name: s, goal: minimize}}\nparameters: {{x: {{values: {values}}}}}\n"
    )
}

fn run(lab: &Lab, file: &str) -> lab::Done {
    let mut command = lab.command(&["run", file]);
    let done = lab.finish(command.env("LEDGER", lab.path().join("ledger")));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done
}

#[test]
fn two_files_of_one_name_are_two_sweeps() {
    let lab = Lab::new();
    std::fs::create_dir(lab.data()).unwrap_or_default();
    for (file, values) in [
        ("exp1/sweep.yaml", "[1, 2]"),
        ("exp2/sweep.yaml", "[3, 4]"),
        ("deep/exp2/sweep.yaml", "[5]"),
        ("実験1.yaml", "[6]"),
        ("比較1.yaml", "[7]"),
    ] {
        lab.write(file, sweep(values));
        run(&lab, file);
    }
    let done = lab.run(&["status", "--all", "-o", "json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&done.stdout).unwrap_or_default();
    let mut names: Vec<&str> = all.iter().filter_map(|status| status["sweep"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 5, "{}", done.stdout);
    assert!(names.contains(&"sweep") && names.contains(&"exp2-sweep"), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("sweep-")), "{names:?}");
    for (file, values) in [
        ("exp1/sweep.yaml", vec!["1", "2"]),
        ("exp2/sweep.yaml", vec!["3", "4"]),
        ("deep/exp2/sweep.yaml", vec!["5"]),
        ("実験1.yaml", vec!["6"]),
        ("exp2-sweep", vec!["3", "4"]),
    ] {
        assert_eq!(objectives(&lab, &[file]), values, "{file}");
    }
    // From another directory the same files mean the same sweeps, and nothing is tried again.
    let mut again = lab.command(&["run", "sweep.yaml"]);
    again.current_dir(lab.path().join("exp2")).env("LEDGER", lab.path().join("ledger"));
    let again = lab.finish(&mut again);
    assert!(again.stderr.contains("exp2-sweep: everything is known"), "{}", again.stderr);
    assert_eq!(lab.ledger("ledger").len(), 7);
}

#[test]
fn a_name_that_is_taken_is_said_and_an_edited_file_keeps_its_sweep() {
    let lab = Lab::new();
    std::fs::create_dir(lab.data()).unwrap_or_default();
    lab.write("a/s.yaml", sweep("[1]")).write("b/s.yaml", sweep("[2]"));
    run(&lab, "a/s.yaml");
    let said = "the name `s` is that of ../a/s.yaml here: this sweep is `b-s`";
    let checked = lab.finish(lab.command(&["check", "b/s.yaml"]).env("LEDGER", "x"));
    assert!(checked.stderr.contains(said), "{}", checked.stderr);
    assert!(run(&lab, "b/s.yaml").stderr.contains(said));
    lab.write("b/s.yaml", sweep("[2, 3]"));
    let edited = run(&lab, "b/s.yaml");
    assert!(edited.stderr.contains("b-s: 2 trials, version 2"), "{}", edited.stderr);
    assert!(!edited.stderr.contains("is that of"), "{}", edited.stderr);
    assert_eq!(objectives(&lab, &["a/s.yaml"]), ["1"]);
}

#[test]
fn a_file_that_moved_begins_a_new_sweep_and_what_is_known_joins() {
    let lab = Lab::new();
    std::fs::create_dir(lab.data()).unwrap_or_default();
    lab.write("a/s.yaml", sweep("[1, 2]"));
    run(&lab, "a/s.yaml");
    std::fs::create_dir(lab.path().join("b")).unwrap_or_default();
    assert!(std::fs::rename(lab.path().join("a/s.yaml"), lab.path().join("b/s.yaml")).is_ok());
    let moved = run(&lab, "b/s.yaml");
    assert!(moved.stderr.contains("b-s"), "{}", moved.stderr);
    assert_eq!(lab.ledger("ledger").len(), 2, "{}", moved.stderr);
    assert_eq!(objectives(&lab, &["b/s.yaml"]), ["1", "2"]);
    assert_eq!(objectives(&lab, &["s"]), ["1", "2"]);
}

#[test]
fn files_of_one_name_that_is_given_are_one_sweep() {
    let lab = Lab::new();
    std::fs::create_dir(lab.data()).unwrap_or_default();
    lab.write("a/s.yaml", sweep("[1]") + "name: mine\n").write("b/s.yaml", sweep("[2]") + "name: mine\n");
    run(&lab, "a/s.yaml");
    let second = run(&lab, "b/s.yaml");
    assert!(second.stderr.contains("mine: 1 trial, version 2"), "{}", second.stderr);
}

#[test]
fn a_project_that_moved_is_the_same_version_and_its_trials_start_where_it_is() {
    let lab = Lab::new();
    std::fs::create_dir(lab.data()).unwrap_or_default();
    let file = "name: mine\nworkdir: code\ndata: data\ncommand: [sh, -c, '. ./train.sh']\nparameters: {x: {values: [1, 2]}}\n\
                metric: {name: s, goal: maximize}\nrun_cap: 1\n";
    lab.write("a/s.yaml", file).write("a/data/d.csv", "7\n");
    lab.write("a/code/train.sh", "pwd >> $LEDGER; echo s=$(( $HP_X + $(cat $GRID_DATA_DIR/d.csv) ))\n");
    let first = run(&lab, "a/s.yaml");
    assert!(first.stderr.contains("1 succeeded"), "{}", first.stderr);
    assert!(std::fs::rename(lab.path().join("a"), lab.path().join("b")).is_ok());
    let again = run(&lab, "b/s.yaml");
    assert!(!again.stderr.contains("version") && again.code == Some(0), "{}", again.stderr);

    // What is left starts there, and other results are another place for the same version.
    lab.write("b/s.yaml", file.replace("run_cap: 1\n", ""));
    let more = run(&lab, "b/s.yaml");
    assert!(more.stderr.contains("version 2") && more.stderr.contains("1 known"), "{}", more.stderr);
    let dirs = lab.ledger("ledger");
    let ends: Vec<&str> = dirs
        .iter()
        .filter_map(|dir| dir.rsplit("/gridctl-test-").next()?.split_once('/'))
        .map(|(_, end)| end)
        .collect();
    assert_eq!(ends, ["a/code", "b/code"]);
    lab.write("b/s.yaml", file.replace("run_cap: 1\n", "output: ../other\n"));
    let elsewhere = run(&lab, "b/s.yaml");
    assert!(!elsewhere.stderr.contains("version 3"), "{}", elsewhere.stderr);
    let shipped = lab.run(&["leaderboard", "other/mine", "-o", "jsonl"]);
    assert_eq!(shipped.stdout.lines().count(), 2, "{}", shipped.stderr);
    assert_eq!(objectives(&lab, &["mine"]), ["9", "8"]);
    assert_eq!(lab.ledger("ledger").len(), 2, "nothing is trained again");
}
