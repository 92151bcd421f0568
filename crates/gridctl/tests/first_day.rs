//! What a newcomer types on the first day: a sweep to begin with, a trial's reasons, a trial once more, results that were copied.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use lab::{Lab, skipped, told};

fn python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|done| done.status.success());
    if !found {
        skipped("there is no python3");
    }
    found
}

/// Runs a command that must go well; what it printed on stdout.
fn well(lab: &Lab, args: &[&str]) -> String {
    let done = lab.run(args);
    assert_eq!(done.code, Some(0), "{args:?}: {}\n{}", done.stdout, done.stderr);
    done.stdout
}

#[test]
fn every_template_goes_from_nothing_to_a_leaderboard_and_the_best_ones_files() {
    for template in ["python", "shell", "linfa"] {
        if (template == "python" && !python()) || (template == "linfa" && cfg!(not(feature = "train"))) {
            continue;
        }
        let lab = Lab::new();
        let said = lab.run(&["init", "--template", template]);
        assert!(said.code == Some(0) && said.stderr.contains("gridctl run sweep.yaml"), "{}", said.stderr);
        well(&lab, &["check", "sweep.yaml"]);
        well(&lab, &["run", "sweep.yaml"]);
        let table = well(&lab, &["export", "sweep.yaml"]);
        assert!(table.lines().count() > 5, "{table}");
        let fetched = lab.run(&["fetch", "best", "here", "--sweep", "sweep.yaml"]);
        assert_eq!(fetched.code, Some(0), "{template}: {}", fetched.stderr);
    }
}

