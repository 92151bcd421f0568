//! What `gridctl check` shows of a sweep file and of a trainer's log.

mod lab;

use lab::{Lab, told};

const SWEEP: &str = "name: demo
command: [sh, train.sh, \"${args}\"]
metric: {name: accuracy, goal: maximize, target: 0.99}
metrics: [val_loss]
parameters:
  lr: {min: 1e-4, max: 1e-1, steps: 4, scale: log}
  optimizer: {values: [adam, sgd]}
  momentum: {values: [0.0, 0.9], when: \"optimizer == 'sgd'\"}
  layers: {min: 1, max: 100}
exclude: ['layers > 50 and lr > 0.01']
repeats: 2
secrets: [WANDB_API_KEY]
timeout: 2h
";

fn check(lab: &Lab, args: &[&str]) -> lab::Done {
    let mut command = lab.command(&[&["check"], args].concat());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("WANDB_API_KEY", "x").env("MY_TOKEN", "y");
    lab.finish(&mut command)
}

#[test]
fn a_sweep_is_shown_with_its_points_axes_and_first_trials() {
    let lab = Lab::new();
    lab.write("demo.yaml", SWEEP).write("train.sh", "echo accuracy=1\n");
    let done = check(&lab, &["demo.yaml"]);
    assert_eq!(told(&done), "exit 0\n");
    insta::assert_snapshot!(done.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&check(&lab, &["demo.yaml", "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["total"], &json["exact"]), (&3200.into(), &true.into()));
    assert_eq!(json["first_trials"].as_array().unwrap().len(), 3);
    assert_eq!(json["not_passed_on"], serde_json::json!(["MY_TOKEN"]));
    assert!(!lab.data().exists());
}

#[test]
fn what_the_caller_lacks_is_a_warning_before_it_is_an_error() {
    let lab = Lab::new();
    lab.write("demo.yaml", SWEEP.replace("WANDB_API_KEY", "NOT_SET_HERE")).write("train.sh", "");
    let done = check(&lab, &["demo.yaml"]);
    assert_eq!(done.code, Some(0));
    insta::assert_snapshot!(done.stderr);
}

#[test]
fn a_log_shows_what_it_would_yield() {
    let lab = Lab::new();
    lab.write("demo.yaml", SWEEP).write("train.sh", "");
    lab.write("good.log", "epoch 1\n::metric step=1 accuracy=0.5 val_loss=2\n\u{1b}[32maccuracy: 0.75\u{1b}[0m\r\n{\"loss\": 3}\n");
    let good = check(&lab, &["demo.yaml", "--log", "good.log"]);
    insta::assert_snapshot!(format!("{}{}", told(&good), good.stdout));
    lab.write("bad.log", "acc=0.5\nAccuracy: 0.75\n");
    let bad = check(&lab, &["demo.yaml", "--log", "bad.log"]);
    insta::assert_snapshot!(format!("{}{}", told(&bad), bad.stdout));
    assert_eq!(check(&lab, &["demo.yaml", "--log", "/dev/zero"]).code, Some(2));
}
