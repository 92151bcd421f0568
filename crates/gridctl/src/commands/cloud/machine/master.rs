//! The machine that holds the master: it submits the sweep of its launch itself, says in the bucket where it is, lets in who may,
//! and ends itself when the sweep is over.
//! Invariant: a master that starts again finds everything as it was; no master is left idle by a launch that went wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridctl_core::fleet::launch::{LaunchSpec, MasterAddress as Place};
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::Code;
use gridctl_core::sched::FleetOver;
use gridctl_core::view::{SubmitRequest, Submitted, SweepStatus};
use gridctl_fleet::ec2::Ec2;
use gridctl_master::{Listen, Master, MasterConfig, OperatorQuestion, RebuildFrom, Running, Secure};
use gridctl_storage::journal::{JOURNAL_FILE, Options};
use gridctl_storage::results::Results;
use gridctl_storage::volume::{self, VolumeError};
use gridctl_worker::Address;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::super::fleet::{self, FleetEnd};
use super::super::launch::{LaunchReport, Operator, operator_key};
use super::super::{bucket_failure, failure};
use super::{Machine, Never, renew_timer, shut_down};
use crate::address::MasterAddress;
use crate::cli::BootArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::number;
use crate::source::api::{ApiClient, route};
use crate::source::{chain, master_failure};

/// How long a worker's certificate lives.
const CERTIFICATE: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks at the join file.
const JOIN: Duration = Duration::from_secs(2);
/// Between two reports for those who find no master.
const REPORT: Duration = Duration::from_secs(60);
/// The last records are tried to be shipped for so long: with the machine they would be gone.
const LAST_RECORDS: Duration = Duration::from_secs(3_600);
/// Tokens that wait to be looked up.
const ASKED: usize = 16;

/// Runs until the launch is over.
pub(super) async fn run(args: &BootArgs) -> Outcome {
    let machine = Machine::find(args).await?;
    let spec = read(&machine, "launch.json").await?;
    let spec = LaunchSpec::read(&spec)
        .map_err(|error| Failure::error("machine::launch", chain(&error)).help(error.help()))?;
    let request = read(&machine, "submission.json").await?;
    let request: SubmitRequest = serde_json::from_slice(&request)
        .map_err(|error| Failure::error("machine::submission", format!("it is not understood: {error}")))?;
    come_back(&machine, &request).await?;
    let (operators, asked) = mpsc::channel(ASKED);
    let join_file = machine.dir.join("join");
    let mut running = Master::start(config(&machine, &spec, &join_file, operators)?)
        .await
        .map_err(|error| master_failure(&error))?;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::error("machine", format!("cannot wait for signals: {error}")))?;
    let port = spec.port;
    say_where(&machine, &running, port).await?;
    let socket = running.advert().socket.clone();
    if let Err(refused) = submit(&machine, &socket, &request).await {
        let why = refused.problems.first().map_or_else(String::new, |problem| problem.message.clone());
        return over(machine, running, Some(why)).await;
    }
    let ec2 = Ec2::connect(Some(spec.region.clone())).await.map_err(|error| failure(&error))?;
    let ended = tokio::select! {
        ended = fleet::drive(running.handle().clone(), spec, ec2) => ended,
        error = running.failed() => return Err(master_failure(&error)),
        _ = terminate.recv() => {
            running.stop().await.map_err(|error| master_failure(&error))?;
            return Ok(Exit::Ok);
        }
        never = keep_join(&machine, &join_file) => match never {},
        never = let_in(&machine, asked) => match never {},
        never = keep_report(&machine, &socket) => match never {},
        never = renew_timer() => match never {},
    };
    match ended {
        FleetEnd::Over { why, left } => {
            let unfinished = match why {
                FleetOver::Sweeps => None,
                FleetOver::Budget => {
                    Some("the budget is spent; `gridctl launch` with another --budget goes on".to_owned())
                }
                FleetOver::Deadline => Some(
                    "the deadline has passed; `gridctl launch` with another `deadline` goes on".to_owned(),
                ),
            };
            let left = (left > 0).then(|| {
                let left = number::of(left as u64, "thing");
                format!("{left} could not be ended: `gridctl down {}` tries again", machine.sweep)
            });
            let problems: Vec<String> = unfinished.into_iter().chain(left).collect();
            over(machine, running, (!problems.is_empty()).then(|| problems.join("; "))).await
        }
        FleetEnd::MasterEnds => Err(master_failure(&running.failed().await)),
    }
}

