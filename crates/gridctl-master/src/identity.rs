//! The master's own certificate authority, made once a data directory, and what it signs.
//! Invariant: its key is in one file for its owner alone; a worker's certificate names the worker and its end in one name, which
//! only this authority can sign.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use gridctl_core::access::Proof;
use gridctl_core::id::WorkerId;
use gridctl_storage::private;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};
use ring::digest;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ParsedCertificate, ServerConfig, WebPkiClientVerifier};
use webpki::EndEntityCert;

use crate::error::MasterError;

/// The file in the data directory: the key, and the certificate.
const FILE: &str = "ca.pem";
/// What the authority is called.
const NAME: &str = "gridctl";
/// What the name of a worker's certificate ends with.
const SUFFIX: &str = ".worker.gridctl";
/// The authority lives so long, and with it what the master shows of itself.
const LIFE: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Other machines' clocks may be so far behind.
const EARLIER: Duration = Duration::from_secs(86_400);

/// An Ed25519 key's public half.
pub(crate) type PublicKey = [u8; 32];

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pin: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority of this data directory, made if there is none.
    pub(crate) fn open(data_dir: &Path, now_unix_ms: u64) -> Result<Self, MasterError> {
        let path = data_dir.join(FILE);
        let strange = |problem: String| MasterError::Identity { path: path.clone(), problem };
        let text = match private::read(&path)? {
            Some(text) => text,
            None => {
                let text = make(now_unix_ms).map_err(|error| strange(error.to_string()))?;
                private::write(&path, &text).map_err(|source| MasterError::File {
                    doing: "write",
                    path: path.clone(),
                    source,
                })?;
                text
            }
        };
        let key = KeyPair::from_pem(&text).map_err(|error| strange(error.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes());
        let certificate = certificate.map_err(|error| strange(error.to_string()))?;
        let parsed = ParsedCertificate::try_from(&certificate).map_err(|error| strange(error.to_string()))?;
        let public = parsed.subject_public_key_info();
        if public.as_ref() != key.subject_public_key_info() {
            return Err(strange("its key is not the one of its certificate".to_owned()));
        }
        let hash = digest::digest(&digest::SHA256, public.as_ref());
        let pin = format!("sha256-{}", BASE64URL_NOPAD.encode(hash.as_ref()));
        Ok(Self { issuer: Issuer::new(authority_params(), key), certificate, pin })
    }

    /// By what others know the authority: the hash of its public key.
    pub(crate) fn pin(&self) -> &str {
        &self.pin
    }

    /// How the master meets those who connect: TLS 1.3, with a key that lives no longer than the process; who has a certificate
    /// of this authority's shows it, and one that is wrong in any way ends the handshake.
    pub(crate) fn server_config(&self, now_unix_ms: u64) -> Result<ServerConfig, MasterError> {
        let failed = |problem: String| MasterError::Tls { problem };
        let key = KeyPair::generate().map_err(|error| failed(error.to_string()))?;
        let mut params =
            CertificateParams::new([NAME.to_owned()]).map_err(|error| failed(error.to_string()))?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_life(&mut params, now_unix_ms, (EARLIER, LIFE));
        let own = params.signed_by(&key, &self.issuer).map_err(|error| failed(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(|error| failed(error.to_string()))?;
        let workers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| failed(error.to_owned()))?;
        let chain = vec![own.der().clone(), self.certificate.clone()];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(error.to_string()))?
            .with_client_cert_verifier(workers)
            .with_single_cert(chain, key)
            .map_err(|error| failed(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A session that is taken up again would show no certificate.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// A certificate by which this key is the worker's, and those that sign it.
    pub(crate) fn sign(
        &self,
        (worker, key): (WorkerId, PublicKey),
        now_unix_ms: u64,
        life: Duration,
    ) -> Result<Vec<Vec<u8>>, MasterError> {
        let failed = |error: rcgen::Error| MasterError::Tls { problem: error.to_string() };
        let expires = now_unix_ms + u64::try_from(life.as_millis()).unwrap_or(u64::MAX / 2);
        let mut params = CertificateParams::default();
        let name = format!("{worker}.{expires}{SUFFIX}");
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(failed)?)];
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        set_life(&mut params, now_unix_ms, (EARLIER, life));
        let certificate = params.signed_by(&Ed25519(key), &self.issuer).map_err(failed)?;
        Ok(vec![certificate.der().to_vec(), self.certificate.to_vec()])
    }
}

/// Who is named by a certificate that the handshake has found to be good.
pub(crate) fn worker_of(certificate: &CertificateDer<'_>) -> Proof {
    let named = || {
        let parsed = EndEntityCert::try_from(certificate).ok()?;
        let mut names = parsed.valid_dns_names();
        let (worker, expires) = names.next()?.strip_suffix(SUFFIX)?.split_once('.')?;
        Some(Proof::Certificate { worker: worker.parse().ok()?, expires_unix_ms: expires.parse().ok()? })
    };
    named().unwrap_or(Proof::Nothing)
}

/// A new authority, as its file has it.
fn make(now_unix_ms: u64) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = authority_params();
    set_life(&mut params, now_unix_ms, (EARLIER, LIFE));
    let certificate = params.self_signed(&key)?;
    Ok(key.serialize_pem() + &certificate.pem())
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, NAME);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn set_life(params: &mut CertificateParams, now_unix_ms: u64, (before, after): (Duration, Duration)) {
    // A clock that nobody set must not overflow the calendar.
    let now = Duration::from_millis(now_unix_ms).min(Duration::from_secs(7_000 * 366 * 86_400));
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(before);
    params.not_after = date_time_ymd(1970, 1, 1) + now + after;
}

struct Ed25519(PublicKey);

impl PublicKeyData for Ed25519 {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path(), 1_700_000_000_000).unwrap();
        let again = Authority::open(dir.path(), 1_800_000_000_000).unwrap();
        assert_eq!((first.pin(), &first.certificate), (again.pin(), &again.certificate));
        assert_eq!(std::fs::metadata(dir.path().join(FILE)).unwrap().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        private::write(&dir.path().join(FILE), &text[..text.len() / 3]).unwrap();
        assert!(matches!(Authority::open(dir.path(), 0), Err(MasterError::Identity { .. })));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Authority::open(other.path(), 0).unwrap().pin(), first.pin());
    }

    #[test]
    fn a_certificate_says_whose_it_is_and_until_when() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), 1_700_000_000_000).unwrap();
        let worker = WorkerId([7; 5]);
        let life = Duration::from_secs(10);
        let chain = authority.sign((worker, [9; 32]), 1_700_000_000_123, life).unwrap();
        let certificate = CertificateDer::from(chain[0].clone());
        let expires_unix_ms = 1_700_000_010_123;
        assert_eq!(worker_of(&certificate), Proof::Certificate { worker, expires_unix_ms });
        assert_eq!(worker_of(&authority.certificate), Proof::Nothing);
        for year in [0, 4_102_444_800_000, u64::MAX / 4] {
            authority.server_config(year).unwrap();
        }
    }
}
