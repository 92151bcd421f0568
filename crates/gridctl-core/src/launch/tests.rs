//! Tests of a trial's start: what each macro becomes, and what each part of the environment holds.

use super::*;
use crate::id::{CodeHash, Epoch, Fingerprint, LeaseSeq, SweepId, Token, TrialId};
use crate::spec::{AxisValues, Resources, SweepSpec};
use crate::value::Params;

fn axis(path: &[&str]) -> Axis {
    let name = path.join(".");
    let variable = format!("HP_{}", name.to_uppercase().replace(['.', '-', '/'], "_"));
    let path = path.iter().map(|part| (*part).to_owned()).collect();
    Axis {
        name,
        path,
        variable: Some(variable),
        values: AxisValues::List(vec![Value::Null]),
        when: None,
        was: None,
    }
}

fn frozen(command: &[&str]) -> FrozenSweep {
    let spec = SweepSpec {
        axes: vec![
            axis(&["lr"]),
            axis(&["opt"]),
            axis(&["momentum"]),
            axis(&["bias"]),
            axis(&["depth"]),
            axis(&["model", "width"]),
            axis(&["a.b"]),
            axis(&["model", "act"]),
        ],
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..crate::spec::tests::spec(
            "name: wine\ncommand: ['true']\nsecrets: [WANDB_API_KEY]\n\
            resources: {cpu: 2, mem: 2GiB}\nparameters: {x: {value: 1}}\n",
        )
    };
    FrozenSweep {
        uuid: "u".into(),
        spec,
        source: String::new(),
        file: None,
        sources: crate::protocol::Sources { base: "/home/me".into(), code: None, data: None },
        output: crate::output::Output::InDataDir,
        env: vec![("MODE".into(), "fast".into()), ("HF_TOKEN".into(), "hf".into())],
        code: CodeHash([0; 10]),
        reader: crate::metrics::READER_RULE,
        files: vec![],
    }
}

fn grant(params: &str) -> Grant {
    let params: Params = serde_json::from_str(params).unwrap();
    let trial = TrialId::of(&params, 1);
    Grant {
        token: Token { epoch: Epoch(1), lease: LeaseSeq(7), attempt: 3 },
        sweep: SweepId(1),
        version: 1,
        trial,
        index: 42,
        params,
        repeat: 1,
        fingerprint: Fingerprint::of(trial, CodeHash([0; 10])),
        resources: Resources { cpu_milli: 2_000, mem_mib: 2_048, gpus: 0 },
    }
}

fn site() -> Site {
    Site {
        entrypoint: Vec::new(),
        own_command: Vec::new(),
        gridctl: "/opt/gridctl".into(),
        interpreter: "python".into(),
        metrics_file: "/s/metrics.jsonl".into(),
        params_file: "/s/params.json".into(),
        wandb_params_file: "/s/wandb.yaml".into(),
        output_dir: "/s/out".into(),
        checkpoint_dir: "/s/ckpt".into(),
        cache_dir: "/cache".into(),
        data_dir: None,
        cpus: 2,
        mem_mib: 2_048,
        gpus: vec![],
    }
}

/// A trial in which `momentum` is absent and `depth` null.
const PARAMS: &str =
    r#"{"lr":1e-5,"opt":"adam","bias":true,"depth":null,"model.width":64,"a.b":[1,"x"],"model.act":"relu"}"#;

fn base(frozen: &FrozenSweep, caller: &[(&str, &str)]) -> BaseEnv {
    BaseEnv::new(frozen, pairs(caller))
}

fn pairs<'a>(vars: &'a [(&str, &str)]) -> impl Iterator<Item = (String, String)> + 'a {
    vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

fn argv_of(frozen: &FrozenSweep, params: &str) -> Result<Vec<String>, LaunchError> {
    Launch::new(frozen, &grant(params), &site())
        .argv(&base(frozen, &[("HOME", "/home/me"), ("MY_TOKEN", "t")]))
}

fn argv(command: &[&str]) -> Vec<String> {
    argv_of(&frozen(command), PARAMS).unwrap()
}

/// What a shell is to expand, and nobody else.
const SHELL: [&str; 3] = ["sh", "-c", "a ${HP_LR} $HP_LR ${X:-${Y}} $$"];

