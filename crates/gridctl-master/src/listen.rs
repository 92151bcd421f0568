//! Where a master listens: the data directory's Unix socket, and an address where one is wanted.
//! Invariant: the socket is for this user alone, whatever the umask and however long the
//! directory's path. Only a socket is ever removed to make room for it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gridctl_storage::owned::{self, OwnedDir};
use tokio::net::{TcpListener, UnixListener};

use crate::advert;
use crate::error::MasterError;

/// Longer paths are not taken for sockets.
const LONGEST_SOCKET: usize = 100;

/// A directory of its own for a socket is called so, and then by [`SUFFIX`] hexadecimal digits.
const PREFIX: &str = "gridctl-";
const SUFFIX: usize = 12;

/// Listens on the address.
pub(crate) async fn tcp(address: SocketAddr) -> Result<TcpListener, MasterError> {
    let failed = |source| MasterError::Listen { place: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// Where others reach what listens at `address`: there, or by this machine's name if it is every address.
pub(crate) fn place(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let name = rustix::system::uname();
        return format!("{}:{}", name.nodename().to_string_lossy(), address.port());
    }
    address.to_string()
}

/// Listens on the data directory's socket, for this user alone.
pub(crate) fn unix(data_dir: &Path) -> Result<(UnixListener, PathBuf, Option<OwnedDir>), MasterError> {
    let mut socket = data_dir.join("master.sock");
    let mut own_dir = None;
    if socket.as_os_str().len() > LONGEST_SOCKET {
        let dir =
            short_dir().map_err(|source| MasterError::Listen { place: "a short path".to_owned(), source })?;
        socket = dir.path().join("master.sock");
        own_dir = Some(dir);
    }
    let bind = || -> io::Result<UnixListener> {
        remove_socket(&socket)?;
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener =
        bind().map_err(|source| MasterError::Listen { place: socket.display().to_string(), source })?;
    Ok((listener, socket, own_dir))
}

/// Removes the socket that a killed master left: the journal's lock says that there is no other
/// master.
fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.file_type().is_socket() => advert::remove(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "what is there is no socket, and so not gridctl's: move it away",
        )),
    }
}

/// A new directory with a short path that nobody else may enter. Those that killed masters left are
/// removed.
fn short_dir() -> io::Result<OwnedDir> {
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir() && dir.as_os_str().len() < 50)
        .unwrap_or_else(|| PathBuf::from("/tmp"));
    owned::remove_abandoned(&base, |name| {
        let rest = name.strip_prefix(PREFIX);
        rest.is_some_and(|rest| rest.len() == SUFFIX && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    let name = format!("{PREFIX}{}", &advert::token()?[..SUFFIX]);
    OwnedDir::make(&base.join(name), "")
}

/// How many files this process may have open.
pub(crate) fn open_files() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A connection takes a file descriptor, and the usual limit is low.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // As it was is good enough for a few hundred workers.
    let _ = setrlimit(Resource::Nofile, limit);
}
