//! What is gridctl's own on a machine is removed once its owner is dead, and nothing else ever is.
//! Dead is who holds no lock.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gridctl_worker::cgroup::CgroupSupport;
use gridctl_worker::marks::is_alive;
use lab::{Lab, signal};
use rustix::process::{Pid, Signal, kill_process};

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// The first attempt says who it is and goes on for ever; each further one says whether it goes on
/// beside the first.
const LONG: &str = r#"command:
  - sh
  - -c
  - |
    if [ -e first ]; then
      kill -0 "$(cat first)" 2> /dev/null && echo beside >> ledger
      echo "again" >> ledger; echo s=1; exit
    fi
    (trap '' HUP; setsid sh -c 'echo $$ > child.new; mv child.new child; exec sleep 300' &)
    mkdir -p $GRID_OUTPUT_DIR/closed/deep; chmod 0 $GRID_OUTPUT_DIR/closed
    echo $PPID > slot; echo $$ > first.new; mv first.new first
    while :; do sleep 1; done
metric: {name: s}
parameters: {x: {value: 1}}
"#;

fn skipped(why: &str) {
    eprintln!("SKIPPED {why}");
    assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
}

/// A child of the test's that is ended with it.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who types the commands: this user, or one who is not root and owns the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Own,
    Nobody,
}

impl User {
    fn command(self, lab: &Lab, args: &[&str]) -> Command {
        let own = lab.command(args);
        if self == Self::Own {
            return own;
        }
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
        command.args(["--clear-groups", "--"]).arg(reachable(lab, own.get_program())).args(own.get_args());
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(lab.path()).stdin(Stdio::null());
        command
    }

