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
        ("os.environ['HP_LRS'] + os.environ['HP_AMP']", "python3, t.py", Some("`lr`")),
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
fn what_each_trial_has_alike_is_constant_and_not_merely_so_in_those_shown() {
    let lab = Lab::new();
    lab.write("s.yaml", "command: [\"true\"]\norder: file\nparameters: {lr: {values: [1, 2]}, n: {value: 7}, b: {min: 1, max: 9, step: 1}}\n");
    let done = check(&lab, &["s.yaml"]);
    let (each, all) = done.stdout.split_once("and each of them").expect("two parts");
    assert!(all.contains("HP_N=7") && !each.contains("HP_N=7"), "{}", done.stdout);
    assert!(!all.contains("HP_LR") && each.matches("HP_LR=1").count() == 3, "{}", done.stdout);
}

#[test]
fn a_variable_that_no_shell_expands_is_led_to_its_macro() {
    let grid = "parameters: {n_gram: {values: [1, 2]}}\n";
    for (command, word) in [
        ("bash, x.sh, \"$HP_N_GRAM\"", Some("${params.n_gram}")),
        ("bash, x.sh, \"--n=$HP_N_GRAM\"", Some("${params.n_gram}")),
        ("bash, x.sh, \"$GRID_TRIAL_ID\"", Some("GRID_TRIAL_ID")),
        ("bash, -c, \"echo $HP_N_GRAM\"", None),
        ("bash, -euc, \"echo $HP_N_GRAM\"", None),
        ("bash, x.sh, \"${params.n_gram}\"", None),
    ] {
        let lab = Lab::new();
        lab.write("x.sh", "echo $HP_N_GRAM\n").write("s.yaml", format!("command: [{command}]\n{grid}"));
        for args in [["check", "s.yaml"], ["run", "s.yaml"]] {
            let done = lab.run(&args);
            let said = done.stderr.contains("no shell reads it");
            assert_eq!(said, word.is_some(), "{args:?} {command}: {}", done.stderr);
            assert!(word.is_none_or(|word| done.stderr.contains(word)), "{args:?}: {}", done.stderr);
        }
        let again = lab.run(&["run", "s.yaml"]);
        assert!(!again.stderr.contains("no shell reads it"), "once a version: {}", again.stderr);
    }
}

