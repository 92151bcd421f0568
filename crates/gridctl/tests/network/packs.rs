//! Code that travels: a directory that no worker sees is packed, kept by the master, and unpacked where trials run.

use std::fs;
use std::process::Command;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use super::lab::Lab;
use super::nodes::{Master, runtime};
use gridctl_worker::tls;

const TRAIN: &str = "#!/bin/sh
set -e
# A copy of its own: what another trial left is not here, and what is written disturbs nobody.
test ! -e mine && echo $HP_X > mine
test ! -e notes.big && test ! -e .gitignore
. lib/score.sh
sleep 0.05
test $(cat mine) = $HP_X
echo s=$(score $HP_X)
";
const SCORE: &str = "score() { echo $(($1 * 7 % 31)); }\n";
const SWEEP: &str = "name: travels
command: [./train.sh]
metric: {name: s, goal: maximize}
parameters: {x: {min: 1, max: 30}}
";

/// A directory of code, as on a laptop.
fn laptop(lab: &Lab) {
    lab.script("laptop/train.sh", TRAIN);
    lab.write("laptop/lib/score.sh", SCORE);
    lab.write("laptop/.gitignore", "*.big\n");
    lab.write("laptop/notes.big", "x");
    lab.write("laptop/sweep.yaml", SWEEP);
}

/// A person in that directory, on a machine with a data directory of its own.
fn person(master: &Master, token: &str, args: &[&str]) -> Command {
    let mut command = master.person(token, args);
    command.current_dir(master.lab.path().join("laptop"));
    command.env("GRIDCTL_DATA_DIR", master.lab.path().join("laptop-data"));
    command
}

/// A worker with a data directory of this name.
fn worker(master: &mut Master, name: &str, data: &str) {
    master.worker(name, &["--join-file", "../join", "--data-dir", data]);
}

