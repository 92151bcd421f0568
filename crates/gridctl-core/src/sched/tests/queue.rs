//! What is granted, in which order, and what a grid costs that nobody has walked yet.

use super::*;
use crate::expr::Expr;
use crate::protocol::CannotRun;
use crate::spec::{AxisValues, Drawn, Law, SequenceSpec};
use crate::value::Value;

/// Works until the sweep is over; the classes say how attempts end, in turn.
fn work(world: &mut World, sweep: SweepId, conns: &[Conn], classes: &[Class]) {
    let mut classes = classes.iter().cycle();
    while !world.status(sweep).state.is_over() {
        for conn in conns {
            let grants = world.grants(*conn);
            let reports: Vec<_> =
                grants.iter().zip(&mut classes).map(|(grant, class)| ended(grant, *class)).collect();
            world.feed([said(*conn, reports)]);
        }
        world.pass(1_000, conns);
    }
}

/// Sweeps that draw their points.
fn sequences() -> Vec<(&'static str, SweepSpec)> {
    let uniform = |name: &str, q| {
        let law = Law::Uniform { min: 0.0, max: 1.0 };
        Axis { values: AxisValues::Drawn(Drawn { law, q }), ..axis(name, 1) }
    };
    let coin = |name: &str| uniform(name, Some(Value::Int(1)));
    let drawn =
        |points, axes| SweepSpec { sequence: Some(SequenceSpec { seed: 0, points }), axes, ..spec("a", 1) };
    vec![
        ("drawn at random", drawn(20, vec![uniform("x", None)])),
        ("drawn at random, few enough to repeat", drawn(40, vec![coin("x"), coin("y")])),
        (
            "drawn at random, with seeds",
            SweepSpec { repeats: Repeats::Seeds(2), ..drawn(9, vec![uniform("x", None)]) },
        ),
        ("drawn at random, all that there are", drawn(9, vec![axis("x", 4)])),
    ]
}

#[test]
fn every_point_of_the_grid_gets_one_outcome_and_nothing_else_does() {
    // Promise 1, whatever the grid and however attempts end.
    let when = |mut axis: Axis, when: &str| {
        axis.when = Some(Expr::parse(when).unwrap());
        axis
    };
    let grids = [
        ("a plain one", spec("a", 20)),
        (
            "spread",
            SweepSpec { order: Order::Spread, axes: vec![axis("x", 7), axis("y", 5)], ..spec("a", 1) },
        ),
        ("with seeds", SweepSpec { repeats: Repeats::Seeds(3), ..spec("a", 7) }),
        (
            "with an axis of repeats",
            SweepSpec {
                repeats: Repeats::Axis(1),
                axes: vec![axis("x", 5), axis("seed", 4)],
                ..spec("a", 1)
            },
        ),
        (
            "with points that are none",
            SweepSpec { exclude: vec![Expr::parse("x % 3 == 0").unwrap()], ..spec("a", 30) },
        ),
        (
            "with an axis that is not always there",
            SweepSpec { axes: vec![axis("x", 4), when(axis("y", 5), "x > 1")], ..spec("a", 1) },
        ),
        (
            "with no point at all",
            SweepSpec { exclude: vec![Expr::parse("x >= 0").unwrap()], ..spec("a", 30) },
        ),
    ];
    let ends: [&[Class]; 2] = [
        &[Class::Succeeded],
        &[Class::Drained, Class::Succeeded, Class::Failed, Class::WorkerFault, Class::NoMetric],
    ];
    for (name, spec) in grids.into_iter().chain(sequences()) {
        for classes in ends {
            let mut world = World::new();
            let sweep = world.submit(spec.clone());
            let conns = [world.join(1, "host-1", 2), world.join(2, "host-2", 3)];
            work(&mut world, sweep, &conns, classes);
            let grid = Points::new(Arc::new(spec.clone())).unwrap();
            let mut expected: Vec<TrialId> = (0..grid.len())
                .filter(|index| !grid.is_excluded(*index))
                .map(|index| grid.trial_id(index))
                .collect();
            let done = |outcome: &&Outcome| outcome.record.state != TrialState::Pending;
            let mut got: Vec<TrialId> =
                world.outcomes.iter().filter(done).map(|outcome| outcome.record.report.trial).collect();
            expected.sort_unstable();
            got.sort_unstable();
            assert_eq!(got, expected, "{name}");
            assert_eq!(world.status(sweep).excluded, grid.len() - expected.len() as u64, "{name}");
            assert_eq!(world.turned, [sweep], "{name}: it closes once (promise 42)");
        }
    }
}

