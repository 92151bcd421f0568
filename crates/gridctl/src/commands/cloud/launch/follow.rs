//! From a machine that was started to a master that answers, and to its first results.
//! Invariant: only reads, but for the token of whoever asks; whatever ends this, the launch goes on.

use std::path::PathBuf;
use std::time::Duration;

use gridctl_core::access::token_hash;
use gridctl_core::fleet::launch::MasterAddress;
use gridctl_core::view::SweepStatus;
use gridctl_fleet::ec2::{self, Ec2, MasterOrder, is_not_yet};
use gridctl_storage::volume::s3::AccountBucket;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::{bucket_failure, failure};
use super::{LaunchReport, OPERATOR_S, Operator, key, operator_key};
use crate::address;
use crate::clock;
use crate::commands::run::progress;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, number, sanitise};
use crate::source::api::{ApiClient, route};
use crate::source::chain;
use crate::source::pointer::LaunchPointer;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// A master is there within this time, or its launch has gone wrong.
const MASTER: Duration = Duration::from_secs(480);
/// A profile that was just made is known everywhere within this time.
const PROFILE: Duration = Duration::from_secs(120);
/// A master that was just started takes the token within this time.
const TOKEN: Duration = Duration::from_secs(30);
/// Lines of a console that are shown.
const CONSOLE: usize = 15;

/// A launch whose master is awaited.
pub(super) struct Waiting {
    pub(super) ec2: Ec2,
    pub(super) bucket: AccountBucket,
    pub(super) pointer: LaunchPointer,
    pub(super) instance: String,
    /// The token of whoever launched it.
    pub(super) token: String,
    /// The data directory.
    pub(super) dir: PathBuf,
    /// What its trials are ranked by.
    pub(super) metric: String,
}

/// Puts a document of the launch into the bucket.
pub(super) async fn put(
    bucket: &AccountBucket,
    sweep: &str,
    name: &str,
    document: &impl Serialize,
) -> Result<(), Failure> {
    let text = serde_json::to_vec(document).map_err(|error| Failure::error("launch", error.to_string()))?;
    bucket.put(&key(sweep, name), text).await.map_err(|error| bucket_failure(&error))
}

/// A document of a launch; `None` if there is none.
pub(super) async fn get<T: DeserializeOwned>(
    bucket: &AccountBucket,
    sweep: &str,
    name: &str,
) -> Result<Option<T>, Failure> {
    let key = key(sweep, name);
    let Some(text) = bucket.get(&key).await.map_err(|error| bucket_failure(&error))? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Failure::error("launch", format!("s3://{}/{key} is not understood: {error}", bucket.name()))
            .help("launch and command may be of different releases: `gridctl --version`")
    })
}

