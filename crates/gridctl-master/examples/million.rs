//! A master with very many finished trials, for `bench/million`. `million make DIR COUNT` has a master record them, told by a
//! worker that starts nothing, and drops it as a crash would; `million ask DIR` starts a master on them and times its answers;
//! `million more DIR COUNT` submits a version with one more value, and says what that took.
//! Invariant: every trial goes over the wire, through the core and into the journal; only the trainer is missing.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use gridctl_core::id::{CodeHash, WorkerId};
use gridctl_core::machine::MachineHealth;
use gridctl_core::output::Output;
use gridctl_core::protocol::{
    Capacity, FrozenSweep, Grant, Hello, PROTOCOL, Sources, ToMaster, ToWorker, WorkerUpdate,
};
use gridctl_core::record::{Class, Exit, MetricValue, Report};
use gridctl_core::spec;
use gridctl_core::view::{LeaderboardQuery, SubmitRequest, Submitted};
use gridctl_master::{Advert, Master, MasterConfig};
use gridctl_proto::v1::worker_service_client::WorkerServiceClient;
use gridctl_proto::{limits, split};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Trials that the worker holds at once.
const SLOTS: u32 = 512;
/// Questions whose times are taken.
const QUESTIONS: usize = 101;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", dir, count] => make(Path::new(dir), count.parse()?).await,
        ["ask", dir] => ask(Path::new(dir)).await,
        ["more", dir, count] => more(Path::new(dir), count.parse()?).await,
        _ => Err("usage: million make DIR COUNT | million ask DIR | million more DIR COUNT".into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark takes times")]
fn now() -> Instant {
    Instant::now()
}

async fn make(dir: &Path, count: u64) -> Outcome<()> {
    let begun = now();
    let running = Master::start(MasterConfig::new(dir)).await?;
    let frozen = sweep(running.handle().data_dir(), count)?;
    let submit = SubmitRequest { frozen, changed: None, retry_failed: false, rerun: false };
    let Submitted::Stands { sweep, .. } = running.handle().submit(submit).await? else {
        return Err("the sweep does not stand: is the directory new?".into());
    };
    worker(running.advert(), count).await?;
    let sweep = running.handle().status(&sweep)?.id.ok_or("the sweep has no number")?;
    running.handle().wait_turned(sweep).await?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("recorded {count} trials in {seconds:.1} s: {:.0}/s", count as f64 / seconds);
    Ok(())
}

/// A sweep of `count` points, in a directory of its own.
fn sweep(data_dir: &Path, count: u64) -> Outcome<FrozenSweep> {
    let source = format!(
        "command: [/bin/sh, -c, \"echo s=1\"]\nmetric: {{name: s, goal: maximize}}\nparameters:\n  \
         i: {{min: 1, max: {count}, step: 1}}\n  lr: {{value: 0.001}}\n  optimizer: {{value: adam}}\n"
    );
    let parsed = spec::parse(source.as_bytes(), &spec::Context { file_stem: "million", count: None })?;
    Ok(FrozenSweep {
        uuid: String::new(),
        spec: parsed.spec,
        source,
        file: None,
        sources: Sources { base: data_dir.display().to_string(), code: None, data: None },
        output: Output::InDataDir,
        env: Vec::new(),
        code: CodeHash::of(&["million"]),
        reader: gridctl_core::metrics::READER_RULE,
        files: Vec::new(),
    })
}

/// A worker that reports every trial as soon as it is granted, until the master has recorded `count` of them.
async fn worker(advert: &Advert, count: u64) -> Outcome<()> {
    let channel = Endpoint::from_shared(advert.socket_address())?.connect().await?;
    let mut client = WorkerServiceClient::new(channel).max_decoding_message_size(limits::MAX_RESPONSE_BYTES);
    let (say, said) = mpsc::channel(1024);
    let hello = Hello {
        protocol: PROTOCOL,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        worker: WorkerId([1; 5]),
        host: "here".to_owned(),
        capacity: Capacity { cpu_milli: 1000, mem_mib: 1 << 20, gpus: 0, slots: SLOTS },
        held: Vec::new(),
        reports: Vec::new(),
        prefetch: SLOTS,
        draining: false,
        health: MachineHealth::Fit,
        cannot_run: Vec::new(),
        machine: None,
        taken: false,
    };
    for message in split::to_master(ToMaster::Hello(hello)) {
        say.send(message).await?;
    }
    let mut told = client.connect(ReceiverStream::new(said)).await?.into_inner();
    let mut recorded = 0;
    while recorded < count {
        let message = told.message().await?.ok_or("the master hung up")?;
        let update = match ToWorker::try_from(message)? {
            ToWorker::Welcome(_) => continue,
            ToWorker::Update(update) => update,
            ToWorker::Refused(why) => return Err(why.into()),
        };
        recorded += update.recorded.len() as u64;
        let reports: Vec<Report> = update.grants.iter().map(report).collect();
        let update = WorkerUpdate { reports, ..WorkerUpdate::default() };
        for message in split::to_master(ToMaster::Update(update)) {
            say.send(message).await?;
        }
    }
    Ok(())
}

/// What a trainer of a few milliseconds would have brought; the objective is any number in [0, 1), another for each trial.
fn report(grant: &Grant) -> Report {
    let bits = grant.trial.0.iter().take(6).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let value = bits as f64 / (1_u64 << 48) as f64;
    let log = format!("s={value}\n");
    Report {
        exit: Some(Exit::Code(0)),
        objective: Some(MetricValue(value)),
        metrics: vec![("s".to_owned(), MetricValue(value))],
        log_bytes: log.len() as u64,
        log,
        error: None,
        started_unix_ms: 1_790_000_000_000,
        duration_ms: 2,
        cpu_ms: 1,
        peak_rss_kib: 1_600,
        ..Report::without_process(grant.token, grant.trial, Class::Succeeded, "")
    }
}

async fn ask(dir: &Path) -> Outcome<()> {
    let begun = now();
    let running = Master::start(MasterConfig::new(dir)).await?;
    println!("start_ms {:.1}", milliseconds(begun.elapsed()));
    let mut times = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let begun = now();
        let board = running
            .handle()
            .leaderboard("", LeaderboardQuery { k: 10, ..LeaderboardQuery::default() })
            .await?;
        times.push(begun.elapsed());
        if board.rows.len() != 10 {
            return Err(format!("{} rows", board.rows.len()).into());
        }
    }
    println!("first_ms {:.2}", milliseconds(times[0]));
    times.sort_unstable();
    println!("median_ms {:.2}", milliseconds(times[times.len() / 2]));
    println!("slowest_ms {:.2}", milliseconds(times[times.len() - 1]));
    println!("rss_kib {}", status("VmRSS")?);
    println!("peak_kib {}", status("VmHWM")?);
    running.stop().await?;
    Ok(())
}