#[test]
fn points_that_are_none_are_passed_in_ranges_of_ten_thousand_a_step_at_most() {
    // Promises 1 and 10: a long gap does not stall the master.
    let mut world = World::new();
    let sweep =
        world.submit(SweepSpec { exclude: vec![Expr::parse("x < 95000").unwrap()], ..spec("a", 100_000) });
    let conn = world.join(1, "host-1", 1);
    let mut steps = 1;
    while world.heard.get(&conn).is_none_or(|heard| heard.grants.is_empty()) {
        assert_eq!(world.core.next_deadline(), Some(world.now), "it asks to be stepped again at once");
        world.feed([Input::Tick]);
        steps += 1;
        assert!(steps < 20);
    }
    assert_eq!((world.grant(conn).index, steps), (95_000, 10));
    let mut cursor = 0;
    for (_, event) in &world.journal {
        if let Event::Passed { upto, excluded, .. } = event {
            assert!(upto - cursor <= 10_000 && excluded.len() == 1);
            cursor = *upto;
        }
    }
    assert_eq!((cursor, world.status(sweep).excluded), (95_000, 95_000));
    assert_ne!(world.core.next_deadline(), Some(world.now));
}

#[test]
fn a_grid_of_ten_to_the_fifteenth_costs_what_was_begun_of_it() {
    // Promise 1 at a size that nobody could walk.
    let mut world = World::new();
    let axes = vec![axis("x", 100_000), axis("y", 100_000), axis("z", 100_000)];
    let sweep = world.submit(SweepSpec { axes, order: Order::Spread, ..spec("a", 1) });
    let conn = world.join(1, "host-1", 10);
    for _ in 0..100 {
        let reports: Vec<_> = world.grants(conn).iter().map(|grant| ended(grant, Class::Succeeded)).collect();
        world.feed([said(conn, reports)]);
    }
    assert_eq!(world.states(sweep), [1_000_000_000_000_000 - 1_010, 10, 1_000, 0, 0, 0]);
    world.save();
    assert!(world.snapshot.as_ref().is_some_and(|(_, bytes)| bytes.len() < 20_000));
    world.restart();
    assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
    assert_eq!(world.states(sweep), [0, 10, 1_000, 0, 0, 1_000_000_000_000_000 - 1_010]);
    world.pass(61_000, &[]);
    assert_eq!(world.states(sweep)[5], 1_000_000_000_000_000 - 1_000);
}

#[test]
fn a_cap_ends_the_sweep_after_so_many_trials() {
    // Promise 1: the rest counts as cancelled.
    let cases = [("a cap of 5", 20, 5, 5), ("a cap beyond the grid", 20, 50, 20), ("a cap of 1", 20, 1, 1)];
    for (name, count, cap, tried) in cases {
        let mut world = World::new();
        let sweep = world.submit(SweepSpec { run_cap: Some(cap), ..spec("a", count) });
        let conn = world.join(1, "host-1", 3);
        work(&mut world, sweep, &[conn], &[Class::Drained, Class::Succeeded]);
        assert_eq!(world.states(sweep), [0, 0, tried, 0, 0, count - tried], "{name}");
        assert_eq!(world.status(sweep).state, SweepState::Finished, "{name}");
    }
}

#[test]
fn in_the_files_order_a_cap_means_its_first_points_and_what_it_leaves_out_is_counted_apart() {
    use crate::spec::Order;
    let capped = |exclude: &str, order| {
        let text = format!(
            "name: a\ncommand: [t]\nrun_cap: 4\nparameters: {{x: {{min: 0, max: 19}}}}\nexclude: ['{exclude}']\n"
        );
        SweepSpec { order, ..crate::spec::tests::spec(&text) }
    };
    for (name, exclude, order, excluded) in [
        ("in the order of the file", "x == 1 or x > 15", Order::File, 5),
        ("spread", "x == 1 or x > 15", Order::Spread, 5),
    ] {
        let mut world = World::new();
        let sweep = world.submit(capped(exclude, order));
        let conn = world.join(1, "host-1", 3);
        work(&mut world, sweep, &[conn], &[Class::Succeeded]);
        assert_eq!(world.states(sweep), [0, 0, 4, 0, 0, 20 - 4 - excluded], "{name}");
        assert_eq!(world.status(sweep).excluded, excluded, "{name}");
        assert_eq!(world.status(sweep).state, SweepState::Finished, "{name}");
    }
}

#[test]
fn sweeps_share_a_worker_evenly_by_processors() {
    let cases = [
        ("the same size", vec![1_000, 1_000], 12, vec![6, 6]),
        ("one is twice as large", vec![2_000, 1_000], 12, vec![3, 6]),
        ("three of them", vec![1_000, 1_000, 1_000], 12, vec![4, 4, 4]),
    ];
    for (name, sizes, slots, expected) in cases {
        let mut world = World::new();
        for (place, cpu_milli) in sizes.into_iter().enumerate() {
            let resources = Resources { cpu_milli, mem_mib: 0, gpus: 0 };
            world.submit(SweepSpec { resources, ..spec(&format!("s{place}"), 100) });
        }
        world.join(1, "host-1", slots);
        let leased: Vec<u64> = world.core.sweeps().map(|sweep| sweep.status(world.now).leased).collect();
        assert_eq!(leased, expected, "{name}");
    }
}

