//! Ends what gridctl made in a region, as the core's rounds say.
//! Invariant: one thing that cannot be ended stops nothing else; what is left is looked for, never assumed.

use std::time::Duration;

use super::{CloudError, Ec2, error, inventory};
use crate::clock::Clock;
use gridctl_core::cloud::{CloudResource, ResourceKind, Scope, Step, Teardown};

/// Between two looks.
const ROUND: Duration = Duration::from_secs(3);
/// Instances ended by one call.
const BATCH: usize = 50;

/// What happens meanwhile.
#[derive(Debug)]
pub enum TeardownEvent<'a> {
    /// AWS was asked to end these.
    Ending(&'a [CloudResource]),
    /// This could not be ended now; it is tried again.
    Refused(&'a CloudResource, CloudError),
}

/// Ends what `scope` takes; what is left when that is nothing, or `patience` is over.
///
/// # Errors
/// [`CloudError`] if AWS does not say what is there.
pub async fn tear_down(
    ec2: &Ec2,
    scope: &Scope,
    patience: Duration,
    tell: &mut (dyn FnMut(TeardownEvent<'_>) + Send),
) -> Result<Vec<CloudResource>, CloudError> {
    let clock = Clock::start();
    let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let mut rounds = Teardown::default();
    loop {
        let mut left = inventory(ec2).await?;
        left.retain(|resource| scope.takes(resource));
        match rounds.next(&left) {
            Step::Over => return Ok(left),
            Step::Wait => {}
            Step::End(resources) => {
                tell(TeardownEvent::Ending(&resources));
                end(ec2, &resources, tell).await;
            }
        }
        if clock.now().0 >= patience {
            return Ok(left);
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn end(ec2: &Ec2, resources: &[CloudResource], tell: &mut (dyn FnMut(TeardownEvent<'_>) + Send)) {
    let (instances, others): (Vec<_>, Vec<_>) =
        resources.iter().partition(|resource| resource.kind == ResourceKind::Instance);
    let (first, last): (Vec<&CloudResource>, Vec<&CloudResource>) =
        others.into_iter().partition(|resource| resource.kind == ResourceKind::LaunchTemplate);
    for resource in first {
        ended(ec2.end(resource).await, resource, tell);
    }
    for batch in instances.chunks(BATCH) {
        // One bad id fails a whole call: then each by itself.
        if ec2.terminate(batch).await.is_err() {
            for resource in batch {
                ended(ec2.terminate(&[*resource]).await, resource, tell);
            }
        }
    }
    for resource in last {
        ended(ec2.end(resource).await, resource, tell);
    }
}

fn ended(
    result: Result<(), CloudError>,
    resource: &CloudResource,
    tell: &mut (dyn FnMut(TeardownEvent<'_>) + Send),
) {
    match result {
        Err(error) if !error.is_not_found() => tell(TeardownEvent::Refused(resource, error)),
        _ => {}
    }
}

impl Ec2 {
    async fn terminate(&self, instances: &[&CloudResource]) -> Result<(), CloudError> {
        self.terminate_ids(instances.iter().map(|instance| instance.id.clone())).await
    }

    pub(super) async fn terminate_ids(
        &self,
        ids: impl IntoIterator<Item = String>,
    ) -> Result<(), CloudError> {
        let ids = ids.into_iter().collect();
        let call = self.ec2.terminate_instances().set_instance_ids(Some(ids)).send();
        call.await.map(|_| ()).map_err(|error| error::of("TerminateInstances", &error))
    }

    async fn end(&self, resource: &CloudResource) -> Result<(), CloudError> {
        let id = resource.id.as_str();
        match resource.kind {
            ResourceKind::Instance => self.terminate(&[resource]).await,
            ResourceKind::LaunchTemplate => {
                let call = self.ec2.delete_launch_template().launch_template_id(id).send();
                call.await.map(|_| ()).map_err(|error| error::of("DeleteLaunchTemplate", &error))
            }
            ResourceKind::Volume => {
                let call = self.ec2.delete_volume().volume_id(id).send();
                call.await.map(|_| ()).map_err(|error| error::of("DeleteVolume", &error))
            }
            ResourceKind::SecurityGroup => {
                let call = self.ec2.delete_security_group().group_id(id).send();
                call.await.map(|_| ()).map_err(|error| error::of("DeleteSecurityGroup", &error))
            }
        }
    }
}
