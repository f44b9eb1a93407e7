//! An authority for a test, and the certificates it signs, as files.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority that writes to a folder.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate's file.
    pub certificate: String,
    /// The key's file.
    pub key: String,
}

impl Authority {
    /// A new one; `ca.pem` is its certificate.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate()?;
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// The file with its certificate.
    pub fn path(&self) -> String {
        self.dir.join("ca.pem").display().to_string()
    }

    /// Signs `NAME.pem` for the loopback address, good for servers and for clients.
    pub fn issue(&self, name: &str, serial: u64) -> Result<Pair> {
        let mut params = CertificateParams::new(vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            format!("{name}.example.org"),
        ])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let path = |end: &str| self.dir.join(format!("{name}{end}"));
        // Replaced at once, as a careful operator does.
        for (end, text) in [(".key", key.serialize_pem()), (".pem", signed.pem())] {
            std::fs::write(path(".new"), text)?;
            std::fs::rename(path(".new"), path(end))?;
        }
        Ok(Pair {
            certificate: path(".pem").display().to_string(),
            key: path(".key").display().to_string(),
        })
    }

    /// Writes the list of what is revoked; its file.
    pub fn revoke(&self, serials: &[u64]) -> Result<String> {
        let now = SystemTime::now();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.dir.join("revoked.crl");
        std::fs::write(&path, list.signed_by(&self.issuer)?.der())?;
        Ok(path.display().to_string())
    }
}
