//! What waits in a slot behind an attempt that goes on: who is put there, who takes over, who is
//! asked back.

use super::*;

const PLAIN: Resources = Resources { cpu_milli: 1000, mem_mib: 0, gpus: 0 };

/// A worker of so many slots that has seen short attempts, with those from `first` on granted.
fn hasty(slots: u32, granted: std::ops::Range<u64>, resources: Resources) -> Shell {
    let mut shell = Shell::new(Capacity { gpus: 4, ..slots_of(slots) });
    shell.connect();
    shell.grant([900]);
    shell.end_after(900, Class::Succeeded, 5);
    shell.grant_sized(granted, resources);
    shell.started.clear();
    shell.said.clear();
    shell
}

fn behind(shell: &Shell) -> Vec<u64> {
    shell.behind.values().map(|start| start.grant.token.lease.0).collect()
}

#[test]
fn where_attempts_are_short_a_slot_gets_its_next_one_in_advance() {
    let gpu = Resources { gpus: 1, ..PLAIN };
    let mut shell = hasty(2, 1..6, gpu);
    assert_eq!(behind(&shell), [3, 4]);
    shell.end_after(1, Class::Succeeded, 5);
    assert_eq!(behind(&shell), [5, 4], "the one that waited took over, with its GPU, and another waits");
    assert_eq!(shell.running[&LeaseSeq(3)].slot, 0);
    shell.end_after(2, Class::Succeeded, 5);
    shell.end_after(3, Class::Succeeded, 5);
    shell.end_after(4, Class::Succeeded, 5);
    shell.end_after(5, Class::Succeeded, 5);
    assert_eq!(shell.worker.holds(), []);
    assert_eq!((&shell.worker.used, shell.worker.slots.len()), (&Used::default(), 0), "nothing is kept");
}

#[test]
fn who_does_not_wait_in_a_slot() {
    let limited = Resources { mem_mib: 100, ..PLAIN };
    assert_eq!(behind(&hasty(1, 1..4, limited)), [0; 0], "where a kill for memory must be told apart");
    let mut shell = hasty(1, 1..2, PLAIN);
    shell.grant_sized([2], Resources { gpus: 1, ..PLAIN });
    assert_eq!(behind(&shell), [0; 0], "what needs other things than the one before it");
    let mut slow = Shell::welcome(1);
    slow.grant([900]);
    slow.end_after(900, Class::Succeeded, 50);
    slow.grant([1, 2]);
    assert_eq!(behind(&slow), [0; 0], "where attempts are longer");
}

#[test]
fn what_waits_in_a_slot_is_asked_back_when_there_is_room_elsewhere() {
    let mut shell = hasty(2, 1..4, PLAIN);
    shell.end_after(2, Class::Succeeded, 5);
    assert_eq!(shell.recalls, leases([3]));
    shell.withdraw(3);
    assert_eq!(shell.running[&LeaseSeq(3)].slot, 1);
    assert_eq!(shell.recalls.len(), 1, "once");
}

#[test]
fn one_that_does_not_come_back_hinders_no_other() {
    let mut shell = hasty(3, 1..6, PLAIN);
    shell.end_after(3, Class::Succeeded, 5);
    assert_eq!(shell.recalls, leases([4]));
    // It has begun: the one before it has ended, and is being published for a while.
    shell.hear(MasterUpdate::default());
    shell.act();
    assert_eq!(shell.recalls, leases([4, 5]));
}

#[test]
fn what_waits_in_a_slot_begins_only_while_its_lease_is_sure() {
    let mut shell = hasty(1, 1..3, PLAIN);
    assert_eq!(shell.behind[&0].by, shell.now.after_ms(15_000), "half a lease after the master's last word");
    shell.pass(15_001, false);
    shell.withdraw(2);
    shell.end_after(1, Class::Succeeded, 5);
    assert_eq!(shell.started, [], "nor is it started again");
    shell.connect();
    assert_eq!(shell.started, leases([2]), "until the master has spoken");
}

#[test]
fn what_is_stopped_before_it_began_is_not_started() {
    type Deed = fn(&mut Shell);
    let cases: [(&str, Deed, Option<Class>); 3] = [
        (
            "cancelled",
            |shell| {
                shell.hear(MasterUpdate { cancel: vec![LeaseSeq(2)], ..MasterUpdate::default() });
            },
            Some(Class::Cancelled),
        ),
        ("drained", |shell| shell.worker.drain(shell.now, StopReason::Drained, 0), Some(Class::Drained)),
        ("fenced", |shell| shell.fence(2), None),
    ];
    for (name, deed, class) in cases {
        let mut shell = hasty(1, 1..3, PLAIN);
        deed(&mut shell);
        shell.act();
        assert!(shell.stops.iter().any(|(lease, ..)| *lease == LeaseSeq(2)), "{name}");
        shell.withdraw(2);
        let reported = shell.reported().into_iter().find(|(lease, _)| *lease == 2);
        assert_eq!(reported.map(|(_, class)| class), class, "{name}");
        assert_eq!(shell.worker.holds(), leases([1]), "{name}");
    }
}
