//! Sweep files that were written for W&B, tried as they are: what they start, and where.

mod lab;

use lab::{Done, Lab};
use serde_json::Value as Json;

/// Prints what it was given as its loss: the sum of the options' values.
const SUM: &str = "total=0\nfor word; do total=$((total + ${word#*=})); done\necho \"loss=$total\"\n";

fn objectives(lab: &Lab, file: &str) -> Vec<Option<f64>> {
    let done = lab.run(&["leaderboard", file, "-k", "0", "-o", "jsonl"]);
    let row = |line: &str| serde_json::from_str::<Json>(line).map_or(None, |row| row["objective"].as_f64());
    done.stdout.lines().map(row).collect()
}

fn ran(lab: &Lab, file: &str) -> Done {
    let done = lab.run(&["run", file]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done
}

fn sweep(program: &str, command: &str, parameters: &str) -> String {
    format!(
        "program: {program}\nmethod: grid\nname: My_Sweep v0.1\nmetric: {{name: loss, goal: minimize}}\n\
         command: [{command}]\nparameters: {{{parameters}}}\n"
    )
}

const SH: &str = "sh, \"${program}\", \"${args}\"";

#[test]
fn a_program_is_found_beside_the_file_or_where_the_command_was_typed() {
    let lab = Lab::new();
    lab.write("mains/sum.sh", SUM);
    lab.write("sweeps/deep.yaml", sweep("mains/sum.sh", SH, "a: {values: [1, 2]}, b: {values: [10, 20]}"));
    let done = ran(&lab, "sweeps/deep.yaml");
    assert!(done.stderr.contains("trials start there"), "{}", done.stderr);
    assert_eq!(objectives(&lab, "sweeps/deep.yaml"), [11.0, 12.0, 21.0, 22.0].map(Some));
    let elsewhere = lab.path().join("sweeps");
    let done = lab.finish(lab.command(&["run", "deep.yaml", "--rerun"]).current_dir(elsewhere));
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("`mains/sum.sh`") && done.stderr.contains("write `workdir: ..`"),
        "{}",
        done.stderr
    );
    // What stands beside the file comes first.
    let lab = Lab::new();
    lab.write("mains/sum.sh", SUM).write("sweeps/mains/sum.sh", "echo loss=7\n");
    lab.write("sweeps/near.yaml", sweep("mains/sum.sh", SH, "a: {values: [1]}"));
    ran(&lab, "sweeps/near.yaml");
    assert_eq!(objectives(&lab, "sweeps/near.yaml"), [Some(7.0)]);
}

#[test]
fn parameters_that_would_share_a_variable_have_none_and_reach_arguments_and_json() {
    let lab = Lab::new();
    lab.write("t.sh", "echo \"$GRID_PARAMS ${HP_LR-none} ${HP__-none} $HP_B\" >> ledger\n".to_owned() + SUM);
    lab.write(
        "s.yaml",
        sweep(
            "t.sh",
            SH,
            "α: {values: [1]}, λ: {values: [2]}, lr: {values: [4]}, LR: {values: [8]}, b: {value: 16}",
        ),
    );
    let done = ran(&lab, "s.yaml");
    assert!(done.stderr.contains("`α` and `λ` would share the variable `HP__`"), "{}", done.stderr);
    assert!(done.stderr.contains("`lr` and `LR` would share the variable `HP_LR`"), "{}", done.stderr);
    assert_eq!(objectives(&lab, "s.yaml"), [Some(31.0)]);
    assert_eq!(lab.ledger("ledger"), [r#"{"α":1,"λ":2,"lr":4,"LR":8,"b":16} none none 16"#]);
}

#[test]
fn a_display_name_is_kept_and_a_usable_one_is_said() {
    let lab = Lab::new();
    lab.write("t.sh", SUM).write("s.yaml", sweep("t.sh", SH, "a: {values: [1, 2, 2]}"));
    let done = lab.run(&["check", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.starts_with("my-sweep-v0-1: 2 trials"), "{}", done.stdout);
    assert!(done.stderr.contains("the sweep's name is `my-sweep-v0-1`"), "{}", done.stderr);
    assert!(done.stderr.contains("first here") && done.stderr.contains("again here"), "{}", done.stderr);
}

#[test]
fn a_file_for_an_agent_that_calls_a_function_is_counted_and_not_run() {
    let lab = Lab::new();
    lab.write("s.yaml", "method: grid\nparameters: {a: {values: [1, 2]}}\n");
    let checked = lab.run(&["check", "s.yaml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stdout.contains("2 trials"), "{}", checked.stdout);
    assert!(checked.stderr.contains("nothing says what a trial starts"), "{}", checked.stderr);
    let done = lab.run(&["run", "s.yaml"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("nothing says what a trial starts"), "{}", done.stderr);
    assert!(!lab.data().exists());
}
