//! The fleet of machines, driven by what sweeps want and workers say.

use super::*;
use crate::fleet::machines::{
    FleetRecord, FleetSetup, Hold, Launch, LaunchAnswer, LaunchId, MachineId, Market, Markets, Pool,
    SeenMachine,
};
use crate::notice::Notice;
use crate::sched::{FleetInput, FleetOver};

fn setup(machines: u32) -> FleetSetup {
    let pool = |zone: &str, spot| Pool {
        instance: "c5.large".to_owned(),
        zone: zone.to_owned(),
        slots: 2,
        spot,
        on_demand: 100_000,
    };
    FleetSetup {
        pools: vec![pool("a", 40_000), pool("b", 30_000)],
        markets: Markets::SpotThenOnDemand,
        machines,
        budget: None,
        reserve_ms: 0,
        master_price: 100_000,
        deadline_wall_ms: None,
        trial_ms: None,
    }
}

fn begin(machines: u32) -> Input {
    Input::Fleet(FleetInput::Begin { setup: setup(machines), wall_ms: 0 })
}

impl World {
    /// A second later; what is asked of the cloud but to look.
    fn second(&mut self) -> Vec<CloudCall> {
        self.now = self.now.after_ms(1_000);
        let wall_ms = self.now.0;
        self.feed([Input::Fleet(FleetInput::Tick { wall_ms })]);
        std::mem::take(&mut self.calls).into_iter().filter(|call| *call != CloudCall::Look).collect()
    }

    fn launched(&mut self) -> Launch {
        match &self.second()[..] {
            [CloudCall::Launch(launch, _)] => launch.clone(),
            other => panic!("no launch: {other:?}"),
        }
    }

    fn answer(&mut self, launch: &Launch, answer: LaunchAnswer, why: Option<&str>) {
        let why = why.map(str::to_owned);
        self.feed([Input::Fleet(FleetInput::Answered { launch: launch.id(), answer, why })]);
    }

    /// The worker number N comes from a machine.
    fn on_machine(&mut self, number: u8, machine: &str) -> Conn {
        let machine = Some(machine.to_owned());
        self.open(Hello { machine, ..hello(number, &format!("host-{number}"), 2) })
    }

    /// What the cloud shows: machines, and whether they end.
    fn look(&mut self, there: [(&str, bool); 2]) {
        let seen = there.iter().map(|(id, ending)| SeenMachine {
            id: MachineId((*id).to_owned()),
            launch: LaunchId(1),
            ending: *ending,
        });
        let seen = seen.collect();
        self.feed([Input::Fleet(FleetInput::Looked(Some(seen)))]);
    }

    fn notices(&self, sweep: SweepId) -> Vec<Notice> {
        self.core.status(sweep, self.now).expect("it is there").notices
    }
}

fn ids(names: &[&str]) -> Vec<MachineId> {
    names.iter().map(|name| MachineId((*name).to_owned())).collect()
}

/// Two machines of two slots that run a sweep of so many trials.
fn two(count: u64) -> (World, SweepId, [Conn; 2]) {
    let mut world = World::new();
    world.feed([begin(2)]);
    assert_eq!(world.second(), [], "nobody wants anything");
    let sweep = world.submit(spec("a", count));
    let launch = world.launched();
    assert_eq!((launch.count(), launch.market(), launch.pool()), (2, Market::Spot, 1));
    assert!(
        world.journal.iter().any(|(_, event)| *event == Event::Fleet(FleetRecord::Intended(launch.clone()))),
        "it is in the journal"
    );
    world.answer(&launch, LaunchAnswer::Started(ids(&["i-1", "i-2"])), None);
    let conns = [world.on_machine(1, "i-1"), world.on_machine(2, "i-2")];
    (world, sweep, conns)
}

#[test]
fn machines_come_with_the_work_and_go_with_it() {
    let (mut world, sweep, conns) = two(4);
    assert_eq!(world.second(), []);
    for conn in conns {
        for grant in world.grants(conn) {
            world.report(conn, ended(&grant, Class::Succeeded));
        }
    }
    assert!(world.core.status(sweep, world.now).is_some_and(|status| status.state.is_over()));
    assert_eq!(world.second(), [CloudCall::Terminate(ids(&["i-1", "i-2"]))]);
    assert_eq!(world.core.fleet_over(world.now), None, "nobody has looked");
    world.look([("i-1", true), ("i-2", true)]);
    assert_eq!(world.core.fleet_over(world.now), Some(FleetOver::Sweeps));
    let cost = world.core.cost(world.now).expect("there is a fleet");
    assert!(cost.spent > 0.0 && cost.saved > 0.0 && cost.per_trial.is_some(), "{cost:?}");
}

#[test]
fn a_machine_that_is_to_be_taken_away_is_replaced_and_what_it_ran_is_wasted() {
    let (mut world, _, [first, _]) = two(100);
    world.now = world.now.after_ms(10_000);
    world.second();
    let [grant, ..] = &world.grants(first)[..] else { panic!("it has work") };
    let report = ended(grant, Class::Preempted);
    let update = WorkerUpdate { taken: true, draining: true, reports: vec![report], ..Default::default() };
    world.feed([Input::Said(first, Box::new(update))]);
    assert!(world.core.cost(world.now).is_some_and(|cost| cost.wasted > 0.0));
    let cap = world.second();
    assert_eq!(cap, [], "the cap holds while it lives");
    world.look([("i-1", true), ("i-2", false)]);
    assert_eq!(world.launched().count(), 1);
}

