//! SIGKILL at any moment, to any process of a sweep, costs attempts and nothing else: every trial ends with one outcome, a success
//! that was recorded is not computed again, and nothing is left behind.
//!
//! Who is killed and when is drawn from a seed, which is printed; `KILL_SEED=n cargo test -p gridctl --test kill` draws the same, and
//! how the processes of this machine come to stand at that moment is the rest of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;
mod siege;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use gridctl_core::record::Class;
use gridctl_worker::cgroup::CgroupSupport;
use gridctl_worker::marks::is_alive;
use siege::{Blow, Kind, Random, Role, Siege, trials};

const TRIALS: usize = 500;
/// Of each kind.
const KILLS: usize = 10;
/// The last kill comes when about so many trials are done at the latest, so that there is something left to kill.
const LAST: usize = 450;
/// A kill comes up to so many milliseconds after its place in the sweep, so that some meet a sweep that is only just going on.
const LATER_MS: u64 = 150;
/// A killed run goes on within this on a machine that is busy with other tests; by itself it takes a tenth.
const RESTART: Duration = Duration::from_secs(5);

/// A trainer is killed more often than other programs fail, and a kill from outside is a failure of its own as far as anyone can
/// see: it may happen to one trial more often than the two retries that are the default.
const SWEEP: &str = r#"command: [sh, -c, 'echo "start $GRID_TRIAL $GRID_ATTEMPT $$" >> ledger; sleep $HP_NAP; echo "done $GRID_TRIAL $GRID_ATTEMPT" >> ledger; echo score=$HP_X']
metric: {name: score, goal: maximize}
retry: {max_failures: 20}
parameters:
  x: {min: 1, max: 100}
  nap: {values: ["0.010", "0.020", "0.030", "0.040", "0.045"]}
"#;

fn blows(random: &mut Random) -> Vec<Blow> {
    let mut kinds: Vec<Kind> = Kind::EACH.into_iter().flat_map(|kind| [kind; KILLS]).collect();
    random.shuffle(&mut kinds);
    let mut blows: Vec<Blow> = kinds
        .into_iter()
        .map(|kind| {
            // The sweep pauses, as it should, when its first three trainers fail before any has succeeded.
            let first = if kind == Kind::Trainer { 10 } else { 0 };
            let after = first + random.below(LAST - first);
            Blow { kind, after, later: Duration::from_millis(random.next() % LATER_MS) }
        })
        .collect();
    blows.sort_by_key(|blow| blow.after);
    blows
}

fn seed() -> u64 {
    let stated = std::env::var("KILL_SEED").ok().map(|seed| seed.parse().unwrap());
    stated.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish() % 1_000_000)
}

#[test]
fn fifty_kills_at_any_moment_cost_attempts_and_nothing_else() {
    let seed = seed();
    eprintln!("KILL_SEED={seed}");
    let mut siege = Siege::begin(seed, SWEEP);
    let blows = blows(&mut siege.random);
    let mut struck: BTreeMap<Kind, usize> = BTreeMap::new();
    for blow in blows {
        siege.strike(blow);
        *struck.entry(blow.kind).or_default() += 1;
    }
    siege.end();
    assert!(Kind::EACH.iter().all(|kind| struck[kind] >= KILLS), "{struck:?}");
    siege.check_outcomes(TRIALS);
    siege.check_ledger(TRIALS);
    siege.check_leftovers();
    siege.starts.sort_unstable();
    let slowest = siege.starts.last().copied().unwrap_or_default();
    let middle = siege.starts.get(siege.starts.len() / 2).copied().unwrap_or_default();
    eprintln!(
        "{struck:?} in {:?}, the last with {} trials done; the first trainer came {middle:?} after a start, {slowest:?} at worst",
        siege.began.elapsed(),
        siege.last
    );
    assert!(slowest < RESTART, "a start took {slowest:?}: {siege}");
}

/// A fleet that gives up on workers which cannot live must not take those for such that were killed at their work.
#[test]
fn a_worker_that_is_killed_again_and_again_is_replaced_while_trials_succeed() {
    let mut siege = Siege::begin(0, &SWEEP.replace("max: 100", "max: 12"));
    let mut next = 5;
    for _ in 0..7 {
        siege.until("a worker at work", |siege| {
            let root = siege.running();
            (siege.done() >= next && siege.kill_one(root, Role::Worker)).then_some(())
        });
        next = siege.done() + 5;
    }
    siege.end();
    let listed = trials(&siege.lab.run(&["trials", "ls", "-o", "jsonl"]).stdout);
    assert_eq!(listed.iter().filter(|(_, state)| state == "succeeded").count(), 60, "{siege}");
}

