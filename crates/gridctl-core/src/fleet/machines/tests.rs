//! The plan, call by call; what many calls come to is played by the simulator.

use super::*;

const NOW: Time = Time(1_000_000);
const MANY: Demand = Demand { backlog: 1_000, at_once: 8 };

fn pool(zone: &str, spot: u64) -> Pool {
    Pool { instance: "c6i.xlarge".to_owned(), zone: zone.to_owned(), slots: 4, spot, on_demand: 170_000 }
}

fn fleet(caps: Caps, markets: Markets) -> MachineFleet {
    MachineFleet::new(vec![pool("a", 70_000), pool("b", 60_000)], caps, markets)
}

fn wide() -> Caps {
    Caps::new(100, None, 0)
}

/// Decides, applies, and returns the calls, without looks.
fn step(fleet: &mut MachineFleet, now: Time, demand: Demand) -> Vec<CloudCall> {
    let records = fleet.decide(now, now.0, demand);
    records.iter().for_each(|record| fleet.apply(now, record));
    let calls = fleet.calls(now, demand);
    calls.into_iter().filter(|call| *call != CloudCall::Look).collect()
}

fn launch(calls: &[CloudCall]) -> Launch {
    match calls {
        [CloudCall::Launch(launch, _)] => launch.clone(),
        other => panic!("no launch: {other:?}"),
    }
}

fn answer(fleet: &mut MachineFleet, now: Time, id: LaunchId, answer: LaunchAnswer) {
    let records = fleet.on_answer(now, id, answer);
    records.iter().for_each(|record| fleet.apply(now, record));
}

fn ids(names: &[&str]) -> Vec<MachineId> {
    names.iter().map(|name| MachineId((*name).to_owned())).collect()
}

/// The workers of these machines run trials.
fn works(fleet: &mut MachineFleet, now: Time, names: &[&str]) {
    ids(names).iter().for_each(|id| fleet.on_worker(Some(now), id, true));
}

/// A fleet of two machines that work.
fn two(caps: Caps) -> MachineFleet {
    let mut fleet = fleet(caps, Markets::Spot);
    let asked = launch(&step(&mut fleet, NOW, MANY));
    assert_eq!(
        (asked.pool(), asked.market(), asked.count()),
        (1, Market::Spot, 2),
        "the cheapest, for 8 at once"
    );
    answer(&mut fleet, NOW, asked.id(), LaunchAnswer::Started(ids(&["i-1", "i-2"])));
    for id in ids(&["i-1", "i-2"]) {
        fleet.on_worker(Some(NOW), &id, true);
    }
    assert_eq!((step(&mut fleet, NOW, MANY), fleet.machines(), fleet.hold()), (vec![], 2, None));
    fleet
}

#[test]
fn a_pool_without_capacity_is_left_alone_for_three_minutes_and_on_demand_only_where_allowed() {
    for fallback in [false, true] {
        let markets = if fallback { Markets::SpotThenOnDemand } else { Markets::Spot };
        let mut fleet = fleet(wide(), markets);
        for pool in [1, 0] {
            let asked = launch(&step(&mut fleet, NOW, MANY));
            assert_eq!((asked.pool(), asked.market()), (pool, Market::Spot));
            answer(&mut fleet, NOW, asked.id(), LaunchAnswer::NoCapacity);
        }
        let calls = step(&mut fleet, NOW.after_ms(COOL_DOWN_MS - 1), MANY);
        if fallback {
            assert_eq!(launch(&calls).market(), Market::OnDemand);
        } else {
            assert_eq!((calls, fleet.hold()), (vec![], Some(Hold::Capacity)));
            assert_eq!(launch(&step(&mut fleet, NOW.after_ms(COOL_DOWN_MS), MANY)).market(), Market::Spot);
        }
    }
}

