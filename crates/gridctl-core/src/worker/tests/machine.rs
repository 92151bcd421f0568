//! What a worker does when its machine cannot start trainers.

use super::*;
use crate::machine::MachineHealth;

fn resting() -> Option<MachineHealth> {
    Some(MachineHealth::Resting { fault: "no processes".to_owned() })
}

#[test]
fn a_worker_rests_after_a_fault_of_its_machine_and_says_so() {
    let mut shell = Shell::welcome(2);
    shell.grant([1, 2, 3]);
    shell.fault(1);
    shell.fault(2);
    assert_eq!((shell.started.clone(), shell.updates().health), (leases([1, 2]), resting()));
    shell.pass(500, true);
    assert_eq!((shell.started.clone(), shell.updates().health), (leases([1, 2]), None));
    shell.pass(1_000, true);
    assert_eq!(shell.started, leases([1, 2, 3]), "one rest for both faults");
    assert_eq!(shell.updates().health, Some(MachineHealth::Fit));
    shell.fault(3);
    assert_eq!(shell.hello_again().health, resting().unwrap());
}

#[test]
fn a_worker_whose_machine_stays_unfit_leaves_once_nothing_runs() {
    let mut shell = Shell::welcome(2);
    shell.grant([100]);
    for lease in 1..=8 {
        shell.grant([lease]);
        shell.fault(lease);
        shell.pass(60_000, true);
    }
    assert_eq!(shell.exit, None, "something runs");
    shell.end(100, Class::Succeeded);
    shell.grant([9]);
    shell.fault(9);
    assert_eq!(shell.updates().health, Some(MachineHealth::GivenUp { fault: "no processes".to_owned() }));
    for lease in (1..=9).chain([100]) {
        shell.record(lease);
    }
    assert_eq!(shell.exit, Some(Farewell::Unfit("no processes".to_owned())));
}

#[test]
fn a_trial_that_a_worker_should_never_have_been_given_costs_budget_and_a_drained_one_does_not() {
    // Promise 18: or a trial that no worker can hold would go to and fro for ever.
    let too_much = Resources { cpu_milli: 1_000, mem_mib: 0, gpus: 1 };
    let cases: [(&str, fn(&mut Shell, Resources), Class, bool); 3] = [
        ("more than it has", |shell, much| shell.grant_sized([1], much), Class::WorkerFault, false),
        (
            "a sweep that it was never told",
            |shell, much| {
                let grants = vec![grant(1, Resources { gpus: 0, ..much })];
                shell.hear(MasterUpdate { grants, ..MasterUpdate::default() });
            },
            Class::WorkerFault,
            false,
        ),
        (
            "as it drains",
            |shell, _| {
                shell.worker.drain(shell.now, StopReason::Drained, 1_000);
                shell.grant([1]);
            },
            Class::Drained,
            true,
        ),
    ];
    for (name, give, class, unbegun) in cases {
        let mut shell = Shell::welcome(1);
        give(&mut shell, too_much);
        let reports = shell.updates().reports;
        let said: Vec<_> = reports.iter().map(|report| (report.class, report.unbegun)).collect();
        assert_eq!((said, shell.started.len()), (vec![(class, unbegun)], 0), "{name}");
    }
}

#[test]
fn a_worker_whose_results_cannot_be_published_keeps_them_and_starts_nothing_more() {
    let mut shell = Shell::welcome(1);
    shell.grant([1, 2]);
    for fault in ["full", "full, of another file"] {
        shell.worker.unpublished(LeaseSeq(1), fault);
        shell.act();
    }
    let full = MachineHealth::CannotPublish { fault: "full".to_owned() };
    assert_eq!(shell.updates().health, Some(full.clone()));
    shell.pass(120_000, true);
    assert_eq!((shell.started.clone(), shell.updates().health), (leases([1]), None));
    assert_eq!(shell.worker.holds(), leases([1, 2]), "the leases are kept");
    shell.end(1, Class::Succeeded);
    assert_eq!(shell.updates().health, Some(MachineHealth::Fit));
    shell.pass(1_000, true);
    assert_eq!(shell.started, leases([1, 2]));
    shell.worker.unpublished(LeaseSeq(2), "full");
    assert_eq!(shell.hello_again().health, full);
}

#[test]
fn nothing_starts_while_a_result_waits_for_the_volume() {
    let mut shell = Shell::welcome(2);
    shell.grant([1]);
    shell.worker.unpublished(LeaseSeq(1), "no space left");
    shell.grant([2]);
    assert_eq!(shell.started, leases([1]), "though a slot is free");
    shell.end(1, Class::Succeeded);
    assert_eq!(shell.started, leases([1, 2]));
}
