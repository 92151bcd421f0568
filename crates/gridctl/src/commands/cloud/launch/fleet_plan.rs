//! Which machines a launch may have: types that hold a trial, in the zones of the region's default network, with their prices.
//! Invariant: no type is among them whose price is not known, and none that holds no trial.

use std::collections::BTreeMap;

use gridctl_core::cost::{self, MachinePrice, PriceTable};
use gridctl_core::fleet::machines::{MICROS, Pool};
use gridctl_core::protocol::Capacity;
use gridctl_core::spec::{MachineWishes, SweepSpec};
use gridctl_fleet::ec2::Subnet;

use crate::cli::LaunchArgs;
use crate::exit::Failure;

/// So many types are asked for where nobody names any: more choice, fewer interruptions.
const TYPES: usize = 10;
/// Processors of a machine where nobody names a type, at least and at most, if trials fit.
const VCPUS: (u32, u32) = (4, 8);
/// GiB of a machine's disk where `workers.disk` says nothing.
const DISK_GIB: u64 = 30;
/// Hours of a month, as AWS counts them.
const MONTH_HOURS: f64 = 730.0;

/// GiB of each machine's disk.
pub(super) fn disk_gib(wishes: &MachineWishes) -> u32 {
    let gib = wishes.disk_mib.map_or(DISK_GIB, |mib| mib.div_ceil(1_024)).max(DISK_GIB);
    u32::try_from(gib).unwrap_or(u32::MAX)
}

/// What a machine costs an hour at this price, with its disk and its address, in millionths of a dollar.
pub(super) fn micros(prices: &PriceTable, price: f64, disk_gib: u32) -> u64 {
    let extra = prices.ipv4_hour + f64::from(disk_gib) * prices.disk_gib_month / MONTH_HOURS;
    to_micros(price + extra)
}

/// Dollars in millionths, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be positive and small"
)]
pub(super) fn to_micros(dollars: f64) -> u64 {
    (dollars * MILLION).ceil() as u64
}

/// Millionths in dollars, for people.
pub(super) fn dollars(micros: u64) -> String {
    format!("{}.{:02}", micros / MICROS, micros % MICROS / 10_000)
}

const MILLION: f64 = 1e6;

/// The pools that machines come from, and the subnet of each zone.
pub(super) fn pools(
    args: &LaunchArgs,
    spec: &SweepSpec,
    prices: &PriceTable,
    subnets: &[Subnet],
) -> Result<(Vec<Pool>, BTreeMap<String, String>), Failure> {
    let wishes = spec.machine_wishes();
    let disk = disk_gib(&wishes);
    let mut pools = Vec::new();
    for machine in types(args, spec, &wishes, prices)? {
        for subnet in subnets {
            pools.push(Pool {
                instance: machine.instance.clone(),
                zone: subnet.zone.clone(),
                slots: u32::try_from(slots(spec, machine)).unwrap_or(u32::MAX),
                spot: micros(prices, machine.spot, disk),
                on_demand: micros(prices, machine.on_demand, disk),
            });
        }
    }
    let subnets = subnets.iter().map(|subnet| (subnet.zone.clone(), subnet.id.clone())).collect();
    Ok((pools, subnets))
}

/// The types, the first first: as they were named, or those that cost least a trial.
fn types<'a>(
    args: &LaunchArgs,
    spec: &SweepSpec,
    wishes: &MachineWishes,
    prices: &'a PriceTable,
) -> Result<Vec<&'a MachinePrice>, Failure> {
    let named = if args.instance.is_empty() { &wishes.instances } else { &args.instance };
    let fits = |machine: &&MachinePrice| slots(spec, machine) > 0 && !cost::is_arm(&machine.instance);
    if !named.is_empty() {
        let found: Vec<&MachinePrice> =
            named.iter().filter_map(|instance| prices.get(instance)).filter(fits).collect();
        return match found.is_empty() {
            false => Ok(found),
            true => Err(Failure::usage(
                "launch::instances",
                "none of the types that were named holds a trial and has a price that ships with gridctl",
            )
            .help("`gridctl plan FILE --spot` shows those that do")),
        };
    }
    let spot = args.spot || wishes.spot == Some(true);
    let all = prices.machines.iter().filter(fits);
    // Of those that hold more than a few trials one is lost with many, and the number of machines says little of the price.
    let least = all.clone().map(|machine| machine.vcpus).min().unwrap_or(0).max(VCPUS.0);
    let most = least.max(VCPUS.1);
    let mut all: Vec<&MachinePrice> = all.filter(|machine| (least..=most).contains(&machine.vcpus)).collect();
    if all.is_empty() {
        return Err(Failure::usage("launch::instances", "no machine whose price is known holds a trial")
            .help("ask for less under `resources`"));
    }
    all.sort_by(|one, other| per_slot(spec, one, spot).total_cmp(&per_slot(spec, other, spot)));
    all.truncate(TYPES);
    Ok(all)
}

#[expect(clippy::cast_precision_loss, reason = "slots of one machine")]
fn per_slot(spec: &SweepSpec, machine: &MachinePrice, spot: bool) -> f64 {
    let price = if spot { machine.spot } else { machine.on_demand };
    price / slots(spec, machine).max(1) as f64
}

/// Trials of the sweep that one machine holds at once.
fn slots(spec: &SweepSpec, machine: &MachinePrice) -> u64 {
    let capacity = Capacity {
        cpu_milli: machine.vcpus.saturating_mul(1_000),
        mem_mib: machine.usable_mib(),
        gpus: 0,
        slots: 0,
    };
    let one = &spec.resources;
    if capacity.could_hold(one) { capacity.at_once(one) } else { 0 }
}
