//! Images by name; and keys that this version checks and cannot serve yet: fleets, money, credentials, notices.
//! Invariant: what is kept of them has the shape that the service will need, so that a file that passes now passes then.

use super::diagnostic::{Checker, Diagnostic, shown};
use super::limits;
use super::settings::{duration, unit};
use super::units;
use super::yaml::{Kind, Tree};
use crate::s3_url::{BadS3Url, S3Url};
use crate::value::Value;

/// The keys that end up in [`super::SweepSpec::unserved`].
pub(super) const UNSERVED: &[&str] = &["workers", "budget", "deadline", "aws", "notify", "efs"];

/// Checks `key`; returns its value if it is sound.
pub(super) fn read(check: &mut Checker<'_>, key: &str, tree: &Tree) -> Option<Value> {
    let what = format!("`{key}`");
    let sound = match key {
        "deadline" => duration(check, &what, tree).is_some(),
        "budget" => {
            let text = check.scalar(&what, tree)?;
            unit(check, &what, tree, units::dollars(&text)).is_some()
        }
        "workers" => workers(check, tree).is_some(),
        "aws" => aws(check, tree).is_some(),
        "notify" => notify(check, tree).is_some(),
        _ => efs(check, tree).is_some(),
    };
    if sound { check.value(&what, tree) } else { None }
}

fn refuse(check: &mut Checker<'_>, what: &str, tree: &Tree, why: &str, help: &str) {
    let message = format!("{what} is {}: {why}", shown(check.raw(tree)));
    check.push(Diagnostic::error("sweep::value", message).at(&tree.span).help(help));
}

fn workers(check: &mut Checker<'_>, tree: &Tree) -> Option<()> {
    let fields = check.fields("`workers`", tree, &["count", "spot", "instance", "fallback", "disk"])?;
    if let Some(tree) = fields.get("count") {
        check.whole("`workers.count`", tree, 1..=i64::from(limits::WORKERS))?;
    }
    if let Some(tree) = fields.get("spot") {
        check.boolean("`workers.spot`", tree)?;
    }
    if let Some(tree) = fields.get("instance") {
        let items = match &tree.kind {
            Kind::Str(_) => std::slice::from_ref(tree),
            _ => check.some_items("`workers.instance`", tree, limits::LIST)?,
        };
        for item in items {
            let text = check.text("`workers.instance`", item)?;
            let good = |part: &str| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            };
            if !text.split_once('.').is_some_and(|(family, size)| good(family) && good(size)) {
                refuse(
                    check,
                    "`workers.instance`",
                    item,
                    "it is no instance type",
                    "instance types look like `c6i.xlarge`",
                );
                return None;
            }
        }
    }
    if let Some(tree) = fields.get("fallback") {
        check.word("`workers.fallback`", tree, &["on-demand", "none"])?;
    }
    if let Some(tree) = fields.get("disk") {
        let text = check.scalar("`workers.disk`", tree)?;
        unit(check, "`workers.disk`", tree, units::mebibytes(&text))?;
    }
    Some(())
}

fn aws(check: &mut Checker<'_>, tree: &Tree) -> Option<()> {
    let fields = check.fields("`aws`", tree, &["read", "write"])?;
    for key in ["read", "write"] {
        let Some(tree) = fields.get(key) else { continue };
        let what = format!("`aws.{key}`");
        for item in check.items(&what, tree, limits::LIST)? {
            let text = check.text(&what, item)?;
            if !s3(check, &what, text, item) {
                return None;
            }
        }
    }
    Some(())
}

/// Whether `address` is `s3://bucket/prefix`; else the error.
pub(super) fn s3(check: &mut Checker<'_>, what: &str, address: &str, tree: &Tree) -> bool {
    let problem = match address.parse::<S3Url>() {
        Ok(_) => return true,
        Err(BadS3Url { why, .. }) => why,
    };
    refuse(check, what, tree, problem, "addresses look like `s3://my-bucket/some/prefix/`");
    false
}

