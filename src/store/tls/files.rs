//! Certificates in files that may be replaced while the process runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The authorities in a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).with_context(|| format!("open {}", path.display()))?;
    }
    Ok(roots)
}

/// The certificates in a file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let named = || format!("open {}", path.display());
    let found = CertificateDer::pem_file_iter(path).with_context(named)?;
    found.collect::<Result<_, _>>().with_context(named)
}

/// A certificate and its key, read again when the files change.
#[derive(Debug)]
pub(super) struct Reloaded {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Mutex<(Stamp, Arc<CertifiedKey>)>,
}

/// When the two files were written.
type Stamp = [Option<SystemTime>; 2];

impl Reloaded {
    /// Fails if the files cannot be used now.
    pub(super) fn open(
        certificate: PathBuf,
        key: PathBuf,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self> {
        let stamp = stamp(&certificate, &key);
        let current = Arc::new(read(&certificate, &key, &provider)?);
        Ok(Self { certificate, key, provider, current: Mutex::new((stamp, current)) })
    }

    /// What the files hold now; as long as that cannot be used, what they held before.
    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.certificate, &self.key);
        if now != current.0 {
            match read(&self.certificate, &self.key, &self.provider) {
                Ok(read) => *current = (now, Arc::new(read)),
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "cert-file" = %self.certificate.display(),
                    "failed to load a replaced certificate; the one before is used"
                ),
            }
        }
        current.1.clone()
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey> {
    let named = |path: &Path| format!("open {}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .with_context(|| named(certificate))?
        .collect::<Result<Vec<CertificateDer<'static>>, _>>()
        .with_context(|| named(certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| named(key))?;
    CertifiedKey::from_der(chain, secret, provider)
        .with_context(|| format!("{} and {}", certificate.display(), key.display()))
}

impl ResolvesServerCert for Reloaded {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Reloaded {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
