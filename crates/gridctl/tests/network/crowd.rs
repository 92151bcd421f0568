//! Many connections of nobody: they have an end, and those who are known do not notice.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::lab::now;
use super::nodes::{Caller, Master, runtime};

/// More than an address may have of connections that nobody knows.
const CROWD: usize = 300;

/// Whether the other end has hung up.
fn is_over(socket: &mut TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    match socket.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn g43_half_open_handshakes_of_one_address_keep_nobody_else_out_and_end() {
    let mut master = Master::start(&[]);
    let (read, _) = master.token(&["--role", "read"]);
    master.worker("worker", &["--join-file", "../join"]);
    master.lab.until("the worker joins", || master.said_by("worker").contains("joined"));
    let place: SocketAddr = master.place.parse().unwrap();
    runtime().block_on(async {
        // One who is known before the crowd comes, and goes on while it is there.
        let mut known = Caller::connect(&master, None).await.unwrap();
        assert_eq!(known.ask("GET", "/api/v1/sweeps", Some(&read)).await, Some(200));
        let began = now();
        let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| TcpStream::connect(place).unwrap()).collect();
        for socket in &mut crowd {
            // The beginning of a handshake, and no more of it. Some are closed already.
            let _ = socket.write_all(&[22, 3, 1]);
        }
        let open = |crowd: &mut Vec<TcpStream>| {
            crowd.retain_mut(|socket| !is_over(socket));
            crowd.len()
        };
        while open(&mut crowd) > 64 {
            assert!(began.elapsed() < Duration::from_secs(4), "{} are let in", crowd.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(known.ask("GET", "/api/v1/sweeps", Some(&read)).await, Some(200));
        // Another address has places of its own.
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let other = other.connect(place).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(other.try_read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        while open(&mut crowd) > 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "{} stay", crowd.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut late = Caller::connect(&master, None).await.expect("there is room again");
        assert_eq!(late.ask("GET", "/api/v1/workers", Some(&read)).await, Some(200));
    });
    assert_eq!(master.said_by("worker").matches("joined").count(), 1);
    assert!(!master.said_by("worker").contains("broke"), "{}", master.said_by("worker"));
}

#[test]
fn g43_who_never_says_who_they_are_is_hung_up_and_a_known_one_stays() {
    let master = Master::start(&[]);
    let (read, _) = master.token(&["--role", "read"]);
    runtime().block_on(async {
        let mut nobody = Caller::connect(&master, None).await.unwrap();
        let mut known = Caller::connect(&master, None).await.unwrap();
        assert_eq!(known.ask("GET", "/api/v1/sweeps", Some(&read)).await, Some(200));
        // Requests with no good token make nobody known.
        let began = now();
        while nobody.ask("GET", "/api/v1/sweeps", None).await == Some(401) {
            assert!(began.elapsed() < Duration::from_secs(40));
            assert_eq!(known.ask("GET", "/api/v1/sweeps", Some(&read)).await, Some(200));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(known.ask("GET", "/api/v1/sweeps", Some(&read)).await, Some(200));
    });
}