#[test]
fn each_macro_becomes_whole_arguments() {
    let json = r#"{"lr":0.00001,"opt":"adam","bias":true,"depth":null,"model":{"width":64,"act":"relu"},"a.b":[1,"x"]}"#;
    let cases: Vec<(&[&str], Vec<&str>)> = vec![
        (&["gridctl", "train", "gridctl"], vec!["/opt/gridctl", "train", "gridctl"]),
        (&["${env}", "${interpreter}", "x.py"], vec!["/usr/bin/env", "python", "x.py"]),
        (
            &["t", "${args}"],
            vec![
                "t",
                "--lr=0.00001",
                "--opt=adam",
                "--bias=true",
                "--model.width=64",
                r#"--a.b=[1,"x"]"#,
                "--model.act=relu",
            ],
        ),
        (
            &["t", "${args_no_hyphens}"],
            vec![
                "t",
                "lr=0.00001",
                "opt=adam",
                "bias=true",
                "model.width=64",
                r#"a.b=[1,"x"]"#,
                "model.act=relu",
            ],
        ),
        (
            &["t", "${args_no_boolean_flags}"],
            vec![
                "t",
                "--lr=0.00001",
                "--opt=adam",
                "--bias",
                "--model.width=64",
                r#"--a.b=[1,"x"]"#,
                "--model.act=relu",
            ],
        ),
        (
            &["t", "${args_hydra}"],
            vec![
                "t",
                "lr=0.00001",
                "opt=adam",
                "bias=true",
                "depth=null",
                "model.width=64",
                "a.b=[1,x]",
                "model.act=relu",
                "hydra.run.dir='/s/out'",
            ],
        ),
        (&["t", "${args_json}", "--c=${args_json_file}"], vec!["t", json, "--c=/s/params.json"]),
        (&["t", "--out=${params.lr}/${params.opt}.d"], vec!["t", "--out=0.00001/adam.d"]),
        (&["t", "${params.momentum}", "--m=${params.momentum}", "x"], vec!["t", "x"]),
        (&["t", "${params.depth}"], vec!["t", "null"]),
        (
            &["t", "${envvar:GRID_ATTEMPT}", "${envvar:HOME}/x", "${envvar:MODE}"],
            vec!["t", "3", "/home/me/x", "fast"],
        ),
        (&SHELL, SHELL.to_vec()),
        (&["t", "", "${", "$", "{}"], vec!["t", "", "${", "$", "{}"]),
    ];
    for (command, expected) in cases {
        assert_eq!(argv(command), expected, "{command:?}");
    }
}

