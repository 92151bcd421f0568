//! What workers' machines are made from.
//! Invariant: a template's name says what is in it, so that one that is there already is the right one.

use aws_sdk_ec2::types::{
    LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
    LaunchTemplateHttpTokensState, LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateTagSpecificationRequest,
    RequestLaunchTemplateData, ResourceType, ShutdownBehavior, VolumeType,
};
use gridctl_core::cloud::WORKER;
use gridctl_core::fleet::launch::LaunchSpec;

use super::{CloudError, Ec2, error, made};

/// The disk that Amazon Linux starts from.
pub(super) const ROOT: &str = "/dev/xvda";
/// Characters of the sweep's name that the template's has.
const NAMED: usize = 63;

/// Makes the template, or finds it; its id.
pub(super) async fn make(ec2: &Ec2, spec: &LaunchSpec) -> Result<String, CloudError> {
    let text = serde_json::to_string(spec).unwrap_or_default();
    let sweep: String = spec.sweep.chars().take(NAMED).collect();
    let hash = made::token(&[&text]);
    let name = format!("gridctl-{sweep}-{}", &hash[..16]);
    if let Some(id) = find(ec2, &name).await? {
        return Ok(id);
    }
    let call = ec2.ec2.create_launch_template();
    let call = call
        .launch_template_name(&name)
        .client_token(hash)
        .launch_template_data(data(spec))
        .tag_specifications(made::tags(spec, WORKER, ResourceType::LaunchTemplate, None));
    match call.send().await.map_err(|error| error::of("CreateLaunchTemplate", &error)) {
        Ok(made) => {
            let id = made.launch_template().and_then(|template| template.launch_template_id());
            Ok(id.unwrap_or_default().to_owned())
        }
        // An earlier try made it, and its answer was lost.
        Err(error) => find(ec2, &name).await?.ok_or(error),
    }
}

async fn find(ec2: &Ec2, name: &str) -> Result<Option<String>, CloudError> {
    let call = ec2.ec2.describe_launch_templates().launch_template_names(name);
    match call.send().await.map_err(|error| error::of("DescribeLaunchTemplates", &error)) {
        Ok(found) => {
            let template = found.launch_templates().first();
            Ok(template.and_then(|template| template.launch_template_id()).map(str::to_owned))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn data(spec: &LaunchSpec) -> RequestLaunchTemplateData {
    let disk = LaunchTemplateEbsBlockDeviceRequest::builder()
        .volume_size(i32::try_from(spec.disk_gb).unwrap_or(i32::MAX))
        .volume_type(VolumeType::Gp3)
        .delete_on_termination(true)
        .build();
    let disk = LaunchTemplateBlockDeviceMappingRequest::builder().device_name(ROOT).ebs(disk).build();
    let profile =
        LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(&spec.instance_profile).build();
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .build();
    let mut data = RequestLaunchTemplateData::builder()
        .image_id(&spec.image)
        .user_data(made::encoded(&spec.user_data))
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .iam_instance_profile(profile)
        .security_group_ids(&spec.security_group)
        .metadata_options(metadata)
        .block_device_mappings(disk);
    for kind in [ResourceType::Volume, ResourceType::NetworkInterface] {
        let tags = made::tags(spec, WORKER, kind.clone(), None).tags().to_vec();
        let tags = LaunchTemplateTagSpecificationRequest::builder().resource_type(kind).set_tags(Some(tags));
        data = data.tag_specifications(tags.build());
    }
    data.build()
}
