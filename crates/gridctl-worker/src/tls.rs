//! The way to a master on another machine: TLS 1.3, to whom the pin names and to nobody else.
//! Invariant: nothing is said before the master has shown a certificate of the pinned authority; what a handshake fails by is told
//! in words.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin as StdPin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible,
    RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connection and handshake may take so long together.
const WITHIN: Duration = Duration::from_secs(5);

/// The authority that a master's certificate is of: the SHA-256 of its public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// A text that is no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pin is `sha256-` and 43 characters, as the master says it when it starts")]
pub struct PinError;

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let hash = text.strip_prefix("sha256-").ok_or(PinError)?;
        let bytes = BASE64URL_NOPAD.decode(hash.as_bytes()).map_err(|_| PinError)?;
        bytes.try_into().map(Self).map_err(|_| PinError)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256-{}", BASE64URL_NOPAD.encode(&self.0))
    }
}

/// What a worker shows of itself.
pub struct Shown<'a> {
    /// Its certificate, and those that sign it.
    pub chain: &'a [Vec<u8>],
    /// Its key, as PKCS #8.
    pub key: &'a [u8],
}

/// Addresses by which a machine of a cloud asks about itself: no master is there.
#[must_use]
pub fn is_metadata(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[..2] == [0xfd00, 0x0ec2] || ip.is_unicast_link_local(),
    }
}

/// An encrypted connection to the master of this pin, for one protocol.
///
/// # Errors
/// In words: nobody is there, or somebody else is.
pub async fn connect(place: &str, pin: Pin, shown: Option<Shown<'_>>, alpn: &str) -> io::Result<TlsLink> {
    let config = config(pin, shown, alpn).map_err(io::Error::other)?;
    let open = async {
        let name = ServerName::try_from("gridctl").map_err(io::Error::other)?;
        let socket = dial(place).await?;
        // Slower without it.
        let _ = socket.set_nodelay(true);
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    };
    match tokio::time::timeout(WITHIN, open).await {
        Ok(Ok(stream)) => Ok(TlsLink { stream, trouble: Trouble::default() }),
        Ok(Err(error)) => match told(&error) {
            Some(why) => Err(io::Error::new(error.kind(), why)),
            None => Err(error),
        },
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not take the connection")),
    }
}

async fn dial(place: &str) -> io::Result<TcpStream> {
    let mut last = None;
    for address in lookup_host(place).await? {
        if is_metadata(address.ip()) {
            let why = format!("{place} leads to {}, where no master is", address.ip());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

fn config(pin: Pin, shown: Option<Shown<'_>>, alpn: &str) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(PinnedVerifier { pin, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        None => config.with_no_client_auth(),
        Some(Shown { chain, key }) => {
            let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|why| Error::General(why.to_owned()))?;
            let chain = chain.iter().cloned().map(CertificateDer::from).collect();
            config.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Takes a certificate of the pinned authority, whatever name it has.
#[derive(Debug)]
struct PinnedVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_pinned = |certificate: &&CertificateDer<'_>| {
            ParsedCertificate::try_from(*certificate).is_ok_and(|parsed| {
                let key = parsed.subject_public_key_info();
                digest::digest(&digest::SHA256, key.as_ref()).as_ref() == self.pin.0
            })
        };
        let authority = intermediates.iter().find(is_pinned);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What TLS says, in words; `None` if it is something else.
fn told(error: &io::Error) -> Option<String> {
    const CLOCKS: &str = "compare the clocks of both machines";
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(
            CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. },
        ) => format!("the master's certificate is not valid by this machine's clock: {CLOCKS} ({error})"),
        Error::InvalidCertificate(_) => {
            "another master answers there than the one that the pin names: take the address that the right \
             one says when it starts"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            format!("this worker's certificate is not valid by the master's clock: {CLOCKS}, and start the worker again")
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        ) => "the master does not know this worker's certificate: start the worker again, so that it joins anew".to_owned(),
        Error::InvalidMessage(_) => "what answers there does not speak TLS".to_owned(),
        error => format!("TLS: {error}"),
    })
}

/// What broke a connection, for who sees only that it is broken.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<OnceLock<String>>);

impl Trouble {
    /// It in words, if TLS knows any.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// An encrypted connection.
#[derive(Debug)]
pub struct TlsLink {
    stream: TlsStream<TcpStream>,
    trouble: Trouble,
}

impl TlsLink {
    /// The connection, which says there what breaks it.
    #[must_use]
    pub fn noting(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }

    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && let Some(why) = told(error)
        {
            // What came first counts.
            let _ = self.trouble.0.set(why.clone());
            return Poll::Ready(Err(io::Error::new(error.kind(), why)));
        }
        result
    }
}

impl AsyncRead for TlsLink {
    fn poll_read(
        mut self: StdPin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = StdPin::new(&mut self.stream).poll_read(context, buf);
        self.note(read)
    }
}

impl AsyncWrite for TlsLink {
    fn poll_write(
        mut self: StdPin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = StdPin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: StdPin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = StdPin::new(&mut self.stream).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: StdPin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        StdPin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_and_nothing_else_is_one() {
        let pin = Pin([7; 32]);
        assert_eq!(pin.to_string().parse(), Ok(pin));
        let good = pin.to_string();
        for bad in ["", "sha256-", &good[1..], &good[..good.len() - 1], &format!("{good}A"), "sha1-AAAA"] {
            assert_eq!(bad.parse::<Pin>(), Err(PinError), "{bad}");
        }
    }

    #[test]
    fn g34_a_metadata_service_is_no_master() {
        for ip in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1"] {
            assert!(is_metadata(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1"] {
            assert!(!is_metadata(ip.parse().unwrap()), "{ip}");
        }
    }
}
