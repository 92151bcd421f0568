//! Long files: they go up in parts, some at once, and become an object when all are there.
//! Invariant: a file is never in memory but for the parts that are under way; parts that become no
//! object are given up, so that nobody pays for them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::client::{PART_ATTEMPT, broken_off, deadlines};
use super::put::{PAUSE, TRIES};
use super::runtime::{Begun, begin};
use super::{Published, Put, S3Volume, Volume as _, VolumeError};
use crate::volume::S3Problem;
use crate::volume::dir::hex;

/// A longer file goes up in parts of this size, or of larger ones if there were too many.
const PART: u64 = 16 << 20;
/// Parts of one object, at most; S3 takes 10,000.
const MOST_PARTS: u64 = 9_000;
/// Parts that are under way at once.
const AT_ONCE: usize = 4;
/// So often everything is sent anew.
const RESTARTS: u32 = 3;

/// Publishes at most `limit` bytes of `file` from where it stands.
pub(super) fn file(
    volume: &S3Volume,
    (path, key): (&str, &str),
    mut file: &File,
    limit: u64,
) -> Result<Published, VolumeError> {
    let io = |error| VolumeError::from_io(path, error);
    let start = file.stream_position().map_err(io)?;
    let size = file.metadata().map_err(io)?.len().saturating_sub(start).min(limit);
    let source = Source { file, start, size, part: PART.max(size.div_ceil(MOST_PARTS)) };
    if size <= PART {
        let bytes = source.read(0).map_err(io)?;
        let (size, sha256) = (bytes.len() as u64, hex(&Sha256::digest(&bytes)));
        return Ok(Published { put: volume.put_new(path, &bytes)?, size, sha256 });
    }
    let ours = source.hash().map_err(io)?;
    let there = {
        let (key, ours) = (key.to_owned(), ours.clone());
        // As after an answer that something is there: it may have been published before.
        volume.ask(|volume| async move { volume.settled(CREATE, &key, &Answer::Taken, &ours).await })?
    };
    let mut put = there;
    for _ in 0..RESTARTS {
        if put.is_none() {
            put = send(volume, (path, key), &source, &ours)?;
        }
    }
    let busy =
        || volume.bucket.failed(COMPLETE, S3Problem::Busy { code: "another write goes on".to_owned() });
    Ok(Published { put: put.ok_or_else(busy)?, size: ours.0, sha256: ours.1 })
}

const CREATE: &str = "CreateMultipartUpload";
const SEND: &str = "UploadPart";
const COMPLETE: &str = "CompleteMultipartUpload";

/// What is published of a file.
struct Source<'a> {
    file: &'a File,
    start: u64,
    size: u64,
    part: u64,
}

impl Source<'_> {
    /// The part that begins at `offset`; it is shorter where the file has shrunk.
    fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        let len = self.part.min(self.size - offset);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], self.start + offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.size.div_ceil(self.part)).map({
            let part = self.part;
            move |number| number * part
        })
    }

    /// Size and SHA-256.
    fn hash(&self) -> io::Result<(u64, String)> {
        let (mut size, mut hasher) = (0, Sha256::new());
        for offset in self.offsets() {
            let bytes = self.read(offset)?;
            hasher.update(&bytes);
            size += bytes.len() as u64;
        }
        Ok((size, hex(&hasher.finalize())))
    }
}

/// Sends all parts and makes an object of them; `None` if everything must be sent anew.
fn send(
    volume: &S3Volume,
    (path, key): (&str, &str),
    source: &Source<'_>,
    ours: &(u64, String),
) -> Result<Option<Put>, VolumeError> {
    let id = {
        let key = key.to_owned();
        volume.ask(|volume| async move { volume.create_upload(&key).await })?
    };
    let upload = Upload { volume: volume.clone(), key: key.to_owned(), id };
    let put = send_parts(&upload, path, source, ours).and_then(|parts| {
        let (upload, ours) = (upload.clone(), ours.clone());
        volume.ask(|_| async move { upload.complete(parts, &ours).await })
    });
    if !matches!(put, Ok(Some(Put::Written))) {
        let _: Result<(), VolumeError> = volume.ask(|_| async move {
            upload.give_up().await;
            Ok(())
        });
    }
    put
}

