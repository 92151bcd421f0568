//! What a broken machine has failed is held against no trial, once one of them has succeeded elsewhere. Promise 22.

use super::*;
use crate::attempt::Tally;

/// Five trials have failed twice on `host-1`, which is drained for it because `host-2` has come; that one's connection, and
/// the one of the five that it holds.
fn broken() -> (World, SweepId, Conn, Grant) {
    let mut world = World::new();
    let sweep = world.submit(spec("a", 6));
    let early = world.join(9, "host-9", 1);
    let first = world.grant(early);
    let reports = vec![ended(&first, Class::Succeeded)];
    let last = WorkerUpdate { reports, draining: true, bye: true, ..WorkerUpdate::default() };
    world.feed([Input::Said(early, Box::new(last))]);
    let (bad, mut good, mut failures) = (world.join(1, "host-1", 5), Conn(0), 0);
    while failures < 10 {
        for grant in world.grants(bad) {
            failures += 1;
            if failures == 10 {
                good = world.join(2, "host-2", 1);
            }
            world.report(bad, failed(&grant));
        }
        world.pass(1_000, &[bad]);
    }
    assert!(world.heard(bad).drain_ms.is_some(), "it is drained");
    world.save();
    world.pass(5_000, &[good]);
    let grant = world.grant(good);
    (world, sweep, good, grant)
}

/// A failure with an error line of its own.
fn failed(grant: &Grant) -> Report {
    let error = Some(format!("no space left for attempt {}", grant.token.attempt));
    Report { error, ..at_once(grant, Class::Failed) }
}

/// Failures and lost of the five.
fn spent(world: &World, sweep: SweepId) -> Vec<(u32, u8)> {
    let open = world.core.sweeps[&sweep].trials.iter().map(|(_, trial)| trial);
    open.filter(|trial| trial.attempt > 1).map(|trial| (trial.tally.failures, trial.tally.lost)).collect()
}

#[test]
fn failures_of_a_broken_machine_are_given_back_when_one_of_its_trials_succeeds_elsewhere() {
    let cases: [(&str, fn(&Grant) -> Report, &[(u32, u8)], u64); 3] = [
        ("a success", |grant| ended(grant, Class::Succeeded), &[(0, 2); 4], 0),
        ("a third failure, which is final", failed, &[(2, 0); 4], 11),
        (
            "a drain says nothing",
            |grant| ended(grant, Class::Drained),
            &[(2, 1), (2, 0), (2, 0), (2, 0), (2, 0)],
            10,
        ),
    ];
    for (name, report, after, failures) in cases {
        let (mut world, sweep, good, grant) = broken();
        assert_eq!((spent(&world, sweep), world.status(sweep).failures), (vec![(2, 0); 5], 10), "{name}");
        world.report(good, report(&grant));
        assert_eq!(spent(&world, sweep), after, "{name}");
        assert_eq!(world.status(sweep).failures, failures, "{name}");
        world.restart();
        assert_eq!(spent(&world, sweep), after, "{name}, after a restart");
    }
}

#[test]
fn what_fails_on_while_its_machine_is_drained_is_given_back_too() {
    let mut world = World::new();
    let sweep = world.submit(spec("a", 100));
    let good = world.join(2, "host-2", 2);
    let [first, second] = world.grants(good).try_into().expect("two");
    world.feed([said(good, [ended(&first, Class::Succeeded), ended(&second, Class::Failed)])]);
    let bad = world.join(1, "host-1", 20);
    for grant in world.grants(bad) {
        world.report(bad, failed(&grant));
    }
    world.restart();
    let good = world.join(2, "host-2", 1);
    world.pass(5_000, &[good]);
    let mut grant = world.grant(good);
    while grant.index == second.index || world.trial(sweep, grant.index).tally.failures == 0 {
        world.report(good, ended(&grant, Class::Succeeded));
        grant = world.grant(good);
    }
    assert_eq!(world.status(sweep).failures, 21, "the success of other trials says nothing of the machine");
    world.report(good, ended(&grant, Class::Succeeded));
    let tallies: Vec<Tally> = world.core.sweeps[&sweep].trials.iter().map(|(_, trial)| trial.tally).collect();
    let given_back = tallies.iter().filter(|tally| (tally.failures, tally.lost) == (0, 1)).count();
    assert_eq!((given_back, world.status(sweep).failures), (19, 1), "{tallies:?}");
}

#[test]
fn a_failure_is_given_back_only_as_far_as_a_trial_has_room() {
    // Promise 21: what is given back counts as lost, so the sum of both stays bounded.
    let cases = [((2, 3), (1, 4)), ((0, 3), (0, 3)), ((1, 50), (1, 50)), ((1, 49), (0, 50))];
    for ((failures, lost), expected) in cases {
        let mut tally = Tally { failures, lost, last_error: 7, ..Tally::default() };
        tally.excuse();
        assert_eq!((tally.failures, tally.lost), expected);
    }
}
