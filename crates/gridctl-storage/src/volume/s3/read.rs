//! Reading from S3: ranges, listings, removals.
//! Invariant: what is given out is as long as the answer said; an answer that ends early is asked
//! for again.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::types::ServerSideEncryption;

use super::answer::Answer;
use super::client::{PART_ATTEMPT, deadlines};
use super::{Entry, S3Volume, VolumeError, check_path};
use crate::volume::S3Problem;

/// An answer that ended early is asked for again, so many times in all, after such a pause.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

const GET: &str = "GetObject";

/// A piece of an object.
#[derive(Debug)]
pub(crate) struct ObjectRange {
    pub(crate) bytes: Vec<u8>,
    /// Its ETag is no checksum of it, for it is encrypted with a key of its own.
    pub(crate) is_sealed: bool,
}

/// The header for a range, which is not empty.
fn asked(range: &Range<u64>) -> String {
    match range.end {
        u64::MAX => format!("bytes={}-", range.start),
        end => format!("bytes={}-{}", range.start, end - 1),
    }
}

/// An ETag without its quotes.
fn plain_etag(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

impl S3Volume {
    /// The error of a call about `key`.
    pub(super) fn error(&self, call: &'static str, key: &str, answer: Answer) -> VolumeError {
        match answer {
            Answer::Nothing => VolumeError::NotFound { path: self.shown(key) },
            Answer::Refused(refusal) => self.bucket.refused(call, refusal),
            other => self.bucket.failed(call, other.problem()),
        }
    }

    /// The path of a key.
    pub(super) fn shown(&self, key: &str) -> String {
        let beneath = key.strip_prefix(self.url.prefix()).map(|rest| rest.trim_start_matches('/'));
        beneath.unwrap_or(key).to_owned()
    }

    /// The bytes of a range, or fewer where the object ends.
    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>, VolumeError> {
        if range.is_empty() {
            return self.size(key).await.map(|_| Vec::new());
        }
        let mut tries = 1;
        loop {
            match self.read_once(key, range.clone()).await {
                Err(error) if error.is_retryable() && tries < TRIES => tries += 1,
                result => return result,
            }
            tokio::time::sleep(PAUSE * tries).await;
        }
    }

    async fn read_once(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>, VolumeError> {
        let get = self.bucket.client.get_object().bucket(&self.bucket.bucket).key(key);
        let object = match get.range(asked(&range)).send().await {
            Ok(object) => object,
            Err(error) => match Answer::of(&error, self.bucket.endpoint()) {
                // It is shorter, or empty.
                Answer::PastTheEnd => return Ok(Vec::new()),
                answer => return Err(self.error(GET, key, answer)),
            },
        };
        let bytes = self.body(object).await?;
        // A store that knows no ranges sends all of it.
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        if bytes.len() > wanted {
            let why = "it sent more than the range that was asked for".to_owned();
            return Err(self.bucket.failed(GET, S3Problem::Other { code: "a bad answer".to_owned(), why }));
        }
        Ok(bytes)
    }

    /// The body of an answer, if it is as long as the answer says.
    pub(super) async fn body(&self, object: GetObjectOutput) -> Result<Vec<u8>, VolumeError> {
        let cut = |why: String| {
            let endpoint = self.bucket.endpoint().to_owned();
            self.bucket.failed(GET, S3Problem::Unreachable { endpoint, why })
        };
        let said = object.content_length();
        let body = object.body.collect().await;
        let bytes = body.map_err(|error| cut(format!("the answer broke off: {error}")))?.into_bytes();
        if said.is_some_and(|said| u64::try_from(said) != Ok(bytes.len() as u64)) {
            return Err(cut("the answer was shorter than it said".to_owned()));
        }
        Ok(bytes.into())
    }

    /// A range of the content that has this ETag.
    pub(super) async fn read_as_listed(
        &self,
        key: &str,
        range: Range<u64>,
        etag: &str,
    ) -> Result<ObjectRange, VolumeError> {
        let mut tries = 1;
        loop {
            match self.read_as_listed_once(key, &range, etag).await {
                Err(error) if error.is_retryable() && tries < TRIES => tries += 1,
                result => return result,
            }
            tokio::time::sleep(PAUSE * tries).await;
        }
    }

    async fn read_as_listed_once(
        &self,
        key: &str,
        range: &Range<u64>,
        etag: &str,
    ) -> Result<ObjectRange, VolumeError> {
        let get = self.bucket.client.get_object().bucket(&self.bucket.bucket).key(key);
        let get = get.range(asked(range)).if_match(format!("\"{etag}\"")).customize();
        let patient = aws_sdk_s3::config::Builder::new().timeout_config(deadlines(PART_ATTEMPT));
        let object = get.config_override(patient).send().await;
        let object = object.map_err(|error| match Answer::of(&error, self.bucket.endpoint()) {
            Answer::Taken | Answer::PastTheEnd => VolumeError::Conflict { path: self.shown(key) },
            answer => self.error(GET, key, answer),
        })?;
        let (kms, customer) = (ServerSideEncryption::AwsKms, object.sse_customer_algorithm.is_some());
        let dsse = ServerSideEncryption::AwsKmsDsse;
        let is_sealed =
            customer || object.server_side_encryption().is_some_and(|it| *it == kms || *it == dsse);
        Ok(ObjectRange { bytes: self.body(object).await?, is_sealed })
    }

    /// All that lies beneath the address, or at it, as (path, size, ETag).
    pub(super) async fn all_objects(&self) -> Result<Vec<(String, u64, String)>, VolumeError> {
        let above = if self.url.prefix().is_empty() { String::new() } else { self.url.key("") };
        let list = self.bucket.client.list_objects_v2().bucket(&self.bucket.bucket).prefix(&above);
        let (mut pages, mut objects) = (list.into_paginator().send(), Vec::new());
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                self.error("ListObjectsV2", &above, Answer::of(&error, self.bucket.endpoint()))
            })?;
            for object in page.contents() {
                let Some(path) = object.key().and_then(|key| key.strip_prefix(&above)) else { continue };
                // The prefix itself is how consoles show a directory.
                if path.is_empty() {
                    continue;
                }
                let size = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                objects.push((path.to_owned(), size, plain_etag(object.e_tag())));
            }
        }
        if !objects.is_empty() || self.url.prefix().is_empty() {
            return Ok(objects);
        }
        let head = self.bucket.client.head_object().bucket(&self.bucket.bucket).key(self.url.prefix());
        match head.send().await.map_err(|error| Answer::of(&error, self.bucket.endpoint())) {
            Ok(object) => {
                let size = u64::try_from(object.content_length().unwrap_or(0)).unwrap_or(0);
                Ok(vec![(String::new(), size, plain_etag(object.e_tag()))])
            }
            Err(Answer::Nothing) => Ok(objects),
            Err(answer) => Err(self.error("HeadObject", self.url.prefix(), answer)),
        }
    }

    /// How long an object is.
    pub(super) async fn size(&self, key: &str) -> Result<u64, VolumeError> {
        let head = self.bucket.client.head_object().bucket(&self.bucket.bucket).key(key).send().await;
        match head {
            Ok(object) => Ok(u64::try_from(object.content_length().unwrap_or(0)).unwrap_or(0)),
            Err(error) => Err(self.error("HeadObject", key, Answer::of(&error, self.bucket.endpoint()))),
        }
    }

    /// What lies directly beneath `above`, which ends with a slash. What no volume has written
    /// there is left out.
    pub(super) async fn entries(&self, above: &str) -> Result<Vec<Entry>, VolumeError> {
        let mut entries = Vec::new();
        let list =
            self.bucket.client.list_objects_v2().bucket(&self.bucket.bucket).prefix(above).delimiter("/");
        let mut pages = list.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                self.error("ListObjectsV2", above, Answer::of(&error, self.bucket.endpoint()))
            })?;
            for below in page.common_prefixes() {
                let name = below.prefix().and_then(|prefix| prefix.strip_prefix(above)?.strip_suffix('/'));
                entries.extend(name.filter(|name| is_ours(name)).map(|name| Entry {
                    name: name.to_owned(),
                    size: 0,
                    is_dir: true,
                }));
            }
            for object in page.contents() {
                let name = object.key().and_then(|key| key.strip_prefix(above));
                let size = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                entries.extend(name.filter(|name| is_ours(name)).map(|name| Entry {
                    name: name.to_owned(),
                    size,
                    is_dir: false,
                }));
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// Removes an object; it may be gone already.
    pub(super) async fn remove(&self, key: &str) -> Result<(), VolumeError> {
        let removed = self.bucket.client.delete_object().bucket(&self.bucket.bucket).key(key).send().await;
        match removed.map_err(|error| Answer::of(&error, self.bucket.endpoint())) {
            Ok(_) | Err(Answer::Nothing) => Ok(()),
            Err(answer) => Err(self.error("DeleteObject", key, answer)),
        }
    }
}

/// Whether a volume gives names like this one.
fn is_ours(name: &str) -> bool {
    !name.contains('/') && check_path(name).is_ok()
}
