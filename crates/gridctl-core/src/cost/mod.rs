//! What a sweep would cost on machines of EC2: prices with their date, and arithmetic over them.
//! Invariant: nothing here asks anybody; a number that is not known is absent, never zero.

mod prices;
mod spread;

use serde::Serialize;

pub use self::prices::{MachinePrice, PriceError, PriceTable, is_arm};
use crate::protocol::Capacity;
use crate::spec::Resources;

/// Hours in a month, as AWS bills disks.
const MONTH_HOURS: f64 = 730.0;
/// From the start of a machine until it starts its first trial, in hours: three minutes.
pub const START_HOURS: f64 = 0.05;
/// A trial that is likelier than this to be interrupted while it runs is worth a warning.
pub const RISKY: f64 = 0.2;
/// Interruptions cost no more than this factor where a forecast is worth anything.
const MOST_WASTE: f64 = 100.0;

/// What is asked: trials, and how many of them run at once.
#[derive(Debug, Clone, PartialEq)]
pub struct CostQuestion {
    /// How many trials there are.
    pub trials: u64,
    /// What one takes.
    pub resources: Resources,
    /// How long one takes, in hours, if that is known.
    pub trial_hours: Option<f64>,
    /// How long the machines are kept, in hours, whatever the trials take.
    pub kept_hours: Option<f64>,
    /// How often a trial may fail before it is given up.
    pub max_failures: u32,
    /// So many trials are to run at once; fewer do if there are fewer.
    pub at_once: u64,
    /// Workers are spot machines.
    pub spot: bool,
    /// How often a spot machine is taken away, an hour.
    pub interruptions: f64,
    /// Disk of each machine, in GiB.
    pub disk_gib: f64,
    /// Price of the master's machine, in dollars an hour.
    pub master: f64,
}

/// A fleet of one type of machines beside its master, in dollars and hours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetCost {
    /// The type of the workers' machines.
    pub instance: String,
    /// How many workers' machines.
    pub machines: u64,
    /// How many trials one of them runs at once.
    pub slots: u64,
    /// Dollars an hour, master, disks and addresses included.
    pub per_hour: f64,
    /// Of that: disks and public addresses.
    pub extras_per_hour: f64,
    /// Dollars an hour if every machine were on demand.
    pub on_demand_per_hour: f64,
    /// Trials an hour, without interruptions.
    pub trials_per_hour: Option<f64>,
    /// Hours that are expected.
    pub hours: Option<f64>,
    /// Dollars that are expected.
    pub cost: Option<f64>,
    /// Dollars that half of all such sweeps cost at most: as [`Self::cost`], but with the last trials that wait for the unlucky ones.
    pub p50_cost: Option<f64>,
    /// Dollars that nine of ten cost at most.
    pub p90_cost: Option<f64>,
    /// Hours that nine of ten take at most.
    pub p90_hours: Option<f64>,
    /// Hours if every trial fails as often as it may.
    pub worst_hours: Option<f64>,
    /// Dollars for these hours if every machine costs as much as on demand.
    pub worst_cost: Option<f64>,
    /// Hours on demand, without interruptions.
    pub on_demand_hours: Option<f64>,
    /// Dollars on demand, without interruptions.
    pub on_demand_cost: Option<f64>,
}

impl FleetCost {
    /// Dollars an hour for each trial that runs at once.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of machines and trials for people")]
    pub fn per_slot(&self) -> f64 {
        self.per_hour / self.machines.saturating_mul(self.slots) as f64
    }
}

impl CostQuestion {
    /// How many trials that take what is asked run at once on such a machine.
    #[must_use]
    pub fn slots(&self, machine: &MachinePrice) -> u64 {
        let capacity = Capacity {
            cpu_milli: machine.vcpus.saturating_mul(1_000),
            mem_mib: machine.usable_mib(),
            gpus: 0,
            slots: 0,
        };
        let one = &self.resources;
        if capacity.could_hold(one) { capacity.at_once(one) } else { 0 }
    }

