//! What people ask: each handler decodes, makes one call, and encodes.
//! Invariant: no state and no policy here; what goes wrong becomes a status with its remedy.

use std::pin::Pin;
use std::time::Duration;

use gridctl_core::sched::{Refusal, SweepStatus};
use gridctl_core::spec::Goal;
use gridctl_proto::ask::{LeaderboardQuery, RetryAsk, SteerAsk, Submit, TrialsQuery, sweep_name};
use gridctl_proto::{FieldError, limits, v1};
use serde::Serialize;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use crate::error::AskError;
use crate::handle::Handle;
use crate::tasks::Tasks;

/// The service.
pub(crate) struct Sweeps {
    handle: Handle,
    tasks: Tasks,
}

impl Sweeps {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, tasks: Tasks::default() }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl v1::sweep_service_server::SweepService for Sweeps {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::SweepStatus, Status>> + Send>>;

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        let submit = Submit::try_from(request.into_inner())?;
        let submitted = self.handle.submit(submit).await.map_err(status)?;
        Ok(Response::new(submitted.into()))
    }

    async fn list_sweeps(&self, _: Request<v1::ListSweepsRequest>) -> Answer<v1::ListSweepsResponse> {
        let sweeps = self.handle.sweeps().iter().map(Into::into).collect();
        Ok(Response::new(v1::ListSweepsResponse { sweeps }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::SweepStatus> {
        let name = sweep_name(request.into_inner().sweep)?;
        Ok(Response::new((&self.handle.status(&name).map_err(status)?).into()))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let v1::WatchRequest { sweep, interval_ms } = request.into_inner();
        if !(100..=60_000).contains(&interval_ms) {
            return Err(
                FieldError::new("interval_ms", format!("{interval_ms} is not within 100 to 60000")).into()
            );
        }
        let first = self.handle.status(&sweep_name(sweep)?).map_err(status)?;
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let handle = self.handle.clone();
        self.tasks.spawn(async move {
            let every = Duration::from_millis(interval_ms.into());
            if let Err(error) = watch(handle, first, every, &sender).await {
                // The other end may be gone.
                let _ = sender.send(Err(status(error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn steer(&self, request: Request<v1::SteerRequest>) -> Answer<v1::SteerResponse> {
        let ask = SteerAsk::try_from(request.into_inner())?;
        let touched = self.handle.steer(&ask.sweep, ask.steer).await.map_err(status)?;
        Ok(Response::new(v1::SteerResponse { touched }))
    }

    async fn retry(&self, request: Request<v1::RetryRequest>) -> Answer<v1::RetryResponse> {
        let ask = RetryAsk::try_from(request.into_inner())?;
        let trials = self.handle.find_all(&ask.sweep, &ask.trials).await.map_err(status)?;
        let touched = self.handle.retry(&ask.sweep, trials).await.map_err(status)?;
        Ok(Response::new(v1::RetryResponse { touched }))
    }

    async fn leaderboard(&self, request: Request<v1::LeaderboardRequest>) -> Answer<v1::LeaderboardResponse> {
        let query = LeaderboardQuery::try_from(request.into_inner())?;
        let board = self.handle.leaderboard(query).await.map_err(status)?;
        let minimize = matches!(board.objective, Some((_, Goal::Minimize)));
        Ok(Response::new(v1::LeaderboardResponse {
            sweep: board.sweep,
            version: board.version,
            metric: board.objective.map(|(name, _)| name).unwrap_or_default(),
            minimize,
            rows_json: documents(&board.rows),
            total: board.total,
            mixed_code: board.mixed_code,
        }))
    }

    async fn trials(&self, request: Request<v1::TrialsRequest>) -> Answer<v1::TrialsResponse> {
        let query = TrialsQuery::try_from(request.into_inner())?;
        let page = self.handle.trials(query).await.map_err(status)?;
        Ok(Response::new(v1::TrialsResponse {
            trials_json: documents(&page.trials),
            next_page_token: page.next,
        }))
    }

    async fn trial(&self, request: Request<v1::TrialRequest>) -> Answer<v1::TrialResponse> {
        let v1::TrialRequest { sweep, trial } = request.into_inner();
        let details = self.handle.trial(&sweep_name(sweep)?, &trial).await.map_err(status)?;
        Ok(Response::new(v1::TrialResponse {
            sweep: details.sweep,
            trial_json: document(&details.trial),
            attempts_json: details.attempts,
        }))
    }

    async fn workers(&self, _: Request<v1::WorkersRequest>) -> Answer<v1::WorkersResponse> {
        let workers = self.handle.workers().await.map_err(status)?;
        Ok(Response::new(v1::WorkersResponse { workers_json: documents(&workers) }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        let grace_ms = request.into_inner().grace_ms;
        if grace_ms > limits::MAX_GRACE_MS {
            return Err(FieldError::new("grace_ms", format!("{grace_ms} is over a day")).into());
        }
        self.handle.ask_to_drain(Duration::from_millis(grace_ms)).await.map_err(status)?;
        Ok(Response::new(v1::DrainResponse {}))
    }
}

/// Sends the status until the sweep is over.
async fn watch(
    mut handle: Handle,
    mut last: SweepStatus,
    every: Duration,
    sender: &tokio::sync::mpsc::Sender<Result<v1::SweepStatus, Status>>,
) -> Result<(), AskError> {
    let name = last.sweep.clone();
    loop {
        let state = last.state;
        if sender.send(Ok((&last).into())).await.is_err() || state.is_over() {
            return Ok(());
        }
        let until = tokio::time::sleep(every);
        tokio::pin!(until);
        last = loop {
            let is_due = tokio::select! {
                () = &mut until => true,
                changed = handle.changed(every) => {
                    changed?;
                    false
                }
            };
            let status = handle.status(&name)?;
            if is_due || status.state != state {
                break status;
            }
        };
    }
}

fn document(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("documents have text keys, and their numbers are finite or named")
}

fn documents(values: &[impl Serialize]) -> Vec<String> {
    values.iter().map(document).collect()
}

/// An answer of no, with its remedy in a second line.
fn status(error: AskError) -> Status {
    let code = match &error {
        AskError::UnknownSweep { .. }
        | AskError::NoSweep
        | AskError::UnknownTrial { .. }
        | AskError::NoBest(_)
        | AskError::Refused(Refusal::UnknownSweep(_) | Refusal::UnknownTrial { .. }) => Code::NotFound,
        AskError::Refused(Refusal::Over { .. } | Refusal::NotEnded { .. }) => Code::FailedPrecondition,
        AskError::Refused(Refusal::Grid(_))
        | AskError::Ambiguous { .. }
        | AskError::Leaderboard(_)
        | AskError::PageToken(_) => Code::InvalidArgument,
        AskError::Volume(error) if error.is_retryable() => Code::Unavailable,
        AskError::Volume(_) => Code::FailedPrecondition,
        AskError::DiskFull(_) => Code::ResourceExhausted,
        AskError::Ending => Code::Unavailable,
        AskError::Store(_) => Code::Internal,
    };
    let text = match error.help() {
        Some(help) => format!("{error}\nhelp: {help}"),
        None => error.to_string(),
    };
    Status::new(code, text)
}
