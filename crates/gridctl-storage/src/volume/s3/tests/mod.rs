//! The volume in S3 against a real store, with a proxy before it that cuts connections and answers
//! for the store.

mod moto;
pub(crate) mod proxy;

use std::io::{Seek as _, Write as _};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};

use self::moto::Moto;
use self::proxy::{Fault, Proxy};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::volume::S3Problem;
use crate::volume::dir::hex;

const BUCKET: &str = "results-bucket";

/// A store, a proxy before it, and a volume that goes through it.
pub(crate) struct Lab {
    pub(crate) proxy: Proxy,
    volume: S3Volume,
    moto: Moto,
}

impl Lab {
    pub(crate) fn new() -> Option<Self> {
        let Some(moto) = Moto::start() else {
            crate::skipped("there is no moto_server: pip install 'moto[server]'");
            return None;
        };
        moto.bucket(BUCKET);
        let proxy = Proxy::before(moto.address);
        let volume = connect(&proxy, &url("sweeps")).unwrap();
        proxy.take_seen();
        Some(Self { proxy, volume, moto })
    }

    /// What a volume at `prefix` of the same bucket would say of itself.
    pub(crate) fn at(&self, prefix: &str) -> S3Volume {
        S3Volume { url: url(prefix), bucket: self.volume.bucket.clone() }
    }

    /// Puts an object, whatever its key and whatever was there.
    pub(crate) fn put_raw(&self, key: &str, bytes: &[u8]) {
        let (key, bytes) = (key.to_owned(), bytes.to_vec());
        let put = self.volume.ask(|volume| async move {
            let put = volume.bucket.client.put_object().bucket(BUCKET).key(key).body(bytes.into());
            put.send().await.unwrap();
            Ok(())
        });
        put.unwrap();
    }

    /// How often this was asked of the store since the last call.
    fn asked(&self, what: &str) -> usize {
        self.proxy.take_seen().iter().filter(|seen| seen.starts_with(what)).count()
    }
}

fn url(prefix: &str) -> S3Url {
    format!("s3://{BUCKET}/{prefix}").parse().unwrap()
}

/// Settings for the store behind the proxy, with short deadlines.
fn settings(proxy: &Proxy) -> SdkConfig {
    let credentials = Credentials::new("key", "secret", None, None, "test");
    let timeout = client::deadlines(Duration::from_secs(5));
    let settings = client::settings()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{}", proxy.address))
        .timeout_config(timeout)
        .retry_config(
            RetryConfig::standard().with_max_attempts(4).with_initial_backoff(Duration::from_millis(20)),
        );
    runtime::begin(settings.load()).unwrap().wait().unwrap()
}

fn connect(proxy: &Proxy, url: &S3Url) -> Result<S3Volume, VolumeError> {
    let (config, bucket, prefix) = (settings(proxy), url.bucket().to_owned(), url.key(""));
    let bucket = runtime::begin(async move { BucketClient::connect(&config, &bucket, &prefix).await });
    Ok(S3Volume { url: url.clone(), bucket: bucket.unwrap().wait().unwrap()? })
}

