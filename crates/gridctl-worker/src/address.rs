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

/// Where a master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket on this machine.
    Unix(PathBuf),
    /// `http://host:port`.
    Http(String),
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a master's address: give http://HOST:PORT, or the path of its socket as unix:/PATH")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(error()) };
        }
        let place = text.strip_prefix("http://").ok_or_else(error)?.trim_end_matches('/');
        let (host, port) = place.rsplit_once(':').ok_or_else(error)?;
        let plain = !host.is_empty() && !place.contains(['/', '@', '?', '#', '%', ' ']);
        let known = port.parse::<u16>().is_ok_and(|port| port > 0);
        if plain && known { Ok(Self::Http(format!("http://{place}"))) } else { Err(error()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(address) => f.write_str(address),
        }
    }
}

impl Address {
    /// What connects to it, with no limits set yet.
    ///
    /// # Errors
    /// The path or the host cannot stand in a URI.
    pub fn endpoint(&self) -> Result<Endpoint, transport::Error> {
        Endpoint::from_shared(match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Http(uri) => uri.clone(),
        })
    }
}

/// Shows the master's token with each request, where there is one.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
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
        ];
        for (text, shown) in good {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        let bad = [
            "",
            "127.0.0.1:7070",
            "http://169.254.169.254/",
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
}