fn send_parts(
    upload: &Upload,
    path: &str,
    source: &Source<'_>,
    ours: &(u64, String),
) -> Result<Vec<CompletedPart>, VolumeError> {
    let lost = || broken_off(&upload.volume.url);
    let mut under_way: VecDeque<Begun<Result<CompletedPart, VolumeError>>> = VecDeque::new();
    let (mut parts, mut hasher) = (Vec::new(), Sha256::new());
    for (number, offset) in (1..).zip(source.offsets()) {
        if under_way.len() == AT_ONCE {
            parts.extend(under_way.pop_front().and_then(Begun::wait).ok_or_else(lost)?.map(Some)?);
        }
        let bytes = source.read(offset).map_err(|error| VolumeError::from_io(path, error))?;
        hasher.update(&bytes);
        let upload = upload.clone();
        under_way.push_back(begin(async move { upload.send(number, bytes).await }).ok_or_else(lost)?);
    }
    for begun in under_way {
        parts.push(begun.wait().ok_or_else(lost)??);
    }
    if hex(&hasher.finalize()) != ours.1 {
        let source = io::Error::other("it was changed while it was published");
        return Err(VolumeError::Io { path: path.to_owned(), source });
    }
    Ok(parts)
}

/// Parts that are to become an object.
#[derive(Debug, Clone)]
struct Upload {
    volume: S3Volume,
    key: String,
    id: String,
}

impl S3Volume {
    async fn create_upload(&self, key: &str) -> Result<String, VolumeError> {
        let create = self.bucket.client.create_multipart_upload().bucket(&self.bucket.bucket).key(key);
        let created = create.send().await;
        let created =
            created.map_err(|error| self.error(CREATE, key, Answer::of(&error, self.bucket.endpoint())))?;
        let nameless =
            || S3Problem::Other { code: "a bad answer".to_owned(), why: "no upload id".to_owned() };
        created.upload_id.ok_or_else(|| self.bucket.failed(CREATE, nameless()))
    }
}

impl Upload {
    async fn send(&self, number: i32, bytes: Vec<u8>) -> Result<CompletedPart, VolumeError> {
        let bucket = &self.volume.bucket;
        let part = bucket.client.upload_part().bucket(&bucket.bucket).key(&self.key).upload_id(&self.id);
        let part = part.part_number(number).body(ByteStream::from(bytes)).customize();
        let patient = aws_sdk_s3::config::Builder::new().timeout_config(deadlines(PART_ATTEMPT));
        let sent = part.config_override(patient).send().await;
        let sent =
            sent.map_err(|error| bucket.failed(SEND, Answer::of(&error, bucket.endpoint()).problem()))?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
    }

    /// Makes an object of the parts, where none is; `None` if everything must be sent anew.
    async fn complete(
        &self,
        parts: Vec<CompletedPart>,
        ours: &(u64, String),
    ) -> Result<Option<Put>, VolumeError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            let bucket = &self.volume.bucket;
            let complete = bucket.client.complete_multipart_upload().bucket(&bucket.bucket).key(&self.key);
            let complete = complete.upload_id(&self.id).multipart_upload(parts.clone()).if_none_match("*");
            let patient = aws_sdk_s3::config::Builder::new().timeout_config(deadlines(PART_ATTEMPT));
            let answer = match complete.customize().config_override(patient).send().await {
                Ok(_) => return Ok(Some(Put::Written)),
                Err(error) => Answer::of(&error, bucket.endpoint()),
            };
            let put = self.volume.settled(COMPLETE, &self.key, &answer, ours).await?;
            // The parts are gone after 404, 409 and 412, and nothing is there.
            if put.is_some() || !matches!(answer, Answer::Unknown(_)) {
                return Ok(put);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(None)
    }

    /// Parts that cannot be given up are removed by the bucket's own rules, if it has any.
    async fn give_up(&self) {
        let bucket = &self.volume.bucket;
        let abort = bucket.client.abort_multipart_upload().bucket(&bucket.bucket).key(&self.key);
        drop(abort.upload_id(&self.id).send().await);
    }
}
