//! What a launch tells the machines that it starts, and where these say how the master is reached.
//! Invariant: a [`LaunchSpec`] that was read has pools, a subnet for each of their zones, and caps; it holds no secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machines::{Demand, FleetRecord, FleetSetup, Hold, MachineFleet, Markets, Pool};
use crate::id::Time;

/// The format of [`LaunchSpec`]. Raise it with every change that an older gridctl would misread.
pub const LAUNCH_FORMAT: u32 = 1;
/// Most bytes of user data that EC2 takes.
pub const USER_DATA_BYTES: usize = 16 << 10;
/// Ending everything may take so long, in milliseconds: so much is kept of the budget.
const RESERVE_MS: u64 = 20 * 60_000;

/// Everything that the master's machine needs to know of a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSpec {
    /// [`LAUNCH_FORMAT`].
    pub format: u32,
    /// The sweep's name.
    pub sweep: String,
    /// The region.
    pub region: String,
    /// The account's number.
    pub account: String,
    /// The account's own bucket.
    pub bucket: String,
    /// The ARN of the caller.
    pub owner: String,
    /// Machines bear an expiry so many seconds ahead; the master renews it.
    pub expires_after_s: u64,
    /// The binary under `control/binary/`.
    pub binary_sha256: String,
    /// Where workers' machines may come from; prices include disk and address.
    pub pools: Vec<Pool>,
    /// The subnet of each zone.
    pub subnets: BTreeMap<String, String>,
    /// The image that machines start from.
    pub image: String,
    /// The security group of all machines.
    pub security_group: String,
    /// The instance profile of workers.
    pub instance_profile: String,
    /// What workers' machines are told at their start; no secret, and at most [`USER_DATA_BYTES`].
    pub user_data: String,
    /// What the master's machine costs, in millionths of a dollar an hour, with disk and address.
    pub master_price: u64,
    /// Most workers' machines at once.
    pub max_machines: u32,
    /// Most that may be spent, in millionths of a dollar.
    pub budget: Option<u64>,
    /// Spot, on demand, or one after the other.
    pub markets: Markets,
    /// When everything is to be done, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_wall_ms: Option<u64>,
    /// What a trial takes, in milliseconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_ms: Option<u64>,
    /// GiB of each worker's disk.
    pub disk_gb: u32,
    /// The port on which the master listens.
    pub port: u16,
    /// Further tags for everything.
    pub tags: BTreeMap<String, String>,
}

/// How a launch's master is reached: written by it at each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterAddress {
    /// How many times a master has started on its journal.
    pub epoch: u64,
    /// Its machine.
    pub instance: String,
    /// Where workers and operators connect, with the pin of its CA.
    pub url: String,
    /// The certificate of its CA.
    pub ca_pem: String,
    /// Its address within the network.
    pub private_address: String,
    /// Its address from elsewhere, if it has one.
    pub public_address: Option<String>,
}

/// Why a launch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LaunchSpecError {
    /// It is not what was written.
    #[error("the launch cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A newer gridctl wrote it.
    #[error("the launch has format {found}, and this gridctl reads format {LAUNCH_FORMAT}")]
    Format {
        /// Its format.
        found: u32,
    },
    /// No machine could be started.
    #[error("the launch names no pool of machines")]
    NoPool,
    /// A pool that runs no trial.
    #[error("the launch's pool of {instance} in {zone} has no slots")]
    NoSlots {
        /// The type.
        instance: String,
        /// The zone.
        zone: String,
    },
    /// A pool whose zone has no subnet.
    #[error("the launch names no subnet for {zone}")]
    NoSubnet {
        /// The zone.
        zone: String,
    },
    /// The plan would start nothing.
    #[error("the launch's budget does not pay for its master and one machine for the first half hour")]
    Budget,
    /// EC2 would not take the user data.
    #[error("the launch's user data has {bytes} bytes, and EC2 takes {USER_DATA_BYTES}")]
    UserData {
        /// Its length.
        bytes: usize,
    },
}

impl LaunchSpecError {
    /// What a person does about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Budget => "allow more with --budget, or name a cheaper type with --instance",
            Self::Format { .. } => "launch and master are to be of one release: `gridctl launch` again",
            _ => "`gridctl launch` again writes it anew",
        }
    }
}

