//! The API's client: a master's routes over its socket, loopback or TLS, or the very same routes in this process, over a journal.
//! Invariant: every call has a deadline; a master that is not there is exit code 5, what it refuses is not.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use gridctl_core::id::PackHash;
use gridctl_core::spec::Diagnostic;
use gridctl_core::view::{MAX_ANSWER_BYTES, Problem};
use gridctl_master::api::ROOT;
use gridctl_worker::{Address, tls};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sse_stream::SseStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

use super::chain;
use crate::address::MasterAddress;
use crate::exit::{Exit, Failure};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A submission looks up what is known, which may take a while.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Code that is brought goes at so many bytes a second at least.
const SLOWEST: u64 = 64 << 10;
/// What a master says that does not have a pack.
const NO_PACK: &str = "no_pack";
/// Events come at least every two seconds.
const SILENCE: Duration = Duration::from_secs(20);
/// What stands in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A client of the API.
pub(crate) struct ApiClient {
    way: ApiTransport,
    /// Where the other end is, if it is not in this process.
    address: Option<Address>,
    /// What it is called.
    host: HeaderValue,
    bearer: Option<HeaderValue>,
    /// An answer was not read to its end, so that the connection takes no other request.
    is_used_up: bool,
}

/// How a request reaches its route.
enum ApiTransport {
    /// Over a connection; the other half of it is a task of its own.
    Wire { wire: SendRequest<Full<Bytes>>, _connection: JoinSet<()> },
    /// In this process.
    Here(Router),
}

/// The route below [`ROOT`] with these segments, which may hold anything.
pub(crate) fn route(segments: &[&str]) -> String {
    let encoded = segments.iter().map(|segment| utf8_percent_encode(segment, PLAIN).to_string());
    encoded.fold(ROOT.to_owned(), |path, segment| format!("{path}/{segment}"))
}

impl ApiClient {
    /// Connects to a master.
    pub(crate) async fn connect(place: &MasterAddress) -> Result<Self, Failure> {
        let bearer = place.token.as_ref().map(|token| {
            let mut value: HeaderValue = format!("Bearer {token}").parse()?;
            value.set_sensitive(true);
            Ok::<_, hyper::header::InvalidHeaderValue>(value)
        });
        let bearer = bearer.transpose().map_err(|_| {
            Failure::usage("master::token", "GRIDCTL_TOKEN has characters that cannot be sent")
        })?;
        let (way, host) = connected(&place.address).await?;
        Ok(Self { way, address: Some(place.address.clone()), host, bearer, is_used_up: false })
    }

    /// A client of the routes that are answered in this process.
    pub(crate) fn here(routes: Router) -> Self {
        let (way, host) = (ApiTransport::Here(routes), HeaderValue::from_static("localhost"));
        Self { way, address: None, host, bearer: None, is_used_up: false }
    }

    /// Asks for a document.
    pub(crate) async fn get<T: DeserializeOwned>(
        &mut self,
        route: &str,
        query: &impl Serialize,
    ) -> Result<T, Failure> {
        let query = serde_urlencoded::to_string(query)
            .map_err(|error| Failure::error("ask", format!("the question cannot be sent: {error}")))?;
        let uri = if query.is_empty() { route.to_owned() } else { format!("{route}?{query}") };
        let answer = self.answer(Method::GET, &uri, Bytes::new()).await?;
        understood(&answer)
    }

    /// Sends a document, and waits for another.
    pub(crate) async fn post<T: DeserializeOwned>(
        &mut self,
        route: &str,
        document: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(document)
            .map_err(|error| Failure::error("ask", format!("the request cannot be sent: {error}")))?;
        let answer = self.answer(Method::POST, route, body.into()).await?;
        understood(if answer.is_empty() { b"null" } else { &answer })
    }

    /// Whether the master has the pack.
    pub(crate) async fn has_pack(&mut self, pack: PackHash) -> Result<bool, Failure> {
        let uri = route(&["packs", &pack.to_string()]);
        let asked = async {
            let response = self.exchange(Method::GET, &uri, (Bytes::new(), "")).await?;
            let status = response.status();
            match problem_of(response).await {
                _ if status.is_success() => Ok(true),
                Some(problem) if status == StatusCode::NOT_FOUND && problem.code == NO_PACK => Ok(false),
                problem => Err(refused(status, problem)),
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|_| no_answer("it is silent"))?
    }

    /// Brings a pack.
    pub(crate) async fn bring_pack(&mut self, pack: PackHash, bytes: Bytes) -> Result<(), Failure> {
        let uri = route(&["packs", &pack.to_string()]);
        let within = ANSWER_WITHIN + Duration::from_secs(bytes.len() as u64 / SLOWEST);
        let brought = async {
            let response = self.exchange(Method::PUT, &uri, (bytes, "application/octet-stream")).await?;
            let status = response.status();
            let problem = problem_of(response).await;
            if status.is_success() { Ok(()) } else { Err(refused(status, problem)) }
        };
        let brought = tokio::time::timeout(within, brought).await;
        brought.map_err(|_| no_answer("the code is on its way for too long"))?
    }

    /// The events of a route, each handed to `each`, until they end or `each` says no.
    pub(crate) async fn follow<T: DeserializeOwned>(
        &mut self,
        route: &str,
        mut each: impl FnMut(T) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let response = tokio::time::timeout(ANSWER_WITHIN, self.send(Method::GET, route, Bytes::new()));
        let response = response.await.map_err(|_| no_answer("it is silent"))??;
        let mut events = SseStream::new(response.into_body());
        loop {
            let event = tokio::time::timeout(SILENCE, events.next()).await;
            let Some(event) = event.map_err(|_| no_answer("it has become silent"))? else { return Ok(()) };
            let event = event.map_err(|error| no_answer(&error.to_string()))?;
            let Some(data) = event.data else { continue };
            if !each(understood(data.as_bytes())?)? {
                self.is_used_up = true;
                return Ok(());
            }
        }
    }

    /// The body of an answer that is no refusal.
    async fn answer(&mut self, method: Method, uri: &str, body: Bytes) -> Result<Bytes, Failure> {
        let whole = async {
            let response = self.send(method, uri, body).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|error| no_answer(&chain(&*error)))
        };
        tokio::time::timeout(ANSWER_WITHIN, whole).await.map_err(|_| no_answer("it is silent"))?
    }

