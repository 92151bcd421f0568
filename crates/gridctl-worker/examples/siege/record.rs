//! A worker whose trials take no time: what there is between a grant and its record is the way there and back, and the journal.

use std::time::Duration;

use gridctl_core::id::WorkerId;
use gridctl_core::machine::MachineHealth;
use gridctl_core::protocol::{Capacity, Grant, Hello, PROTOCOL, ToMaster, ToWorker, WorkerUpdate};
use gridctl_core::record::{Class, Exit, MetricValue, Report};
use gridctl_worker::connection::{Dial, MasterLink};
use gridctl_worker::{Bearer, JoinAddress};

use super::{Outcome, joined, now, random};

/// Trials that it holds at once.
const SLOTS: u32 = 512;

/// Reports `count` trials, and says how many a second were recorded. `address` is one to join, or a socket's.
pub(crate) async fn run(address: &str, count: usize) -> Outcome<()> {
    let (dial, worker) = match address.parse::<JoinAddress>() {
        Ok(join) => {
            let identity = joined(&join).await;
            let worker = identity.worker;
            (Dial { address: join.address, bearer: Bearer::none(), identity: Some(identity) }, worker)
        }
        Err(_) => {
            let [a, b, c, d, e, ..] = random(u64::MAX).to_le_bytes();
            let dial = Dial { address: address.parse()?, bearer: Bearer::none(), identity: None };
            (dial, WorkerId([a, b, c, d, e]))
        }
    };
    let mut link = MasterLink::open(dial, worker).await?;
    let mut sent = link.send(ToMaster::Hello(hello(worker)));
    let (mut recorded, mut begun) = (0, None);
    while recorded < count && sent {
        let update = match link.next().await? {
            ToWorker::Welcome(_) => continue,
            ToWorker::Update(update) => update,
            ToWorker::Refused(why) => return Err(why.into()),
        };
        if !update.grants.is_empty() {
            begun.get_or_insert_with(now);
        }
        recorded += update.recorded.len();
        let reports: Vec<Report> = update.grants.iter().map(report).collect();
        sent = link.send(ToMaster::Update(WorkerUpdate { reports, ping: true, ..WorkerUpdate::default() }));
        if update.grants.is_empty() && update.recorded.is_empty() {
            // An answer that says nothing: the next one is not asked for at once.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    if !sent {
        return Err("the master does not read".into());
    }
    let seconds = begun.ok_or("nothing was granted")?.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({"recorded": recorded, "seconds": seconds}));
    Ok(())
}

fn hello(worker: WorkerId) -> Hello {
    Hello {
        protocol: PROTOCOL,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        worker,
        host: "siege".to_owned(),
        capacity: Capacity { cpu_milli: 1_000 * SLOTS, mem_mib: 1 << 20, gpus: 0, slots: SLOTS },
        held: Vec::new(),
        reports: Vec::new(),
        prefetch: SLOTS,
        draining: false,
        health: MachineHealth::Fit,
        cannot_run: Vec::new(),
        machine: None,
        taken: false,
    }
}

/// What a trainer of a few milliseconds would have brought.
fn report(grant: &Grant) -> Report {
    let log = "s=1\n".to_owned();
    Report {
        exit: Some(Exit::Code(0)),
        objective: Some(MetricValue(1.0)),
        metrics: vec![("s".to_owned(), MetricValue(1.0))],
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
