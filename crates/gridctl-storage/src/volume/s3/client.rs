//! Who talks to S3: credentials and region as the AWS tools find them, the endpoint that
//! `AWS_ENDPOINT_URL` names, and deadlines for every call.
//! Invariant: a process has one client a bucket, in the bucket's own region, and no call waits for
//! ever.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, ProvideCredentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use gridctl_core::s3_url::S3Url;

use super::answer::{Answer, Refusal, bounded};
use super::runtime;
use crate::volume::{S3Problem, VolumeError};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(4);
/// For one try of a call whose body is small.
const ATTEMPT: Duration = Duration::from_secs(30);
/// For one try of a call that carries a part of a file.
pub(super) const PART_ATTEMPT: Duration = Duration::from_secs(300);
/// Tries of a call, with pauses that grow.
const ATTEMPTS: u32 = 4;
/// Where buckets are looked for if nothing says it; S3 answers there with a bucket's own region.
const ANY_REGION: &str = "us-east-1";

/// A client for one bucket.
#[derive(Debug, Clone)]
pub(super) struct BucketClient {
    pub(super) client: Client,
    pub(super) bucket: String,
    /// Where the bucket is sought, for people.
    endpoint: String,
}

impl BucketClient {
    /// The process's client for the bucket of `url`; the first one looks whether the bucket is
    /// there and may be listed.
    pub(super) fn of(url: &S3Url) -> Result<Self, VolumeError> {
        static KNOWN: Mutex<BTreeMap<String, BucketClient>> = Mutex::new(BTreeMap::new());
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known().get(url.bucket()) {
            return Ok(client.clone());
        }
        let (bucket, prefix) = (url.bucket().to_owned(), url.key(""));
        let connected = runtime::begin(async move { Self::connect(&load().await, &bucket, &prefix).await });
        let client = connected.and_then(runtime::Begun::wait).unwrap_or_else(|| Err(broken_off(url)))?;
        Ok(known().entry(url.bucket().to_owned()).or_insert(client).clone())
    }

    /// A client that works: with credentials, and in the bucket's own region.
    pub(super) async fn connect(config: &SdkConfig, bucket: &str, prefix: &str) -> Result<Self, VolumeError> {
        credentials(config, bucket).await?;
        let region = config.region().map_or(ANY_REGION, Region::as_ref).to_owned();
        let client = Self::in_region(config, bucket, &region);
        let other = match client.look(prefix).await {
            Ok(()) => return Ok(client),
            Err(Refusal { bucket_region: Some(other), .. }) if other != region => other,
            Err(refusal) => return Err(client.refused("ListObjectsV2", refusal)),
        };
        let client = Self::in_region(config, bucket, &other);
        client.look(prefix).await.map_err(|refusal| client.refused("ListObjectsV2", refusal))?;
        Ok(client)
    }

    pub(super) fn in_region(config: &SdkConfig, bucket: &str, region: &str) -> Self {
        let other = endpoint(config);
        let region = Region::new(region.to_owned());
        let endpoint = other.clone().unwrap_or_else(|| format!("S3 in {region}"));
        // Stores other than AWS seldom have a host name for each bucket.
        let config = Builder::from(config).region(region).force_path_style(other.is_some()).build();
        Self { client: Client::from_conf(config), bucket: bucket.to_owned(), endpoint: bounded(&endpoint) }
    }

    async fn look(&self, prefix: &str) -> Result<(), Refusal> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(1);
        list.send().await.map(drop).map_err(|error| match Answer::of(&error, &self.endpoint) {
            Answer::Refused(refusal) => refusal,
            Answer::Nothing => {
                let why = format!("{} does not seem to speak S3", self.endpoint);
                Refusal { problem: S3Problem::Other { code: "404".to_owned(), why }, bucket_region: None }
            }
            other => Refusal { problem: other.problem(), bucket_region: None },
        })
    }

    /// Where the bucket is sought.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The error for a call that was refused.
    pub(super) fn refused(&self, call: &'static str, refusal: Refusal) -> VolumeError {
        self.failed(call, refusal.problem)
    }

    /// The error for a call.
    pub(super) fn failed(&self, call: &'static str, problem: S3Problem) -> VolumeError {
        VolumeError::S3 { bucket: self.bucket.clone(), call, problem }
    }
}

/// The error for a call that ended without a result.
pub(super) fn broken_off(url: &S3Url) -> VolumeError {
    let source = std::io::Error::other("the call to S3 broke off");
    VolumeError::Io { path: url.to_string(), source }
}

/// Deadlines of each call; `attempt` is for one try.
pub(super) fn deadlines(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(attempt)
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt * ATTEMPTS)
        .build()
}

async fn load() -> SdkConfig {
    settings().load().await
}

/// Settings as the AWS tools find them.
pub(super) fn settings() -> ConfigLoader {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .timeout_config(deadlines(ATTEMPT))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        // Stores other than AWS do not know newer checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}

/// The endpoint that the environment names, for all of AWS or for S3 alone.
fn endpoint(config: &SdkConfig) -> Option<String> {
    let own = std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty());
    own.or_else(|| config.endpoint_url().map(str::to_owned))
}

/// Finds out whether there are credentials before the first call fails in a less telling way.
async fn credentials(config: &SdkConfig, bucket: &str) -> Result<(), VolumeError> {
    let failed = |problem| VolumeError::S3 { bucket: bucket.to_owned(), call: "signing", problem };
    let Some(provider) = config.credentials_provider() else {
        return Err(failed(S3Problem::NoCredentials { why: "none are set".to_owned() }));
    };
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(super::answer::credentials(&DisplayErrorContext(&error).to_string()))),
    }
}
