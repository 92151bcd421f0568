//! What can be wrong with S3, one variant for each thing that a person can do about it.
//! Invariant: none of them holds a key, a token, or an address that was signed.

/// Why S3 did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum S3Problem {
    /// Nothing says who asks.
    #[error("no AWS credentials were found ({why})")]
    NoCredentials {
        /// What was looked for.
        why: String,
    },
    /// The credentials were good once.
    #[error("the AWS credentials have expired ({why})")]
    Expired {
        /// What was answered.
        why: String,
    },
    /// S3 does not know the credentials.
    #[error("the AWS credentials are not accepted ({code})")]
    Rejected {
        /// The error's code.
        code: String,
    },
    /// The clocks differ too much for signatures.
    #[error("this machine's clock differs too much from that of S3")]
    ClockSkew,
    /// The credentials do not cover this.
    #[error("access is denied: {why}")]
    AccessDenied {
        /// What was answered.
        why: String,
    },
    /// There is no such bucket.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// The bucket is elsewhere.
    #[error("the bucket is in another region{}", in_region(.region.as_deref()))]
    WrongRegion {
        /// Where it is, if that was said.
        region: Option<String>,
    },
    /// A file that is there would be overwritten.
    #[error("this store has no conditional writes: a result could be overwritten unnoticed")]
    NoConditionalWrites,
    /// No answer came.
    #[error("{endpoint} is not reachable: {why}")]
    Unreachable {
        /// Where it was sought.
        endpoint: String,
        /// What the system says.
        why: String,
    },
    /// It failed for now.
    #[error("it is not able to answer now ({code})")]
    Busy {
        /// The error's code.
        code: String,
    },
    /// Anything else.
    #[error("it was refused with {code}: {why}")]
    Other {
        /// The error's code.
        code: String,
        /// What was answered.
        why: String,
    },
}

fn in_region(region: Option<&str>) -> String {
    region.map(|region| format!(", {region}")).unwrap_or_default()
}

impl S3Problem {
    /// Whether the same call may succeed later, though nobody does anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoCredentials { .. } => {
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where gridctl starts; \
                 `aws configure` makes a profile, `aws sts get-caller-identity` shows who you are"
            }
            Self::Expired { .. } => {
                "renew them (`aws sso login`, or new AWS_SESSION_TOKEN and keys) and run the command again"
            }
            Self::Rejected { .. } => {
                "compare `aws sts get-caller-identity`; for a store that is not AWS, AWS_ENDPOINT_URL must \
                 name it"
            }
            Self::ClockSkew => "set the clock of this machine (`timedatectl set-ntp true`)",
            Self::AccessDenied { .. } => {
                "the credentials need s3:ListBucket on the bucket, s3:GetObject beneath `data:` and \
                 `output:`, and s3:PutObject and s3:DeleteObject beneath `output:`"
            }
            Self::NoSuchBucket => {
                "make it with `aws s3 mb s3://BUCKET`, or correct the name; for a store that is not AWS, \
                 AWS_ENDPOINT_URL must name it"
            }
            Self::WrongRegion { .. } => "set AWS_REGION to the bucket's region",
            Self::NoConditionalWrites => {
                "results need `If-None-Match: *`, which AWS and newer stores have; update the store, or \
                 give `output:` a directory"
            }
            Self::Unreachable { .. } => {
                "check the network, AWS_ENDPOINT_URL and AWS_REGION; what is not stored yet is kept"
            }
            Self::Busy { .. } => "it may work in a while; what is not stored yet is kept",
            Self::Other { .. } => return None,
        })
    }
}
