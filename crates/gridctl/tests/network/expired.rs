//! Certificates that expire while their worker has no master: the worker comes back as another one, or says what to do.

use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use super::lab::now;
use super::nodes::Master;
use super::{SWEEP, expected};

const LIFE: [&str; 4] = ["--certificate-life", "10s", "--lease-ttl", "6s"];
const EXPIRED: &str = "certificate has expired";

pub(crate) fn joined(master: &Master, name: &str) -> usize {
    master.said_by(name).matches(" joined gridctl://").count()
}

fn within(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let began = now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The sweep ends as it does on one machine, and each trial succeeded once.
pub(crate) fn check_sweep(master: &Master, expected: &str) {
    // After a restart a worker that is not heard has a minute before its trials are granted to others.
    within(120, "the sweep's end", || {
        master.lab.run(&["status", "-o", "json"]).stdout.contains("\"state\": \"finished\"")
    });
    assert_eq!(master.lab.run(&["leaderboard", "-k", "0"]).stdout, expected);
    let trials = master.lab.run(&["trials", "ls", "-o", "json"]).stdout;
    let trials: Vec<Json> = serde_json::from_str(&trials).unwrap();
    assert!(trials.len() == 60 && trials.iter().all(|trial| trial["state"] == "succeeded"), "{trials:?}");
    let records = master.lab.data().join("results/sweep/records");
    let successes = || {
        let files = std::fs::read_dir(&records).unwrap().flatten();
        let text: String = files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
        text.lines().filter(|line| line.contains("\"class\":\"succeeded\"")).count()
    };
    master.lab.until("every record is shipped", || successes() >= 60);
    assert_eq!(successes(), 60);
}

#[test]
fn a_master_that_is_away_longer_than_certificates_live_gets_its_workers_back_by_their_join_file() {
    let mut master = Master::start(&LIFE);
    master.lab.write("sweep.yaml", SWEEP);
    let expected = expected(&master.lab);
    let (once, _) = master.token(&["--role", "worker"]);
    master.worker("filed", &["--join-file", "../join"]);
    let by_address = master.worker("once", &["--join", &once]);
    master.lab.until("both join", || joined(&master, "filed") == 1 && joined(&master, "once") == 1);
    let mut submit = master.lab.command(&["submit", "sweep.yaml"]);
    let done = master.lab.finish(submit.env("LEDGER", master.lab.path().join("ledger")));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    master.lab.until("some trials", || master.lab.ledger("ledger").len() > 4);

    master.child.kill().unwrap();
    master.child.wait().unwrap();
    let both = || ["filed", "once"].iter().all(|name| master.said_by(name).contains(EXPIRED));
    master.lab.until("both certificates have expired", both);
    master.restart(&LIFE);
    // The address was used up: its worker says so, and what to do.
    let ended = master.child_of(by_address).wait().unwrap();
    let said = master.said_by("once");
    assert_eq!(ended.code(), Some(1), "{said}");
    for part in
        ["expired while it had no master", "opens nothing", "token create --role worker", "--join-file"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    master.lab.until("the other one is back", || joined(&master, "filed") == 2);
    check_sweep(&master, &expected);
}

#[test]
fn a_machine_that_slept_past_its_certificate_is_back_as_another_worker() {
    let mut master = Master::start(&LIFE);
    master.lab.write("sweep.yaml", SWEEP);
    let expected = expected(&master.lab);
    let sleeper = master.worker("sleeper", &["--join-file", "../join"]);
    master.lab.until("it joins", || joined(&master, "sleeper") == 1);
    let mut submit = master.lab.command(&["submit", "sweep.yaml"]);
    let done = master.lab.finish(submit.env("LEDGER", master.lab.path().join("ledger")));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    master.lab.until("some trials", || master.lab.ledger("ledger").len() > 4);
    let pid = master.child_of(sleeper).id().to_string();
    let signal = |signal: &str| {
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP");
    let began = now();
    let is_missed =
        || !master.lab.run(&["workers", "ls", "-o", "json"]).stdout.contains("\"connected\": true");
    master.lab.until("the master misses it", is_missed);
    master.lab.until("its certificate's end", || began.elapsed() > Duration::from_secs(12));
    signal("-CONT");
    master.lab.until("it is back", || joined(&master, "sleeper") == 2);
    assert!(master.said_by("sleeper").contains(EXPIRED), "{}", master.said_by("sleeper"));
    check_sweep(&master, &expected);
}

#[test]
fn a_master_that_lost_its_authority_gets_back_the_workers_that_have_a_join_file() {
    let mut master = Master::start(&[]);
    master.worker("worker", &["--join-file", "../join"]);
    master.lab.until("it joins", || joined(&master, "worker") == 1);
    master.child.kill().unwrap();
    master.child.wait().unwrap();
    std::fs::remove_dir_all(master.lab.data()).unwrap();
    master.restart_anew();
    // It looks into the file after a minute without a master that it knows.
    within(100, "it is back", || joined(&master, "worker") == 2);
    assert!(master.said_by("worker").contains("a master that does not know this worker"));
    let is_back = || master.lab.run(&["workers", "ls", "-o", "json"]).stdout.contains("\"connected\": true");
    master.lab.until("the master has it", is_back);
}
