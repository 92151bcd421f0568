//! What people and programs ask of a master: the routes under `/api/v1/`, served on its listeners, and asked in process where there
//! is no master. Invariant: a handler decodes, makes one call and encodes; what goes wrong is a [`Problem`](gridctl_core::view::Problem) with its remedy.

mod credentials;
mod events;
mod extract;
mod output;
mod packs;
mod problem;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use gridctl_core::id::WorkerId;
use gridctl_core::sched::WorkerView;
use gridctl_core::view::{
    AttemptsPage, AttemptsQuery, CostView, DrainRequest, LATEST, Leaderboard, LeaderboardQuery,
    MAX_REQUEST_BYTES, ScaleRequest, SteerRequest, SubmitRequest, Submitted, SweepStatus, Touched,
    TrialDetails, TrialsPage, TrialsQuery, TrialsRequest,
};
use tokio::sync::Semaphore;

use crate::handle::Handle;
use crate::live::Blow;
pub use crate::serve::{RULES, Rule};
use crate::tasks::Tasks;
pub(crate) use credentials::credentials;
use extract::{Document, Params};
pub(crate) use problem::ApiError;

/// Where the routes begin.
pub const ROOT: &str = "/api/v1";
/// A request is answered within this time. A submission looks up what is known, which may take a while.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a request that is no submission.
const SMALL_BYTES: usize = 1 << 20;
/// Callers that follow events at a time.
const VIEWERS: usize = 256;

/// What every handler has.
#[derive(Clone)]
struct Api {
    handle: Handle,
    viewers: Arc<Semaphore>,
    tasks: Tasks,
}

/// The routes, answered by `handle`.
pub fn router(handle: Handle) -> Router {
    let sweep = Router::new()
        .route("/", get(status))
        .route("/events", get(events::follow))
        .route("/steer", post(steer))
        .route("/retry", post(retry))
        .route("/cancel-trials", post(cancel_trials))
        .route("/leaderboard", get(leaderboard))
        .route("/attempts", get(attempts))
        .route("/trials", get(trials))
        .route("/trials/{trial}", get(trial))
        .route("/trials/{trial}/output", get(output::follow));
    let api = Router::new()
        .route("/sweeps", get(sweeps).merge(post(submit).layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))))
        .nest("/sweeps/{sweep}", sweep)
        .route("/cost", get(cost))
        .route("/workers", get(workers))
        .route("/workers/scale", post(scale))
        .route("/workers/drain", post(drain))
        .route("/workers/{worker}/interrupt", post(interrupt))
        .route("/workers/{worker}/kill", post(kill))
        .layer(middleware::from_fn(bounded))
        .layer(DefaultBodyLimit::max(SMALL_BYTES));
    // These take as long as they have to, and set limits of their own.
    let packs = Router::new()
        .route("/packs/{pack}", get(packs::find).put(packs::bring))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .nest(ROOT, api.merge(packs))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::map_response(headers))
        .with_state(Api { handle, viewers: Arc::new(Semaphore::new(VIEWERS)), tasks: Tasks::default() })
}

/// The answer to a method that a route does not take.
pub(crate) fn no_method() -> Response {
    problem::no_method_answer().into_response()
}

type Answer<T> = Result<Json<T>, ApiError>;

/// The sweep's name as the handle wants it: empty for the latest.
fn named(sweep: &str) -> Result<&str, ApiError> {
    match sweep {
        LATEST => Ok(""),
        name if name.is_empty() || name.len() > 255 => Err(problem::not_found()),
        name => Ok(name),
    }
}

async fn sweeps(State(api): State<Api>) -> Json<Vec<SweepStatus>> {
    Json(api.handle.sweeps())
}

async fn submit(State(api): State<Api>, Document(request): Document<SubmitRequest>) -> Answer<Submitted> {
    Ok(Json(api.handle.submit(request).await?))
}

