//! What everything that is made bears: tags, tokens, and how often a call is tried that makes something.
//! Invariant: a token covers all that a call says, so that it is never repeated for another.

use aws_config::retry::RetryConfig;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use data_encoding::{BASE64, BASE64_MIME_PERMISSIVE};
pub(super) use gridctl_core::cloud::token;
use gridctl_core::cloud::{TAG_EXPIRES, TAG_LAUNCH, TAG_OWNER, TAG_ROLE, TAG_SWEEP};
use gridctl_core::fleet::launch::LaunchSpec;

pub(super) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Until when what is made now may live.
pub(super) fn expires(spec: &LaunchSpec) -> String {
    (crate::clock::wall_s().saturating_add(spec.expires_after_s)).to_string()
}

/// The tags of a thing of the sweep.
pub(super) fn tags(
    spec: &LaunchSpec,
    role: &str,
    kind: ResourceType,
    launch: Option<&str>,
) -> TagSpecification {
    let own = [
        ("Name", format!("gridctl {} {role}", spec.sweep)),
        (TAG_SWEEP, spec.sweep.clone()),
        (TAG_ROLE, role.to_owned()),
        (TAG_OWNER, spec.owner.clone()),
        (TAG_EXPIRES, expires(spec)),
    ];
    let further = spec.tags.iter().filter(|(key, _)| own.iter().all(|(own, _)| own != key));
    let mut tags: Vec<Tag> = further.map(|(key, value)| tag(key, value)).collect();
    tags.extend(own.iter().map(|(key, value)| tag(key, value)));
    tags.extend(launch.map(|launch| tag(TAG_LAUNCH, launch)));
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build()
}

/// A call that makes something is sent once: what its answer would have said is looked for before it is sent again.
pub(super) fn once() -> aws_sdk_ec2::config::Builder {
    aws_sdk_ec2::Config::builder().retry_config(RetryConfig::standard().with_max_attempts(1))
}

/// User data as AWS wants it.
pub(super) fn encoded(text: &str) -> String {
    BASE64.encode(text.as_bytes())
}

/// What AWS has encoded.
pub(super) fn decoded(text: &str) -> Option<String> {
    let bytes = BASE64_MIME_PERMISSIVE.decode(text.as_bytes()).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
