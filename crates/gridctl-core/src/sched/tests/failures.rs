//! What an attempt's end costs whom: budgets, suspicion, backoff, and the two breakers.

use super::*;
use crate::attempt::{MAX_LOST, MAX_RELEASED, Tally};

/// The backoff of the trial at `index`, in milliseconds; 0 if it waits for nothing.
fn delay_ms(world: &World, sweep: SweepId, index: u64) -> u64 {
    match world.trial(sweep, index).phase() {
        TrialPhase::Backoff { delay_ms, .. } => *delay_ms,
        _ => 0,
    }
}

#[test]
fn each_end_counts_against_the_one_budget_of_its_class() {
    // Promises 17 and 18.
    let none = Tally::default();
    let failed = Tally { failures: 1, ..none };
    let lost = Tally { lost: 1, ..none };
    let cases = [
        (Class::Failed, failed),
        (Class::Oom, failed),
        (Class::Released, Tally { released: 1, ..none }),
        (Class::Preempted, lost),
        (Class::Drained, lost),
        (Class::WorkerFault, lost),
    ];
    for (class, tally) in cases {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        let grant = world.grant(conn);
        world.report(conn, ended(&grant, class));
        assert_eq!(world.trial(sweep, 0).tally, tally, "{class}");
        assert_eq!(world.status(sweep).failures, u64::from(tally.failures), "{class}");
        world.save();
        world.restart();
        assert_eq!(world.trial(sweep, 0).tally, tally, "{class}, after a restart");
    }
}

#[test]
fn attempts_are_finite_whatever_ends_them() {
    // Promise 21.
    let cases = [
        (Class::Failed, 3, TrialState::Failed),
        (Class::NoMetric, 2, TrialState::Failed),
        (Class::Released, u32::from(MAX_RELEASED) + 1, TrialState::Failed),
        (Class::Drained, u32::from(MAX_LOST) + 1, TrialState::Quarantined),
        (Class::WorkerFault, u32::from(MAX_LOST) + 1, TrialState::Quarantined),
    ];
    for (class, attempts, state) in cases {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        while !world.status(sweep).state.is_over() {
            for grant in world.grants(conn) {
                world.report(conn, ended(&grant, class));
            }
            world.pass(1_000, &[conn]);
        }
        assert_eq!(world.core.sweeps[&sweep].state_of(0), state, "{class}");
        let last = world.outcomes.last().map(|outcome| outcome.record.report.token.attempt);
        assert_eq!(last, Some(attempts), "{class}");
    }
}

#[test]
fn a_lost_worker_adds_suspicion_to_every_trial_that_it_held() {
    // Promise 19.
    let (mut world, sweep, _) = World::at_work(3, 3);
    world.feed([Input::Gone(worker(1))]);
    world.join(2, "host-2", 3);
    let suspicion: Vec<u8> = (0..3).map(|index| world.trial(sweep, index).tally.suspicion).collect();
    assert_eq!((suspicion, world.classes()), (vec![1; 3], vec![Class::Lost; 3]));
}

#[test]
fn a_trial_that_was_lost_three_times_is_tried_alone_and_lost_alone_is_quarantined() {
    // Promise 19, over restarts.
    for (name, survives) in [("it takes this worker along too", false), ("it was not to blame", true)] {
        let mut world = World::new();
        let sweep = world.submit(spec("a", 4));
        for number in 1..=3 {
            world.join(number, "host", 2);
            world.save();
            world.restart();
            world.feed([Input::Gone(worker(number))]);
        }
        let conn = world.join(4, "host", 4);
        let alone = world.grant(conn);
        assert_eq!(alone.index, 0, "{name}: it has the worker for itself");
        let other = world.join(5, "host", 1);
        assert_eq!(world.grant(other).index, 1, "{name}: the other one has another");
        if survives {
            world.report(conn, ended(&alone, Class::Succeeded));
            let rest: Vec<u64> = world.grants(conn).iter().map(|grant| grant.index).collect();
            assert_eq!((rest, world.status(sweep).quarantined), (vec![2, 3], 0), "{name}");
        } else {
            world.feed([Input::Gone(worker(4))]);
            world.join(6, "host", 1);
            assert_eq!(world.core.sweeps[&sweep].state_of(0), TrialState::Quarantined, "{name}");
        }
    }
}

