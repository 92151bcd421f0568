//! Batches, commits, and starts from snapshots at any moment.

use super::*;
use crate::leaderboard::Brief;

fn driver() -> CommitPipeline {
    let mut core = Core::new(Timing::default());
    core.begin(Time(0));
    CommitPipeline::new(core)
}

fn submit(request: u64, spec: SweepSpec) -> Input {
    Input::Submit(Request(request), Box::new(submission(frozen(spec))))
}

fn replies(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Reply(..))).count()
}

#[test]
fn nothing_leaves_before_its_events_are_durable() {
    // Promises 6 and 7.
    let mut driver = driver();
    driver.push(submit(1, spec("a", 2)));
    driver.push(Input::Opened(Conn(1), Box::new(hello(1, "host-1", 1))));
    let events = driver.batch(Time(0), &mut |_| {}).expect("a batch").events.clone();
    assert!(events.iter().any(|(_, event)| matches!(event, Event::Leased { .. })));
    driver.push(Input::Steer(Request(2), SweepId(1), Steer::Cancel));
    for _ in 0..3 {
        assert!(driver.batch(Time(1), &mut |_| {}).is_none(), "one commit at a time");
    }
    assert_eq!(driver.waiting(), 1, "what came meanwhile is not stepped");
    assert_eq!(driver.core().sweeps().next().map(|sweep| sweep.phase()), Some(SweepPhase::Running));
    let effects = driver.committed();
    assert_eq!(replies(&effects), 1);
    assert_eq!(driver.committed(), [], "and leaves once");
    assert_eq!(driver.batch(Time(2), &mut |_| {}).map(|step| step.events.len()), Some(1));
    assert_eq!(replies(&driver.committed()), 1);
}

#[test]
fn a_batch_without_events_needs_no_commit() {
    // Promise 15.
    let mut driver = driver();
    driver.push(Input::Opened(Conn(1), Box::new(hello(1, "host-1", 1))));
    assert_eq!(driver.batch(Time(0), &mut |_| {}).map(Step::is_volatile), Some(false));
    let _ = driver.committed();
    driver.push(said(Conn(1), []));
    assert_eq!(driver.batch(Time(1), &mut |_| {}).map(Step::is_volatile), Some(true));
}

#[test]
fn a_submission_is_the_first_of_its_batch_so_that_all_that_is_known_is_durable() {
    // Promise 2: what another version has settled in the batch before is looked up, not computed again.
    let cases: [(&str, &[&str], &[usize]); 5] = [
        ("alone", &["submit"], &[1]),
        ("behind a tick", &["tick", "submit"], &[1, 1]),
        ("before ticks", &["submit", "tick", "tick"], &[3]),
        ("one after the other", &["submit", "submit", "submit"], &[1, 1, 1]),
        ("in between", &["tick", "tick", "submit", "tick", "submit"], &[2, 2, 1]),
    ];
    for (name, inputs, batches) in cases {
        let mut driver = driver();
        for (place, input) in inputs.iter().enumerate() {
            driver.push(match *input {
                "submit" => submit(place as u64, spec(&format!("s{place}"), 1)),
                _ => Input::Tick,
            });
        }
        let (mut sizes, mut waiting) = (Vec::new(), driver.waiting());
        while waiting > 0 {
            let mut asked = 0;
            assert!(driver.batch(Time(0), &mut |_| asked += 1).is_some(), "{name}");
            assert!(asked <= 1, "{name}");
            sizes.push(waiting - driver.waiting());
            waiting = driver.waiting();
            let _ = driver.committed();
        }
        assert_eq!(sizes, batches, "{name}");
    }
}

#[test]
fn what_is_known_is_asked_for_with_the_submission_in_hand() {
    let mut driver = driver();
    driver.push(submit(1, spec("a", 2)));
    let grid = Points::new(Arc::new(spec("a", 2))).unwrap();
    let step = driver.batch(Time(0), &mut |candidates| {
        assert_eq!((candidates.sweep(), candidates.upto()), (None, 0));
        let brief = Brief { params: grid.trial(1).params, ..brief(grid.trial_id(1), candidates.code()) };
        candidates.note(PriorOutcome { seq: 7, at: (SweepId(9), 1), brief, again: None });
    });
    assert_eq!(step.map(|step| step.copies.len()), Some(1));
}

