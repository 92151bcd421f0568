//! A fault of the machine is the machine's: what it lacks is made anew, it rests, and then it is given up
//! with its reason; trials keep their budgets.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use lab::{Done, Lab, Mounted, signal, skipped};
use rustix::process::Signal;

/// Runs a copy of the program that the trials of the sweep can remove.
fn run_removable(lab: &Lab, args: &[&str]) -> Done {
    let own = lab.command(args);
    let program = lab.path().join("removable");
    if fs::hard_link(own.get_program(), &program).is_err() {
        fs::copy(own.get_program(), &program).unwrap();
    }
    let mut command = Command::new(program);
    command.args(own.get_args()).current_dir(lab.path()).stdin(Stdio::null());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    lab.finish(&mut command)
}

#[test]
fn directories_that_are_removed_under_a_run_are_made_anew() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        r#"command:
  - sh
  - -c
  - |
    test -d "$GRID_OUTPUT_DIR" && test -d "$GRID_CHECKPOINT_DIR" && test -f "$GRID_PARAMS_FILE" || exit 9
    rm -rf "$(dirname "$(dirname "$GRID_OUTPUT_DIR")")" "$(dirname "$GRID_PARAMS_FILE")"
    echo s=1
metric: {name: s}
parameters: {x: {values: [1, 2, 3, 4, 5]}}
"#,
    );
    let done = lab.run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("5 succeeded") && !done.stderr.contains("lost"), "{}", done.stderr);
}

#[test]
fn f79_a_slots_directory_that_became_a_file_a_link_or_full_harms_no_other_trial() {
    let lab = Lab::new();
    let Some(_mounted) = Mounted::at(lab.path().join("small"), "1m") else {
        return skipped("a full worker's directory: no right to mount a small file system");
    };
    lab.write(
        "s.yaml",
        r#"command:
  - sh
  - -c
  - |
    case $HP_X in
    2) head -c 3M /dev/zero > "$GRID_OUTPUT_DIR/model" || exit 9 ;;
    4 | 5 | 6) rm -rf "$(dirname "$GRID_OUTPUT_DIR")" ;;
    esac
    case $HP_X in
    5) echo > "$(dirname "$GRID_OUTPUT_DIR")" ;;
    6) ln -s "$PWD" "$(dirname "$GRID_OUTPUT_DIR")" ;;
    esac
    echo ::metric s=1
