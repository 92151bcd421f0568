//! What of gridctl is there in a region, by its tags.
//! Invariant: every page is read; machines that are gone are not there.

use aws_sdk_ec2::types::{Filter, InstanceStateName, Tag, VolumeState};
use gridctl_core::cloud::{CloudResource, ResourceKind, TAG_SWEEP, Untagged};

use super::{CloudError, Ec2, error};

/// Everything of gridctl in the region: instances that are not gone, templates, disks without a
/// machine, security groups.
///
/// # Errors
/// [`CloudError`] if AWS does not say.
pub async fn inventory(ec2: &Ec2) -> Result<Vec<CloudResource>, CloudError> {
    let mut found = instances(ec2).await?;
    found.extend(templates(ec2).await?);
    found.extend(volumes(ec2).await?);
    found.extend(groups(ec2).await?);
    Ok(found)
}

fn tagged() -> Filter {
    Filter::builder().name("tag-key").values(TAG_SWEEP).build()
}

impl Ec2 {
    fn found(
        &self,
        kind: ResourceKind,
        id: Option<&str>,
        detail: String,
        tags: &[Tag],
    ) -> Option<CloudResource> {
        let what = Untagged { kind, id: id?.to_owned(), region: self.region.clone(), detail, ending: false };
        let tags = tags.iter().filter_map(|tag| Some((tag.key()?, tag.value()?)));
        CloudResource::new(what, tags)
    }
}

async fn instances(ec2: &Ec2) -> Result<Vec<CloudResource>, CloudError> {
    let mut pages = ec2.ec2.describe_instances().filters(tagged()).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| error::of("DescribeInstances", &error))?;
        for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
            let state = instance.state().and_then(|state| state.name());
            if state == Some(&InstanceStateName::Terminated) {
                continue;
            }
            let kind = instance.instance_type().map_or("?", |kind| kind.as_str());
            let lifecycle = instance.instance_lifecycle().map_or("on demand", |lifecycle| lifecycle.as_str());
            let shown = state.map_or("?", |state| state.as_str());
            let detail = format!("{kind}, {lifecycle}, {shown}");
            let resource = ec2.found(ResourceKind::Instance, instance.instance_id(), detail, instance.tags());
            let ending = state == Some(&InstanceStateName::ShuttingDown);
            found.extend(resource.map(|resource| CloudResource { ending, ..resource }));
        }
    }
    Ok(found)
}

async fn templates(ec2: &Ec2) -> Result<Vec<CloudResource>, CloudError> {
    let mut pages = ec2.ec2.describe_launch_templates().filters(tagged()).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| error::of("DescribeLaunchTemplates", &error))?;
        found.extend(page.launch_templates().iter().filter_map(|template| {
            let name = template.launch_template_name().unwrap_or_default().to_owned();
            ec2.found(ResourceKind::LaunchTemplate, template.launch_template_id(), name, template.tags())
        }));
    }
    Ok(found)
}

async fn volumes(ec2: &Ec2) -> Result<Vec<CloudResource>, CloudError> {
    let mut pages = ec2.ec2.describe_volumes().filters(tagged()).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| error::of("DescribeVolumes", &error))?;
        // One in use goes with its machine.
        let loose = page.volumes().iter().filter(|volume| {
            matches!(
                volume.state(),
                Some(VolumeState::Available | VolumeState::Error | VolumeState::Creating)
            )
        });
        found.extend(loose.filter_map(|volume| {
            let detail = format!("{} GiB", volume.size().unwrap_or_default());
            ec2.found(ResourceKind::Volume, volume.volume_id(), detail, volume.tags())
        }));
    }
    Ok(found)
}

async fn groups(ec2: &Ec2) -> Result<Vec<CloudResource>, CloudError> {
    let mut pages = ec2.ec2.describe_security_groups().filters(tagged()).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| error::of("DescribeSecurityGroups", &error))?;
        found.extend(page.security_groups().iter().filter_map(|group| {
            let name = group.group_name().unwrap_or_default().to_owned();
            ec2.found(ResourceKind::SecurityGroup, group.group_id(), name, group.tags())
        }));
    }
    Ok(found)
}
