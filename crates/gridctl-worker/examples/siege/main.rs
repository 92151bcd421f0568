//! Who comes to a master over the network, for `bench/siege`, each kind in a process of its own:
//! `siege workers JOIN COUNT PROBES EVERY_MS` are workers that join, connect and heartbeat as real ones do, and run nothing;
//! `siege known JOIN COUNT` holds connections that show one certificate, and say no more;
//! `siege nobody PLACE IDLE HALF SLOW` holds connections of whom nobody knows whose they are;
//! `siege record ADDRESS COUNT` is a worker whose trials take no time.
//! Invariant: each prints how it stands as one line of JSON every half second, until its standard input closes.

mod nobody;
mod record;
mod workers;

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gridctl_worker::JoinAddress;
use gridctl_worker::join::{Identity, join};
use serde_json::Value as Json;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Between two lines.
const EVERY: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["workers", join, count, probes, every_ms] => {
            let probing = (probes.parse()?, Duration::from_millis(every_ms.parse()?));
            workers::run(&join.parse()?, count.parse()?, probing).await
        }
        ["known", join, count] => nobody::known(&join.parse()?, count.parse()?).await,
        ["nobody", place, idle, half, slow] => {
            nobody::run(place.parse()?, [idle.parse()?, half.parse()?, slow.parse()?]).await
        }
        ["record", address, count] => record::run(address, count.parse()?).await,
        _ => Err("usage: siege workers|known|nobody|record ...".into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark takes times")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn random(below: u64) -> u64 {
    getrandom::u64().unwrap_or(0) % below.max(1)
}

pub(crate) fn lock<T>(shared: &Arc<Mutex<T>>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins, as often as it takes.
pub(crate) async fn joined(address: &JoinAddress) -> Identity {
    loop {
        match join(address.clone()).await {
            Ok(identity) => return identity,
            // As a worker that starts.
            Err(_) => tokio::time::sleep(Duration::from_millis(1_000 + random(2_000))).await,
        }
    }
}

/// Prints what `say` says, again and again, until nobody wants to know.
pub(crate) async fn report(say: impl Fn() -> Json) -> Outcome<()> {
    let over = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let lines = async {
        loop {
            tokio::time::sleep(EVERY).await;
            println!("{}", say());
        }
    };
    tokio::select! {
        _ = over => Ok(()),
        () = lines => Ok(()),
    }
}