#[test]
fn a_trial_that_must_be_alone_waits_for_an_empty_worker_and_lets_others_pass() {
    // Promises 19 and 42.
    let mut world = World::new();
    let sweep = world.submit(spec("a", 4));
    for number in 1..=3 {
        world.join(number, "host", 1);
        world.feed([Input::Gone(worker(number))]);
    }
    let other = world.submit(spec("b", 1));
    assert_eq!(world.steer(sweep, Steer::Pause), Ok(Answer::Done(1)));
    let conn = world.join(4, "host", 2);
    let busy = world.grant(conn);
    assert_eq!(busy.sweep, other);
    assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
    let passed = world.grant(conn);
    assert_eq!(passed.index, 1, "the suspicious one does not go beside another");
    world.feed([said(conn, [ended(&busy, Class::Succeeded), ended(&passed, Class::Succeeded)])]);
    assert_eq!(world.grant(conn).index, 0, "now the worker is empty");
}

#[test]
fn after_a_counted_failure_another_machine_is_preferred_where_there_is_one() {
    // Promises 22 and 42: a preference, and never a dead end.
    let cases: [(&str, Class, Option<(&str, u32)>, u8); 6] = [
        ("another machine", Class::Failed, Some(("host-2", 1)), 2),
        ("no metric is a failure too", Class::NoMetric, Some(("host-2", 1)), 2),
        ("another worker of the same machine is no other machine", Class::Failed, Some(("host-1", 1)), 1),
        ("there is no other", Class::Failed, None, 1),
        ("the other machine could never hold it", Class::Failed, Some(("host-2", 0)), 1),
        ("a drain is not the machine's fault", Class::Drained, Some(("host-2", 1)), 1),
    ];
    for (name, class, other, expected) in cases {
        let mut world = World::new();
        let sweep = world.submit(spec("a", 1));
        let conn = world.join(1, "host-1", 1);
        let grant = world.grant(conn);
        let mut conns = vec![conn];
        if let Some((host, slots)) = other {
            conns.push(world.join(2, host, slots));
        }
        world.report(conn, ended(&grant, class));
        // Without a success so far, a trial without its metric waits longer.
        world.pass(if class == Class::NoMetric { 10_000 } else { 1_000 }, &conns);
        let holder = world.trial(sweep, 0).lease().map(|lease| lease.worker);
        assert_eq!(holder, Some(worker(expected)), "{name}");
    }
}

