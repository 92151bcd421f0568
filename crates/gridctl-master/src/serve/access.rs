//! Who may call: the one layer in front of every route and stream.
//! Invariant: who calls is said by the listener and by what is shown to it, never by a message; a route or a stream that no rule
//! names is served to nobody.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gridctl_core::access::{Need, Peer, Proof, Role};
use tonic::Status;

use super::guests::GuestPass;
use super::until;
use crate::access_keeper::AccessKeeper;
use crate::api::{self, ApiError};

/// How a connection came, and what its listener knows of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) way: Way,
    pub(super) proof: Proof,
    pub(super) from: Option<IpAddr>,
}

/// The kinds of listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Unix,
    Plain,
    Tls,
}

/// Who calls, for the handlers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) proof: Proof,
    pub(super) from: Option<IpAddr>,
}

/// What a route, or a stream, wants of who calls it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// `GET`, which is `HEAD` as well, or another method.
    pub method: &'static str,
    /// The path, as the router has it.
    pub path: &'static str,
    /// What it wants.
    pub need: Need,
}

const fn rule(method: &'static str, path: &'static str, need: Need) -> Rule {
    Rule { method, path, need }
}

const READ: Need = Need::Person(Role::Read);
const SUBMIT: Need = Need::Person(Role::Submit);
const ADMIN: Need = Need::Person(Role::Admin);

/// Everything that is served, and to whom.
pub const RULES: [Rule; 29] = [
    rule("POST", "/gridctl.v1.WorkerService/Connect", Need::Work),
    rule("POST", "/gridctl.v1.WorkerService/Live", Need::Work),
    rule("POST", "/gridctl.v1.WorkerService/FetchPack", Need::Work),
    rule("POST", "/gridctl.v1.WorkerService/Join", Need::Nothing),
    rule("POST", "/gridctl.v1.WorkerService/Renew", Need::Certificate),
    rule("GET", "/api/v1/sweeps", READ),
    rule("GET", "/api/v1/sweeps/{sweep}", READ),
    rule("GET", "/api/v1/sweeps/{sweep}/events", READ),
    rule("GET", "/api/v1/sweeps/{sweep}/leaderboard", READ),
    rule("GET", "/api/v1/sweeps/{sweep}/attempts", READ),
    rule("GET", "/api/v1/sweeps/{sweep}/trials", READ),
    rule("GET", "/api/v1/sweeps/{sweep}/trials/{trial}", READ),
    rule("GET", "/api/v1/sweeps/{sweep}/trials/{trial}/output", READ),
    rule("GET", "/api/v1/cost", READ),
    rule("GET", "/api/v1/workers", READ),
    rule("POST", "/api/v1/sweeps", SUBMIT),
    rule("GET", "/api/v1/packs/{pack}", SUBMIT),
    rule("PUT", "/api/v1/packs/{pack}", SUBMIT),
    rule("POST", "/api/v1/sweeps/{sweep}/steer", SUBMIT),
    rule("POST", "/api/v1/sweeps/{sweep}/retry", SUBMIT),
    rule("POST", "/api/v1/sweeps/{sweep}/cancel-trials", SUBMIT),
    rule("POST", "/api/v1/workers/drain", ADMIN),
    rule("POST", "/api/v1/workers/scale", ADMIN),
    rule("POST", "/api/v1/workers/{worker}/interrupt", ADMIN),
    rule("POST", "/api/v1/workers/{worker}/kill", ADMIN),
    rule("POST", "/api/v1/workers/{worker}/revoke", ADMIN),
    rule("GET", "/api/v1/tokens", ADMIN),
    rule("POST", "/api/v1/tokens", ADMIN),
    rule("POST", "/api/v1/tokens/{token}/revoke", ADMIN),
];

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    /// No token, or a wrong one.
    Token(Way),
    /// It is for others.
    Role(Need),
    /// A page of somebody else's asks, through a person's browser.
    Origin,
    /// No rule names it.
    NoRule,
}

