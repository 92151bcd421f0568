//! Where people and workers find a master, with one variable alone, and whether those that are here answer.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::lab::{Lab, now, signal};
use super::nodes::Master;

#[test]
fn workers_and_people_may_be_told_different_places_and_one_variable_has_all_that_a_person_needs() {
    let master = Master::start(&["--advertise-workers", "inside.example:7070"]);
    let join = fs::read_to_string(master.join_file()).unwrap();
    assert!(join.starts_with("gridctl://inside.example:7070?pin="), "{join}");
    let (once, _) = master.token(&["--role", "worker"]);
    assert!(once.starts_with("gridctl://inside.example:7070?pin="), "{once}");
    let (url, id) = master.token(&["--role", "submit", "--url"]);
    assert!(url.starts_with(&format!("{}&token=", master.url)), "{url}");
    let as_person = |url: &str, args: &[&str]| {
        let mut command = master.lab.command(args);
        // An older token that is still exported is not shown to this master.
        command.env("GRIDCTL_MASTER", url).env("GRIDCTL_TOKEN", "0123456789");
        master.lab.finish(&mut command)
    };
    master.lab.write(
        "s.yaml",
        "command: ['true']\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1]}}\n",
    );
    let done = as_person(&url, &["submit", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let done = as_person(&url, &["workers", "drain"]);
    assert_eq!(done.code, Some(4), "the role is the token's: {}", done.stderr);
    let done = as_person(&url, &["doctor"]);
    assert!(done.stdout.contains("token=***") && !done.stdout.contains(&Master::token_of(&url)), "{done:?}");
    assert_eq!(master.lab.run(&["token", "revoke", &id]).code, Some(0));
    assert_eq!(as_person(&url, &["status"]).code, Some(4));
    // As an argument it would be seen by everybody on the machine.
    let done = master.lab.run(&["status", "--master", &url]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(!done.stderr.contains(&Master::token_of(&url)), "{}", done.stderr);
}

#[test]
fn a_master_for_this_machine_alone_gives_no_address() {
    let lab = Lab::new();
    let mut master = lab.start(&["master"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let done = lab.run(&["token", "create", "--role", "read", "--url"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{}", done.stderr);
    assert!(done.stderr.contains("--listen"), "{}", done.stderr);
    let tokens = lab.run(&["token", "list", "-o", "json"]);
    assert_eq!(tokens.stdout.trim(), "[]", "the token that was of no use is gone");
    master.kill().unwrap();
    master.wait().unwrap();
}

#[test]
fn health_is_0_for_those_who_answer_and_5_for_nobody_and_for_who_stands_still() {
    let lab = Lab::new();
    fs::create_dir(lab.data()).unwrap();
    let health = || {
        let began = now();
        let done = lab.run(&["health"]);
        assert!(began.elapsed() < Duration::from_secs(20), "{done:?}");
        (done.code, done.stderr)
    };
    let (code, said) = health();
    assert!(code == Some(5) && said.contains("neither a master nor a worker"), "{said}");
    let mut master = lab.start(&["master"]);
    lab.until("the master answers", || health() == (Some(0), "the master answers\n".to_owned()));
    let mut worker = lab.start(&["worker", "--slots", "1"]);
    let both = "the master answers; 1 worker there\n".to_owned();
    lab.until("both answer", || health() == (Some(0), both.clone()));
    signal(&worker, Signal::STOP);
    let (code, said) = health();
    assert!(code == Some(5) && said.contains("1 silent"), "{said}");
    signal(&worker, Signal::CONT);
    assert_eq!(health(), (Some(0), both));
    signal(&master, Signal::STOP);
    let (code, said) = health();
    assert!(code == Some(5) && said.contains("does not answer"), "{said}");
    // Killed, it is no longer there, and its worker is well.
    master.kill().unwrap();
    master.wait().unwrap();
    assert_eq!(health(), (Some(0), "1 worker there\n".to_owned()));
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(health().0, Some(5));
}
