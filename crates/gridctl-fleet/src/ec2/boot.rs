//! What a machine is told at its start: how it comes to its gridctl, and when it ends by itself.
//! Invariant: it names the bucket, the sweep and the binary's hash alone; whoever reads it learns no secret.

use gridctl_core::fleet::launch::USER_DATA_BYTES;

const SCRIPT: &str = include_str!("../../../../deploy/user-data.sh");

/// What a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootRole {
    /// It holds the master.
    Master,
    /// It runs trials.
    Worker,
}

/// Where a machine finds its gridctl, and what that is for.
#[derive(Debug, Clone)]
pub struct Boot<'a> {
    /// What the machine is for.
    pub role: BootRole,
    /// The account's own bucket.
    pub bucket: &'a str,
    /// Its region.
    pub region: &'a str,
    /// The sweep's name.
    pub sweep: &'a str,
    /// The binary's SHA-256, in hexadecimal.
    pub sha256: &'a str,
}

impl Boot<'_> {
    /// The user data of the machine.
    #[must_use]
    pub fn user_data(&self) -> String {
        let role = match self.role {
            BootRole::Master => "master",
            BootRole::Worker => "worker",
        };
        let values = [
            ("${role}", role),
            ("${bucket}", self.bucket),
            ("${sweep}", self.sweep),
            ("${region}", self.region),
            ("${sha256}", self.sha256),
        ];
        let (head, rest) = SCRIPT.split_once("units=").unwrap_or((SCRIPT, ""));
        let head = values.iter().fold(head.to_owned(), |text, (name, value)| text.replace(name, value));
        let script = format!("{head}units={rest}");
        debug_assert!(script.len() <= USER_DATA_BYTES);
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_short_and_every_gap_is_filled() {
        let (bucket, region, sweep) = ("gridctl-1-us-east-1", "us-east-1", "wine");
        let boot = Boot { role: BootRole::Worker, bucket, region, sweep, sha256: "abc" };
        let script = boot.user_data();
        let line =
            "role='worker' bucket='gridctl-1-us-east-1' sweep='wine' region='us-east-1' sha256='abc'\n";
        assert!(script.starts_with("#!/bin/bash\n") && script.contains(line), "{script}");
        assert!(script.len() < USER_DATA_BYTES / 2);
        assert!(script.contains("$endpoint/$bucket/control/binary/$sha256"));
    }
}
