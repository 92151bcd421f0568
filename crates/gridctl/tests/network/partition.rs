//! Machines with links that are cut: each is a network namespace, and the link a pair of virtual interfaces (promises 3, 8, 12, 37, 38,
//! 44).

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use super::expected;
use super::lab::{self, Lab, now};

/// Cut for longer than this, a worker's trials are granted to others.
const LEASE: &str = "3s";

/// How many nets this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A master's machine, and two more.
struct Net {
    number: u32,
    children: Vec<Child>,
}

impl Net {
    /// `None` where this user may make no network namespaces.
    fn new() -> Option<Self> {
        let number = std::process::id() * 8 + MADE.fetch_add(1, Ordering::Relaxed);
        let net = Self { number, children: Vec::new() };
        let n = net.number % 250;
        let made = net.ip(&["netns", "add", &net.name(0)]);
        if !made {
            return None;
        }
        assert!(net.ip(&["-n", &net.name(0), "link", "set", "lo", "up"]));
        assert!(net.ip(&["-n", &net.name(0), "addr", "add", &format!("10.214.{n}.1/32"), "dev", "lo"]));
        for machine in 1..=2 {
            let (name, link, far) = (net.name(machine), format!("l{machine}"), format!("r{machine}"));
            let (here, there) =
                (format!("10.213.{n}.{}", machine * 4 + 1), format!("10.213.{n}.{}", machine * 4 + 2));
            let master = format!("10.214.{n}.1");
            for command in [
                &["netns", "add", &name][..],
                &["-n", &net.name(0), "link", "add", &link, "type", "veth", "peer", "name", &far],
                &["-n", &net.name(0), "link", "set", &far, "netns", &name],
                &["-n", &net.name(0), "addr", "add", &format!("{here}/30"), "dev", &link],
                &["-n", &net.name(0), "link", "set", &link, "up"],
                &["-n", &name, "addr", "add", &format!("{there}/30"), "dev", &far],
                &["-n", &name, "link", "set", &far, "up"],
                &["-n", &name, "link", "set", "lo", "up"],
                &["-n", &name, "route", "add", &master, "via", &here],
            ] {
                assert!(net.ip(command), "{command:?}");
            }
        }
        Some(net)
    }

    fn name(&self, machine: u32) -> String {
        format!("gridctl-{}-{machine}", self.number)
    }

    fn ip(&self, args: &[&str]) -> bool {
        let done = Command::new("ip").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    }

    /// A command on a machine.
    fn command(&self, machine: u32, lab: &Lab, args: &[&str]) -> Command {
        let plain = lab.command(args);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(machine)]).arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(lab.path()).stdin(Stdio::null());
        command
    }

    /// Starts a command on a machine.
    fn start(&mut self, machine: u32, lab: &Lab, name: &str, args: &[&str]) -> usize {
        let dir = lab.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        let mut command = self.command(machine, lab, args);
        let dir = if name == "master" { lab.path().to_owned() } else { dir };
        let errors =
            File::options().create(true).append(true).open(lab.path().join(name).join("err")).unwrap();
        command.current_dir(dir).stdout(Stdio::null()).stderr(errors);
        self.children.push(command.spawn().unwrap());
        self.children.len() - 1
    }

    /// Cuts a machine off, or heals its link.
    fn link(&self, machine: u32, state: &str) {
        assert!(self.ip(&["-n", &self.name(0), "link", "set", &format!("l{machine}"), state]));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for machine in 0..=2 {
            self.ip(&["netns", "del", &self.name(machine)]);
        }
    }
}

