//! Where a master listens: the data directory's Unix socket, and a loopback address where one is wanted.
//! Invariant: the socket is for this user alone, whatever the umask and however long the directory's path.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::advert;
use crate::error::MasterError;

/// Longer paths are not taken for sockets.
const LONGEST_SOCKET: usize = 100;

/// Listens on the address, if there is one.
pub(crate) async fn tcp(address: Option<SocketAddr>) -> Result<Option<TcpListener>, MasterError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| MasterError::Listen { place: address.to_string(), source };
    TcpListener::bind(address).await.map(Some).map_err(failed)
}

/// Listens on the data directory's socket, for this user alone.
pub(crate) fn unix(data_dir: &Path) -> Result<(UnixListener, PathBuf, Option<PathBuf>), MasterError> {
    let mut socket = data_dir.join("master.sock");
    let mut own_dir = None;
    if socket.as_os_str().len() > LONGEST_SOCKET {
        let dir =
            short_dir().map_err(|source| MasterError::Listen { place: "a short path".to_owned(), source })?;
        socket = dir.join("master.sock");
        own_dir = Some(dir);
    }
    let bind = || -> io::Result<UnixListener> {
        // Left behind by a master that was killed: the journal's lock says that there is no other.
        advert::remove(&socket)?;
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener =
        bind().map_err(|source| MasterError::Listen { place: socket.display().to_string(), source })?;
    Ok((listener, socket, own_dir))
}

/// A new directory with a short path that nobody else may enter.
fn short_dir() -> io::Result<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir() && dir.as_os_str().len() < 50);
    let name = format!("gridctl-{}", &advert::token()?[..12]);
    let dir = base.unwrap_or_else(|| PathBuf::from("/tmp")).join(name);
    fs::DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(dir)
}

/// A connection takes a file descriptor, and the usual limit is low.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // As it was is good enough for a few hundred workers.
    let _ = setrlimit(Resource::Nofile, limit);
}
