//! Stands before a store and does to its answers what networks do: one connection a request.
//! Invariant: each fault that is ordered is played once, for a request that it fits, and noted.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What befalls a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is cut before the store hears of it.
    CutBefore,
    /// The store does it, and the connection is cut before the answer.
    CutAfter,
    /// The connection is cut in the middle of the answer.
    CutAnswer,
    /// This status, with this code, and the store does not hear of it.
    Status(u16, &'static str),
    /// The store does it, and this status is answered.
    StatusAfter(u16, &'static str),
    /// Nothing is answered until the connection is given up.
    Hang,
    /// The answer has these headers besides.
    Header(u16, &'static str, &'static str),
    /// The last byte of the answer is another one.
    Flip,
    /// Conditions are left out, as old stores do.
    NoConditions,
}

/// Methods and parts of paths that a fault is for, and how often.
#[derive(Debug)]
struct Order {
    method: &'static str,
    part: &'static str,
    fault: Fault,
    left: usize,
}

/// A proxy that listens.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    orders: Arc<Mutex<Vec<Order>>>,
    seen: Arc<Mutex<Vec<String>>>,
    /// The store gets one write at a time: moto looks at a condition and writes in two steps.
    writes: Arc<Mutex<()>>,
}

impl Proxy {
    /// Stands before `store`.
    pub(crate) fn before(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, orders: Arc::default(), seen: Arc::default(), writes: Arc::default() };
        let itself = proxy.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let itself = itself.clone();
                // A connection that breaks is what this is about.
                std::thread::spawn(move || itself.serve(&client, store).ok());
            }
        });
        proxy
    }

    /// The next `times` requests of this method, whose path and query have `part` in them, meet
    /// with this fault.
    pub(crate) fn order(&self, (method, part): (&'static str, &'static str), fault: Fault, times: usize) {
        self.orders.lock().unwrap().push(Order { method, part, fault, left: times });
    }

    /// What was asked since the last call: method, path and query.
    pub(crate) fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many faults were ordered and not met yet.
    pub(crate) fn left(&self) -> usize {
        self.orders.lock().unwrap().iter().map(|order| order.left).sum()
    }

    fn fault(&self, method: &str, path: &str) -> Option<Fault> {
        self.seen.lock().unwrap().push(format!("{method} {path}"));
        let mut orders = self.orders.lock().unwrap();
        let fits = |order: &&mut Order| order.left > 0 && order.method == method && path.contains(order.part);
        let order = orders.iter_mut().find(fits)?;
        order.left -= 1;
        Some(order.fault.clone())
    }

    fn serve(&self, mut client: &TcpStream, store: SocketAddr) -> io::Result<()> {
        let request = Request::read(client)?;
        let fault = self.fault(&request.method, &request.path);
        let answer = match &fault {
            Some(Fault::CutBefore) => return client.shutdown(Shutdown::Both),
            Some(Fault::Hang) => return client.read_to_end(&mut Vec::new()).map(drop),
            Some(Fault::Status(status, code)) => made(*status, code, ""),
            Some(Fault::Header(status, name, value)) => made(*status, "", &format!("{name}: {value}\r\n")),
            _ => {
                let is_write = request.method == "PUT";
                let _one = is_write.then(|| self.writes.lock().unwrap_or_else(PoisonError::into_inner));
                request.ask(store, fault == Some(Fault::NoConditions))?
            }
        };
        match fault {
            Some(Fault::CutAfter) => client.shutdown(Shutdown::Both),
            Some(Fault::Flip) => {
                let (last, rest) = answer.split_last().ok_or(io::ErrorKind::UnexpectedEof)?;
                client.write_all(rest).and_then(|()| client.write_all(&[last ^ 1]))
            }
            Some(Fault::CutAnswer) => client.write_all(&answer[..answer.len() - answer.len().min(3)]),
            Some(Fault::StatusAfter(status, code)) => client.write_all(&made(status, code, "")),
            _ => client.write_all(&answer),
        }
    }
}

/// An answer of the proxy's own.
fn made(status: u16, code: &str, headers: &str) -> Vec<u8> {
    let body = match code {
        "" => String::new(),
        code => format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>made by a test</Message></Error>"
        ),
    };
    let head = format!("HTTP/1.1 {status} Made\r\ncontent-type: application/xml\r\nconnection: close\r\n");
    format!("{head}{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

struct Request {
    method: String,
    path: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    fn read(mut client: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let first = lines.first().cloned().ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let named = |name: &str| {
            lines.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        if named("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let length = named("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Self { method, path, headers: lines.split_off(1), body })
    }

    /// The store's whole answer.
    fn ask(&self, store: SocketAddr, without_conditions: bool) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(store)?;
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for header in &self.headers {
            let name = header.split(':').next().unwrap_or_default().to_lowercase();
            let left_out = ["connection", "expect"].contains(&name.as_str())
                || (without_conditions && name == "if-none-match");
            if !left_out {
                head += &format!("{header}\r\n");
            }
        }
        stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
        stream.write_all(&self.body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}
