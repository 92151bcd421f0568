//! What `doctor` asks of an account: who one is, and what a launch would need.
//! Invariant: only reads.

use aws_sdk_ec2::types::Filter;

use super::{CloudError, Ec2, error};

/// The role that EC2 needs before the first spot machine of an account.
const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";
/// Images of Amazon Linux with Docker, for x86_64.
const IMAGES: &str = "al2023-ami-ecs-hvm-*-x86_64";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account's number.
    pub account: String,
    /// The caller's name in AWS.
    pub arn: String,
}

/// An image that machines start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A part of a network in one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// Machines in it get a public address.
    pub public: bool,
}

/// Whether the account has the role for spot machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpotRole {
    /// It has.
    There,
    /// It has not.
    Missing,
}

impl Ec2 {
    /// Who asks.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn caller(&self) -> Result<Caller, CloudError> {
        let call = aws_sdk_sts::Client::new(&self.config).get_caller_identity().send();
        let found = call.await.map_err(|error| error::of("GetCallerIdentity", &error))?;
        let text = |text: Option<&str>| text.unwrap_or("?").to_owned();
        Ok(Caller { account: text(found.account()), arn: text(found.arn()) })
    }

    /// Whether the account has the role for spot machines.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn spot_role(&self) -> Result<SpotRole, CloudError> {
        let call = aws_sdk_iam::Client::new(&self.config).get_role().role_name(SPOT_ROLE).send();
        match call.await {
            Ok(_) => Ok(SpotRole::There),
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_no_such_entity_exception()) =>
            {
                Ok(SpotRole::Missing)
            }
            Err(error) => Err(error::of("GetRole", &error)),
        }
    }

    /// The newest image for machines.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn image(&self) -> Result<Option<Image>, CloudError> {
        let name = Filter::builder().name("name").values(IMAGES).build();
        let call = self.ec2.describe_images().owners("amazon").filters(name).send();
        let found = call.await.map_err(|error| error::of("DescribeImages", &error))?;
        let newest = found.images().iter().max_by_key(|image| image.creation_date().unwrap_or_default());
        Ok(newest.and_then(|image| {
            Some(Image {
                id: image.image_id()?.to_owned(),
                name: image.name().unwrap_or_default().to_owned(),
            })
        }))
    }

    /// The subnets of the region's default network.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn subnets(&self) -> Result<Vec<Subnet>, CloudError> {
        let mut pages = self.ec2.describe_subnets().into_paginator().send();
        let mut subnets = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| error::of("DescribeSubnets", &error))?;
            subnets.extend(
                page.subnets().iter().filter(|subnet| subnet.default_for_az() == Some(true)).filter_map(
                    |subnet| {
                        Some(Subnet {
                            id: subnet.subnet_id()?.to_owned(),
                            zone: subnet.availability_zone()?.to_owned(),
                            public: subnet.map_public_ip_on_launch() == Some(true),
                        })
                    },
                ),
            );
        }
        Ok(subnets)
    }
}
