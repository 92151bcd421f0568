//! What a master listens on.
//! Invariant: what others can reach is served with TLS; the handshake has an end, and a wrong certificate ends it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::access_keeper::{AccessError, AccessKeeper, Network};
use crate::clock;
use crate::config::{Listen, MasterConfig};
use crate::error::MasterError;
use crate::identity::Authority;
use crate::listen;

/// The listeners, and who says whom they let in.
pub(crate) struct Listeners {
    pub(crate) unix: UnixListener,
    pub(crate) plain: Option<TcpListener>,
    pub(crate) secure: Option<(TcpListener, TlsAcceptor)>,
    pub(crate) keeper: Arc<AccessKeeper>,
    pub(crate) join_file: Option<PathBuf>,
}

impl Listeners {
    /// Listens where `config` says. `owner` is the token of who owns the data directory.
    pub(crate) async fn open(
        config: &MasterConfig,
        unix: UnixListener,
        owner: String,
    ) -> Result<Self, MasterError> {
        let dir = &config.data_dir;
        let wanted = match &config.listen {
            None => return Ok(Self::local(unix, None, AccessKeeper::open(dir, owner, None)?)),
            Some(Listen::Plain(address)) => {
                let plain = Some(listen::tcp(*address).await?);
                return Ok(Self::local(unix, plain, AccessKeeper::open(dir, owner, None)?));
            }
            Some(Listen::Secure(wanted)) => wanted,
        };
        let now = clock::unix_ms();
        let authority = Authority::open(dir, now)?;
        let acceptor = TlsAcceptor::from(Arc::new(authority.server_config(now)?));
        let listener = listen::tcp(wanted.address).await?;
        let address = listener.local_addr().unwrap_or(wanted.address);
        let place = wanted.advertise.clone().unwrap_or_else(|| listen::place(address));
        let workers_place = wanted.advertise_workers.clone().unwrap_or_else(|| place.clone());
        let (life, operators) = (wanted.certificate_life, wanted.operators.clone());
        let network = Network { authority, life, place, workers_place, operators };
        let keeper = Arc::new(AccessKeeper::open(dir, owner, Some(network))?);
        if let Some(path) = &wanted.join_file {
            keeper.write_join_file(path).await.map_err(|error| match error {
                AccessError::Master(error) => error,
                error => MasterError::Identity { path: path.clone(), problem: error.to_string() },
            })?;
        }
        let secure = Some((listener, acceptor));
        Ok(Self { unix, plain: None, secure, keeper, join_file: wanted.join_file.clone() })
    }

    fn local(unix: UnixListener, plain: Option<TcpListener>, keeper: AccessKeeper) -> Self {
        Self { unix, plain, secure: None, keeper: Arc::new(keeper), join_file: None }
    }
}