#[test]
fn a_worker_that_is_cut_off_past_its_lease_and_a_master_that_is_killed_change_no_result() {
    let Some(mut net) = Net::new() else {
        return lab::skipped("links are cut: this user may make no network namespaces");
    };
    let lab = Lab::new();
    lab.write("sweep.yaml", super::SWEEP);
    let expected = expected(&lab);
    let place = format!("10.214.{}.1:7070", net.number % 250);
    let listen = ["master", "--listen", &place, "--join-file", "join", "--lease-ttl", LEASE];
    let master = net.start(0, &lab, "master", &listen);
    lab.until("the master serves", || lab.run(&["workers", "ls"]).code == Some(0));
    let token = lab.run(&["token", "create", "--role", "worker"]).stdout;
    let worker = ["worker", "--slots", "2", "--join-file", "../join"];
    net.start(1, &lab, "first", &worker);
    net.start(2, &lab, "second", &worker);
    net.start(2, &lab, "third", &["worker", "--slots", "1", "--join", token.trim()]);
    let workers = |connected: bool| {
        let workers: Json =
            serde_json::from_str(&lab.run(&["workers", "ls", "-o", "json"]).stdout).unwrap_or_default();
        let workers = workers.as_array().cloned().unwrap_or_default();
        workers.iter().filter(|worker| worker["connected"] == connected).count()
    };
    lab.until("three workers", || workers(true) == 3);
    let mut submit = lab.command(&["submit", "sweep.yaml"]);
    let done = lab.finish(submit.env("LEDGER", lab.path().join("ledger")));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    lab.until("some trials", || lab.ledger("ledger").len() > 6);

    net.link(1, "down");
    let began = now();
    lab.until("the master misses one", || workers(true) == 2);
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    let said = || fs::read_to_string(lab.path().join("first/err")).unwrap();
    lab.until("the worker notices", || said().contains("it is silent"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    net.children[master].kill().unwrap();
    net.children[master].wait().unwrap();
    net.link(1, "up");
    net.start(0, &lab, "master", &listen);
    lab.until("all three are back", || workers(true) == 3);

    let is_over = || lab.run(&["status", "-o", "json"]).stdout.contains("\"state\": \"finished\"");
    lab.until("the sweep's end", is_over);
    assert_eq!(lab.run(&["leaderboard", "-k", "0"]).stdout, expected);
    let trials: Vec<Json> = serde_json::from_str(&lab.run(&["trials", "ls", "-o", "json"]).stdout).unwrap();
    assert!(trials.len() == 60 && trials.iter().all(|trial| trial["state"] == "succeeded"), "{trials:?}");
    let successes = || {
        let records = fs::read_dir(lab.data().join("results/sweep/records")).unwrap();
        let text: String = records.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        text.lines().filter(|line| line.contains("\"class\":\"succeeded\"")).count()
    };
    // Each trial has one success, and no second one comes.
    lab.until("every record is shipped", || successes() >= 60);
    assert_eq!(successes(), 60);
    assert_eq!(said().matches("joined").count(), 1, "{}", said());
}

#[test]
fn a_directory_of_one_machine_runs_on_another_that_sees_the_master_alone() {
    let Some(mut net) = Net::new() else {
        return lab::skipped("machines are apart: this user may make no network namespaces");
    };
    let lab = Lab::new();
    lab.script("laptop/train.sh", "#!/bin/sh\necho s=$((HP_X * 7 % 31))\n");
    lab.write(
        "laptop/sweep.yaml",
        "name: travels\ncommand: [./train.sh]\nmetric: {name: s, goal: maximize}\n\
         parameters: {x: {min: 1, max: 20}}\n",
    );
    let expected = lab.run(&["run", "laptop/sweep.yaml", "--data-dir", "own-data", "-k", "0"]);
    assert_eq!(expected.code, Some(0), "{}", expected.stderr);
    let place = format!("10.214.{}.1:7070", net.number % 250);
    net.start(0, &lab, "master", &["master", "--listen", &place, "--join-file", "join"]);
    lab.until("the master serves", || lab.run(&["workers", "ls"]).code == Some(0));
    let token = lab.run(&["token", "create", "--role", "submit"]);
    let url = token.stderr.split('\'').nth(1).unwrap_or_default().to_owned();
    let mut submit = net.command(2, &lab, &["submit", "sweep.yaml"]);
    submit.current_dir(lab.path().join("laptop")).env("GRIDCTL_DATA_DIR", lab.path().join("laptop-data"));
    submit.env("GRIDCTL_MASTER", url).env("GRIDCTL_TOKEN", token.stdout.trim());
    let done = lab.finish(&mut submit);
    assert!(done.code == Some(0) && done.stderr.contains("went to the master"), "{}", done.stderr);
    fs::remove_dir_all(lab.path().join("laptop")).unwrap();
    net.start(1, &lab, "worker", &["worker", "--slots", "2", "--join-file", "../join", "--data-dir", "own"]);
    assert_eq!(lab.run(&["status", "-w"]).code, Some(0));
    let board = lab.run(&["leaderboard", "-k", "0"]);
    assert_eq!((board.code, board.stdout), (Some(0), expected.stdout), "{}", board.stderr);
}
