//! A version that cannot be run here: its trials go back at once, and the master hears why.

use super::*;
use crate::protocol::CannotRun;

fn version(why: &str) -> CannotRun {
    CannotRun { sweep: SweepId(1), version: 1, why: why.to_owned() }
}

#[test]
fn trials_of_a_version_that_cannot_be_run_go_back_until_it_may_be_tried_again() {
    let mut shell = Shell::welcome(2);
    shell.grant(1..4);
    assert_eq!(shell.started, leases([1, 2]));
    let now = shell.now;
    shell.worker.cannot_run(now, version("no disk"), Some(60_000), &leases([1, 2]));
    shell.act();
    let said = shell.updates();
    assert_eq!(said.cannot_run, Some(vec![version("no disk")]));
    let back: Vec<_> = said.reports.iter().map(|it| (it.token.lease.0, it.class, it.unbegun)).collect();
    assert_eq!(back, [1, 2, 3].map(|lease| (lease, Class::Drained, true)));
    assert!(shell.worker.holds().is_empty());
    // One that was on its way goes back as well, and the machine is as fit as before.
    let resources = Resources { cpu_milli: 1000, mem_mib: 0, gpus: 0 };
    shell.hear(MasterUpdate { grants: vec![grant(4, resources)], ..MasterUpdate::default() });
    assert_eq!(shell.reported(), [(4, Class::Drained)]);
    assert_eq!(shell.hello_again().cannot_run, [version("no disk")]);
    shell.hear_welcome(1);
    shell.pass(61_000, true);
    assert_eq!(shell.updates().cannot_run, Some(Vec::new()));
    (1..=4).for_each(|lease| shell.record(lease));
    shell.grant([5]);
    assert_eq!(shell.worker.holds(), leases([5]));
}

#[test]
fn one_that_is_asked_to_stop_while_it_waits_ends_as_that_and_a_version_said_anew_is_tried_again() {
    let mut shell = Shell::welcome(2);
    shell.grant(1..3);
    shell.hear(MasterUpdate { cancel: leases([2]), ..MasterUpdate::default() });
    let now = shell.now;
    shell.worker.cannot_run(now, version("no compiler"), None, &leases([1, 2]));
    shell.act();
    assert_eq!(shell.reported(), [(1, Class::Drained), (2, Class::Cancelled)]);
    shell.pass(600_000, true);
    assert_eq!(shell.updates().cannot_run, None, "it does not change by itself");
    shell.hear(MasterUpdate { sweeps: vec![(SweepId(1), 1, sweep())], ..MasterUpdate::default() });
    assert_eq!(shell.updates().cannot_run, Some(Vec::new()));
}
