//! Carries out what the plan for machines asks of EC2: start, look, end.
//! Invariant: everything is tagged in the call that makes it; what could have been made is looked for by its tag before it is made
//! again, and the same launch bears the same token.

use std::collections::HashMap;

use aws_sdk_ec2::types::{
    DefaultTargetCapacityType, Filter, FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest,
    FleetLaunchTemplateSpecificationRequest, FleetType, InstanceStateName, InstanceType, ResourceType,
    SpotAllocationStrategy, SpotInstanceInterruptionBehavior, SpotOptionsRequest,
    TargetCapacitySpecificationRequest,
};
use gridctl_core::cloud::{MASTER, TAG_EXPIRES, TAG_LAUNCH, TAG_ROLE, TAG_SWEEP, WORKER};
use gridctl_core::fleet::launch::LaunchSpec;
use gridctl_core::fleet::machines::{
    CloudCall, Launch, LaunchAnswer, LaunchId, MachineId, Market, Pool, SeenMachine,
};
use gridctl_core::sched::FleetInput;

use super::{CloudError, Ec2, error, made, template};

/// Machines ended by one call.
const BATCH: usize = 50;
/// Things that one call tags.
const TAGGED: usize = 500;
/// Bytes of a machine's last words.
const CONSOLE: usize = 2_000;

/// The machines of one launch's workers.
#[derive(Debug, Clone)]
pub struct Machines {
    ec2: Ec2,
    spec: LaunchSpec,
    /// The journal's name: launches of another journal are others.
    journal: String,
    template: String,
}