    /// The cost of a fleet of such machines; `None` if one holds no trial, or there is none to run.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of machines and trials for people")]
    pub fn on(&self, prices: &PriceTable, machine: &MachinePrice) -> Option<FleetCost> {
        let slots = self.slots(machine);
        let wanted = self.at_once.min(self.trials);
        if slots == 0 || wanted == 0 {
            return None;
        }
        let machines = wanted.div_ceil(slots);
        let workers = machines as f64;
        let one_extra = prices.ipv4_hour + self.disk_gib * prices.disk_gib_month / MONTH_HOURS;
        let extras_per_hour = (workers + 1.0) * one_extra;
        let at = |price: f64| self.master + workers * price + extras_per_hour;
        let per_hour = at(if self.spot { machine.spot } else { machine.on_demand });
        let on_demand_per_hour = at(machine.on_demand);
        let rounds = self.trials.div_ceil(machines.saturating_mul(slots)) as f64;
        let hours = |one: f64| self.kept_hours.unwrap_or(rounds * one + START_HOURS);
        let plain = self.trial_hours.map(hours).or(self.kept_hours);
        let expected = match self.trial_hours {
            Some(one) if self.kept_hours.is_none() => self.waste(one).map(|waste| hours(one * waste)),
            _ => plain,
        };
        let chance = match self.trial_hours {
            Some(trial_hours) if self.kept_hours.is_none() => expected.map(|_| {
                let interruptions = if self.spot { self.interruptions } else { 0.0 };
                let trials = self.trials;
                spread::hours(spread::FleetAtWork { machines, slots, trials, trial_hours, interruptions })
            }),
            _ => plain.map(|hours| (hours - START_HOURS, hours - START_HOURS)),
        };
        let chance = chance.map(|(half, most)| (half + START_HOURS, most + START_HOURS));
        let tries = 1.0 + f64::from(self.max_failures);
        let worst_hours = self.trial_hours.map(|one| hours(one * tries)).or(self.kept_hours);
        Some(FleetCost {
            instance: machine.instance.clone(),
            machines,
            slots,
            per_hour,
            extras_per_hour,
            on_demand_per_hour,
            trials_per_hour: self.trial_hours.map(|one| (workers * slots as f64) / one),
            hours: expected,
            cost: expected.map(|hours| hours * per_hour),
            p50_cost: chance.map(|(half, _)| half * per_hour),
            p90_cost: chance.map(|(_, most)| most * per_hour),
            p90_hours: chance.map(|(_, most)| most),
            worst_hours,
            worst_cost: worst_hours.map(|hours| hours * on_demand_per_hour),
            on_demand_hours: plain,
            on_demand_cost: plain.map(|hours| hours * on_demand_per_hour),
        })
    }