#[test]
fn a_second_sweep_does_not_wait_for_the_first() {
    let (mut world, first, conn) = World::at_work(1_000, 4);
    let second = world.submit(spec("b", 1_000));
    for grant in world.grants(conn).iter().take(2) {
        world.report(conn, ended(grant, Class::Succeeded));
    }
    assert_eq!((world.status(first).leased, world.status(second).leased), (2, 2));
}

#[test]
fn with_repeats_a_complete_mean_is_best_and_reaches_the_target() {
    // (scores of the first point's three repeats, whether they end the sweep, what is best then)
    let cases = [
        ([0.95, 0.1, 0.1], false, Some((0.95 + 0.1 + 0.1) / 3.0)),
        ([0.85, 0.95, 0.95], true, Some((0.85 + 0.95 + 0.95) / 3.0)),
        ([0.95, f64::NAN, 0.95], false, None),
    ];
    for (scores, reached, best) in cases {
        let mut world = World::new();
        let mut spec = spec("a", 4);
        spec.objective = spec.objective.map(|objective| Objective { target: Some(0.9), ..objective });
        (spec.repeats, spec.point_by_point) = (Repeats::Seeds(3), true);
        let sweep = world.submit(spec);
        let conn = world.join(1, "host-1", 1);
        for (repeat, score) in scores.into_iter().enumerate() {
            assert!(repeat == 0 || !world.status(sweep).state.is_over(), "{scores:?}");
            let grant = world.grants(conn).remove(0);
            assert_eq!((grant.repeat as usize, grant.params.get("x")), (repeat, Some(&Value::Int(0))));
            assert_eq!(world.status(sweep).best, None);
            assert_eq!(world.status(sweep).none_complete(), repeat > 0);
            world.report(conn, scored(&grant, score));
            if repeat == 0 {
                world.save();
            }
        }
        world.restart();
        let status = world.status(sweep);
        assert_eq!(status.best.as_ref().map(|best| best.objective.0), best, "{scores:?}");
        assert_eq!(status.state == SweepState::Finished, reached, "{scores:?}");
        if let Some(best) = status.best {
            let wanted = if reached { 1 } else { 0 };
            assert_eq!(best.index, wanted * 4, "the best repeat, the first of equal ones: {scores:?}");
        }
    }
}

#[test]
fn of_equal_points_the_earlier_in_the_file_is_the_best() {
    let mut world = World::new();
    let sweep = world.submit(spec("a", 3));
    let conn = world.join(1, "host-1", 3);
    let grants = world.grants(conn);
    for place in [2, 0, 1] {
        world.report(conn, scored(&grants[place], 0.5));
    }
    assert_eq!(world.status(sweep).best.unwrap().index, 0);
}

#[test]
fn a_target_that_is_reached_cancels_the_rest() {
    let cases = [
        ("over it", Goal::Maximize, 0.95, true),
        ("on it", Goal::Maximize, 0.9, true),
        ("below it", Goal::Maximize, 0.89, false),
        ("below it is better", Goal::Minimize, 0.89, true),
        ("above it is worse", Goal::Minimize, 0.91, false),
        ("not a number", Goal::Maximize, f64::NAN, false),
        ("infinite has diverged", Goal::Maximize, f64::INFINITY, false),
    ];
    for (name, goal, score, reached) in cases {
        let mut world = World::new();
        let mut spec = spec("a", 100);
        spec.objective = spec.objective.map(|objective| Objective { goal, target: Some(0.9), ..objective });
        let sweep = world.submit(spec);
        let conn = world.join(1, "host-1", 2);
        let grants = world.grants(conn);
        world.report(conn, scored(&grants[0], score));
        assert_eq!(world.status(sweep).state == SweepState::Finished, reached, "{name}");
        if reached {
            assert_eq!(world.heard(conn).cancel, [grants[1].token.lease], "{name}");
            world.report(conn, ended(&grants[1], Class::Cancelled));
            assert_eq!(world.states(sweep), [0, 0, 1, 0, 0, 99], "{name}");
            assert_eq!(world.status(sweep).phase, SweepPhase::Closed(CloseReason::TargetReached), "{name}");
        }
    }
}

