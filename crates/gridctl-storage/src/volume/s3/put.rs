//! Writing to S3: an object at once, only where none is.
//! Invariant: a write whose answer is open is looked up and compared before it is tried again, and
//! only as long as nothing is there.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::{Put, S3Volume, VolumeError};
use crate::volume::S3Problem;
use crate::volume::dir::hex;

/// A write is tried so many times, with a pause that doubles.
pub(super) const TRIES: u32 = 6;
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// Bytes that are compared at once.
const CHUNK: u64 = 8 << 20;
/// What shows whether the store overwrites; volumes do not list it.
const PROBE: &str = ".gridctl-conditional-writes";

impl S3Volume {
    /// Puts `bytes` where nothing is.
    pub(super) async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<Put, VolumeError> {
        const CALL: &str = "PutObject";
        let (mut pause, mut tried) = (PAUSE, 0);
        loop {
            tried += 1;
            let answer = match self.put_once(key, &bytes).await {
                Ok(()) => return Ok(Put::Written),
                Err(answer) => answer,
            };
            let ours = (bytes.len() as u64, hex(&Sha256::digest(&bytes)));
            match self.settled(CALL, key, &answer, &ours).await? {
                Some(put) => return Ok(put),
                None if tried >= TRIES => return Err(self.error(CALL, key, answer)),
                None => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn put_once(&self, key: &str, bytes: &[u8]) -> Result<(), Answer> {
        let put = self.bucket.client.put_object().bucket(&self.bucket.bucket).key(key);
        let put = put.if_none_match("*").body(ByteStream::from(bytes.to_vec()));
        put.send().await.map(drop).map_err(|error| Answer::of(&error, self.bucket.endpoint()))
    }

    /// What became of a write of `ours` (size and SHA-256) that was answered with `answer`; `None`
    /// if nothing is there.
    pub(super) async fn settled(
        &self,
        call: &'static str,
        key: &str,
        answer: &Answer,
        (size, hash): &(u64, String),
    ) -> Result<Option<Put>, VolumeError> {
        let is_taken = match answer {
            Answer::Taken => true,
            Answer::Again(_) | Answer::Unknown(_) | Answer::Nothing => false,
            Answer::PastTheEnd | Answer::Refused(_) => return Err(self.error(call, key, answer.clone())),
        };
        match self.hash_of(key, *size).await {
            Ok(Some(theirs)) if theirs == *hash => Ok(Some(if is_taken { Put::Same } else { Put::Written })),
            Ok(_) => Err(VolumeError::Conflict { path: self.shown(key) }),
            Err(VolumeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The SHA-256 of an object, if it is of this size.
    pub(super) async fn hash_of(&self, key: &str, size: u64) -> Result<Option<String>, VolumeError> {
        if self.size(key).await? != size {
            return Ok(None);
        }
        let (mut hasher, mut offset) = (Sha256::new(), 0);
        while offset < size {
            let chunk = self.read(key, offset..(offset + CHUNK).min(size)).await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            hasher.update(&chunk);
            offset += chunk.len() as u64;
        }
        Ok(Some(hex(&hasher.finalize())))
    }

    /// Whether the store refuses to overwrite.
    pub(super) async fn probe(&self) -> Result<(), VolumeError> {
        let key = self.url.key(PROBE);
        let bytes = b"gridctl looks whether this store refuses to overwrite\n";
        for _ in 0..2 {
            let mut answer = self.put_once(&key, bytes).await;
            for _ in 1..TRIES {
                if !matches!(answer, Err(Answer::Again(_) | Answer::Unknown(_))) {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
                answer = self.put_once(&key, bytes).await;
            }
            match answer {
                Ok(()) => {}
                Err(Answer::Taken) => return Ok(()),
                Err(Answer::Refused(refusal)) if says_nothing_of_it(&refusal.problem) => break,
                Err(answer) => return Err(self.error("PutObject", &key, answer)),
            }
        }
        Err(self.bucket.failed("PutObject", S3Problem::NoConditionalWrites))
    }
}

/// Whether the store refuses the header itself.
fn says_nothing_of_it(problem: &S3Problem) -> bool {
    matches!(problem, S3Problem::Other { code, .. } if code == "NotImplemented" || code == "status 501")
}
