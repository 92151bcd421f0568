//! The bare limit that `bench/trials` compares gridctl with: starts the same trainer with the same
//! environment, reads its one pipe, waits for it, and does nothing else. Invariant: nothing is
//! kept, counted or written; std alone.
//!
//! `baseline COUNT THREADS ENVIRONMENT PROGRAM [ARGUMENT...]`, where ENVIRONMENT is a file of
//! NAME=VALUE, NUL after each.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, threads, environment, program, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: baseline COUNT THREADS ENVIRONMENT PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let environment = std::fs::read_to_string(environment).expect("the environment's file can be read");
    let environment: Vec<(&str, &str)> =
        environment.split('\0').filter_map(|variable| variable.split_once('=')).collect();
    let count: usize = count.parse().expect("COUNT is a number");
    let threads: usize = threads.parse().expect("THREADS is a number");

    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut output = String::new();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    output.clear();
                    trial(program, rest, &environment, &mut output);
                }
            });
        }
    });
    ExitCode::SUCCESS
}

/// Starts the trainer, reads what it prints, waits for its end.
fn trial(program: &str, arguments: &[String], environment: &[(&str, &str)], output: &mut String) {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the trainer starts");
    let mut pipe = child.stdout.take().expect("stdout is a pipe");
    pipe.read_to_string(output).expect("the trainer prints text");
    let status = child.wait().expect("the trainer can be waited for");
    assert!(status.success() && !output.is_empty(), "the trainer ended with {status}, printing `{output}`");
}