fn notify(check: &mut Checker<'_>, tree: &Tree) -> Option<()> {
    let text = check.text("`notify`", tree)?;
    let authority =
        text.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
    let help = "addresses look like `https://hooks.example/x`";
    let problem = match authority {
        None => "it does not begin with https://",
        Some(authority) if authority.contains('@') => "it holds a name or password",
        Some(authority) if !host(authority) => "its host is none",
        Some(_) if text.contains(|c: char| c.is_whitespace() || c.is_control()) => "it holds a space",
        Some(_) => return Some(()),
    };
    refuse(check, "`notify`", tree, problem, help);
    None
}

/// `host` or `host:port`, not one that hands out a machine's credentials.
fn host(authority: &str) -> bool {
    let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    host.split('.').all(label) && port.parse::<u16>().is_ok_and(|port| port > 0) && !metadata(host)
}

fn metadata(host: &str) -> bool {
    host.starts_with("169.254.")
        || host.eq_ignore_ascii_case("metadata.google.internal")
        || host == "instance-data"
}

fn efs(check: &mut Checker<'_>, tree: &Tree) -> Option<()> {
    let text = check.text("`efs`", tree)?;
    let (id, path) = text.split_once(':').unwrap_or((text, "/"));
    let hex = id.strip_prefix("fs-").unwrap_or("");
    if hex.len() < 8
        || !hex.bytes().all(|b| b.is_ascii_hexdigit())
        || !path.starts_with('/')
        || path.contains("..")
    {
        refuse(
            check,
            "`efs`",
            tree,
            "it is no file system",
            "file systems look like `fs-0123456789abcdef0` or `fs-0123456789abcdef0:/path`",
        );
        return None;
    }
    Some(())
}

/// `image`: a reference such as `ghcr.io/me/env:1.4`.
pub(super) fn image(check: &mut Checker<'_>, tree: &Tree) -> Option<String> {
    let text = check.text("`image`", tree)?;
    if let Err(problem) = reference(text) {
        refuse(
            check,
            "`image`",
            tree,
            problem,
            "images look like `python:3.13-slim`, `ghcr.io/me/env:1.4` or `me/env@sha256:...` (64 hex digits)",
        );
        return None;
    }
    Some(text.to_owned())
}

/// Whether this is what stands after `sha256:`.
pub(super) fn is_digest(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks the grammar of an image's name, as registries have it.
pub(super) fn reference(text: &str) -> Result<(), &'static str> {
    if text.starts_with('-') {
        return Err("it begins with `-`, as options do");
    }
    if text.len() > 512 {
        return Err("it is too long");
    }
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    if digest.is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(is_digest)) {
        return Err("its digest is not `sha256:` and 64 hex digits");
    }
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].rfind(':') {
        Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = (1..=128).contains(&tag.len())
            && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
            && tag.bytes().next().is_some_and(word);
        if !good {
            return Err("its tag is none");
        }
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    let registry = parts[0].contains(['.', ':']) || parts[0] == "localhost";
    if parts.len() > 1 && registry {
        if !host(parts[0]) {
            return Err("its registry is no host that images come from");
        }
        parts.remove(0);
    }
    let component = |part: &&str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(edge)
            && part.ends_with(edge)
            && part.chars().all(|c| edge(c) || matches!(c, '.' | '_' | '-'))
    };
    if parts.iter().all(component) {
        Ok(())
    } else {
        Err("its name is none (lower case, digits, `.`, `_`, `-`)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s29_an_image_is_a_reference_and_nothing_else() {
        let sha = format!("me/env@sha256:{}", "a".repeat(64));
        for good in ["python:3.13-slim", "ghcr.io/me/env:1.4", "localhost:5000/a/b", "busybox", &sha] {
            assert_eq!(reference(good), Ok(()), "{good}");
        }
        let bad = [
            "--privileged",
            "-v /:/host",
            "a b",
            "a@sha256:short",
            "169.254.169.254/a",
            "[fd00:ec2::254]/a",
            "A/B",
            "a:",
            "a//b",
            "https://ghcr.io/a",
            "a:b:c",
            "a\u{202e}",
            "a/../b",
            "ghcr.io:0/a",
            "",
        ];
        for bad in bad {
            assert!(reference(bad).is_err(), "{bad}");
        }
    }
}