#[test]
fn a_directory_that_is_gone_before_any_worker_starts_runs_as_on_one_machine() {
    let mut master = Master::start(&[]);
    laptop(&master.lab);
    let (submit, _) = master.token(&["--role", "submit"]);
    master.lab.write("laptop/local.yaml", format!("{SWEEP}isolate: true\n"));
    let mut run = master.lab.command(&["run", "local.yaml", "--data-dir", "../own-data", "-k", "0"]);
    let expected = master.lab.finish(run.current_dir(master.lab.path().join("laptop")));
    assert_eq!(expected.code, Some(0), "{}", expected.stderr);
    // An ignore file above the workdir says nothing about it.
    master.lab.write(".gitignore", "*.sh\n");

    let done = master.lab.finish(&mut person(&master, &submit, &["submit", "sweep.yaml"]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("went to the master"), "{}", done.stderr);
    let done = master.lab.finish(&mut person(&master, &submit, &["submit", "sweep.yaml"]));
    assert!(done.stderr.contains("is at the master already"), "{}", done.stderr);
    fs::rename(master.lab.path().join("laptop"), master.lab.path().join("elsewhere")).unwrap();
    fs::create_dir(master.lab.path().join("laptop")).unwrap();

    // Two workers of one machine, and one of another.
    worker(&mut master, "first", "../machine-a");
    worker(&mut master, "second", "../machine-a");
    worker(&mut master, "third", "../machine-b");
    let done = master.lab.finish(&mut person(&master, &submit, &["status", "-w"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    let board = master.lab.finish(&mut person(&master, &submit, &["leaderboard", "-k", "0"]));
    assert_eq!((board.code, board.stdout), (Some(0), expected.stdout), "{}", board.stderr);
    let said = ["first", "second", "third"].map(|name| master.said_by(name));
    assert_eq!((ready(&master, "machine-a"), ready(&master, "machine-b")), (1, 1), "{said:?}");
    let fetched = said.iter().map(|said| said.matches("fetching the code").count()).sum::<usize>();
    assert!((1..=2).contains(&fetched), "once a machine: {said:?}");
}

/// Directories of code that are ready on a machine.
fn ready(master: &Master, machine: &str) -> usize {
    let code = master.lab.path().join(machine).join("work/code");
    let dirs = fs::read_dir(code).into_iter().flatten().flatten();
    dirs.filter(|dir| dir.path().join("ready").is_file()).count()
}

#[test]
fn setup_runs_once_a_machine_and_where_it_fails_that_is_said_with_its_log_and_costs_no_trial_anything() {
    let mut master = Master::start(&[]);
    laptop(&master.lab);
    let setup = "setup: 'case $PWD in *machine-b*) echo no compiler here; exit 3;; esac; sleep 0.3; \
                 echo 3 > made; echo once >> $LEDGER'\n";
    let sweep = SWEEP.replace("[./train.sh]", "[sh, -c, 'test $(cat made) = 3 && ./train.sh']");
    let ledger = master.lab.path().join("setups");
    master.lab.write("laptop/sweep.yaml", format!("{setup}env: {{LEDGER: {}}}\n{sweep}", ledger.display()));
    let (submit, _) = master.token(&["--role", "submit"]);
    let done = master.lab.finish(&mut person(&master, &submit, &["submit", "sweep.yaml"]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let status =
        |master: &Master| master.lab.finish(&mut person(master, &submit, &["status", "-o", "json"])).stdout;

    worker(&mut master, "bad", "../machine-b");
    master.lab.until("the machine says why", || status(&master).contains("no compiler here"));
    let told = status(&master);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let told = told.as_array().map_or(&told, |all| &all[0]);
    let counts = ["pending", "succeeded", "failed", "failures"].map(|name| told[name].as_u64());
    assert_eq!(counts, [Some(30), Some(0), Some(0), Some(0)], "{told}");
    let shown = master.lab.finish(&mut person(&master, &submit, &["status"]));
    let shown = shown.stdout + &shown.stderr;
    assert!(shown.contains("`setup` failed (exit 3)") && shown.contains("no compiler here"), "{shown}");

    worker(&mut master, "first", "../machine-a");
    worker(&mut master, "second", "../machine-a");
    let done = master.lab.finish(&mut person(&master, &submit, &["status", "-w"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    let told = status(&master);
    assert!(told.contains("\"succeeded\": 30") && told.contains("\"failures\": 0"), "{told}");
    assert_eq!((master.lab.ledger("setups").len(), ready(&master, "machine-a")), (1, 1));
    assert_eq!(ready(&master, "machine-b"), 0);
    assert_eq!(master.said_by("bad").matches("cannot be run here").count(), 1, "{}", master.said_by("bad"));
}

#[test]
fn f72_what_is_no_pack_or_another_one_is_not_kept_and_no_sweep_names_what_is_not_there() {
    let master = Master::start(&[]);
    laptop(&master.lab);
    let (submit, _) = master.token(&["--role", "submit"]);
    let hash = gridctl_core::id::PackHash(*blake3::hash(b"x").as_bytes());
    let other = gridctl_core::id::PackHash([7; 32]);
    let put = |pack: String, body: Vec<u8>| {
        let (place, pin, token) = (master.place.clone(), master.pin, submit.clone());
        runtime().block_on(async move {
            let link = tls::connect(&place, pin, None, "http/1.1").await.unwrap();
            let (mut wire, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(link)).await.unwrap();
            let mut task = tokio::task::JoinSet::new();
            task.spawn(connection);
            let request = Request::put(format!("/api/v1/packs/{pack}")).header("host", "gridctl");
            let request = request.header("authorization", format!("Bearer {token}"));
            let response =
                wire.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        })
    };
    let cases = [
        (hash.to_string(), b"x".to_vec(), 400, "no pack, or a damaged one"),
        (other.to_string(), b"x".to_vec(), 400, "have the hash"),
        (other.to_string(), Vec::new(), 400, "have the hash"),
        ("..%2f..%2fjournal.sqlite".to_owned(), b"x".to_vec(), 400, "no name of a pack"),
        ("x".repeat(52), b"x".to_vec(), 400, "no name of a pack"),
        (other.to_string(), vec![0; 100_000_001], 413, "more than 100 MB"),
    ];
    for (pack, body, status, says) in cases {
        let answer = put(pack.clone(), body);
        assert!(answer.0 == status && answer.1.contains(says), "{pack}: {answer:?}");
    }
    let kept = fs::read_dir(master.lab.data().join("packs")).unwrap().count();
    assert_eq!(kept, 0, "no draft stays");

    // A workdir that no pack can be made of is refused before anything is sent.
    std::os::unix::fs::symlink("/etc", master.lab.path().join("laptop/etc")).unwrap();
    let done = master.lab.finish(&mut person(&master, &submit, &["submit", "sweep.yaml"]));
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("etc: the link leads out of the directory"), "{}", done.stderr);
    fs::remove_file(master.lab.path().join("laptop/etc")).unwrap();
    let sparse = fs::File::create(master.lab.path().join("laptop/weights.bin")).unwrap();
    sparse.set_len(1_100_000_000).unwrap();
    // What reads its output and has a file open is taken for `tee`.
    drop(sparse);
    let done = master.lab.finish(&mut person(&master, &submit, &["submit", "sweep.yaml"]));
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("weights.bin (1"), "{}", done.stderr);
}
