//! The wall clock jumps, or was wrong from the beginning: no lease notices, and everything is recorded (promise 11).
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;
mod shift;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::UNIX_EPOCH;

use lab::{Lab, signal};
use rustix::process::Signal;

const YEAR: i64 = 365 * 86_400;

/// A lab whose commands see another wall clock.
struct Shifted {
    lab: Lab,
    library: PathBuf,
}

impl Shifted {
    /// `None` where no C compiler can make the library.
    fn new(seconds: i64) -> Option<Self> {
        let lab = Lab::new();
        let library = shift::library(&lab)?;
        let shifted = Self { lab, library };
        shifted.shift(seconds);
        Some(shifted)
    }

    fn shift(&self, seconds: i64) {
        shift::shift(&self.lab, seconds);
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.lab.command(args);
        command.env("LD_PRELOAD", &self.library).env("SHIFT_FILE", self.lab.path().join("clock/seconds"));
        let errors = fs::File::create(self.lab.path().join(format!("{}.err", args[0]))).unwrap();
        command.stdout(Stdio::null()).stderr(errors).spawn().unwrap()
    }

    fn said(&self, who: &str) -> String {
        fs::read_to_string(self.lab.path().join(format!("{who}.err"))).unwrap_or_default()
    }
}

fn skipped() {
    lab::skipped("the wall clock jumps: no C compiler makes a library that shifts it");
}

/// A master and a worker whose wall clock is shifted at the start by `first`, and while trials run by each of `jumps`.
fn check(first: i64, jumps: &[i64]) {
    let Some(shifted) = Shifted::new(first) else { return skipped() };
    let lab = &shifted.lab;
    lab.write(
        "c.yaml",
        "command: [sh, -c, 'echo $GRID_TRIAL $GRID_ATTEMPT >> ledger; sleep 0.3; echo s=$HP_X']\n\
         metric: {name: s, goal: maximize}\nparameters: {x: {min: 1, max: 12, step: 1}}\n",
    );
    let mut master = shifted.start(&["master", "--lease-ttl", "3s"]);
    lab.until("the master serves", || lab.run(&["workers", "ls"]).code == Some(0));
    let mut worker = shifted.start(&["worker", "--slots", "2"]);
    assert_eq!(lab.run(&["submit", "c.yaml"]).code, Some(0));
    for (begun, jump) in (2..).step_by(2).zip(jumps) {
        lab.until("more trials", || lab.ledger("ledger").len() >= begun);
        shifted.shift(*jump);
    }
    let is_over = || lab.run(&["status", "-o", "json"]).stdout.contains("\"state\": \"finished\"");
    lab.until("the sweep's end", is_over);
    let ledger = lab.ledger("ledger");
    let said = format!("{ledger:?}\n{}\n{}", shifted.said("master"), shifted.said("worker"));
    assert!(ledger.len() == 12 && ledger.iter().all(|line| line.ends_with(" 1")), "{said}");
    let board = lab.run(&["leaderboard", "-k", "0", "-o", "csv"]);
    assert_eq!(board.stdout.lines().count(), 13, "{}", board.stderr);
    let shown = lab.run(&["trials", "show", "best", "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let seen = shown["attempts"][0]["started_unix_ms"].as_i64().unwrap() / 1000;
    let real = fs::metadata(lab.path().join("ledger")).unwrap().modified().unwrap();
    let real = i64::try_from(real.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let shifts = std::iter::once(&first).chain(jumps);
    let is_near = |shift: &i64| (seen - real - shift).abs() < 3_600;
    assert!(shifts.into_iter().any(is_near), "the clock was not shifted: {seen}, and it is {real}");
    for child in [&mut worker, &mut master] {
        signal(child, Signal::TERM);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    }
}

#[test]
fn a_wall_clock_that_jumps_by_a_year_costs_no_lease() {
    check(0, &[YEAR, -YEAR, 0, 10 * YEAR]);
}

#[test]
fn c14_a_wall_clock_in_1970_or_2100_is_no_matter() {
    // From some day in the 2020s: back to the beginning, and on by 80 years.
    check(-56 * YEAR, &[]);
    check(80 * YEAR, &[]);
}