impl LaunchSpec {
    /// Reads and checks it.
    ///
    /// # Errors
    /// [`LaunchSpecError`] says what is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, LaunchSpecError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format: found } = serde_json::from_slice(bytes)?;
        if found != LAUNCH_FORMAT {
            return Err(LaunchSpecError::Format { found });
        }
        let spec: Self = serde_json::from_slice(bytes)?;
        spec.check()?;
        Ok(spec)
    }

    /// Whether machines could be started from it.
    ///
    /// # Errors
    /// [`LaunchSpecError`] says what is wrong.
    pub fn check(&self) -> Result<(), LaunchSpecError> {
        if self.pools.is_empty() {
            return Err(LaunchSpecError::NoPool);
        }
        for Pool { instance, zone, slots, .. } in &self.pools {
            if *slots == 0 {
                return Err(LaunchSpecError::NoSlots { instance: instance.clone(), zone: zone.clone() });
            }
            if !self.subnets.contains_key(zone) {
                return Err(LaunchSpecError::NoSubnet { zone: zone.clone() });
            }
        }
        let bytes = self.user_data.len();
        if bytes > USER_DATA_BYTES {
            return Err(LaunchSpecError::UserData { bytes });
        }
        // The plan itself says whether it would start anything.
        let mut fleet = MachineFleet::default();
        fleet.apply(Time(0), &FleetRecord::Set(self.setup()));
        drop(fleet.decide(Time(0), 0, Demand { backlog: 1, at_once: 1 }));
        if fleet.hold() == Some(Hold::Budget) { Err(LaunchSpecError::Budget) } else { Ok(()) }
    }

    /// What the fleet may do.
    #[must_use]
    pub fn setup(&self) -> FleetSetup {
        FleetSetup {
            pools: self.pools.clone(),
            markets: self.markets,
            machines: self.max_machines,
            budget: self.budget,
            reserve_ms: RESERVE_MS,
            master_price: self.master_price,
            deadline_wall_ms: self.deadline_wall_ms,
            trial_ms: self.trial_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> LaunchSpec {
        LaunchSpec {
            format: LAUNCH_FORMAT,
            sweep: "wine".to_owned(),
            region: "us-east-1".to_owned(),
            account: "123456789012".to_owned(),
            bucket: "gridctl-123456789012-us-east-1".to_owned(),
            owner: "arn:aws:iam::123456789012:user/me".to_owned(),
            expires_after_s: 7_200,
            binary_sha256: "00".repeat(32),
            pools: vec![Pool {
                instance: "c5.xlarge".to_owned(),
                zone: "us-east-1a".to_owned(),
                slots: 4,
                spot: 60_000,
                on_demand: 170_000,
            }],
            subnets: BTreeMap::from([("us-east-1a".to_owned(), "subnet-1".to_owned())]),
            image: "ami-1".to_owned(),
            security_group: "sg-1".to_owned(),
            instance_profile: "gridctl-worker".to_owned(),
            user_data: "#!/bin/sh\n".to_owned(),
            master_price: 170_000,
            max_machines: 17,
            budget: None,
            markets: Markets::Spot,
            deadline_wall_ms: None,
            trial_ms: None,
            disk_gb: 30,
            port: 7_070,
            tags: BTreeMap::new(),
        }
    }

    #[test]
    fn a_launch_is_read_as_it_was_written_or_said_to_be_wrong() {
        let cases: [(LaunchSpec, &str); 6] = [
            (LaunchSpec { format: 2, ..spec() }, "has format 2"),
            (LaunchSpec { pools: vec![], ..spec() }, "names no pool"),
            (LaunchSpec { budget: Some(100_000), ..spec() }, "does not pay for its master and one machine"),
            (LaunchSpec { subnets: BTreeMap::new(), ..spec() }, "no subnet for us-east-1a"),
            (
                LaunchSpec { pools: vec![Pool { slots: 0, ..spec().pools[0].clone() }], ..spec() },
                "c5.xlarge in us-east-1a has no slots",
            ),
            (LaunchSpec { user_data: "x".repeat(USER_DATA_BYTES + 1), ..spec() }, "has 16385 bytes"),
        ];
        let written = |spec: &LaunchSpec| serde_json::to_vec(spec).unwrap();
        assert_eq!(LaunchSpec::read(&written(&spec())).unwrap(), spec());
        for (wrong, expected) in cases {
            let error = LaunchSpec::read(&written(&wrong)).unwrap_err();
            assert!(error.to_string().contains(expected) && !error.help().is_empty(), "{error}");
        }
        assert!(matches!(LaunchSpec::read(b"{}"), Err(LaunchSpecError::Json(_))));
    }
}
