//! What people take away from a sweep: a trial's files, rows for other programs; and words that people guess.

mod lab;

use std::fs;

use lab::{Done, Lab};

const SWEEP: &str = r#"
command: [sh, -c, 'if [ $HP_X != 1 ]; then mkdir "$GRID_OUTPUT_DIR/sub"; echo m$HP_X > "$GRID_OUTPUT_DIR/sub/model"; fi; echo "::metric step=1 s=0.5"; echo "::metric step=2 s=$HP_X b=nan"; [ $HP_X != 3 ] || exit 4']
metric: {name: s, goal: maximize}
retry: {max_failures: 0}
parameters: {x: {values: [1, 2, 3]}, o: {values: ["=a,b"]}}
"#;

fn swept() -> Lab {
    let lab = Lab::new();
    lab.write("f.yaml", SWEEP);
    assert_eq!(lab.run(&["run", "f.yaml", "-q", "-j", "1"]).code, Some(10));
    lab
}

#[test]
fn the_files_of_a_trial_are_fetched_whole_and_replace_nothing() {
    let lab = swept();
    let ok = |done: Done| assert_eq!(done.code, Some(0), "{}", done.stderr);
    ok(lab.run(&["fetch", "best", "out"]));
    assert_eq!(fs::read_to_string(lab.path().join("out/sub/model")).unwrap(), "m2\n");
    fs::write(lab.path().join("out/sub/model"), "mine").unwrap();
    let again = lab.run(&["fetch", "best", "out"]);
    assert!(again.code == Some(2) && again.stderr.contains("out is not empty"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(lab.path().join("out/sub/model")).unwrap(), "mine");
    let none = lab.run(&["fetch", "#2", "none"]);
    assert!(none.code == Some(1) && none.stderr.contains("has left no files"), "{}", none.stderr);
    assert!(!lab.path().join("none").exists());
    ok(lab.run(&["fetch", "best", "--sweep", "f.yaml"]));
    let names = fs::read_dir(lab.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let made: Vec<String> = names.filter(|name| name.starts_with("f-")).collect();
    assert!(made.len() == 1 && lab.path().join(&made[0]).join("sub/model").is_file(), "{made:?}");

    let published = lab.data().join("results/f/trials");
    let trial = fs::read_dir(&published).unwrap().map(|it| it.unwrap().path());
    for trial in trial {
        for attempt in fs::read_dir(trial).unwrap() {
            let model = attempt.unwrap().path().join("files/sub/model");
            if model.is_file() {
                fs::write(model, "m9\n").unwrap();
            }
        }
    }
    let damaged = lab.run(&["fetch", "best", "damaged"]);
    assert!(damaged.code == Some(1) && damaged.stderr.contains("manifest"), "{}", damaged.stderr);
}

#[test]
fn every_trial_attempt_and_point_of_a_curve_is_exported_in_flat_rows() {
    let lab = swept();
    let rows = |args: &[&str]| -> Vec<serde_json::Value> {
        let done = lab.run(&[&["export", "-o", "jsonl"], args].concat());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut all = rows(&[]);
    all.sort_by_key(|row| row["index"].as_u64());
    let of = |name: &str| all.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("param_x"), [1, 2, 3]);
    assert_eq!(of("param_o"), ["=a,b"; 3]);
    assert_eq!(of("state"), ["succeeded", "succeeded", "failed"]);
    assert_eq!(of("objective"), [1.0.into(), 2.0.into(), serde_json::Value::Null]);
    assert_eq!(of("metric_b"), ["NaN"; 3]);
    assert_eq!(rows(&["f", "--attempts"]).len(), 3);
    let curves = rows(&["--curves"]);
    let of_s: Vec<_> = curves.iter().filter(|row| row["metric"] == "s" && row["param_x"] == 2).collect();
    let points: Vec<_> = of_s.iter().map(|row| (row["step"].as_i64(), row["value"].as_f64())).collect();
    assert_eq!(points, [(Some(1), Some(0.5)), (Some(2), Some(2.0))]);
    let csv = lab.run(&["export"]).stdout;
    let header = csv.lines().next().unwrap();
    assert!(
        header.starts_with("trial,index,repeat,param_x,param_o,state,class,objective,metric_b,metric_s,"),
        "{csv}"
    );
    assert!(csv.lines().count() == 4 && csv.contains("\"'=a,b\""), "no formula: {csv}");
}

#[test]
fn words_that_people_guess_do_what_they_say() {
    let lab = swept();
    let same = |one: &[&str], other: &[&str]| {
        let [one, other] = [one, other].map(|args| lab.run(args));
        assert_eq!((one.code, &one.stdout), (other.code, &other.stdout), "{}", one.stderr);
        assert_eq!(one.code, Some(0), "{}", one.stderr);
    };
    same(&["ls"], &["trials", "ls"]);
    same(&["ls", "f", "--state", "running"], &["trials", "ls", "--state", "leased"]);
    same(&["show", "best"], &["trials", "show", "best"]);
    same(&["best", "f.yaml"], &["trials", "show", "best"]);
    same(&["version"], &["--version"]);
    same(&["run", "f.yaml", "--dry-run"], &["check", "f.yaml"]);
    assert_eq!(lab.run(&["ls", "--state", "nonsense"]).code, Some(2));
}