impl Machines {
    /// Makes what machines are made from, or finds it.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn prepare(ec2: Ec2, spec: LaunchSpec, journal: &str) -> Result<Self, CloudError> {
        let template = template::make(&ec2, &spec).await?;
        Ok(Self { ec2, spec, journal: journal.to_owned(), template })
    }

    /// Carries out a call; what the plan is to be told.
    pub async fn carry_out(&self, call: CloudCall) -> Option<FleetInput> {
        match call {
            CloudCall::Launch(launch, pool) => {
                let (answer, why) = self.launch(&launch, &pool).await;
                if let Some(why) = &why {
                    tracing::warn!(pool.instance, pool.zone, why, "not all machines were started");
                }
                Some(FleetInput::Answered { launch: launch.id(), answer, why })
            }
            CloudCall::Terminate(machines) => {
                self.terminate(&machines).await;
                None
            }
            CloudCall::Look => {
                let seen = self.look().await;
                if let Err(error) = &seen {
                    tracing::warn!(%error, "EC2 does not say which machines there are");
                }
                Some(FleetInput::Looked(seen.ok()))
            }
            CloudCall::Console(machine) => self.console(&machine).await.map(FleetInput::Console),
        }
    }

    /// How a launch is called at AWS.
    fn mark(&self, launch: LaunchId) -> String {
        format!("{}.{}", self.journal, launch.0)
    }

    async fn launch(&self, launch: &Launch, pool: &Pool) -> (LaunchAnswer, Option<String>) {
        // An earlier try may have started them, and its answer may have been lost.
        match self.started_by(launch.id()).await {
            Ok(known) if known.is_empty() => {}
            Ok(known) => return (LaunchAnswer::Started(known), None),
            Err(error) => return (LaunchAnswer::Lost, Some(error.to_string())),
        }
        match self.create_fleet(launch, pool).await {
            Ok((machines, why)) if machines.is_empty() => (LaunchAnswer::NoCapacity, why),
            Ok((machines, why)) => (LaunchAnswer::Started(machines), why),
            Err(error) => (error.of_launch(), Some(error.to_string())),
        }
    }

    async fn started_by(&self, launch: LaunchId) -> Result<Vec<MachineId>, CloudError> {
        let mark = Filter::builder().name(format!("tag:{TAG_LAUNCH}")).values(self.mark(launch)).build();
        let seen = self.described(mark).await?;
        Ok(seen.into_iter().filter(|machine| !machine.ending).map(|machine| machine.id).collect())
    }

    /// The machines that were started, and why there are no more.
    async fn create_fleet(
        &self,
        launch: &Launch,
        pool: &Pool,
    ) -> Result<(Vec<MachineId>, Option<String>), CloudError> {
        let count = i32::try_from(launch.count()).unwrap_or(i32::MAX);
        let kind = match launch.market() {
            Market::Spot => DefaultTargetCapacityType::Spot,
            Market::OnDemand => DefaultTargetCapacityType::OnDemand,
        };
        let capacity = TargetCapacitySpecificationRequest::builder()
            .total_target_capacity(count)
            .default_target_capacity_type(kind)
            .build();
        let place = FleetLaunchTemplateOverridesRequest::builder()
            .instance_type(InstanceType::from(pool.instance.as_str()))
            .set_subnet_id(self.spec.subnets.get(&pool.zone).cloned())
            .build();
        let template = FleetLaunchTemplateSpecificationRequest::builder()
            .launch_template_id(&self.template)
            .version("1")
            .build();
        let template = FleetLaunchTemplateConfigRequest::builder()
            .launch_template_specification(template)
            .overrides(place);
        let spot = SpotOptionsRequest::builder()
            .allocation_strategy(SpotAllocationStrategy::PriceCapacityOptimized)
            .instance_interruption_behavior(SpotInstanceInterruptionBehavior::Terminate)
            .build();
        let mark = self.mark(launch.id());
        let tags = |kind| made::tags(&self.spec, WORKER, kind, Some(&mark));
        let body = format!("{}{}{:?}{count}", pool.instance, pool.zone, launch.market());
        let call = self.ec2.ec2.create_fleet();
        let call = call
            .client_token(made::token(&[&self.spec.sweep, &mark, &body, &self.template]))
            .r#type(FleetType::Instant)
            .launch_template_configs(template.build())
            .target_capacity_specification(capacity)
            .spot_options(spot)
            .tag_specifications(tags(ResourceType::Fleet))
            .tag_specifications(tags(ResourceType::Instance))
            .customize()
            // The plan itself tries again, and looks first.
            .config_override(made::once());
        let made = call.send().await.map_err(|error| error::of("CreateFleet", &error))?;
        let ids = made.instances().iter().flat_map(|started| started.instance_ids());
        let machines = ids.map(|id| MachineId(id.clone())).collect();
        let why = made.errors().first().map(|error| {
            let (code, text) = (error.error_code(), error.error_message());
            format!("{}: {}", code.unwrap_or("unknown"), text.unwrap_or("EC2 does not say why"))
        });
        Ok((machines, why))
    }

    /// The sweep's workers' machines that EC2 still knows.
    async fn look(&self) -> Result<Vec<SeenMachine>, CloudError> {
        self.described(Filter::builder().name(format!("tag:{TAG_ROLE}")).values(WORKER).build()).await
    }

    async fn described(&self, filter: Filter) -> Result<Vec<SeenMachine>, CloudError> {
        let sweep = Filter::builder().name(format!("tag:{TAG_SWEEP}")).values(&self.spec.sweep).build();
        let call = self.ec2.ec2.describe_instances().filters(sweep).filters(filter);
        let mut pages = call.into_paginator().send();
        let mut seen = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| error::of("DescribeInstances", &error))?;
            for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                let Some(id) = instance.instance_id() else { continue };
                let mark = instance.tags().iter().find(|tag| tag.key() == Some(TAG_LAUNCH));
                let number = mark.and_then(|tag| tag.value()?.strip_prefix(&self.journal)?.strip_prefix('.'));
                let state = instance.state().and_then(|state| state.name());
                let is_ending =
                    matches!(state, Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown));
                seen.push(SeenMachine {
                    id: MachineId(id.to_owned()),
                    // What another journal started is of no launch of this one.
                    launch: LaunchId(number.and_then(|number| number.parse().ok()).unwrap_or(0)),
                    ending: is_ending,
                });
            }
        }
        Ok(seen)
    }

    async fn terminate(&self, machines: &[MachineId]) {
        for batch in machines.chunks(BATCH) {
            if self.ec2.terminate_ids(batch.iter().map(|machine| machine.0.clone())).await.is_ok() {
                continue;
            }
            // One bad id fails a whole call: then each by itself. What is left is seen by the next look.
            for machine in batch {
                if let Err(error) = self.ec2.terminate_ids([machine.0.clone()]).await {
                    tracing::warn!(machine = machine.0, %error, "a machine cannot be ended yet");
                }
            }
        }
    }

    /// The end of what a machine had to say.
    async fn console(&self, machine: &MachineId) -> Option<String> {
        let call = self.ec2.ec2.get_console_output().instance_id(&machine.0);
        let output = match call.send().await {
            Ok(output) => output.output().and_then(made::decoded),
            Err(error) => {
                let error = error::of("GetConsoleOutput", &error);
                tracing::info!(machine = machine.0, %error, "a machine's last words are not to be had");
                None
            }
        };
        let text = output.unwrap_or_default();
        let text = text.trim_end();
        let from = (text.len().saturating_sub(CONSOLE)..=text.len()).find(|at| text.is_char_boundary(*at));
        let end = &text[from.unwrap_or(0)..];
        tracing::warn!(machine = machine.0, console = end, "a machine never worked, and is ended");
        let said = end.lines().rev().find(|line| !line.trim().is_empty());
        Some(format!("{} never worked; it last said: {}", machine.0, said.unwrap_or("nothing")))
    }

    /// Everything of the sweep may live longer: the master does.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not do it.
    pub async fn renew(&self) -> Result<(), CloudError> {
        let all = super::inventory(&self.ec2).await?;
        let ids: Vec<String> = all
            .into_iter()
            .filter(|thing| thing.sweep == self.spec.sweep && !thing.ending)
            .map(|thing| thing.id)
            .collect();
        let expires = made::expires(&self.spec);
        for batch in ids.chunks(TAGGED) {
            let tag = made::tag(TAG_EXPIRES, &expires);
            let call = self.ec2.ec2.create_tags().set_resources(Some(batch.to_vec())).tags(tag);
            call.send().await.map_err(|error| error::of("CreateTags", &error))?;
        }
        Ok(())
    }

    /// The master's own machine leaves the sweep's security group, so that this can be deleted while the machine lives.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not do it; `down` and `gc` delete the group later.
    pub async fn leave_group(&self) -> Result<(), CloudError> {
        let tagged =
            |name: &str, value: &str| Filter::builder().name(format!("tag:{name}")).values(value).build();
        let call = self.ec2.ec2.describe_instances();
        let call = call.filters(tagged(TAG_SWEEP, &self.spec.sweep)).filters(tagged(TAG_ROLE, MASTER));
        let found = call.send().await.map_err(|error| error::of("DescribeInstances", &error))?;
        let mut defaults: HashMap<String, Option<String>> = HashMap::new();
        for instance in found.reservations().iter().flat_map(|reservation| reservation.instances()) {
            let (Some(id), Some(vpc)) = (instance.instance_id(), instance.vpc_id()) else { continue };
            if !defaults.contains_key(vpc) {
                defaults.insert(vpc.to_owned(), self.default_group(vpc).await?);
            }
            if let Some(Some(group)) = defaults.get(vpc) {
                let call = self.ec2.ec2.modify_instance_attribute().instance_id(id).groups(group);
                call.send().await.map_err(|error| error::of("ModifyInstanceAttribute", &error))?;
            }
        }
        Ok(())
    }

    async fn default_group(&self, vpc: &str) -> Result<Option<String>, CloudError> {
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let call = self.ec2.ec2.describe_security_groups();
        let call = call.filters(filter("vpc-id", vpc)).filters(filter("group-name", "default"));
        let found = call.send().await.map_err(|error| error::of("DescribeSecurityGroups", &error))?;
        Ok(found.security_groups().first().and_then(|group| group.group_id()).map(str::to_owned))
    }

    /// The account and region.
    #[must_use]
    pub fn ec2(&self) -> &Ec2 {
        &self.ec2
    }
}