#[test]
fn what_was_looked_up_before_is_not_looked_up_again_unless_the_sweep_has_another_version() {
    let grid = Points::new(Arc::new(spec("a", 3))).unwrap();
    let prior = |seq: u64, code| {
        let index = seq - 1;
        let brief = Brief { params: grid.trial(index).params, ..brief(grid.trial_id(index), code) };
        PriorOutcome { seq, at: (SweepId(9), 1), brief, again: None }
    };
    for (name, comes_between, seen) in [("nothing comes between", false, 2), ("a version does", true, 0)] {
        let mut driver = driver();
        let mut submission = submission(frozen(spec("a", 3)));
        let mut candidates = PriorOutcomes::of(driver.core(), &mut submission).expect("it is new");
        (1..=2).for_each(|seq| candidates.note(prior(seq, submission.frozen.code)));
        candidates.looked_upto(2);
        submission.looked_up = Some(candidates.looked_up());
        if comes_between {
            driver.push(submit(1, spec("a", 1)));
            driver.batch(Time(0), &mut |_| {});
            let _ = driver.committed();
        }
        driver.push(Input::Submit(Request(2), Box::new(submission)));
        let step = driver.batch(Time(0), &mut |candidates| {
            assert_eq!(candidates.upto(), seen, "{name}");
            (seen + 1..=3).for_each(|seq| candidates.note(prior(seq, candidates.code())));
        });
        let copied = step.map(|step| step.copies.iter().map(|copy| copy.from).collect::<Vec<_>>());
        assert_eq!(copied, Some(vec![1, 2, 3]), "{name}");
    }
}

#[test]
fn while_the_disk_is_full_workers_that_speak_keep_their_leases() {
    // Promise 24.
    let mut driver = driver();
    driver.push(submit(1, spec("a", 3)));
    for number in 1..=2 {
        let hello = hello(number, &format!("host-{number}"), 1);
        driver.push(Input::Opened(Conn(number.into()), Box::new(hello)));
    }
    driver.batch(Time(0), &mut |_| {});
    for second in 1..=60 {
        let now = Time(second * 1_000);
        driver.push(said(Conn(1), []));
        driver.hold_out(now);
        assert!(driver.batch(now, &mut |_| {}).is_none());
    }
    let deadline = |number| driver.core().workers[&worker(number)].deadline;
    assert_eq!((deadline(1), deadline(2)), (Time(90_000), Time(30_000)));
    let _ = driver.committed();
    driver.batch(Time(60_000), &mut |_| {});
    let leased: Vec<usize> = driver.core().workers().iter().map(|worker| worker.leased).collect();
    assert_eq!(leased, [1, 1], "and the stall was the master's own (promise 14)");
}

/// A history with something of everything; `between` is called after each of its batches.
pub(super) fn history(world: &mut World, between: &mut dyn FnMut(&mut World)) {
    let sweep = world.submit(SweepSpec {
        exclude: vec![crate::expr::Expr::parse("x == 3").unwrap()],
        retry: Retry { max_failures: 1, ..spec("a", 1).retry },
        ..spec("a", 20)
    });
    between(world);
    let first = world.join(1, "host-1", 3);
    let second = world.join(2, "host-2", 2);
    between(world);
    for (round, class) in Class::ALL.into_iter().cycle().take(36).enumerate() {
        for conn in [first, second] {
            if let Some(grant) = world.grants(conn).first() {
                world.report(conn, at_once(grant, class));
            }
            between(world);
        }
        world.pass(700, &[first]);
        if round == 5 {
            let _ = world.steer(sweep, Steer::Resume);
        }
        if round == 12 {
            world.submit(spec("b", 5));
            between(world);
        }
        if round == 20 {
            world.submit_version(frozen(spec("a", 30)));
            between(world);
        }
        between(world);
    }
    let _ = world.steer(sweep, Steer::Cancel);
    between(world);
    let _ = world.steer(sweep, Steer::Resume);
    between(world);
    world.pass(40_000, &[]);
    between(world);
}