/// Lets in who may do what the request asks.
pub(super) async fn admit(keeper: Arc<AccessKeeper>, mut request: Request, next: Next) -> Response {
    if let Some(token) = bearer(request.headers()) {
        keeper.look_up(token).await;
    }
    match check(&request, &keeper) {
        Ok(caller) => {
            if caller.peer.role.is_some()
                && let Some(pass) = request.extensions().get::<GuestPass>()
            {
                pass.is_known();
            }
            request.extensions_mut().insert(caller);
            until::let_out(next.run(request).await, keeper, caller.proof)
        }
        Err(denied) => denied.answer(is_grpc(request.headers())),
    }
}

fn check(request: &Request, keeper: &AccessKeeper) -> Result<Caller, Denied> {
    let arrival = request.extensions().get::<Arrival>().copied();
    let nobody = Arrival { way: Way::Tls, proof: Proof::Nothing, from: None };
    let Arrival { way, proof, from } = arrival.unwrap_or(nobody);
    let proof = match proof {
        Proof::Nothing => shown(request.headers(), way, keeper),
        proof => proof,
    };
    let peer = keeper.peer(proof);
    match need(request) {
        Wanted::Rule(need) if peer.may(need) => {}
        _ if peer.role.is_none() => return Err(Denied::Token(way)),
        Wanted::Rule(need) => return Err(Denied::Role(need)),
        Wanted::NoRule => return Err(Denied::NoRule),
        // The router says that there is no such route.
        Wanted::NoRoute => {}
    }
    if way != Way::Unix {
        check_origin(request, way)?;
    }
    Ok(Caller { peer, proof, from })
}

/// What a request wants.
enum Wanted {
    Rule(Need),
    NoRule,
    NoRoute,
}

fn need(request: &Request) -> Wanted {
    let path = request.uri().path();
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // Calls of gRPC share one place of the router.
    let place = matched.filter(|matched| matched.starts_with(api::ROOT)).unwrap_or(path);
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    match RULES.iter().find(|rule| rule.method == method.as_str() && rule.path == place) {
        Some(rule) => Wanted::Rule(rule.need),
        None if matched.is_some_and(|matched| matched.starts_with(api::ROOT)) => Wanted::NoRule,
        None => Wanted::NoRoute,
    }
}