fn problem(error: VolumeError) -> S3Problem {
    match error {
        VolumeError::S3 { bucket, problem, .. } => {
            assert_eq!(bucket, BUCKET);
            problem
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_path_holds_what_was_published_first() {
    let Some(lab) = Lab::new() else { return };
    let volume = &lab.volume;
    assert_eq!(volume.put_new("wine/epochs/1", b"me").unwrap(), Put::Written);
    assert_eq!(volume.put_new("wine/epochs/1", b"me").unwrap(), Put::Same);
    for other in [&b"us"[..], b"longer", b""] {
        let error = volume.put_new("wine/epochs/1", other).unwrap_err();
        assert!(matches!(error, VolumeError::Conflict { .. }), "{error}");
    }
    for (range, text) in [(0..u64::MAX, &b"me"[..]), (1..2, b"e"), (7..9, b""), (1..1, b"")] {
        assert_eq!(volume.get("wine/epochs/1", range).unwrap(), text);
    }
    volume.put_new("wine/empty", b"").unwrap();
    assert_eq!(volume.get("wine/empty", 0..u64::MAX).unwrap(), b"");
    for range in [0..9, 3..3] {
        assert!(matches!(volume.get("wine/epochs/2", range), Err(VolumeError::NotFound { .. })));
    }
    assert!(matches!(volume.put_new("../x", b""), Err(VolumeError::BadPath { .. })));
}

#[test]
fn of_writers_at_once_one_is_first() {
    let Some(lab) = Lab::new() else { return };
    for round in 0..5 {
        let path = format!("wine/race/{round}");
        let written = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|n| {
                    let (volume, path) = (lab.volume.clone(), path.clone());
                    scope.spawn(move || volume.put_new(&path, format!("writer {n}").as_bytes()))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        let won = written.iter().filter(|put| matches!(put, Ok(Put::Written))).count();
        let lost = written.iter().filter(|put| matches!(put, Err(VolumeError::Conflict { .. }))).count();
        assert_eq!((won, lost), (1, 7), "{written:?}");
    }
}

#[test]
fn a81_whatever_befalls_a_write_it_is_done_once() {
    let Some(lab) = Lab::new() else { return };
    let faults = [
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::CutAnswer,
        Fault::Hang,
        Fault::Status(500, "InternalError"),
        Fault::Status(503, "SlowDown"),
        Fault::Status(409, "ConditionalRequestConflict"),
        Fault::Status(412, "PreconditionFailed"),
        Fault::StatusAfter(500, "InternalError"),
        Fault::StatusAfter(503, "SlowDown"),
        Fault::StatusAfter(409, "ConditionalRequestConflict"),
        Fault::StatusAfter(412, "PreconditionFailed"),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        // Once more than the SDK tries by itself, where that is quick.
        for times in if fault == Fault::Hang { [1, 1] } else { [1, 5] } {
            let path = format!("wine/a/{n}-{times}");
            lab.proxy.order(("PUT", "/wine/a/"), fault.clone(), times);
            let put = lab.volume.put_new(&path, b"mine").unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_eq!(lab.volume.get(&path, 0..9).unwrap(), b"mine", "{fault:?} gave {put:?}");
            let error = lab.volume.put_new(&path, b"else").unwrap_err();
            assert!(matches!(error, VolumeError::Conflict { .. }), "{fault:?}: {error}");
            while lab.proxy.left() > 0 {
                // What was left of it would befall the next one.
                lab.volume.put_new(&format!("{path}-{}", lab.proxy.left()), b"").unwrap();
            }
        }
    }
}

#[test]
fn a_write_that_another_one_beat_is_never_taken_for_done() {
    let Some(lab) = Lab::new() else { return };
    for (n, fault) in
        [Fault::CutBefore, Fault::Status(409, "ConditionalRequestConflict")].into_iter().enumerate()
    {
        let path = format!("wine/b/{n}");
        lab.volume.put_new(&path, b"theirs").unwrap();
        lab.proxy.order(("PUT", "/wine/b/"), fault.clone(), 1);
        let error = lab.volume.put_new(&path, b"mine").unwrap_err();
        assert!(matches!(error, VolumeError::Conflict { .. }), "{fault:?}: {error}");
        assert_eq!(lab.volume.get(&path, 0..9).unwrap(), b"theirs");
    }
}

#[test]
fn a_store_that_stays_silent_is_given_up() {
    let Some(lab) = Lab::new() else { return };
    lab.proxy.order(("PUT", "/wine/"), Fault::Status(503, "SlowDown"), 1_000);
    let error = lab.volume.put_new("wine/a", b"1").unwrap_err();
    assert!(error.is_retryable() && !error.is_final(), "{error}");
    assert!(matches!(problem(error), S3Problem::Busy { code } if code == "SlowDown"));
    lab.proxy.order(("GET", "/wine/"), Fault::CutBefore, 1_000);
    let error = lab.volume.get("wine/a", 0..9).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(matches!(problem(error), S3Problem::Unreachable { .. }));
}

#[test]
fn an_answer_that_ends_early_is_asked_for_again() {
    let Some(lab) = Lab::new() else { return };
    lab.volume.put_new("wine/a", b"0123456789").unwrap();
    lab.proxy.order(("GET", "/wine/a"), Fault::CutAnswer, 2);
    assert_eq!(lab.volume.get("wine/a", 2..8).unwrap(), b"234567");
    assert_eq!(lab.proxy.left(), 0);
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let Some(lab) = Lab::new() else { return };
    type IsIt = fn(&S3Problem) -> bool;
    let cases: [(u16, &str, IsIt, &str); 8] = [
        (403, "AccessDenied", |it| matches!(it, S3Problem::AccessDenied { .. }), "s3:PutObject"),
        (400, "ExpiredToken", |it| matches!(it, S3Problem::Expired { .. }), "sso login"),
        (403, "InvalidAccessKeyId", |it| matches!(it, S3Problem::Rejected { .. }), "get-caller-identity"),
        (403, "SignatureDoesNotMatch", |it| matches!(it, S3Problem::Rejected { .. }), "AWS_ENDPOINT_URL"),
        (403, "RequestTimeTooSkewed", |it| matches!(it, S3Problem::ClockSkew), "clock"),
        (404, "NoSuchBucket", |it| *it == S3Problem::NoSuchBucket, "aws s3 mb"),
        (301, "PermanentRedirect", |it| matches!(it, S3Problem::WrongRegion { .. }), "AWS_REGION"),
        (400, "MalformedXML", |it| matches!(it, S3Problem::Other { .. }), ""),
    ];
    for (status, code, is_it, help) in cases {
        lab.proxy.order(("PUT", "/wine/"), Fault::Status(status, code), 1);
        let error = lab.volume.put_new("wine/a", b"1").unwrap_err();
        let said = error.to_string();
        assert!(said.contains("s3://results-bucket: PutObject failed"), "{said}");
        assert!(error.help().unwrap_or_default().contains(help), "{code}: {:?}", error.help());
        assert!(!error.is_retryable() && !error.is_final(), "{code}");
        let problem = problem(error);
        assert!(is_it(&problem), "{code}: {problem:?}");
        assert_eq!(lab.proxy.left(), 0, "{code}");
    }
    let missing: S3Url = "s3://no-such-bucket/x".parse().unwrap();
    let error = connect(&lab.proxy, &missing).unwrap_err().to_string();
    assert!(error.contains("s3://no-such-bucket") && error.contains("no such bucket"), "{error}");
    drop(lab.moto);
    let error = connect(&lab.proxy, &url("")).unwrap_err();
    assert!(
        matches!(problem(error), S3Problem::Unreachable { endpoint, .. } if endpoint.contains("http://127"))
    );
}

#[test]
fn a_bucket_in_another_region_is_found_there() {
    let Some(lab) = Lab::new() else { return };
    lab.proxy.order(("GET", "list-type=2"), Fault::Header(301, "x-amz-bucket-region", "eu-west-1"), 1);
    let volume = connect(&lab.proxy, &url("")).unwrap();
    assert_eq!(volume.bucket.client.config().region().unwrap().as_ref(), "eu-west-1");
}

#[test]
fn a82_a_store_that_overwrites_is_refused_for_results() {
    let Some(lab) = Lab::new() else { return };
    let probe = |prefix: &str| lab.at(prefix).ask(|volume| async move { volume.probe().await });
    probe("good").unwrap();
    probe("good").unwrap();
    assert_eq!(lab.asked("PUT"), 3, "once it is known to be there, one look is enough");
    lab.proxy.order(("PUT", "/old/"), Fault::NoConditions, 2);
    assert_eq!(problem(probe("old").unwrap_err()), S3Problem::NoConditionalWrites);
    lab.proxy.order(("PUT", "/older/"), Fault::Status(501, "NotImplemented"), 1);
    assert_eq!(problem(probe("older").unwrap_err()), S3Problem::NoConditionalWrites);
    // A lost answer is no overwriting.
    lab.proxy.order(("PUT", "/shaky/"), Fault::CutAfter, 1);
    probe("shaky").unwrap();
    assert_eq!(lab.at("good").list("").unwrap(), [], "it is not listed");
}

#[test]
fn a83_keys_are_encoded_and_too_long_ones_refused() {
    let Some(lab) = Lab::new() else { return };
    let volume = lab.at("odd pre?fix#/ü/+&=");
    volume.put_new("wine/a%20b/+,=@%", b"1").unwrap();
    assert_eq!(volume.get("wine/a%20b/+,=@%", 0..9).unwrap(), b"1");
    assert_eq!(volume.list("wine/a%20b").unwrap()[0].name, "+,=@%");
    volume.delete("wine/a%20b/+,=@%").unwrap();
    assert_eq!(volume.list("wine").unwrap(), []);
    let long =
        ["x".repeat(200), "y".repeat(200), "z".repeat(200), "w".repeat(200), "v".repeat(219)].join("/");
    assert!(matches!(volume.put_new(&long, b""), Err(VolumeError::BadPath { .. })));
}

#[test]
fn a84_listings_are_paged_and_leave_out_what_is_not_ours() {
    let Some(lab) = Lab::new() else { return };
    for path in ["s/b/1", "s/a", "s/c/d/e"] {
        lab.volume.put_new(path, b"12").unwrap();
    }
    // As others name things; no volume takes such paths.
    for key in ["sweeps/s/.hidden", "sweeps/s/white space", "sweeps/s/", "sweeps/s//x", "sweeps/s/ü"] {
        lab.put_raw(key, b"1");
    }
    let listed = |volume: &S3Volume, path| -> Vec<_> {
        volume.list(path).unwrap().into_iter().map(|it| (it.name, it.size, it.is_dir)).collect()
    };
    let entry = |name: &str, size, is_dir| (name.to_owned(), size, is_dir);
    let volume = &lab.volume;
    assert_eq!(listed(volume, "s"), [entry("a", 2, false), entry("b", 0, true), entry("c", 0, true)]);
    assert_eq!(
        (listed(volume, ""), listed(&lab.at(""), "")),
        (vec![entry("s", 0, true)], vec![entry("sweeps", 0, true)],)
    );
    volume.delete("s/c/d/e").unwrap();
    volume.delete("s/c/d/e").unwrap();
    assert_eq!(listed(volume, "s"), [entry("a", 2, false), entry("b", 0, true)]);
    assert_eq!(listed(volume, "nothing/here"), []);
    // A page holds a thousand.
    for n in 0..1_005 {
        volume.put_new(&format!("many/{n}"), b"").unwrap();
    }
    assert_eq!(volume.list("many").unwrap().len(), 1_005);
}

/// A file that goes up in three parts.
fn long_file(first: u8) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    let bytes: Vec<u8> = (0..40_u32 << 20).map(|n| (n >> 3).to_le_bytes()[0] ^ first).collect();
    file.write_all(&bytes).unwrap();
    file.seek(std::io::SeekFrom::Start(2)).unwrap();
    file
}

#[test]
fn a_long_file_goes_up_in_parts_once_whatever_befalls_them() {
    let Some(lab) = Lab::new() else { return };
    let file = long_file(0);
    let size = (40 << 20) - 7;
    for (n, ((method, part), fault)) in [
        (("PUT", "partNumber=2"), Fault::CutBefore),
        (("PUT", "partNumber=3"), Fault::StatusAfter(500, "InternalError")),
        (("POST", "uploadId="), Fault::CutBefore),
        (("POST", "uploadId="), Fault::CutAfter),
        (("POST", "uploadId="), Fault::StatusAfter(412, "PreconditionFailed")),
        (("POST", "uploadId="), Fault::Status(409, "ConditionalRequestConflict")),
        (("POST", "uploadId="), Fault::Status(404, "NoSuchUpload")),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("wine/long/{n}");
        lab.proxy.order((method, part), fault.clone(), 1);
        let published =
            lab.volume.put_file(&path, &file, size).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!((published.size, lab.proxy.left()), (size, 0), "{fault:?}");
        let there = lab.volume.get(&path, 0..u64::MAX).unwrap();
        assert_eq!((there.len() as u64, hex(&Sha256::digest(&there))), (size, published.sha256), "{fault:?}");
    }
    lab.proxy.take_seen();
    assert_eq!(lab.volume.put_file("wine/long/0", &file, size).unwrap().put, Put::Same);
    assert_eq!(lab.asked("POST"), 0, "what is there is not sent again");
    let error = lab.volume.put_file("wine/long/0", &long_file(1), size).unwrap_err();
    assert!(matches!(error, VolumeError::Conflict { .. }), "{error}");
}

#[test]
fn parts_of_a_file_that_cannot_be_sent_are_given_up() {
    let Some(lab) = Lab::new() else { return };
    lab.proxy.order(("PUT", "partNumber=2"), Fault::Status(403, "AccessDenied"), 1);
    let error = lab.volume.put_file("wine/long", &long_file(0), u64::MAX).unwrap_err();
    assert!(matches!(problem(error), S3Problem::AccessDenied { .. }));
    assert_eq!(lab.asked("DELETE"), 1, "nobody pays for parts that become nothing");
    assert!(matches!(lab.volume.get("wine/long", 0..1), Err(VolumeError::NotFound { .. })));
}
