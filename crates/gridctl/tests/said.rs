//! What commands say beside what was asked for: counts of what was left out, what to type next, doubts of numbers, other sweeps.

mod lab;

use lab::{Lab, signal, told};
use rustix::process::Signal;

const METRIC: &str = "metric: {name: s, goal: maximize}\n";
/// Says its number, and writes down that it was tried.
const ECHO: &str = "command: [sh, -c, 'echo $HP_X >> led; echo s=$HP_X']\n";

#[test]
fn what_run_cap_leaves_out_is_no_point_that_is_excluded() {
    for order in ["file", "spread"] {
        let lab = Lab::new();
        let sweep = "run_cap: 3\nparameters: {x: {min: 1, max: 20}}\nexclude: ['x == 2 or x > 14']\n";
        lab.write("c.yaml", format!("{ECHO}{METRIC}order: {order}\n{sweep}"));
        let done = lab.run(&["run", "c.yaml", "--slots", "1"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stderr.contains("c: 13 trials\n"), "{}", done.stderr);
        assert!(done.stderr.contains(", 3 succeeded, 10 left out by run_cap\n"), "{}", done.stderr);
        let status = lab.run(&["status", "-o", "csv"]).stdout;
        assert!(
            status.ends_with("c,1,finished,20,0,0,3,0,0,10,7,") || status.contains(",20,0,0,3,0,0,10,7,")
        );
    }
}

#[test]
fn in_the_files_order_run_cap_tries_the_first_points_though_others_are_known() {
    let lab = Lab::new();
    let run = |cap: u32, values: &str| {
        let sweep = format!("order: file\nrun_cap: {cap}\nparameters: {{x: {{values: [{values}]}}}}\n");
        lab.write("o.yaml", format!("{ECHO}{METRIC}{sweep}"));
        let done = lab.run(&["run", "o.yaml", "--slots", "1"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    };
    run(5, "1, 2, 3, 4, 5, 6");
    assert_eq!(lab.ledger("led"), ["1", "2", "3", "4", "5"]);
    run(5, "10, 11, 1, 12, 2, 13, 3");
    assert_eq!(lab.ledger("led"), ["1", "2", "3", "4", "5", "10", "11", "12"]);
    run(5, "10, 11, 1, 12, 2, 14, 3");
    assert_eq!(lab.ledger("led").len(), 8, "all of the first five are known");
}

#[test]
fn what_to_go_on_with_repeats_the_count() {
    let lab = Lab::new();
    lab.write(
        "r.yaml",
        format!("command: [sh, -c, 'echo x >> led; sleep 30']\nmethod: random\n{METRIC}parameters: {{x: {{min: 0.0, max: 1.0}}}}\n"),
    );
    let run = lab.start(&["run", "r.yaml", "--count", "7", "--slots", "1"]);
    lab.until("a trial runs", || !lab.ledger("led").is_empty());
    signal(&run, Signal::INT);
    let done = lab.wait(run);
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(done.stderr.contains("go on with: gridctl run r.yaml --count 7\n"), "{}", done.stderr);
}

#[test]
fn the_leaderboard_repeats_why_its_numbers_may_not_be_what_was_meant() {
    let lab = Lab::new();
    let trainer = "command: [sh, -c, 'echo train s: $HP_X; echo val s: 0.$HP_X']\n";
    lab.write("d.yaml", format!("{trainer}{METRIC}parameters: {{x: {{values: [1, 2]}}}}\n"));
    let run = lab.run(&["run", "d.yaml", "--slots", "1"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let note = "`s` was read as 0.1 from `val s: 0.1`, and not from `train s: 1`: give a `regex`";
    assert!(run.stderr.contains(note), "{}", run.stderr);
    assert!(run.stderr.contains("if another is meant (2 attempts, as in `gridctl"), "{}", run.stderr);
    for args in [
        &["leaderboard"][..],
        &["leaderboard", "d.yaml", "-o", "json"],
        &["run", "d.yaml"],
        &["leaderboard", "-k", "1"],
    ] {
        let done = lab.run(args);
        assert!(done.stderr.contains(&format!("note: {note}")), "{args:?}: {}", done.stderr);
    }
    lab.write("e.yaml", format!("{ECHO}{METRIC}parameters: {{x: {{values: [1, 2]}}}}\n"));
    assert_eq!(lab.run(&["run", "e.yaml"]).code, Some(0));
    assert_eq!(told(&lab.run(&["leaderboard"])), "exit 0\n");
}

#[test]
fn a_trial_is_named_with_its_sweep_behind_it_and_an_unknown_sweep_leads_to_all() {
    let lab = Lab::new();
    for nth in 1..=7 {
        let name = format!("s{nth}.yaml");
        lab.write(&name, format!("{ECHO}{METRIC}parameters: {{x: {{values: [{nth}]}}}}\n"));
        assert_eq!(lab.run(&["run", &name, "--quiet"]).code, Some(0));
    }
    for args in
        [["logs", "best", "s3.yaml"].as_slice(), &["logs", "best", "s3"], &["logs", "best", "--sweep", "s3"]]
    {
        let done = lab.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "s=3\n"), "{args:?}: {}", done.stderr);
    }
    let shown = lab.run(&["trials", "show", "best", "s2.yaml"]);
    assert!(shown.stdout.contains("of s2: succeeded"), "{}{}", shown.stdout, shown.stderr);
    assert_eq!(lab.run(&["logs", "best", "s3", "--sweep", "s3"]).code, Some(2));
    let unknown = lab.run(&["leaderboard", "nosuch"]);
    assert_eq!(
        told(&unknown),
        "exit 1\nerror[ask]: there is no sweep `nosuch`; there are s7, s6, s5, s4, s3, … and 2 more\n\
         \u{20}|\n = help: `gridctl status --all` lists every sweep\n\n"
    );
    let all = lab.run(&["status", "--all"]);
    assert!((1..=7).all(|nth| all.stdout.contains(&format!("s{nth} "))), "{}", all.stdout);
}
