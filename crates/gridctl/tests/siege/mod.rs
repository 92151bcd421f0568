//! A sweep under fire: `gridctl run`, started again whenever a kill has ended it, and what must hold when it is over.
//! Invariant: what is killed was started here, and nothing that was started here outlives the test.
#![expect(clippy::unwrap_used, reason = "a test that cannot see or start its processes fails")]

mod checks;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::process::Child;
use std::time::{Duration, Instant};

use gridctl_core::record::{Class, TrialState};
use gridctl_storage::journal::Reader;
use gridctl_worker::marks::{end_marked, is_alive};
use serde_json::Value as Json;

use crate::lab::{Lab, now};
use processes::{BELONGS_TO, below, hold, kill, left_of};

pub(crate) use processes::Role;

/// The whole of it takes a tenth of this on two cores.
const LONGEST: Duration = Duration::from_secs(180);

/// Trials that run at once.
const SLOTS: usize = 2;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Trainer,
    Slot,
    Worker,
    Master,
    All,
}

impl Kind {
    pub(crate) const EACH: [Self; 5] = [Self::Trainer, Self::Slot, Self::Worker, Self::Master, Self::All];

    /// The role of the one process that is killed, unless `gridctl run` itself is.
    pub(crate) fn role(self) -> Option<Role> {
        match self {
            Self::Trainer => Some(Role::Trainer),
            Self::Slot => Some(Role::Slot),
            Self::Worker => Some(Role::Worker),
            Self::Master | Self::All => None,
        }
    }
}

/// One kill: when so many trials are done, and a little later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blow {
    pub(crate) kind: Kind,
    pub(crate) after: usize,
    pub(crate) later: Duration,
}

/// splitmix64: the same kills for the same seed in every build.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// What was recorded when somebody looked: the successes, and how far the trainers' own ledger went just after.
pub(crate) struct Known {
    succeeded: BTreeSet<String>,
    ledger: usize,
}

/// The sweep under fire.
pub(crate) struct Siege {
    pub(crate) lab: Lab,
    seed: u64,
    pub(crate) random: Random,
    pub(crate) began: Instant,
    run: Option<Child>,
    /// When the run that goes on was started, and how long the ledger was then, until its first trainer has written to it.
    starting: Option<(Instant, usize)>,
    /// From a start that nothing disturbed until the first trainer's first line.
    pub(crate) starts: Vec<Duration>,
    known: Vec<Known>,
    /// How many trials were done when a process was last killed, and when a worker was.
    pub(crate) last: usize,
    last_worker: Option<usize>,
}

impl fmt::Display for Siege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.lab.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        };
        let (run, workers) = (tail("run.err"), tail("gridctl-data/work/worker.log"));
        write!(
            f,
            "after {:?}, {} trials done; again with KILL_SEED={}\n-- run said:\n{run}\n-- its workers said:\n{workers}",
            self.began.elapsed(),
            self.done(),
            self.seed,
        )
    }
}

impl Siege {
    pub(crate) fn begin(seed: u64, sweep: &str) -> Self {
        let lab = Lab::new();
        lab.write("sweep.yaml", sweep);
        Self {
            lab,
            seed,
            random: Random(seed),
            began: now(),
            run: None,
            starting: None,
            starts: Vec::new(),
            known: Vec::new(),
            last: 0,
            last_worker: None,
        }
    }

    /// The process of the run that goes on; the same command is started again if a kill has ended it.
    pub(crate) fn running(&mut self) -> u32 {
        if let Some(run) = &mut self.run {
            let ended = run.try_wait().unwrap();
            let pid = run.id();
            assert!(ended.is_none(), "nobody killed `run`, and it ended with {ended:?}: {self}");
            return pid;
        }
        let errors = File::options().append(true).create(true).open(self.lab.path().join("run.err"));
        let mut command = self.lab.command(&["run", "sweep.yaml", "--slots", &SLOTS.to_string()]);
        command.env(BELONGS_TO, self.lab.path());
        command.stdout(File::create(self.lab.path().join("run.out")).unwrap()).stderr(errors.unwrap());
        self.starting = Some((now(), self.lab.ledger("ledger").len()));
        self.run.insert(command.spawn().unwrap()).id()
    }

    /// How many trials are done, by the ledger.
    pub(crate) fn done(&self) -> usize {
        let ledger = self.lab.ledger("ledger");
        let done = ledger.iter().filter_map(|line| line.strip_prefix("done ")?.split(' ').next());
        done.collect::<BTreeSet<_>>().len()
    }

