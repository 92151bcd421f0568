//! Who may call: the one layer in front of every route and stream.
//! Invariant: who calls is said by the listener and by what is shown to it, never by a message.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use crate::api::ApiError;

/// Who is at the other end of a connection, as its listener knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The Unix socket's owner: the system has checked that.
    Owner,
    /// Somebody on this machine, who must show the token.
    Unknown,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    /// No token, or a wrong one.
    Token,
    /// A page of somebody else's asks, through a person's browser.
    Origin,
}

/// Lets in who came by the Unix socket, or shows the token and calls the master by a name of this machine.
pub(super) async fn admit(token: Arc<str>, request: Request, next: Next) -> Response {
    match check(&request, &token) {
        Ok(()) => next.run(request).await,
        Err(denied) => denied.answer(is_grpc(request.headers())),
    }
}

fn check(request: &Request, token: &str) -> Result<(), Denied> {
    if request.extensions().get::<Caller>() == Some(&Caller::Owner) {
        return Ok(());
    }
    let headers = request.headers();
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
    if !shown.is_some_and(|shown| is_same(shown, token.as_bytes())) {
        return Err(Denied::Token);
    }
    let host = match request.version() {
        Version::HTTP_2 => request.uri().authority().map(Authority::as_str),
        _ => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let origin = headers.get(header::ORIGIN).map(|origin| origin.as_bytes());
    let is_own = |host: &str| origin.is_none_or(|origin| origin == format!("http://{host}").as_bytes());
    match host {
        Some(host) if is_this_machine(host) && is_own(host) => Ok(()),
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
        const TOKEN: &str =
            "show `authorization: Bearer TOKEN`, with the token of the data directory's master.json";
        const ORIGIN: &str = "call the master by `localhost` or a loopback address, and from no other page";
        match (self, is_grpc) {
            (Self::Token, true) => Status::unauthenticated(TOKEN).into_http(),
            (Self::Origin, true) => Status::permission_denied(ORIGIN).into_http(),
            (Self::Token, false) => {
                let answer =
                    ApiError::new(StatusCode::UNAUTHORIZED, "token", "no token was shown that counts");
                answer.help(TOKEN).into_response()
            }
            (Self::Origin, false) => {
                let answer = ApiError::new(StatusCode::FORBIDDEN, "origin", "the call comes from elsewhere");
                answer.help(ORIGIN).into_response()
            }
        }
    }
}

/// Compares without telling by its time where the first difference is.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len() && shown.iter().zip(token).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn asked(caller: Caller, headers: &[(&str, &str)]) -> Result<(), Denied> {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(caller);
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        check(&request, "secret")
    }

    #[test]
    fn who_came_by_tcp_must_show_the_token() {
        let host = ("host", "127.0.0.1:1");
        assert_eq!(asked(Caller::Owner, &[]), Ok(()));
        assert_eq!(asked(Caller::Unknown, &[("authorization", "Bearer secret"), host]), Ok(()));
        assert_eq!(asked(Caller::Unknown, &[host]), Err(Denied::Token));
        for wrong in ["secret", "Bearer secreT", "Bearer secrets", "Bearer ", "bearer secret"] {
            assert_eq!(
                asked(Caller::Unknown, &[("authorization", wrong), host]),
                Err(Denied::Token),
                "{wrong}"
            );
        }
    }

    #[test]
    fn h57_hosts_and_origins_that_are_not_this_machines_are_refused() {
        let token = ("authorization", "Bearer secret");
        for good in ["localhost", "localhost:7070", "127.0.0.1:7070", "127.8.8.8", "[::1]:7070"] {
            assert_eq!(asked(Caller::Unknown, &[token, ("host", good)]), Ok(()), "{good}");
            let own = format!("http://{good}");
            assert_eq!(asked(Caller::Unknown, &[token, ("host", good), ("origin", &own)]), Ok(()), "{own}");
        }
        let hosts =
            ["evil.com", "127.0.0.1.evil.com", "10.0.0.1", "localhost.", "x@localhost", "", "local host"];
        for bad in hosts {
            assert_eq!(asked(Caller::Unknown, &[token, ("host", bad)]), Err(Denied::Origin), "{bad}");
        }
        assert_eq!(asked(Caller::Unknown, &[token]), Err(Denied::Origin), "no host at all");
        for bad in [
            "null",
            "http://evil.com",
            "https://localhost",
            "http://localhost:1",
            "http://localhost.evil.com",
        ] {
            let headers = [token, ("host", "localhost"), ("origin", bad)];
            assert_eq!(asked(Caller::Unknown, &headers), Err(Denied::Origin), "{bad}");
        }
    }
}