metric: {name: s}
order: file
retry: {max_failures: 0}
parameters: {x: {min: 1, max: 9}}
"#,
    );
    let master = lab.start(&["master"]);
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let worker = lab.start(&["worker", "--slots", "1", "--work-dir", "small"]);
    assert_eq!(lab.run(&["submit", "s.yaml"]).code, Some(0));
    let done = lab.run(&["status", "-w"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let status = lab.run(&["status", "-o", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    // The first was full; the metrics file of the other one may have held something else.
    assert_eq!((&status["succeeded"], &status["failed"]), (&7.into(), &2.into()), "{status}");
    assert_eq!(status["lost"], 0, "{status}");
    assert!(lab.path().join("s.yaml").exists() && !lab.path().join("output").exists());
    for child in [worker, master] {
        signal(&child, Signal::TERM);
        assert_eq!(lab.wait(child).code, Some(0));
    }
}

#[test]
fn a_machine_that_cannot_start_trials_is_given_up_and_the_sweep_waits_for_a_person() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        r#"command:
  - sh
  - -c
  - |
    if [ -e removable ]; then rm removable; kill -9 $PPID; sleep 60; fi
    echo s=1
metric: {name: s}
parameters: {x: {values: [1, 2, 3]}}
"#,
    );
    let done = run_removable(&lab, &["run", "s.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(13), "{}", done.stderr);
    for said in ["rests and tries again", "takes no more", "no machine is left", "lost and tried again"] {
        assert!(done.stderr.contains(said), "{said}: {}", done.stderr);
    }
    let again = lab.run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("3 succeeded"), "{}", again.stderr);
}

#[test]
fn a_trainer_whose_file_becomes_too_long_for_the_machine_is_told_why_and_the_run_goes_on() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        r#"command: [sh, -c, 'if [ $HP_X = 2 ]; then exec head -c 3M /dev/zero > long; fi; echo s=$HP_X']
metric: {name: s}
retry: {max_failures: 0}
parameters: {x: {values: [1, 2, 3]}}
order: file
"#,
    );
    let mut shell = Command::new("bash");
    shell.args(["-c", "ulimit -f 2048; exec \"$0\" run s.yaml --slots 1", env!("CARGO_BIN_EXE_gridctl")]);
    let done = lab.finish(shell.current_dir(lab.path()).stdin(Stdio::null()).env_remove("GRIDCTL_DATA_DIR"));
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    assert!(
        done.stderr.contains("signal 25: a file became longer than `ulimit -f` allows"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("2 succeeded, 1 failed"), "{}", done.stderr);
}

/// The first of some users that have no processes: the limit counts all of a user's.
const USERS: u32 = 61_000;

#[test]
fn a_user_who_may_have_no_more_threads_or_processes_is_told_and_nothing_panics() {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        return skipped("no more threads: to be another user than root takes root and setpriv");
    }
    let lab = Lab::new();
    fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = lab.path().join("gridctl");
    fs::copy(env!("CARGO_BIN_EXE_gridctl"), &program).unwrap();
    let start = |most: u32| {
        let file = format!("{most}/s.yaml");
        lab.write(
            &file,
            r#"command: [sh, -c, 'echo 1 > "$GRID_OUTPUT_DIR/x"; head -c 99999 /dev/zero; echo; echo s=$HP_X']
metric: {name: s}
parameters: {x: {min: 1, max: 9}}
"#,
        );
        let user = USERS + most;
        chown(lab.path().join(most.to_string()), Some(user), Some(user)).unwrap();
        let limited = format!("ulimit -u {most}; exec ./gridctl run {file} --slots 2");
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
        command.args(["--clear-groups", "--", "bash", "-c", &limited]).current_dir(lab.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (most, command.env_remove("GRIDCTL_DATA_DIR").spawn().unwrap())
    };
    let runs = [1, 2, 3, 4, 5, 6, 7, 8, 10, 200].map(start);
    let ends = BTreeMap::from(runs.map(|(most, run)| {
        let done = lab.wait(run);
        let log = lab.path().join(format!("{most}/gridctl-data/work/worker.log"));
        let said = format!("{most}: {}\n{}", done.stderr, fs::read_to_string(log).unwrap_or_default());
        assert!(!said.contains("panicked") && !said.contains("quarantined"), "{said}");
        assert!(most == 200 || said.contains("Resource temporarily unavailable"), "{said}");
        (most, done.code)
    }));
    assert!(ends.values().all(|code| matches!(code, Some(0 | 1 | 13))), "{ends:?}");
    assert_eq!((ends[&1], ends[&5], ends[&8], ends[&200]), (Some(1), Some(1), Some(13), Some(0)));
}

#[test]
fn what_a_trainer_left_and_nobody_can_remove_is_no_other_trials() {
    let lab = Lab::new();
    lab.write("probe", "");
    let chattr = |how: &str, path: &str| {
        let done = std::process::Command::new("chattr").args([how, path]).current_dir(lab.path()).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !chattr("+i", "probe") {
        return skipped("files that cannot be removed: no right to make one");
    }
    for isolate in [false, true] {
        let (dir, name) = (format!("d{isolate}"), format!("s{isolate}.yaml"));
        lab.write(&format!("{dir}/model.txt"), "1\n");
        lab.write(
            &format!("{dir}/{name}"),
            format!(
                r#"command:
  - sh
  - -c
  - |
    if [ "$HP_X" = 1 ]; then
      echo '{{"s": 9}}' > "$GRID_METRICS_FILE"
      [ {isolate} = false ] || {{ echo 5 > model.txt; chattr +i model.txt; }}
      chattr +i "$GRID_METRICS_FILE"
    else
      echo "s=$(($HP_X * $(cat model.txt)))"
    fi
isolate: {isolate}
metric: {{name: s, goal: minimize}}
order: file
parameters: {{x: {{min: 1, max: 5}}}}
"#
            ),
        );
        let file = format!("{dir}/{name}");
        let done = lab.run(&["run", &file, "--slots", "1", "-q"]);
        let rows = lab.run(&["leaderboard", &file, "-k", "0", "-o", "csv"]).stdout;
        let numbers: Vec<&str> = rows.lines().skip(1).filter_map(|row| row.split(',').nth(4)).collect();
        assert_eq!((done.code, numbers), (Some(0), vec!["2", "3", "4", "5", "9"]), "{}{rows}", done.stderr);
    }
    for left in ["probe", "gridctl-data", "dfalse", "dtrue"] {
        let _ =
            std::process::Command::new("chattr").args(["-R", "-i", left]).current_dir(lab.path()).output();
    }
}

#[test]
fn a_trial_that_takes_its_worker_along_is_quarantined_and_the_last_words_say_what_that_is() {
    let lab = Lab::new();
    lab.write(
        "q.yaml",
        "command: [sh, -c, '[ $HP_X != 2 ] || { kill -9 $(ps -o ppid= -p $PPID); sleep 5; }; echo s=$HP_X']\n\
         metric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2, 3]}}\n",
    );
    let done = lab.run(&["run", "q.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    for said in [", 2 succeeded, 1 quarantined", "`gridctl trials ls q --state quarantined` lists them"] {
        assert!(done.stderr.contains(said), "{}", done.stderr);
    }
    let rows = lab.run(&["trials", "ls", "q", "--state", "quarantined", "-o", "csv"]).stdout;
    assert_eq!(rows.lines().count(), 2, "{rows}");
}