#[test]
fn each_trial_of_hydras_has_a_run_directory_of_its_own_unless_one_is_named() {
    let last = |command: &[&str], params: &str| argv_of(&frozen(command), params).unwrap().pop().unwrap();
    let named = ["hydra.run.dir=.", "++hydra.run.dir=x", "hydra.sweep.dir=x", "hydra.run={dir: x}"];
    for word in named {
        assert_eq!(last(&["t", word, "${args_hydra}"], r#"{"lr":1}"#), "lr=1", "{word}");
    }
    assert_eq!(last(&["t", "${args_hydra}"], r#"{"hydra.run.dir":"x"}"#), "hydra.run.dir=x");
    for word in ["hydra.job.chdir=true", "hydra/job_logging=disabled"] {
        let own = last(&["t", word, "${args_hydra}"], r#"{"lr":1}"#);
        assert_eq!(own, "hydra.run.dir='/s/out'", "{word}");
    }
    assert_eq!(last(&["t", "${args_no_hyphens}"], r#"{"lr":1}"#), "lr=1");
}

#[test]
fn with_a_program_values_print_as_python_prints_them() {
    let mut sweep = frozen(&["${env}", "${interpreter}", "${program}", "${args}"]);
    sweep.spec.program = Some("train.py".into());
    let expected = [
        "/usr/bin/env",
        "python",
        "train.py",
        "--lr=1e-05",
        "--opt=adam",
        "--bias=True",
        "--depth=None",
        "--model.width=64",
        "--a.b=[1, 'x']",
        "--model.act=relu",
    ];
    assert_eq!(argv_of(&sweep, PARAMS).unwrap(), expected);
}

#[test]
fn a_macro_that_cannot_be_expanded_is_an_error_with_a_remedy() {
    let cases: [(&[&str], &str, &str); 7] = [
        (&[], "the command is empty", "command"),
        (&["t", "${agrs}"], "unknown macro `${agrs}`", "did you mean `${args}`?"),
        (&["t", "--x ${args}"], "`${args}` makes several arguments", "element of its own"),
        (&["t", "${program}"], "no `program:`", "program: train.py"),
        (&["t", "x${params.opz}"], "no parameter `opz`", "did you mean `${params.opt}`?"),
        (&["t", "${envvar:NOPE}"], "no variable `NOPE`", "secrets: [NOPE]"),
        (&["t", "${envvar:MY_TOKEN}"], "no variable `MY_TOKEN`", "secrets: [MY_TOKEN]"),
    ];
    for (command, error, help) in cases {
        let found = argv_of(&frozen(command), PARAMS).unwrap_err();
        assert!(found.to_string().contains(error), "{command:?}: {found}");
        assert!(found.help().contains(help), "{command:?}: {}", found.help());
        let at_check = check_command(&frozen(command).spec);
        let too_early = matches!(found, LaunchError::Empty | LaunchError::Unset { .. });
        assert_eq!(at_check, if too_early { Ok(()) } else { Err(found) }, "{command:?}");
    }
}

#[test]
fn s26_a_value_is_one_argument_whatever_it_contains() {
    for nasty in [
        "$(rm -rf ~)",
        "`id`",
        "; curl x",
        "{{7*7}}",
        "%s%n",
        "a\nb",
        "${args}",
        "${envvar:HOME}",
        "-rf",
        "' \"",
    ] {
        let params = serde_json::json!({ "opt": nasty }).to_string();
        let sweep = frozen(&["t", "${args}", "${params.opt}", "${args_json}", "x=${params.opt}"]);
        let expected = ["t", &format!("--opt={nasty}"), nasty, &params, &format!("x={nasty}")];
        assert_eq!(argv_of(&sweep, &params).unwrap(), expected, "{nasty:?}");
        let grant = grant(&params);
        let env = Launch::new(&sweep, &grant, &site()).env(&base(&sweep, &[]));
        assert!(env.contains(&("HP_OPT".into(), nasty.into())), "{nasty:?}");
        assert!(env.contains(&("GRID_PARAMS".into(), params)), "{nasty:?}");
    }
}

#[test]
fn s28_what_linux_cannot_pass_on_is_an_error_before_anything_starts() {
    let long = serde_json::json!({ "opt": "x".repeat(MAX_ARGUMENT) }).to_string();
    assert!(matches!(argv_of(&frozen(&["t"]), &long), Err(LaunchError::TooLong { .. })));
    let nul = r#"{"opt":"a\u0000b"}"#;
    assert_eq!(argv_of(&frozen(&["t"]), nul), Err(LaunchError::Nul { what: "`HP_OPT`".into() }));
}

#[test]
fn the_base_is_the_callers_environment_less_what_is_dropped_plus_what_is_declared() {
    let caller = [
        ("PATH", "/bin"),
        ("VIRTUAL_ENV", "/venv"),
        ("GRIDCTL_TOKEN", "x"),
        ("AWS_PROFILE", "x"),
        ("GITHUB_TOKEN", "x"),
        ("OPENAI_API_KEY", "x"),
        ("client_secret", "x"),
        ("PGPASSWORD", "x"),
        ("DB_PASSWORD_FILE", "x"),
        ("WANDB_API_KEY", "secret"),
        ("HF_TOKEN", "another"),
        ("HP_MOMENTUM", "of an outer sweep"),
        ("GRID_DATA_DIR", "of an outer sweep"),
        ("GRID_ENGINE", "mine"),
        ("MONKEY", "fine"),
    ];
    let sweep = frozen(&["t"]);
    let base = base(&sweep, &caller);
    let kept: Vec<(&str, &str)> = base.iter().collect();
    let expected = [
        ("GRID_ENGINE", "mine"),
        ("HF_TOKEN", "hf"),
        ("MODE", "fast"),
        ("MONKEY", "fine"),
        ("PATH", "/bin"),
        ("VIRTUAL_ENV", "/venv"),
        ("WANDB_API_KEY", "secret"),
    ];
    assert_eq!(kept, expected);
    let names = [
        "AWS_PROFILE",
        "DB_PASSWORD_FILE",
        "GITHUB_TOKEN",
        "GRIDCTL_TOKEN",
        "OPENAI_API_KEY",
        "PGPASSWORD",
        "client_secret",
    ];
    assert_eq!(dropped(&sweep, pairs(&caller)), names);
}

#[test]
fn c07_the_values_of_secrets_are_masked_and_those_of_other_variables_are_not() {
    let mut sweep = frozen(&["t", "--key=${envvar:WANDB_API_KEY}", "${envvar:HF_TOKEN}", "${envvar:MODE}"]);
    sweep.spec.env = vec![("MODE".into(), Some("fast".into())), ("HF_TOKEN".into(), None)];
    sweep.env = vec![("MODE".into(), "fast".into()), ("HF_TOKEN".into(), "hf_passed_on".into())];
    let base = base(&sweep, &[("WANDB_API_KEY", "0123456789"), ("HOME", "/home/someone")]);
    let secrets = base.secrets(&sweep);
    assert_eq!(secrets.mask("0123456789 hf_passed_on /home/someone fast"), "*** *** /home/someone fast");
    let grant = grant(PARAMS);
    let argv = |base: &BaseEnv| Launch::new(&sweep, &grant, &site()).argv(base).unwrap();
    assert_eq!(argv(&base), ["t", "--key=0123456789", "hf_passed_on", "fast"]);
    assert_eq!(
        argv(&base.shown(&sweep, |name| format!("<{name}>"))),
        ["t", "--key=<WANDB_API_KEY>", "<HF_TOKEN>", "fast"]
    );
}

#[test]
fn a_trial_finds_its_parameters_its_identity_and_its_place_in_the_environment() {
    let sweep = frozen(&["t"]);
    let grant = grant(PARAMS);
    let env = Launch::new(&sweep, &grant, &site())
        .env(&base(&sweep, &[("HP_DEPTH", "9"), ("OMP_NUM_THREADS", "64")]));
    let get = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let trial = grant.trial.to_string();
    let cases = [
        ("HP_LR", Some("0.00001")),
        ("HP_OPT", Some("adam")),
        ("HP_BIAS", Some("true")),
        ("HP_DEPTH", None),
        ("HP_MOMENTUM", None),
        ("HP_MODEL_WIDTH", Some("64")),
        ("HP_A_B", Some(r#"[1,"x"]"#)),
        ("GRID_PARAMS_FILE", Some("/s/params.json")),
        ("WANDB_SWEEP_PARAM_PATH", Some("/s/wandb.yaml")),
        ("GRID_METRICS_FILE", Some("/s/metrics.jsonl")),
        ("GRID_OUTPUT_DIR", Some("/s/out")),
        ("GRID_CHECKPOINT_DIR", Some("/s/ckpt")),
        ("GRID_CACHE_DIR", Some("/cache")),
        ("GRID_DATA_DIR", None),
        ("GRID_SWEEP", Some("wine")),
        ("GRID_TRIAL", Some(trial.as_str())),
        ("GRID_TRIAL_INDEX", Some("42")),
        ("GRID_ATTEMPT", Some("3")),
        ("GRID_REPEAT", Some("1")),
        ("GRID_CPUS", Some("2")),
        ("GRID_MEM_MB", Some("2048")),
        ("GRID_GPUS", None),
        ("OMP_NUM_THREADS", Some("2")),
        ("MKL_NUM_THREADS", Some("2")),
        ("CUDA_VISIBLE_DEVICES", None),
        ("PYTHONUNBUFFERED", Some("1")),
        ("MODE", Some("fast")),
    ];
    for (name, expected) in cases {
        assert_eq!(get(name), expected, "{name}");
    }
    assert!(env.is_sorted_by(|a, b| a.0 < b.0), "sorted, and each name once");
}

#[test]
fn devices_data_and_no_memory_limit_show_in_the_environment_and_the_files_word_goes_before_defaults() {
    let mut sweep = frozen(&["t"]);
    sweep.env.push(("OMP_NUM_THREADS".into(), "1".into()));
    sweep.spec.shares_gpus = false;
    let site = Site {
        data_dir: Some("/data".into()),
        mem_mib: 0,
        gpus: vec!["0".into(), "GPU-5d".into()],
        ..site()
    };
    let grant = grant(PARAMS);
    let env = Launch::new(&sweep, &grant, &site).env(&base(&sweep, &[]));
    let get = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(get("CUDA_VISIBLE_DEVICES"), Some("0,GPU-5d"));
    assert_eq!(get("GRID_GPUS"), Some("2"));
    assert_eq!(get("GRID_DATA_DIR"), Some("/data"));
    assert_eq!(get("GRID_MEM_MB"), None);
    assert_eq!(get("OMP_NUM_THREADS"), Some("1"));
    assert_eq!(get("MKL_NUM_THREADS"), Some("2"));
}

#[test]
fn gpus_of_which_the_file_says_nothing_stay_as_the_caller_sees_them() {
    let caller = [("CUDA_VISIBLE_DEVICES", "1")];
    let (grant, site) = (grant(PARAMS), site());
    for (shares, expected) in [(true, "1"), (false, "")] {
        let mut sweep = frozen(&["t"]);
        sweep.spec.shares_gpus = shares;
        let env = Launch::new(&sweep, &grant, &site).env(&base(&sweep, &caller));
        let seen = env.iter().find(|(name, _)| name == "CUDA_VISIBLE_DEVICES");
        assert_eq!(seen.map(|(_, value)| value.as_str()), Some(expected));
    }
}

#[test]
fn every_macro_is_explained() {
    let mut explained: Vec<&str> = MACROS.iter().map(|(name, _)| *name).collect();
    let mut known: Vec<&str> = macros::known().collect();
    explained.sort_unstable();
    known.sort_unstable();
    assert_eq!(explained, known);
}

#[test]
fn dashes_stand_for_underscores() {
    let argv = argv_of(&frozen(&["t", "${args_dashes}"]), r#"{"n_neighbors": 5, "a": "b_c"}"#);
    assert_eq!(argv.unwrap(), ["t", "--n-neighbors=5", "--a=b_c"]);
    let both = frozen(&["t", "${args_dashes_no_boolean_flags}"]);
    let argv = argv_of(&both, r#"{"n_neighbors": 5, "use_amp": true, "bare": false}"#);
    assert_eq!(argv.unwrap(), ["t", "--n-neighbors=5", "--use-amp"]);
}

#[test]
fn the_seed_depends_on_the_repeat_alone_and_fits_every_library() {
    let sweep = frozen(&["t"]);
    let seed = |params: &str, repeat: u32, attempt: u32| {
        let mut grant = Grant { repeat, ..grant(params) };
        grant.token.attempt = attempt;
        let env = Launch::new(&sweep, &grant, &site()).trial_env();
        let (_, seed) = env.into_iter().find(|(name, _)| name == "GRID_SEED").unwrap();
        seed.parse::<i32>().unwrap()
    };
    assert_eq!(seed(PARAMS, 1, 1), seed(r#"{"lr":1.0}"#, 1, 9));
    let mut seeds: Vec<i32> = (0..100).map(|repeat| seed(PARAMS, repeat, 1)).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 100);
    assert!(seeds[0] >= 0);
}

#[test]
fn the_files_hold_the_parameters_typed_and_nested() {
    let sweep = frozen(&["t"]);
    let grant = grant(PARAMS);
    let site = site();
    let launch = Launch::new(&sweep, &grant, &site);
    let yaml = "wandb_version: 1\n\n\
        \"lr\": {\"value\": 1.0e-05}\n\
        \"opt\": {\"value\": \"adam\"}\n\
        \"bias\": {\"value\": true}\n\
        \"depth\": {\"value\": null}\n\
        \"model\": {\"value\": {\"width\": 64, \"act\": \"relu\"}}\n\
        \"a.b\": {\"value\": [1, \"x\"]}\n";
    assert_eq!(launch.wandb_yaml(), yaml);
    let blocked = r#"{"model.width":1,"model.act":{"x":null}}"#;
    let grant = self::grant(blocked);
    let launch = Launch::new(&sweep, &grant, &site);
    assert_eq!(launch.params_json(), r#"{"model":{"width":1,"act":{"x":null}}}"#);
}