/// 256 random bits, in hexadecimal.
pub(super) fn secret() -> Result<String, Failure> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Failure::error("launch", error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A new token, whose hash the masters of this account know from now on.
pub(super) async fn new_operator(bucket: &AccountBucket) -> Result<String, Failure> {
    let token = secret()?;
    let operator = Operator { expires_s: ec2::now_s().saturating_add(OPERATOR_S) };
    let text = serde_json::to_vec(&operator).map_err(|error| Failure::error("launch", error.to_string()))?;
    let put = bucket.put(&operator_key(&token_hash(token.as_bytes())), text).await;
    put.map_err(|error| bucket_failure(&error))?;
    Ok(token)
}

/// This machine's address, as a rule of a security group.
pub(super) async fn own_cidr(ec2: &Ec2) -> Result<String, Failure> {
    match ec2.own_address().await {
        Ok(address) if address.is_ipv4() => Ok(format!("{address}/32")),
        Ok(address) => Err(Failure::error(
            "launch::address",
            format!("this machine comes from {address}, which is no IPv4 address"),
        )
        .help("--client-cidr says from where the master may be asked")),
        Err(error) => {
            Err(failure(&error).help("--client-cidr says from where the master may be asked: 203.0.113.7/32"))
        }
    }
}

/// Starts the machine; a profile that was just made may not be known everywhere yet.
pub(super) async fn started(ec2: &Ec2, order: &MasterOrder) -> Result<String, Failure> {
    let began = clock::now();
    loop {
        match ec2.start_master(order).await {
            Err(error) if is_not_yet(&error) && began.elapsed() < PROFILE => tokio::time::sleep(LOOK).await,
            ended => return ended.map_err(|error| failure(&error)),
        }
    }
}

/// Waits for the master, and follows it until it has results.
pub(super) async fn first_results(mut waiting: Waiting) -> Outcome {
    let place = master(&waiting).await?;
    waiting.pointer.master = Some(place.url.clone());
    let address = place.url.parse().map_err(|_| {
        Failure::error(
            "launch::master",
            format!("`{}` is no master's address", sanitise::short(&place.url, 120)),
        )
    })?;
    address::keep_for(&address, &waiting.token)?;
    waiting.pointer.write(&waiting.dir)?;
    let sweep = waiting.pointer.sweep.clone();
    let mut client = connected(&waiting).await?;
    output::say(format_args!("its master answers at {}", place.url));
    let mut shown = String::new();
    loop {
        match client.get::<SweepStatus>(&route(&["sweeps", &sweep]), &()).await {
            Ok(status) => {
                let line = progress::line(&status, &waiting.metric, None);
                let line = format!("{sweep}: {}, {line}", number::of(status.workers, "worker"));
                if line != shown {
                    output::say(&line);
                    shown = line;
                }
                if status.succeeded > 0 || status.state.is_over() {
                    break;
                }
            }
            // It may be started again just now.
            Err(failure) if failure.exit == Exit::Unreachable => {
                if let Ok(again) = ApiClient::connect(&waiting.pointer.place()?.ok_or_else(no_place)?).await {
                    client = again;
                }
            }
            Err(failure) if failure.exit == Exit::NotAllowed => return Err(failure),
            // The sweep is not submitted yet, or was refused.
            Err(_) => refused(&waiting).await?,
        }
        tokio::time::sleep(LOOK).await;
    }
    output::say(format_args!(
        "it goes on without this machine: `gridctl status -w` follows it, `gridctl leaderboard` ranks what is known, `gridctl attach {sweep}` \
         finds it from elsewhere; results: {}",
        waiting.pointer.results
    ));
    Ok(Exit::Ok)
}

fn no_place() -> Failure {
    Failure::error("launch::master", "the master has no address")
}

/// Waits until the master has said where it is.
async fn master(waiting: &Waiting) -> Result<MasterAddress, Failure> {
    let began = clock::now();
    let sweep = &waiting.pointer.sweep;
    output::say("waiting for its master, which takes a minute or two");
    while began.elapsed() < MASTER {
        if let Some(place) = get(&waiting.bucket, sweep, "master.json").await? {
            return Ok(place);
        }
        let machine = waiting.ec2.master_machine(&waiting.instance).await;
        if let Ok(Some(machine)) = machine
            && !machine.is_there
        {
            return Err(gone_wrong(waiting, &format!("its machine has ended: {}", machine.why)).await);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(gone_wrong(waiting, &format!("there is none after {}", number::duration(MASTER))).await)
}

/// Why there is no master, with what its machine has printed.
async fn gone_wrong(waiting: &Waiting, why: &str) -> Failure {
    let sweep = &waiting.pointer.sweep;
    let console = waiting.ec2.console(&waiting.instance).await.ok().flatten().unwrap_or_default();
    let lines: Vec<&str> = console.lines().collect();
    let end = lines[lines.len().saturating_sub(CONSOLE)..].join("\n");
    let mut message = format!("no master of `{sweep}` on {}: {why}", waiting.instance);
    if !end.trim().is_empty() {
        message = format!("{message}; the end of what its machine printed:\n{}", sanitise::lines(&end));
    }
    Failure::error("launch::master", message)
        .help(format!("`gridctl down {sweep}` ends what is there; then launch it again"))
}

/// A connection that the master lets do everything: it looks the token up when it sees it first.
async fn connected(waiting: &Waiting) -> Result<ApiClient, Failure> {
    let place = waiting.pointer.place()?.ok_or_else(no_place)?;
    let began = clock::now();
    loop {
        let asked = async {
            let mut client = ApiClient::connect(&place).await?;
            client.get::<Vec<SweepStatus>>(&route(&["sweeps"]), &()).await?;
            Ok::<_, Failure>(client)
        };
        match asked.await {
            Err(failure) if began.elapsed() > TOKEN => {
                return Err(failure.help(
                    "the master runs, and cannot be asked from here: --client-cidr says from where it may be; \
                     `gridctl attach` tries again",
                ));
            }
            Err(_) => tokio::time::sleep(LOOK).await,
            connected => return connected,
        }
    }
}

/// An error if the master has refused the sweep.
async fn refused(waiting: &Waiting) -> Result<(), Failure> {
    let report: Option<LaunchReport> = get(&waiting.bucket, &waiting.pointer.sweep, "status.json").await?;
    match report.and_then(|report| report.problem) {
        Some(problem) => Err(Failure::error("launch::refused", sanitise::line(&problem).into_owned())
            .help("its machine ends by itself; mend the sweep and launch it again")),
        None => Ok(()),
    }
}

/// Where the master of a launch is now, if it is anywhere.
pub(super) async fn place_of(bucket: &AccountBucket, sweep: &str) -> Result<Option<MasterAddress>, Failure> {
    get(bucket, sweep, "master.json").await
}

/// What a person is told of an error that is passed over.
pub(super) fn passed_over(what: &str, error: &ec2::CloudError) {
    output::say(format_args!("{what}: {}", chain(error)));
}
