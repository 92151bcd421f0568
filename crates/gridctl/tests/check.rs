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

#[test]
fn macros_are_explained_without_a_file() {
    let lab = Lab::new();
    let done = check(&lab, &["--macros"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    insta::assert_snapshot!(done.stdout);
    assert_eq!(check(&lab, &[]).code, Some(2));
}

#[test]
fn parameters_that_nothing_reads_are_named() {
    let sweep = |command: &str| {
        format!(
            "command: [{command}]\nmetric: {{name: loss, goal: minimize}}\n\
             parameters: {{lr: {{values: [1, 2]}}, amp: {{values: [true, false]}}, one: {{value: 3}}}}\n"
        )
    };
    for (code, command, unread) in [
        ("print('loss=1')", "python3, t.py", Some("`lr`, `amp`")),
        ("os.environ['HP_LR']", "python3, t.py", Some("`amp`")),
        ("print('loss=1')", "python3, t.py, \"--lr=${params.lr}\"", Some("`amp`")),
        ("print('loss=1')", "sh, -c, 'python3 t.py --amp $HP_AMP'", Some("`lr`")),
        ("", "sh, -c, 'echo loss=$HP_LR'", Some("`amp`")),
        ("os.environ['HP_' + name.upper()]", "python3, t.py", None),
        ("json.loads(os.environ['GRID_PARAMS'])", "python3, t.py", None),
        ("config = wandb.config", "python3, t.py", None),
        ("print('loss=1')", "python3, t.py, \"${args}\"", None),
    ] {
        let lab = Lab::new();
        lab.write("t.py", code).write("s.yaml", sweep(command)).write(".gitignore", "old/\n");
        lab.write("old/u.py", "HP_LR HP_AMP");
        let done = check(&lab, &["s.yaml"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        match unread {
            Some(names) => {
                let line = format!("nothing seems to read {names}: every trial");
                assert!(done.stderr.contains(&line), "{code}: {}", done.stderr);
            }
            None => assert!(!done.stderr.contains("seems to read"), "{code}: {}", done.stderr),
        }
    }
}

#[test]
fn a_flag_without_a_value_is_led_to_the_macro_for_it() {
    let lab = Lab::new();
    lab.write(
        "t.py",
        "p.add_argument('--lr', type=float)\np.add_argument('--use-amp', action='store_true')\n",
    );
    let sweep = "program: t.py\nparameters: {use_amp: {values: [true, false]}, lr: {values: [1]}}\n";
    lab.write("s.yaml", sweep);
    let done = check(&lab, &["s.yaml"]);
    assert!(done.stderr.contains("write \"${args_no_boolean_flags}\""), "{}", done.stderr);
    lab.write("s.yaml", format!("command: [python3, t.py, \"${{args_dashes}}\"]\n{sweep}"));
    let done = check(&lab, &["s.yaml"]);
    assert!(done.stderr.contains("`--use-amp` is declared"), "{}", done.stderr);
    assert!(done.stderr.contains("write \"${args_dashes_no_boolean_flags}\""), "{}", done.stderr);
    lab.write("s.yaml", format!("command: [python3, t.py, \"${{args_no_boolean_flags}}\"]\n{sweep}"));
    let done = check(&lab, &["s.yaml"]);
    assert!(!done.stderr.contains("declared as a flag"), "{}", done.stderr);
}

#[test]
fn gpus_that_trials_share_are_said() {
    let lab = Lab::new();
    let shown = |resources: &str| {
        lab.write(
            "s.yaml",
            format!("command: [sh, -c, 'echo x=1']\nparameters: {{a: {{value: 1}}}}\n{resources}"),
        );
        let mut command = lab.command(&["check", "s.yaml"]);
        lab.finish(command.env("CUDA_VISIBLE_DEVICES", "1")).stdout
    };
    assert!(shown("").contains("Trials share CUDA_VISIBLE_DEVICES=1"));
    assert!(!shown("resources: {gpu: 0}\n").contains("Trials share"));
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'echo \"x=${CUDA_VISIBLE_DEVICES:-9}\"']\nmetric: {name: x, goal: minimize}\nparameters: {a: {value: 1}}\n",
    );
    let mut command = lab.command(&["run", "s.yaml"]);
    let done = lab.finish(command.env("CUDA_VISIBLE_DEVICES", "1"));
    assert!(done.stdout.lines().last().unwrap_or_default().split_whitespace().any(|word| word == "1"));
    lab.write(
        "h.yaml",
        std::fs::read_to_string(lab.path().join("s.yaml")).unwrap_or_default() + "resources: {gpu: 0}\n",
    );
    let mut command = lab.command(&["run", "h.yaml", "--rerun"]);
    let done = lab.finish(command.env("CUDA_VISIBLE_DEVICES", "1"));
    assert!(done.stdout.contains(" 9 "), "{}", done.stdout);
}
