//! What a request holds, as checked values. Invariant: what does not hold what it should is a problem, in JSON as all others.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::ApiError;

/// A body that is one JSON document.
pub(super) struct Document<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Document<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(document) = Json::from_request(request, state).await.map_err(|rejection| {
            let code = match &rejection {
                JsonRejection::MissingJsonContentType(_) => "not_json",
                JsonRejection::BytesRejection(_) => "body",
                _ => "document",
            };
            bad(rejection.status(), code, &rejection)
        })?;
        Ok(Self(document))
    }
}

/// What stands behind the `?`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(params) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| bad(rejection.status(), "query", &rejection))?;
        Ok(Self(params))
    }
}

/// The sentence for people: the last cause says what is wrong, and where.
fn bad(status: StatusCode, code: &'static str, rejection: &dyn std::error::Error) -> ApiError {
    let mut cause = rejection;
    while let Some(source) = cause.source() {
        cause = source;
    }
    ApiError::new(status, code, format!("the request is not understood: {cause}"))
}