/// How somebody is recognised by the token that a request shows.
fn shown(headers: &HeaderMap, way: Way, keeper: &AccessKeeper) -> Proof {
    let Some(token) = bearer(headers) else { return Proof::Nothing };
    match way {
        Way::Plain if keeper.is_owner(token) => Proof::Owner,
        _ => keeper.proof(token),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    shown.and_then(|value| value.strip_prefix(b"Bearer "))
}

/// A browser asks for no other page, and finds a loopback address by no name of somebody else's.
fn check_origin(request: &Request, way: Way) -> Result<(), Denied> {
    let headers = request.headers();
    let host = match request.version() {
        Version::HTTP_2 => request.uri().authority().map(Authority::as_str),
        _ => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let origin = headers.get(header::ORIGIN).map(|origin| origin.as_bytes());
    let scheme = if way == Way::Tls { "https" } else { "http" };
    let is_own = |host: &str| origin.is_none_or(|origin| origin == format!("{scheme}://{host}").as_bytes());
    match host {
        Some(host) if (way == Way::Tls || is_this_machine(host)) && is_own(host) => Ok(()),
        _ => Err(Denied::Origin),
    }
}

/// Whether a `Host` names loopback: a name of somebody's that leads here is not taken.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    !host.contains('@') && (name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

impl Denied {
    fn answer(self, is_grpc: bool) -> Response {
        let (status, code, message, help) = match self {
            Self::Token(way) => {
                let help = if way == Way::Plain { OWN_TOKEN } else { TOKEN };
                (StatusCode::UNAUTHORIZED, "token", "no token was shown that counts", help.to_owned())
            }
            Self::Role(need) => {
                (StatusCode::FORBIDDEN, "role", "this token does not let you do that", remedy(need))
            }
            Self::Origin => {
                (StatusCode::FORBIDDEN, "origin", "the call comes from elsewhere", ORIGIN.to_owned())
            }
            Self::NoRule => return api::no_method(),
        };
        match (status, is_grpc) {
            (StatusCode::UNAUTHORIZED, true) => {
                Status::unauthenticated(format!("{message}: {help}")).into_http()
            }
            (_, true) => Status::permission_denied(format!("{message}: {help}")).into_http(),
            _ => ApiError::new(status, code, message).help(help).into_response(),
        }
    }
}

const OWN_TOKEN: &str =
    "show `authorization: Bearer TOKEN`, with the token of the data directory's master.json";
const TOKEN: &str = "set GRIDCTL_TOKEN to one that `gridctl token create` made where the master runs; it may have \
                     expired, or was revoked";
const ORIGIN: &str = "call the master by `localhost` or a loopback address, and from no other page";

fn remedy(need: Need) -> String {
    let role = match need {
        Need::Person(Role::Admin | Role::Owner) => "admin",
        Need::Person(Role::Submit) => "submit",
        Need::Person(_) => "read",
        Need::Nothing | Need::Work | Need::Certificate => {
            return "only workers call this: `gridctl worker --join-file FILE`".to_owned();
        }
    };
    format!("ask for one with `gridctl token create --role {role}` where the master runs")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// What becomes of a call by a loopback address without TLS, or by the Unix socket.
    fn asked(way: Way, headers: &[(&str, &str)]) -> Result<(), Denied> {
        let dir = tempfile::tempdir().unwrap();
        let keeper = AccessKeeper::open(dir.path(), "secret".to_owned(), None).unwrap();
        let mut request = Request::new(Body::empty());
        let proof = if way == Way::Unix { Proof::Owner } else { Proof::Nothing };
        request.extensions_mut().insert(Arrival { way, proof, from: None });
        *request.uri_mut() = "/api/v1/sweeps".parse().unwrap();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        check(&request, &keeper).map(drop)
    }

    #[test]
    fn who_came_by_tcp_must_show_the_token() {
        let host = ("host", "127.0.0.1:1");
        assert_eq!(asked(Way::Unix, &[]), Ok(()));
        assert_eq!(asked(Way::Plain, &[("authorization", "Bearer secret"), host]), Ok(()));
        assert_eq!(asked(Way::Plain, &[host]), Err(Denied::Token(Way::Plain)));
        for wrong in ["secret", "Bearer secreT", "Bearer secrets", "Bearer ", "bearer secret"] {
            assert_eq!(
                asked(Way::Plain, &[("authorization", wrong), host]),
                Err(Denied::Token(Way::Plain)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn h57_hosts_and_origins_that_are_not_this_machines_are_refused() {
        let token = ("authorization", "Bearer secret");
        for good in ["localhost", "localhost:7070", "127.0.0.1:7070", "127.8.8.8", "[::1]:7070"] {
            assert_eq!(asked(Way::Plain, &[token, ("host", good)]), Ok(()), "{good}");
            let own = format!("http://{good}");
            assert_eq!(asked(Way::Plain, &[token, ("host", good), ("origin", &own)]), Ok(()), "{own}");
        }
        let hosts =
            ["evil.com", "127.0.0.1.evil.com", "10.0.0.1", "localhost.", "x@localhost", "", "local host"];
        for bad in hosts {
            assert_eq!(asked(Way::Plain, &[token, ("host", bad)]), Err(Denied::Origin), "{bad}");
        }
        assert_eq!(asked(Way::Plain, &[token]), Err(Denied::Origin), "no host at all");
        for bad in [
            "null",
            "http://evil.com",
            "https://localhost",
            "http://localhost:1",
            "http://localhost.evil.com",
        ] {
            let headers = [token, ("host", "localhost"), ("origin", bad)];
            assert_eq!(asked(Way::Plain, &headers), Err(Denied::Origin), "{bad}");
        }
    }
}
