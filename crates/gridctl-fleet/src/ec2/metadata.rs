//! What a machine of EC2 is told about itself: who it is, where it is reached, and whether it is taken away.
//! Invariant: only "not found" means that there is no notice; whatever else goes wrong says nothing.

use std::time::Duration;

use aws_config::imds::client::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use gridctl_core::cloud::taken_at_ms;

use super::{CloudError, http_client};

/// Longest that one question may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Tries of one question.
const TRIES: u32 = 2;

/// The metadata service of the machine that this runs on.
#[derive(Debug, Clone)]
pub struct Metadata {
    client: Client,
}

/// Who a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// The instance's id.
    pub instance: String,
    /// Its address in its network.
    pub private_address: String,
    /// Its address from elsewhere, if it has one.
    pub public_address: Option<String>,
}

/// What EC2 says of the machine's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warned {
    /// Nothing.
    Not,
    /// It may be taken away before others of its kind.
    AtRisk,
    /// It will be taken away.
    Taken {
        /// When, in milliseconds since 1970; `None` if that cannot be read.
        at_ms: Option<u64>,
    },
}

impl Default for Metadata {
    fn default() -> Self {
        Self::new()
    }
}

impl Metadata {
    /// The service where EC2 has it, or where `AWS_EC2_METADATA_SERVICE_ENDPOINT` says.
    #[must_use]
    pub fn new() -> Self {
        let config = ProviderConfig::without_region().with_http_client(http_client());
        let client = Client::builder()
            .configure(&config)
            .connect_timeout(ANSWER)
            .read_timeout(ANSWER)
            .max_attempts(TRIES)
            .build();
        Self { client }
    }

    /// Who this machine is.
    ///
    /// # Errors
    /// [`CloudError`] if the service does not say, as on a machine that is not of EC2.
    pub async fn facts(&self) -> Result<MachineFacts, CloudError> {
        let missing = |what: &str| CloudError::Failed {
            call: "the machine's metadata",
            code: "404".to_owned(),
            why: format!("it has no {what}"),
        };
        let instance = self.get("instance-id").await?.ok_or_else(|| missing("instance-id"))?;
        let private_address = self.get("local-ipv4").await?.ok_or_else(|| missing("local-ipv4"))?;
        let public_address = self.get("public-ipv4").await?.filter(|address| !address.is_empty());
        Ok(MachineFacts { instance, private_address, public_address })
    }

    /// Whether the machine is taken away.
    ///
    /// # Errors
    /// [`CloudError`] if the service does not say: that is not "no".
    pub async fn warned(&self) -> Result<Warned, CloudError> {
        if let Some(notice) = self.get("spot/instance-action").await? {
            return Ok(Warned::Taken { at_ms: taken_at_ms(&notice) });
        }
        let at_risk = self.get("events/recommendations/rebalance").await?.is_some();
        Ok(if at_risk { Warned::AtRisk } else { Warned::Not })
    }

    /// What lies at a path; `None` if nothing does.
    async fn get(&self, path: &str) -> Result<Option<String>, CloudError> {
        match self.client.get(format!("/latest/meta-data/{path}")).await {
            Ok(text) => Ok(Some(text.as_ref().trim().to_owned())),
            Err(ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 404 => Ok(None),
            Err(error) => {
                let why = super::error::chain(&error);
                Err(CloudError::Unreachable { call: "the machine's metadata", why })
            }
        }
    }
}
