//! Connections that only take room. Those of whom nobody knows whose they are come from many addresses of the loopback network, and
//! come again when the master has hung up; those that are known show a certificate, and answer what HTTP/2 asks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridctl_worker::join::Identity;
use gridctl_worker::tls::{self, TlsLink};
use gridctl_worker::{Address, JoinAddress};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::{Outcome, joined, lock, random, report};

/// Connections of one address: fewer than the master's own limit.
const OF_ONE: usize = 50;
/// Known ones that are opened at a time.
const AT_ONCE: usize = 32;
/// Who was hung up comes again after so long.
const AGAIN_MS: u64 = 10_000;
/// Between two bytes of who is slow.
const BYTE: Duration = Duration::from_secs(10);
/// How a TLS handshake begins.
const HELLO: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// What one of them does once it is there.
#[derive(Clone, Copy)]
enum Kind {
    Idle,
    HalfOpen,
    Slow,
}

#[derive(Default)]
struct Tally {
    open: [usize; 3],
    came: usize,
    failed: usize,
}

pub(crate) async fn run(place: SocketAddr, counts: [usize; 3]) -> Outcome<()> {
    let tally: Arc<Mutex<Tally>> = Arc::default();
    let mut all = JoinSet::new();
    let kinds = [Kind::Idle, Kind::HalfOpen, Kind::Slow];
    let kinds = kinds.into_iter().zip(counts).flat_map(|(kind, count)| (0..count).map(move |_| kind));
    for (number, kind) in kinds.enumerate() {
        let number = u32::try_from(number / OF_ONE)?;
        let from = Ipv4Addr::from_bits((127 << 24) + (1 << 16) + ((number / 250) << 8) + number % 250 + 1);
        let tally = Arc::clone(&tally);
        all.spawn(async move {
            // All of them in the first second, and never all at once.
            tokio::time::sleep(Duration::from_millis(random(1_000))).await;
            loop {
                come((from, place), kind, &tally).await;
                tokio::time::sleep(Duration::from_millis(AGAIN_MS / 2 + random(AGAIN_MS))).await;
            }
        });
    }
    report(|| {
        let tally = lock(&tally);
        let [idle, half, slow] = tally.open;
        json!({"idle": idle, "half": half, "slow": slow, "came": tally.came, "failed": tally.failed})
    })
    .await
}

async fn come((from, place): (Ipv4Addr, SocketAddr), kind: Kind, tally: &Arc<Mutex<Tally>>) {
    let open = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(place).await
    };
    let Ok(socket) = open.await else {
        lock(tally).failed += 1;
        return;
    };
    let place = kind as usize;
    {
        let mut tally = lock(tally);
        tally.came += 1;
        tally.open[place] += 1;
    }
    stay(socket, kind).await;
    lock(tally).open[place] -= 1;
}

/// Until the other end hangs up.
async fn stay(socket: TcpStream, kind: Kind) {
    let (mut read, mut write) = socket.into_split();
    let speak = async {
        match kind {
            Kind::Idle => {}
            Kind::HalfOpen => drop(write.write_all(&HELLO[..3]).await),
            Kind::Slow => {
                for byte in HELLO {
                    if write.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(BYTE).await;
                }
            }
        }
        std::future::pending::<()>().await;
    };
    let mut ignored = [0; 64];
    let over = async { while matches!(read.read(&mut ignored).await, Ok(1..)) {} };
    tokio::select! {
        () = over => {}
        () = speak => {}
    }
}

/// Holds connections with a worker's certificate.
pub(crate) async fn known(join: &JoinAddress, count: usize) -> Outcome<()> {
    let identity = joined(join).await;
    let held: Arc<Mutex<(usize, usize)>> = Arc::default();
    let doors = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut all = JoinSet::new();
    for _ in 0..count {
        let (address, identity) = (join.address.clone(), identity.clone());
        let (held, doors) = (Arc::clone(&held), Arc::clone(&doors));
        all.spawn(async move {
            loop {
                let door = Arc::clone(&doors).acquire_owned().await;
                let Ok(mut link) = begin(&address, &identity).await else {
                    lock(&held).1 += 1;
                    tokio::time::sleep(Duration::from_millis(random(1_000))).await;
                    continue;
                };
                lock(&held).0 += 1;
                // Its certificate was looked at when the first answer is there.
                let begun = answer(&mut link).await;
                drop(door);
                if begun.is_ok() {
                    while answer(&mut link).await.is_ok() {}
                }
                lock(&held).0 -= 1;
            }
        });
    }
    report(|| {
        let (held, failed) = *lock(&held);
        json!({"held": held, "failed": failed})
    })
    .await
}

/// A connection that has said HTTP/2's preface.
async fn begin(address: &Address, identity: &Identity) -> std::io::Result<TlsLink> {
    let Address::Secure { place, pin } = address else {
        return Err(std::io::Error::other("this is no address with TLS"));
    };
    let mut link = tls::connect(place, *pin, Some(identity.shown()), "h2").await?;
    link.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    link.flush().await?;
    Ok(link)
}

/// Reads one frame, and answers what has to be.
async fn answer(link: &mut TlsLink) -> std::io::Result<()> {
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    let mut head = [0; 9];
    link.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = Vec::new();
    (&mut *link).take(length.into()).read_to_end(&mut payload).await?;
    match (head[3], head[4] & 1) {
        (SETTINGS, 0) => link.write_all(b"\0\0\0\x04\x01\0\0\0\0").await?,
        (PING, 0) => link.write_all(&[&b"\0\0\x08\x06\x01\0\0\0\0"[..], &payload].concat()).await?,
        _ => return Ok(()),
    }
    link.flush().await
}