    /// Polls until something is there.
    pub(crate) fn until<T>(
        &mut self,
        what: impl fmt::Debug,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if let Some((at, _)) =
                self.starting.filter(|(_, before)| self.lab.ledger("ledger").len() > *before)
            {
                self.starts.push(at.elapsed());
                self.starting = None;
            }
            assert!(self.began.elapsed() < LONGEST, "waiting for {what:?}: {self}");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Waits for the moment, and strikes. Between two workers a trial succeeds at least: `run` is right to give up on workers of
    /// which five in a row end before one has.
    pub(crate) fn strike(&mut self, blow: Blow) {
        let is_worker = blow.kind == Kind::Worker;
        let first = self.last_worker.filter(|_| is_worker).map_or(0, |done| done + 2 * SLOTS);
        self.until(blow, |siege| {
            siege.running();
            (siege.done() >= blow.after.max(first)).then_some(())
        });
        std::thread::sleep(blow.later);
        self.until(blow, |siege| {
            let root = siege.running();
            match blow.kind.role() {
                Some(role) => siege.kill_one(root, role),
                None => siege.kill_run(root, blow.kind == Kind::All),
            }
            .then_some(())
        });
        self.starting = None;
        self.last = self.done();
        if is_worker {
            self.last_worker = Some(self.last);
        }
        self.look();
    }

    /// Kills a worker and its slots, so quickly that they cannot end what is below them, and waits until they are gone; false if no
    /// trainer was seen below them.
    pub(crate) fn kill_worker_and_slots(&mut self, root: u32) -> bool {
        let mut there = below(root);
        let works = there.iter().any(|seen| seen.role == Role::Trainer);
        there.retain(|seen| matches!(seen.role, Role::Worker | Role::Slot));
        let handles: Vec<_> = there.iter().filter_map(|seen| hold(seen.pid, root)).collect();
        if !works || handles.len() < 2 {
            return false;
        }
        assert!(handles.iter().all(kill), "{self}");
        self.until("them to be gone", |_| (!there.iter().any(|seen| is_alive(seen.pid))).then_some(()));
        true
    }

    /// Kills one process of this role, if there is one.
    pub(crate) fn kill_one(&mut self, root: u32, role: Role) -> bool {
        let mut there: Vec<u32> =
            below(root).into_iter().filter(|seen| seen.role == role).map(|seen| seen.pid).collect();
        self.random.shuffle(&mut there);
        there.into_iter().any(|pid| hold(pid, root).is_some_and(|handle| kill(&handle)))
    }

    /// Kills `gridctl run` itself, or it and all below it in any order.
    pub(crate) fn kill_run(&mut self, root: u32, all: bool) -> bool {
        let mut run = self.run.take().unwrap();
        let there = if all { below(root) } else { Vec::new() };
        let mut handles: Vec<_> =
            there.into_iter().filter_map(|seen| Some(Some(hold(seen.pid, root)?))).collect();
        handles.push(None);
        self.random.shuffle(&mut handles);
        for handle in handles {
            match handle {
                Some(handle) => drop(kill(&handle)),
                None => run.kill().unwrap(),
            }
        }
        run.wait().unwrap();
        true
    }

    /// Notes what is recorded as succeeded: from the journal alone where the master has been killed.
    pub(crate) fn look(&mut self) {
        let done = self.lab.run(&["trials", "ls", "-o", "jsonl"]);
        // A master that was killed at its very start has recorded nothing yet.
        if done.code != Some(0) {
            assert!(self.known.iter().all(|known| known.succeeded.is_empty()), "{}: {self}", done.stderr);
            return;
        }
        let succeeded = trials(&done.stdout).into_iter().filter(|(_, state)| state == "succeeded");
        let succeeded = succeeded.map(|(trial, _)| trial).collect();
        self.known.push(Known { succeeded, ledger: self.lab.ledger("ledger").len() });
    }

    /// The mark of the data directory, as trainers carry it.
    pub(crate) fn mark(&self) -> String {
        let dir = self.lab.path().canonicalize().unwrap().join("gridctl-data");
        blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex().as_str()[..16].to_owned()
    }

    /// Whether no process is left that was started for this sweep.
    pub(crate) fn is_quiet(&self) -> bool {
        left_of(self.lab.path(), &self.mark()).is_empty()
    }

    /// Lets the sweep end.
    pub(crate) fn end(&mut self) {
        self.running();
        assert_eq!(self.ended(), Some(0), "{self}");
    }

    /// Waits until the run has ended by itself, and says how.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = self.until("the run's end", |siege| siege.run.as_mut()?.try_wait().unwrap());
        self.run = None;
        status.code()
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        // A failed test leaves nothing behind either: slots end with their worker, and that with `run`.
        if let Some(mut run) = self.run.take() {
            let _ = run.kill();
            let _ = run.wait();
        }
        end_marked(&self.mark());
    }
}

/// Ids and states.
pub(crate) fn trials(jsonl: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let trial: Json = serde_json::from_str(line).unwrap();
        let text = |key: &str| trial[key].as_str().unwrap().to_owned();
        (text("trial"), text("state"))
    };
    jsonl.lines().map(line).collect()
}