    fn daemon(self, lab: &Lab, args: &[&str]) -> Ends {
        let log = fs::File::options().append(true).create(true).open(lab.path().join("log")).unwrap();
        Ends(self.command(lab, args).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

/// The program within the lab: the directory that it was built in may be closed to other users.
fn reachable(lab: &Lab, program: &OsStr) -> PathBuf {
    let own = lab.path().join("gridctl");
    if !own.exists() && fs::hard_link(program, &own).is_err() {
        fs::copy(program, &own).unwrap();
    }
    own
}

/// The users that a test can be: not root as well, where that can be had.
fn users() -> Vec<User> {
    if rustix::process::geteuid().is_root() && Path::new("/usr/bin/setpriv").exists() {
        return vec![User::Own, User::Nobody];
    }
    if rustix::process::geteuid().is_root() {
        skipped("what is not root's is ended too: there is no setpriv");
    }
    vec![User::Own]
}

/// A lab of this user's with a master that serves in it.
fn served(user: User, sweep: &str) -> (Lab, Ends) {
    let lab = Lab::new();
    lab.write("s.yaml", sweep);
    if user == User::Nobody {
        chown(lab.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let master = user.daemon(&lab, &["master", "--lease-ttl", "3s"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    assert_eq!(lab.finish(&mut user.command(&lab, &["submit", "s.yaml"])).code, Some(0));
    (lab, master)
}

fn number(lab: &Lab, file: &str) -> u32 {
    fs::read_to_string(lab.path().join(file)).unwrap().trim().parse().unwrap()
}

fn kill(pid: u32) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
}

/// Waits until the first attempt goes on; its trainer and the daemon that it has made.
fn begun(lab: &Lab) -> [u32; 2] {
    lab.until("the first attempt begins", || {
        ["first", "child"].iter().all(|file| lab.path().join(file).exists())
    });
    [number(lab, "first"), number(lab, "child")]
}

/// Kills a worker together with its slot, so that nobody is left who could end the trainer.
fn kill_with_slot(lab: &Lab, worker: &mut Ends) {
    signal(&worker.0, Signal::STOP);
    kill(number(lab, "slot"));
    worker.0.kill().unwrap();
    worker.0.wait().unwrap();
}

#[test]
fn a_worker_ends_what_a_dead_one_left_before_it_takes_a_trial_and_leaves_the_living_alone() {
    for user in users() {
        let (lab, _master) = served(user, LONG);
        let mut first = user.daemon(&lab, &["worker", "--slots", "1"]);
        let trainer = begun(&lab);
        let living = user.daemon(&lab, &["worker", "--slots", "1"]);
        let slots = lab.data().join("work/slots");
        lab.until("another worker has begun", || fs::read_dir(&slots).unwrap().count() == 2);
        assert!(trainer.iter().all(|pid| is_alive(*pid)), "{user:?}: a living worker's trainers go on");
        drop(living);
        kill_with_slot(&lab, &mut first);
        assert!(trainer.iter().all(|pid| is_alive(*pid)), "{user:?}: nobody could end them");
        let _next = user.daemon(&lab, &["worker", "--slots", "1"]);
        lab.until("the second attempt is made", || lab.ledger("ledger").contains(&"again".to_owned()));
        assert_eq!(lab.ledger("ledger"), ["again"], "{user:?}: not beside the first");
        assert!(!trainer.iter().any(|pid| is_alive(*pid)), "{user:?}: {trainer:?}");
        lab.until("the dead worker's directory is gone", || fs::read_dir(&slots).unwrap().count() == 1);
    }
}

#[test]
fn what_a_dead_worker_left_is_ended_even_if_it_has_cleared_its_environment_and_its_cgroups_go() {
    if let CgroupSupport::None { why } = CgroupSupport::detect() {
        return skipped(&format!("what cleared its environment is ended too: {why}"));
    }
    let (lab, _master) = served(User::Own, &LONG.replace("setsid", "env -i setsid"));
    let mut first = User::Own.daemon(&lab, &["worker", "--slots", "1"]);
    let trainer = begun(&lab);
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", trainer[0])).unwrap();
    let own =
        cgroups.lines().find_map(|line| line.rsplit('/').next().filter(|it| it.starts_with("gridctl-")));
    let own = own.unwrap_or_else(|| panic!("{cgroups}")).to_owned();
    kill_with_slot(&lab, &mut first);
    let _next = User::Own.daemon(&lab, &["worker", "--slots", "1"]);
    lab.until("all are ended", || !trainer.iter().any(|pid| is_alive(*pid)));
    lab.until("the cgroup is gone", || {
        let found = Command::new("find").args(["/sys/fs/cgroup", "-name", &own]).output().unwrap();
        found.stdout.is_empty()
    });
}

#[test]
fn a_worker_that_lives_ends_what_one_beside_it_left() {
    for user in users() {
        let (lab, _master) = served(user, LONG);
        let mut first = user.daemon(&lab, &["worker", "--slots", "1"]);
        let trainer = begun(&lab);
        let _beside = user.daemon(&lab, &["worker", "--slots", "1"]);
        let slots = lab.data().join("work/slots");
        lab.until("another worker has begun", || fs::read_dir(&slots).unwrap().count() == 2);
        kill_with_slot(&lab, &mut first);
        lab.until("its trainers are ended", || !trainer.iter().any(|pid| is_alive(*pid)));
    }
}

#[test]
fn a_run_leaves_the_trainers_of_a_worker_alone_that_goes_on_without_a_master() {
    let wait = "echo start >> ledger; until [ -e go ]; do sleep 0.05; done; echo s=1";
    let sweep =
        format!("command: [sh, -c, '{wait}']\nmetric: {{name: s}}\nparameters: {{x: {{value: 1}}}}\n");
    let (lab, mut master) = served(User::Own, &sweep);
    let _worker = User::Own.daemon(&lab, &["worker", "--slots", "1"]);
    lab.until("the trial begins", || lab.ledger("ledger").len() == 1);
    signal(&master.0, Signal::TERM);
    assert!(master.0.wait().unwrap().success());
    let run = lab.start(&["run", "s.yaml", "--slots", "1"]);
    lab.until("both workers are connected", || {
        let shown = lab.run(&["workers", "ls", "-o", "json"]).stdout;
        shown.matches("\"connected\": true").count() == 2
    });
    lab.write("go", "");
    let done = lab.wait(run);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(lab.ledger("ledger"), ["start"], "{}", done.stderr);
}

#[test]
fn nothing_of_a_persons_in_a_work_directory_is_removed() {
    let (lab, _master) =
        served(User::Own, &LONG.replace("if [ -e first ]; then", "echo s=1; exit; if :; then"));
    let dir = lab.path().join("mine");
    // The last has a name that a worker could have, where a worker makes its directory.
    for name in ["thesis/one.tex", "notes", "gridctl-slots/abcdefgh/two.tex", "gridctl-slots/aaaaaaaa/three"]
    {
        lab.write(&format!("mine/{name}"), "years of work");
    }
    fs::create_dir(dir.join("empty")).unwrap();
    let files = || -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        let mut dirs = vec![dir.clone()];
        while let Some(at) = dirs.pop() {
            // A worker may remove it just now.
            for entry in fs::read_dir(at).into_iter().flatten().flatten() {
                found.push(entry.path());
                dirs.extend(entry.path().is_dir().then(|| entry.path()));
            }
        }
        found.sort();
        found
    };
    let before = files();
    let work_dir = dir.to_str().unwrap();
    for _ in 0..2 {
        let mut worker = User::Own.daemon(&lab, &["worker", "--slots", "1", "--work-dir", work_dir]);
        lab.until("the worker has a directory", || files().len() > before.len());
        worker.0.kill().unwrap();
        worker.0.wait().unwrap();
    }
    assert!(before.iter().all(|path| path.exists()), "{before:?}");
    let worker = User::Own.daemon(&lab, &["worker", "--slots", "1", "--work-dir", work_dir]);
    lab.until("the sweep ends", || lab.run(&["status", "-o", "json"]).stdout.contains("\"finished\""));
    signal(&worker.0, Signal::TERM);
    lab.until("what the workers made is gone", || files() == before);
}

/// Whether a process can be started in a PID namespace of its own.
fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    tried.is_ok_and(|done| done.status.success())
}

/// The command in a PID namespace of its own, which ends with it.
fn apart(lab: &Lab, args: &[&str]) -> Command {
    let own = lab.command(args);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    command.arg(own.get_program()).args(own.get_args());
    command.current_dir(lab.path()).env("TERM", "dumb").stdin(Stdio::null());
    command
}

#[test]
fn a_run_in_another_pid_namespace_is_not_taken_for_a_dead_one() {
    if !has_namespaces() {
        return skipped("a run in another PID namespace is left alone: none can be made");
    }
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'touch begun; until [ -e go ]; do sleep 0.05; done; test -s $GRID_PARAMS_FILE && echo s=1']
metric: {name: s}
parameters: {x: {value: 1}}
resources: {mem: 100M}
",
    );
    let living = apart(&lab, &["run", "s.yaml", "--slots", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lab.until("the trial begins", || lab.path().join("begun").exists());
    let other = Lab::new();
    other.write("t.yaml", "command: [sh, -c, 'echo s=1']\nmetric: {name: s}\nparameters: {x: {value: 1}}\n");
    for args in [&["doctor"][..], &["run", "t.yaml"]] {
        let done = other.finish(&mut apart(&other, args));
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
    }
    lab.write("go", "");
    let done = lab.wait(living);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let trials = lab.run(&["trials", "ls", "-o", "json"]).stdout;
    let trials: serde_json::Value = serde_json::from_str(&trials).unwrap();
    assert_eq!((&trials[0]["state"], &trials[0]["attempts"]), (&"succeeded".into(), &1.into()), "{trials}");
}

#[test]
fn the_directory_of_a_killed_masters_socket_goes_with_the_next_start_and_a_living_ones_stays() {
    let deep = format!("d/{}", "x".repeat(90));
    let runtime = Lab::new();
    let begin = |lab: &Lab| {
        let mut command = lab.command(&["master", "--data-dir", &deep]);
        command.env("XDG_RUNTIME_DIR", runtime.path()).stderr(Stdio::null());
        let master = Ends(command.spawn().unwrap());
        let advert = lab.path().join(&deep).join("master.json");
        lab.until("the master serves", || {
            fs::read_to_string(&advert).is_ok_and(|text| {
                let advert: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                advert["pid"] == master.0.id()
            })
        });
        master
    };
    let dirs = || fs::read_dir(runtime.path()).unwrap().count();
    runtime.write("gridctl-0123456789ab/thesis", "x").write("gridctl-mine/x", "x");
    let (one, two) = (Lab::new(), Lab::new());
    let mut killed = begin(&one);
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    assert_eq!(dirs(), 3);
    let mut living = begin(&two);
    assert_eq!(dirs(), 3, "one went, one came");
    let mut next = begin(&one);
    assert_eq!(dirs(), 4, "the living one's stays");
    let status = two.finish(&mut two.command(&["status", "--all", "--data-dir", &deep]));
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    for master in [&mut living, &mut next] {
        signal(&master.0, Signal::TERM);
        assert!(master.0.wait().unwrap().success());
    }
    assert_eq!(dirs(), 2);
    assert!(runtime.path().join("gridctl-0123456789ab/thesis").exists());
}

#[test]
fn a_master_replaces_nothing_that_no_master_made() {
    for name in ["master.sock", "master.json"] {
        let lab = Lab::new();
        lab.write(&format!("gridctl-data/{name}"), "{\"of\": \"a person\"}");
        let done = lab.run(&["master"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stderr.contains(name) && done.stderr.contains("move it away"), "{}", done.stderr);
        let kept = fs::read_to_string(lab.data().join(name)).unwrap();
        assert_eq!(kept, "{\"of\": \"a person\"}");
    }
}
