//! A sweep's status as it changes, as server-sent events. Invariant: who does not read is hung up, not waited for, and so many follow
//! at a time.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use gridctl_core::view::SweepStatus;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::extract::Params;
use super::{Api, ApiError, named};
use crate::error::AskError;
use crate::handle::Handle;

/// Events that wait for a reader.
const WAITING: usize = 4;
/// A reader that takes nothing for so long is hung up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last event waits so long for the last records to be in the results.
const SHIPPED_WITHIN: Duration = Duration::from_secs(30);

/// How often.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Every {
    /// At least once in so many milliseconds.
    #[serde(default = "two_seconds")]
    every_ms: u64,
}

fn two_seconds() -> u64 {
    2_000
}

/// Each event is the sweep's status: now, when it turns, and at intervals; the last one when the sweep
/// is over, and its records are in the results or are said to wait.
pub(super) async fn follow(
    State(api): State<Api>,
    Path(sweep): Path<String>,
    Params(Every { every_ms }): Params<Every>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, ApiError> {
    if !(100..=60_000).contains(&every_ms) {
        let message = format!("`every_ms` is {every_ms}, which is not within 100 to 60000");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "query", message));
    }
    let first = api.handle.status(named(&sweep)?)?;
    let permit = api.viewers.try_acquire_owned().map_err(|_| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_viewers", "too many follow events already")
    })?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let handle = api.handle.clone();
    api.tasks.spawn(async move {
        let _permit = permit;
        // The master is ending, or the reader has gone: either way the stream ends.
        let _ = send(handle, first, Duration::from_millis(every_ms), &sender).await;
    });
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new()))
}

async fn send(
    mut handle: Handle,
    mut last: SweepStatus,
    every: Duration,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) -> Result<(), AskError> {
    let name = last.sweep.clone();
    loop {
        let phase = last.phase;
        if phase.is_closed() {
            tokio::select! {
                () = handle.shared.shipper.up_to_now(SHIPPED_WITHIN) => {}
                () = sender.closed() => return Ok(()),
            }
            last = handle.status(&name)?;
        }
        let Ok(event) = Event::default().event("status").json_data(&last) else { return Ok(()) };
        let sent = tokio::time::timeout(PATIENCE, sender.send(Ok(event))).await;
        if !matches!(sent, Ok(Ok(()))) || last.phase.is_closed() {
            return Ok(());
        }
        let until = tokio::time::sleep(every);
        tokio::pin!(until);
        last = loop {
            let is_due = tokio::select! {
                () = &mut until => true,
                () = sender.closed() => return Ok(()),
                changed = handle.changed(every) => {
                    changed?;
                    false
                }
            };
            let status = handle.status(&name)?;
            if is_due || status.phase != phase {
                break status;
            }
        };
    }
}
