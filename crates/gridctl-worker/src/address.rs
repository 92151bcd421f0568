//! Where a master is, and what is shown to it, for all who call one.
//! Invariant: nothing but a socket's absolute path or a plain host and port is an address, and no
//! token is ever printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tonic::metadata::errors::InvalidMetadataValue;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{self, Endpoint};
use tonic::{Request, Status};

use crate::tls::{self, Pin};

/// Where a master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket on this machine.
    Unix(PathBuf),
    /// `http://host:port`.
    Http(String),
    /// `gridctl://host:port?pin=...`: another machine, by TLS.
    Secure {
        /// `host:port`.
        place: String,
        /// The master's authority.
        pin: Pin,
    },
}

/// Where a master is, with the token that a worker joins by.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinAddress {
    /// The master.
    pub address: Address,
    /// The token; never printed.
    pub token: String,
}

/// Not even by `{:?}`.
impl fmt::Debug for JoinAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinAddress").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why an address by which workers join is none. What was given may hold a token, and is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no address to join: it looks like gridctl://HOST:PORT?token=TOKEN&pin=sha256-PIN")]
pub struct JoinAddressError;

impl FromStr for JoinAddress {
    type Err = JoinAddressError;

    fn from_str(text: &str) -> Result<Self, JoinAddressError> {
        let (place, query) = secure_parts(text.trim()).ok_or(JoinAddressError)?;
        let (mut pin, mut token) = (None, None);
        for pair in query.split('&') {
            let (seen, value) = match pair.split_once('=').ok_or(JoinAddressError)? {
                ("pin", value) => (pin.replace(value), value),
                ("token", value) => (token.replace(value), value),
                _ => return Err(JoinAddressError),
            };
            if seen.is_some() || value.is_empty() {
                return Err(JoinAddressError);
            }
        }
        let token =
            token.filter(|token| token.len() <= 256 && token.bytes().all(|b| b.is_ascii_alphanumeric()));
        let pin: Pin = pin.and_then(|pin| pin.parse().ok()).ok_or(JoinAddressError)?;
        let address = Address::Secure { place: place.to_owned(), pin };
        Ok(Self { address, token: token.ok_or(JoinAddressError)?.to_owned() })
    }
}

/// `host:port` and what stands behind the `?`.
fn secure_parts(text: &str) -> Option<(&str, &str)> {
    let (place, query) = text.strip_prefix("gridctl://")?.split_once('?')?;
    let place = place.trim_end_matches('/');
    is_place(place).then_some((place, query))
}

fn is_place(place: &str) -> bool {
    let Some((host, port)) = place.rsplit_once(':') else { return false };
    let plain = !host.is_empty() && !place.contains(['/', '@', '?', '#', '%', ' ']);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_metadata = bare.parse().is_ok_and(tls::is_metadata);
    plain && !is_metadata && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a master's address: give gridctl://HOST:PORT?pin=PIN as the master says it when it starts, \
     or the path of its socket as unix:/PATH"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(error()) };
        }
        if let Some((place, query)) = secure_parts(text) {
            let pin = query.strip_prefix("pin=").and_then(|pin| pin.parse().ok()).ok_or_else(error)?;
            return Ok(Self::Secure { place: place.to_owned(), pin });
        }
        let place = text.strip_prefix("http://").ok_or_else(error)?.trim_end_matches('/');
        if is_place(place) { Ok(Self::Http(format!("http://{place}"))) } else { Err(error()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(address) => f.write_str(address),
            Self::Secure { place, pin } => write!(f, "gridctl://{place}?pin={pin}"),
        }
    }
}

impl Address {
    /// The authority of the master there, where it has one.
    pub(crate) fn pin(&self) -> Option<Pin> {
        match self {
            Self::Unix(_) | Self::Http(_) => None,
            Self::Secure { pin, .. } => Some(*pin),
        }
    }

    /// What connects to it, with no limits set yet.
    ///
    /// # Errors
    /// The path or the host cannot stand in a URI.
    pub fn endpoint(&self) -> Result<Endpoint, transport::Error> {
        Endpoint::from_shared(match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Http(uri) => uri.clone(),
            // The connector encrypts; what tonic sees is what is inside.
            Self::Secure { .. } => "http://gridctl".to_owned(),
        })
    }
}

/// Shows the master's token with each request, where there is one.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Shows nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Shows `token`.
    ///
    /// # Errors
    /// It has characters that cannot be sent.
    pub fn new(token: Option<&str>) -> Result<Self, InvalidMetadataValue> {
        let Some(token) = token else { return Ok(Self(None)) };
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse()?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_an_address_is_a_socket_or_a_plain_host_and_port() {
        let good = [
            ("unix:/run/g.sock", "unix:/run/g.sock"),
            ("unix:///run/g.sock", "unix:/run/g.sock"),
            ("http://127.0.0.1:7070/", "http://127.0.0.1:7070"),
            ("http://[::1]:7070", "http://[::1]:7070"),
            (
                "gridctl://host:7070/?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "gridctl://host:7070?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            ),
        ];
        for (text, shown) in good {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        let bad = [
            "",
            "127.0.0.1:7070",
            "http://169.254.169.254/",
            "http://169.254.169.254:80",
            "gridctl://169.254.169.254:80?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "gridctl://[fd00:ec2::254]:80?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "gridctl://host:7070",
            "gridctl://host:7070?pin=sha256-AAAA",
            "gridctl://host:7070?pin=md5-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "gridctl://host?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "gridctl://u@host:1?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "gridctl://host:7070?token=x&pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "http://host:0",
            "http://host:65536",
            "http://user:pass@host:1",
            "http://[fe80::1%25eth0]:1",
            "http://:1",
            "file:///etc/passwd",
            "unix:relative",
        ];
        for text in bad {
            assert_eq!(text.parse::<Address>(), Err(AddressError(text.to_owned())));
        }
    }

    #[test]
    fn g36_an_address_to_join_has_a_place_a_token_and_a_pin_and_never_shows_the_token() {
        const PIN: &str = "pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let join: JoinAddress = format!("gridctl://h:1?token=s3cret&{PIN}\n").parse().unwrap();
        assert_eq!(join, format!("gridctl://h:1?{PIN}&token=s3cret").parse().unwrap());
        assert_eq!(join.token, "s3cret");
        assert!(!format!("{join:?}").contains("s3cret"));
        let long = "x".repeat(1 << 20);
        for query in ["token=s3cret", PIN, "token=&pin=", "token=a b", &format!("token={long}")] {
            let text = format!("gridctl://h:1?{query}&{PIN}&{PIN}");
            let error = text.parse::<JoinAddress>().unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert!(format!("gridctl://h:1?{query}").parse::<JoinAddress>().is_err(), "{query}");
        }
        assert!(format!("gridctl://h:1?token=a-b&{PIN}").parse::<JoinAddress>().is_err());
    }
}
