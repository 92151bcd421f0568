//! Slots in containers, with real Docker: what a trial finds there, what it cannot do, and what is said
//! of images that are no good. The supervisor is the binary of this very build.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod images;
#[path = "../lab/mod.rs"]
mod lab;
mod package;
mod refusals;
mod registry;
mod sandbox;

use std::fs;
use std::process::Command;

use images::{TestImage, containers_of, docker, lacking, said};
use lab::{Done, Lab, skipped};
use rustix::process::Signal;
use serde_json::Value as Json;

/// A sweep of one axis in an image; `rest` are further lines.
fn sweep(image: &str, rest: &str) -> String {
    format!(
        "name: contained\nimage: {image}\nmetric: {{name: s, goal: maximize}}\nretry: {{max_failures: 0}}\n{rest}\n"
    )
}

/// What the trial with this value of `x` printed.
fn printed(lab: &Lab, x: &str) -> String {
    let rows = lab.run(&["trials", "ls", "contained", "-o", "json"]).stdout;
    let rows: Vec<Json> = serde_json::from_str(&rows).unwrap();
    let is_it = |row: &&Json| row["params"]["x"].to_string().trim_matches('"') == x;
    let trial = rows.iter().find(is_it).unwrap()["trial"].as_str().unwrap().to_owned();
    lab.run(&["logs", &trial]).stdout
}