    /// By which factor interruptions lengthen a trial of so many hours that begins anew each time;
    /// `None` if it would hardly ever end.
    #[must_use]
    pub fn waste(&self, trial_hours: f64) -> Option<f64> {
        let expected = if self.spot { self.interruptions * trial_hours } else { 0.0 };
        // (e^x - 1) / x, which is 1 where nothing is interrupted.
        let factor = if expected > 0.0 { libm::expm1(expected) / expected } else { 1.0 };
        (factor <= MOST_WASTE).then_some(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    fn question() -> CostQuestion {
        CostQuestion {
            trials: 10_000,
            resources: Resources { cpu_milli: 1_000, mem_mib: 0, gpus: 0 },
            trial_hours: None,
            kept_hours: None,
            max_failures: 2,
            at_once: 68,
            spot: true,
            interruptions: 0.0,
            disk_gib: 0.0,
            master: 0.17,
        }
    }

    /// Prices without anything beside the machines.
    fn prices() -> PriceTable {
        PriceTable { ipv4_hour: 0.0, ..PriceTable::shipped() }
    }

    #[test]
    fn seventy_two_processors_for_a_day_cost_what_the_article_says() {
        let machine = MachinePrice { spot: 0.06, ..prices().get("c5.xlarge").unwrap().clone() };
        let question = CostQuestion { kept_hours: Some(24.0), ..question() };
        let cost = question.on(&prices(), &machine).unwrap();
        assert_eq!((cost.machines, cost.slots), (17, 4));
        close(cost.cost.unwrap(), 28.56);
        close(cost.on_demand_cost.unwrap(), 73.44);
    }

    #[test]
    fn disks_and_addresses_are_paid_for_every_machine() {
        let machine = MachinePrice { spot: 0.06, ..prices().get("c5.xlarge").unwrap().clone() };
        let question = CostQuestion { disk_gib: 73.0, ..question() };
        let cost = question.on(&PriceTable::shipped(), &machine).unwrap();
        close(cost.extras_per_hour, 18.0 * (0.005 + 0.008));
        close(cost.per_hour, 0.17 + 17.0 * 0.06 + cost.extras_per_hour);
    }

    #[test]
    fn slots_are_what_processors_and_memory_hold() {
        let slots = |instance: &str, cpu_milli, mem_mib| {
            let resources = Resources { cpu_milli, mem_mib, gpus: 0 };
            CostQuestion { resources, ..question() }.slots(prices().get(instance).unwrap())
        };
        assert_eq!(slots("c5.xlarge", 1_000, 0), 4);
        assert_eq!(slots("c5.xlarge", 500, 0), 8);
        assert_eq!(slots("c5.xlarge", 1_000, 2_048), 3, "the system has its part of 8 GiB");
        assert_eq!(slots("m6i.xlarge", 1_000, 2_048), 4);
        assert_eq!(slots("c5.large", 4_000, 0), 0, "what does not fit");
        let gpu = Resources { cpu_milli: 1_000, mem_mib: 0, gpus: 1 };
        assert_eq!(CostQuestion { resources: gpu, ..question() }.slots(&prices().machines[0]), 0);
    }

    #[test]
    fn hours_follow_from_rounds_of_trials_and_what_interruptions_cost() {
        let prices = prices();
        let machine = prices.get("c5.xlarge").unwrap();
        let timed = CostQuestion { trials: 137, trial_hours: Some(1.0), ..question() };
        let cost = timed.on(&prices, machine).unwrap();
        // 68 at once: two full rounds, and one trial more.
        close(cost.hours.unwrap(), 3.0 + START_HOURS);
        close(cost.trials_per_hour.unwrap(), 68.0);
        close(cost.worst_hours.unwrap(), 9.0 + START_HOURS);
        close(cost.worst_cost.unwrap(), cost.worst_hours.unwrap() * 18.0 * 0.17);
        let taken = CostQuestion { interruptions: 0.6, ..timed.clone() }.on(&prices, machine).unwrap();
        close(taken.hours.unwrap(), 3.0 * ((0.6_f64.exp() - 1.0) / 0.6) + START_HOURS);
        close(taken.on_demand_hours.unwrap(), 3.0 + START_HOURS);
        let never = CostQuestion { interruptions: 1e6, ..timed.clone() }.on(&prices, machine).unwrap();
        assert_eq!((never.hours, never.cost), (None, None), "it would never end");
        let owned = CostQuestion { interruptions: 1e6, spot: false, ..timed }.on(&prices, machine).unwrap();
        close(owned.hours.unwrap(), 3.0 + START_HOURS);
    }

    #[test]
    fn no_more_machines_are_planned_than_trials_need() {
        let cost =
            |trials| CostQuestion { trials, ..question() }.on(&prices(), prices().get("c5.xlarge").unwrap());
        assert_eq!(cost(5).unwrap().machines, 2);
        assert_eq!(cost(0), None);
        assert_eq!(cost(u64::MAX).unwrap().hours, None, "nothing is known of the trial's time");
    }
}
