//! A master that listens with TLS, workers that join it, and callers with whatever they have.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gridctl_proto::v1::worker_service_client::WorkerServiceClient;
use gridctl_proto::v1::{Identity, JoinRequest};
use gridctl_worker::tls::{self, Pin, Shown};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::lab::Lab;

/// A master, and where it is.
pub(crate) struct Master {
    pub(crate) lab: Lab,
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) place: String,
    pub(crate) pin: Pin,
    workers: Vec<Child>,
}

impl Master {
    pub(crate) fn start(args: &[&str]) -> Self {
        let lab = Lab::new();
        let (child, url) = serve(&lab, &[&["--listen", "127.0.0.1:0"], args].concat(), &[]);
        let (place, pin) = url.trim_start_matches("gridctl://").split_once("?pin=").unwrap();
        let (place, pin) = (place.to_owned(), pin.parse().unwrap());
        Self { lab, child, url, place, pin, workers: Vec::new() }
    }

    /// Kills the master, and starts it again at the same address.
    pub(crate) fn restart(&mut self, args: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (child, url) = serve(&self.lab, &[&["--listen", &self.place], args].concat(), &[]);
        assert_eq!(url, self.url, "the authority is the one of the data directory");
        self.child = child;
    }

    /// Starts a master at the same address whose data directory is not what it was.
    pub(crate) fn restart_anew(&mut self) {
        let (child, url) = serve(&self.lab, &["--listen", &self.place], &[]);
        self.child = child;
        self.pin = url.split_once("?pin=").unwrap().1.parse().unwrap();
        self.url = url;
    }

    /// The same, with more variables.
    pub(crate) fn restart_with(&mut self, variables: &[(&str, &Path)]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = serve(&self.lab, &["--listen", &self.place], variables).0;
    }

    /// A worker of two slots in a directory of its own, as on another machine.
    pub(crate) fn worker(&mut self, name: &str, args: &[&str]) -> usize {
        let dir = self.lab.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        let errors = File::create(dir.join("err")).unwrap();
        let mut command = self.lab.command(&[&["worker", "--slots", "2"], args].concat());
        command.current_dir(dir).stdout(Stdio::null()).stderr(errors);
        self.workers.push(command.spawn().unwrap());
        self.workers.len() - 1
    }

    pub(crate) fn said_by(&self, name: &str) -> String {
        fs::read_to_string(self.lab.path().join(name).join("err")).unwrap()
    }

    pub(crate) fn child_of(&mut self, worker: usize) -> &mut Child {
        &mut self.workers[worker]
    }

    /// A person on another machine, with this token.
    pub(crate) fn person(&self, token: &str, args: &[&str]) -> Command {
        let mut command = self.lab.command(args);
        command.env("GRIDCTL_MASTER", &self.url).env("XDG_STATE_HOME", self.lab.path().join("state"));
        if !token.is_empty() {
            command.env("GRIDCTL_TOKEN", token);
        }
        command
    }

    /// A new token, and its id.
    pub(crate) fn token(&self, args: &[&str]) -> (String, String) {
        let done = self.lab.run(&[&["token", "create"], args].concat());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let id = done.stderr.split("token revoke ").nth(1).unwrap_or_default();
        (done.stdout.trim().to_owned(), id.chars().take(8).collect())
    }

    pub(crate) fn join_file(&self) -> PathBuf {
        self.lab.path().join("join")
    }

    /// The token in an address to join.
    pub(crate) fn token_of(url: &str) -> String {
        url.trim().split("token=").nth(1).unwrap().split('&').next().unwrap().to_owned()
    }

    /// A certificate, bought with this token.
    pub(crate) async fn join(&self, token: &str) -> Result<Certificate, tonic::Status> {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap().public_key().as_ref().to_vec();
        let mut client = WorkerServiceClient::new(self.channel(None).await);
        let request = JoinRequest { token: token.to_owned(), public_key: public };
        let Identity { worker, chain, .. } = client.join(request).await?.into_inner();
        Ok(Certificate { worker, chain, key: key.as_ref().to_vec() })
    }

