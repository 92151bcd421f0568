//! Why AWS did not do what it was asked, and what a person does about it.
//! Invariant: the variants are the reactions; what AWS says is shown, credentials are not.

use aws_config::imds::client::error::ImdsError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use gridctl_core::fleet::machines::LaunchAnswer;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// Nothing names a region.
    #[error("no region of AWS is named")]
    NoRegion,
    /// No credentials were found.
    #[error("no credentials for AWS were found")]
    NoCredentials,
    /// There are credentials, and they cannot be had.
    #[error("the credentials for AWS cannot be had: {why}")]
    BrokenCredentials {
        /// What was said.
        why: String,
    },
    /// The credentials are wrong or out of date.
    #[error("AWS does not take these credentials ({code})")]
    Refused {
        /// AWS's word for it.
        code: String,
    },
    /// The caller may not do that.
    #[error("AWS does not allow {call} ({code}): {why}")]
    NotAllowed {
        /// The call.
        call: &'static str,
        /// AWS's word for it.
        code: String,
        /// What was said.
        why: String,
    },
    /// Nobody answers.
    #[error("AWS cannot be reached for {call}: {why}")]
    Unreachable {
        /// The call.
        call: &'static str,
        /// What was said.
        why: String,
    },
    /// Something else.
    #[error("AWS did not do {call} ({code}): {why}")]
    Failed {
        /// The call.
        call: &'static str,
        /// AWS's word for it.
        code: String,
        /// What was said.
        why: String,
    },
}

/// Codes of calls that came to nothing because there were too many.
const THROTTLED: [&str; 4] =
    ["RequestLimitExceeded", "Throttling", "ThrottlingException", "ResourceCountExceeded"];
/// Codes that leave open what became of the call.
const UNSURE: [&str; 5] =
    ["InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "unknown"];

impl CloudError {
    /// What a person does about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NoRegion => "set AWS_REGION, or `region` in ~/.aws/config, or name one with --region",
            Self::NoCredentials => {
                "`aws configure` or `aws sso login` makes some; AWS_PROFILE names a profile of ~/.aws"
            }
            Self::BrokenCredentials { .. } => {
                "`aws sso login` renews those of a single sign-on; `aws sts get-caller-identity` says more"
            }
            Self::Refused { .. } => {
                "they are wrong or have expired, or this machine's clock is: `aws sts get-caller-identity` tells"
            }
            Self::NotAllowed { .. } => "ask whoever keeps the account for the permission that AWS names",
            Self::Unreachable { .. } => "look at the network, at proxies, and at the region's name",
            Self::Failed { code, .. } => return help(code).to_owned(),
        }
        .to_owned()
    }

    /// Whether the call may have been carried out all the same.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Failed { code, .. } => UNSURE.contains(&code.as_str()),
            _ => false,
        }
    }

    /// What it means for a launch.
    pub(super) fn of_launch(&self) -> LaunchAnswer {
        match self {
            Self::Failed { code, .. } if THROTTLED.contains(&code.as_str()) => LaunchAnswer::Throttled,
            error if error.is_unsure() => LaunchAnswer::Lost,
            // Nothing was started, and the same call is never made again: the next launch has a token of its own.
            _ => LaunchAnswer::NoCapacity,
        }
    }

    /// Whether what was named is not there (any more).
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { code, .. } if code.ends_with(".NotFound") || code.ends_with("NotFoundException"))
    }
}

/// What a person does about what AWS calls so.
fn help(code: &str) -> &'static str {
    match code {
        "VcpuLimitExceeded" | "InstanceLimitExceeded" => {
            "the account's quota of processors is used up: `Running On-Demand Standard instances` in Service \
             Quotas, under EC2, raises it"
        }
        "MaxSpotInstanceCountExceeded" => {
            "the account's quota of spot machines is used up: `All Standard Spot Instance Requests` in Service \
             Quotas, under EC2, raises it"
        }
        "InsufficientInstanceCapacity" | "UnfulfillableCapacity" => {
            "AWS has no such machines in that zone just now: more types and zones help"
        }
        "InsufficientFreeAddressesInSubnet" => "the subnet has no address left: name subnets with more room",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted" => {
            "`aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`, once an account"
        }
        "InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable" => {
            "the image is not there (any more): `gridctl launch` again finds the newest"
        }
        "InvalidParameterValue" => {
            "where an instance profile is named, it may be too new: a minute later AWS knows it; \
             `gridctl aws init` makes it"
        }
        _ => "try again; AWS's status page tells of outages",
    }
}

/// What an error of the SDK means.
pub(super) fn of<E, R>(call: &'static str, error: &SdkError<E, R>) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let Some(service) = error.as_service_error() else {
        return CloudError::Unreachable { call, why: chain(error) };
    };
    let code = service.meta().code().unwrap_or("unknown").to_owned();
    let why = service.meta().message().unwrap_or("it does not say why").to_owned();
    match code.as_str() {
        "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => CloudError::Refused { code },
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "OptInRequired" => {
            CloudError::NotAllowed { call, code, why }
        }
        _ => CloudError::Failed { call, code, why },
    }
}

/// Why there are no credentials.
pub(super) fn credentials(error: &CredentialsError) -> CloudError {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => CloudError::NoCredentials,
        // The machine's own role is asked last: nothing else had any.
        error if is_of_machine(error) => CloudError::NoCredentials,
        error => CloudError::BrokenCredentials { why: chain(error) },
    }
}

fn is_of_machine(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ImdsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
