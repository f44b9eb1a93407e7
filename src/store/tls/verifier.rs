//! Whose certificates are good.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use x509_parser::prelude::{ASN1Time, FromDer as _};
use x509_parser::revocation_list::CertificateRevocationList;

/// Checks what the authority has signed against lists of names and of what is revoked.
// upstream: etcd v3, `transport.TLSInfo`
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) provider: Arc<CryptoProvider>,
    /// Certificates that need nobody's word; a client may show one of them as its own, even that
    /// of an authority, as Go's clients do with certificates that they signed themselves.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    /// Common names; none: any.
    pub(super) names: Vec<String>,
    /// Hosts; none: any.
    pub(super) hosts: Vec<String>,
    /// Read at each handshake, so that it can be replaced.
    pub(super) revoked: Option<PathBuf>,
}

/// The other side is told of a bad certificate, whatever is bad about it.
fn refused(reason: &str) -> Error {
    tracing::warn!(reason, "client certificate authentication failed");
    Error::InvalidCertificate(CertificateError::NotValidForName)
}

impl Allowed {
    fn check(&self, chain: &[&CertificateDer<'_>]) -> Result<(), Error> {
        let Some(first) = chain.first() else { return Err(refused("no certificate")) };
        if let Some(path) = &self.revoked {
            let revoked = serials(path).map_err(|error| refused(&error))?;
            for certificate in chain {
                let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
                    .map_err(|error| refused(&error.to_string()))?;
                let serial = parsed.raw_serial().to_vec();
                if revoked.contains(&serial) {
                    let serial: String = serial.iter().map(|byte| format!("{byte:x}")).collect();
                    return Err(refused(&format!("certificate serial {serial} revoked")));
                }
            }
        }
        if !self.names.is_empty() {
            let (_, parsed) = x509_parser::parse_x509_certificate(first)
                .map_err(|error| refused(&error.to_string()))?;
            let mut names =
                parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            if !names.any(|name| self.names.iter().any(|allowed| allowed == name)) {
                return Err(refused("the common name is not allowed"));
            }
        }
        if !self.hosts.is_empty() {
            let parsed = ParsedCertificate::try_from(*first)?;
            let fits = |host: &String| {
                ServerName::try_from(host.as_str())
                    .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
            };
            if !self.hosts.iter().any(fits) {
                return Err(refused("no hostname of the certificate is allowed"));
            }
        }
        Ok(())
    }
}

/// Whether it is the time of a certificate.
fn current(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| refused(&error.to_string()))?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let now = ASN1Time::from_timestamp(seconds).map_err(|error| refused(&error.to_string()))?;
    match parsed.validity().is_valid_at(now) {
        true => Ok(()),
        false => Err(refused("certificate has expired or is not yet valid")),
    }
}

/// Serial numbers in a list, PEM or DER.
fn serials(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let named = |error: &dyn std::fmt::Display| format!("open {}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| named(&error))?;
    let der = match CertificateRevocationListDer::from_pem_slice(&bytes) {
        Ok(list) => list.as_ref().to_vec(),
        Err(_) => bytes,
    };
    let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| named(&error))?;
    Ok(list.iter_revoked_certificates().map(|one| one.raw_serial().to_vec()).collect())
}

/// Both sides of a handshake check signatures in the same words, of two traits.
macro_rules! signatures_by_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Allowed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.trusted.iter().any(|one| one.as_ref() == first.as_ref()) {
            true => current(first, now).map(|()| ClientCertVerified::assertion())?,
            false => self.inner.verify_client_cert(first, others, now)?,
        };
        let chain: Vec<&CertificateDer<'_>> = std::iter::once(first).chain(others).collect();
        self.check(&chain)?;
        Ok(verified)
    }

    signatures_by_provider!();
}

/// Takes every certificate whose key the other side has: those that members make for themselves
/// (`--peer-auto-tls`) nobody can have signed.
#[derive(Debug)]
pub(super) struct Anybody {
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _first: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}
