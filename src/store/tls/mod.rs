//! TLS as etcd's flags describe it, for clients and for members.

mod files;
mod san;
mod self_signed;
mod suites;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};

pub use san::check as check_san;
pub use suites::{check_suites, check_versions};

use self::files::{Reloaded, certificates, roots};
use self::verifier::{Allowed, Anybody};
use super::flags::Settings;

/// Where the machine keeps the authorities that it trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// One side's options: those of clients, or those of members.
#[derive(Debug, Clone, Default)]
pub struct TlsInfo {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    trusted_ca_file: Option<PathBuf>,
    crl_file: Option<PathBuf>,
    client_cert_auth: bool,
    allowed_cns: Vec<String>,
    allowed_hostnames: Vec<String>,
    cipher_suites: Vec<String>,
    min_version: String,
    max_version: String,
    /// The certificates are made here: nobody can know them.
    self_signed: bool,
}

/// For those who connect and take whoever is there.
pub fn unverified_client(protocols: &[&[u8]]) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let anybody = Arc::new(Anybody { provider });
    let builder = builder.dangerous().with_custom_certificate_verifier(anybody);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

impl TlsInfo {
    /// What clients meet.
    pub fn for_clients(settings: &Settings) -> Self {
        Self {
            cert_file: settings.path("cert-file"),
            key_file: settings.path("key-file"),
            client_cert_file: settings.path("client-cert-file"),
            client_key_file: settings.path("client-key-file"),
            trusted_ca_file: settings.path("trusted-ca-file"),
            crl_file: settings.path("client-crl-file"),
            client_cert_auth: settings.is_on("client-cert-auth"),
            allowed_hostnames: settings.list("client-cert-allowed-hostname").to_vec(),
            ..Self::common(settings)
        }
    }

    /// What members meet.
    pub fn for_peers(settings: &Settings) -> Self {
        Self {
            cert_file: settings.path("peer-cert-file"),
            key_file: settings.path("peer-key-file"),
            client_cert_file: settings.path("peer-client-cert-file"),
            client_key_file: settings.path("peer-client-key-file"),
            trusted_ca_file: settings.path("peer-trusted-ca-file"),
            crl_file: settings.path("peer-crl-file"),
            client_cert_auth: settings.is_on("peer-client-cert-auth"),
            allowed_cns: settings.list("peer-cert-allowed-cn").to_vec(),
            allowed_hostnames: settings.list("peer-cert-allowed-hostname").to_vec(),
            ..Self::common(settings)
        }
    }

    fn common(settings: &Settings) -> Self {
        Self {
            cipher_suites: settings.list("cipher-suites").to_vec(),
            min_version: settings.text("tls-min-version").to_owned(),
            max_version: settings.text("tls-max-version").to_owned(),
            ..Self::default()
        }
    }

    /// Whether there is no certificate.
    pub fn is_empty(&self) -> bool {
        self.cert_file.is_none() && self.key_file.is_none()
    }

    /// Whether whoever connects must show a certificate.
    pub fn wants_certificates(&self) -> bool {
        self.client_cert_auth || self.trusted_ca_file.is_some()
    }

    /// Makes certificates below `dir`, where none are given.
    pub fn make_certificates(&mut self, dir: &Path, hosts: &[String], years: u32) -> Result<()> {
        if !self.is_empty() {
            tracing::warn!("ignoring auto TLS since certs given");
            return Ok(());
        }
        let (certificate, key) = self_signed::make(dir, hosts, years)?;
        (self.cert_file, self.key_file) = (Some(certificate), Some(key));
        self.self_signed = true;
        Ok(())
    }

    /// For those who listen.
    pub fn server(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
        let provider = self.provider()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&suites::versions(&self.min_version, &self.max_version))?;
        let builder = if self.wants_certificates() {
            let authority = self.trusted_ca_file.clone().unwrap_or_else(|| SYSTEM_ROOTS.into());
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots(&authority)?),
                provider.clone(),
            )
            .build()
            .with_context(|| format!("clients' authority {}", authority.display()))?;
            builder.with_client_cert_verifier(Arc::new(Allowed {
                inner: verifier,
                provider: provider.clone(),
                trusted: certificates(&authority)?,
                names: self.allowed_cns.clone(),
                hosts: self.allowed_hostnames.clone(),
                revoked: self.crl_file.clone(),
            }))
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = self.pair()?;
        let mut config =
            builder.with_cert_resolver(Arc::new(Reloaded::open(certificate, key, provider)?));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// For those who connect.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let provider = self.provider()?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&suites::versions(&self.min_version, &self.max_version))?;
        let builder = if self.self_signed {
            let anybody = Anybody { provider: provider.clone() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(anybody))
        } else {
            let authority = self.trusted_ca_file.clone().unwrap_or_else(|| SYSTEM_ROOTS.into());
            let roots = Arc::new(roots(&authority)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            let verifier = verifier
                .build()
                .with_context(|| format!("members' authority {}", authority.display()))?;
            builder.with_webpki_verifier(verifier)
        };
        let (certificate, key) = match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            _ => self.pair()?,
        };
        let shown = Reloaded::open(certificate, key, provider)?;
        Ok(Arc::new(builder.with_client_cert_resolver(Arc::new(shown))))
    }

    fn pair(&self) -> Result<(PathBuf, PathBuf)> {
        let shown = |path: &Option<PathBuf>| {
            path.as_ref().map_or_else(String::new, |path| path.display().to_string())
        };
        match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => Ok((certificate.clone(), key.clone())),
            (certificate, key) => bail!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                shown(key),
                shown(certificate)
            ),
        }
    }

    fn provider(&self) -> Result<Arc<CryptoProvider>> {
        let mut provider = rustls::crypto::ring::default_provider();
        suites::keep(&mut provider, &self.cipher_suites)?;
        Ok(Arc::new(provider))
    }
}
