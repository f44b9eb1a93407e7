//! The cluster's own certificate authorities and what they sign, kept under `pki/`.
//!
//! Names and paths are kubeadm's, so that scripts that know them find them. A certificate is made
//! when it is missing, when its names changed, or when less than a quarter of its life is left;
//! authorities and the service-account key are never replaced. Keys are readable by the owner only.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFE: Duration = Duration::from_secs(3650 * DAY.as_secs());
const LEAF_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// Clocks of other machines may be behind ours by this much.
const BACKDATE: Duration = Duration::from_secs(300);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate, with no chain.
    pub certificate: String,
    /// PKCS#8.
    pub key: String,
}

/// Everything `keelson up` needs to speak TLS.
#[derive(Clone)]
pub struct Pki {
    /// Signs the API server's, clients' and nodes' certificates.
    pub ca: Pair,
    /// The API server's serving certificate.
    pub apiserver: Pair,
    /// The API server as a client of node agents.
    pub apiserver_kubelet_client: Pair,
    /// The administrator, group `system:masters`.
    pub admin: Pair,
    /// This node's serving certificate (kubelet API).
    pub kubelet_server: Pair,
    /// Signs the store's certificates.
    pub etcd_ca: Pair,
    /// The store's serving certificate.
    pub etcd_server: Pair,
    /// Signs service-account tokens (ECDSA P-256, PKCS#8).
    pub service_account_key: String,
}

/// What the certificates must name.
pub struct Names {
    /// This node's name.
    pub node: String,
    /// Addresses under which this machine is reached.
    pub addresses: Vec<IpAddr>,
    /// First address of the service range: the `kubernetes` Service.
    pub kubernetes_service: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
}

/// Reads `dir`, making what is missing or out of date.
pub fn ensure(dir: &Path, names: &Names) -> Result<Pki> {
    let folder = Folder { dir: dir.to_owned() };
    let ca = folder.authority("ca", "kubernetes-ca")?;
    folder.authority("front-proxy-ca", "kubernetes-front-proxy-ca")?;
    let etcd_ca = folder.authority("etcd/ca", "etcd-ca")?;
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])];
    let local: Vec<IpAddr> = loopback.iter().chain(&names.addresses).copied().collect();

    let mut server_names: Vec<String> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).to_vec();
    server_names.push(format!("kubernetes.default.svc.{}", names.cluster_domain));
    server_names.extend(["localhost".to_owned(), names.node.clone()]);
    let server_addresses = local.iter().chain(&names.kubernetes_service).copied().collect();
    let apiserver = Leaf::server("kube-apiserver", server_names, server_addresses);
    let node_names = vec![names.node.clone(), "localhost".to_owned()];
    let node_user = format!("system:node:{}", names.node);
    let kubelet = Leaf {
        organization: Some("system:nodes"),
        ..Leaf::server(&node_user, node_names.clone(), local.clone())
    };
    let etcd = Leaf { client: true, ..Leaf::server(&names.node, node_names, local) };
    // For whoever acts as this node, or asks the store, from outside of this process.
    let node = Leaf::client(&node_user, "system:nodes");
    folder.leaf("kubelet-client", &ca, &node)?;
    let store_client = Leaf::client("kube-etcd-healthcheck-client", "system:masters");
    folder.leaf("etcd/healthcheck-client", &etcd_ca, &store_client)?;
    Ok(Pki {
        apiserver: folder.leaf("apiserver", &ca, &apiserver)?,
        apiserver_kubelet_client: folder.leaf(
            "apiserver-kubelet-client",
            &ca,
            &Leaf::client("kube-apiserver-kubelet-client", "system:masters"),
        )?,
        admin: folder.leaf("admin", &ca, &Leaf::client("kubernetes-admin", "system:masters"))?,
        kubelet_server: folder.leaf("kubelet", &ca, &kubelet)?,
        etcd_server: folder.leaf("etcd/server", &etcd_ca, &etcd)?,
        ca,
        etcd_ca,
        service_account_key: folder.signing_key("sa")?,
    })
}

/// What one end certificate says.
#[derive(Clone)]
struct Leaf {
    common_name: String,
    organization: Option<&'static str>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    server: bool,
    client: bool,
}

impl Leaf {
    fn server(common_name: &str, names: Vec<String>, addresses: Vec<IpAddr>) -> Self {
        let common_name = common_name.to_owned();
        Self { common_name, organization: None, names, addresses, server: true, client: false }
    }

    fn client(common_name: &str, organization: &'static str) -> Self {
        let organization = Some(organization);
        let common_name = common_name.to_owned();
        let (names, addresses) = (Vec::new(), Vec::new());
        Self { common_name, organization, names, addresses, server: false, client: true }
    }