async fn status(State(api): State<Api>, Path(sweep): Path<String>) -> Answer<SweepStatus> {
    Ok(Json(api.handle.status(named(&sweep)?)?))
}

async fn steer(
    State(api): State<Api>,
    Path(sweep): Path<String>,
    Document(request): Document<SteerRequest>,
) -> Answer<Touched> {
    let touched = api.handle.steer(named(&sweep)?, request.steer).await?;
    Ok(Json(Touched { touched }))
}

async fn retry(
    State(api): State<Api>,
    Path(sweep): Path<String>,
    Document(request): Document<TrialsRequest>,
) -> Answer<Touched> {
    let sweep = named(&sweep)?;
    let trials = api.handle.find_all(sweep, &request.trials).await?;
    let touched = api.handle.retry(sweep, trials).await?;
    Ok(Json(Touched { touched }))
}

async fn cancel_trials(
    State(api): State<Api>,
    Path(sweep): Path<String>,
    Document(request): Document<TrialsRequest>,
) -> Answer<Touched> {
    let sweep = named(&sweep)?;
    let trials = api.handle.find_all(sweep, &request.trials).await?;
    let touched = api.handle.cancel_trials(sweep, trials).await?;
    Ok(Json(Touched { touched }))
}

async fn leaderboard(
    State(api): State<Api>,
    Path(sweep): Path<String>,
    Params(query): Params<LeaderboardQuery>,
) -> Answer<Leaderboard> {
    Ok(Json(api.handle.leaderboard(named(&sweep)?, query).await?))
}

async fn trials(
    State(api): State<Api>,
    Path(sweep): Path<String>,
    Params(query): Params<TrialsQuery>,
) -> Answer<TrialsPage> {
    Ok(Json(api.handle.trials(named(&sweep)?, query).await?))
}

async fn attempts(
    State(api): State<Api>,
    Path(sweep): Path<String>,
    Params(query): Params<AttemptsQuery>,
) -> Answer<AttemptsPage> {
    Ok(Json(api.handle.attempts(named(&sweep)?, query).await?))
}

async fn trial(State(api): State<Api>, Path((sweep, trial)): Path<(String, String)>) -> Answer<TrialDetails> {
    Ok(Json(api.handle.trial(named(&sweep)?, &trial).await?))
}

async fn workers(State(api): State<Api>) -> Answer<Vec<WorkerView>> {
    Ok(Json(api.handle.workers().await?))
}

async fn drain(
    State(api): State<Api>,
    Document(request): Document<DrainRequest>,
) -> Result<StatusCode, ApiError> {
    api.handle.ask_to_drain(Duration::from_millis(request.grace_ms)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn cost(State(api): State<Api>) -> Answer<CostView> {
    Ok(Json(api.handle.cost().await?))
}

async fn scale(
    State(api): State<Api>,
    Document(request): Document<ScaleRequest>,
) -> Result<StatusCode, ApiError> {
    api.handle.scale(request.machines).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kill(State(api): State<Api>, Path(worker): Path<String>) -> Answer<Touched> {
    strike(&api, &worker, Blow::Kill)
}

async fn interrupt(State(api): State<Api>, Path(worker): Path<String>) -> Answer<Touched> {
    strike(&api, &worker, Blow::Interrupt)
}

fn strike(api: &Api, worker: &str, blow: Blow) -> Answer<Touched> {
    let worker: WorkerId = worker.parse().map_err(|_| problem::not_found())?;
    Ok(Json(Touched { touched: u64::from(api.handle.strike(worker, blow)) }))
}

/// Requests that say themselves that they are too large are not read, and answers that take too long are given up.
async fn bounded(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_REQUEST_BYTES as u64) {
        let message = format!("the request has more than {MAX_REQUEST_BYTES} bytes");
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body", message).into_response();
    }
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("no answer within {} s", DEADLINE.as_secs());
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", message).into_response()
        }
    }
}

/// No answer is kept by anybody, or taken for something else than it says.
async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