/// What `check` says of options, of this program and command.
fn said_of_options(code: &str, command: &str, parameters: &str) -> String {
    let lab = Lab::new();
    lab.write("t.py", code).write("other.py", "p.add_argument('--lr_rate', action='store_true')\n");
    lab.write("s.yaml", format!("command: [{command}]\nparameters: {{{parameters}}}\n"));
    let done = check(&lab, &["s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let lines = done.stderr.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn an_option_that_takes_no_value_is_led_to_what_gives_it_none() {
    const AMP: &str = "p.add_argument('--lr', type=float)\np.add_argument('--amp', action='store_true')\n";
    const USE_AMP: &str = "p.add_argument('--use-amp', action='store_true')\n";
    const CLICK: &str = "@click.option('--mix/--no-mix', default=False)\n";
    const ON: &str = "p.add_argument('--mix', default=True, action=argparse.BooleanOptionalAction)\n";
    let amp = "amp: {values: [true, false]}, lr: {values: [1]}";
    let mix = "mix: {values: [true, false]}";
    for (code, command, parameters, message, help) in [
        (AMP, "\"${args}\"", amp, "`--amp` is declared as a flag", "write \"${args_no_boolean_flags}\""),
        (AMP, "\"${args_no_equals}\"", amp, "`--amp` is declared as a flag", "\"${args_no_boolean_flags}\""),
        (AMP, "\"${args_no_boolean_flags}\"", amp, "", ""),
        (AMP, "\"${args}\"", "amp: {values: [1, 2]}", "", ""),
        (AMP, "\"--amp=${params.amp}\"", amp, "flag without a value, and `command`", "\"${args_no_"),
        (AMP, "--amp, \"${params.amp}\"", amp, "flag without a value, and `command`", "\"${args_no_"),
        (AMP, "\"--lr=${params.lr}\"", amp, "", ""),
        (
            USE_AMP,
            "\"${args_dashes}\"",
            "use_amp: {value: true}",
            "`--use-amp` is declared",
            "dashes_no_bool",
        ),
        (USE_AMP, "\"${args}\"", "use_amp: {value: true}", "`--use-amp` is declared", "dashes_no_bool"),
        (CLICK, "\"${args}\"", mix, "`--mix` is declared as a flag", "write \"${args_no_boolean_flags}\""),
        (CLICK, "\"${args_no_boolean_flags}\"", mix, "", ""),
        (ON, "\"${args}\"", mix, "`--mix` is declared as a flag", "mix: {values: [mix, no-mix]}"),
        (ON, "\"${args_no_boolean_flags}\"", mix, "left out it is true", "\"--${params.mix}\""),
        (ON, "\"${args_no_boolean_flags}\"", "mix: {value: true}", "", ""),
        ("p.add_argument('--mix', type=bool)\n", "\"${args}\"", mix, "takes `false` for true", "lambda"),
        ("@click.option('--mix', type=bool)\n", "\"${args}\"", mix, "", ""),
    ] {
        let said = said_of_options(code, &format!("python3, t.py, {command}"), parameters);
        assert!(said.contains(message) && said.contains(help), "{code}{command}: {said}");
        assert_eq!(message.is_empty(), !said.contains("check::flag"), "{code}{command}: {said}");
    }
}

#[test]
fn options_in_other_letters_than_the_program_has_are_led_to_the_macro_for_them() {
    const DASHES: &str = "p.add_argument('-n', '--n-trees', type=int)\n";
    const UNDERSCORES: &str = "p.add_argument('--n_trees', type=int)\n";
    let mixed = format!("{DASHES}p.add_argument('--lr_rate')\n");
    let both = "p.add_argument('--n-trees', '--n_trees')\n";
    let respells = format!("argv = [a.replace('_', '-') for a in sys.argv]\n{DASHES}");
    let none = "import arguments\n";
    for (code, command, help) in [
        (DASHES, "${args}", "write \"${args_dashes}\""),
        (DASHES, "${args_no_equals}", "write \"${args_dashes}\""),
        (DASHES, "${args_no_boolean_flags}", "write \"${args_dashes_no_boolean_flags}\""),
        (DASHES, "${args_dashes}", ""),
        (DASHES, "--n-trees=${params.n_trees}", ""),
        (UNDERSCORES, "${args_dashes}", "write \"${args}\""),
        (UNDERSCORES, "${args}", ""),
        (&mixed, "${args}", "options, `n-trees` for `n_trees`, and write \"${args}\""),
        (both, "${args}", ""),
        (&respells, "${args}", ""),
        (none, "${args}", ""),
    ] {
        let parameters = "n_trees: {values: [1, 2]}, lr_rate: {values: [1]}";
        let said = said_of_options(code, &format!("python3, t.py, \"{command}\""), parameters);
        assert!(said.contains(help), "{code}{command}: {said}");
        assert_eq!(help.is_empty(), !said.contains("check::option"), "{code}{command}: {said}");
    }
    let parameters = "n-trees: {values: [1, 2]}, lr_rate: {values: [1]}";
    let said = said_of_options(&mixed, "python3, t.py, \"${args}\"", parameters);
    assert!(!said.contains("check::option"), "what is offered is right: {said}");
    let hydra = "import hydra\n@hydra.main(config_path='.')\ndef main(cfg): pass\n";
    for (command, help) in [
        ("", "add \"${args_hydra}\" to"),
        (", \"${args}\"", "help: write \"${args_hydra}\""),
        (", \"${args_no_hyphens}\"", ""),
        (", \"${args_hydra}\"", ""),
    ] {
        let said = said_of_options(hydra, &format!("python3, t.py{command}"), "lr: {values: [1, 2]}");
        assert!(said.contains(help) && (!help.is_empty() || !said.contains("warning")), "{command}: {said}");
    }
    let said = said_of_options(DASHES, "python3, -m, t, \"${args}\"", "n_trees: {values: [1, 2]}");
    assert!(said.contains("declares `--n-trees`, and `${args}` gives `--n_trees`"), "{said}");
    let said = said_of_options(DASHES, "sh, train, \"${args}\"", "n_trees: {values: [1, 2]}");
    assert!(!said.contains("check::option"), "no program is named: {said}");
}

#[test]
fn points_that_are_excluded_from_a_random_search_are_not_replaced_and_counted() {
    let lab = Lab::new();
    let search = "command: [t, \"${args}\"]\nmethod: random\ntrials: 40\nexclude: ['lr > 0.5']\n\
        parameters: {lr: {min: 0.0, max: 1.0}}\n";
    for (repeats, said) in [
        (
            "",
            "s: 11 trials (11 of 40 points drawn at random from seed 0; 29 excluded or repeated, and not replaced)\n",
        ),
        (
            "repeats: 3\n",
            "s: 33 trials (11 of 40 points drawn at random from seed 0 x 3 repeats; 29 excluded or repeated, and not replaced)\n",
        ),
    ] {
        lab.write("s.yaml", format!("{search}{repeats}"));
        let done = check(&lab, &["s.yaml"]);
        assert!(done.stdout.starts_with(said), "{}", done.stdout);
    }
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
