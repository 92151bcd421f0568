//! The account's own bucket: what launches put there for machines and operators, under `control/`.
//! Invariant: nothing here is a result. Objects may be replaced, as those of a volume never are.

use aws_config::Region;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier,
    PublicAccessBlockConfiguration,
};

use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::client::{BucketClient, PART_ATTEMPT, deadlines, settings};
use crate::volume::dir::hex;
use crate::volume::{S3Problem, VolumeError};

/// The region whose buckets name none.
const FIRST_REGION: &str = "us-east-1";

/// The bucket that gridctl has in an account and region.
#[derive(Debug, Clone)]
pub struct AccountBucket {
    bucket: BucketClient,
    region: String,
}

impl AccountBucket {
    /// The bucket of this name, which need not be there.
    pub async fn new(name: &str, region: &str) -> Self {
        let config = settings().region(Region::new(region.to_owned())).load().await;
        Self { bucket: BucketClient::in_region(&config, name, region), region: region.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bucket.bucket
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn exists(&self) -> Result<bool, VolumeError> {
        let head = self.bucket.client.head_bucket().bucket(self.name()).send().await;
        match head.map_err(|error| Answer::of(&error, self.bucket.endpoint())) {
            Ok(_) => Ok(true),
            Err(Answer::Nothing) => Ok(false),
            Err(Answer::Refused(refusal)) if refusal.problem == S3Problem::NoSuchBucket => Ok(false),
            Err(answer) => Err(self.failed("HeadBucket", answer)),
        }
    }

    /// Makes it, for this account alone.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn create(&self) -> Result<(), VolumeError> {
        let place = (self.region != FIRST_REGION).then(|| {
            let place = BucketLocationConstraint::from(self.region.as_str());
            CreateBucketConfiguration::builder().location_constraint(place).build()
        });
        let create = self.bucket.client.create_bucket().bucket(self.name());
        let made = create.set_create_bucket_configuration(place).send().await;
        made.map_err(|error| self.failed("CreateBucket", Answer::of(&error, self.bucket.endpoint())))?;
        Ok(())
    }

    /// Shuts the public out, whatever rules the bucket may be given.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn keep_private(&self) -> Result<(), VolumeError> {
        let block = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        let put = self.bucket.client.put_public_access_block().bucket(self.name());
        let put = put.public_access_block_configuration(block).send().await;
        put.map_err(|error| self.failed("PutPublicAccessBlock", Answer::of(&error, self.bucket.endpoint())))?;
        Ok(())
    }

    /// Removes it; it must be empty.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn remove(&self) -> Result<(), VolumeError> {
        let delete = self.bucket.client.delete_bucket().bucket(self.name()).send().await;
        delete.map_err(|error| self.failed("DeleteBucket", Answer::of(&error, self.bucket.endpoint())))?;
        Ok(())
    }

    /// The content of an object; `None` if there is none.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, VolumeError> {
        const CALL: &str = "GetObject";
        let get = self.bucket.client.get_object().bucket(self.name()).key(key);
        let get = get.customize().config_override(patient()).send().await;
        match get.map_err(|error| Answer::of(&error, self.bucket.endpoint())) {
            Ok(found) => {
                let broken = |error: aws_sdk_s3::primitives::ByteStreamError| {
                    let endpoint = self.bucket.endpoint().to_owned();
                    self.bucket.failed(CALL, S3Problem::Unreachable { endpoint, why: error.to_string() })
                };
                Ok(Some(found.body.collect().await.map_err(broken)?.to_vec()))
            }
            Err(Answer::Nothing) => Ok(None),
            Err(answer) => Err(self.failed(CALL, answer)),
        }
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn has(&self, key: &str) -> Result<bool, VolumeError> {
        let head = self.bucket.client.head_object().bucket(self.name()).key(key).send().await;
        match head.map_err(|error| Answer::of(&error, self.bucket.endpoint())) {
            Ok(_) => Ok(true),
            Err(Answer::Nothing) => Ok(false),
            Err(answer) => Err(self.failed("HeadObject", answer)),
        }
    }

    /// Puts an object, in place of one that may be there.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), VolumeError> {
        let put = self.bucket.client.put_object().bucket(self.name()).key(key).body(ByteStream::from(bytes));
        let put = put.customize().config_override(patient()).send().await;
        put.map(drop).map_err(|error| self.failed("PutObject", Answer::of(&error, self.bucket.endpoint())))
    }

    /// Removes objects, which may be gone already.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn delete(&self, keys: &[String]) -> Result<(), VolumeError> {
        const AT_ONCE: usize = 1_000;
        const CALL: &str = "DeleteObjects";
        for keys in keys.chunks(AT_ONCE) {
            let named = keys.iter().filter_map(|key| ObjectIdentifier::builder().key(key).build().ok());
            let Ok(delete) = Delete::builder().quiet(true).set_objects(Some(named.collect())).build() else {
                continue;
            };
            let done = self.bucket.client.delete_objects().bucket(self.name()).delete(delete).send().await;
            let done = done.map_err(|error| self.failed(CALL, Answer::of(&error, self.bucket.endpoint())))?;
            if let Some(error) = done.errors().first() {
                let text = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
                let (code, why) = (text(error.code()), text(error.message()));
                return Err(self.bucket.failed(CALL, S3Problem::Other { code, why }));
            }
        }
        Ok(())
    }

    /// The keys that begin so, in order.
    ///
    /// # Errors
    /// [`VolumeError::S3`].
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, VolumeError> {
        let list = self.bucket.client.list_objects_v2().bucket(self.name()).prefix(prefix);
        let mut pages = list.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page
                .map_err(|error| self.failed("ListObjectsV2", Answer::of(&error, self.bucket.endpoint())))?;
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        Ok(keys)
    }

    fn failed(&self, call: &'static str, answer: Answer) -> VolumeError {
        self.bucket.failed(call, answer.problem())
    }
}

/// The name of a content in the bucket: its SHA-256.
#[must_use]
pub fn content_name(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A binary takes longer than other objects.
fn patient() -> aws_sdk_s3::config::Builder {
    let timeouts: TimeoutConfig = deadlines(PART_ATTEMPT);
    aws_sdk_s3::config::Builder::new().timeout_config(timeouts)
}