#[test]
fn a_sweep_whose_first_trials_all_fail_at_once_is_paused() {
    // Promise 22: three distinct trials, on two machines where there are two.
    type Row = (&'static str, &'static [&'static str], fn(&Grant) -> Report, usize, SweepState);
    let fast: fn(&Grant) -> Report = |grant| at_once(grant, Class::Failed);
    let cases: [Row; 9] = [
        ("three on the only machine", &["host-1"], fast, 3, SweepState::Paused),
        ("two are no proof", &["host-1"], fast, 2, SweepState::Running),
        ("three on two machines", &["host-1", "host-2"], fast, 3, SweepState::Paused),
        (
            "no metric in an instant",
            &["host-1"],
            |grant| at_once(grant, Class::NoMetric),
            3,
            SweepState::Paused,
        ),
        (
            "no metric after a while",
            &["host-1"],
            |grant| ended(grant, Class::NoMetric),
            3,
            SweepState::Paused,
        ),
        (
            "slow failures are results",
            &["host-1"],
            |grant| ended(grant, Class::Failed),
            3,
            SweepState::Running,
        ),
        (
            "drains are no failures",
            &["host-1"],
            |grant| at_once(grant, Class::Drained),
            3,
            SweepState::Running,
        ),
        ("nor is memory", &["host-1"], |grant| at_once(grant, Class::Oom), 3, SweepState::Running),
        ("successes", &["host-1"], |grant| at_once(grant, Class::Succeeded), 3, SweepState::Running),
    ];
    for (name, hosts, report, ends, state) in cases {
        let mut world = World::new();
        let sweep = world.submit(spec("a", 100));
        let conns: Vec<Conn> = (1..).zip(hosts).map(|(number, host)| world.join(number, host, 3)).collect();
        let grants: Vec<_> = conns.iter().map(|conn| (*conn, world.grants(*conn))).collect();
        // On the second machine another one fails as well.
        for (conn, grants) in &grants[1..] {
            world.report(*conn, report(&grants[0]));
        }
        let (conn, grants) = &grants[0];
        for grant in &grants[..ends] {
            world.report(*conn, report(grant));
        }
        assert_eq!(world.status(sweep).state, state, "{name}");
        assert_eq!(world.turned.len(), usize::from(state == SweepState::Paused), "{name}: who waits is told");
        world.save();
        world.restart();
        assert_eq!(world.status(sweep).state, state, "{name}, after a restart");
    }
}

#[test]
fn fast_failures_do_not_outvote_the_first_trials_while_these_still_run() {
    // Promise 22: trials that train are no worse for those that fail at once beside them.
    let mut world = World::new();
    let sweep = world.submit(spec("a", 100));
    let conn = world.join(1, "host-1", 10);
    let grants = world.grants(conn);
    for grant in &grants[1..] {
        world.report(conn, at_once(grant, Class::Failed));
    }
    assert_eq!(world.status(sweep).state, SweepState::Running);
    world.save();
    world.report(conn, at_once(&grants[0], Class::Failed));
    assert_eq!(world.status(sweep).state, SweepState::Paused, "all of the first three have failed");
}

#[test]
fn failures_of_one_machine_alone_do_not_pause_a_sweep_where_there_are_two() {
    // Promise 22: it may be the machine.
    let mut world = World::new();
    let sweep = world.submit(spec("a", 100));
    let bad = world.join(1, "host-1", 4);
    let good = world.join(2, "host-2", 1);
    let failures: Vec<_> = world.grants(bad).iter().map(|grant| at_once(grant, Class::Failed)).collect();
    world.feed([said(bad, failures)]);
    assert_eq!(world.status(sweep).state, SweepState::Running);
    let grant = world.grant(good);
    world.report(good, at_once(&grant, Class::Failed));
    assert_eq!(world.status(sweep).state, SweepState::Paused);
}

#[test]
fn a_person_who_resumes_overrules_the_breaker_once_something_has_succeeded() {
    // Promise 22.
    let mut world = World::new();
    let sweep = world.submit(spec("a", 100));
    let conn = world.join(1, "host-1", 3);
    let fail = |world: &mut World| {
        let failures: Vec<_> = world.grants(conn).iter().map(|grant| at_once(grant, Class::Failed)).collect();
        world.feed([said(conn, failures)]);
    };
    fail(&mut world);
    assert_eq!(world.status(sweep).state, SweepState::Paused);
    let reason = PauseReason::FirstTrialsFailed { failed: 3 };
    assert_eq!(world.status(sweep).phase, SweepPhase::Paused(reason));
    for resumed in 1..=3 {
        assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
        world.save();
        for _ in 0..20 {
            fail(&mut world);
            world.pass(5_000, &[conn]);
        }
        let phase = world.status(sweep).phase;
        assert_eq!(phase, SweepPhase::Paused(reason), "nothing was put right: {resumed}");
    }
    assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
    world.pass(5_000, &[conn]);
    let grants = world.grants(conn);
    world.report(conn, ended(&grants[0], Class::Succeeded));
    let failures: Vec<_> = grants[1..].iter().map(|grant| at_once(grant, Class::Failed)).collect();
    world.feed([said(conn, failures)]);
    for _ in 0..20 {
        fail(&mut world);
        world.pass(5_000, &[conn]);
    }
    assert_eq!(world.status(sweep).state, SweepState::Running);
    let (_, version) = world.submit_version(coded(spec("a", 100), "other code"));
    fail(&mut world);
    assert_eq!(
        (version, world.status(sweep).state),
        (2, SweepState::Paused),
        "a new version is watched again"
    );
}

#[test]
fn a_sweep_most_of_whose_first_fifty_fail_is_paused() {
    // Promise 22.
    for (name, bad, state) in [("26 of 50", 26, SweepState::Paused), ("25 of 50", 25, SweepState::Running)] {
        let mut world = World::new();
        let sweep = world
            .submit(SweepSpec { retry: Retry { max_failures: 0, ..spec("a", 1).retry }, ..spec("a", 100) });
        let conn = world.join(1, "host-1", 50);
        let grants = world.grants(conn);
        for (place, grant) in grants.iter().enumerate() {
            let class = if place < bad { Class::Failed } else { Class::Succeeded };
            world.report(conn, ended(grant, class));
        }
        assert_eq!(world.status(sweep).state, state, "{name}");
    }
}

#[test]
fn a_machine_that_fails_whatever_it_is_given_is_drained_where_there_is_another() {
    // Promise 22: five fast failures in a row, of three trials at least.
    let cases: [(&str, bool, Option<Class>, bool); 4] = [
        ("another machine is there", true, None, true),
        ("it is the only machine", false, None, false),
        ("a success in between", true, Some(Class::Succeeded), false),
        ("a drain in between", true, Some(Class::Drained), false),
    ];
    for (name, other, between, drained) in cases {
        let mut world = World::new();
        let sweep = world.submit(spec("a", 100));
        let bad = world.join(1, "host-1", 6);
        if other {
            let good = world.join(2, "host-2", 1);
            let grant = world.grant(good);
            world.report(good, ended(&grant, Class::Succeeded));
        } else {
            world.core.sweeps.get_mut(&sweep).expect("it stands").breaker.overrule(true);
        }
        for (place, grant) in world.grants(bad).iter().enumerate() {
            let class = between.filter(|_| place == 2).unwrap_or(Class::Failed);
            world.report(bad, at_once(grant, class));
        }
        assert_eq!(world.heard(bad).drain_ms.is_some(), drained, "{name}");
        let view = world.core.workers().into_iter().find(|view| view.worker == worker(1));
        assert_eq!(view.map(|view| view.draining), Some(drained), "{name}");
    }
}

#[test]
fn a_backoff_holds_its_trial_back_and_survives_a_restart() {
    // Promise 23.
    for (name, saved) in [("from the journal", false), ("from a snapshot", true)] {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        let mut conn = conn;
        let mut delay = 0;
        while delay < 100 {
            let grant = world.grant(conn);
            world.report(conn, ended(&grant, Class::Released));
            delay = delay_ms(&world, sweep, 0);
            if delay < 100 {
                world.pass(delay, &[conn]);
            }
        }
        world.pass(delay - 1, &[conn]);
        assert_eq!(world.grants(conn), [], "{name}: not before its time");
        if saved {
            world.save();
        }
        world.restart();
        conn = world.join(1, "host-1", 1);
        assert_eq!(delay_ms(&world, sweep, 0), delay, "{name}");
        world.pass(delay - 1, &[conn]);
        assert_eq!(world.grants(conn), [], "{name}: nor after the restart");
        world.pass(1, &[conn]);
        assert_eq!(world.grants(conn).len(), 1, "{name}");
    }
}

#[test]
fn a_backoff_in_a_paused_sweep_asks_for_no_tick() {
    // Promise 10: a deadline in the past that no tick takes away would keep the master busy for nothing.
    let (mut world, sweep, conn) = World::at_work(1, 1);
    let grant = world.grant(conn);
    world.report(conn, ended(&grant, Class::Failed));
    assert_eq!(world.steer(sweep, Steer::Pause), Ok(Answer::Done(1)));
    world.pass(60_000, &[conn]);
    assert!(world.core.next_deadline() > Some(world.now));
    assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
    assert_eq!(world.grants(conn).len(), 1, "its wait is over when the sweep goes on");
}

#[test]
fn while_the_rest_waits_the_forecast_waits_with_it() {
    let (mut world, sweep, conn) = World::at_work(3, 1);
    for _ in 0..2 {
        let grant = world.grant(conn);
        world.pass(10, &[conn]);
        world.report(conn, ended(&grant, Class::Succeeded));
    }
    let grant = world.grant(conn);
    assert!(world.status(sweep).eta_s.unwrap() < 0.1, "at the pace so far");
    world.report(conn, ended(&grant, Class::Released));
    let delay = delay_ms(&world, sweep, grant.index);
    world.pass(1, &[conn]);
    let status = world.status(sweep);
    assert_eq!((status.pending, status.waiting), (1, 1));
    assert!(status.eta_s.unwrap() * 1000.0 > (delay - 1) as f64, "{status:?}, {delay}");
    assert_eq!(status.without_master().eta_s, None, "nobody knows when somebody goes on");
}
