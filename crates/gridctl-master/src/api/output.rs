//! What a trial prints while it runs, as server-sent events. Invariant: who does not read is hung up, not waited for; what is shed
//! meanwhile is in the trial's record at the end.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use gridctl_core::view::OutputEvent;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::{Api, ApiError, named};
use crate::live::Follower;

/// Events that wait for a reader.
const WAITING: usize = 4;
/// A reader that takes nothing for so long is hung up.
const PATIENCE: Duration = Duration::from_secs(60);
/// So often at least an event comes, even an empty one.
const SIGN: Duration = Duration::from_secs(5);

/// Each event is more of the output of the trial's present attempt, from the beginning or as far back as is kept; the last one says
/// that it is over. Without an attempt that goes on it is the only one.
pub(super) async fn follow(
    State(api): State<Api>,
    Path((sweep, trial)): Path<(String, String)>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, ApiError> {
    let running = api.handle.running(named(&sweep)?, &trial).await?;
    let too_many =
        |what: &str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_viewers", what.to_owned());
    let permit = api.viewers.try_acquire_owned().map_err(|_| too_many("too many follow events already"))?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let attempt = running.map_or(0, |(_, _, attempt)| attempt);
    let follower = running.map(|(worker, lease, _)| {
        let follower = api.handle.shared.live.follow(worker, lease);
        follower.ok_or_else(|| too_many("too many trials of this worker are followed already"))
    });
    let follower = follower.transpose()?;
    api.tasks.spawn(async move {
        let _permit = permit;
        if let Some(follower) = follower {
            // The reader has gone.
            let _ = send(follower, attempt, &sender).await;
        } else {
            let over = OutputEvent { attempt, from: 0, text: String::new(), is_over: true };
            let _ = say(&sender, &over).await;
        }
    });
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new()))
}

type Sender = mpsc::Sender<Result<Event, Infallible>>;

async fn send(mut follower: Follower, attempt: u32, sender: &Sender) -> Option<()> {
    let mut sent = 0;
    loop {
        let (from, text, end, is_over) = {
            let output = follower.output.borrow_and_update();
            let (from, bytes) = output.tail.since(sent);
            let end = from + bytes.len() as u64;
            (
                from,
                String::from_utf8_lossy(bytes).into_owned(),
                end,
                output.is_over && end == output.tail.end(),
            )
        };
        let has_more = end > sent;
        sent = end;
        say(sender, &OutputEvent { attempt, from, text, is_over }).await?;
        if is_over {
            return Some(());
        }
        if !has_more {
            tokio::select! {
                changed = tokio::time::timeout(SIGN, follower.output.changed()) => {
                    // An error of the channel: nobody would send any more.
                    if let Ok(changed) = changed {
                        changed.ok()?;
                    }
                }
                () = sender.closed() => return None,
            }
        }
    }
}

async fn say(sender: &Sender, event: &OutputEvent) -> Option<()> {
    let event = Event::default().event("output").json_data(event).ok()?;
    tokio::time::timeout(PATIENCE, sender.send(Ok(event))).await.ok()?.ok()
}