fn assert_well(done: &Done) {
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn a_trial_runs_as_the_images_user_with_its_entrypoint_and_what_it_writes_is_kept() {
    if let Some(why) = lacking() {
        return skipped(&format!("a sweep runs in containers of its image: {why}"));
    }
    let enter =
        "#!/bin/sh\nprintf 'entered by %s in %s with %s\\n' \"$(id -u)\" \"$PWD\" \"$TOOL\"\nexec \"$@\"\n";
    let image = TestImage::build(
        "FROM debian:13-slim\nRUN useradd --uid 1234 me\nCOPY --chmod=755 enter /opt/enter\nENV TOOL=hammer PATH=/opt:/usr/bin:/bin\n\
         ENTRYPOINT [\"enter\"]\nWORKDIR /srv\nUSER me\n",
        &[("enter", enter)],
    );
    let lab = Lab::new();
    let script = "set -e; echo $HP_X >$GRID_OUTPUT_DIR/model; for dir in $HOME ${TMPDIR:-/tmp} $GRID_CACHE_DIR \
                  $GRID_CHECKPOINT_DIR; do echo x >$dir/x; done; cat $GRID_PARAMS_FILE; echo; echo data $(cat $GRID_DATA_DIR); echo s=$HP_X";
    lab.write("wine.csv", "red");
    let rest =
        format!("command: [sh, -c, '{script}']\ndata: wine.csv\nparameters: {{x: {{values: [1, 2, 3]}}}}");
    lab.write("sweep.yaml", sweep(&image.0, &rest));
    assert_well(&lab.run(&["run", "sweep.yaml", "--slots", "2"]));
    let text = printed(&lab, "3");
    for expected in ["entered by 1234 in /srv with hammer", "{\"x\":3}", "data red"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_well(&lab.run(&["fetch", "best", "kept"]));
    assert_eq!(fs::read_to_string(lab.path().join("kept/model")).unwrap(), "3\n");
    assert_eq!(containers_of(&lab.data()), [] as [String; 0], "none is left");
    // The same sweep with the entrypoint cleared is another one, and the image changed under its name too.
    lab.write("sweep.yaml", sweep(&image.0, &format!("{rest}\nentrypoint: []")));
    let asks = lab.run(&["run", "sweep.yaml"]);
    assert_eq!(asks.code, Some(2));
    assert!(asks.stderr.contains("entrypoint: changed"), "{}", asks.stderr);
    assert_well(&lab.run(&["run", "sweep.yaml", "--changed", "all"]));
    assert!(!printed(&lab, "3").contains("entered"));
}

#[test]
fn code_of_the_workdir_goes_into_the_image_as_a_copy_and_a_changed_image_is_noticed() {
    if let Some(why) = lacking() {
        return skipped(&format!("code of the workdir goes into the image: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\nENV WORTH=1\n", &[]);
    let lab = Lab::new();
    lab.script("train.sh", "#!/bin/sh\necho made-here >made\necho \"s=$((HP_X * WORTH))\"\n");
    lab.write("sweep.yaml", sweep(&image.0, "command: [./train.sh]\nparameters: {x: {values: [1, 2]}}"));
    assert_well(&lab.run(&["run", "sweep.yaml"]));
    assert!(!lab.path().join("made").exists(), "the workdir itself is not written");
    let again = lab.run(&["run", "sweep.yaml"]);
    assert!(again.code == Some(0) && again.stderr.contains("everything is known"), "{}", again.stderr);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Dockerfile"), "FROM debian:13-slim\nENV WORTH=10\n").unwrap();
    said(&["build", "-q", "-t", &image.0, dir.path().to_str().unwrap()]);
    let asks = lab.run(&["run", "sweep.yaml"]);
    assert_eq!(asks.code, Some(2), "{}", asks.stderr);
    assert!(asks.stderr.contains(&format!("image {}: changed", image.0)), "{}", asks.stderr);
    let done = lab.run(&["run", "sweep.yaml", "--changed", "all"]);
    assert!(done.stdout.contains("20"), "{}", done.stdout);
}

#[test]
fn setup_runs_once_in_a_container_that_every_slot_starts_from() {
    if let Some(why) = lacking() {
        return skipped(&format!("setup runs in a container that is kept: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    lab.write("requirements.txt", "wisdom");
    let rest = "workdir: .\nsetup: 'cat requirements.txt >/usr/lib/installed; chmod 700 /usr/lib/installed; date +%N >/usr/lib/when'\n\
                command: [sh, -c, 'cat /usr/lib/installed /usr/lib/when; echo; echo s=$HP_X']\nparameters: {x: {values: [1, 2, 3, 4]}}";
    lab.write("sweep.yaml", sweep(&image.0, rest));
    assert_well(&lab.run(&["run", "sweep.yaml", "--slots", "2"]));
    let texts: Vec<String> =
        ["1", "2", "3", "4"].map(|x| printed(&lab, x).lines().take(1).collect()).to_vec();
    assert!(texts[0].starts_with("wisdom") && texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    lab.write(
        "sweep.yaml",
        sweep(&image.0, &rest.replace("setup: 'cat", "setup: 'echo the-reason; exit 3; cat")),
    );
    let mut child = lab.start(&["run", "sweep.yaml", "--changed", "all"]);
    let log = lab.data().join("work/worker.log");
    lab.until("the worker says why", || fs::read_to_string(&log).unwrap_or_default().contains("the-reason"));
    lab::signal(&child, Signal::INT);
    drop(child.wait());
    let kept = said(&["images", "-q", "--filter", "reference=gridctl-setup"]);
    kept.lines().for_each(|id| drop(docker(&["image", "rm", "-f", id])));
}

#[test]
fn what_a_killed_worker_left_in_a_container_is_ended_by_the_next_one() {
    if let Some(why) = lacking() {
        return skipped(&format!("orphans in containers are found by their label: {why}"));
    }
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let lab = Lab::new();
    let file = |seconds: u32| {
        sweep(
            &image.0,
            &format!(
                "command: [sh, -c, 'sleep {seconds}; echo s=$HP_X']\nparameters: {{x: {{values: [1]}}}}"
            ),
        )
    };
    lab.write("sweep.yaml", file(600));
    let mut run = lab.start(&["run", "sweep.yaml"]);
    let mut found = Vec::new();
    lab.until("a container", || {
        // Others come and go.
        let running = |id: &String| {
            let processes = docker(&["top", id, "-eo", "pid,args"]).stdout;
            String::from_utf8_lossy(&processes).contains("sleep 600")
        };
        found = if lab.data().exists() { containers_of(&lab.data()) } else { Vec::new() };
        found.retain(running);
        !found.is_empty()
    });
    // One that stands still does not notice that its worker has gone.
    found.iter().for_each(|id| drop(said(&["pause", id])));
    // Its workers end with no time to clear up, and nobody starts others.
    lab::signal(&run, Signal::STOP);
    drop(Command::new("pkill").args(["-KILL", "-P", &run.id().to_string()]).status());
    run.kill().unwrap();
    drop(run.wait());
    lab.until("its worker has ended", || !lab.run(&["doctor"]).stdout.contains("worker is running"));
    assert_eq!(containers_of(&lab.data()), found, "it stands still");
    lab.write("sweep.yaml", file(0));
    assert_well(&lab.run(&["run", "sweep.yaml", "--changed", "all"]));
    assert_eq!(containers_of(&lab.data()), [] as [String; 0]);
}