/// What the launch has put into the bucket under this name.
async fn read(machine: &Machine, name: &str) -> Result<Vec<u8>, Failure> {
    let key = machine.key(name);
    let found = machine.bucket.get(&key).await.map_err(|error| bucket_failure(&error))?;
    found.ok_or_else(|| {
        Failure::error("machine::launch", format!("s3://{}/{key} is not there", machine.bucket.name()))
            .help("`gridctl launch` puts it there")
    })
}

/// A master without a journal begins with what the results know.
async fn come_back(machine: &Machine, request: &SubmitRequest) -> Result<(), Failure> {
    let Output::At(url) = &request.frozen.output else { return Ok(()) };
    if machine.dir.join(JOURNAL_FILE).exists() {
        return Ok(());
    }
    let (url, dir, sweep) = (url.clone(), machine.dir.clone(), request.frozen.spec.name.clone());
    let work = tokio::task::spawn_blocking(move || rebuilt(&dir, url, sweep));
    work.await.map_err(|error| Failure::error("machine", error.to_string()))?
}

/// Blocks.
fn rebuilt(dir: &Path, url: VolumeUrl, sweep: String) -> Result<(), Failure> {
    let failed = |error: VolumeError| {
        Failure::error("results", chain(&error)).maybe_help(error.help().map(str::to_owned))
    };
    match Results::of_name(volume::open(&url).map_err(failed)?, &sweep) {
        Err(VolumeError::NotFound { .. }) => return Ok(()),
        found => drop(found.map_err(failed)?),
    }
    let from = [RebuildFrom { output: Output::At(url.clone()), url, sweep }];
    let rebuilt = gridctl_master::rebuild(dir, &from, Options::default());
    for sweep in rebuilt.map_err(|error| master_failure(&error))?.sweeps {
        tracing::info!(
            sweep = sweep.name,
            records = sweep.records,
            "what an earlier launch has done is known"
        );
    }
    Ok(())
}

fn config(
    machine: &Machine,
    spec: &LaunchSpec,
    join_file: &Path,
    operators: mpsc::Sender<OperatorQuestion>,
) -> Result<MasterConfig, Failure> {
    let private = format!("{}:{}", machine.facts.private_address, spec.port);
    let public = machine.facts.public_address.as_ref().map(|address| format!("{address}:{}", spec.port));
    let secure = Secure {
        address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, spec.port)),
        advertise: Some(public.unwrap_or_else(|| private.clone())),
        advertise_workers: Some(private),
        join_file: Some(join_file.to_owned()),
        certificate_life: CERTIFICATE,
        operators: Some(operators),
    };
    MasterConfig::new(&machine.dir).listen_on(Listen::Secure(secure)).map_err(|error| master_failure(&error))
}

/// Says in the bucket where the master is.
async fn say_where(machine: &Machine, running: &Running, port: u16) -> Result<(), Failure> {
    let advert = running.advert();
    let place = Place {
        epoch: advert.epoch.0.into(),
        instance: machine.facts.instance.clone(),
        url: advert.url.clone().unwrap_or_default(),
        ca_pem: certificate(&machine.dir),
        private_address: format!("{}:{port}", machine.facts.private_address),
        public_address: machine.facts.public_address.as_ref().map(|address| format!("{address}:{port}")),
    };
    put(machine, "master.json", &place).await
}

/// The certificate of the master's CA, without the key that lies beside it.
fn certificate(dir: &Path) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let text = std::fs::read_to_string(dir.join("ca.pem")).unwrap_or_default();
    text.find(BEGIN).map_or_else(String::new, |at| text[at..].to_owned())
}

async fn put(machine: &Machine, name: &str, document: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec(document).map_err(|error| Failure::error("machine", error.to_string()))?;
    machine.bucket.put(&machine.key(name), text).await.map_err(|error| bucket_failure(&error))
}