    pub(crate) async fn channel(&self, certificate: Option<&Certificate>) -> Channel {
        let (place, pin, certificate) = (self.place.clone(), self.pin, certificate.cloned());
        let connector = tower::service_fn(move |_| {
            let (place, certificate) = (place.clone(), certificate.clone());
            async move {
                let shown = certificate.as_ref().map(Certificate::shown);
                tls::connect(&place, pin, shown, "h2").await.map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://gridctl").connect_with_connector_lazy(connector)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        for child in self.workers.iter_mut().chain([&mut self.child]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a master; it and where others reach it.
fn serve(lab: &Lab, args: &[&str], variables: &[(&str, &Path)]) -> (Child, String) {
    let errors = File::options().create(true).append(true).open(lab.path().join("master.err")).unwrap();
    let advert = lab.data().join("master.json");
    let _ = fs::remove_file(&advert);
    let mut command = lab.command(&[&["master", "--join-file", "join"], args].concat());
    command.envs(variables.iter().copied());
    let child = command.stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    let read = || -> Option<String> {
        let advert: serde_json::Value = serde_json::from_slice(&fs::read(&advert).ok()?).ok()?;
        Some(advert["url"].as_str()?.to_owned())
    };
    lab.until("the master serves", || read().is_some());
    (child, read().unwrap())
}

/// What a worker shows of itself.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) worker: Vec<u8>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
}

impl Certificate {
    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown { chain: &self.chain, key: &self.key }
    }
}

/// A connection that speaks HTTP/1.1.
pub(crate) struct Caller {
    wire: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    _tasks: JoinSet<()>,
}

impl Caller {
    /// Connects; a connection that the master does not want may break only at the first request.
    pub(crate) async fn connect(master: &Master, certificate: Option<&Certificate>) -> Option<Self> {
        let shown = certificate.map(Certificate::shown);
        let link = tls::connect(&master.place, master.pin, shown, "http/1.1").await.ok()?;
        let (wire, connection) = hyper::client::conn::http1::handshake(TokioIo::new(link)).await.ok()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // The request says the same.
            let _ = connection.await;
        });
        Some(Self { wire, _tasks: tasks })
    }

    /// Calls a method of gRPC with nothing; the answer's status, and that of gRPC.
    pub(crate) async fn call(&mut self, path: &str) -> (u16, Option<String>) {
        let request = Request::builder().method("POST").uri(path).header("host", "gridctl");
        let request = request.header("content-type", "application/grpc").body(Full::default()).unwrap();
        self.wire.ready().await.unwrap();
        let response = self.wire.send_request(request).await.unwrap();
        let status = response.headers().get("grpc-status").map(|it| it.to_str().unwrap().to_owned());
        (response.status().as_u16(), status)
    }

    /// Asks for a stream of events, and reads it to its end.
    pub(crate) async fn events(&mut self, path: &str, token: &str) -> String {
        let request = Request::builder().uri(path).header("host", "gridctl");
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.body(Full::default()).unwrap();
        self.wire.ready().await.unwrap();
        let body = self.wire.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    /// The answer's status; `None` if the connection breaks.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, token: Option<&str>) -> Option<u16> {
        let mut request = Request::builder().method(method).uri(path).header("host", "gridctl");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        // What a message says of who sends it counts for nothing.
        for (name, lie) in
            [("x-gridctl-role", "admin"), ("x-forwarded-for", "127.0.0.1"), ("x-forwarded-user", "root")]
        {
            request = request.header(name, lie);
        }
        let body = if method == "POST" { "{}" } else { "" };
        let request =
            request.header("content-type", "application/json").body(Full::new(body.into())).unwrap();
        let answer = async {
            self.wire.ready().await.ok()?;
            let response: Response<_> = self.wire.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            let is_stream =
                response.headers().get("content-type").is_some_and(|it| it == "text/event-stream");
            if !is_stream {
                response.into_body().collect().await.ok()?;
            }
            Some(status)
        };
        tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer")
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
