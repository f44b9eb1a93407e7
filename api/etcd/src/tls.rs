//! TLS for the client port.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use thiserror::Error;

/// Certificates that cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Not PEM, or not what it should be.
    #[error("{what}: {message}")]
    Pem {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// rustls refuses them.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities of the clients make no verifier.
    #[error("client certificate authority: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A server's settings from PEM. With `client_ca` only clients with a certificate of that authority
/// are let in.
pub fn server_config(
    certificate: &[u8],
    key: &[u8],
    client_ca: Option<&[u8]>,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates("certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| TlsError::Pem { what: "private key", message: error.to_string() })?;
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("client certificate authority", pem)? {
                roots.add(authority)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem { what, message: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::Pem { what, message: "no certificate in it".to_owned() });
    }
    Ok(found)
}

/// The common name in the first of a chain of certificates.
pub(crate) fn common_name(chain: &[CertificateDer<'_>]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}
