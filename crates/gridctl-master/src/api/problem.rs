//! Answers of no. Invariant: each has a status, a word for programs, a sentence for people, and a remedy where there is one.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gridctl_core::sched::Refusal;
use gridctl_core::view::Problem;

use crate::access_keeper::AccessError;
use crate::error::{AskError, chain};

/// An answer of no.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    problem: Problem,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, problem: Problem { code: code.to_owned(), message: message.into(), help: None } }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.problem.help = Some(help.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        let (status, code) = kind(&error);
        let mut answer = Self::new(status, code, chain(&error));
        answer.problem.help = error.help();
        answer
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        let (status, code) = match &error {
            AccessError::Token => (StatusCode::UNAUTHORIZED, "token"),
            AccessError::TooMany | AccessError::NoRoom(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
            AccessError::Revoked(_) => (StatusCode::FORBIDDEN, "revoked"),
            AccessError::NoNetwork => (StatusCode::CONFLICT, "no_network"),
            AccessError::Master(_) => (StatusCode::INTERNAL_SERVER_ERROR, "access"),
        };
        Self::new(status, code, chain(&error))
    }
}

fn kind(error: &AskError) -> (StatusCode, &'static str) {
    match error {
        AskError::UnknownSweep { .. } | AskError::Refused(Refusal::UnknownSweep(_)) => {
            (StatusCode::NOT_FOUND, "unknown_sweep")
        }
        AskError::NoFleet => (StatusCode::NOT_FOUND, "no_fleet"),
        AskError::NoSweep => (StatusCode::NOT_FOUND, "no_sweep"),
        AskError::UnknownTrial { .. } | AskError::Refused(Refusal::UnknownTrial { .. }) => {
            (StatusCode::NOT_FOUND, "unknown_trial")
        }
        AskError::NoBest(_) | AskError::NoneComplete(_) => (StatusCode::NOT_FOUND, "no_rank"),
        AskError::Refused(Refusal::Over { .. }) => (StatusCode::CONFLICT, "sweep_is_over"),
        AskError::Refused(Refusal::NotEnded { .. }) => (StatusCode::CONFLICT, "trial_not_ended"),
        AskError::Refused(Refusal::NotRunning { .. }) => (StatusCode::CONFLICT, "trial_not_running"),
        AskError::Refused(Refusal::Grid(_)) => (StatusCode::BAD_REQUEST, "grid"),
        AskError::Ambiguous { .. } => (StatusCode::BAD_REQUEST, "ambiguous_trial"),
        AskError::Leaderboard(_) => (StatusCode::BAD_REQUEST, "leaderboard"),
        AskError::PageToken(_) => (StatusCode::BAD_REQUEST, "page_token"),
        AskError::Volume(error) if error.is_retryable() => (StatusCode::SERVICE_UNAVAILABLE, "results"),
        AskError::Volume(_) => (StatusCode::CONFLICT, "results"),
        AskError::NoPack(_) => (StatusCode::CONFLICT, "no_pack"),
        AskError::DiskFull(_) => (StatusCode::INSUFFICIENT_STORAGE, "journal_full"),
        AskError::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        AskError::Master(_) => (StatusCode::CONFLICT, "behind"),
        AskError::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        AskError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "journal"),
    }
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_route", "there is no such route")
}

pub(super) async fn no_route() -> ApiError {
    not_found()
}

pub(super) async fn no_method() -> ApiError {
    no_method_answer()
}

pub(super) fn no_method_answer() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", "the route does not take this method")
}
