//! What a trial in a container cannot do, and what becomes of one that tries to do harm.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value as Json;

use crate::images::{TestImage, containers_of, lacking};
use crate::lab::{Lab, skipped};
use crate::{assert_well, printed, sweep};

/// Each line is `name=yes` where what must not be possible is.
const REACH: &str = r#"
tcp() { timeout 3 bash -c "exec 3<>/dev/tcp/$1/80" 2>/dev/null && echo "$2=yes" || echo "$2=no"; }
tcp 169.254.169.254 metadata4
tcp fd00:ec2::254 metadata6
[ -e /var/run/docker.sock ] && echo docker=yes || echo docker=no
cat /proc/1/environ >/dev/null 2>&1 && echo environ=yes || echo environ=no
readlink /proc/1/fd/0 >/dev/null && echo descriptors=yes || echo descriptors=no
echo x 2>/dev/null >/proc/1/fd/1 && echo supervisor=yes || echo supervisor=no
ls /grid/run | grep -q sock && echo socket=yes || echo socket=no
echo x 2>/dev/null >/grid/run/x && echo run=yes || echo run=no
echo x 2>/dev/null >>/grid/gridctl && echo binary=yes || echo binary=no
grep -q '^CapEff:.*[1-9a-f]' /proc/self/status && echo capability=yes || echo capability=no
grep -q '^CapBnd:.*[1-9a-f]' /proc/self/status && echo bounding=yes || echo bounding=no
grep -q '^NoNewPrivs:.*1' /proc/self/status && echo privileges=no || echo privileges=yes
unshare -Ur true 2>/dev/null && echo namespace=yes || echo namespace=no
grep -rqs SECRET_OF_THE_HOST /proc/*/environ && echo host=yes || echo host=no
kill -9 1; kill -TERM 1; kill -HUP 1; kill -STOP 1
echo s=1
"#;

#[test]
fn k91_a_trial_reaches_no_metadata_no_docker_no_supervisor_and_no_key() {
    if let Some(why) = lacking() {
        return skipped(&format!("a trial in a container reaches nothing that it should not: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    lab.write("reach.sh", REACH);
    lab.write("sweep.yaml", sweep(&image.0, "command: [bash, reach.sh]\nparameters: {x: {values: [1]}}"));
    let mut run = lab.command(&["run", "sweep.yaml"]);
    assert_well(&lab.finish(run.env("SECRET_OF_THE_HOST", "x")));
    let text = printed(&lab, "1");
    assert_eq!(text.lines().filter(|line| line.ends_with("=no")).count(), 14, "{text}");
    assert!(!text.contains("=yes"), "{text}");
}

/// Deeds, and the class in which each ends.
const DEEDS: [(&str, &str, &str); 8] = [
    ("eats", "exec tail /dev/zero", "oom"),
    (
        "opens",
        "ulimit -n $(ulimit -Hn); i=10; while eval \"exec $i</dev/null\"; do i=$((i+1)); done; exit 4",
        "failed",
    ),
    ("daemonises", "setsid sleep 1000 & setsid sh -c 'while :; do sleep 1; done' & echo s=1", "succeeded"),
    ("kills", "kill -9 -1; kill -9 1; echo s=1", "succeeded"),
    ("talks", "printf '\\377\\377\\377\\377' >/proc/1/fd/1; printf x >/proc/1/fd/0; echo s=1", "succeeded"),
    ("kills-itself", "kill -9 $$", "failed"),
    ("says-137", "exit 137", "failed"),
    ("says-nothing", "exit 0", "no_metric"),
];

#[test]
fn k92_k94_bombs_are_contained_each_ends_in_its_class_and_the_next_trial_runs() {
    if let Some(why) = lacking() {
        return skipped(&format!("bombs in containers are contained: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    for (name, script, _) in DEEDS {
        lab.write(&format!("deeds/{name}"), script);
    }
    let names: Vec<&str> = DEEDS.iter().map(|(name, ..)| *name).collect();
    let rest = format!(
        "workdir: deeds\ncommand: [bash, \"${{params.x}}\"]\nresources: {{mem: 96M}}\n\
         parameters: {{x: {{values: [{}]}}}}\norder: file",
        names.join(", ")
    );
    lab.write("sweep.yaml", sweep(&image.0, &rest));
    let done = lab.run(&["run", "sweep.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    let expected: BTreeMap<String, String> =
        DEEDS.iter().map(|(name, _, class)| ((*name).to_owned(), (*class).to_owned())).collect();
    assert_eq!(classes(&lab), expected, "{}", done.stderr);
    assert_eq!(containers_of(&lab.data()), [] as [String; 0]);
}

#[test]
fn k92_a_fork_bomb_stays_in_its_container_and_the_next_trial_runs() {
    if let Some(why) = lacking() {
        return skipped(&format!("a fork bomb stays in its container: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    lab.write("deed.sh", "f() { f | f & }; [ $HP_X = goes ] || { f; sleep 1; exit 3; }; echo s=1\n");
    let rest = "command: [sh, deed.sh]\nresources: {mem: 1G}\ntimeout: 15s\n\
                parameters: {x: {values: [forks, goes]}}\norder: file";
    lab.write("sweep.yaml", sweep(&image.0, rest));
    let done = lab.run(&["run", "sweep.yaml", "--slots", "1"]);
    let classes = classes(&lab);
    let bomb = classes.get("forks").map(String::as_str);
    assert!(matches!(bomb, Some("failed" | "timeout")), "{classes:?} {}", done.stderr);
    assert_eq!(classes.get("goes").map(String::as_str), Some("succeeded"), "{}", done.stderr);
    assert_eq!(containers_of(&lab.data()), [] as [String; 0]);
}

#[test]
fn k92_a_trial_that_ignores_sigterm_is_ended_and_its_slot_goes_on() {
    if let Some(why) = lacking() {
        return skipped(&format!("a trial in a container that ignores SIGTERM is ended: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    let rest = "workdir: .\ncommand: [bash, -c, \"trap '' TERM; while [ $HP_X = stays ]; do sleep 1; done; echo s=1\"]\n\
                timeout: 2s\nparameters: {x: {values: [stays, goes]}}\norder: file";
    lab.write("sweep.yaml", sweep(&image.0, rest));
    let done = lab.run(&["run", "sweep.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    assert_eq!(classes(&lab).get("stays").map(String::as_str), Some("timeout"), "{}", done.stderr);
}

/// How the trials ended, by the value of `x`.
fn classes(lab: &Lab) -> BTreeMap<String, String> {
    let records = lab.data().join("results/contained/records");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(records).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let record: Json = serde_json::from_str(line).unwrap();
            let x = record["params"]["x"].as_str().unwrap().to_owned();
            found.insert(x, record["class"].as_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn k92_a_trial_that_fills_the_disk_of_its_container_is_ended_and_says_why() {
    if let Some(why) = lacking() {
        return skipped(&format!("a trial that fills its container is ended: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    let rest = "command: [bash, -c, 'head -c 100000000 /dev/zero >/tmp/bomb; sleep 50; echo s=1']\nparameters: {x: {values: [1]}}";
    lab.write("sweep.yaml", sweep(&image.0, rest));
    let done = lab.run(&["run", "sweep.yaml", "--container-disk", "32M"]);
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    assert!(done.stderr.contains("--container-disk allows more"), "{}", done.stderr);
}

#[test]
fn f71_links_of_a_trainer_are_not_followed_by_a_worker_that_could() {
    if let Some(why) = lacking() {
        return skipped(&format!("links of a trainer in a container lead nowhere: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    lab.write("secret", "of-the-host");
    let secret = lab.path().join("secret").display().to_string();
    let script = format!(
        "ln -s {secret} $GRID_OUTPUT_DIR/link; ln -s {secret} $GRID_CHECKPOINT_DIR/link; \
         rm -f $GRID_METRICS_FILE; ln -s {secret} $GRID_METRICS_FILE; cp /bin/true $GRID_OUTPUT_DIR/suid; \
         chmod 4755 $GRID_OUTPUT_DIR/suid; cat {secret}; echo s=$HP_X"
    );
    let rest = format!("command: [sh, -c, '{script}']\nparameters: {{x: {{values: [1, 2]}}}}");
    lab.write("sweep.yaml", sweep(&image.0, &rest));
    let done = lab.run(&["run", "sweep.yaml", "--slots", "1"]);
    assert!(!printed(&lab, "1").contains("of-the-host"), "{}", done.stderr);
    let found =
        std::process::Command::new("grep").args(["-rl", "of-the-host"]).arg(lab.data()).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    let special =
        std::process::Command::new("find").arg(lab.data().join("results")).args(["-perm", "/7000"]).output();
    assert!(special.unwrap().stdout.is_empty());
}
