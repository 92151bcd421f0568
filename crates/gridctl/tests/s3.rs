//! Data and results in S3, from the command line to a real store: run, killed and run again, read
//! without a master, rebuilt.
#![cfg(feature = "s3")]
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;
#[path = "../../gridctl-storage/src/volume/s3/tests/moto.rs"]
mod moto;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use lab::{Done, Lab, signal, skipped};
use moto::Moto;
use rustix::process::Signal;

/// What no output may show.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYSECRETKEY";

/// Ten points, of which each writes a file, a long log, and what its data says.
const SWEEP: &str = "name: wine\n\
    command: [sh, -c, 'echo $HP_X >> led; seq 20000; cat $GRID_DATA_DIR/deep/b; \
    cp $GRID_DATA_DIR/a $GRID_OUTPUT_DIR/copy; echo s=0.$HP_X']\n\
    metric: {name: s, goal: maximize}\nparameters: {x: {min: 10, max: 19}}\n\
    data: s3://lab-bucket/wine/\noutput: s3://lab-bucket/sweeps/\n";

fn store() -> Option<(Lab, Moto)> {
    let Some(moto) = Moto::start() else {
        skipped("there is no moto_server: pip install 'moto[server]'");
        return None;
    };
    moto.bucket("lab-bucket");
    put(moto.address, "wine/a", "data of a");
    put(moto.address, "wine/deep/b", "data of b\n");
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\n").write("wine.yaml", SWEEP);
    Some((lab, moto))
}

fn put(store: SocketAddr, key: &str, text: &str) {
    let mut stream = TcpStream::connect(store).unwrap();
    let head = format!("PUT /lab-bucket/{key} HTTP/1.1\r\nhost: s3\r\ncontent-length: {}\r\n", text.len());
    stream.write_all(format!("{head}connection: close\r\n\r\n{text}").as_bytes()).unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    // Nobody signs this: what is there already may not be replaced.
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The command, which finds the store as the AWS tools would.
fn command(lab: &Lab, address: SocketAddr, args: &[&str]) -> Command {
    let mut command = lab.command(args);
    command
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("NO_PROXY", "127.0.0.1");
    command
}

fn done(lab: &Lab, moto: &Moto, args: &[&str]) -> Done {
    let done = lab.finish(&mut command(lab, moto.address, args));
    for said in [&done.stdout, &done.stderr] {
        assert!(!said.contains(SECRET) && !said.contains("Signature="), "{args:?}: {said}");
    }
    done
}

fn good(lab: &Lab, moto: &Moto, args: &[&str]) -> String {
    let done = done(lab, moto, args);
    assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
    done.stdout
}

#[test]
fn a_sweep_lives_in_s3_and_outlives_its_master() {
    let Some((lab, moto)) = store() else { return };
    let board = good(&lab, &moto, &["run", "wine.yaml", "-k", "0"]);
    assert!(board.contains("0.19"), "{board}");
    assert_eq!(lab.ledger("led").len(), 10);
    let known = done(&lab, &moto, &["run", "wine.yaml"]);
    assert!(known.code == Some(0) && known.stderr.contains("everything is known"), "{}", known.stderr);
    // The end of the log is in the record, the whole of it in S3.
    let log = good(&lab, &moto, &["logs", "best"]);
    assert!(
        log.contains("\n19999\n") && log.starts_with("1\n2\n") && log.contains("data of b"),
        "{log:.200}"
    );
    // Without a master, and without its disk.
    std::fs::remove_dir_all(lab.data()).unwrap();
    assert_eq!(good(&lab, &moto, &["leaderboard", "s3://lab-bucket/sweeps/wine", "-k", "0"]), board);
    good(&lab, &moto, &["rebuild", "--from", "s3://lab-bucket/sweeps/", "--data-dir", "gridctl-data"]);
    assert_eq!(good(&lab, &moto, &["leaderboard", "wine", "-k", "0"]), board);
    let again = done(&lab, &moto, &["run", "wine.yaml"]);
    assert_eq!((again.code, lab.ledger("led").len()), (Some(0), 10), "nothing runs twice: {}", again.stderr);
    // Other data is another version.
    put(moto.address, "wine/c", "more data");
    let changed = done(&lab, &moto, &["run", "wine.yaml"]);
    let said = "data s3://lab-bucket/wine/: changed";
    assert!(changed.code == Some(2) && changed.stderr.contains(said), "{}", changed.stderr);
}

#[test]
fn a_run_that_is_killed_goes_on_with_what_lies_in_s3() {
    let Some((lab, moto)) = store() else { return };
    lab.write("wine.yaml", SWEEP.replace("echo s=", "sleep 0.3; echo s="));
    let mut run = command(&lab, moto.address, &["run", "wine.yaml", "--slots", "2", "-q"]);
    let run = run.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    lab.until("some trials began", || lab.ledger("led").len() >= 4);
    signal(&run, Signal::KILL);
    lab.wait(run);
    let board = good(&lab, &moto, &["run", "wine.yaml", "--slots", "2", "-k", "0"]);
    assert_eq!(board.lines().count(), 11, "{board}");
    // What was running when it was killed may have run twice, and what was on its way to the store.
    assert!((10..=14).contains(&lab.ledger("led").len()), "{:?}", lab.ledger("led"));
    assert_eq!(good(&lab, &moto, &["leaderboard", "s3://lab-bucket/sweeps/wine", "-k", "0"]), board);
}

#[test]
fn a86_what_keeps_s3_from_being_used_is_said_before_anything_runs_and_shows_no_secret() {
    let Some((lab, moto)) = store() else { return };
    let fails = |name: &str, change: &dyn Fn(&mut Command), said: &[&str]| {
        let mut command = command(&lab, moto.address, &["run", "wine.yaml"]);
        change(&mut command);
        let done = lab.finish(&mut command);
        assert!(done.code.is_some_and(|code| [1, 2].contains(&code)), "{name}: {}", done.stderr);
        for said in said {
            assert!(done.stderr.contains(said), "{name}: {}", done.stderr);
        }
        assert!(!done.stderr.contains(SECRET) && lab.ledger("led").is_empty(), "{name}: {}", done.stderr);
    };
    let home = lab.path().join("nobody");
    fails(
        "no credentials",
        &|it| {
            it.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", &home);
        },
        &["s3://lab-bucket", "no AWS credentials", "AWS_PROFILE"],
    );
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = silent.local_addr().unwrap();
    drop(silent);
    fails(
        "nobody there",
        &|it| {
            it.env("AWS_ENDPOINT_URL", format!("http://{closed}"));
        },
        &["is not reachable", "Connection refused", "AWS_ENDPOINT_URL"],
    );
    lab.write("wine.yaml", SWEEP.replace("output: s3://lab-bucket", "output: s3://other-bucket"));
    fails("no bucket", &|_| {}, &["s3://other-bucket", "no such bucket", "aws s3 mb"]);
    lab.write("wine.yaml", SWEEP.replace("s3://lab-bucket/wine/", "s3://lab-bucket/wein/"));
    fails("no data", &|_| {}, &["there is no object at s3://lab-bucket/wein", "aws s3 ls"]);
    lab.write("wine.yaml", SWEEP.replace("s3://lab-bucket/wine/", "s3://Lab/wine/"));
    fails("no address", &|_| {}, &["wine.yaml:", "a bucket's name", "s3://my-bucket"]);
    let board = done(&lab, &moto, &["leaderboard", "s3://lab-bucket/sweeps/wein"]);
    assert!(board.code == Some(1) && board.stderr.contains("holds no results"), "{}", board.stderr);
}
