//! `master.json`: how to reach the master of a data directory, for this user alone.
//! Invariant: written and removed as a whole; a file that others may read is not trusted, for it holds the token.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gridctl_core::id::Epoch;
use gridctl_storage::private::{self, PrivateFileError};
use serde::{Deserialize, Serialize};

/// The file's name in the data directory.
pub const ADVERT_FILE: &str = "master.json";
/// More than this is not ours.
const LONGEST: u64 = 16 << 10;

/// How to reach a master.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Its process.
    pub pid: u32,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Its loopback address without TLS, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<SocketAddr>,
    /// Where other machines reach it, with TLS, if they can: `gridctl://HOST:PORT?pin=PIN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What callers by the loopback address show: `authorization: Bearer <token>`.
    pub token: String,
    /// The version of gridctl.
    pub release: String,
    /// When it started, by the wall clock.
    pub started_unix_ms: u64,
}

impl std::fmt::Debug for Advert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, epoch, socket, tcp, .. } = self;
        f.debug_struct("Advert")
            .field("pid", pid)
            .field("epoch", epoch)
            .field("socket", socket)
            .field("tcp", tcp)
            .finish_non_exhaustive()
    }
}

/// Why an advertisement is not used.
#[derive(Debug, thiserror::Error)]
pub enum AdvertError {
    /// It is not there for its owner alone, or cannot be read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It is not what a master writes.
    #[error("{} is not understood: {problem}", path.display())]
    Strange {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

impl Advert {
    /// Where the Unix socket is, as an address for gRPC.
    #[must_use]
    pub fn socket_address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// The advertisement in `dir`; `None` if there is none. The master may be gone without having removed it.
    ///
    /// # Errors
    /// [`AdvertError`].
    pub fn read(dir: &Path) -> Result<Option<Self>, AdvertError> {
        let path = dir.join(ADVERT_FILE);
        let Some(text) = private::read_own(&path)? else { return Ok(None) };
        let strange = |problem: String| AdvertError::Strange { path: path.clone(), problem };
        serde_json::from_str(&text).map(Some).map_err(|error| strange(error.to_string()))
    }

    /// Writes it, for its owner alone, in place of an older one. What no master wrote is not
    /// replaced.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(ADVERT_FILE);
        if !may_replace(&path)? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "what is there is not gridctl's: move it away, or name another data directory",
            ));
        }
        private::write(&path, &serde_json::to_string(self)?)
    }

    /// Whether it is the one in `dir`: another master's may be there, if the directory was
    /// replaced.
    pub(crate) fn is_in(&self, dir: &Path) -> bool {
        Self::read(dir).is_ok_and(|there| there.as_ref() == Some(self))
    }

    /// Removes it at a clean end.
    pub(crate) fn remove(dir: &Path) {
        if let Err(error) = remove(&dir.join(ADVERT_FILE)) {
            tracing::warn!(%error, "{ADVERT_FILE} stays behind");
        }
    }
}

/// Whether nothing is at `path`, or what a master of any release writes.
fn may_replace(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(meta) if !meta.is_file() || meta.len() > LONGEST => return Ok(false),
        Ok(_) => {}
    }
    let advert: serde_json::Value = serde_json::from_slice(&fs::read(path)?).unwrap_or_default();
    Ok(["epoch", "socket", "token"].iter().all(|key| !advert[*key].is_null()))
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// 256 random bits, in hexadecimal.
///
/// # Errors
/// The system has no randomness to give.
pub(crate) fn token() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn advert() -> Advert {
        Advert {
            pid: 1,
            epoch: Epoch(2),
            socket: "/tmp/master.sock".into(),
            tcp: None,
            url: None,
            token: token().unwrap(),
            release: "0.1.0".to_owned(),
            started_unix_ms: 3,
        }
    }

    #[test]
    fn reads_back_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Advert::read(dir.path()).unwrap(), None);
        let advert = advert();
        advert.write(dir.path()).unwrap();
        advert.write(dir.path()).unwrap();
        assert_eq!(Advert::read(dir.path()).unwrap().as_ref(), Some(&advert));
        assert_eq!(advert.token.len(), 64);
        Advert::remove(dir.path());
        assert_eq!(Advert::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn what_no_master_wrote_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ADVERT_FILE);
        for (text, replaced) in [
            ("{\"chess\": \"Kasparov\"}", false),
            ("", false),
            ("[1]", false),
            ("{\"epoch\": 1, \"socket\": \"/s\", \"token\": \"t\", \"new\": 1}", true),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(advert().write(dir.path()).is_ok(), replaced, "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap() == text, !replaced, "{text}");
        }
    }

    #[test]
    fn c08_what_others_may_read_or_what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        advert().write(dir.path()).unwrap();
        let path = dir.path().join(ADVERT_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Advert::read(dir.path()), Err(AdvertError::File(PrivateFileError::Exposed { .. }))));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(Advert::read(dir.path()), Err(AdvertError::File(PrivateFileError::Io { .. }))));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(Advert::read(dir.path()), Err(AdvertError::File(PrivateFileError::Strange { .. }))));
    }

    #[test]
    fn c07_the_token_is_not_shown_by_debug() {
        let advert = advert();
        assert!(!format!("{advert:?}").contains(&advert.token));
    }
}
