//! The table of prices that ships with gridctl, and where it comes from.
//! Invariant: every price is above zero, and spot is never dearer than on demand, as AWS has it.

use serde::{Deserialize, Serialize};

/// Of the memory that AWS names, a system takes so many MiB for itself,
const SYSTEM_MIB: u64 = 200;
/// and of the rest this many hundredths.
const SYSTEM_HUNDREDTHS: u64 = 4;

/// Prices of one region on one day, in dollars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PriceTable {
    /// The region.
    pub region: String,
    /// The day.
    pub date: String,
    /// Where the prices are from.
    pub source: String,
    /// One GiB of disk for a month.
    pub disk_gib_month: f64,
    /// One public IPv4 address for an hour.
    pub ipv4_hour: f64,
    /// The machines.
    pub machines: Vec<MachinePrice>,
}

/// One type of machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachinePrice {
    /// Its name, as `c6i.xlarge`.
    pub instance: String,
    /// Processors, as the system counts them.
    pub vcpus: u32,
    /// Memory in GiB, as AWS names it.
    pub mem_gib: u32,
    /// Dollars an hour on demand.
    pub on_demand: f64,
    /// Dollars an hour on the spot market, as an example.
    pub spot: f64,
}

/// Why a price is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PriceError {
    /// The table has no such type.
    #[error("no price of `{0}` is known")]
    Unknown(String),
    /// A spot price above the price on demand.
    #[error("{price} is above what `{instance}` costs on demand, {on_demand}: no spot machine does")]
    AboveOnDemand {
        /// The type.
        instance: String,
        /// What was said.
        price: f64,
        /// What the table has.
        on_demand: f64,
    },
}

impl PriceTable {
    /// The table that ships with gridctl.
    #[must_use]
    pub fn shipped() -> Self {
        serde_json::from_str(include_str!("prices.json")).expect("a test reads the table")
    }

    /// The machine of this type.
    #[must_use]
    pub fn get(&self, instance: &str) -> Option<&MachinePrice> {
        self.machines.iter().find(|machine| machine.instance == instance)
    }

    /// From now on a spot machine of this type costs so much.
    ///
    /// # Errors
    /// [`PriceError`] for a type that the table has not, and for a price that no spot machine has.
    pub fn set_spot(&mut self, instance: &str, price: f64) -> Result<(), PriceError> {
        let found = self.machines.iter_mut().find(|machine| machine.instance == instance);
        let machine = found.ok_or_else(|| PriceError::Unknown(instance.to_owned()))?;
        if price > machine.on_demand {
            let (instance, on_demand) = (instance.to_owned(), machine.on_demand);
            return Err(PriceError::AboveOnDemand { instance, price, on_demand });
        }
        machine.spot = price;
        Ok(())
    }
}

impl MachinePrice {
    /// What a system leaves to trials of the machine's memory, in MiB; rather too little than too
    /// much.
    #[must_use]
    pub fn usable_mib(&self) -> u64 {
        let named = u64::from(self.mem_gib) * 1_024;
        (named * (100 - SYSTEM_HUNDREDTHS) / 100).saturating_sub(SYSTEM_MIB)
    }

    /// The family, as `c6i`.
    #[must_use]
    pub fn family(&self) -> &str {
        family(&self.instance)
    }
}

/// Whether machines of this type are arm64, which runs no program for x86_64.
#[must_use]
pub fn is_arm(instance: &str) -> bool {
    let family = family(instance);
    let digits = family.find(|c: char| c.is_ascii_digit()).unwrap_or(family.len());
    family == "a1" || family[digits..].trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('g')
}

fn family(instance: &str) -> &str {
    instance.split('.').next().unwrap_or(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let table = PriceTable::shipped();
        assert!(table.machines.len() >= 25);
        let mut names = std::collections::BTreeSet::new();
        for machine in &table.machines {
            assert!(names.insert(&machine.instance), "{} is there twice", machine.instance);
            assert!(0.0 < machine.spot && machine.spot < machine.on_demand, "{machine:?}");
            assert!(machine.vcpus > 0 && machine.usable_mib() > 3_000, "{machine:?}");
            assert!(!is_arm(&machine.instance), "{machine:?}");
        }
        for named in ["c5.xlarge", "c5a.xlarge", "c6i.xlarge", "c6i.large"] {
            assert!(table.get(named).is_some(), "{named}");
        }
    }

    #[test]
    fn a_spot_price_is_known_and_not_above_on_demand() {
        let mut table = PriceTable::shipped();
        table.set_spot("c5.xlarge", 0.06).unwrap();
        assert!((table.get("c5.xlarge").unwrap().spot - 0.06).abs() < 1e-12);
        assert!(matches!(table.set_spot("c5.xlarge", 0.18), Err(PriceError::AboveOnDemand { .. })));
        assert_eq!(table.set_spot("c9.x", 0.1), Err(PriceError::Unknown("c9.x".to_owned())));
    }

    #[test]
    fn arm_machines_are_told_by_their_family() {
        for arm in ["c6g.large", "m7gd.xlarge", "t4g.small", "a1.large", "r8g.2xlarge", "im4gn.large"] {
            assert!(is_arm(arm), "{arm}");
        }
        for x86 in ["c6i.large", "g5.xlarge", "g4dn.xlarge", "m5.large", "c5a.large", "p3.2xlarge", ""] {
            assert!(!is_arm(x86), "{x86}");
        }
    }
}