/// One more value for the sweep of `count` trials, which are known.
async fn more(dir: &Path, count: u64) -> Outcome<()> {
    let running = Master::start(MasterConfig::new(dir)).await?;
    let handle = running.handle();
    let results = handle.data_dir().join("results");
    let before = (journal_bytes(handle.data_dir())?, bytes_below(&results)?);
    let frozen = sweep(handle.data_dir(), count + 1)?;
    let submit = SubmitRequest { frozen, changed: None, retry_failed: false, rerun: false };
    let begun = now();
    let mut submitting = Box::pin(handle.submit(submit));
    let mut slowest = Duration::ZERO;
    let submitted = loop {
        let asked = now();
        tokio::select! {
            submitted = &mut submitting => {
                // The loop may have been at work on it when it was asked.
                slowest = slowest.max(asked.elapsed());
                break submitted?;
            }
            workers = handle.workers() => drop(workers?),
        }
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    drop(submitting);
    println!("submit_ms {:.0}", milliseconds(begun.elapsed()));
    println!("slowest_ms {:.1}", milliseconds(slowest));
    match submitted {
        Submitted::Stands { known, .. } => println!("known {known}"),
        Submitted::CodeChanged { .. } => return Err("it is other code".into()),
    }
    let begun = now();
    handle.leaderboard("", LeaderboardQuery { k: 10, ..LeaderboardQuery::default() }).await?;
    println!("leaderboard_ms {:.2}", milliseconds(begun.elapsed()));
    println!("peak_kib {}", status("VmHWM")?);
    let data_dir = handle.data_dir().to_owned();
    running.stop().await?;
    println!("journal_growth {}", journal_bytes(&data_dir)?.saturating_sub(before.0));
    println!("results_growth {}", bytes_below(&results)?.saturating_sub(before.1));
    Ok(())
}

fn journal_bytes(dir: &Path) -> Outcome<u64> {
    let sizes = std::fs::read_dir(dir)?.map(|entry| {
        let entry = entry?;
        let is_journal = entry.file_name().to_string_lossy().starts_with("journal.sqlite");
        Ok(if is_journal { entry.metadata()?.len() } else { 0 })
    });
    sizes.sum()
}

fn bytes_below(dir: &Path) -> Outcome<u64> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(0) };
    let sizes = entries.map(|entry| {
        let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        if metadata.is_dir() { bytes_below(&path) } else { Ok(metadata.len()) }
    });
    sizes.sum()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A line of this process's status, in KiB.
fn status(name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
