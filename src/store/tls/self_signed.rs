//! Certificates that a member makes for itself.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

/// Makes `cert.pem` and `key.pem` below `dir`, for `hosts`; what is there already is kept.
pub(super) fn make(dir: &Path, hosts: &[String], years: u32) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    crate::store::make_private(dir)?;
    let mut params = CertificateParams::new(hosts.to_vec()).context("names in a certificate")?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "etcd");
    params.distinguished_name = name;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + Duration::from_secs(u64::from(years) * 365 * 86_400)).into();
    let pair = KeyPair::generate().context("make a key")?;
    let signed = params.self_signed(&pair).context("make a certificate")?;
    write(&certificate, &signed.pem())?;
    write(&key, &pair.serialize_pem())?;
    tracing::info!("cert-file" = %certificate.display(), "created a certificate");
    Ok((certificate, key))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("make {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}
