//! Over a network that nobody trusts: who joins, who may do what, and that a sweep ends as it does on one machine.
//!
//! A test's name begins with the lines of `.ci/bad-inputs` that it covers.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod crowd;
mod expired;
#[path = "../lab/mod.rs"]
mod lab;
mod nodes;
mod packs;
mod partition;
mod places;
mod proxy;
mod roles;
#[path = "../shift/mod.rs"]
mod shift;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use gridctl_worker::tls;
use lab::{Lab, now};
use nodes::{Caller, Master, runtime};
use serde_json::Value as Json;

const SWEEP: &str = "command: [sh, -c, 'echo $GRID_TRIAL >> $LEDGER; sleep 0.2; echo s=$((HP_X * 7 % 31))']
metric: {name: s, goal: maximize}
env: {LEDGER: }
parameters: {x: {min: 1, max: 60}}
";

/// The leaderboard of the sweep, as `gridctl run` would show it.
fn expected(lab: &Lab) -> String {
    let ledger = lab.path().join("expected");
    let run = ["run", "sweep.yaml", "--data-dir", "own-data", "-k", "0", "--slots", "8"];
    let done = lab.finish(lab.command(&run).env("LEDGER", &ledger));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

fn ids(master: &Master) -> Vec<String> {
    let workers: Json =
        serde_json::from_str(&master.lab.run(&["workers", "ls", "-o", "json"]).stdout).unwrap_or_default();
    let mut ids: Vec<String> = workers
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["worker"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

#[test]
fn a_sweep_over_tls_ends_as_on_one_machine_with_certificates_renewed_five_times_a_worker_shut_out_and_a_restart()
 {
    let life = ["--certificate-life", "5s", "--lease-ttl", "6s"];
    let mut master = Master::start(&life);
    master.lab.write("sweep.yaml", SWEEP);
    let expected = expected(&master.lab);
    let (submit, _) = master.token(&["--role", "submit"]);
    let (read, _) = master.token(&["--role", "read"]);
    let (join, _) = master.token(&["--role", "worker"]);
    master.worker("first", &["--join-file", "../join"]);
    let once = master.worker("second", &["--join", &join]);
    master.lab.until("two workers", || ids(&master).len() == 2);
    let renewals =
        |name: &str, master: &Master| master.said_by(name).matches("certificate was renewed").count();

    let mut command = master.person(&submit, &["submit", "sweep.yaml"]);
    let done = master.lab.finish(command.env("LEDGER", master.lab.path().join("ledger")));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    master.lab.until("some trials", || master.lab.ledger("ledger").len() > 8);

    // One worker is shut out: it ends, and its trials are tried by the other one.
    let victim = master.said_by("second").split(" as ").nth(1).unwrap()[..8].to_owned();
    let done = master.lab.run(&["workers", "revoke", &victim]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let began = now();
    let ended = master.child_of(once).wait().unwrap();
    assert_eq!(ended.code(), Some(1), "{}", master.said_by("second"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(master.said_by("second").contains("was shut out"), "{}", master.said_by("second"));
    assert!(!ids(&master).contains(&victim));
    // The address with which it came is used up.
    let again = master.worker("third", &["--join", &join]);
    assert_eq!(master.child_of(again).wait().unwrap().code(), Some(1));
    assert!(master.said_by("third").contains("the join token opens nothing"), "{}", master.said_by("third"));

    master.restart(&life);
    master.worker("fourth", &["--join-file", "../join"]);
    let done = master.lab.finish(&mut master.person(&submit, &["status", "-w"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    master.lab.until("five renewals", || renewals("first", &master) >= 5);
    let board = master.lab.finish(&mut master.person(&read, &["leaderboard", "-k", "0"]));
    assert_eq!((board.code, board.stdout), (Some(0), expected), "{}", board.stderr);
    let trials = master.lab.finish(&mut master.person(&read, &["trials", "ls", "-o", "json"]));
    let trials: Vec<Json> = serde_json::from_str(&trials.stdout).unwrap();
    assert!(trials.len() == 60 && trials.iter().all(|trial| trial["state"] == "succeeded"), "{trials:?}");
    assert!(master.said_by("first").matches("joined").count() == 1, "{}", master.said_by("first"));

    for secret in [&submit, &read, &Master::token_of(&join)] {
        let mut found = Vec::new();
        holding(master.lab.path(), secret, &mut found);
        assert_eq!(found, Vec::<String>::new(), "{secret} is kept");
    }
    let fresh = Master::token_of(&std::fs::read_to_string(master.join_file()).unwrap());
    let mut found = Vec::new();
    holding(master.lab.path(), &fresh, &mut found);
    assert_eq!(found, [master.join_file().display().to_string()]);
}

/// Every file below `dir` that holds `text`.
fn holding(dir: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            holding(&entry.path(), text, found);
        } else if kind.is_file()
            && std::fs::read(entry.path()).unwrap().windows(text.len()).any(|it| it == text.as_bytes())
        {
            found.push(entry.path().display().to_string());
        }
    }
}

#[test]
fn c07_c08_a_saved_token_is_its_owners_alone_and_is_no_argument() {
    let master = Master::start(&[]);
    let (read, id) = master.token(&["--role", "read"]);
    let mut save = master.person("", &["token", "save"]);
    let mut child = save
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(read.as_bytes()).unwrap();
    let done = master.lab.wait(child);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!done.stderr.contains(&read));
    let ls = || master.lab.finish(&mut master.person("", &["workers", "ls"]));
    assert_eq!(ls().code, Some(0), "{}", ls().stderr);
    let saved = master.lab.path().join("state/gridctl/tokens").join(master.pin.to_string());
    let mode =
        |mode| std::fs::set_permissions(&saved, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    let exposed = ls();
    assert!(exposed.code == Some(1) && exposed.stderr.contains("chmod 600"), "{exposed:?}");
    mode(0o600);
    assert_eq!(master.lab.run(&["token", "revoke", &id]).code, Some(0));
    assert_eq!(ls().code, Some(4));
    assert_eq!(master.lab.run(&["token", "revoke", &id]).code, Some(1));
    let refused = master.lab.run(&["worker", "--join", "gridctl://h:1?token=s3cret&pin=no"]);
    assert!(refused.code == Some(2) && !refused.stderr.contains("s3cret"), "{refused:?}");
    let refused = master.lab.run(&["status", "--master", "gridctl://h:1?token=s3cret"]);
    assert!(refused.code == Some(2) && !refused.stderr.contains("s3cret"), "{refused:?}");
}

#[test]
fn g34_what_is_not_tls_or_another_master_gets_nothing_and_is_told_so() {
    let master = Master::start(&[]);
    let other = Master::start(&[]);
    // Plain text to the TLS port.
    let mut plain = TcpStream::connect(&master.place).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    plain.write_all(b"GET /api/v1/sweeps HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset is as good an end.
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    // An older TLS.
    let old = format!("https://{}/", master.place);
    let curl =
        std::process::Command::new("curl").args(["-sk", "-m", "20", "--tls-max", "1.2", &old]).output();
    match curl {
        Ok(done) => assert!(done.status.code() == Some(35) && done.stdout.is_empty(), "{done:?}"),
        Err(_) => lab::skipped("an old TLS gets nothing: there is no curl"),
    }
    // A pin of another master: nothing is said, the token least of all.
    let (token, _) = other.token(&["--role", "admin"]);
    let pin = other.pin.to_string();
    let wrong = format!("gridctl://{}?pin={pin}", master.place);
    let mut command = master.person(&token, &["workers", "ls"]);
    let done = master.lab.finish(command.env("GRIDCTL_MASTER", wrong));
    assert_eq!(done.code, Some(5), "{}", done.stderr);
    assert!(done.stderr.contains("another master answers there"), "{}", done.stderr);
    // The token of one master says nothing to another.
    assert_eq!(master.lab.finish(&mut master.person(&token, &["workers", "ls"])).code, Some(4));
    // What answers is no TLS at all.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = socket.read(&mut [0; 1024]);
    });
    let error = runtime().block_on(tls::connect(&place, master.pin, None, "h2")).unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    server.join().unwrap();
}

#[test]
fn g36_join_tokens_that_are_wrong_cut_used_up_huge_or_guessed_buy_nothing() {
    let master = Master::start(&[]);
    let good = Master::token_of(&std::fs::read_to_string(master.join_file()).unwrap());
    let (once, _) = master.token(&["--role", "worker"]);
    let once = Master::token_of(&once);
    let (admin, _) = master.token(&["--role", "admin"]);
    runtime().block_on(async {
        let first = master.join(&once).await.unwrap();
        let second = master.join(&good).await.unwrap();
        assert_ne!(first.worker, second.worker);
        let huge = "x".repeat(1 << 20);
        for token in [&once, "", "x", &good[..63], &format!("{good}0"), &admin, &huge] {
            let refused = master.join(token).await.err().unwrap();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused}");
        }
        // Whoever guesses has to wait soon, and with the right token too.
        let mut codes = Vec::new();
        for guess in 0..40 {
            codes.push(master.join(&format!("{guess:064x}")).await.err().unwrap().code());
        }
        assert_eq!(codes.last(), Some(&tonic::Code::ResourceExhausted), "{codes:?}");
        assert_eq!(master.join(&good).await.err().unwrap().code(), tonic::Code::ResourceExhausted);
        let began = now();
        while master.join(&good).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // A key that is none.
        let mut caller = Caller::connect(&master, None).await.unwrap();
        assert_eq!(caller.ask("GET", "/api/v1/sweeps", Some(&good)).await, Some(401), "it is no person's");
    });
}

#[test]
fn c14_g34_a_clock_that_is_a_year_off_is_named_and_a_right_one_goes_on() {
    const YEAR: i64 = 365 * 86_400;
    let mut master = Master::start(&[]);
    let Some(library) = shift::library(&master.lab) else {
        return lab::skipped("clocks are wrong: no C compiler makes a library that shifts them");
    };
    let (read, _) = master.token(&["--role", "read"]);
    let ls = |seconds: i64| {
        shift::shift(&master.lab, seconds);
        let mut command = master.person(&read, &["workers", "ls"]);
        command.env("LD_PRELOAD", &library).env("SHIFT_FILE", master.lab.path().join("clock/seconds"));
        master.lab.finish(&mut command)
    };
    let late = ls(-YEAR);
    assert_eq!(late.code, Some(5), "{}", late.stderr);
    assert!(late.stderr.contains("not valid by this machine's clock"), "{}", late.stderr);
    // The master is there for years: who is ahead is let in, and who is ahead by a century is told.
    assert_eq!(ls(YEAR).code, Some(0));
    assert!(ls(100 * YEAR).stderr.contains("not valid by this machine's clock"));

    // The clock of the master: a certificate is judged by it.
    shift::shift(&master.lab, 0);
    master
        .restart_with(&[("LD_PRELOAD", &library), ("SHIFT_FILE", &master.lab.path().join("clock/seconds"))]);
    master.worker("worker", &["--join-file", "../join"]);
    master.lab.until("the worker joins", || ids(&master).len() == 1);
    shift::shift(&master.lab, YEAR);
    let told = || master.said_by("worker").contains("not valid by the master's clock");
    master.lab.until("the worker is told", told);
    shift::shift(&master.lab, 0);
    let is_back = || {
        let workers = master.lab.run(&["workers", "ls", "-o", "json"]).stdout;
        workers.contains("\"connected\": true")
    };
    master.lab.until("the worker is back", is_back);
    assert_eq!(master.said_by("worker").matches("joined").count(), 1);
}
