//! An answer that goes on for only as long as who asked may hear it.
//! Invariant: it ends within seconds of the end of what was shown, whoever writes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::header;
use axum::response::Response;
use gridctl_core::access::Proof;
use tokio_stream::Stream;

use crate::access_keeper::AccessKeeper;

/// A body, and what ends it.
struct Until {
    body: BodyDataStream,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream for Until {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// The response, with an end if it is a stream of events. A worker's streams end themselves, with a reason.
pub(super) fn let_out(response: Response, keeper: Arc<AccessKeeper>, proof: Proof) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    if proof == Proof::Owner || !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
        return response;
    }
    response.map(|body| {
        let over = Box::pin(async move { keeper.over(proof).await });
        Body::from_stream(Until { body: body.into_data_stream(), over })
    })
}
