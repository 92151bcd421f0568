//! The mark of a data directory, which trainers carry in their environment so that the next start can end what was left behind.
//! Invariant: two directories have two marks, and one directory the same for ever.

use std::path::Path;

/// The mark of `dir`.
pub(crate) fn of(dir: &Path) -> String {
    let path = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex().as_str()[..16].to_owned()
}
