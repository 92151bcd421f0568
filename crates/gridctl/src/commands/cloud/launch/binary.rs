//! The gridctl that runs on machines: which one, and whether it can run there.
//! Invariant: what would not start there is refused here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::input::reason;

/// The C library of Amazon Linux 2023.
const GLIBC: (u32, u32) = (2, 34);

/// A binary for machines.
pub(super) struct Binary {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: String,
}

/// Reads the binary that was named, or this one. `elsewhere`: machines are not AWS's own, and have what this one has.
pub(super) fn find(named: Option<&Path>, elsewhere: bool) -> Result<Binary, Failure> {
    let failed = |path: &Path, why: String| {
        Failure::error("launch::binary", format!("cannot read {}: {why}", path.display()))
    };
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().map_err(|error| failed(Path::new("gridctl"), error.to_string()))?,
    };
    let bytes = fs::read(&path).map_err(|error| failed(&path, reason(&error).to_string()))?;
    let refused = |why: String| {
        Failure::usage("launch::binary", format!("{}: {why}", path.display())).help(
            "name one with --binary or GRIDCTL_BINARY: `cargo portable --features ec2` builds it, which wants \
             `pip install ziglang cargo-zigbuild`",
        )
    };
    if !is_for_machines(&bytes) {
        return Err(refused("machines cannot run it: it is no program for Linux on x86_64".to_owned()));
    }
    let wants = glibc(&bytes);
    if wants > GLIBC && !elsewhere {
        let ((major, minor), (has_major, has_minor)) = (wants, GLIBC);
        return Err(refused(format!(
            "it wants glibc {major}.{minor}, and machines have {has_major}.{has_minor}"
        )));
    }
    let sha256 = gridctl_storage::volume::s3::content_name(&bytes);
    Ok(Binary { path, bytes, sha256 })
}

/// Whether it is an ELF file of 64 bits for x86_64.
fn is_for_machines(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF\x02\x01") && bytes.get(18..20) == Some(&[0x3e, 0])
}

/// The newest version of glibc that the binary names.
fn glibc(bytes: &[u8]) -> (u32, u32) {
    const NAME: &[u8] = b"GLIBC_";
    let versions = bytes.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    let read = |(at, _): (usize, &[u8])| {
        let rest = &bytes[at + NAME.len()..bytes.len().min(at + NAME.len() + 8)];
        let text: String =
            rest.iter().map(|byte| *byte as char).take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    versions.filter_map(read).max().unwrap_or((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_machines_can_start_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gridctl");
        let elf = |machine: u8, rest: &[u8]| {
            let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
            bytes.resize(18, 0);
            bytes.extend([machine, 0]);
            bytes.extend(rest);
            bytes
        };
        for (bytes, elsewhere, taken) in [
            (elf(0x3e, b"..GLIBC_2.28\0GLIBC_2.3.4\0GLIBC_PRIVATE\0"), false, true),
            (elf(0x3e, b"..GLIBC_2.28\0GLIBC_2.36\0"), false, false),
            (elf(0x3e, b"..GLIBC_2.28\0GLIBC_2.36\0"), true, true),
            (elf(0xb7, b""), true, false),
            (b"#!/bin/sh".to_vec(), true, false),
            (Vec::new(), true, false),
        ] {
            fs::write(&path, &bytes).unwrap();
            assert_eq!(find(Some(&path), elsewhere).is_ok(), taken, "{bytes:?}");
        }
        assert_eq!(glibc(b"GLIBC_2.9 GLIBC_2.17 GLIBC_2."), (2, 17));
    }
}
