//! What a slot is told in the moment in which a trial ends is done: no slot stands still.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs::{self, File};
use std::process::{Child, Stdio};

use lab::Lab;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// Quick trials, after which a slot gets its next one in advance; the last says who its slot and its trainer are, and ends
/// when it may.
const WAITS: &str = r#"command:
  - sh
  - -c
  - |
    if [ "$HP_X" = 12 ]; then
      echo $PPID > slot; echo $$ > pid.new; mv pid.new pid; until [ -e go ]; do sleep 0.02; done
    fi
    echo s=1
metric: {name: s}
order: file
parameters: {x: {values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}}
"#;

/// Says which attempt it is.
const NEXT: &str = r#"command: [sh, -c, 'echo "$HP_X $GRID_ATTEMPT" >> ledger; echo s=1']
metric: {name: s}
order: file
parameters: {x: {values: [1, 2, 3]}}
"#;

/// A daemon that is ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(lab: &Lab, args: &[&str]) -> Daemon {
    let log = File::options().append(true).create(true).open(lab.path().join("log")).unwrap();
    Daemon(lab.command(args).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

/// A slot that stands still while its trainer ends.
struct Stopped {
    lab: Lab,
    slot: u32,
    _daemons: [Daemon; 2],
}

impl Stopped {
    fn new() -> Self {
        let lab = Lab::new();
        lab.write("waits.yaml", WAITS).write("next.yaml", NEXT);
        let master = daemon(&lab, &["master"]);
        lab.until("the master serves", || lab.data().join("master.json").exists());
        let worker = daemon(&lab, &["worker", "--slots", "1"]);
        assert_eq!(lab.run(&["submit", "waits.yaml"]).code, Some(0));
        lab.until("the trial begins", || lab.path().join("pid").exists());
        let (slot, trainer) = (number(&lab, "slot"), number(&lab, "pid"));
        send(slot, Signal::STOP);
        lab.until("the slot stands still", || state(slot) == Some('T'));
        lab.write("go", "");
        lab.until("the trainer has ended", || state(trainer) == Some('Z'));
        Self { lab, slot, _daemons: [master, worker] }
    }

    /// Lets the slot go on as soon as the worker has told it something.
    fn resume_when_told(&self) {
        // A pipe's end of our own: what is there is only looked at.
        let requests = File::open(format!("/proc/{}/fd/0", self.slot)).unwrap();
        self.lab.until("the worker tells the slot something", || {
            let mut fds = [PollFd::new(&requests, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
        });
        send(self.slot, Signal::CONT);
    }
}

fn number(lab: &Lab, file: &str) -> u32 {
    fs::read_to_string(lab.path().join(file)).unwrap().trim().parse().unwrap()
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The letter that the kernel has for what a process does.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn a_trial_that_is_given_to_a_slot_as_another_ends_begins_there() {
    let stopped = Stopped::new();
    let lab = &stopped.lab;
    assert_eq!(lab.run(&["submit", "next.yaml"]).code, Some(0));
    stopped.resume_when_told();
    lab.until("the other trials are done", || lab.ledger("ledger").len() == 3);
    assert_eq!(lab.ledger("ledger"), ["1 1", "2 1", "3 1"], "each at its first attempt");
}

#[test]
fn a_cancel_that_meets_a_trials_end_takes_what_it_brought() {
    let stopped = Stopped::new();
    let lab = &stopped.lab;
    let cancel = lab.start(&["cancel", "waits"]);
    stopped.resume_when_told();
    let began = lab::now();
    let done = lab.wait(cancel);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    lab.until("the trial is done", || {
        let trials = lab.run(&["trials", "ls", "-o", "jsonl"]).stdout;
        assert!(!trials.contains(r#""state":"cancelled""#), "it had ended before: {trials}");
        trials.matches(r#""state":"succeeded""#).count() == 12
    });
    assert!(began.elapsed().as_secs() < 8, "{:?}: SIGKILL comes after ten seconds", began.elapsed());
}

/// The first attempt goes on for ever, with a daemon of its own; each further one is done at once.
const FOR_EVER: &str = r#"command:
  - sh
  - -c
  - |
    if [ "$GRID_ATTEMPT" = 1 ]; then
      setsid sleep 300 & echo $! > child; echo $PPID > slot; echo $$ > pid.new; mv pid.new pid; wait
    fi
    kill -0 "$(cat pid)" 2> /dev/null && echo beside >> ledger
    echo $PPID >> ledger; echo s=1
metric: {name: s}
parameters: {x: {value: 1}}
"#;

#[test]
fn a_slot_that_does_not_answer_is_replaced_and_its_trial_ends_on_another() {
    let lab = Lab::new();
    lab.write("s.yaml", FOR_EVER);
    let _master = daemon(&lab, &["master"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let _worker = daemon(&lab, &["worker", "--slots", "1", "--slot-silence", "2s"]);
    assert_eq!(lab.run(&["submit", "s.yaml"]).code, Some(0));
    lab.until("the trial begins", || lab.path().join("pid").exists());
    let (slot, pids) = (number(&lab, "slot"), [number(&lab, "pid"), number(&lab, "child")]);
    // Longer than it may be silent: it answers.
    let began = lab::now();
    lab.until("the slot was asked for a sign", || began.elapsed().as_secs() >= 4);
    assert_eq!(state(slot), Some('S'), "{:?}", fs::read_to_string(lab.path().join("log")));
    send(slot, Signal::STOP);
    lab.until("the trial is done", || !lab.ledger("ledger").is_empty());
    let ledger = lab.ledger("ledger");
    assert!(ledger.len() == 1 && ledger[0] != slot.to_string(), "another slot, alone: {ledger:?}");
    assert!([slot, pids[0], pids[1]].iter().all(|pid| state(*pid).is_none()), "{slot} {pids:?}");
    lab.until("it is recorded", || {
        lab.run(&["trials", "ls", "-o", "jsonl"]).stdout.contains(r#""state":"succeeded""#)
    });
    let trials = lab.run(&["trials", "ls", "-o", "jsonl"]).stdout;
    let trial: serde_json::Value = serde_json::from_str(trials.lines().next().unwrap()).unwrap();
    let shown = lab.run(&["trials", "show", trial["trial"].as_str().unwrap()]);
    let said = "the slot process did not answer for 2 s";
    assert!(shown.stdout.contains("worker_fault") && shown.stdout.contains(said), "{}", shown.stdout);
    assert!(fs::read_to_string(lab.path().join("log")).unwrap().contains(said));
    let status: serde_json::Value = serde_json::from_str(&lab.run(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(status["notices"][0]["kind"], "machine_faults", "{status}");
    let told = lab.run(&["status"]);
    assert!(format!("{}{}", told.stdout, told.stderr).contains(said), "{told:?}");
}
