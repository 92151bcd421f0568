//! Packs of code that people bring before they submit.
//! Invariant: a body is read no further than a pack may be long, and never into memory as a whole.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gridctl_core::id::PackHash;
use gridctl_core::view::PackKept;
use gridctl_storage::pack::{MAX_PACKED, PackDraft, PackError};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;

use super::{Answer, Api, ApiError, problem};
use crate::error::chain;
use crate::handle::Handle;

/// Packs that are brought at a time.
const BRINGERS: usize = 4;
/// Some more bytes must come within this time.
const SILENCE: Duration = Duration::from_secs(30);
/// All of them must come within this time.
const WHOLE: Duration = Duration::from_secs(3_600);

static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(BRINGERS)));

/// Whether a pack is there.
pub(super) async fn find(State(api): State<Api>, Path(pack): Path<String>) -> Answer<PackKept> {
    let pack = named(&pack)?;
    match api.handle.find_pack(pack).await? {
        Some(bytes) => Ok(Json(PackKept { pack, bytes })),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, "no_pack", "there is no such pack")),
    }
}

/// Takes a pack, unless it is there.
pub(super) async fn bring(State(api): State<Api>, Path(pack): Path<String>, body: Body) -> Answer<PackKept> {
    let pack = named(&pack)?;
    let _room = Arc::clone(&ROOM).try_acquire_owned().map_err(|_| {
        let message = format!("{BRINGERS} packs are being brought already");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    })?;
    let whole = tokio::time::timeout(WHOLE, take(&api.handle, pack, body)).await;
    let bytes = whole.map_err(|_| slow("the pack was not there within an hour"))??;
    Ok(Json(PackKept { pack, bytes }))
}

fn named(pack: &str) -> Result<PackHash, ApiError> {
    pack.parse().map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "pack", "that is no name of a pack"))
}

fn slow(message: &str) -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
}

/// Reads all of the body, so that who sends it hears the answer.
async fn take(handle: &Handle, pack: PackHash, body: Body) -> Result<u64, ApiError> {
    let mut draft: Option<PackDraft> = match handle.find_pack(pack).await? {
        Some(_) => None,
        None => Some(handle.draft_pack().await?.map_err(refused)?),
    };
    let (mut bytes, mut body) = (0, body.into_data_stream());
    loop {
        let more = tokio::time::timeout(SILENCE, body.next()).await;
        let Some(more) = more.map_err(|_| slow("no more of the pack came for half a minute"))? else { break };
        let more = more.map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, "body", format!("the pack was cut: {error}"))
        })?;
        bytes += more.len() as u64;
        draft = match draft {
            Some(draft) => Some(handle.write_pack(draft, more).await?.map_err(refused)?),
            None if bytes > MAX_PACKED => {
                return Err(refused(PackError::TooLarge(gridctl_storage::pack::TooLarge::Packed)));
            }
            None => None,
        };
    }
    if let Some(draft) = draft {
        handle.keep_pack(draft, pack).await?.map_err(refused)?;
    }
    handle.find_pack(pack).await?.ok_or_else(problem::not_found)
}

fn refused(error: PackError) -> ApiError {
    let status = match &error {
        PackError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        PackError::Refused { .. } | PackError::Damaged(_) | PackError::OtherBytes { .. } => {
            StatusCode::BAD_REQUEST
        }
        PackError::Io { .. } if error.is_full_disk() => StatusCode::INSUFFICIENT_STORAGE,
        PackError::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    ApiError::new(status, "pack", format!("the pack is not kept: {}", chain(&error)))
}
