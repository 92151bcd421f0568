//! What an answer of S3 means: done before, to be asked again, unknown, or refused.
//! Invariant: whatever leaves it open whether a write was done is `Unknown`, and only what lies
//! there tells.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::volume::S3Problem;

/// Characters of an answer that are shown.
const SHOWN: usize = 300;

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) problem: S3Problem,
    /// The bucket's own region, if the answer said it.
    pub(super) bucket_region: Option<String>,
}

/// What an error of a call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// 404: there is no such object.
    Nothing,
    /// 412: something is there.
    Taken,
    /// 416: the object ends before the range.
    PastTheEnd,
    /// 409: another write was under way.
    Again(S3Problem),
    /// No answer, or one that says nothing about what was done.
    Unknown(S3Problem),
    /// It was not done, and will not be.
    Refused(Refusal),
}

impl Answer {
    /// What `error` means, of a call to `endpoint`.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>, endpoint: &str) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let SdkError::ServiceError(answered) = error else { return Self::unanswered(error, endpoint) };
        let status = answered.raw().status().as_u16();
        let region = answered.raw().headers().get("x-amz-bucket-region").map(str::to_owned);
        let meta = answered.err().meta();
        let code = meta.code().map_or_else(|| format!("status {status}"), bounded);
        let why = meta.message().map_or_else(|| code.clone(), bounded);
        let refused = |problem| Self::Refused(Refusal { problem, bucket_region: region.clone() });
        match (status, meta.code().unwrap_or_default()) {
            (_, "NoSuchBucket") => refused(S3Problem::NoSuchBucket),
            (404, _) => Self::Nothing,
            (412, _) => Self::Taken,
            (416, _) => Self::PastTheEnd,
            (409, _) => Self::Again(S3Problem::Busy { code }),
            (_, "RequestTimeTooSkewed") => refused(S3Problem::ClockSkew),
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
                refused(S3Problem::Expired { why })
            }
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidSecurity") => {
                refused(S3Problem::Rejected { code })
            }
            (301 | 307, _)
            | (
                _,
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
            ) => refused(S3Problem::WrongRegion { region: region.clone() }),
            // It may have been done: only what lies there tells.
            (200..=299, _) => Self::Unknown(S3Problem::Busy { code: format!("{code}, not understood") }),
            (401 | 403, _) => refused(S3Problem::AccessDenied { why }),
            (501, _) | (_, "NotImplemented") => refused(S3Problem::Other { code, why }),
            (408 | 429 | 500.., _) | (_, "SlowDown" | "RequestTimeout") => {
                Self::Unknown(S3Problem::Busy { code })
            }
            _ => refused(S3Problem::Other { code, why }),
        }
    }

    /// There was no answer, or none that could be read.
    fn unanswered<E>(error: &SdkError<E, HttpResponse>, endpoint: &str) -> Self
    where
        E: Error + 'static,
    {
        let why = DisplayErrorContext(error).to_string();
        let signing =
            matches!(error, SdkError::DispatchFailure(failure) if !failure.is_io() && !failure.is_timeout());
        if signing && why.to_lowercase().contains("credential") {
            return Self::Refused(Refusal { problem: credentials(&why), bucket_region: None });
        }
        Self::Unknown(S3Problem::Unreachable { endpoint: endpoint.to_owned(), why: plain(error) })
    }

    /// What is wrong, where nothing better than the error itself is to be made of the answer.
    pub(super) fn problem(self) -> S3Problem {
        let other = |code: &str, why: &str| S3Problem::Other { code: code.to_owned(), why: why.to_owned() };
        match self {
            Self::Nothing => other("404", "it is not there"),
            Self::Taken => other("412", "something is there"),
            Self::PastTheEnd => other("416", "it ends before that range"),
            Self::Again(problem) | Self::Unknown(problem) => problem,
            Self::Refused(refusal) => refusal.problem,
        }
    }
}

/// What is wrong with credentials, by what their provider said.
pub(super) fn credentials(why: &str) -> S3Problem {
    let lower = why.to_lowercase();
    let why = match lower.contains("no credentials found in chain") {
        true => "neither in the environment, nor in a profile, nor as this machine's role".to_owned(),
        false => bounded(why),
    };
    if lower.contains("expired") { S3Problem::Expired { why } } else { S3Problem::NoCredentials { why } }
}

/// The innermost reason, which says most in the fewest words.
fn plain(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    bounded(&inner.to_string())
}

/// The beginning of a text, on one line.
pub(super) fn bounded(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(SHOWN).map(clean).collect()
}
