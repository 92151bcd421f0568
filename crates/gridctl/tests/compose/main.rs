//! Containers, with real Docker: what `deploy/compose.yaml` starts ends as `gridctl run` does, whatever happens to its
//! containers, and leaves nothing. The images hold the binary of this very build.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod digits;
#[path = "../lab/mod.rs"]
mod lab;
mod notebook;
#[expect(dead_code, reason = "no file stands in the page of containers")]
#[path = "../page/mod.rs"]
mod page;
mod project;
mod store;

use std::collections::BTreeMap;
use std::fs;

use lab::skipped;
use project::{Project, lacking, root};
use serde_json::Value as Json;

/// What a container may do.
fn assert_confined(project: &Project, container: &str) {
    let inspected: Json = serde_json::from_str(&project.said(&["inspect", container])).unwrap();
    let host = &inspected[0]["HostConfig"];
    let user = &inspected[0]["Config"]["User"];
    assert_eq!((&host["ReadonlyRootfs"], user), (&Json::from(true), &Json::from("10001:10001")));
    assert_eq!((&host["CapDrop"][0], &host["Privileged"]), (&Json::from("ALL"), &Json::from(false)));
    let mounts = inspected[0]["Mounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["Source"] != "/var/run/docker.sock"), "{mounts:?}");
}

/// How the attempts of each trial ended, as the results have it.
fn recorded(project: &Project) -> BTreeMap<String, Vec<String>> {
    let script = "cat /data/results/crowd/records/*";
    let records = project.compose(&["exec", "-T", "master", "sh", "-c", script]).stdout;
    let mut outcomes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok()) {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        outcomes.entry(text("trial")).or_default().push(text("class"));
    }
    outcomes
}

/// Each trial has one outcome in the results, which get it a moment later than the journal, and none was ended by a failure.
fn assert_one_outcome_each(project: &Project) {
    let mut outcomes = BTreeMap::new();
    project.lab.until("every outcome is in the results", || {
        outcomes = recorded(project);
        outcomes.values().filter(|classes| classes.iter().any(|class| class == "succeeded")).count() == 100
    });
    for (trial, classes) in &outcomes {
        let successes = classes.iter().filter(|class| *class == "succeeded").count();
        let free = |class: &String| ["succeeded", "lost", "drained", "fenced"].contains(&class.as_str());
        assert!(successes == 1 && classes.iter().all(free), "{trial}: {classes:?}");
    }
}

