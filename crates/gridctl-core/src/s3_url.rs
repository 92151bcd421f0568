//! Addresses in S3: `s3://bucket/some/prefix`.
//! Invariant: the bucket has a name that S3 gives, and the prefix is made of names between single
//! slashes, none of which leads elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How an address begins.
pub const SCHEME: &str = "s3://";
/// The longest key that S3 takes, in bytes.
pub const LONGEST_KEY: usize = 1_024;

/// A bucket and what lies beneath a prefix in it, without the slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct S3Url {
    bucket: String,
    prefix: String,
}

impl S3Url {
    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What all keys begin with, without the slash after it; empty for the whole bucket.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of `path` beneath the prefix.
    #[must_use]
    pub fn key(&self, path: &str) -> String {
        if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }

    /// The address without its last name, and that name; `None` for a whole bucket.
    #[must_use]
    pub fn split_last(&self) -> Option<(Self, String)> {
        let (above, last) = match self.prefix.rsplit_once('/') {
            Some((above, last)) => (above, last),
            None if self.prefix.is_empty() => return None,
            None => ("", self.prefix.as_str()),
        };
        Some((Self { bucket: self.bucket.clone(), prefix: above.to_owned() }, last.to_owned()))
    }
}

impl fmt::Display for S3Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// A text that is no address in S3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address in S3: {why}; addresses look like `s3://my-bucket/some/prefix/`")]
pub struct BadS3Url {
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for S3Url {
    type Err = BadS3Url;

    fn from_str(text: &str) -> Result<Self, BadS3Url> {
        let bad = |why| BadS3Url { text: text.chars().take(80).collect(), why };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| bad("it does not begin with `s3://`"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket(bucket) {
            return Err(bad("a bucket's name has 3 to 63 small letters, digits, dots and hyphens"));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        check_key(prefix).map_err(bad)?;
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl TryFrom<String> for S3Url {
    type Error = BadS3Url;

    fn try_from(text: String) -> Result<Self, BadS3Url> {
        text.parse()
    }
}

impl From<S3Url> for String {
    fn from(url: S3Url) -> Self {
        url.to_string()
    }
}

fn is_bucket(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| edge(c) || matches!(c, '.' | '-'))
        && name.starts_with(edge)
        && name.ends_with(edge)
        && !name.contains("..")
}

/// Whether a key, or what keys begin with, may stand for a relative path of the same names; empty
/// is no name at all.
///
/// # Errors
/// What is wrong with it.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Ok(());
    }
    if key.len() > LONGEST_KEY {
        return Err("it is longer than 1,024 bytes");
    }
    if key.contains(char::is_control) {
        return Err("it has a control character");
    }
    match key.split('/').find(|name| matches!(*name, "" | "." | "..")) {
        Some("") => Err("it has an empty name between two slashes"),
        Some(_) => Err("it has `.` or `..` for a name"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_without_the_slash_at_its_end() {
        for (text, bucket, prefix, shown) in [
            ("s3://my-bucket", "my-bucket", "", "s3://my-bucket"),
            ("s3://my-bucket/", "my-bucket", "", "s3://my-bucket"),
            ("s3://b.c1/sweeps/", "b.c1", "sweeps", "s3://b.c1/sweeps"),
            ("s3://abc/a/b c#?ü", "abc", "a/b c#?ü", "s3://abc/a/b c#?ü"),
        ] {
            let url: S3Url = text.parse().unwrap();
            assert_eq!((url.bucket(), url.prefix(), url.to_string().as_str()), (bucket, prefix, shown));
            let json = serde_json::to_string(&url).unwrap();
            assert_eq!(serde_json::from_str::<S3Url>(&json).unwrap(), url);
        }
    }

    #[test]
    fn a83_what_no_bucket_and_no_path_has_is_refused() {
        let long = format!("s3://abc/{}", "x".repeat(LONGEST_KEY + 1));
        for (text, why) in [
            ("/abc", "s3://"),
            ("s3://", "small letters"),
            ("s3://AB/x", "small letters"),
            ("s3://a..b/x", "small letters"),
            ("s3://user@abc/x", "small letters"),
            ("s3://abc/../x", "`..`"),
            ("s3://abc/x/./y", "`.`"),
            ("s3://abc//x", "empty name"),
            ("s3://abc/x//y", "empty name"),
            ("s3://abc/x\ny", "control character"),
            (&long, "1,024 bytes"),
        ] {
            let error = text.parse::<S3Url>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn keys_and_names_are_joined_and_split() {
        let url = |text: &str| text.parse::<S3Url>().unwrap();
        assert_eq!((url("s3://abc").key("a"), url("s3://abc/x/").key("a/b")), ("a".into(), "x/a/b".into()));
        assert_eq!(url("s3://abc/x/wine").split_last(), Some((url("s3://abc/x"), "wine".into())));
        assert_eq!(url("s3://abc/wine").split_last(), Some((url("s3://abc"), "wine".into())));
        assert_eq!(url("s3://abc").split_last(), None);
    }
}
