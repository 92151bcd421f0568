//! Containers, with real Docker: what `deploy/compose.yaml` starts ends as `gridctl run` does, whatever happens to its
//! containers, and leaves nothing. The images hold the binary of this very build.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;
#[expect(dead_code, reason = "no file stands in the page of containers")]
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::{Done, Lab, skipped};
use serde_json::Value as Json;

/// A trial that fails costs its outcome: what happens to containers must not count as a failure.
const SWEEP: &str = "command: [sh, -c, 'sleep 0.25; echo s=$((HP_X * 37 % 101))']
metric: {name: s, goal: maximize}
retry: {max_failures: 0}
parameters: {x: {min: 1, max: 100}}
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Why no image can be built and no project started here.
fn lacking() -> Option<&'static str> {
    let works =
        |args: &[&str]| Command::new("docker").args(args).output().is_ok_and(|it| it.status.success());
    let base = "debian:13-slim";
    if !works(&["info"]) {
        return Some("no Docker daemon answers");
    }
    if !works(&["compose", "version"]) || !works(&["buildx", "version"]) {
        return Some("Docker has no compose or buildx plugin");
    }
    let has_base = works(&["image", "inspect", base]) || works(&["pull", "--quiet", base]);
    (!has_base).then_some("the image debian:13-slim is neither here nor to be had")
}

/// A directory as a clone of the repository would be, with a binary to be taken, and a project of its own.
struct Project {
    lab: Lab,
    name: String,
    port: u16,
}

impl Project {
    fn new(what: &str) -> Self {
        let lab = Lab::new();
        for file in ["Dockerfile.master", "Dockerfile.worker", ".dockerignore", "deploy/compose.yaml"] {
            lab.write(file, fs::read(root().join(file)).unwrap());
        }
        lab.write("sweeps/crowd.yaml", SWEEP);
        for name in ["wine-forest", "wine-logistic"] {
            let whole = fs::read_to_string(root().join(format!("sweeps/{name}.yaml"))).unwrap();
            lab.write(&format!("sweeps/{name}.yaml"), format!("{whole}\nrun_cap: 4\n"));
        }
        fs::create_dir(lab.path().join("dist")).unwrap();
        let binary = lab.path().join("dist/gridctl");
        fs::copy(env!("CARGO_BIN_EXE_gridctl"), &binary).unwrap();
        // A test's binary is large for what it says to a debugger; without `strip` it is sent as it is.
        drop(Command::new("strip").arg("--strip-debug").arg(&binary).output());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { lab, name: format!("gridctl-test-{}-{what}", std::process::id()), port }
    }

    /// A command that sees this project, its images and its port.
    fn with_project(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.lab.path()).env("COMPOSE_PROJECT_NAME", &self.name);
        command.env("GRIDCTL_BINARY", "dist/gridctl").env("GRIDCTL_PORT", self.port.to_string());
        command.env("GRIDCTL_MASTER_IMAGE", format!("{}-master", self.name));
        command.env("GRIDCTL_WORKER_IMAGE", format!("{}-worker", self.name));
        command
    }

    fn docker(&self, args: &[&str]) -> Done {
        let mut command = self.with_project("docker");
        command.args(args).env("SWEEP", "/sweeps/crowd.yaml").env("GRIDCTL_LEASE_TTL", "6s");
        self.lab.finish(&mut command)
    }

    fn compose(&self, args: &[&str]) -> Done {
        self.docker(&[&["compose", "-f", "deploy/compose.yaml"], args].concat())
    }

    /// What a command says that must succeed.
    fn said(&self, args: &[&str]) -> String {
        let done = self.docker(args);
        assert_eq!(done.code, Some(0), "docker {args:?}: {}", done.stderr);
        done.stdout.trim().to_owned()
    }

    /// `gridctl` beside the master.
    fn inside(&self, args: &[&str]) -> Done {
        self.compose(&[&["exec", "-T", "master", "gridctl"], args].concat())
    }

    fn json(&self, args: &[&str]) -> Json {
        serde_json::from_str(&self.inside(args).stdout).unwrap_or_default()
    }

    fn containers(&self, service: &str) -> Vec<String> {
        let done = self.compose(&["ps", "-a", "-q", service]);
        done.stdout.lines().map(str::to_owned).collect()
    }

    /// The trials of the worker in this container; its host is called as the container's id begins.
    fn held_in(&self, container: &str) -> u64 {
        let workers = self.json(&["workers", "ls", "-o", "json"]);
        let is_there = |worker: &&Json| worker["host"] == container[..12];
        let worker = workers.as_array().unwrap().iter().find(is_there).unwrap();
        worker["leased"].as_u64().unwrap()
    }

    fn succeeded(&self) -> u64 {
        self.json(&["status", "-o", "json"])["succeeded"].as_u64().unwrap_or(0)
    }

    /// What Docker has of this project, and of `volumes`.
    fn left(&self, volumes: &[String]) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let listed = [&["ps", "-a", "-q"][..], &["volume", "ls", "-q"], &["network", "ls", "-q"]]
            .map(|list| self.said(&[list, &["--filter", &label]].concat()));
        let mut left: Vec<String> = listed.iter().flat_map(|list| list.lines()).map(str::to_owned).collect();
        let all = self.said(&["volume", "ls", "-q"]);
        left.extend(volumes.iter().filter(|volume| all.lines().any(|there| there == *volume)).cloned());
        left
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.compose(&["logs", "--no-color", "--tail", "40"]).stdout);
        }
        self.compose(&["--profile", "chaos", "down", "-v", "--timeout", "1", "--rmi", "all"]);
    }
}

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
    if let Some(why) = lacking() {
        return skipped(&format!("the compose file's sweep ends as `gridctl run` does: {why}"));
    }
    let project = Project::new("kills");
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

/// The host's command line gets in with one variable.
fn from_outside(project: &Project, expected: &str) {
    let url = project.inside(&["token", "create", "--role", "submit", "--url"]);
    assert_eq!(url.code, Some(0), "{}", url.stderr);
    let place = format!("gridctl://127.0.0.1:{}?pin=", project.port);
    assert!(url.stdout.starts_with(&place), "people come by the published port");
    let mut command = project.lab.command(&["leaderboard", "-k", "0"]);
    let board = project.lab.finish(command.env("GRIDCTL_MASTER", url.stdout.trim()));
    assert_eq!((board.code, board.stdout.as_str()), (Some(0), expected), "{}", board.stderr);
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
    if let Some(why) = lacking() {
        return skipped(&format!("the commands of docs/containers.md do what it says: {why}"));
    }
    let project = Project::new("page");
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
