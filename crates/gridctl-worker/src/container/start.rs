//! A slot's container: made, closed to metadata addresses, and connected with.
//! Invariant: the connection is that of the container's first process, made before anything of the
//! user's ran in it; by the time a trial may start, no metadata address answers there.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::engine::{Engine, NewContainer, Privilege};
use super::site::Labels;
use super::{BINARY, ContainerBody, ContainerError, RUN};

/// The name of the slot's socket.
const SOCKET: &str = "slot.sock";
/// Between looks at what a container has written.
const DISK_LOOK: Duration = Duration::from_secs(5);
/// A supervisor has so long to connect, and an address to be closed.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// At least so many MiB has a container's shared memory: loaders of data pass batches by it.
const SHM_MIB: u64 = 1_024;

/// A container that is a slot.
#[derive(Debug)]
pub(crate) struct SlotContainer {
    engine: Engine,
    id: String,
    pid: Option<u32>,
    /// It was ended since it had written too much.
    is_full: Arc<AtomicBool>,
    /// Looks after that.
    _watch: JoinSet<()>,
}

impl SlotContainer {
    /// Its first process, as this machine numbers it.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Ends everything in it.
    pub(crate) async fn remove(&self) {
        self.engine.remove(&self.id).await;
    }

    /// Whether it was ended since it had written more into its own root than it may.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

/// Ends the container `id` as soon as it has written more than it may.
async fn watch_disk(engine: Engine, id: String, disk_mib: u64, is_full: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(DISK_LOOK).await;
        let Some(written) = engine.written(&id).await else { return };
        if written >> 20 > disk_mib {
            is_full.store(true, Ordering::Relaxed);
            return engine.remove(&id).await;
        }
    }
}

fn broken(what: &'static str) -> impl Fn(io::Error) -> ContainerError {
    move |error| ContainerError::Docker { what, why: error.to_string() }
}

/// Starts the container, and returns it with the connection to the supervisor in it.
pub(super) async fn start(
    engine: &Engine,
    (body, binary): (&ContainerBody, &std::path::Path),
    labels: Labels<'_>,
    disk_mib: u64,
) -> Result<(SlotContainer, UnixStream), ContainerError> {
    let socket = body.dirs.run.join(SOCKET);
    let (listener, pass) = listen(&socket).map_err(broken("reach the slot"))?;
    let image = &body.image;
    let new = NewContainer {
        image: &image.id,
        argv: vec![BINARY.to_owned(), "slot".to_owned(), "--connect".to_owned(), format!("{RUN}/{SOCKET}")],
        binary,
        user: image.user.as_deref(),
        env: Vec::new(),
        network: "bridge".to_owned(),
        mounts: body.mounts(),
        privilege: Privilege::None,
        mem_mib: body.mem_mib,
        shm_mib: if body.mem_mib == 0 { SHM_MIB } else { SHM_MIB.max(body.mem_mib / 2) },
        gpus: &body.gpus,
        labels: labels.all(),
        removes_itself: true,
    };
    let id = engine.create(new).await?;
    engine.start(&id).await?;
    let is_full = Arc::new(AtomicBool::new(false));
    let mut watch = JoinSet::new();
    watch.spawn(watch_disk(engine.clone(), id.clone(), disk_mib, Arc::clone(&is_full)));
    let mut container = SlotContainer { engine: engine.clone(), id, pid: None, is_full, _watch: watch };
    let ready = async {
        let accepted = async {
            let (stream, _) = listener.accept().await.map_err(broken("reach the slot"))?;
            Ok::<_, ContainerError>(stream)
        };
        tokio::try_join!(
            accepted,
            close_metadata(engine, &container.id, (image.id.as_str(), binary), &labels)
        )
    };
    let ready = tokio::time::timeout(STARTS_WITHIN, ready).await;
    drop(pass);
    drop(fs::remove_file(&socket));
    let refused = match ready {
        Ok(Ok((stream, ()))) => {
            container.pid = engine.pid(&container.id).await;
            let peer = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
            match (peer, container.pid) {
                // Another process than the container's first one has come.
                (Some(peer), Some(pid)) if peer != pid && peer != 0 => {
                    let why = format!("process {peer} has connected in the place of {pid}");
                    ContainerError::Docker { what: "reach the slot", why }
                }
                _ => return Ok((container, stream)),
            }
        }
        Ok(Err(error)) => error,
        Err(_) => {
            let why = format!("it was not ready after {} s", STARTS_WITHIN.as_secs());
            ContainerError::Docker { what: "reach the slot", why }
        }
    };
    container.remove().await;
    Err(refused)
}

/// The socket, and what keeps its path open: a longer one than a socket may have is reached by it.
fn listen(socket: &std::path::Path) -> io::Result<(UnixListener, fs::File)> {
    use std::os::fd::AsRawFd;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let dir = fs::File::open(socket.parent().unwrap_or(socket))?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))?;
    // Whoever runs in the image may connect; the directory above lets nobody else of this machine in.
    fs::set_permissions(socket, Permissions::from_mode(0o666))?;
    Ok((listener, dir))
}

/// Nothing in the container's network reaches what hands out a machine's credentials.
pub(super) async fn close_metadata(
    engine: &Engine,
    container: &str,
    (image, binary): (&str, &std::path::Path),
    labels: &Labels<'_>,
) -> Result<(), ContainerError> {
    let new = NewContainer {
        image,
        argv: [BINARY, "slot", "--close-metadata"].map(str::to_owned).to_vec(),
        binary,
        user: Some("0:0"),
        env: Vec::new(),
        network: format!("container:{container}"),
        mounts: Vec::new(),
        privilege: Privilege::Network,
        mem_mib: 0,
        shm_mib: 0,
        gpus: &[],
        labels: labels.all(),
        removes_itself: false,
    };
    let helper = engine.create(new).await?;
    engine.start(&helper).await?;
    let code = engine.ended(&helper, STARTS_WITHIN).await?;
    let printed = if code == 0 { String::new() } else { engine.printed(&helper).await.1 };
    engine.remove(&helper).await;
    if code == 0 {
        return Ok(());
    }
    Err(ContainerError::Docker { what: "close metadata addresses to a slot", why: printed.trim().to_owned() })
}

impl Labels<'_> {
    pub(super) fn all(&self) -> HashMap<String, String> {
        HashMap::from([
            (super::site::MARK.to_owned(), self.mark.to_owned()),
            (super::site::WORKER.to_owned(), self.worker.to_owned()),
        ])
    }
}
