//! Sweep files that cannot be meant, or mean harm: each is refused with its place, quickly, and nothing is started or written.

mod lab;

use std::fmt::Write as _;
use std::time::Duration;

use lab::{Lab, told};

/// A sweep file with these lines in place of its axis.
fn axes(lines: &str) -> String {
    format!("command: [sh, -c, 'echo s=1']\nmetric: {{name: s, goal: maximize}}\nparameters:\n{lines}\n")
}

/// Runs each file, and returns what all of them were told. Nothing may be written, and no answer may be long.
fn refused<'a>(files: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lab = Lab::new();
    let mut all = String::new();
    for (what, text) in files {
        lab.write("s.yaml", &text);
        let done = lab.run(&["run", "s.yaml"]);
        assert_eq!(done.code, Some(2), "{what}: {done:?}");
        assert_eq!(done.stdout, "", "{what}");
        assert!(!lab.data().exists(), "{what}: something was written");
        assert!(done.stderr.len() < 20_000 && !done.stderr.contains("panicked"), "{what}: {}", done.stderr);
        let _ = writeln!(all, "# {what}\n{}", told(&done));
    }
    all
}

#[test]
fn s15_s16_s17_bombs_of_anchors_and_depth_are_refused() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let _ = writeln!(laughs, "a{level}: &a{level} [{}]", vec![format!("*a{}", level - 1); 9].join(", "));
    }
    let deep = format!("parameters: {}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let told = refused([
        ("billion laughs", laughs),
        ("a cycle", axes("  x: &x {values: [*x]}")),
        ("ten thousand deep", deep),
    ]);
    let short: Vec<String> = told.lines().map(|line| line.chars().take(140).collect()).collect();
    insta::assert_snapshot!(short.join("\n"));
}

