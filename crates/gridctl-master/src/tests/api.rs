//! The API over real sockets: what people ask, and what nobody should.

use std::time::Duration;

use axum::body::Bytes;
use gridctl_core::sched::SweepState;
use gridctl_core::view::{Leaderboard, Problem, Submitted, SweepStatus, TrialDetails};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use sse_stream::SseStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use super::fake::{Fake, SOON, eventually, frozen, hello, stands, start, submit};
use crate::{Listen, Master, MasterConfig, Running};

/// A connection that speaks HTTP/1.1, and the headers that go with each request.
struct Client {
    wire: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    _tasks: JoinSet<()>,
}

impl Client {
    async fn by_unix(running: &Running) -> Self {
        let socket = UnixStream::connect(&running.advert().socket).await.unwrap();
        Self::over(TokioIo::new(socket), &[("host", "localhost")]).await
    }

    async fn by_tcp(running: &Running, headers: &[(&str, &str)]) -> Self {
        let socket = TcpStream::connect(running.advert().tcp.unwrap()).await.unwrap();
        Self::over(TokioIo::new(socket), headers).await
    }

    async fn over<S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static>(
        socket: S,
        headers: &[(&str, &str)],
    ) -> Self {
        let (wire, connection) = handshake(socket).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            map.insert(name, value.parse().unwrap());
        }
        Self { wire, headers: map, _tasks: tasks }
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Json>,
    ) -> Response<hyper::body::Incoming> {
        let mut request =
            Request::new(Full::new(body.as_ref().map_or_else(Bytes::new, |it| it.to_string().into())));
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = path.parse().unwrap();
        *request.headers_mut() = self.headers.clone();
        if body.is_some() {
            request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        }
        self.wire.ready().await.unwrap();
        tokio::time::timeout(SOON, self.wire.send_request(request)).await.unwrap().unwrap()
    }

    /// The status and the document.
    async fn ask(&mut self, method: &str, path: &str, body: Option<Json>) -> (StatusCode, Json) {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Json::Null))
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> T {
        let (status, document) = self.ask("GET", path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {document}");
        serde_json::from_value(document).unwrap()
    }

    async fn problem(&mut self, method: &str, path: &str, body: Option<Json>) -> (StatusCode, Problem) {
        let (status, document) = self.ask(method, path, body).await;
        (
            status,
            serde_json::from_value(document.clone())
                .unwrap_or_else(|_| panic!("{path}: {status} {document}")),
        )
    }
}

async fn on_tcp(dir: &std::path::Path) -> Running {
    let config = MasterConfig::new(dir).listen_on(Listen::Plain("127.0.0.1:0".parse().unwrap())).unwrap();
    Master::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_ask_in_documents() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let mut client = Client::by_unix(&running).await;
    let (status, problem) = client.problem("GET", "/api/v1/sweeps/~", None).await;
    assert_eq!((status, problem.code.as_str()), (StatusCode::NOT_FOUND, "no_sweep"));
    assert!(problem.help.unwrap().contains("`gridctl run FILE`"));
    let request = serde_json::to_value(submit(frozen("wine", 2, dir.path()))).unwrap();
    let (_, answer) = client.ask("POST", "/api/v1/sweeps", Some(request)).await;
    let answer: Submitted = serde_json::from_value(answer).unwrap();
    assert!(matches!(answer, Submitted::Stands { version: 1, new: true, .. }), "{answer:?}");
    let bad = client.problem("POST", "/api/v1/sweeps", Some(json!({ "frozen": {} }))).await;
    assert_eq!((bad.0, bad.1.code.as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "document"), "{bad:?}");

    let mut follower = Client::by_unix(&running).await;
    let events = follower.send("GET", "/api/v1/sweeps/wine/events?every_ms=60000", None).await;
    let mut events = SseStream::new(events.into_body());
    let mut next = async || -> Option<SweepStatus> {
        let event = tokio::time::timeout(SOON, events.next()).await.unwrap()?;
        Some(serde_json::from_str(&event.unwrap().data?).unwrap())
    };
    assert_eq!(next().await.unwrap().total, 2);
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(1).await;
    let workers: Vec<gridctl_core::sched::WorkerView> = client.get("/api/v1/workers").await;
    assert_eq!(workers[0].host, "host1");
    worker.work(1).await;
    let last = next().await.unwrap();
    assert_eq!((last.state, last.succeeded), (SweepState::Finished, 2));
    assert!(next().await.is_none());

    let board: Leaderboard = client.get("/api/v1/sweeps/~/leaderboard").await;
    assert_eq!((board.metric.as_deref(), board.rows.len(), board.total), (Some("score"), 2, 2));
    let route = "/api/v1/sweeps/wine/leaderboard?filter=scor%20%3E%201";
    let (status, problem) = client.problem("GET", route, None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem.message.contains("did you mean `score`?"), "{problem:?}");
    let (_, problem) = client.problem("GET", "/api/v1/sweeps/wine/leaderboard?k=many", None).await;
    assert!(problem.message.contains('k'), "{problem:?}");
    for name in ["best", "%231"] {
        let details: TrialDetails = client.get(&format!("/api/v1/sweeps/wine/trials/{name}")).await;
        assert_eq!(details.attempts.len(), 1, "{name}");
    }
    for token in ["x", "s-1"] {
        let route = format!("/api/v1/sweeps/wine/trials?page_token={token}");
        assert_eq!(client.problem("GET", &route, None).await.0, StatusCode::BAD_REQUEST, "{token}");
    }
    let (status, problem) =
        client.problem("POST", "/api/v1/sweeps/wine/steer", Some(json!({ "steer": "pause" }))).await;
    assert_eq!((status, problem.code.as_str()), (StatusCode::CONFLICT, "sweep_is_over"));
    let drained = client.ask("POST", "/api/v1/workers/drain", Some(json!({ "grace_ms": 1 }))).await;
    assert_eq!(drained.0, StatusCode::NO_CONTENT);
    let sweeps: Vec<SweepStatus> = client.get("/api/v1/sweeps").await;
    assert_eq!(sweeps.len(), 1);
    running.stop().await.unwrap();
}

