//! Fetches a pack from the master.
//! Invariant: a master that is away is waited for; what has come is a draft until its hash is right.

use std::path::Path;
use std::time::Duration;

use gridctl_core::id::PackHash;
use gridctl_proto::v1;
use gridctl_storage::pack::{PackDraft, PackError};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::StagingFault;
use crate::connection::Client;

/// Some more must come within this time.
const SILENCE: Duration = Duration::from_secs(30);
/// After a connection that broke another try follows after so long.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes with another hash than the pack's are not asked for more often.
const MOST_WRONG: u32 = 3;

/// Why one try did not bring it.
enum FetchError {
    /// The connection broke, or is slow.
    Link(String),
    /// It will not come.
    Fault(StagingFault),
    /// The bytes are others.
    Wrong(String),
}

/// The pack, as a draft at `path`, whose bytes have the right hash.
pub(super) async fn fetch(
    mut master: watch::Receiver<Option<Client>>,
    pack: PackHash,
    path: &Path,
) -> Result<PackDraft, StagingFault> {
    let mut wrong = 0;
    loop {
        let client = match master.wait_for(Option::is_some).await {
            Ok(client) => client.clone(),
            Err(_) => return Err(StagingFault::passing("the worker is ending")),
        };
        let Some(client) = client else { continue };
        match once(client, pack, path).await {
            Ok(draft) => return Ok(draft),
            Err(FetchError::Fault(fault)) => return Err(fault),
            Err(FetchError::Link(why)) => tracing::info!("the code {pack} did not come: {why}; trying on"),
            Err(FetchError::Wrong(why)) if wrong + 1 >= MOST_WRONG => {
                return Err(StagingFault::passing(format!("its code came damaged: {why}")));
            }
            Err(FetchError::Wrong(why)) => {
                wrong += 1;
                tracing::warn!("the code {pack} came damaged: {why}; trying again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(mut client: Client, pack: PackHash, path: &Path) -> Result<PackDraft, FetchError> {
    let request = v1::PackRequest { pack: pack.0.to_vec() };
    let asked = tokio::time::timeout(SILENCE, client.fetch_pack(request)).await;
    let mut pieces = asked.map_err(|_| slow())?.map_err(refused)?.into_inner();
    let mut draft = PackDraft::create(path).map_err(disk)?;
    loop {
        let piece = tokio::time::timeout(SILENCE, pieces.next()).await.map_err(|_| slow())?;
        let Some(piece) = piece else { break };
        let data = piece.map_err(refused)?.data;
        let written = spawn_blocking(move || draft.write(&data).map(|()| draft)).await;
        draft = written.map_err(|error| FetchError::Link(error.to_string()))?.map_err(disk)?;
    }
    match draft.has_hash(pack) {
        Ok(()) => Ok(draft),
        Err(error) => Err(FetchError::Wrong(error.to_string())),
    }
}

fn slow() -> FetchError {
    FetchError::Link("the master is silent".to_owned())
}

fn refused(status: Status) -> FetchError {
    match status.code() {
        Code::NotFound => FetchError::Fault(StagingFault::passing(
            "the master does not have its code any more: submit the sweep again",
        )),
        _ => FetchError::Link(status.message().to_owned()),
    }
}

fn disk(error: PackError) -> FetchError {
    match error {
        PackError::TooLarge(_) => FetchError::Wrong(error.to_string()),
        error => FetchError::Fault(StagingFault::passing(format!("its code cannot be kept: {error}"))),
    }
}
