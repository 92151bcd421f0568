//! `gridctl plan`: what a sweep would cost on machines of EC2. Invariant: nothing is written, whatever is asked.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use lab::{Lab, told};
use serde_json::Value as Json;

const SWEEP: &str = "command: [sh, train.sh]
metric: {name: loss, goal: minimize}
parameters: {a: {min: 1, max: 3000}}
workers: {count: 17, instance: [c5.xlarge, c5a.xlarge, m7g.large, zz.top], disk: 73G}
budget: 20 USD
deadline: 6h
";

fn json(lab: &Lab, args: &[&str]) -> Json {
    let done = lab.run(&[&["plan", "-o", "json"], args].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    serde_json::from_str(&done.stdout).unwrap()
}

fn fleet<'a>(plan: &'a Json, instance: &str) -> &'a Json {
    plan["fleets"].as_array().unwrap().iter().find(|fleet| fleet["instance"] == instance).unwrap()
}

fn close(value: &Json, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}

#[test]
fn many_small_and_few_large_machines_stand_side_by_side() {
    let lab = Lab::new();
    lab.write("demo.yaml", SWEEP);
    let done = lab.run(&["plan", "demo.yaml", "--spot", "--trial-time", "20m"]);
    assert_eq!(told(&done), "exit 0\n");
    insta::assert_snapshot!(done.stdout);
    let unknown = lab.run(&["plan", "demo.yaml", "--spot"]);
    assert_eq!(told(&unknown), "exit 0\n");
    assert!(unknown.stdout.contains("is not known: --trial-time 90s"), "{}", unknown.stdout);
    assert!(!unknown.stdout.contains("worst case"), "{}", unknown.stdout);
    assert!(!lab.data().exists());
}

#[test]
fn a_day_of_seventy_two_processors_costs_what_machines_disks_and_addresses_do() {
    let lab = Lab::new();
    lab.write("demo.yaml", SWEEP);
    let article = ["--for", "24h", "--master-type", "c5.xlarge", "--spot-price", "c5.xlarge=0.06"];
    let plan = json(&lab, &[&["demo.yaml", "--spot"], article.as_slice()].concat());
    let machines = fleet(&plan, "c5.xlarge");
    let extras = 18.0 * (0.005 + 73.0 * 0.08 / 730.0) * 24.0;
    close(&machines["cost"], 28.56 + extras);
    close(&machines["on_demand_cost"], 73.44 + extras);
    assert_eq!(plan["prices"]["region"], "us-east-1");
    let plain = json(&lab, &[&["demo.yaml"], article.as_slice()].concat());
    assert_eq!(plain["spot"], false, "without --spot all machines are on demand");
    close(&fleet(&plain, "c5.xlarge")["cost"], 73.44 + extras);
}

#[test]
fn the_time_of_a_trial_is_that_of_earlier_ones() {
    let lab = Lab::new();
    lab.write("few.yaml", "command: [sh, -c, 'sleep 0.1; echo loss=1']\nmetric: {name: loss, goal: minimize}\nparameters: {a: {values: [1, 2]}}\n");
    assert_eq!(json(&lab, &["few.yaml"])["trial_seconds"], Json::Null);
    assert_eq!(lab.run(&["run", "few.yaml", "-q"]).code, Some(0));
    let before = lab.state();
    let plan = json(&lab, &["few.yaml", "--spot"]);
    let seconds = plan["trial_seconds"].as_f64().unwrap();
    assert!((0.1..30.0).contains(&seconds), "{seconds}");
    let from = plan["trial_seconds_from"].as_str().unwrap();
    assert!(from.starts_with("the mean of 2 earlier trials on "), "{from}");
    assert_eq!(plan["fleets"][0]["machines"], 1, "two trials need no 16 machines");
    assert_eq!(lab.state(), before);
}

#[test]
fn what_cannot_be_planned_is_said_with_what_to_do() {
    let lab = Lab::new();
    let file = |more: &str| format!("command: [x]\nparameters: {{a: {{values: [1, 2]}}}}\n{more}");
    lab.write("ok.yaml", file(""));
    lab.write("gpu.yaml", file("resources: {gpu: 1}\n"));
    lab.write("large.yaml", file("resources: {mem: 4T}\n"));
    lab.write("arm.yaml", file("workers: {instance: c7g.large}\n"));
    lab.write("endless.yaml", "command: [x]\nmethod: random\nparameters: {a: {min: 0.0, max: 1.0}}\n");
    let cases: [&[&str]; 8] = [
        &["gpu.yaml"],
        &["large.yaml"],
        &["arm.yaml"],
        &["endless.yaml"],
        &["ok.yaml", "--instance", "c9.huge"],
        &["ok.yaml", "--spot-price", "c5.xlarge=9"],
        &["ok.yaml", "--interruptions", "-1"],
        &["missing.yaml"],
    ];
    let mut all = String::new();
    for args in cases {
        let done = lab.run(&[&["plan"], args].concat());
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{args:?}");
        all.push_str(&format!("$ gridctl plan {}\n{}\n", args.join(" "), done.stderr));
    }
    insta::assert_snapshot!(all);
    assert!(!lab.data().exists());
}

#[test]
fn trials_too_long_for_spot_machines_are_warned_of() {
    let lab = Lab::new();
    lab.write("demo.yaml", SWEEP);
    let warned = |args: &[&str]| {
        let plan = json(&lab, &[&["demo.yaml", "--spot"], args].concat());
        plan["warnings"].to_string()
    };
    assert!(warned(&["--trial-time", "10h"]).contains("write checkpoints"));
    assert!(warned(&["--trial-time", "40d"]).contains("hardly any ends"));
    assert!(warned(&["--trial-time", "20m"]).contains("longer than `deadline"));
    assert!(warned(&["--trial-time", "20m"]).contains("more than `budget`"));
    assert_eq!(warned(&["--trial-time", "1s"]), "[]");
    let never = json(&lab, &["demo.yaml", "--spot", "--trial-time", "40d"]);
    assert_eq!(fleet(&never, "c5.xlarge")["cost"], Json::Null);
}

#[test]
#[cfg(not(feature = "ec2"))]
fn a_gridctl_without_ec2_says_how_to_get_one_that_has_it() {
    let lab = Lab::new();
    for args in [["down", "wine"].as_slice(), &["down", "--all"], &["gc"], &["doctor", "--aws"]] {
        let done = lab.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(done.stderr.contains("was built without EC2"), "{}", done.stderr);
        assert!(done.stderr.contains("--features ec2"), "{}", done.stderr);
    }
    let bad = lab.run(&["gc", "--region", "us-east-1.evil.example"]);
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr.contains("regions look like us-east-1"), "{}", bad.stderr);
}
