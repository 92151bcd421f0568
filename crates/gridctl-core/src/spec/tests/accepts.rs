//! Files that are taken, and what comes of them.

use super::*;
use crate::spec::{AxisValues, Goal, Order, Repeats, Report};
use crate::value::Value;

const WHOLE: &str = r#"
name: wine-forest
workdir: .
setup: pip install -r requirements.txt
image: ghcr.io/me/env:1.4
command: [python, train.py, "${args}"]
metric: {name: accuracy, goal: maximize, target: 0.99}
metrics: [val_loss, {name: f1, regex: 'F1=(\S+)'}, {name: loss, report: min}]
parameters:
  n_trees:   {values: [50, 100, 200]}
  max_depth: {min: 2, max: 10, step: 2}
  lr:        {min: 1e-5, max: 1e-1, steps: 9, scale: log}
  momentum:  {values: [0.0, 0.9], when: "optimizer == 'sgd'"}
  optimizer: {values: [adam, sgd]}
  epochs:    {value: 20}
  fold:      {values: [0, 1, 2, 3, 4]}
  width:     {values: [1, 2]}
  depth:     {values: [3, 4]}
zip:     [[width, depth]]
exclude: ["n_trees >= 200 and lr > 1e-2"]
repeats: fold
order: file
run_cap: 1000
data:    s3://my-bucket/wine/
output:  s3://my-bucket/sweeps/
aws:     {read: [s3://bucket/x/], write: []}
resources: {cpu: 1, mem: 2G, gpu: 0}
timeout: 2h
retry:   {max_failures: 2, on_exit_codes: [76], fatal_exit_codes: [64]}
env:     {MODE: fast, HF_HOME: , N: 010, X: 1.50, B: true}
secrets: [WANDB_API_KEY]
workers: {count: 17, spot: true, instance: [c5.xlarge, c5a.xlarge, c6i.xlarge], fallback: on-demand, disk: 100G}
budget:   30 USD
deadline: 6h
notify:  https://hooks.example/x
preempt_signal: usr1
"#;

#[test]
fn the_whole_contract_is_read() {
    let spec = spec(WHOLE);
    assert_eq!(spec.name, "wine-forest");
    assert_eq!(spec.axes.len(), 9);
    assert_eq!(spec.axes[1].values, AxisValues::IntRange { min: 2, step: 2, count: 5 });
    assert_eq!(spec.axes[2].values, AxisValues::Spaced { min: 1e-5, max: 1e-1, count: 9, log: true });
    assert_eq!(spec.axes[3].when.as_ref().map(|when| when.source()), Some("optimizer == 'sgd'"));
    assert_eq!(spec.axes[3].variable.as_deref(), Some("HP_MOMENTUM"));
    assert_eq!(spec.zip, [[7, 8]]);
    assert_eq!((spec.repeats, spec.order, spec.run_cap), (Repeats::Axis(6), Order::File, Some(1_000)));
    let objective = spec.objective.as_ref().unwrap();
    assert_eq!((objective.goal, objective.target), (Goal::Maximize, Some(0.99)));
    assert_eq!(spec.metrics[1].regex.as_deref(), Some(r"F1=(\S+)"));
    assert_eq!(spec.metrics[2].report, Report::Min);
    let env: Vec<_> = spec.env.iter().map(|(name, text)| (name.as_str(), text.as_deref())).collect();
    assert_eq!(
        env,
        [
            ("MODE", Some("fast")),
            ("HF_HOME", None),
            ("N", Some("010")),
            ("X", Some("1.50")),
            ("B", Some("true"))
        ]
    );
    assert_eq!((spec.resources.cpu_milli, spec.resources.mem_mib, spec.resources.gpus), (1_000, 2_048, 0));
    assert_eq!(spec.timeout_ms, Some(7_200_000));
    assert_eq!((spec.retry.on_exit_codes, spec.retry.fatal_exit_codes), (vec![76], vec![64]));
    assert_eq!(spec.preempt_signal.as_deref(), Some("SIGUSR1"));
    assert_eq!(spec.setup.as_deref(), Some("pip install -r requirements.txt"));
    let unserved: Vec<_> = spec.unserved.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(unserved, ["workers", "budget", "deadline", "aws", "notify"]);
}

#[test]
fn json_is_read_by_the_same_parser() {
    let spec = spec(
        r#"{"command": ["x", "${params.a}"], "parameters": {"a": {"values": [1, null, "t", [1], {"k": 2.0}]}}}"#,
    );
    let AxisValues::List(values) = &spec.axes[0].values else { panic!() };
    assert_eq!(values[1..3], [Value::Null, Value::Str("t".to_owned())]);
    assert_eq!(values[4].to_json(), r#"{"k":2.0}"#);
}

#[test]
fn a_file_without_extras_has_the_defaults() {
    let spec = spec("program: train.py\nparameters: {a: {value: 1}}\n");
    assert_eq!(spec.name, "sweep");
    assert_eq!(spec.command, ["python", "train.py", "${args}"]);
    assert_eq!(spec.program.as_deref(), Some("train.py"));
    assert_eq!((spec.repeats, spec.order), (Repeats::Seeds(1), Order::Spread));
    assert_eq!((spec.objective, spec.retry.max_failures, spec.env_prefix.as_str()), (None, 2, "HP_"));
}

#[test]
fn sweeps_of_wandb_load_unchanged() {
    let source = "
program: train.py
method: grid
name: 2024
project: wine
entity: me
description: a sweep
run_cap: 20
metric:
  name: iter_loss (log scale)
  goal: minimize
parameters:
  model.optimizer.lr:
    distribution: categorical
    values: [0.1, 0.01]
  transition-observer: {distribution: constant, value: null}
  val/loss: {distribution: int_uniform, min: 1, max: 4}
  q: {distribution: q_uniform, min: 0, max: 1, q: 0.25}
  model:
    parameters:
      depth: {values: [1, 2]}
      head: {parameters: {width: {value: 3}}}
  layers: {min: 1, max: 3}
command:
  - ${env}
  - ${interpreter}
  - ${program}
  - --out=${envvar:HOME}/x-${params.layers}
  - ${args_no_hyphens}
";
    let spec = spec(source);
    let names: Vec<_> = spec
        .axes
        .iter()
        .map(|axis| (axis.name.as_str(), axis.path.len(), axis.variable.as_deref().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            ("model.optimizer.lr", 1, "HP_MODEL_OPTIMIZER_LR"),
            ("transition-observer", 1, "HP_TRANSITION_OBSERVER"),
            ("val/loss", 1, "HP_VAL_LOSS"),
            ("q", 1, "HP_Q"),
            ("model.depth", 2, "HP_MODEL_DEPTH"),
            ("model.head.width", 3, "HP_MODEL_HEAD_WIDTH"),
            ("layers", 1, "HP_LAYERS"),
        ]
    );
    assert_eq!(spec.axes[2].values, AxisValues::IntRange { min: 1, step: 1, count: 4 });
    assert_eq!(spec.axes[3].values, AxisValues::FloatRange { min: 0.0, step: 0.25, count: 4 });
    assert_eq!(spec.labels.len(), 3);
    assert_eq!(spec.name, "2024");
}

#[test]
fn s21_ranges_say_what_they_hold() {
    let cases = [
        ("{min: 1, max: 3}", AxisValues::IntRange { min: 1, step: 1, count: 3 }),
        ("{min: 3, max: 3}", AxisValues::IntRange { min: 3, step: 1, count: 1 }),
        ("{min: 2, max: 9, step: 3}", AxisValues::IntRange { min: 2, step: 3, count: 3 }),
        ("{min: 0.1, max: 0.3, step: 0.1}", AxisValues::FloatRange { min: 0.1, step: 0.1, count: 3 }),
        ("{min: 0, max: 1, step: 0.1}", AxisValues::FloatRange { min: 0.0, step: 0.1, count: 11 }),
        ("{min: -0.0, max: 1.0, steps: 3}", AxisValues::Spaced { min: 0.0, max: 1.0, count: 3, log: false }),
        ("{min: 1, max: 100, steps: 4}", AxisValues::IntRange { min: 1, step: 33, count: 4 }),
        ("{min: 1, max: 4, steps: 4, scale: linear}", AxisValues::IntRange { min: 1, step: 1, count: 4 }),
        (
            "{min: 1, max: 1000, steps: 4, scale: log}",
            AxisValues::List([1, 10, 100, 1_000].map(Value::Int).to_vec()),
        ),
        (
            "{min: 1e-4, max: 1, steps: 5, scale: log}",
            AxisValues::Spaced { min: 1e-4, max: 1.0, count: 5, log: true },
        ),
        (
            "{min: 0, max: 1.0e+12, steps: 1000000}",
            AxisValues::Spaced { min: 0.0, max: 1e12, count: 1_000_000, log: false },
        ),
        ("{value: -0.0}", AxisValues::List(vec![Value::Float(0.0)])),
        ("{value: 5e-324}", AxisValues::List(vec![Value::Float(5e-324)])),
        (
            "{values: [no, 010]}",
            AxisValues::List(["no", "010"].map(|text| Value::Str(text.to_owned())).to_vec()),
        ),
    ];
    for (body, values) in cases {
        assert_eq!(spec(&axis(body)).axes[0].values, values, "{body}");
    }
    let zero = spec(&axis("{value: -0.0}")).axes.remove(0).values;
    assert!(matches!(zero, AxisValues::List(values) if values[0].to_json() == "0.0"));
}

#[test]
fn s26_hostile_values_are_data() {
    let values = ["$(rm -rf ~)", "`id`", "; curl x", "{{7*7}}", "%s%n", "a\\nb", "'", "-rf", "--x=1"];
    let list: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    let spec = spec(&axis(&format!("{{values: [{}]}}", list.join(", "))));
    let AxisValues::List(got) = &spec.axes[0].values else { panic!() };
    for (got, value) in got.iter().zip(values) {
        assert_eq!(got.to_text().unwrap(), value.replace("\\n", "\n"));
    }
}

#[test]
fn warnings_do_not_refuse() {
    let cases = [
        ("metric: {name: Accuracy}", "sweep::goal"),
        ("metric: {name: val/acc}", "sweep::goal"),
        ("metric: {name: test_f1}", "sweep::goal"),
        ("env: {HF_TOKEN: abc}", "sweep::secret_in_file"),
    ];
    for (lines, code) in cases {
        let parsed = read(&with(lines)).unwrap();
        assert_eq!(parsed.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(), [code], "{lines}");
    }
    let silent = [
        "metric: {name: accident}",
        "metric: {name: loss}",
        "metric: {name: acc, goal: minimize}",
        "env: {HF_TOKEN: }",
    ];
    for lines in silent {
        assert_eq!(read(&with(lines)).unwrap().warnings, [], "{lines}");
    }
    for (body, code) in [
        ("{min: 1, max: 2, step: 5}", "sweep::lone_value"),
        ("{min: 1, max: 100, steps: 5}", "sweep::fractions"),
    ] {
        assert_eq!(read(&axis(body)).unwrap().warnings[0].code, code, "{body}");
    }
}

#[test]
fn scripts_of_a_shell_keep_their_own_variables() {
    let spec = spec(
        "command: [sh, -c, 'echo \"s=${HP_A}\" ${X:-1}; exec \"$@\"', sh, \"${args}\"]\nparameters: {a: {value: 1}}\n",
    );
    assert_eq!(spec.command[2], "echo \"s=${HP_A}\" ${X:-1}; exec \"$@\"");
}

#[test]
fn anchors_stand_for_what_they_name() {
    let spec = spec("command: [x]\nparameters:\n  a: {values: &v [1, 2]}\n  b: {values: *v}\n");
    assert_eq!(spec.axes[0].values, spec.axes[1].values);
}

#[test]
fn s25_a_byte_order_mark_and_crlf_change_nothing() {
    let plain = with("timeout: 2h");
    assert_eq!(spec(&format!("\u{feff}{plain}")), spec(&plain));
    assert_eq!(spec(&plain.replace('\n', "\r\n")), spec(&plain));
    let source = format!("\u{feff}{}", with("timeout: 2x"));
    let errors = errors(&source);
    assert_eq!(&source[errors[0].span.clone().unwrap()], "2x");
}

#[test]
fn the_file_gives_the_name_if_nothing_else_does() {
    let source = with("");
    let named = |stem| {
        parse(source.as_bytes(), &Context { file_stem: stem, count: None }).map(|parsed| parsed.spec.name)
    };
    assert_eq!(named("Wine Forest").as_deref(), Ok("wine-forest"));
    assert!(named("???").unwrap().starts_with("sweep-"));
}

#[test]
fn an_empty_list_of_what_may_be_missing_is_as_good_as_none() {
    for key in ["secrets", "metrics", "exclude", "zip"] {
        assert_eq!(spec(&with(&format!("{key}: []"))), spec(&with("")), "{key}");
    }
    assert_eq!(spec(&with("retry: {on_exit_codes: []}")), spec(&with("")));
}

#[test]
fn the_help_for_an_empty_file_is_a_sweep_file() {
    let help = errors("# nothing yet\n")[0].help.clone().unwrap();
    let (_, lines) = help.split_once('\n').unwrap();
    assert_eq!(spec(lines).axes[0].name, "lr");
}
