//! A living master, asked by gRPC.
//! Invariant: every call has a deadline; a master that is not there is exit code 5, what it refuses is not.

use std::time::Duration;

use gridctl_core::leaderboard::Row;
use gridctl_core::sched::{Steer, SweepStatus};
use gridctl_core::spec::{Diagnostic, Goal};
use gridctl_core::trials::TrialLine;
use gridctl_master::{Leaderboard, TrialDetails, Trials};
use gridctl_proto::ask::{LeaderboardQuery, SteerAsk, Submit, Submitted, TrialsQuery};
use gridctl_proto::v1::sweep_service_client::SweepServiceClient;
use gridctl_proto::{limits, v1};
use gridctl_worker::Bearer;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::address::Place;
use crate::exit::{Exit, Failure};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A submission looks up what is known, which may take a while.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A connection to a master.
#[derive(Clone)]
pub(crate) struct Live {
    client: SweepServiceClient<InterceptedService<Channel, Bearer>>,
}

impl Live {
    /// Connects.
    pub(crate) async fn connect(place: &Place) -> Result<Self, Failure> {
        let unreachable = |why: String| {
            let problem = Diagnostic::error(
                "master::unreachable",
                format!("the master at {} does not answer: {why}", place.address),
            )
            .help("is it running? `gridctl master` starts one");
            Failure::new(Exit::Unreachable, problem)
        };
        let endpoint = place
            .address
            .endpoint()
            .map_err(|error| unreachable(super::chain(&error)))?
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN);
        let channel = endpoint.connect().await.map_err(|error| unreachable(super::chain(&error)))?;
        let bearer = Bearer::new(place.token.as_deref()).map_err(|_| {
            Failure::usage("master::token", "GRIDCTL_TOKEN has characters that cannot be sent")
        })?;
        let client = SweepServiceClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(limits::MAX_RESPONSE_BYTES)
            .max_encoding_message_size(limits::MAX_REQUEST_BYTES);
        Ok(Self { client })
    }

    pub(crate) async fn sweeps(&mut self) -> Result<Vec<SweepStatus>, Failure> {
        let answer = self.client.list_sweeps(v1::ListSweepsRequest {}).await.map_err(refused)?;
        answer.into_inner().sweeps.into_iter().map(|status| understood(status.try_into())).collect()
    }

    pub(crate) async fn status(&mut self, sweep: &str) -> Result<SweepStatus, Failure> {
        let request = v1::StatusRequest { sweep: sweep.to_owned() };
        understood(self.client.status(request).await.map_err(refused)?.into_inner().try_into())
    }

    pub(crate) async fn leaderboard(&mut self, query: LeaderboardQuery) -> Result<Leaderboard, Failure> {
        let request = v1::LeaderboardRequest::from(query);
        let answer = self.client.leaderboard(request).await.map_err(refused)?.into_inner();
        let goal = if answer.minimize { Goal::Minimize } else { Goal::Maximize };
        let rows = answer.rows_json.iter().map(|row| understood(serde_json::from_str::<Row>(row)));
        Ok(Leaderboard {
            sweep: answer.sweep,
            version: answer.version,
            objective: (!answer.metric.is_empty()).then_some((answer.metric, goal)),
            rows: rows.collect::<Result<_, _>>()?,
            total: answer.total,
            mixed_code: answer.mixed_code,
        })
    }

    pub(crate) async fn trials(&mut self, query: TrialsQuery) -> Result<Trials, Failure> {
        let request = v1::TrialsRequest::from(query);
        let answer = self.client.trials(request).await.map_err(refused)?.into_inner();
        let trials =
            answer.trials_json.iter().map(|line| understood(serde_json::from_str::<TrialLine>(line)));
        Ok(Trials { trials: trials.collect::<Result<_, _>>()?, next: answer.next_page_token })
    }

    pub(crate) async fn trial(&mut self, sweep: &str, trial: &str) -> Result<TrialDetails, Failure> {
        let request = v1::TrialRequest { sweep: sweep.to_owned(), trial: trial.to_owned() };
        let answer = self.client.trial(request).await.map_err(refused)?.into_inner();
        let trial = understood(serde_json::from_str(&answer.trial_json))?;
        Ok(TrialDetails { sweep: answer.sweep, trial, attempts: answer.attempts_json })
    }

    pub(crate) async fn submit(&mut self, submit: &Submit) -> Result<Submitted, Failure> {
        let answer = self.client.submit(v1::SubmitRequest::from(submit)).await.map_err(refused)?;
        understood(answer.into_inner().try_into())
    }

    pub(crate) async fn steer(&mut self, sweep: &str, steer: Steer) -> Result<u64, Failure> {
        let request = v1::SteerRequest::from(SteerAsk { sweep: sweep.to_owned(), steer });
        Ok(self.client.steer(request).await.map_err(refused)?.into_inner().touched)
    }

    pub(crate) async fn retry(&mut self, sweep: &str, trials: &[String]) -> Result<u64, Failure> {
        let request = v1::RetryRequest { sweep: sweep.to_owned(), trials: trials.to_vec() };
        Ok(self.client.retry(request).await.map_err(refused)?.into_inner().touched)
    }

    /// The workers as JSON objects.
    pub(crate) async fn workers(&mut self) -> Result<Vec<serde_json::Value>, Failure> {
        let answer = self.client.workers(v1::WorkersRequest {}).await.map_err(refused)?.into_inner();
        answer.workers_json.iter().map(|worker| understood(serde_json::from_str(worker))).collect()
    }

    pub(crate) async fn drain(&mut self, grace: Duration) -> Result<(), Failure> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.client.drain(v1::DrainRequest { grace_ms }).await.map_err(refused).map(drop)
    }
}

/// What the master says no to.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn refused(status: Status) -> Failure {
    let message = status.message();
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded => {
            let problem =
                Diagnostic::error("master::unreachable", format!("the master does not answer: {message}"))
                    .help("look at the output of `gridctl master`; it can be started again at any time");
            Failure::new(Exit::Unreachable, problem)
        }
        Code::Unauthenticated | Code::PermissionDenied => {
            Failure::error("master::token", format!("the master does not let us in: {message}"))
                .help("GRIDCTL_TOKEN must be the token in the master's data directory, in master.json")
        }
        // The remedy, where there is one, stands on a line of its own.
        _ => match message.split_once('\n') {
            Some((what, help)) => Failure::error("ask", what).help(help.trim_start_matches("help: ")),
            None => Failure::error("ask", message),
        },
    }
}

fn understood<T, E: std::fmt::Display>(answer: Result<T, E>) -> Result<T, Failure> {
    answer.map_err(|error| {
        Failure::error("master::answer", format!("the master's answer is not understood: {error}"))
            .help("master and command may be of different versions: `gridctl --version`")
    })
}
