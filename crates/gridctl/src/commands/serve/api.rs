//! The routes: `POST /` asks the model, `/health` says whether it answers, `/metadata` what it is.
//! Invariant: whatever a client sends or does not send, it gets an answer in JSON or loses its connection in time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Answerer;
use super::model::ModelError;

/// Connections at once.
const CONNECTIONS: usize = 1_024;
/// The longest request, in bytes.
const MAX_BODY: usize = 8 << 20;
/// A request's head and its body must each be there after so long.
const PATIENCE: Duration = Duration::from_secs(10);

struct Served {
    answerer: Answerer,
    metadata: Value,
}

/// Answers for ever.
pub(super) async fn listen(listener: TcpListener, answerer: Answerer, metadata: Value) {
    let app = Router::new()
        .route("/", post(answer))
        .route("/health", get(health))
        .route("/metadata", get(metadata_of))
        .with_state(Arc::new(Served { answerer, metadata }));
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let (permits, mut connections) = (Arc::new(Semaphore::new(CONNECTIONS)), JoinSet::new());
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Too many files are open, say.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Small answers leave at once.
        let _ = stream.set_nodelay(true);
        let (http, app) = (http.clone(), TowerToHyperService::new(app.clone()));
        connections.spawn(async move {
            let _permit = permit;
            // A client that goes away, or speaks no HTTP, is nobody's trouble.
            drop(http.serve_connection(TokioIo::new(stream), app).await);
        });
    }
}

async fn answer(State(served): State<Arc<Served>>, body: Body) -> Response {
    let bytes = match timeout(PATIENCE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "a request has at most 8 MiB"),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "the request did not come within 10 s"),
    };
    let request: Map<String, Value> = match serde_json::from_slice(&bytes) {
        Ok(request) => request,
        Err(error) => {
            let text = format!("the request is no JSON object, such as {{\"data\": ...}}: {error}");
            return refused(StatusCode::BAD_REQUEST, &text);
        }
    };
    if !request.contains_key("data") {
        return refused(StatusCode::BAD_REQUEST, "the request has no `data`: send {\"data\": ...}");
    }
    match served.answerer.ask(request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => refused(status(&error), &error.to_string()),
    }
}

fn status(error: &ModelError) -> StatusCode {
    match error {
        #[cfg(feature = "train")]
        ModelError::Request(_) => StatusCode::BAD_REQUEST,
        ModelError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ModelError::Late(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn health(State(served): State<Arc<Served>>) -> Response {
    match served.answerer.is_well() {
        true => Json(json!({"status": "ok"})).into_response(),
        false => refused(StatusCode::SERVICE_UNAVAILABLE, "the model gave no answer the last time"),
    }
}

async fn metadata_of(State(served): State<Arc<Served>>) -> Json<Value> {
    Json(served.metadata.clone())
}
