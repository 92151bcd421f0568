//! The first mistakes that a newcomer makes, each answered so that it can be put right without the documentation.

mod lab;

use lab::{Lab, told};

fn sweep(command: &str) -> String {
    format!(
        "command: {command}\nmetric: {{name: accuracy, goal: maximize}}\nparameters: {{x: {{values: [1, 2, 3]}}}}\n"
    )
}

/// Runs a sweep of this command and returns what was said. Nothing was started if `started` is false.
fn run(lab: &Lab, command: &str, started: bool) -> String {
    lab.write("s.yaml", sweep(command));
    let done = lab.run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(lab.data().exists(), started, "{}", done.stderr);
    // How often progress is told depends on how long it takes.
    let lines = told(&done);
    lines.lines().filter(|line| !line.starts_with('[')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_metric_that_is_never_printed_is_missed_at_the_first_trial() {
    let lab = Lab::new();
    insta::assert_snapshot!(run(&lab, "[sh, -c, 'echo training']", true));
}

#[test]
fn a_metric_of_another_name_is_pointed_out() {
    let lab = Lab::new();
    insta::assert_snapshot!(run(&lab, "[sh, -c, 'echo accuracy_=0.5; echo acc=0.5']", true));
}

#[test]
fn a_metric_on_stderr_is_as_good() {
    let lab = Lab::new();
    insta::assert_snapshot!(run(&lab, "[sh, -c, 'echo accuracy=0.5 >&2']", true));
}

#[test]
fn a_command_that_is_not_found_is_known_before_anything_starts() {
    let lab = Lab::new();
    lab.script("bin/python3", "#!/bin/sh\n");
    lab.write("s.yaml", sweep("[pythn3, train.py]"));
    let done = lab.finish(lab.command(&["run", "s.yaml"]).env("PATH", lab.path().join("bin")));
    insta::assert_snapshot!(told(&done));
    assert!(!lab.data().exists());
}

#[test]
fn a_script_without_its_execute_bit_is_known_before_anything_starts() {
    let lab = Lab::new();
    lab.write("train.sh", "#!/bin/sh\necho accuracy=1\n");
    insta::assert_snapshot!(run(&lab, "[./train.sh, \"${args}\"]", false));
}

#[test]
fn a_script_whose_name_is_mistyped_is_known_before_anything_starts() {
    let lab = Lab::new();
    lab.write("train.sh", "echo accuracy=1\n");
    insta::assert_snapshot!(run(&lab, "[sh, trian.sh]", false));
}

#[test]
fn a_script_without_its_dot_is_known_before_anything_starts() {
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\necho accuracy=1\n");
    insta::assert_snapshot!(run(&lab, "[train.sh]", false).split("; looked in PATH").next().unwrap());
}

#[test]
fn an_unquoted_macro_is_an_error_that_says_quote_it() {
    let lab = Lab::new();
    insta::assert_snapshot!(run(&lab, "[sh, train.sh, ${args}]", false));
}

#[test]
fn a_mistyped_key_and_a_mistyped_parameter_are_pointed_out() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "comand: [sh, -c, 'echo s=1']\nmetric: {name: s, goal: maximise}\nparameters: {x: {valeus: [1]}}\nexclude: ['y > 1']\n",
    );
    insta::assert_snapshot!(told(&lab.run(&["run", "s.yaml"])));
    assert!(!lab.data().exists());
}

#[test]
fn a_trainer_that_fails_is_shown_with_its_last_words() {
    let lab = Lab::new();
    insta::assert_snapshot!(run(
        &lab,
        "[sh, -c, 'echo loading; echo \"ValueError: bad x\" >&2; exit 3']",
        true
    ));
}

#[test]
fn a_variable_that_is_not_there_is_named() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        format!(
            "{}env: {{WANTED_HERE: }}\nsecrets: [SECRET_OF_TEST]\n",
            sweep("[sh, -c, 'echo accuracy=1']")
        ),
    );
    insta::assert_snapshot!(told(&lab.run(&["run", "s.yaml"])));
    assert!(!lab.data().exists());
}

#[test]
fn a_sweep_file_that_is_not_there_is_named() {
    let lab = Lab::new();
    insta::assert_snapshot!(told(&lab.run(&["run", "nothing.yaml"])));
}

#[test]
fn a_read_command_where_nothing_ever_ran_says_where_it_looked() {
    let lab = Lab::new();
    insta::assert_snapshot!(told(&lab.run(&["leaderboard"])));
}

#[test]
fn a_metric_with_a_percent_sign_is_read_by_the_pattern_that_is_offered() {
    let lab = Lab::new();
    let sweep = |regex: &str| {
        format!(
            "command: [sh, -c, 'echo \"accuracy = 9$HP_X.5%\"']\n\
             metric: {{name: accuracy, goal: maximize{regex}}}\nparameters: {{x: {{values: [0, 1]}}}}\n"
        )
    };
    lab.write("p.yaml", sweep(""));
    let missed = lab.run(&["run", "p.yaml"]);
    assert_eq!(missed.code, Some(10), "{}", missed.stderr);
    let offered = missed
        .stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("to read it: `")?.strip_suffix("` under `metric`"));
    lab.write("p.yaml", sweep(&format!(", {}", offered.unwrap_or_else(|| panic!("{}", missed.stderr)))));
    let read = lab.run(&["run", "p.yaml", "--retry-failed"]);
    assert_eq!(read.code, Some(0), "{}", read.stderr);
    assert!(read.stdout.contains("91.5"), "{}", read.stdout);
}

#[test]
fn keys_that_have_no_effect_here_are_named() {
    let lab = Lab::new();
    let keys = ["workers: {count: 2}", "budget: 30 USD", "deadline: 6h", "preempt_signal: USR1"];
    lab.write("s.yaml", format!("{}{}\n", sweep("[sh, -c, 'echo accuracy=$HP_X']"), keys.join("\n")));
    let done = lab.run(&["run", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for key in keys {
        let name = key.split(':').next().unwrap();
        assert!(done.stderr.contains(&format!("`{name}` has no effect here yet")), "{}", done.stderr);
    }
}