/// A start that is killed has heard of no worker, and how those of before ended was its doing: no trial comes under suspicion by it.
#[test]
fn a_run_that_is_killed_again_and_again_as_it_starts_blames_no_trial() {
    let seed = seed();
    eprintln!("KILL_SEED={seed}");
    let mut siege = Siege::begin(seed, &SWEEP.replace("max: 100", "max: 12"));
    for kill in 0..40 {
        let root = siege.running();
        if kill % 5 == 0 {
            // At work, so that there are leases which the starts after it find.
            let before = siege.lab.ledger("ledger").len();
            siege.until("a trainer", |siege| (siege.lab.ledger("ledger").len() > before).then_some(()));
        } else {
            std::thread::sleep(Duration::from_millis(siege.random.next() % 60));
        }
        siege.kill_run(root, kill % 2 == 0);
    }
    siege.end();
    siege.check_outcomes(60);
    assert!(siege.count(Class::WorkerFault) > 0, "it was never killed at work: {siege}");
    assert_eq!(siege.count(Class::Lost), 0, "{siege}");
    siege.check_leftovers();
}

/// Waits until the ledger says that the first attempt goes on; the `run` that it goes on in.
fn first_attempt(siege: &mut Siege) -> u32 {
    siege.until("the first attempt", |siege| {
        let root = siege.running();
        (siege.lab.ledger("ledger") == ["first"]).then_some(root)
    })
}

/// A slot ends its trainer, and a worker what a dead slot left. Where both are gone at once, `run` does it. A process that is dead and
/// was not waited for yet has no environment.
#[test]
fn a_trainer_whose_slot_and_worker_are_killed_together_ends_before_its_trial_begins_again() {
    let mut siege = Siege::begin(
        0,
        r#"command: [sh, -c, '[ $GRID_ATTEMPT = 1 ] || { grep -q GRID_MARK /proc/$(cat first)/environ && echo together >> ledger; echo s=1; exit; }; echo $$ > first; echo first >> ledger; sleep 300; echo s=1']
metric: {name: s, goal: maximize}
parameters: {x: {value: 1}}
"#,
    );
    let root = first_attempt(&mut siege);
    assert!(siege.kill_worker_and_slots(root), "{siege}");
    siege.end();
    assert_eq!(siege.lab.ledger("ledger"), ["first"], "two attempts went on together: {siege}");
    siege.until("no process to be left", |siege| siege.is_quiet().then_some(()));
}

/// The last one too, in whose place no other is started.
#[test]
fn what_killed_workers_and_slots_left_ends_with_the_run_that_gives_up_on_them() {
    let mut siege = Siege::begin(0, "command: [sleep, '300']\nparameters: {x: {min: 1, max: 20}}\n");
    for _ in 0..5 {
        siege.until("a trainer", |siege| {
            let root = siege.running();
            siege.kill_worker_and_slots(root).then_some(())
        });
    }
    assert_eq!(siege.ended(), Some(1), "{siege}");
    assert!(siege.is_quiet(), "a trainer goes on: {siege}");
}

/// As root every slot has a cgroup, which a process cannot leave by forgetting whose it is.
#[test]
fn a_daemon_that_cleared_its_environment_ends_before_its_trial_begins_again() {
    if let CgroupSupport::None { why } = CgroupSupport::detect() {
        eprintln!("SKIPPED: {why}");
        assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
        return;
    }
    let mut siege = Siege::begin(
        0,
        r#"command: [sh, -c, '[ $GRID_ATTEMPT = 1 ] || { echo s=1; exit; }; setsid env -i sleep 300 & echo $! > daemon; echo first >> ledger; wait; sleep 300']
metric: {name: s, goal: maximize}
parameters: {x: {value: 1}}
"#,
    );
    let root = first_attempt(&mut siege);
    let daemon: u32 = siege.lab.ledger("daemon")[0].parse().unwrap();
    siege.until("a daemon without a mark", |_| {
        std::fs::read(format!("/proc/{daemon}/environ")).is_ok_and(|environ| environ.is_empty()).then_some(())
    });
    assert!(siege.kill_worker_and_slots(root), "{siege}");
    siege.end();
    assert!(!is_alive(daemon), "it goes on: {siege}");
}
