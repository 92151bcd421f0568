//! What an admin says about who may do what: tokens are made and taken back, workers shut out.
//! Invariant: a token's secret is in one answer, and nowhere else.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use gridctl_core::access::{JOIN_MS, Role, TOKEN_MS};
use gridctl_core::id::WorkerId;
use gridctl_core::view::{TokenMade, TokenRequest, TokenView, Touched};

use super::extract::Document;
use super::{Answer, ApiError, ROOT, SMALL_BYTES, problem};
use crate::access_keeper::AccessKeeper;
use crate::handle::Handle;

/// What the handlers have.
#[derive(Clone)]
struct CredentialsApi {
    handle: Handle,
    keeper: Arc<AccessKeeper>,
}

/// The routes.
pub(crate) fn credentials(handle: Handle, keeper: Arc<AccessKeeper>) -> Router {
    let api = Router::new()
        .route("/tokens", get(tokens).post(make))
        .route("/tokens/{token}/revoke", post(revoke))
        .route("/workers/{worker}/revoke", post(revoke_worker))
        .layer(DefaultBodyLimit::max(SMALL_BYTES));
    Router::new().nest(ROOT, api).with_state(CredentialsApi { handle, keeper })
}

async fn tokens(State(api): State<CredentialsApi>) -> Json<Vec<TokenView>> {
    Json(api.keeper.tokens())
}

async fn make(
    State(api): State<CredentialsApi>,
    Document(request): Document<TokenRequest>,
) -> Answer<TokenMade> {
    let TokenRequest { role, life_ms } = request;
    let master = match role {
        Role::Worker => api.keeper.workers_url(),
        _ => api.keeper.url(),
    };
    let (life, uses) = match role {
        Role::Owner => {
            let message = "no token makes an owner: the data directory's files do";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "role", message));
        }
        Role::Worker if master.is_none() => return Err(crate::access_keeper::AccessError::NoNetwork.into()),
        Role::Worker => (JOIN_MS, Some(1)),
        Role::Read | Role::Submit | Role::Admin => (TOKEN_MS, None),
    };
    let (token, view) = api.keeper.make(role, life_ms.unwrap_or(life), uses).await?;
    Ok(Json(TokenMade { token, view, master }))
}

async fn revoke(State(api): State<CredentialsApi>, Path(token): Path<String>) -> Answer<Touched> {
    Ok(Json(Touched { touched: u64::from(api.keeper.revoke(token).await?) }))
}

/// The worker's stream ends, and its trials are granted to others.
async fn revoke_worker(State(api): State<CredentialsApi>, Path(worker): Path<String>) -> Answer<Touched> {
    let worker: WorkerId = worker.parse().map_err(|_| problem::not_found())?;
    let was_there = api.handle.workers().await?.iter().any(|known| known.worker == worker);
    api.keeper.revoke_worker(worker).await?;
    api.handle.gone(worker).await?;
    Ok(Json(Touched { touched: u64::from(was_there) }))
}