#[test]
fn a_sweep_on_four_workers_of_which_two_are_killed_ends_as_gridctl_run_does_and_down_leaves_nothing() {
    if let Some(why) = lacking("debian:13-slim") {
        return skipped(&format!("the compose file's sweep ends as `gridctl run` does: {why}"));
    }
    let project = Project::new("kills", "/sweeps/crowd.yaml");
    let run = ["run", "sweeps/crowd.yaml", "--data-dir", "own-data", "-k", "0", "--slots", "32", "--quiet"];
    let expected = project.lab.run(&run);
    assert_eq!(expected.code, Some(0), "{}", expected.stderr);
    let built = project.compose(&["build", "--quiet"]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let up = project.compose(&["up", "-d", "--scale", "worker=4"]);
    assert_eq!(up.code, Some(0), "{}", up.stderr);

    let workers = project.containers("worker");
    assert_eq!(workers.len(), 4);
    for container in workers.iter().chain(&project.containers("master")) {
        assert_confined(&project, container);
    }
    project.lab.until("some trials", || project.succeeded() > 5);
    project.said(&["kill", &workers[0], &workers[1]]);
    // Another one stands still until its trials are others'.
    project.said(&["pause", &workers[2]]);
    let held: u64 = workers[..3].iter().map(|container| project.held_in(container)).sum();
    assert!(held > 0, "no trial was on a worker that was killed");
    // A master that starts again before would give the three more time than a lease has.
    project.lab.until("others have their trials", || {
        project.json(&["status", "-o", "json"])["lost"].as_u64() >= Some(held)
    });
    project.said(&["unpause", &workers[2]]);
    assert!(project.succeeded() < 95, "there is something left to do");
    project.said(&["compose", "-f", "deploy/compose.yaml", "restart", "master"]);

    let [sweep] = project.containers("sweep").try_into().unwrap();
    assert_eq!(project.said(&["wait", &sweep]), "0");
    let board = project.inside(&["leaderboard", "-k", "0"]);
    assert_eq!((board.code, &board.stdout), (Some(0), &expected.stdout), "{}", board.stderr);
    let best = expected.stdout.split_whitespace().skip_while(|word| *word != "1").nth(1).unwrap();
    let shown = project.said(&["logs", &sweep]);
    assert!(shown.contains(&format!(" 1  {best}")), "its own container shows the leaderboard: {shown}");
    assert_one_outcome_each(&project);
    from_outside(&project, &expected.stdout);
    one_kills_itself(&project, &workers);

    let volumes = project.said(&["inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}", &workers[3], &sweep]);
    let volumes: Vec<String> = volumes.split_whitespace().map(str::to_owned).collect();
    assert!(!volumes.is_empty());
    let down = project.compose(&["down", "-v"]);
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    assert_eq!(project.left(&volumes), Vec::<String>::new());
}

/// The host's command line gets in with one variable, and takes a directory with it that no container has ever seen.
fn from_outside(project: &Project, expected: &str) {
    let url = project.inside(&["token", "create", "--role", "submit", "--url"]);
    assert_eq!(url.code, Some(0), "{}", url.stderr);
    let place = format!("gridctl://127.0.0.1:{}?pin=", project.port);
    assert!(url.stdout.starts_with(&place), "people come by the published port");
    let said = |args: &[&str]| {
        let mut command = project.lab.command(args);
        let done = project.lab.finish(command.env("GRIDCTL_MASTER", url.stdout.trim()));
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        done.stdout
    };
    assert_eq!(said(&["leaderboard", "crowd", "-k", "0"]), expected);
    project.lab.write("laptop/own.sh", "echo s=$((HP_X * 7 % 31))\n");
    project.lab.write(
        "laptop/own.yaml",
        "command: [sh, own.sh]\nmetric: {name: s, goal: maximize}\nparameters: {x: {min: 1, max: 30}}\n",
    );
    let run = project.lab.run(&["run", "laptop/own.yaml", "--data-dir", "own-data", "-k", "0", "--quiet"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    said(&["submit", "laptop/own.yaml"]);
    said(&["status", "own", "-w"]);
    assert_eq!(said(&["leaderboard", "own", "-k", "0"]), run.stdout);
}

/// A worker that kills itself is started again by Docker, which does not do that for one that it has killed itself.
fn one_kills_itself(project: &Project, workers: &[String]) {
    let starts = || -> u64 {
        let ids: Vec<&str> = workers.iter().map(String::as_str).collect();
        let counts = project.said(&[&["inspect", "-f", "{{.RestartCount}}"], &ids[..]].concat());
        counts.lines().map(|count| count.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(starts(), 0);
    let chaos = project.inside(&["chaos", "--kill", "1", "--every", "100ms", "--times", "1"]);
    assert!(chaos.code == Some(0) && chaos.stdout.contains("killed worker "), "{chaos:?}");
    project.lab.until("it is started again", || starts() == 1);
}

/// What `docs/containers.md` says is typed here as it stands, but that nothing stays in the foreground, nothing is compiled,
/// and images have names of their own.
#[test]
fn the_pages_commands_do_what_it_says() {
    if let Some(why) = lacking("debian:13-slim") {
        return skipped(&format!("the commands of docs/containers.md do what it says: {why}"));
    }
    let project = Project::new("page", "/sweeps/wine-forest.yaml");
    let mine = |image: &str| format!("{}-my-{image}", project.name);
    project.said(&["tag", "debian:13-slim", &mine("train")]);
    let page = fs::read_to_string(root().join("docs/containers.md")).unwrap();
    let mut master = String::new();
    let mut typed = 0;
    for block in page::blocks(&page) {
        for (line, _) in block.commands() {
            let line = line.replace(" my-", &format!(" {}-my-", project.name));
            let line = line
                .replace("=my-", &format!("={}-my-", project.name))
                .replace("exec master", "exec -T master");
            let line = match &line {
                up if up.contains(" up ") => format!("{up} -d"),
                build if build.contains("docker build") => format!("{build} --build-arg BINARY=dist/gridctl"),
                _ => line,
            };
            let (line, is_master) = match line.strip_prefix("export GRIDCTL_MASTER=") {
                Some(value) => (format!("printf %s {value}"), true),
                None => (line, false),
            };
            let mut shell = project.with_project("sh");
            shell.args([
                "-c",
                &line.replacen("gridctl ", "$GRIDCTL ", usize::from(line.starts_with("gridctl "))),
            ]);
            shell.env("GRIDCTL", env!("CARGO_BIN_EXE_gridctl")).env("GRIDCTL_MASTER", &master);
            let done = project.lab.finish(&mut shell);
            assert_eq!(done.code, Some(0), "{line}: {}{}", done.stdout, done.stderr);
            if is_master {
                master = done.stdout;
            }
            if line.contains(" up ") {
                let [sweep] = project.containers("sweep").try_into().unwrap();
                assert_eq!(project.said(&["wait", &sweep]), "0", "{line}");
            }
            typed += 1;
        }
    }
    assert!(typed > 8, "{typed}");
    drop(project.docker(&["image", "rm", "-f", &mine("train"), &mine("worker")]));
}

#[test]
fn both_images_get_their_binary_in_the_same_way() {
    let stages = |file: &str| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let begin = text.find("# zig links").unwrap();
        let end = text.find(" AS binary\n").unwrap();
        text[begin..end].to_owned()
    };
    assert_eq!(stages("Dockerfile.master"), stages("Dockerfile.worker"));
}
