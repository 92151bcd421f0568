//! The profile `s3`: a store that comes up beside the others takes a sweep's results.

use crate::digits::patiently;
use crate::lab::skipped;
use crate::project::{Project, lacking};

#[test]
fn a_sweep_keeps_its_results_in_the_store_and_down_with_every_profile_leaves_nothing() {
    let lacks =
        ["rust:1.95-slim-trixie", "python:3.13-slim-trixie", "debian:13-slim"].into_iter().find_map(lacking);
    if let Some(why) = lacks {
        return skipped(&format!("results lie in the compose file's own store: {why}"));
    }
    let project = Project::new("store", "/sweeps/wine-forest.yaml");
    let mut build = project.with_project("docker");
    let compose = ["compose", "-f", "deploy/compose.yaml", "--profile", "s3"];
    patiently(build.args(compose).args(["build", "--quiet"]));
    let up = project.compose(&["--profile", "s3", "--profile", "chaos", "up", "-d", "--scale", "worker=2"]);
    assert_eq!(up.code, Some(0), "{}", up.stderr);
    let [sweep] = project.containers("sweep-s3").try_into().unwrap();
    assert_eq!(project.said(&["wait", &sweep]), "0", "{}", project.said(&["logs", &sweep]));
    let kept =
        project.compose(&["--profile", "s3", "exec", "-T", "s3", "ls", "/buckets/gridctl/sweeps/in-s3"]);
    assert!(["records", "sweep.json"].iter().all(|name| kept.stdout.contains(name)), "{}", kept.stdout);
    let [store] = project.containers("s3").try_into().unwrap();
    let volumes = project.said(&["inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}", &store, &sweep]);
    let volumes: Vec<String> = volumes.split_whitespace().map(str::to_owned).collect();
    let down = project.compose(&["--profile", "*", "down", "-v"]);
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    assert_eq!(project.left(&volumes), Vec::<String>::new());
}
