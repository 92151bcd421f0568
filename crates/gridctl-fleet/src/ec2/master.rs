//! The machine of a launch's master: started once, on demand, by whoever launches.
//! Invariant: it bears the sweep's tags from its first moment, and ends for good when it shuts down.

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification,
    InstanceMetadataOptionsRequest, InstanceStateName, InstanceType, ResourceType, ShutdownBehavior, Tag,
    TagSpecification, VolumeType,
};

use super::{CloudError, Ec2, error};

/// The disk that images of Amazon Linux begin from.
const ROOT_DEVICE: &str = "/dev/xvda";
/// GiB of it: the journal, and the code of sweeps.
const DISK_GIB: i32 = 30;
/// Why there is no machine to be had in a zone, though another may have one.
const ELSEWHERE: [&str; 4] = [
    "InsufficientInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "Unsupported",
    "UnfulfillableCapacity",
];
/// What AWS says of a profile that was just made.
const NOT_YET: &str = "Invalid IAM Instance Profile";

/// What the machine of a master is to be.
#[derive(Debug, Clone)]
pub struct MasterOrder {
    /// Its type.
    pub instance: String,
    /// The image that it starts from.
    pub image: String,
    /// Subnets, the first first: another is taken where one has no room.
    pub subnets: Vec<String>,
    /// Its security group.
    pub security_group: String,
    /// The profile that gives it its role.
    pub profile: String,
    /// What it is told at its start.
    pub user_data: String,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// What makes ordering it twice the same as ordering it once; at most 60 letters and digits.
    pub token: String,
}

/// The machine of a master, as EC2 sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterMachine {
    /// It is there, or on its way.
    pub is_there: bool,
    /// Why it ended, in AWS's words.
    pub why: String,
}

impl Ec2 {
    /// Starts the machine of a master, in the first subnet that has room for it; its id.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not start it.
    pub async fn start_master(&self, order: &MasterOrder) -> Result<String, CloudError> {
        let mut last = None;
        for (place, subnet) in order.subnets.iter().enumerate() {
            match self.start_in(order, subnet, place).await {
                Err(error) if is_elsewhere(&error) => last = Some(error),
                ended => return ended,
            }
        }
        Err(last.unwrap_or_else(|| CloudError::Failed {
            call: "RunInstances",
            code: "unknown".to_owned(),
            why: "there is no subnet to start it in".to_owned(),
        }))
    }

    async fn start_in(&self, order: &MasterOrder, subnet: &str, place: usize) -> Result<String, CloudError> {
        let tags: Vec<Tag> =
            order.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let tagged =
            |kind| TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build();
        let disk = EbsBlockDevice::builder()
            .volume_size(DISK_GIB)
            .volume_type(VolumeType::Gp3)
            .delete_on_termination(true)
            .build();
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(1)
            .build();
        let run = self
            .ec2
            .run_instances()
            .min_count(1)
            .max_count(1)
            .image_id(&order.image)
            .instance_type(InstanceType::from(order.instance.as_str()))
            .subnet_id(subnet)
            .security_group_ids(&order.security_group)
            .iam_instance_profile(IamInstanceProfileSpecification::builder().name(&order.profile).build())
            .user_data(base64(order.user_data.as_bytes()))
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .metadata_options(metadata)
            .block_device_mappings(BlockDeviceMapping::builder().device_name(ROOT_DEVICE).ebs(disk).build())
            .tag_specifications(tagged(ResourceType::Instance))
            .tag_specifications(tagged(ResourceType::Volume))
            .tag_specifications(tagged(ResourceType::NetworkInterface))
            .client_token(format!("{}-{place}", order.token));
        let started = run.send().await.map_err(|error| error::of("RunInstances", &error))?;
        let id = started.instances().first().and_then(|instance| instance.instance_id());
        id.map(str::to_owned).ok_or_else(|| CloudError::Failed {
            call: "RunInstances",
            code: "unknown".to_owned(),
            why: "it does not say which machine it started".to_owned(),
        })
    }

    /// How the machine of a master is. One that was just started may not be seen yet: that is `None`.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn master_machine(&self, id: &str) -> Result<Option<MasterMachine>, CloudError> {
        let found = self.ec2.describe_instances().instance_ids(id).send().await;
        let found = match found.map_err(|error| error::of("DescribeInstances", &error)) {
            Err(error) if error.is_not_found() => return Ok(None),
            found => found?,
        };
        let instance = found.reservations().iter().flat_map(|one| one.instances()).next();
        Ok(instance.map(|instance| {
            let state = instance.state().and_then(|state| state.name());
            let ending = [
                InstanceStateName::ShuttingDown,
                InstanceStateName::Stopped,
                InstanceStateName::Stopping,
                InstanceStateName::Terminated,
            ];
            let why = instance.state_reason().and_then(|reason| reason.message());
            MasterMachine {
                is_there: !state.is_some_and(|state| ending.contains(state)),
                why: why.unwrap_or("AWS does not say why").to_owned(),
            }
        }))
    }

    /// What a machine has printed, as far as AWS has it.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn console(&self, id: &str) -> Result<Option<String>, CloudError> {
        let found = self.ec2.get_console_output().instance_id(id).latest(true).send().await;
        let found = found.map_err(|error| error::of("GetConsoleOutput", &error))?;
        Ok(found.output().and_then(unbase64))
    }
}

fn is_elsewhere(error: &CloudError) -> bool {
    matches!(error, CloudError::Failed { code, .. } if ELSEWHERE.contains(&code.as_str()))
}

/// Whether a profile that was just made is not known everywhere yet: the same order may be given again.
#[must_use]
pub fn is_not_yet(error: &CloudError) -> bool {
    matches!(error, CloudError::Failed { why, .. } if why.contains(NOT_YET))
}

fn base64(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(bytes)
}

fn unbase64(text: &str) -> Option<String> {
    let bytes = aws_smithy_types::base64::decode(text).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
