//! Files that are refused: the code, the very bytes that are pointed at, and words that help.

use super::*;

/// (file, code, what is pointed at, what message or help says)
type Case<'a> = (String, &'a str, &'a str, &'a str);

fn check(cases: &[Case<'_>]) {
    for (source, code, at, says) in cases {
        let errors = errors(source);
        let shown = render(source, &errors);
        let Some(error) = errors.iter().find(|error| error.code == *code) else {
            panic!("no {code} in\n{shown}\n---\n{source}")
        };
        let got = error.span.clone().map_or("", |span| &source[span]);
        assert_eq!(got, *at, "{shown}\n---\n{source}");
        let text = format!("{}\n{}", error.message, error.help.clone().unwrap_or_default());
        assert!(text.contains(says), "`{says}` is not in\n{shown}\n---\n{source}");
        assert_eq!(errors.len(), 1, "one mistake, one error:\n{shown}\n---\n{source}");
    }
}

#[test]
fn s23_a_misspelt_key_is_named_with_the_one_that_was_meant() {
    check(&[
        (with("timout: 2h"), "sweep::unknown_key", "timout", "did you mean `timeout`?"),
        (with("seeds: 3"), "sweep::unknown_key", "seeds", "did you mean `repeats`?"),
        (with("colour: red"), "sweep::unknown_key", "colour", "known here: `name`"),
        (with("resources: {memory: 2G}"), "sweep::unknown_key", "memory", "did you mean `mem`?"),
        (with("metric: {name: a, goel: maximize}"), "sweep::unknown_key", "goel", "did you mean `goal`?"),
        (
            "command: [x]\nparamters: {a: {value: 1}}\n".into(),
            "sweep::unknown_key",
            "paramters",
            "`parameters`",
        ),
        ("comand: [x]\nparameters: {a: {value: 1}}\n".into(), "sweep::unknown_key", "comand", "`command`"),
        (axis("{vales: [1]}"), "sweep::unknown_key", "vales", "did you mean `values`?"),
    ]);
}

#[test]
fn s22_what_is_there_twice_is_shown_twice() {
    let cases = [
        (with("timeout: 1h\ntimeout: 2h"), "sweep::duplicate_key", "timeout", "twice"),
        (
            "command: [x]\nparameters: {a.b: {value: 1}, a: {parameters: {b: {value: 2}}}}".into(),
            "sweep::duplicate_parameter",
            "b",
            "two parameters `a.b`",
        ),
        (with("env: {HP_A: 1}"), "sweep::variable_collision", "HP_A", "the parameter `a`"),
        (with("env: {K: 1}\nsecrets: [K]"), "sweep::variable_collision", "K", "`env`"),
        (with("metrics: [x, y, x]"), "sweep::duplicate_metric", "x", "declared twice"),
        (with("retry: {on_exit_codes: [9], fatal_exit_codes: [9]}"), "sweep::exit_code", "9", "twice"),
        (with("zip: [[a, b], [b, a]]"), "sweep::zip", "b", "twice"),
    ];
    check(&cases);
    for (source, ..) in &cases {
        let related = &errors(source)[0].related;
        assert_eq!(related.len(), 1, "{source}");
    }
}

#[test]
fn a_parameter_in_braces_is_led_to_its_macro() {
    let command = |word: &str| format!("command: [python, \"{word}\"]\nparameters: {{lr: {{value: 1}}}}\n");
    check(&[
        (command("${lr}"), "sweep::unknown_macro", "${lr}", "write \"${params.lr}\""),
        (command("--rate=${lr}"), "sweep::unknown_macro", "${lr}", "write \"${params.lr}\""),
    ]);
}

#[test]
fn the_first_mistakes_of_a_newcomer_say_what_to_write() {
    let macros = |word: &str| format!("command: [python, {word}]\nparameters: {{lr: {{value: 1}}}}\n");
    check(&[
        (macros("${args}"), "sweep::unquoted_macro", "${args}", "quote it: \"${args}\""),
        (macros("train.py, ${params.lr}, x"), "sweep::unquoted_macro", "${params.lr}", "quote it"),
        (
            "command: [python,\n  train.py,\n  ${args}]\nparameters: {a: {value: 1}}".into(),
            "sweep::unquoted_macro",
            "${args}",
            "quote it",
        ),
        (macros("{args}"), "sweep::unquoted_macro", "{args}", "quote it: \"${args}\""),
        (macros("\"${arg}\""), "sweep::unknown_macro", "${arg}", "did you mean `${args}`?"),
        (macros("\"${LR}\""), "sweep::unknown_macro", "${LR}", "${envvar:LR}"),
        (macros("\"--x=${args}\""), "sweep::macro", "${args}", "must stand alone"),
        (macros("\"${params.rl}\""), "sweep::unknown_parameter", "${params.rl}", "did you mean `lr`?"),
        (macros("\"${program}\""), "sweep::macro", "${program}", "no `program`"),
        (macros("\"x${args\""), "sweep::macro", "${args", "is missing"),
        (macros("-c, \"print(${params.lr})\""), "sweep::macro_in_script", "${params.lr}", "os.environ"),
        (
            "command: [bash, -lc, \"t ${args}\"]\nparameters: {a: {value: 1}}".into(),
            "sweep::macro_in_script",
            "${args}",
            "$@",
        ),
        (
            "command: python train.py ${args}\nparameters: {a: {value: 1}}".into(),
            "sweep::command_string",
            "python train.py ${args}",
            "[python, train.py, \"${args}\"]",
        ),
        ("command: a | b\nparameters: {a: {value: 1}}".into(), "sweep::command_string", "a | b", "[sh, -c"),
        ("command: []\nparameters: {a: {value: 1}}".into(), "sweep::empty", "[]", "empty list"),
        ("command: ['']\nparameters: {a: {value: 1}}".into(), "sweep::empty", "''", "first word"),
        ("parameters: {a: {value: 1}}".into(), "sweep::no_command", "", "command: [python"),
        ("command: [x]".into(), "sweep::no_parameters", "", "parameters:"),
        ("command: [x]\nparameters: {}".into(), "sweep::no_parameters", "{}", "at least one"),
        (
            "command: [x]\nparameters: {lr: [0.1, 0.2]}".into(),
            "sweep::bare_parameter",
            "[0.1, 0.2]",
            "`lr: {values: [0.1, 0.2]}`",
        ),
        ("command: [x]\nparameters: {lr: 0.1}".into(), "sweep::bare_parameter", "0.1", "`lr: {value: 0.1}`"),
        ("command: [x]\nparameters: {lr: }".into(), "sweep::bare_parameter", "lr", "value: null"),
        (
            "command: [x]\nparameters: {m: {lr: {value: 1}}}".into(),
            "sweep::unknown_key",
            "lr",
            "m: {parameters: {lr: ...}}",
        ),
        (with("metric: loss"), "sweep::wrong_type", "loss", "metric: {name: loss, goal: minimize}"),
        (with("metric: {goal: maximize}"), "sweep::missing_key", "{goal: maximize}", "name: loss"),
        (with("metric: {name: x, goal: max}"), "sweep::unknown_word", "max", "goal: maximize"),
        (
            with("metric: {name: x, goal: maximzie}"),
            "sweep::unknown_word",
            "maximzie",
            "did you mean `maximize`",
        ),
        (with("zip: [a, b]"), "sweep::wrong_type", "[a, b]", "zip: [[a, b]]"),
        (with("timeout:"), "sweep::wrong_type", "timeout", "has no value"),
        (with("timeout: 90"), "sweep::unit", "90", "`90s` for seconds"),
        (with("timeout: 1:30"), "sweep::unit", "1:30", "1h30m"),
        (with("budget: 30"), "sweep::unit", "30", "30 USD"),
        (with("secrets: {A: b}"), "sweep::wrong_type", "{A: b}", "secrets: [WANDB_API_KEY]"),
        (with("secrets: ['A=b']"), "sweep::variable", "'A=b'", "name alone"),
        (with("env: [A=b]"), "sweep::wrong_type", "[A=b]", "env: {MODE: fast"),
        (with("retry: {on_exit_codes: 75}"), "sweep::wrong_type", "75", "on_exit_codes: [75]"),
    ]);
}

#[test]
fn wandb_searches_that_are_no_grid_say_what_to_write() {
    check(&[
        (with("method: bayes"), "sweep::method", "bayes", "method: random"),
        (with("method: randon"), "sweep::method", "randon", "did you mean `random`?"),
        (
            with("early_terminate: {type: hyperband}"),
            "sweep::early_terminate",
            "early_terminate",
            "remove it",
        ),
        (
            with("method: random\ntrials: 3\nearly_terminate: {type: hyperband}"),
            "sweep::early_terminate",
            "early_terminate",
            "remove it",
        ),
        (with("trials: 3"), "sweep::count", "trials", "run_cap"),
        (with("seed: 3"), "sweep::count", "seed", "run_cap"),
        (
            axis("{distribution: uniform, min: 0.1, max: 0.9}"),
            "sweep::random",
            "uniform",
            "{min: 0.1, max: 0.9, steps: 10}",
        ),
        (
            axis("{distribution: log_uniform_values, min: 1e-5, max: 1e-1}"),
            "sweep::random",
            "log_uniform_values",
            "scale: log",
        ),
        (axis("{distribution: normal, mu: 1, sigma: 2}"), "sweep::random", "normal", "at random"),
        (
            axis("{distribution: categoric, values: [1]}"),
            "sweep::unknown_word",
            "categoric",
            "did you mean `categorical`?",
        ),
        (axis("{distribution: constant, values: [1]}"), "sweep::conflict", "constant", "needs `value`"),
        (axis("{min: 0.1, max: 1.0}"), "sweep::continuous", "0.1, max: 1.0", "steps: 10"),
        (axis("{min: 0, max: 1.0}"), "sweep::continuous", "0, max: 1.0", "steps: 10"),
        (axis("{min: 0, max: 1, q: 1}"), "sweep::conflict", "q", "`step`"),
    ]);
}

#[test]
fn s21_what_is_no_range_is_refused() {
    check(&[
        (axis("{min: 0, max: 9, step: 0}"), "sweep::step", "0", "above 0"),
        (axis("{min: 0, max: 9, step: -1}"), "sweep::step", "-1", "above 0"),
        (axis("{min: 0, max: 1, step: 0.0}"), "sweep::step", "0.0", "above 0"),
        (axis("{min: 5, max: 2}"), "sweep::empty_range", "5", "swap"),
        (axis("{min: .nan, max: 2, steps: 3}"), "sweep::number", ".nan", "NaN"),
        (axis("{min: 0, max: .inf, steps: 3}"), "sweep::number", ".inf", "infinite"),
        (axis("{value: 1e309}"), "sweep::number", "1e309", "too large"),
        (axis("{value: 1e-400}"), "sweep::number", "1e-400", "too small"),
        (axis("{value: 9223372036854775808}"), "sweep::number", "9223372036854775808", "too large"),
        (
            axis("{value: 123456789012345678901234567890}"),
            "sweep::number",
            "123456789012345678901234567890",
            "too large",
        ),
        (axis("{min: 0.0, max: 1, steps: 3, scale: log}"), "sweep::range", "3", "above 0"),
        (axis("{min: -1e308, max: 1e308, steps: 3}"), "sweep::range", "3", "wider"),
        (axis("{min: -1e308, max: 1e308, step: 1e300}"), "sweep::limit", "1e300", "2^53"),
        (axis("{min: 0.5, max: 1, steps: 1}"), "sweep::range", "1", "`steps: 2`"),
        (axis("{min: 0.5, max: 0.5, steps: 4}"), "sweep::range", "4", "equal"),
        (axis("{min: 0, max: 1, steps: 0}"), "sweep::out_of_range", "0", "from 1 to"),
        (axis("{min: 0, max: 1.5, step: 5e-324}"), "sweep::limit", "5e-324", "2^53"),
        (axis("{min: 1000000.0, max: 1000001.0, step: 1e-9}"), "sweep::duplicate_value", "1e-9", "12 digits"),
        (axis("{min: 1}"), "sweep::missing_key", "min", "without `max`"),
        (axis("{step: 1}"), "sweep::missing_key", "step", "without `min`"),
        (axis("{min: 0, max: 1, step: 1, steps: 2}"), "sweep::conflict", "steps", "both"),
        (axis("{values: [1], min: 0}"), "sweep::conflict", "min", "both `values` and `min`"),
        (axis("{values: [1], value: 0}"), "sweep::conflict", "value", "both"),
        (axis("{min: 0.1, max: 1, scale: log}"), "sweep::conflict", "log", "steps: 10"),
        (
            axis("{min: 0.1, max: 1, steps: 2, scale: logg}"),
            "sweep::unknown_word",
            "logg",
            "did you mean `log`",
        ),
        (axis("{min: 1_000, max: 2000}"), "sweep::wrong_type", "1_000", "write `1000`"),
        (axis("{min: 0o17, max: 2000}"), "sweep::wrong_type", "0o17", "write `15`"),
        (axis("{min: '1', max: 2}"), "sweep::wrong_type", "'1'", "in quotes it is text"),
        (axis("{values: []}"), "sweep::empty", "[]", "empty list"),
        (axis("{values: 3}"), "sweep::wrong_type", "3", "values: [3]"),
        (axis("{when: 'true'}"), "sweep::no_values", "{when: 'true'}", "no values"),
    ]);
}

#[test]
fn expressions_point_at_the_name_within_the_text() {
    check(&[
        (with("exclude: ['a > 1 and bb > 1']"), "sweep::unknown_parameter", "bb", "known here: `a`, `b`"),
        (with("exclude: 'a > '"), "sweep::expression", ">", "expected"),
        (with("exclude: [a > 1]\nzip: [[a, c]]"), "sweep::unknown_parameter", "c", "`zip` names `c`"),
        (
            "command: [x]\nexclude: ['val/loss > 1']\nparameters: {val/loss: {value: 1}, loss: {value: 2}}"
                .into(),
            "sweep::unknown_parameter",
            "val",
            "backticks: `val/loss`",
        ),
        (with("exclude: ['a / 0 > 1']"), "sweep::unusable", "exclude", "division by zero"),
        (with("exclude: [5]"), "sweep::wrong_type", "5", "an expression"),
        (
            "command: [x]\nparameters:\n  opt: {values: [1, 2]}\n  m: {value: 1, when: opts == 1}".into(),
            "sweep::unknown_parameter",
            "opts",
            "did you mean `opt`?",
        ),
        (
            "command: [x]\nparameters:\n  a: {value: 1, when: b == 1}\n  b: {value: 1, when: a == 1}".into(),
            "sweep::when_cycle",
            "b == 1",
            "`a` depends on `b` depends on `a`",
        ),
        (
            "command: [x]\nparameters:\n  a: {value: 1, when: a == 1}".into(),
            "sweep::when_cycle",
            "a == 1",
            "circle",
        ),
    ]);
}

#[test]
fn relations_between_axes_are_checked() {
    let three = |lines: &str| {
        format!(
            "command: [x]\nparameters:\n  a: {{values: [1, 2]}}\n  b: {{values: [1, 2, 3]}}\n  c: {{values: [1, 2], when: a == 1}}\n{lines}\n"
        )
    };
    check(&[
        (three("zip: [[a, b]]"), "sweep::zip", "b", "`a` has 2 values and `b` has 3"),
        (three("zip: [[a, c]]"), "sweep::zip", "c", "`when` differs"),
        (three("zip: [[a]]"), "sweep::zip", "[a]", "takes two"),
        (three("zip: [[]]"), "sweep::empty", "[]", "empty"),
        (three("repeats: c"), "sweep::repeats", "c", "has a `when`"),
        (three("repeats: a"), "sweep::repeats", "a", "`when` of `c` depends on it"),
        (three("repeats: b\nexclude: [b > 1]"), "sweep::repeats", "b", "`exclude` depends on it"),
        (three("repeats: bb"), "sweep::unknown_parameter", "bb", "no parameter"),
        (three("repeats: 0"), "sweep::out_of_range", "0", "from 1 to 10000"),
        (three("repeats: [b]"), "sweep::wrong_type", "[b]", "a number of seeds"),
        (three("order: random"), "sweep::unknown_word", "random", "`spread`, `file`"),
        (three("run_cap: 0"), "sweep::out_of_range", "0", "at least 1"),
        (with("zip: [[a, b]]\nrepeats: a"), "sweep::repeats", "a", "it is in `zip`"),
    ]);
}

#[test]
fn names_and_variables_are_checked() {
    check(&[
        (with("name: ../x"), "sweep::name", "../x", "name: x"),
        (with("name: \"a\\u202eb\""), "sweep::name", "\"a\\u202eb\"", "U+202E"),
        (with("name: \"\""), "sweep::name", "\"\"", "empty"),
        (with("env: {1A: x}"), "sweep::variable", "1A", "no name of a variable"),
        (with("env: {GRID_TRIAL: x}"), "sweep::variable", "GRID_TRIAL", "belongs to gridctl"),
        (with("env: {A: [1]}"), "sweep::wrong_type", "[1]", "not text"),
        (with("env: {A: \"x\\0\"}"), "sweep::nul", "\"x\\0\"", "NUL"),
        (with("env_prefix: 1"), "sweep::wrong_type", "1", "text"),
        (with("env_prefix: 'a-'"), "sweep::env_prefix", "'a-'", "letters"),
        (with("env_prefix: AWS_"), "sweep::env_prefix", "AWS_", "something else"),
        (
            "command: [x]\nenv_prefix: ''\nparameters: {path: {value: 1}}".into(),
            "sweep::denied_variable",
            "path",
            "`PATH`",
        ),
        (
            "command: [x]\nenv_prefix: ''\nparameters: {ld_preload: {value: 1}}".into(),
            "sweep::denied_variable",
            "ld_preload",
            "rename",
        ),
        (
            "command: [x]\nenv_prefix: ''\nparameters: {2x: {value: 1}}".into(),
            "sweep::denied_variable",
            "2x",
            "digit",
        ),
        ("command: [x]\nparameters: {a=b: {value: 1}}".into(), "sweep::parameter_name", "a=b", "`=`"),
        ("command: [x]\nparameters: {'': {value: 1}}".into(), "sweep::parameter_name", "''", "empty"),
        (with("metrics: ['']"), "sweep::metric_name", "''", "empty"),
        (with("metrics: [{name: x, regex: 'x=1'}]"), "sweep::regex", "'x=1'", "no group"),
        (with("metrics: [{name: x, regex: '(x'}]"), "sweep::regex", "'(x'", "unclosed"),
    ]);
}

#[test]
fn s30_s32_resources_and_places_have_bounds() {
    check(&[
        (with("resources: {cpu: 0.0001}"), "sweep::unit", "0.0001", "at least 0.001"),
        (with("resources: {cpu: -1}"), "sweep::unit", "-1", "at least"),
        (with("resources: {gpu: -1}"), "sweep::out_of_range", "-1", "from 0"),
        (with("resources: {gpu: 0.5}"), "sweep::wrong_type", "0.5", "whole"),
        (with("resources: {mem: 1000000000G}"), "sweep::unit", "1000000000G", "no machine"),
        (with("resources: {mem: 2048}"), "sweep::unit", "2048", "`2048M`"),
        (with("resources: 4"), "sweep::wrong_type", "4", "{cpu: ...}"),
        (with("timeout: 999y"), "sweep::unit", "999y", "90s"),
        (with("timeout: -5s"), "sweep::unit", "-5s", "no duration"),
        (with("timeout: 0s"), "sweep::unit", "0s", "no time"),
        (with("data: /"), "sweep::path", "/", "no business"),
        (with("data: /var/run/docker.sock"), "sweep::path", "/var/run/docker.sock", "no business"),
        (with("output: /proc/1"), "sweep::path", "/proc/1", "no business"),
        (with("data: http://x/y"), "sweep::path", "http://x/y", "s3://"),
        (with("data: s3://A/x"), "sweep::value", "s3://A/x", "s3://my-bucket"),
        (with("workdir: s3://abc/x"), "sweep::path", "s3://abc/x", "directory"),
        (with("image: --privileged"), "sweep::value", "--privileged", "options"),
        (with("image: 169.254.169.254/x"), "sweep::value", "169.254.169.254/x", "registry"),
        (with("notify: http://x/"), "sweep::value", "http://x/", "https://"),
        (with("notify: https://u:p@x/"), "sweep::value", "https://u:p@x/", "password"),
        (with("notify: https://169.254.169.254/x"), "sweep::value", "https://169.254.169.254/x", "host"),
        (with("workers: {count: 0}"), "sweep::out_of_range", "0", "from 1"),
        (with("workers: {instance: [big]}"), "sweep::value", "big", "c6i.xlarge"),
        (with("retry: {on_exit_codes: [0]}"), "sweep::out_of_range", "0", "from 1 to 255"),
        (with("retry: {fatal_exit_codes: [75]}"), "sweep::exit_code", "75", "another try"),
        (with("preempt_signal: SIGKILL"), "sweep::unknown_word", "SIGKILL", "SIGUSR1"),
        (with("efs: x"), "sweep::value", "x", "fs-"),
    ]);
}

#[test]
fn all_mistakes_are_shown_at_once_in_the_files_order() {
    let source = "name: ../X\ncommand: x\nparameters:\n  a: 1\n  b: {min: 0.1, max: 1}\ntimeout: 5\nfoo: 1\n";
    let codes: Vec<_> = errors(source).into_iter().map(|error| error.code).collect();
    assert_eq!(
        codes,
        [
            "sweep::name",
            "sweep::command_string",
            "sweep::bare_parameter",
            "sweep::continuous",
            "sweep::unit",
            "sweep::unknown_key"
        ]
    );
}
