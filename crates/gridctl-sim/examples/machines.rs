//! What a fleet of a thousand machines costs its master: processor time a second, and calls to the cloud.
//!
//! `cargo run --release -p gridctl-sim --example machines` prints both.

use std::time::{Duration, Instant};

use gridctl_core::fleet::machines::{
    Caps, CloudCall, Demand, LaunchAnswer, MachineFleet, MachineId, Markets, Pool, SeenMachine,
};
use gridctl_core::id::Time;

const MACHINES: u32 = 1_000;
/// Seconds that are played.
const SECONDS: u32 = 600;

fn main() {
    let pool = |number: u64| Pool {
        instance: format!("c{number}.xlarge"),
        zone: format!("z{}", number % 3),
        slots: 4,
        spot: 60_000 + number,
        on_demand: 170_000,
    };
    let pools = (0..20).map(pool).collect();
    let mut fleet = MachineFleet::new(pools, Caps::new(MACHINES, None, 0), Markets::Spot);
    let demand = Demand { backlog: 1_000_000, at_once: u64::MAX };
    let (mut seen, mut launches, mut looks) = (Vec::new(), 0_u32, 0_u32);
    let began = clock();
    for second in 1..=u64::from(SECONDS) {
        let now = Time(second * 1_000);
        for SeenMachine { id, .. } in &seen {
            fleet.on_worker(Some(now), id, true);
        }
        let records = fleet.decide(now, now.0, demand);
        records.iter().for_each(|record| fleet.apply(now, record));
        for call in fleet.calls(now, demand) {
            let records = match call {
                CloudCall::Launch(launch, _) => {
                    launches += 1;
                    let numbers = seen.len()..seen.len() + launch.count() as usize;
                    let ids: Vec<MachineId> =
                        numbers.map(|number| MachineId(format!("i-{number}"))).collect();
                    let shown = |id| SeenMachine { id, launch: launch.id(), ending: false };
                    seen.extend(ids.iter().cloned().map(shown));
                    fleet.on_answer(now, launch.id(), LaunchAnswer::Started(ids))
                }
                CloudCall::Look => {
                    looks += 1;
                    fleet.on_look(now, Some(seen.clone()), demand)
                }
                CloudCall::Terminate(_) | CloudCall::Console(_) => Vec::new(),
            };
            records.iter().for_each(|record| fleet.apply(now, record));
        }
    }
    let took = began.elapsed();
    let share = took.as_secs_f64() / Duration::from_secs(SECONDS.into()).as_secs_f64() * 100.0;
    println!("{} machines, {SECONDS} s: {took:?}, {share:.3} % of a processor", fleet.machines());
    println!("{launches} launches, {looks} looks");
}

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn clock() -> Instant {
    Instant::now()
}