/// Every route, with a method that it takes.
const ROUTES: [(&str, &str); 11] = [
    ("GET", "/api/v1/sweeps"),
    ("POST", "/api/v1/sweeps"),
    ("GET", "/api/v1/sweeps/wine"),
    ("GET", "/api/v1/sweeps/wine/events"),
    ("POST", "/api/v1/sweeps/wine/steer"),
    ("POST", "/api/v1/sweeps/wine/retry"),
    ("GET", "/api/v1/sweeps/wine/leaderboard"),
    ("GET", "/api/v1/sweeps/wine/trials"),
    ("GET", "/api/v1/sweeps/wine/trials/best"),
    ("GET", "/api/v1/workers"),
    ("POST", "/api/v1/workers/drain"),
];

#[tokio::test(flavor = "multi_thread")]
async fn h56_no_verb_on_any_route_is_answered_without_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let running = on_tcp(dir.path()).await;
    stands(&running, frozen("wine", 2, dir.path())).await;
    let token = format!("Bearer {}", running.advert().token);
    let forged = format!("Bearer {}", "0".repeat(64));
    let verbs = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"];
    for shown in [None, Some(forged.as_str()), Some("Bearer"), Some("Basic YTpi")] {
        let mut headers = vec![("host", "localhost")];
        headers.extend(shown.map(|shown| ("authorization", shown)));
        let mut client = Client::by_tcp(&running, &headers).await;
        for (_, route) in ROUTES.iter().chain(&[("GET", "/"), ("POST", "/gridctl.v1.WorkerService/Connect")])
        {
            for verb in verbs {
                let status = client.ask(verb, route, None).await.0;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{verb} {route} {shown:?}");
            }
        }
    }
    let mut client = Client::by_tcp(&running, &[("host", "localhost"), ("authorization", &token)]).await;
    for (good, route) in ROUTES {
        for verb in verbs {
            let taken: &[&str] = match (good, route) {
                (_, "/api/v1/sweeps") => &["GET", "HEAD", "POST"],
                ("GET", _) => &["GET", "HEAD"],
                _ => &["POST"],
            };
            if taken.contains(&verb) {
                continue;
            }
            let status = client.ask(verb, route, None).await.0;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{verb} {route}");
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn h57_a_page_of_somebody_elses_gets_nothing_though_it_has_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let running = on_tcp(dir.path()).await;
    let token = format!("Bearer {}", running.advert().token);
    let address = running.advert().tcp.unwrap().to_string();
    let origin = format!("http://{address}");
    let cases = [
        (&[("host", address.as_str())][..], StatusCode::OK),
        (&[("host", &address), ("origin", &origin)], StatusCode::OK),
        (&[("host", "evil.com")], StatusCode::FORBIDDEN),
        (&[("host", &address), ("origin", "http://evil.com")], StatusCode::FORBIDDEN),
        (&[("host", &address), ("origin", "null")], StatusCode::FORBIDDEN),
        (&[], StatusCode::FORBIDDEN),
    ];
    for (headers, expected) in cases {
        let headers = [headers, &[("authorization", token.as_str())]].concat();
        let status = Client::by_tcp(&running, &headers).await.ask("GET", "/api/v1/sweeps", None).await.0;
        assert_eq!(status, expected, "{headers:?}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn h58_h59_no_path_leads_elsewhere_and_no_request_makes_the_master_call_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 2, dir.path())).await;
    let mut client = Client::by_unix(&running).await;
    let paths = [
        "/..%2f..%2fetc/passwd",
        "/api/v1/sweeps/..%2f..%2fetc%2fpasswd",
        "/api/v1/sweeps/%252e%252e%252fetc",
        "/api/v1/sweeps/..;/workers",
        "/api/v1/sweeps/%5c..%5cetc",
        "/api/v1/sweeps/wine%00",
        "/api/v1/sweeps/wine/trials/..%2f..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/api/v1//sweeps",
        "/api/v1/sweeps/%ef%bc%8f",
        "/api/v1/sweeps/",
        "/api/v1/sweeps/wine/trials/best/../../../workers",
        "http://169.254.169.254/latest/meta-data/",
        "http://evil.com/api/v1/nowhere",
        "/proxy?url=http://169.254.169.254/",
        "/api/v1/fetch?url=file:///etc/passwd",
    ];
    for path in paths {
        let (status, problem) = client.problem("GET", path, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem:?}");
        assert!(!problem.message.contains("root:"), "{path}");
    }
    let long = format!("/api/v1/sweeps/{}", "x".repeat(5_000));
    assert_eq!(client.problem("GET", &long, None).await.0, StatusCode::NOT_FOUND);
    let (status, _) = client.ask("GET", "/api/v1/sweeps?url=http://169.254.169.254/", None).await;
    assert_eq!(status, StatusCode::OK, "what a route does not know is no order");
    running.stop().await.unwrap();
}

/// Writes `bytes` and reads to the end of the connection.
async fn raw(running: &Running, bytes: &[u8]) -> String {
    let mut socket = UnixStream::connect(&running.advert().socket).await.unwrap();
    // It may be closed before everything was written.
    let _ = socket.write_all(bytes).await;
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(SOON, socket.read_to_end(&mut heard)).await;
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(ended.is_ok(), "it does not end: {heard}, after {:.200}", String::from_utf8_lossy(bytes));
    heard
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn h62_heads_and_bodies_without_end_are_refused_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let before = resident_kib();
    let begun = "POST /api/v1/sweeps/wine/retry HTTP/1.1\r\nhost: localhost\r\n";
    let many: String = (0..10_000).map(|number| format!("x-{number}: y\r\n")).collect();
    assert!(
        raw(&running, format!("{begun}{many}\r\n").as_bytes()).await.starts_with("HTTP/1.1 4"),
        "10,000 headers"
    );
    let long = format!("{begun}x: {}\r\n\r\n", "y".repeat(1 << 20));
    assert!(raw(&running, long.as_bytes()).await.starts_with("HTTP/1.1 4"), "a header of a megabyte");
    let both = format!(
        "{begun}content-type: application/json\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
    );
    let answer = raw(&running, both.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "both lengths: {answer}");
    let chunk =
        format!("{begun}transfer-encoding: chunked\r\nconnection: close\r\n\r\nffffffffffffffffff\r\nx");
    assert!(!raw(&running, chunk.as_bytes()).await.contains("HTTP/1.1 2"), "a chunk beyond all numbers");
    let kind = "content-type: application/json\r\n";
    let declared = format!("{begun}{kind}content-length: 1073741824\r\nconnection: close\r\n\r\n");
    assert!(raw(&running, declared.as_bytes()).await.starts_with("HTTP/1.1 413"), "a body of 1 GiB");
    let mut endless = format!("{begun}{kind}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..64 {
        endless.extend(b"10000\r\n");
        endless.resize(endless.len() + 0x10000, b' ');
        endless.extend(b"\r\n");
    }
    assert!(raw(&running, &endless).await.starts_with("HTTP/1.1 413"), "a body that only grows");
    // A head that comes a byte at a time is given up.
    let mut slow = UnixStream::connect(&running.advert().socket).await.unwrap();
    let dripped = async {
        for byte in begun.bytes().cycle() {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(SOON, dripped).await.expect("the slow one is hung up");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "it has grown by {grown} KiB");
    let mut client = Client::by_unix(&running).await;
    let _: Vec<SweepStatus> = client.get("/api/v1/sweeps").await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn h63_so_many_may_follow_and_who_does_not_read_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    stands(&running, frozen("wine", 200, dir.path())).await;
    let request = b"GET /api/v1/sweeps/wine/events?every_ms=100 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut deaf = Vec::new();
    for _ in 0..300 {
        let mut viewer = UnixStream::connect(&running.advert().socket).await.unwrap();
        viewer.write_all(request).await.unwrap();
        deaf.push(viewer);
    }
    let full = async || {
        let mut client = Client::by_unix(&running).await;
        let response = client.send("GET", "/api/v1/sweeps/wine/events", None).await;
        response.status() == StatusCode::SERVICE_UNAVAILABLE
    };
    eventually("no more are taken", full).await;
    let mut worker = Fake::connect(&running, hello(1, 1)).await;
    worker.work(200).await;
    let mut client = Client::by_unix(&running).await;
    let status: SweepStatus = client.get("/api/v1/sweeps/wine").await;
    assert_eq!((status.state, status.succeeded), (SweepState::Finished, 200));
    drop(deaf);
    eventually("there is room again", async || !full().await).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tcp_only_who_knows_the_token_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let running = on_tcp(dir.path()).await;
    let token = format!("Bearer {}", running.advert().token);
    let mut client = Client::by_tcp(&running, &[("host", "localhost"), ("authorization", &token)]).await;
    let _: Vec<SweepStatus> = client.get("/api/v1/sweeps").await;
    running.stop().await.unwrap();
}
