//! Who may connect to a launch's machines: one security group a sweep, open to its own machines and to the addresses of its
//! operators.
//! Invariant: a group bears the sweep's tags from its first moment; what is open to an address is one port.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use aws_sdk_ec2::error::ProvideErrorMetadata as _;
use aws_sdk_ec2::types::{
    Filter, IpPermission, IpRange, ResourceType, SecurityGroup, Tag, TagSpecification, UserIdGroupPair,
};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use gridctl_core::cloud::TAG_SWEEP;

use super::{CloudError, Ec2, error};

/// Where AWS says from which address one asks.
const WHO_ASKS: &str = "https://checkip.amazonaws.com";
/// Longest that this may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer that is an address.
const LONGEST: usize = 64;

impl Ec2 {
    /// The sweep's group, which is made in the network of `subnet` if it is not there.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn security_group(
        &self,
        sweep: &str,
        subnet: &str,
        tags: &[(String, String)],
    ) -> Result<String, CloudError> {
        let vpc = self.vpc(subnet).await?;
        if let Some(group) = self.group_of(sweep).await?
            && let (Some(id), true) = (group.group_id(), group.vpc_id() == Some(&vpc))
        {
            return Ok(id.to_owned());
        }
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let tags =
            TagSpecification::builder().resource_type(ResourceType::SecurityGroup).set_tags(Some(tags));
        let make = self.ec2.create_security_group().group_name(format!("gridctl-{sweep}")).vpc_id(vpc);
        let make = make.description("machines of a sweep of gridctl").tag_specifications(tags.build());
        let made = make.send().await.map_err(|error| error::of("CreateSecurityGroup", &error))?;
        made.group_id().map(str::to_owned).ok_or_else(|| CloudError::Failed {
            call: "CreateSecurityGroup",
            code: "unknown".to_owned(),
            why: "it does not say which group it made".to_owned(),
        })
    }

    /// The group of a sweep that is there.
    async fn group_of(&self, sweep: &str) -> Result<Option<SecurityGroup>, CloudError> {
        let tagged = Filter::builder().name(format!("tag:{TAG_SWEEP}")).values(sweep).build();
        let found = self.ec2.describe_security_groups().filters(tagged).send().await;
        let found = found.map_err(|error| error::of("DescribeSecurityGroups", &error))?;
        Ok(found.security_groups().first().cloned())
    }

    /// Lets the machines of a group at each other.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn open_within(&self, group: &str, port: u16) -> Result<(), CloudError> {
        let pair = UserIdGroupPair::builder().group_id(group).build();
        self.open(group, tcp(port).user_id_group_pairs(pair).build()).await
    }

    /// Lets an address, such as `203.0.113.7/32`, at a sweep's machines.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not, or the sweep has no group.
    pub async fn open_to(&self, sweep: &str, cidr: &str, port: u16) -> Result<(), CloudError> {
        let group = self.group_of(sweep).await?.and_then(|group| group.group_id().map(str::to_owned));
        let group = group.ok_or_else(|| CloudError::Failed {
            call: "DescribeSecurityGroups",
            code: "InvalidGroup.NotFound".to_owned(),
            why: format!("`{sweep}` has no security group"),
        })?;
        let range = IpRange::builder().cidr_ip(cidr).description("an operator").build();
        self.open(&group, tcp(port).ip_ranges(range).build()).await
    }

    async fn open(&self, group: &str, permission: IpPermission) -> Result<(), CloudError> {
        let open = self.ec2.authorize_security_group_ingress().group_id(group).ip_permissions(permission);
        match open.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("InvalidPermission.Duplicate") => Ok(()),
            Err(error) => Err(error::of("AuthorizeSecurityGroupIngress", &error)),
        }
    }

    async fn vpc(&self, subnet: &str) -> Result<String, CloudError> {
        let found = self.ec2.describe_subnets().subnet_ids(subnet).send().await;
        let found = found.map_err(|error| error::of("DescribeSubnets", &error))?;
        let vpc = found.subnets().first().and_then(|subnet| subnet.vpc_id());
        vpc.map(str::to_owned).ok_or_else(|| CloudError::Failed {
            call: "DescribeSubnets",
            code: "InvalidSubnetID.NotFound".to_owned(),
            why: format!("there is no subnet {subnet}"),
        })
    }

    /// The address that machines see this one at: as AWS says, or, where calls go elsewhere, the one by which it goes there.
    ///
    /// # Errors
    /// [`CloudError::Unreachable`] if that cannot be found out.
    pub async fn own_address(&self) -> Result<IpAddr, CloudError> {
        let unknown = |why: String| CloudError::Unreachable { call: "this machine's own address", why };
        if let Some(endpoint) = self.config.endpoint_url() {
            let place = endpoint.split("://").last().unwrap_or(endpoint).trim_end_matches('/').to_owned();
            return tokio::task::spawn_blocking(move || towards(&place))
                .await
                .map_err(|error| unknown(error.to_string()))?
                .map_err(|error| unknown(error.to_string()));
        }
        let connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
        let asked = async {
            let request = HttpRequest::get(WHO_ASKS).map_err(|error| error.to_string())?;
            let answer = connector.call(request).await.map_err(|error| error.to_string())?;
            let body = ByteStream::new(answer.into_body()).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_vec();
            let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST)]).trim().to_owned();
            text.parse().map_err(|_| format!("{WHO_ASKS} answers with no address"))
        };
        let answer = tokio::time::timeout(ANSWER, asked).await;
        answer.unwrap_or_else(|_| Err(format!("{WHO_ASKS} does not answer"))).map_err(unknown)
    }
}

/// The address from which one goes to `place`; nothing is sent.
fn towards(place: &str) -> std::io::Result<IpAddr> {
    let any: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 0));
    let socket = UdpSocket::bind(any)?;
    socket.connect(place)?;
    Ok(socket.local_addr()?.ip())
}

fn tcp(port: u16) -> aws_sdk_ec2::types::builders::IpPermissionBuilder {
    IpPermission::builder().ip_protocol("tcp").from_port(port.into()).to_port(port.into())
}