async fn client(socket: &Path) -> Result<ApiClient, Failure> {
    ApiClient::connect(&MasterAddress { address: Address::Unix(socket.to_owned()), token: None }).await
}

/// Submits the sweep, with its code; a master that has it already is told nothing new.
async fn submit(machine: &Machine, socket: &Path, request: &SubmitRequest) -> Result<(), Failure> {
    let mut client = client(socket).await?;
    if let Some(Code::Pack { pack }) = &request.frozen.sources.code
        && !client.has_pack(*pack).await?
    {
        let bytes = read(machine, &format!("packs/{pack}")).await?;
        client.bring_pack(*pack, bytes.into()).await?;
    }
    match client.post::<Submitted>(&route(&["sweeps"]), request).await? {
        Submitted::Stands { .. } => Ok(()),
        Submitted::CodeChanged { lines, .. } => Err(Failure::error(
            "machine::changed",
            format!(
                "the sweep has changed since its earlier trials ({}): launch it with --changed",
                lines.join("; ")
            ),
        )),
    }
}

async fn status(sweep: &str, socket: &Path) -> Result<SweepStatus, Failure> {
    client(socket).await?.get(&route(&["sweeps", sweep]), &()).await
}

/// Copies what workers join by into the bucket, whenever it is replaced.
async fn keep_join(machine: &Machine, path: &Path) -> Never {
    let key = machine.key("join");
    let mut known = Vec::new();
    loop {
        match tokio::fs::read(path).await {
            Ok(text) if text != known => match machine.bucket.put(&key, text.clone()).await {
                Ok(()) => known = text,
                Err(error) => tracing::warn!("{}", chain(&error)),
            },
            Ok(_) => {}
            Err(error) => tracing::warn!("{}: {error}", path.display()),
        }
        tokio::time::sleep(JOIN).await;
    }
}

/// Says of tokens whether they are operators': the bucket has their hashes, and only operators write there.
async fn let_in(machine: &Machine, mut asked: mpsc::Receiver<OperatorQuestion>) -> Never {
    while let Some(OperatorQuestion { hash, answer }) = asked.recv().await {
        match machine.bucket.get(&operator_key(&hash)).await {
            Ok(Some(text)) => match serde_json::from_slice::<Operator>(&text) {
                // Whoever asks may have gone away.
                Ok(operator) => drop(answer.send(operator.expires_s.saturating_mul(1_000))),
                Err(error) => tracing::warn!("an operator's token is not understood: {error}"),
            },
            Ok(None) => {}
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }
    std::future::pending().await
}

/// Reports now and then, for those who find no master.
async fn keep_report(machine: &Machine, socket: &Path) -> Never {
    loop {
        report(machine, socket, (None, false)).await;
        tokio::time::sleep(REPORT).await;
    }
}

async fn report(machine: &Machine, socket: &Path, (problem, over): (Option<String>, bool)) {
    let report = LaunchReport {
        written_s: gridctl_fleet::ec2::now_s(),
        status: status(&machine.sweep, socket).await.ok(),
        problem,
        over,
    };
    if let Err(failure) = put(machine, "status.json", &report).await {
        let why = failure.problems.first().map_or("", |problem| &problem.message);
        tracing::warn!("no report is written: {why}");
    }
}

/// The last records are shipped, what let workers in is removed, and the machine ends.
async fn over(machine: Machine, running: Running, problem: Option<String>) -> Outcome {
    let socket: PathBuf = running.advert().socket.clone();
    let why = problem.clone().unwrap_or_else(|| format!("{} is over", machine.sweep));
    report(&machine, &socket, (problem, true)).await;
    let stopped = running.stop_when(&machine.sweep, tokio::time::sleep(LAST_RECORDS)).await;
    for left in stopped.map_err(|error| master_failure(&error))?.unshipped {
        tracing::error!(sweep = left.sweep, records = left.records, why = left.why, "records are lost");
    }
    let gone = ["join", "master.json"].map(|name| machine.key(name));
    if let Err(error) = machine.bucket.delete(&gone).await {
        tracing::warn!("{}", chain(&error));
    }
    shut_down(&why).await
}