#[test]
fn a_launch_without_an_answer_is_asked_for_again_under_its_token_and_counts_until_then() {
    let mut fleet = fleet(Caps::new(2, None, 0), Markets::Spot);
    let asked = launch(&step(&mut fleet, NOW, MANY));
    let more = Demand { at_once: 800, ..MANY };
    assert_eq!((step(&mut fleet, NOW, more), fleet.hold()), (vec![], Some(Hold::Machines)));
    answer(&mut fleet, NOW, asked.id(), LaunchAnswer::Lost);
    assert_eq!(step(&mut fleet, NOW.after_ms(BACKOFF_MS.0 - 1), more), []);
    assert_eq!(launch(&step(&mut fleet, NOW.after_ms(BACKOFF_MS.0), more)), asked);
    // Another master, from the journal.
    let mut next = super::tests::fleet(Caps::new(2, None, 0), Markets::Spot);
    next.apply(Time(5), &FleetRecord::Intended(asked.clone()));
    assert_eq!(launch(&step(&mut next, Time(5), more)), asked);
    // Nobody wants it any more: it is not asked for again, and not forgotten before it would have been seen.
    let mut late = super::tests::fleet(Caps::new(2, None, 0), Markets::Spot);
    let none = Demand { backlog: 0, at_once: 8 };
    late.apply(NOW, &FleetRecord::Intended(asked.clone()));
    assert_eq!(late.calls(NOW, none), [CloudCall::Look]);
    assert_eq!(late.on_look(NOW, Some(vec![]), none), []);
    let then = NOW.after_ms(VISIBLE_MS);
    assert_eq!(late.calls(then, none), [CloudCall::Look]);
    assert_eq!(late.on_look(then, Some(vec![]), none), [FleetRecord::Settled(asked.id())]);
}

#[test]
fn no_launch_passes_the_cap_on_money_and_what_lives_is_ended_before_it() {
    // Two machines for 0.06 an hour; an hour is kept for their end.
    let caps = Caps::new(100, Some(MICROS), 3_600_000);
    let mut fleet = two(caps);
    let hours = |hours: u64| NOW.after_ms(hours * 3_600_000);
    works(&mut fleet, hours(7), &["i-1", "i-2"]);
    assert_eq!(step(&mut fleet, hours(7), MANY), []);
    assert!((840_000..840_010).contains(&fleet.spent()), "{}", fleet.spent());
    works(&mut fleet, hours(8), &["i-1", "i-2"]);
    let calls = step(&mut fleet, hours(8), MANY);
    assert_eq!(calls, [CloudCall::Terminate(ids(&["i-1", "i-2"]))]);
    assert_eq!((step(&mut fleet, hours(8), MANY), fleet.hold()), (vec![], Some(Hold::Budget)));
    let mut poor = super::tests::fleet(Caps::new(100, Some(10_000), 3_600_000), Markets::Spot);
    assert_eq!((step(&mut poor, NOW, MANY), poor.hold()), (vec![], Some(Hold::Budget)));
}

#[test]
fn what_was_spent_survives_the_master() {
    let mut fleet = fleet(Caps::new(100, Some(MICROS), 0), Markets::Spot);
    for record in [
        FleetRecord::Billed(Bill { spent: 900_000, wall_ms: 10_000, ..Bill::default() }),
        FleetRecord::Intended(Launch { id: LaunchId(1), pool: 1, market: Market::Spot, count: 2 }),
        FleetRecord::Started(MachineId("i-1".to_owned()), LaunchId(1)),
        FleetRecord::Settled(LaunchId(1)),
    ] {
        fleet.apply(NOW, &record);
    }
    fleet.resume(NOW, 10_000 + 3_600_000);
    assert_eq!(fleet.spent(), 960_000, "one machine lived through the hour without a master");
}

#[test]
fn a_machine_that_is_to_be_taken_away_is_replaced_at_once_and_a_false_notice_ends_it_later() {
    let mut fleet = two(wide());
    fleet.on_notice(NOW, &MachineId("i-1".to_owned()));
    let asked = launch(&step(&mut fleet, NOW, MANY));
    assert_eq!(asked.count(), 1);
    answer(&mut fleet, NOW, asked.id(), LaunchAnswer::Started(ids(&["i-3"])));
    fleet.on_worker(Some(NOW), &MachineId("i-3".to_owned()), true);
    works(&mut fleet, NOW.after_ms(DOOMED_MS - 1), &["i-1", "i-2", "i-3"]);
    assert_eq!(step(&mut fleet, NOW.after_ms(DOOMED_MS - 1), MANY), []);
    assert_eq!(step(&mut fleet, NOW.after_ms(DOOMED_MS), MANY), [CloudCall::Terminate(ids(&["i-1"]))]);
}

#[test]
fn idle_machines_go_when_the_backlog_shrinks_and_all_when_it_is_empty() {
    let mut fleet = two(wide());
    fleet.on_worker(Some(NOW), &MachineId("i-2".to_owned()), false);
    assert_eq!(step(&mut fleet, NOW, Demand { backlog: 5, at_once: 8 }), [], "five need both");
    assert_eq!(
        step(&mut fleet, NOW, Demand { backlog: 4, at_once: 8 }),
        [CloudCall::Terminate(ids(&["i-2"]))]
    );
    assert_eq!(
        step(&mut fleet, NOW, Demand { backlog: 0, at_once: 8 }),
        [CloudCall::Terminate(ids(&["i-1"]))]
    );
}

