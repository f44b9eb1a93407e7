//! TLS configurations from the cluster's certificates.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::Pair;

/// What a server asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Checked where one is shown; without one the client proves itself otherwise.
    Optional,
    /// No connection without one.
    Required,
}

/// Names the one crypto backend, for every library that asks for a default.
pub fn install_provider() {
    // Fails only where one is installed already, and there is only this one.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
}

/// The authorities in a PEM text.
pub fn roots(ca_pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate.context("read the authority's certificate")?)?;
    }
    Ok(roots)
}

/// The certificates in a PEM text.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().context("read the certificate")
}

/// A server that shows `certificate_pem`, and checks clients against `client_ca_pem` if given.
pub fn server(
    certificate_pem: &[u8],
    key_pem: &[u8],
    client_ca_pem: Option<(&[u8], ClientCertificates)>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder();
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some((ca, wanted)) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(ca)?));
            let verifier = match wanted {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                ClientCertificates::Required => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().context("client certificates")?)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key_pem).context("read the key")?;
    let mut config = builder.with_single_cert(chain(certificate_pem)?, key)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client that trusts `ca` and shows `identity`.
pub fn client(ca: &Pair, identity: &Pair) -> Result<Arc<ClientConfig>> {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).context("read the key")?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots(ca.certificate.as_bytes())?)
        .with_client_auth_cert(chain(identity.certificate.as_bytes())?, key)?;
    Ok(Arc::new(config))
}