#[test]
fn s18_huge_and_endless_files_are_refused_at_once() {
    let lab = Lab::new();
    lab.write("line.yaml", "x".repeat(2 << 20));
    let big = std::fs::File::create(lab.path().join("big.yaml")).unwrap();
    big.set_len(1 << 30).unwrap();
    let fifo = lab.path().join("pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut all = String::new();
    for file in ["line.yaml", "big.yaml", "pipe.yaml", "/dev/zero", "/dev/stdin", "."] {
        let script =
            format!("ulimit -v 400000; exec timeout 5 {} check {file}", env!("CARGO_BIN_EXE_gridctl"));
        let done =
            lab.finish(std::process::Command::new("bash").args(["-c", &script]).current_dir(lab.path()));
        assert_eq!(done.code, Some(2), "{file}: {done:?}");
        let _ = writeln!(all, "# {file}\n{}", told(&done));
    }
    let endless = format!("yes | timeout 5 {} check /dev/stdin", env!("CARGO_BIN_EXE_gridctl"));
    let done = lab.finish(std::process::Command::new("bash").args(["-c", &endless]));
    assert_eq!(done.code, Some(2), "{done:?}");
    insta::assert_snapshot!(all);
}

#[test]
fn s19_s20_more_points_than_can_be_counted_are_refused_and_long_axes_cost_nothing() {
    let ten = |values: &str| (0..10).map(|i| format!("  p{i}: {values}")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(refused([
        ("ten axes of a hundred values", axes(&ten("{min: 1, max: 100}"))),
        (
            "an axis of 1e12 steps twice",
            axes("  x: {min: 0, max: 1, steps: 1000000000000}\n  y: {min: 0, max: 1, steps: 1000000000000}")
        ),
        ("an axis of 2^60 values", axes("  x: {min: 0, max: 1152921504606846976}")),
        (
            "a listed axis of a million values",
            axes(&format!(
                "  x: {{values: [{}]}}",
                (0..150_000).map(|i| i.to_string()).collect::<Vec<_>>().join(",")
            ))
        ),
    ]));
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        axes(&(0..6).map(|i| format!("  p{i}: {{min: 1, max: 1000}}")).collect::<Vec<_>>().join("\n")),
    );
    let began = lab::now();
    let done = lab.run(&["check", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.starts_with("s: 1,000,000,000,000,000,000 trials"), "{}", done.stdout);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn s21_ranges_that_are_none_are_refused() {
    insta::assert_snapshot!(refused([
        ("step 0", axes("  x: {min: 0, max: 1, step: 0}")),
        ("a negative step", axes("  x: {min: 0, max: 1, step: -0.1}")),
        ("start after stop", axes("  x: {min: 2, max: 1, step: 0.5}")),
        ("NaN", axes("  x: {values: [.nan]}")),
        ("infinity", axes("  x: {min: 0, max: .inf, step: 1}")),
        ("1e309", axes("  x: {values: [1e309]}")),
        ("a logarithm of nothing", axes("  x: {min: 0, max: 1, steps: 3, scale: log}")),
    ]));
}

#[test]
fn s22_what_comes_twice_is_refused_and_both_are_named() {
    insta::assert_snapshot!(refused([
        ("a key", "name: a\nname: b\n".to_owned() + &axes("  x: {values: [1]}")),
        ("an axis", axes("  x: {values: [1]}\n  x: {values: [2]}")),
        ("a value after rounding", axes("  x: {min: 1, max: 1.0000000000001, steps: 5}")),
        ("a pair", axes("  a: {values: [1, 1]}\n  b: {values: [2, 2]}") + "zip: [[a, b]]\n"),
    ]));
}

#[test]
fn s23_typos_are_refused_with_a_suggestion() {
    insta::assert_snapshot!(refused([
        ("a key", "metrc: {name: s}\n".to_owned() + &axes("  x: {values: [1]}")),
        ("a goal", axes("  x: {values: [1]}").replace("maximize", "highest")),
        ("a parameter in an expression", axes("  rate: {values: [1]}") + "exclude: ['rte > 1']\n"),
        ("a macro", axes("  x: {values: [1]}").replace("[sh,", "[sh, \"${arg}\",")),
        ("a parameter in a macro", axes("  rate: {values: [1]}").replace("[sh,", "[sh, \"${params.rte}\",")),
    ]));
}

#[test]
fn a_sweep_of_which_no_point_is_left_is_refused_however_large_it_was() {
    let lab = Lab::new();
    let large = "  a: {min: 1, max: 1000}\n  b: {min: 1, max: 1000000}\n  c: {min: 1, max: 1000000}";
    for (what, axes) in [("small", "  a: {values: [1, 2]}"), ("large", large)] {
        lab.write("s.yaml", self::axes(axes) + "exclude: ['a >= 1']\n");
        for command in ["check", "run"] {
            let done = lab.run(&[command, "s.yaml"]);
            let (code, said) = (done.code, done.stderr.contains("no point is left: every one is excluded"));
            assert_eq!((code, said), (Some(2), true), "{what} {command}: {}", done.stderr);
        }
    }
}

#[test]
fn s24_words_that_older_yaml_turns_into_other_things_stay_what_they_are() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        axes("  x: {values: [no, 0o17, '1:30', 1_000, .5, ~, 2020-01-01, 010, on]}")
            .replace("[sh, -c, 'echo s=1']", "[sh, -c, 'echo s=1', sh, \"${args_json}\"]"),
    );
    let done = lab.run(&["check", "s.yaml", "-o", "json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let check: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    insta::assert_snapshot!(check["axes"][0]["values"]);
}

#[test]
fn s25_forms_of_yaml_that_no_sweep_needs_are_refused_and_those_of_editors_are_taken() {
    let utf16: Vec<u8> = "\u{feff}command: [a]\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lab = Lab::new();
    lab.write("s.yaml", utf16);
    let mut all = told(&lab.run(&["run", "s.yaml"]));
    lab.write("s.yaml", b"command: [a\xff]\n");
    all.push_str(&told(&lab.run(&["run", "s.yaml"])));
    all.push_str(&refused([
        ("a tag", axes("  x: {values: [!!python/object:os.system x]}")),
        ("an include", axes("  x: !include /etc/passwd")),
        ("several documents", axes("  x: {values: [1]}") + "---\nname: b\n"),
        ("a tab", axes("\tx: {values: [1]}")),
        ("nothing", String::new()),
        ("a list", "[1, 2]\n".to_owned()),
    ]));
    insta::assert_snapshot!(all);
    for text in
        [format!("\u{feff}{}", axes("  x: {values: [1]}")), axes("  x: {values: [1]}").replace('\n', "\r\n")]
    {
        lab.write("s.yaml", text);
        assert_eq!(lab.run(&["check", "s.yaml"]).code, Some(0));
    }
}

#[test]
fn s26_values_that_a_shell_would_act_on_reach_the_trainer_as_they_are() {
    let lab = Lab::new();
    let values = [
        "$(touch pwned)",
        "`touch pwned`",
        "; touch pwned",
        "{{x}}",
        "%s%n",
        "a\nb",
        "-rf",
        "'\"\\",
        "${args}",
    ];
    let listed: Vec<String> = values.iter().map(|value| serde_json::to_string(value).unwrap()).collect();
    let text = format!(
        "command: [sh, -c, 'printf \"%s\\0\" \"$1\" \"$HP_X\" >> got; echo s=1', sh, \"${{params.x}}\"]\n\
         metric: {{name: s, goal: maximize}}\norder: file\nparameters: {{x: {{values: [{}]}}}}\n",
        listed.join(", ")
    );
    lab.write("s.yaml", text);
    let done = lab.run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let got = std::fs::read(lab.path().join("got")).unwrap();
    let mut got: Vec<String> =
        got.split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
    got.pop();
    let mut expected: Vec<&str> = values.iter().flat_map(|value| [*value, *value]).collect();
    got.sort();
    expected.sort_unstable();
    assert_eq!(got, expected);
    assert!(!lab.path().join("pwned").exists());
    let shown = lab.run(&["leaderboard", "-k", "0"]).stdout;
    assert_eq!(shown.lines().count(), 1 + values.len(), "{shown}");
}

#[test]
fn s27_parameters_whose_names_would_do_harm_get_a_prefix_or_are_refused() {
    let lab = Lab::new();
    lab.write("s.yaml", axes("  PATH: {values: [1]}\n  LD_PRELOAD: {values: [1]}\n  __proto__: {values: [1]}\n  AWS_SECRET_ACCESS_KEY: {values: [1]}"));
    let done = lab.run(&["run", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    insta::assert_snapshot!(refused([
        (
            "bare names",
            axes(
                "  PATH: {values: [1]}\n  LD_PRELOAD: {values: [1]}\n  GRID_TRIAL: {values: [1]}\n  AWS_REGION: {values: [1]}"
            ) + "env_prefix: ''\n"
        ),
        ("an equals sign", axes("  'a=b': {values: [1]}") + "env_prefix: ''\n"),
        ("nothing", axes("  '': {values: [1]}")),
        ("ten thousand characters", axes(&format!("  {}: {{values: [1]}}", "x".repeat(10_000)))),
    ]));
}

#[test]
fn s28_more_parameters_and_larger_values_than_a_process_can_take_are_refused() {
    let many: String = (0..20_000).map(|i| format!("  p{i}: {{value: 1}}\n")).collect();
    let told = refused([
        ("twenty thousand parameters", axes(&many)),
        ("a value of 900 kB", axes(&format!("  x: {{values: [{}]}}", "y".repeat(900_000)))),
    ]);
    let short: Vec<String> = told.lines().map(|line| line.chars().take(140).collect()).collect();
    insta::assert_snapshot!(short.join("\n"));
}

#[test]
fn s29_images_that_are_options_are_refused() {
    let image = |image: &str| format!("image: '{image}'\n{}", axes("  x: {values: [1]}"));
    insta::assert_snapshot!(refused([
        ("an option", image("--privileged")),
        ("a mount", image("-v /:/host")),
        ("two words", image("a b")),
        ("a short digest", image("a@sha256:short")),
        ("metadata", image("169.254.169.254/x")),
    ]));
}

#[test]
fn s30_directories_of_the_machine_itself_are_refused() {
    let with = |line: &str| axes("  x: {values: [1]}") + line + "\n";
    insta::assert_snapshot!(refused([
        ("everything as data", with("data: /")),
        ("the kernel's as data", with("data: /proc/sys")),
        ("a device as data", with("data: /dev/zero")),
        ("upwards until there is no more", with("data: ../../../../../../../../../..")),
        ("everything as code", with("workdir: /")),
        ("nothing there", with("data: nowhere")),
    ]));
}

#[test]
fn s32_resources_that_no_machine_has_are_refused() {
    let ask = |ask: &str| axes("  x: {values: [1]}") + "resources: " + ask + "\n";
    let told = refused([
        ("less than no GPU", ask("{gpu: -1}")),
        ("a billion gigabytes", ask("{mem: 1000000000G}")),
        ("a sliver of a processor", ask("{cpu: 0.0001}")),
        ("more GPUs than there are", ask("{gpu: 512}")),
        ("more memory than there is", ask("{mem: 60T}")),
    ]);
    let known = told
        .split("and there are ")
        .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
    insta::assert_snapshot!(known.collect::<Vec<_>>().join("and there are [N]"));
}

#[test]
fn s33_expressions_that_would_not_end_are_refused() {
    let exclude = |text: &str| axes("  x: {values: [1, 2]}") + "exclude: [\"" + text + "\"]\n";
    let told = refused([
        ("a loop", exclude("while True: pass")),
        ("a call", exclude("__import__('os').system('id')")),
        ("parentheses", exclude(&format!("{}x{}", "(".repeat(1000), ")".repeat(1000)))),
        ("five thousand characters", exclude(&vec!["x > 1"; 1000].join(" or "))),
    ]);
    let short: Vec<String> = told.lines().map(|line| line.chars().take(200).collect()).collect();
    insta::assert_snapshot!(short.join("\n"));
}