    /// The answer to one request, if it is no refusal.
    async fn send(&mut self, method: Method, uri: &str, body: Bytes) -> Result<Response<Body>, Failure> {
        let response = self.exchange(method, uri, (body, "application/json")).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(refused(status, problem_of(response).await))
    }

    /// The answer to one request, whatever it is.
    async fn exchange(
        &mut self,
        method: Method,
        uri: &str,
        (body, kind): (Bytes, &'static str),
    ) -> Result<Response<Body>, Failure> {
        if let Some(address) = self.address.as_ref().filter(|_| self.is_used_up) {
            (self.way, self.host) = connected(address).await?;
            self.is_used_up = false;
        }
        let mut request = Request::builder().method(method).uri(uri).header(HOST, self.host.clone());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer.clone());
        }
        let request = request.header(ACCEPT, "application/json").body(Full::new(body));
        let request =
            request.map_err(|error| Failure::error("ask", format!("the request cannot be sent: {error}")))?;
        let response = match &mut self.way {
            ApiTransport::Wire { wire, .. } => {
                let ready = wire.ready().await;
                let answered = match ready {
                    Ok(()) => wire.send_request(request).await,
                    Err(error) => Err(error),
                };
                answered.map_err(|error| no_answer(&chain(&error)))?.map(Body::new)
            }
            ApiTransport::Here(routes) => match routes.clone().oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        Ok(response)
    }
}

/// What is wrong, where the answer says so. The whole answer is read.
async fn problem_of(response: Response<Body>) -> Option<Problem> {
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    serde_json::from_slice(&body).ok()
}

/// A connection to `address` that is made in time, and what to call the other end.
async fn connected(address: &Address) -> Result<(ApiTransport, HeaderValue), Failure> {
    match tokio::time::timeout(CONNECT_WITHIN, open(address)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(unreachable(address, &chain(&*error))),
        Err(_) => Err(unreachable(address, "it does not take the connection")),
    }
}

/// A connection to `address`, and what to call the other end.
async fn open(
    address: &Address,
) -> Result<(ApiTransport, HeaderValue), Box<dyn std::error::Error + Send + Sync>> {
    match address {
        Address::Unix(path) => {
            let way = begin(UnixStream::connect(path).await?).await?;
            Ok((way, HeaderValue::from_static("localhost")))
        }
        Address::Http(url) => {
            let place = url.trim_start_matches("http://");
            let way = begin(TcpStream::connect(place).await?).await?;
            Ok((way, HeaderValue::from_str(place)?))
        }
        Address::Secure { place, pin } => {
            let way = begin(tls::connect(place, *pin, None, "http/1.1").await?).await?;
            Ok((way, HeaderValue::from_str(place)?))
        }
    }
}

async fn begin(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<ApiTransport, hyper::Error> {
    let (wire, connection) = handshake(TokioIo::new(socket)).await?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        // Whoever waits for an answer is told the same.
        let _ = connection.await;
    });
    Ok(ApiTransport::Wire { wire, _connection: task })
}

fn unreachable(address: &Address, why: &str) -> Failure {
    let problem =
        Diagnostic::error("master::unreachable", format!("the master at {address} does not answer: {why}"))
            .help("is it running? `gridctl master` starts one");
    Failure::new(Exit::Unreachable, problem)
}

fn no_answer(why: &str) -> Failure {
    let problem = Diagnostic::error("master::unreachable", format!("the master does not answer: {why}"))
        .help("look at the output of `gridctl master`; it can be started again at any time");
    Failure::new(Exit::Unreachable, problem)
}

/// What the master says no to.
fn refused(status: StatusCode, problem: Option<Problem>) -> Failure {
    let Some(Problem { code, message, help }) = problem else {
        return Failure::error("master::answer", format!("the master answers {status}"))
            .help("master and command may be of different versions: `gridctl --version`");
    };
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NotAllowed,
        _ if ["ending", "busy", "too_slow"].contains(&code.as_str()) => Exit::Unreachable,
        _ => Exit::Error,
    };
    Failure::new(exit, Diagnostic::error("ask", message)).maybe_help(help)
}

fn understood<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| {
        Failure::error("master::answer", format!("the master's answer is not understood: {error}"))
            .help("master and command may be of different versions: `gridctl --version`")
    })
}