#[test]
fn a_worker_is_granted_what_fits_and_what_it_holds_in_advance() {
    let capacity = Capacity { cpu_milli: 4_000, mem_mib: 1_000, gpus: 2, slots: 0 };
    let plain = Resources { cpu_milli: 1_000, mem_mib: 0, gpus: 0 };
    let cases = [
        ("processors", capacity, plain, 0, false, 4),
        ("and some in advance", capacity, plain, 3, false, 7),
        ("no more in advance than a limit", capacity, plain, u32::MAX, false, 4 + 256),
        ("memory", capacity, Resources { mem_mib: 400, ..plain }, 0, false, 2),
        ("gpus", capacity, Resources { gpus: 1, ..plain }, 0, false, 2),
        ("stated slots", Capacity { slots: 3, ..capacity }, plain, 0, false, 3),
        ("draining", capacity, plain, 0, true, 0),
        ("too large", capacity, Resources { gpus: 3, ..plain }, 5, false, 0),
    ];
    for (name, capacity, resources, prefetch, draining, expected) in cases {
        let mut world = World::new();
        world.submit(SweepSpec { resources, ..spec("a", 10_000) });
        let conn = world.open(Hello { capacity, prefetch, draining, ..hello(1, "host-1", 1) });
        assert_eq!(world.grants(conn).len(), expected, "{name}");
    }
}

#[test]
fn s32_a_sweep_that_no_machine_can_hold_says_so() {
    let mut world = World::new();
    let resources = Resources { cpu_milli: 64_000, mem_mib: 0, gpus: 8 };
    let sweep = world.submit(SweepSpec { resources, ..spec("a", 3) });
    assert_eq!(world.status(sweep).notices, [], "without a worker nobody knows");
    world.join(1, "host-1", 4);
    let expected = Notice::NoWorkerFits { cpu_milli: 64_000, mem_mib: 0, gpus: 8 };
    assert_eq!(world.status(sweep).notices, [expected]);
}

#[test]
fn the_last_trials_are_spread_over_the_workers() {
    let mut world = World::new();
    let conns = [world.join(1, "host-1", 4), world.join(2, "host-2", 4), world.join(3, "host-3", 4)];
    world.submit(spec("a", 6));
    assert_eq!(conns.map(|conn| world.grants(conn).len()), [2, 2, 2]);
}

#[test]
fn what_was_begun_goes_before_what_was_not() {
    // Promise 18: a trial that lost its machine stands at the head of the queue.
    let (mut world, _, conn) = World::at_work(100, 1);
    let grant = world.grant(conn);
    world.report(conn, ended(&grant, Class::Preempted));
    assert_eq!(world.grant(conn).index, grant.index);
}

#[test]
fn a_version_is_told_once_on_a_connection_and_before_its_grants() {
    let (mut world, sweep, conn) = World::at_work(10, 2);
    let heard = world.heard(conn);
    assert_eq!(heard.sweeps.iter().map(|(id, version, _)| (*id, *version)).collect::<Vec<_>>(), [(sweep, 1)]);
    let [first, second] = heard.grants.try_into().expect("two");
    world.report(conn, ended(&first, Class::Succeeded));
    let heard = world.heard(conn);
    assert_eq!((heard.sweeps.len(), heard.grants.len()), (0, 1));
    let held = [&second, &heard.grants[0]];
    let conn = world.open(Hello { capacity: hello(1, "", 3).capacity, ..back(1, held, []) });
    assert_eq!(world.heard(conn).sweeps.len(), 1, "a new connection knows nothing");
}

#[test]
fn a_worker_that_cannot_run_a_version_gets_none_of_it_and_no_trial_waits_for_it() {
    let (mut world, sweep, first) = World::at_work(10, 1);
    let second = world.join(2, "host-2", 1);
    let (grant, other) = (world.grant(first), world.grant(second));
    let cannot = CannotRun { sweep, version: 1, why: "no compiler".to_owned() };
    let update = |cannot_run: &[CannotRun], reports: Vec<Report>| {
        Box::new(WorkerUpdate { cannot_run: Some(cannot_run.to_vec()), reports, ..WorkerUpdate::default() })
    };
    let back = Report { unbegun: true, ..ended(&other, Class::Drained) };
    world.feed([Input::Said(second, update(std::slice::from_ref(&cannot), vec![back]))]);
    assert_eq!(world.grants(second), []);
    let notice = Notice::CannotRun { host: "host-2".to_owned(), why: "no compiler".to_owned() };
    assert_eq!(world.status(sweep).notices, [notice]);
    // What failed on the one that can is tried there again: there is no other machine for it.
    world.report(first, ended(&grant, Class::Failed));
    for _ in 0..20 {
        world.pass(60_000, &[first, second]);
        if let Some(grant) = world.grants(first).pop() {
            world.report(first, ended(&grant, Class::Succeeded));
        }
    }
    assert_eq!((world.status(sweep).succeeded, world.grants(second)), (10, vec![]));
    assert_eq!(world.classes().iter().filter(|class| **class == Class::Failed).count(), 1);
    let (_, next) = (world.submit(spec("b", 2)), world.grants(second));
    assert_eq!(next.len(), 1, "other sweeps are as before");
}