    fn params(&self) -> Result<CertificateParams> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name.clone());
        if let Some(organization) = self.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        if self.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if self.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let now = SystemTime::now();
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + LEAF_LIFE).into();
        Ok(params)
    }

    /// Whether `pem` may stay: it has these names, this issuer, and a quarter of its life left.
    fn matches(&self, pem: &str, issuer: &Pair) -> Result<bool> {
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())?;
        let certificate = block.parse_x509()?;
        let (_, ca_block) = x509_parser::pem::parse_x509_pem(issuer.certificate.as_bytes())?;
        let ca = ca_block.parse_x509()?;
        let left =
            certificate.validity().time_to_expiration().map_or(0, |left| left.whole_seconds());
        let fresh = u64::try_from(left).unwrap_or(0) > LEAF_LIFE.as_secs() / 4;
        let mut wanted: Vec<String> = self.names.clone();
        wanted.extend(self.addresses.iter().map(IpAddr::to_string));
        let mut found = Vec::new();
        if let Some(extension) = certificate.subject_alternative_name()? {
            for name in &extension.value.general_names {
                match name {
                    x509_parser::extensions::GeneralName::DNSName(name) => {
                        found.push((*name).to_owned())
                    }
                    x509_parser::extensions::GeneralName::IPAddress(bytes) => {
                        if let Ok(four) = <[u8; 4]>::try_from(*bytes) {
                            found.push(IpAddr::from(four).to_string());
                        } else if let Ok(sixteen) = <[u8; 16]>::try_from(*bytes) {
                            found.push(IpAddr::from(sixteen).to_string());
                        }
                    }
                    _ => {}
                }
            }
        }
        wanted.sort();
        wanted.dedup();
        found.sort();
        found.dedup();
        let signed = certificate.verify_signature(Some(ca.public_key())).is_ok();
        let named = certificate.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok());
        Ok(fresh && signed && wanted == found && named == Some(self.common_name.as_str()))
    }
}

/// The folder the files are in.
struct Folder {
    dir: PathBuf,
}

impl Folder {
    fn authority(&self, name: &str, common_name: &str) -> Result<Pair> {
        if let Some(pair) = self.read(name)? {
            return Ok(pair);
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let now = SystemTime::now();
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + CA_LIFE).into();
        let certificate = params.self_signed(&key)?;
        self.write(name, Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn leaf(&self, name: &str, issuer: &Pair, leaf: &Leaf) -> Result<Pair> {
        if let Some(pair) = self.read(name)?
            && leaf.matches(&pair.certificate, issuer).unwrap_or(false)
        {
            return Ok(pair);
        }
        let ca_key = KeyPair::from_pem(&issuer.key)?;
        let ca = Issuer::from_ca_cert_pem(&issuer.certificate, ca_key)?;
        let key = KeyPair::generate()?;
        let certificate = leaf.params()?.signed_by(&key, &ca)?;
        self.write(name, Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn signing_key(&self, name: &str) -> Result<String> {
        let (private, public) = (self.path(name, "key"), self.path(name, "pub"));
        if public.exists()
            && let Ok(key) = fs::read_to_string(&private)
        {
            return Ok(key);
        }
        let key = KeyPair::generate()?;
        write_file(&private, key.serialize_pem().as_bytes(), 0o600)?;
        write_file(&public, key.public_key_pem().as_bytes(), 0o644)?;
        Ok(key.serialize_pem())
    }

    fn path(&self, name: &str, end: &str) -> PathBuf {
        self.dir.join(format!("{name}.{end}"))
    }

    fn read(&self, name: &str) -> Result<Option<Pair>> {
        let (certificate, key) = (self.path(name, "crt"), self.path(name, "key"));
        if !certificate.exists() || !key.exists() {
            return Ok(None);
        }
        let certificate = fs::read_to_string(&certificate)
            .with_context(|| format!("read {}", certificate.display()))?;
        let key = fs::read_to_string(&key).with_context(|| format!("read {}", key.display()))?;
        Ok(Some(Pair { certificate, key }))
    }

    /// The key first: a certificate without its key would be taken for a whole pair.
    fn write(&self, name: &str, pair: Pair) -> Result<Pair> {
        write_file(&self.path(name, "key"), pair.key.as_bytes(), 0o600)?;
        write_file(&self.path(name, "crt"), pair.certificate.as_bytes(), 0o644)?;
        Ok(pair)
    }
}

/// Writes a file whole or not at all.
pub fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = (|| {
        let _stale = fs::remove_file(&beside);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(node: &str) -> Names {
        Names {
            node: node.to_owned(),
            addresses: vec![IpAddr::from([192, 0, 2, 7])],
            kubernetes_service: vec![IpAddr::from([10, 96, 0, 1])],
            cluster_domain: "cluster.local".to_owned(),
        }
    }

    #[test]
    fn a_second_start_keeps_everything_and_a_new_name_reissues_what_carries_it() {
        let dir = std::env::temp_dir().join(format!("keelson-pki-{}", std::process::id()));
        let first = ensure(&dir, &names("a")).expect("first");
        let second = ensure(&dir, &names("a")).expect("second");
        assert_eq!(first.apiserver.certificate, second.apiserver.certificate);
        assert_eq!(first.service_account_key, second.service_account_key);
        let renamed = ensure(&dir, &names("b")).expect("renamed");
        assert_eq!(first.ca.certificate, renamed.ca.certificate);
        assert_eq!(first.admin.certificate, renamed.admin.certificate);
        assert_ne!(first.apiserver.certificate, renamed.apiserver.certificate);
        assert_ne!(first.kubelet_server.certificate, renamed.kubelet_server.certificate);
        fs::remove_dir_all(&dir).expect("clean up");
    }
}