#[test]
fn what_is_gone_without_a_word_is_lost_once_the_cloud_says_so() {
    let (mut world, sweep, [first, second]) = two(100);
    world.feed([Input::Closed(first)]);
    world.now = world.now.after_ms(2_000);
    let leased = |world: &World| world.core.status(sweep, world.now).expect("it is there").leased;
    let before = leased(&world);
    world.second();
    world.look([("i-1", true), ("i-2", false)]);
    assert_eq!(leased(&world), before / 2, "its leases are free before they expire");
    assert_eq!(world.launched().count(), 1);
    assert!(!world.grants(second).is_empty());
}

#[test]
fn a_smaller_cap_drains_workers_and_a_person_hears_what_holds_a_fleet() {
    let (mut world, sweep, conns) = two(100);
    world.second();
    world.feed([Input::Fleet(FleetInput::Scale(Request(7), 1))]);
    assert_eq!(world.replies.get(&Request(7)), Some(&Ok(Answer::Done(1))));
    world.second();
    let drained = conns.iter().filter(|conn| world.heard[*conn].drain_ms.is_some()).count();
    assert_eq!(drained, 1);
    let mut world = World::new();
    world.feed([begin(2)]);
    let other = world.submit(spec("b", 8));
    for market in [Market::Spot, Market::Spot, Market::OnDemand, Market::OnDemand] {
        let launch = world.launched();
        assert_eq!(launch.market(), market);
        world.answer(&launch, LaunchAnswer::NoCapacity, Some("VcpuLimitExceeded: 0"));
    }
    world.second();
    let why = Some("VcpuLimitExceeded: 0".to_owned());
    assert!(world.notices(other).contains(&Notice::NoMachines { hold: Hold::Capacity, why }));
    assert_eq!(sweep, SweepId(1));
}

#[test]
fn a_fleet_without_money_for_the_rest_is_over_before_its_master_spends_more() {
    let mut world = World::new();
    let setup = FleetSetup { budget: Some(1_000), ..setup(2) };
    world.feed([Input::Fleet(FleetInput::Begin { setup, wall_ms: 0 })]);
    let sweep = world.submit(spec("a", 8));
    assert_eq!(world.second(), []);
    assert_eq!(world.core.fleet_over(world.now), None);
    let why = Notice::NoMachines { hold: Hold::Budget, why: None };
    assert!(world.notices(sweep).contains(&why), "the first quarter of an hour is not paid for");
    world.now = world.now.after_ms(60_000);
    world.second();
    assert_eq!(world.core.fleet_over(world.now), Some(FleetOver::Budget));
}

#[test]
fn a_deadline_decides_when_machines_on_demand_stand_in_and_ends_the_fleet() {
    const HOUR: u64 = 3_600_000;
    let mut world = World::new();
    let (began, wall_ms) = (world.now, world.now.0);
    let setup = FleetSetup { deadline_wall_ms: Some(wall_ms + 10 * HOUR), trial_ms: Some(HOUR), ..setup(2) };
    world.feed([Input::Fleet(FleetInput::Begin { setup, wall_ms })]);
    // Two hours of work on four places.
    world.submit(spec("a", 8));
    let no_spot = |world: &mut World| {
        for _ in 0..2 {
            let launch = world.launched();
            assert_eq!(launch.market(), Market::Spot);
            world.answer(&launch, LaunchAnswer::NoCapacity, None);
        }
    };
    no_spot(&mut world);
    assert_eq!(world.second(), [], "there is time to wait for others");
    world.now = began.after_ms(5 * HOUR);
    no_spot(&mut world);
    let launch = world.launched();
    assert_eq!((launch.market(), launch.count()), (Market::OnDemand, 2), "an hour behind");
    world.answer(&launch, LaunchAnswer::NoCapacity, None);
    assert_eq!(world.core.fleet_over(world.now), None);
    world.now = began.after_ms(10 * HOUR);
    assert_eq!(world.second(), []);
    assert_eq!(world.core.fleet_over(world.now), Some(FleetOver::Deadline));
}

#[test]
fn a_master_without_a_fleet_asks_nothing_of_a_cloud_and_the_next_with_one_goes_on() {
    let (mut world, _, _) = two(100);
    world.second();
    world.restart();
    assert_eq!(world.second(), [], "nobody carries it out");
    world.feed([begin(2)]);
    assert_eq!(world.core.fleet().machines(), 2);
    assert_eq!(world.second(), [], "they are still there");
    world.feed([begin(3)]);
    assert_eq!(world.launched().count(), 1);
    world.feed([Input::Fleet(FleetInput::Scale(Request(9), 0))]);
    assert!(world.core.cost(world.now).is_some_and(|cost| cost.most == 0));
}

#[test]
fn of_two_workers_on_one_machine_the_later_one_is_there() {
    let (mut world, sweep, [first, _]) = two(100);
    world.on_machine(3, "i-1");
    assert!(world.hung_up.contains(&first));
    assert_eq!(world.core.workers().len(), 2);
    assert_eq!(world.core.status(sweep, world.now).map(|status| status.leased), Some(4));
}