#[test]
fn machines_that_never_work_are_ended_and_three_of_them_hold_the_fleet() {
    let mut fleet = fleet(wide(), Markets::Spot);
    let one = Demand { backlog: 1_000, at_once: 4 };
    let mut now = NOW;
    for number in 0..NEVER_JOINED {
        let id = format!("i-{number}");
        let asked = launch(&step(&mut fleet, now, one));
        answer(&mut fleet, now, asked.id(), LaunchAnswer::Started(ids(&[&id])));
        now = now.after_ms(JOIN_MS);
        let [machine] = &ids(&[&id])[..] else { panic!("one") };
        let expected = [CloudCall::Console(machine.clone()), CloudCall::Terminate(ids(&[&id]))];
        assert_eq!(step(&mut fleet, now, one), expected);
        fleet.apply(now, &FleetRecord::Gone(MachineId(id)));
    }
    assert_eq!((step(&mut fleet, now, one), fleet.hold()), (vec![], Some(Hold::NeverJoined)));
    fleet.on_resume();
    launch(&step(&mut fleet, now, one));
}

#[test]
fn a_machine_whose_worker_is_silent_for_long_is_ended() {
    let mut fleet = two(wide());
    let then = NOW.after_ms(JOIN_MS);
    works(&mut fleet, then, &["i-2"]);
    assert_eq!(step(&mut fleet, then, MANY), [CloudCall::Terminate(ids(&["i-1"]))]);
    assert_eq!(launch(&step(&mut fleet, then, MANY)).count(), 1, "it is replaced");
}

#[test]
fn a_smaller_cap_lets_machines_finish_the_idle_and_the_dearest_first() {
    let mut fleet = two(wide());
    fleet.on_worker(Some(NOW), &ids(&["i-2"])[0], false);
    fleet.apply(NOW, &FleetRecord::Scaled(1));
    assert_eq!(fleet.retire(NOW), ids(&["i-2"]));
    assert_eq!(fleet.retire(NOW), [], "it was told");
    assert_eq!(step(&mut fleet, NOW, MANY), [CloudCall::Terminate(ids(&["i-2"]))]);
    fleet.apply(NOW, &FleetRecord::Gone(ids(&["i-2"]).remove(0)));
    fleet.apply(NOW, &FleetRecord::Scaled(0));
    assert_eq!(fleet.retire(NOW), ids(&["i-1"]));
    assert_eq!(step(&mut fleet, NOW, MANY), [], "it finishes first");
    let late = NOW.after_ms(RETIRE_MS);
    assert_eq!(step(&mut fleet, late, MANY), [CloudCall::Terminate(ids(&["i-1"]))]);
}

#[test]
fn a_master_that_waits_spends_money_too_and_is_told_when_there_is_no_more() {
    let mut fleet = MachineFleet::default();
    let setup = FleetSetup {
        pools: vec![pool("a", 70_000)],
        markets: Markets::Spot,
        machines: 0,
        budget: Some(MICROS),
        reserve_ms: 3_600_000,
        master_price: 100_000,
        deadline_wall_ms: None,
        trial_ms: None,
    };
    fleet.apply(NOW, &FleetRecord::Set(setup));
    let hours = |hours: u64| NOW.after_ms(hours * 3_600_000);
    drop(fleet.decide(hours(8), 0, MANY));
    assert!(fleet.is_empty() && !fleet.has_spent_all());
    drop(fleet.decide(hours(9), 0, MANY));
    assert!(fleet.has_spent_all(), "an hour is kept for its end");
}