#[test]
fn a_snapshot_of_any_moment_and_the_rest_of_the_journal_are_the_whole_journal() {
    // Promises 25 and 44: a start that reads a snapshot decides as one that reads everything.
    let mut world = World::new();
    let mut snapshots = Vec::new();
    history(&mut world, &mut |world| snapshots.push((world.journal.len(), world.core.snapshot())));
    assert!(snapshots.len() > 50 && world.journal.len() > 100);
    let now = world.now.after_ms(1_000);
    let start = |mut core: Core, tail: &[(u64, Event)]| {
        tail.iter().for_each(|(_, event)| core.apply(now, event));
        core.begin(now);
        (text(&core), core.next_deadline(), core.seq())
    };
    let whole = start(Core::new(world.timing), &world.journal);
    for (seen, snapshot) in &snapshots {
        let core = Core::restore(world.timing, now, *seen as u64, snapshot).expect("a snapshot");
        assert_eq!(start(core, &world.journal[*seen..]), whole, "a snapshot after event {seen}");
    }
}

#[test]
fn a_master_killed_at_any_moment_goes_on_from_its_journal() {
    // Promises 1, 2, 5 and 44: the world checks conservation after each start.
    let mut world = World::new();
    let mut prefixes = Vec::new();
    history(&mut world, &mut |world| prefixes.push((world.journal.len(), world.now)));
    for (seen, now) in prefixes {
        let mut after = World::with(world.timing);
        after.journal = world.journal[..seen].to_vec();
        after.outcomes =
            world.outcomes.iter().filter(|outcome| outcome.seq <= seen as u64).cloned().collect();
        after.now = now;
        after.restart();
        after.save();
        after.restart();
        let ids: Vec<SweepId> = after.core.sweeps().map(Sweep::id).collect();
        for sweep in &ids {
            let _ = after.steer(*sweep, Steer::Resume);
        }
        let conn = after.join(9, "host-9", 8);
        let over = |after: &World| ids.iter().all(|sweep| after.status(*sweep).state.is_over());
        for _ in 0..400 {
            let reports: Vec<_> =
                after.grants(conn).iter().map(|grant| ended(grant, Class::Succeeded)).collect();
            after.feed([said(conn, reports)]);
            after.pass(1_000, &[conn]);
            if over(&after) {
                break;
            }
        }
        assert!(over(&after), "promise 42, after event {seen}");
    }
}

#[test]
fn what_a_snapshot_holds_has_a_number() {
    let mut world = World::new();
    history(&mut world, &mut |_| {});
    let snapshot = world.core.snapshot();
    let json = snapshot.splitn(2, |byte| *byte == b'\n').nth(1).expect("a second line");
    let saved: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let keys = |value: &serde_json::Value| {
        let map = value.as_object().expect("an object");
        map.keys().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    };
    let found = [keys(&saved), keys(&saved["sweeps"][0]), keys(&saved["sweeps"][0]["settled"])];
    let sweep = "attempts best breaker cursor doubtful failures faults frozen generations id last_seq left_out \
        lost means observed open phase settled unsure version";
    let shape = [
        "connected epoch fleet graces next_lease next_seq sweeps",
        sweep,
        "cancelled excluded failed quarantined succeeded",
    ];
    // Where this fails, raise the number as well: a snapshot of the old shape must be passed over.
    assert_eq!((SNAPSHOT_FORMAT, found), (5, shape.map(str::to_owned)));
}

#[test]
fn what_is_no_snapshot_is_an_error() {
    let restore = |seq, bytes: &[u8]| Core::restore(Timing::default(), Time(0), seq, bytes);
    let cut = format!("{SNAPSHOT_FORMAT}\n{{\"epoch\":1}}");
    let start = cut.split_inclusive('\n').next().expect("the number");
    for bytes in [&b""[..], b"{", b"[]", b"3", start.as_bytes(), cut.as_bytes(), &[0xff; 16]] {
        assert!(restore(0, bytes).is_err());
    }
    let whole = Core::new(Timing::default()).snapshot();
    assert!(restore(0, &whole).is_ok());
    assert!(matches!(restore(1, &whole), Err(RestoreError::Events(0))));
    let json = whole.strip_prefix(start.as_bytes()).expect("the format's number comes first");
    for number in ["", "\n", "0\n", "1\n", "2\n", "03\n", "3 \n", "18446744073709551616\n"] {
        let other = [number.as_bytes(), json].concat();
        assert!(matches!(restore(0, &other), Err(RestoreError::Format)), "{number:?}");
    }
}