#[test]
fn nothing_that_is_there_is_written_over() {
    let lab = Lab::new();
    lab.write("train.py", "mine");
    let refused = lab.run(&["init"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("gridctl init -- python3 train.py"), "{}", refused.stderr);
    assert!(!lab.path().join("sweep.yaml").exists(), "all or nothing");
    assert_eq!(fs::read_to_string(lab.path().join("train.py")).unwrap(), "mine");
    well(&lab, &["init", "new", "--template", "shell"]);
    let again = lab.run(&["init", "new", "--template", "shell"]);
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    for bad in [
        &["init", "--file", "../x.yaml"][..],
        &["init", "--file", "a/b.yaml"],
        &["init", "--file", ""],
        &["init", "--template", "cobol"],
        &["init", "--template", "python", "--", "true"],
        &["init", "train.py"],
        &["init", "/proc/gridctl"],
    ] {
        let done = lab.run(bad);
        assert!(matches!(done.code, Some(1 | 2)) && !done.stderr.contains("panicked"), "{bad:?}: {done:?}");
    }
}

#[test]
fn a_program_s_help_and_text_become_a_sweep_that_runs() {
    if !python() {
        return;
    }
    let lab = Lab::new();
    lab.write(
        "train.py",
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--learning-rate', type=float, default=0.01, help='the rate')\n\
         p.add_argument('--optimizer', choices=['adam', 'sgd'], default='adam')\np.add_argument('--hidden-size', type=int, default=8)\n\
         p.add_argument('--epochs', type=int, default=3)\np.add_argument('--amp', action='store_true')\na = p.parse_args()\n\
         print(f'val_acc: {a.learning_rate * a.hidden_size + (a.optimizer == \"sgd\"):.4f}')\n",
    );
    let drafted = lab.run(&["init", "--", "python3", "train.py"]);
    assert_eq!(drafted.code, Some(0), "{}", drafted.stderr);
    insta::assert_snapshot!(fs::read_to_string(lab.path().join("sweep.yaml")).unwrap());
    well(&lab, &["run", "sweep.yaml"]);
    assert_eq!(well(&lab, &["leaderboard", "-k", "0", "-o", "jsonl"]).lines().count(), 18);
}

#[test]
fn h64_k92_programs_without_help_are_told_so_and_leave_nothing() {
    let lab = Lab::new();
    lab.script("silent.sh", "#!/bin/sh\n")
        .script("hostile.sh", "#!/bin/sh\nprintf '\\033[2J\\033]0;x\\007 \\342\\200\\256 no options'\n")
        .script("endless.sh", "#!/bin/sh\nyes -- '--lr x (default: nothing)'\n")
        .script(
            "quick.sh",
            "#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho $! >left\necho '  --lr X (default: 0.1)'\n",
        );
    for program in ["./silent.sh", "./hostile.sh", "./no-such-program", "/dev/null"] {
        let done = lab.run(&["init", "--", program]);
        assert_eq!(done.code, Some(1), "{program}: {done:?}");
        assert!(
            done.stderr.contains("help:") && !done.stderr.contains(['\u{1b}', '\u{202e}']),
            "{}",
            done.stderr
        );
        assert!(!lab.path().join("sweep.yaml").exists(), "{program}");
    }
    let endless = lab.run(&["init", "--", "./endless.sh"]);
    assert_eq!(endless.code, Some(1), "{endless:?}");
    // What the program has started ends with it.
    well(&lab, &["init", "--", "./quick.sh"]);
    let left = fs::read_to_string(lab.path().join("left")).unwrap();
    lab.until("what it left has ended", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", left.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    });
}

const FAILS: &str =
    "command: [sh, t.sh]\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2, 3]}}\n";
const SCRIPT: &str = "[ $HP_X != 2 ] || { echo 'ValueError: no 2' >&2; exit 3; }\nfor i in 1 2 3 4; do echo \"::metric step=$i s=$((HP_X * i))\"; done\n\
     echo \"$GRID_SEED $HP_X\" >$GRID_OUTPUT_DIR/model.txt\n";

/// A directory in which a sweep was run, of which one trial failed.
fn one_failed() -> Lab {
    let lab = Lab::new();
    lab.write("f.yaml", FAILS).write("t.sh", SCRIPT);
    assert_eq!(lab.run(&["run", "f.yaml"]).code, Some(10));
    lab
}

fn failed(lab: &Lab) -> String {
    let row = well(lab, &["ls", "--state", "failed", "-o", "jsonl"]);
    let row: serde_json::Value = serde_json::from_str(row.trim()).unwrap();
    row["trial"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn why_says_why_a_trial_was_not_tried_again() {
    let lab = one_failed();
    let trial = failed(&lab);
    let why = well(&lab, &["why", &trial]);
    insta::assert_snapshot!(
        lab::without_times(&why)
            .replace(&trial, "[TRIAL]")
            .lines()
            .filter(|line| !line.starts_with("attempt"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    );
    assert!(well(&lab, &["why", "best"]).contains("succeeded, objective 12"));
    let status = well(&lab, &["status"]);
    assert!(status.contains("failures\n     1  failed: ValueError: no #"), "{status}");
    assert_eq!(lab.run(&["why", "zzzzzzzz"]).code, Some(1));
    assert_eq!(lab.run(&["why"]).code, Some(2));
}

#[test]
fn a_trial_runs_once_more_with_other_values_and_its_sweep_stays_as_it_is() {
    let lab = one_failed();
    let before = lab.state();
    let again = lab.run(&["rerun", "best", "--seed", "7", "--set", "x=4"]);
    assert!(again.code == Some(0) && again.stdout.ends_with("s=16\n"), "{again:?}");
    let differs = "`s` is 16 here, and 12 in the sweep, with other parameters or another seed";
    assert!(again.stderr.contains(differs), "{again:?}");
    let same = lab.run(&["rerun", "best", "--dir", "same"]);
    assert!(same.stderr.contains("`s` is 12, as in the sweep"), "{same:?}");
    let dir = fs::read_dir(lab.path()).unwrap().flatten().map(|it| it.path());
    let dir = dir.into_iter().find(|path| path.to_string_lossy().ends_with("-again")).unwrap();
    assert_eq!(fs::read_to_string(dir.join("output/model.txt")).unwrap(), "7 4\n");
    let failed = lab.run(&["rerun", &failed(&lab)]);
    assert!(failed.code == Some(1) && failed.stderr.contains("exit status: 3"), "{failed:?}");
    let mut refused = String::new();
    for bad in [
        &["rerun", "best", "--set", "y=1"][..],
        &["rerun", "best", "--set", "X=1"],
        &["rerun", "best", "--set", "x"],
        &["rerun", "best", "--seed", "-1"],
        &["rerun", "best", "--dir", "t.sh"],
    ] {
        let done = lab.run(bad);
        assert!(matches!(done.code, Some(1 | 2)), "{bad:?}: {done:?}");
        refused.push_str(&told(&done));
    }
    insta::assert_snapshot!(refused);
    assert_eq!(lab.state(), before, "nothing of it is recorded");
}

#[test]
fn what_is_pasted_makes_the_directories_that_the_program_writes_to() {
    let lab = one_failed();
    let line =
        well(&lab, &["trials", "show", "best", "--command"]).replace("[DIR]", lab.path().to_str().unwrap());
    let pasted = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(pasted.status.success(), "{line}\n{}", String::from_utf8_lossy(&pasted.stderr));
    assert!(String::from_utf8_lossy(&pasted.stdout).ends_with("s=12\n"), "{line}");
}

#[test]
fn a_curve_is_drawn_and_two_trials_are_compared() {
    let lab = one_failed();
    let shown = well(&lab, &["show", "best"]);
    assert!(shown.contains("\ns\n") && shown.contains("steps 1 to 4"), "{shown}");
    let diff = well(&lab, &["trials", "diff", "best", "#2", "-o", "csv"]);
    assert!(diff.contains("param x,3,1") && diff.contains("metric s,12,4"), "{diff}");
    let same = lab.run(&["trials", "diff", "best", "best"]);
    assert!(same.code == Some(0) && same.stderr.contains("differ in nothing"), "{same:?}");
}

#[test]
fn every_command_that_reads_takes_results_that_were_copied() {
    let lab = one_failed();
    let trial = failed(&lab);
    let copied = Lab::new();
    let from = lab.data().join("results/f");
    assert!(Command::new("cp").arg("-r").arg(&from).arg(copied.path()).status().unwrap().success());
    for args in [
        &["leaderboard", "./f", "-o", "csv"][..],
        &["ls", "./f", "-o", "csv"],
        &["export", "./f"],
        &["export", "./f", "--curves"],
        &["logs", "best", "./f"],
        &["show", "best", "./f"],
        &["why", &trial, "./f"],
        &["best", "./f"],
        &["trials", "diff", "best", "#2", "--sweep", "./f", "-o", "csv"],
        &["status", "./f", "-o", "csv"],
    ] {
        let here: Vec<&str> = args.iter().map(|word| if *word == "./f" { "f.yaml" } else { word }).collect();
        let (one, other) = (copied.run(args), lab.run(&here));
        assert_eq!(one.code, other.code, "{args:?}: {}", one.stderr);
        let place = |text: &str| {
            text.replace("[DIR]/gridctl-data/results", "[RESULTS]").replace("[DIR]/f", "[RESULTS]/f")
        };
        assert_eq!(place(&one.stdout), place(&other.stdout), "{args:?}");
    }
    well(&copied, &["fetch", "best", "files", "--sweep", "./f"]);
    assert!(copied.path().join("files/model.txt").exists());
    let left: Vec<_> = fs::read_dir(copied.path()).unwrap().flatten().map(|it| it.file_name()).collect();
    assert_eq!(left.len(), 2, "nothing is written beside them: {left:?}");
    for file in files(&from) {
        let same =
            fs::read(from.join(&file)).unwrap() == fs::read(copied.path().join("f").join(&file)).unwrap();
        assert!(same, "{file}");
    }
    fs::write(copied.path().join("f/sweep.json"), "{").unwrap();
    let broken = copied.run(&["ls", "./f"]);
    assert!(broken.code == Some(1) && !broken.stderr.contains("panicked"), "{broken:?}");
}

/// The files below `dir`, as paths in it.
fn files(dir: &Path) -> Vec<String> {
    let found = Command::new("find").arg(dir).args(["-type", "f", "-printf", "%P\n"]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_schema_has_every_key_and_takes_every_sweep_of_ours() {
    let lab = Lab::new();
    let schema = well(&lab, &["schema"]);
    let value: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let keys: Vec<&String> = value["properties"].as_object().unwrap().keys().collect();
    for key in gridctl_core::spec::KEYS {
        assert!(keys.iter().any(|known| *known == key), "the schema lacks {key}");
    }
    assert_eq!(keys.len(), gridctl_core::spec::KEYS.len(), "{keys:?}");
    // moto brings a validator with it.
    let Some(python) = std::env::var_os("GRIDCTL_TEST_MOTO") else {
        return skipped("GRIDCTL_TEST_MOTO is not set");
    };
    lab.write("schema.json", &schema).write(
        "try.py",
        "import json, sys, yaml, jsonschema\nschema = json.load(open('schema.json'))\njsonschema.Draft202012Validator.check_schema(schema)\n\
         def numbers(it):\n    \"1e-4 is a number to YAML 1.2, and a text to this reader\"\n\
         \x20   if isinstance(it, dict): return {k: numbers(v) for k, v in it.items()}\n    if isinstance(it, list): return [numbers(v) for v in it]\n\
         \x20   try: return float(it) if isinstance(it, str) else it\n    except ValueError: return it\n\
         for path in sys.argv[1:]: jsonschema.validate(numbers(yaml.safe_load(open(path))), schema)\n\
         for bad in ({'parameters': {'x': {'stpe': 1}}}, {'comand': 'x', 'parameters': {'x': {'value': 1}}}, {}):\n\
         \x20   try: jsonschema.validate(bad, schema)\n    except jsonschema.ValidationError: continue\n    sys.exit(f'taken: {bad}')\n",
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sweeps");
    let sweeps = Command::new("find")
        .arg(root)
        .args(["-name", "*.yaml", "-not", "-path", "*/conf/*"])
        .output()
        .unwrap();
    let sweeps = String::from_utf8(sweeps.stdout).unwrap();
    let tried =
        Command::new(python).arg("try.py").args(sweeps.lines()).current_dir(lab.path()).output().unwrap();
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
}

#[test]
fn manual_pages_and_completions_are_there_and_know_sweeps_and_trials() {
    let lab = one_failed();
    assert!(well(&lab, &["man"]).starts_with(".ie"), "a page for man");
    well(&lab, &["man", "pages"]);
    assert!(lab.path().join("pages/gridctl-trials-show.1").exists());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(well(&lab, &["completions", shell]).contains("GRIDCTL_COMPLETE"), "{shell}");
    }
    let complete = |words: &[&str]| {
        let mut command = lab.command(&["--"]);
        let index = (words.len() - 1).to_string();
        command.args(words).env("GRIDCTL_COMPLETE", "fish").env("_CLAP_COMPLETE_INDEX", index);
        let done = lab.finish(&mut command);
        assert!(done.code == Some(0) && done.stderr.is_empty(), "{words:?}: {done:?}");
        done.stdout
    };
    assert!(complete(&["gridctl", "why", ""]).contains("best"));
    assert!(
        complete(&["gridctl", "why", ""]).contains(&failed(&lab)),
        "{}",
        complete(&["gridctl", "why", ""])
    );
    assert!(complete(&["gridctl", "status", ""]).contains("f\t3 trials, finished"));
    assert!(complete(&["gridctl", "stat"]).contains("status"));
    // A directory without sweeps, or with a journal that cannot be read, completes nothing and says nothing.
    fs::write(lab.data().join("journal.sqlite"), "no database").unwrap();
    complete(&["gridctl", "why", ""]);
    fs::set_permissions(lab.data(), fs::Permissions::from_mode(0o755)).unwrap();
}

const GROWS: &str =
    "command: [sh, g.sh]\nmetric: {name: s, goal: maximize}\nparameters:\n  x: {values: [1, 2, 3]}\n";

#[test]
fn a_metric_that_is_declared_later_is_read_from_the_logs() {
    let lab = Lab::new();
    lab.write("g.sh", "echo $HP_X >>ran\necho \"s=$HP_X other=1$HP_X\"\n").write("g.yaml", GROWS);
    lab.write(".gridctlignore", "ran\n");
    well(&lab, &["run", "g.yaml"]);
    lab.write("g.yaml", GROWS.replace("parameters", "metrics: [other, absent]\nparameters"));
    let done = lab.run(&["run", "g.yaml"]);
    assert!(
        done.code == Some(0) && done.stderr.contains("3 results read again from the logs"),
        "{}",
        done.stderr
    );
    let csv = well(&lab, &["leaderboard", "-o", "csv"]);
    assert!(csv.contains("metric_other") && csv.contains(",13,3,"), "{csv}");
    assert_eq!(lab.ledger("ran").len(), 3, "nothing ran again");
    // What a log that was cut does not say is said to be unknown, and costs nothing.
    let cut = GROWS.replace("g.sh", "cut.sh");
    lab.write("cut.sh", "echo $HP_X >>ran\necho late=1; seq 1 40000; echo s=$HP_X\n").write("cut.yaml", &cut);
    well(&lab, &["run", "cut.yaml"]);
    // The whole log is in the results, and is read there.
    lab.write("cut.yaml", cut.replace("parameters", "metrics: [late]\nparameters"));
    let done = lab.run(&["run", "cut.yaml"]);
    assert!(done.code == Some(0) && done.stderr.contains("3 results read again"), "{}", done.stderr);
    std::fs::remove_dir_all(lab.data().join("results/cut/trials")).unwrap();
    lab.write("cut.yaml", cut.replace("parameters", "metrics: [late, later]\nparameters"));
    let done = lab.run(&["run", "cut.yaml"]);
    assert!(
        done.stderr.contains("3 results kept without the metrics that were declared since"),
        "{}",
        done.stderr
    );
    assert_eq!(lab.ledger("ran").len(), 6, "nothing ran again");
}

#[test]
fn an_axis_that_says_what_was_keeps_what_is_known() {
    let lab = Lab::new();
    lab.write("g.sh", "echo $HP_X ${HP_Y:-0} >>ran\necho s=$((HP_X * 10 + ${HP_Y:-0}))\necho $HP_X >$GRID_OUTPUT_DIR/model\n");
    lab.write(".gridctlignore", "ran\n").write("g.yaml", GROWS);
    well(&lab, &["run", "g.yaml"]);
    lab.write("g.yaml", format!("{GROWS}  y: {{min: 0, max: 2, step: 1, was: 0}}\n"));
    let done = lab.run(&["run", "g.yaml"]);
    assert!(done.code == Some(0) && done.stderr.contains("3 known"), "{}", done.stderr);
    assert_eq!(lab.ledger("ran").len(), 9, "three of nine were known");
    let rows = well(&lab, &["export", "-o", "jsonl"]);
    assert_eq!(rows.lines().filter(|line| line.contains("\"param_y\":0")).count(), 3, "{rows}");
    // Its files are where they were, and it is known from then on.
    well(&lab, &["fetch", "#9", "kept"]);
    assert_eq!(fs::read_to_string(lab.path().join("kept/model")).unwrap(), "1\n");
    lab.write("g.yaml", format!("{GROWS}  y: {{min: 0, max: 3, step: 1, was: 0}}\n"));
    well(&lab, &["run", "g.yaml"]);
    assert_eq!(lab.ledger("ran").len(), 12);
    fs::remove_file(lab.data().join("journal.sqlite")).unwrap();
    well(&lab, &["rebuild", "--from", "gridctl-data/results"]);
    well(&lab, &["run", "g.yaml"]);
    assert_eq!(lab.ledger("ran").len(), 12, "the results know it too");
    for bad in [
        "y: {values: [1, 2], was: 0}",
        "y: {values: [1, 2], was: }",
        "y: {min: 0, max: 2, step: 1, was: [0]}",
    ] {
        lab.write("bad.yaml", format!("{GROWS}  {bad}\n"));
        let done = lab.run(&["check", "bad.yaml"]);
        assert!(done.code == Some(2) && done.stderr.contains("sweep::was"), "{bad}: {}", done.stderr);
    }
}

#[test]
fn events_tell_each_attempt_once_and_follow_until_the_sweep_is_over() {
    let lab = one_failed();
    let trial = failed(&lab);
    let events = well(&lab, &["events"]);
    let of: Vec<&str> = events.lines().filter(|line| line.contains(&trial)).collect();
    assert!(of.len() == 2 && events.lines().count() == 4, "{events}");
    assert!(of[0].ends_with("ValueError: no 2; to be tried again"), "{events}");
    assert!(of[1].ends_with("ValueError: no 2; the trial is failed"), "{events}");
    assert_eq!(well(&lab, &["events", "-f", "f", "-o", "jsonl"]).lines().count(), 4);
    // While a sweep runs they are told as they come, and the end of it ends them.
    lab.write("slow.yaml", "command: [sh, -c, 'sleep 0.3; echo s=$HP_X']\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2, 3, 4]}}\n");
    let run = lab.start(&["run", "slow.yaml", "--slots", "1"]);
    lab.until("it runs", || lab.run(&["status", "slow", "-o", "json"]).stdout.contains("\"running\""));
    let followed = lab.run(&["events", "-f", "slow"]);
    assert_eq!(lab.wait(run).code, Some(0));
    let ends = followed.stdout.lines().filter(|line| line.contains("attempt 1 succeeded")).count();
    assert!(followed.code == Some(0) && ends == 4, "{followed:?}");
    assert_eq!(lab.run(&["events", "nobody"]).code, Some(1));
    assert_eq!(lab.run(&["events", "/etc"]).code, Some(2));
}

#[test]
fn hints_say_what_was_meant() {
    let lab = Lab::new();
    lab.write("slow.py", "print('s=1')\n").write("slow_b.yaml", "command: [sh, -c, 'echo s=$HP_X']\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1]}}\n");
    for line in [&["run", "slow.py"][..], &["check", "slow.py"], &["submit", "slow.py"]] {
        let done = lab.run(line);
        assert!(
            done.code == Some(2) && done.stderr.contains("gridctl init -- python3 slow.py"),
            "{line:?}: {done:?}"
        );
    }
    well(&lab, &["run", "slow_b.yaml"]);
    assert!(well(&lab, &["status", "slow_b"]).starts_with("slow-b"));
    for (values, hint) in [
        ("range(10)", "write `{min: 0, max: 9, step: 1}`"),
        ("range(1, 10, 3)", "write `{min: 1, max: 7, step: 3}`"),
        ("np.logspace(-3, 0, 4)", "steps: 5, scale: log"),
        ("range(5, 1)", "with your own numbers"),
        (
            "range(1, 9223372036854775807, 9223372036854775807)",
            "write `{min: 1, max: 1, step: 9223372036854775807}`",
        ),
        ("range(-9223372036854775808, 9223372036854775807)", "with your own numbers"),
        ("3", "write `values: [3]`"),
    ] {
        lab.write("r.yaml", format!("command: [x]\nparameters:\n  x:\n    values: {values}\n"));
        let done = lab.run(&["check", "r.yaml"]);
        assert!(
            done.code == Some(2) && done.stderr.contains(hint) && !done.stderr.contains("panicked"),
            "{values}: {}",
            done.stderr
        );
    }
}