#[test]
fn a_fleet_is_made_again_by_its_records() {
    let setup = FleetSetup {
        pools: vec![pool("a", 70_000), pool("b", 60_000)],
        markets: Markets::Spot,
        machines: 10,
        budget: Some(MICROS),
        reserve_ms: 0,
        master_price: 170_000,
        deadline_wall_ms: None,
        trial_ms: None,
    };
    let mut fleet = MachineFleet::default();
    fleet.apply(NOW, &FleetRecord::Set(setup.clone()));
    let asked = launch(&step(&mut fleet, NOW, MANY));
    answer(&mut fleet, NOW, asked.id(), LaunchAnswer::Started(ids(&["i-1"])));
    // Another table of prices: what lives keeps its own.
    let dearer = FleetSetup { pools: vec![pool("b", 90_000)], ..setup };
    fleet.apply(NOW, &FleetRecord::Set(dearer));
    let asked = launch(&step(&mut fleet, NOW, MANY));
    let then = NOW.after_ms(BILL_MS);
    let records = fleet.decide(then, then.0, MANY);
    records.iter().for_each(|record| fleet.apply(then, record));
    let mut again = MachineFleet::default();
    let text = serde_json::to_string(&fleet.as_records()).unwrap();
    let records: Vec<FleetRecord> = serde_json::from_str(&text).unwrap();
    records.iter().for_each(|record| again.apply(then, record));
    assert_eq!((again.price_now(), again.alive()), (fleet.price_now(), fleet.alive()));
    assert_eq!(again.price_now(), 170_000 + 60_000 + 90_000 * u64::from(asked.count()));
    assert_eq!(again.spent_until(7), fleet.spent_until(7));
    assert_eq!((again.next_launch, &again.setup), (fleet.next_launch, &fleet.setup));
    assert_eq!(again.as_records(), fleet.as_records());
}

#[test]
fn a_deadline_takes_machines_on_demand_only_while_it_needs_them_and_ends_the_fleet() {
    use crate::fleet::deadline::{Pace, WorkLeft};
    const HOUR: u64 = 3_600_000;
    let setup = FleetSetup {
        pools: vec![pool("a", 60_000)],
        markets: Markets::SpotThenOnDemand,
        machines: 2,
        budget: None,
        reserve_ms: 0,
        master_price: 0,
        deadline_wall_ms: Some(NOW.0 + 10 * HOUR),
        trial_ms: None,
    };
    let mut fleet = MachineFleet::default();
    fleet.apply(NOW, &FleetRecord::Set(setup));
    // Six hours of work, of ten: the line begins after two.
    let left = |hours: u64| WorkLeft { begun: vec![hours * HOUR], fresh: 0, trial_ms: HOUR, at_once: 1 };
    let at = |hours: u64| NOW.after_ms(hours * HOUR);
    let none = |fleet: &mut MachineFleet, now: Time| {
        let asked = launch(&step(fleet, now, MANY));
        assert_eq!(asked.market(), Market::Spot, "there might be some again");
        answer(fleet, now, asked.id(), LaunchAnswer::NoCapacity);
    };
    fleet.on_work_left(NOW.0, &left(6));
    none(&mut fleet, NOW);
    assert_eq!((step(&mut fleet, NOW, MANY), fleet.hold()), (vec![], Some(Hold::Capacity)));
    fleet.on_work_left(at(3).0, &left(6));
    none(&mut fleet, at(3));
    let asked = launch(&step(&mut fleet, at(3), MANY));
    assert_eq!((asked.market(), asked.count()), (Market::OnDemand, 2), "an hour behind");
    answer(&mut fleet, at(3), asked.id(), LaunchAnswer::Started(ids(&["i-1", "i-2"])));
    works(&mut fleet, at(3), &["i-1", "i-2"]);
    assert_eq!(fleet.leave(at(3)), []);
    // Well ahead: what runs there may end, and nothing on demand takes their place.
    works(&mut fleet, at(4), &["i-1", "i-2"]);
    fleet.on_work_left(at(4).0, &left(2));
    assert_eq!((fleet.leave(at(4)), step(&mut fleet, at(4), MANY)), (ids(&["i-1", "i-2"]), vec![]));
    fleet.on_worker(Some(at(4).after_ms(LEAVE_MS)), &ids(&["i-1"])[0], false);
    let ended = step(&mut fleet, at(4).after_ms(LEAVE_MS), MANY);
    assert_eq!(ended, [CloudCall::Terminate(ids(&["i-1"]))]);
    fleet.apply(at(4), &FleetRecord::Gone(ids(&["i-1"])[0].clone()));
    none(&mut fleet, at(4).after_ms(LEAVE_MS));
    // All of what is left is needed, and then it is late.
    works(&mut fleet, at(9), &["i-2"]);
    fleet.on_work_left(at(9).0, &left(1));
    assert_eq!(
        (fleet.pace(), launch(&step(&mut fleet, at(9), MANY)).market()),
        (Pace::ToTheEnd, Market::OnDemand)
    );
    let calls = step(&mut fleet, at(10), MANY);
    assert!(fleet.is_late() && calls.contains(&CloudCall::Terminate(ids(&["i-2"]))), "{calls:?}");
}
