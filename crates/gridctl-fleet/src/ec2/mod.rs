//! The shell around EC2: what is asked of AWS, and done there, and nothing decided.
//! Invariant: `aws-sdk-ec2` is named here alone; no text that leaves this room holds a credential.

pub mod account;
mod boot;
mod error;
mod inventory;
mod look;
mod machines;
mod made;
mod master;
mod metadata;
mod network;
mod teardown;
mod template;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::config::ProvideCredentials as _;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub use boot::{Boot, BootRole};
pub use error::CloudError;
pub use inventory::inventory;
pub use look::{Caller, Image, SpotRole, Subnet};
pub use machines::Machines;
pub use master::{MasterMachine, MasterOrder, is_not_yet};
pub use metadata::{MachineFacts, Metadata, Warned};
pub use teardown::{TeardownEvent, tear_down};

/// Longest that a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest that one call may take, with all its tries.
const CALL: Duration = Duration::from_secs(60);
/// Longest that finding credentials may take.
const CREDENTIALS: Duration = Duration::from_secs(20);
/// Tries of one call.
const TRIES: u32 = 4;

/// The second since 1970 that it is, for what has expired.
#[must_use]
pub fn now_s() -> u64 {
    crate::clock::wall_s()
}

/// HTTPS, as everything here speaks it.
fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// An account's EC2 in one region.
#[derive(Debug, Clone)]
pub struct Ec2 {
    region: String,
    config: SdkConfig,
    ec2: aws_sdk_ec2::Client,
}

impl Ec2 {
    /// Finds credentials and region as every tool of AWS does: environment, profile, the machine's role.
    ///
    /// # Errors
    /// [`CloudError`] where there is no region, or there are no credentials.
    pub async fn connect(region: Option<String>) -> Result<Self, CloudError> {
        let http = http_client();
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(CALL).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES));
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        let config = loader.load().await;
        let Some(region) = config.region().map(ToString::to_string) else { return Err(CloudError::NoRegion) };
        let provider = config.credentials_provider().ok_or(CloudError::NoCredentials)?;
        match tokio::time::timeout(CREDENTIALS, provider.provide_credentials()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error::credentials(&error)),
            Err(_) => return Err(CloudError::NoCredentials),
        }
        let ec2 = aws_sdk_ec2::Client::new(&config);
        Ok(Self { region, config, ec2 })
    }

    /// The same account in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.config.to_builder().region(Region::new(region.to_owned())).build();
        let ec2 = aws_sdk_ec2::Client::new(&config);
        Self { region: region.to_owned(), config, ec2 }
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }
}
